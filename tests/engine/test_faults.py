"""Every way in which an upstream fails: the client's view, the store, one cause in metrics, never a 404."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from multidict import CIMultiDict

from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.sources.remote import RemoteSource
from tests.conftest import StartProxy
from tests.fakes import canary
from tests.fakes.asking import (
    LARGE,
    PACKAGE,
    REGISTRATION,
    SEARCH,
    SMALL,
    UP_INDEX,
    UP_PACKAGE,
    UP_REGISTRATION,
    UP_VERSIONS,
    VERSIONS,
    ask,
    ask_again,
    failures,
    held,
    staged,
    until,
)
from tests.fakes.clock import FakeClock
from tests.fakes.feed import FakeFeed
from tests.fakes.names import Names
from tests.fakes.origin import Origin, Script, Seen
from tests.fakes.packages import make_nupkg
from tests.fakes.proxy import Proxy

HELD = (PACKAGE, VERSIONS, "/v3/index.json")
UNCACHED = (
    "/v3/content/acme.b/1.0.0/acme.b.1.0.0.nupkg",
    "/v3/content/acme.b/index.json",
    "/v3/content/acme.b/1.0.0/acme.b.nuspec",
    "/v3/content/acme.b/1.0.0/readme",
    "/v3/registration/gz-semver2/acme.b/index.json",
    "/v3/registration/gz-semver2/acme.b/1.0.0.json",
    "/v3/vulnerabilities/index.json",
    "/v3/catalog/index.json",
)
HTML = b"<!DOCTYPE html><html><body>Please log in</body></html>"


@pytest.fixture
async def warm(start_proxy: StartProxy, feed: FakeFeed, clock: FakeClock) -> Proxy:
    """A proxy that holds one package, its list, the service index; the documents have run out."""
    feed.add(SMALL)
    feed.add(make_nupkg("Acme.B", "1.0.0"))
    proxy = await start_proxy(feed.index_url, upstream={"read_timeout": "50ms"})
    for path in HELD:
        assert (await ask(proxy, path)).status == 200
    clock.advance(3 * 86400)
    return proxy


@pytest.mark.parametrize(
    ("mode", "reasons"),
    [
        ("refused", {"refused"}),
        ("hang", {"read_timeout"}),
        ("5xx", {"5xx"}),
        ("429", {"429"}),
        ("html", {"invalid_content"}),
    ],
)
async def test_an_outage(warm: Proxy, feed: FakeFeed, clock: FakeClock, mode: str, reasons: set[str]) -> None:
    """What is held is served; what is not is 502 or 503; nothing is stored; afterwards all is well again."""
    before = {path: (await ask(warm, path)).body for path in HELD}
    clock.advance(3 * 86400)
    await feed.set_mode(mode)  # type: ignore[arg-type]
    names = held(warm)
    for path in HELD:
        got = await ask(warm, path)
        assert (got.status, got.body) == (200, before[path]), path
    for path in UNCACHED:
        got = await ask(warm, path)
        assert got.status in {502, 503}, path
        assert got.headers["Cache-Control"] == "no-store"
        assert ("Retry-After" in got.headers) == (got.status == 503)
        assert b"log in" not in got.body
        assert b"versions" not in got.body
    assert any(failures(warm, reason) for reason in reasons)
    await until(lambda: warm.metric("flights") == 0)
    assert (held(warm), staged(warm)) == (names, [])
    await feed.set_mode("up")
    for path in UNCACHED[:2]:
        assert (await ask_again(warm, clock, path)).status == 200, "nothing is left of the outage"


@pytest.mark.parametrize("mode", ["refused", "5xx", "html", "429"])
async def test_an_outage_from_the_start(start_proxy: StartProxy, feed: FakeFeed, mode: str, clock: FakeClock) -> None:
    proxy = await start_proxy(feed.index_url)
    await feed.set_mode(mode)  # type: ignore[arg-type]
    for path in (*HELD, *UNCACHED):
        assert (await ask(proxy, path)).status in {502, 503}, path
    assert (await ask(proxy, "/health/ready")).status == 503
    assert (await ask(proxy, "/health/live")).status == 200
    await feed.set_mode("up")
    clock.advance(61)
    assert (await ask(proxy, "/v3/index.json")).status == 200
    assert (await ask(proxy, "/health/ready")).status == 200


async def test_an_attempt_that_cannot_connect(start_proxy: StartProxy) -> None:
    """A full accept queue: the connection is never made."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        await asyncio.sleep(0)
        proxy = await start_proxy(f"http://127.0.0.1:{port}/v3/index.json", upstream={"connect_timeout": "50ms"})
        got = await ask(proxy, "/v3/index.json")
        assert (got.status, got.cache) == (503, 'fwd=uri-miss; detail="connect_timeout"')
        assert failures(proxy, "connect_timeout") >= 1
        for filler in fillers:
            filler.close()


async def test_a_name_that_cannot_be_looked_up(start_proxy: StartProxy, feed: FakeFeed, clock: FakeClock) -> None:
    names = Names({"feed.test": ["127.0.0.1"]})
    feed.add(SMALL)
    index = f"http://feed.test:{feed.origin.port}/v3/index.json"
    upstream = {"hosts": ["127.0.0.1", "feed.test"], "internal": True}
    proxy = await start_proxy(index, resolver=names, upstream=upstream)
    assert (await ask(proxy, "/v3/index.json")).status == 200
    names.known.clear()
    feed.origin.drop()
    clock.advance(3 * 86400)
    assert (await ask(proxy, "/v3/index.json")).status == 200
    await proxy.stop()
    cold = await start_proxy(index, resolver=names, upstream=upstream, directory=proxy.directory / "other")
    got = await ask(cold, "/v3/index.json")
    assert (got.status, got.cache) == (503, 'fwd=uri-miss; detail="dns"')
    assert failures(cold, "dns") >= 1


async def test_a_name_service_that_hangs(start_proxy: StartProxy) -> None:
    class Hanging(AbstractResolver):
        async def resolve(
            self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
        ) -> list[ResolveResult]:
            await asyncio.Event().wait()
            return []

        async def close(self) -> None:
            pass

    proxy = await start_proxy(
        "http://feed.test/v3/index.json", resolver=Hanging(), upstream={"connect_timeout": "50ms"}
    )
    got = await ask(proxy, "/v3/index.json")
    assert (got.status, got.cache) == (503, 'fwd=uri-miss; detail="dns_timeout"')


DOCUMENTS = [
    ("/v3/index.json", UP_INDEX),
    (VERSIONS, UP_VERSIONS),
    (REGISTRATION, UP_REGISTRATION),
    (SEARCH, "/azuresearch-usnc/query"),
    ("/v3/autocomplete?q=acme", "/azuresearch-usnc/autocomplete"),
    ("/v3/vulnerabilities/index.json", "/v3/vulnerabilities/index.json"),
]
WRONG = {
    "html": HTML,
    "empty": b"",
    "array": b"[]",
    "scalar": b"42",
    "null": b"null",
    "other": b'{"error":"moved"}',
    "cut": b'{"versions":["1.0.0","2.0.',
    "nan": b'{"versions":[NaN]}',
    "deep": b'{"versions":' + b"[" * 20_000 + b"]" * 20_000 + b"}",
    "latin": b'{"versions":["\xe9"]}',
}


@pytest.mark.parametrize("kind", ["application/json", "text/html"])
@pytest.mark.parametrize(("path", "upstream"), DOCUMENTS)
async def test_wrong_documents_are_refused_and_the_next_right_one_served(
    start_proxy: StartProxy, feed: FakeFeed, clock: FakeClock, path: str, upstream: str, kind: str
) -> None:
    proxy = await start_proxy(feed.index_url, upstream={"breaker_failures": 1000})
    feed.add(SMALL)
    for wrong, body in WRONG.items():
        for other in (upstream, upstream.replace("usnc", "ussc")):  # the failover of the search
            feed.origin.routes[other] = Script(body=body, headers=[("Content-Type", kind)])
        got = await ask(proxy, path)
        assert (got.status, got.cache) == (502, 'fwd=uri-miss; detail="invalid_content"'), wrong
        asked = len(feed.requests)
        again = await ask(proxy, path)
        assert (again.status, again.body, len(feed.requests)) == (502, got.body, asked), "said at once, not asked again"
        clock.advance(61)
    hosts = 2 if "usnc" in upstream else 1
    assert proxy.metric("integrity_failures_total", reason="invalid_content") == len(WRONG) * hosts
    feed.origin.routes.clear()
    assert (await ask(proxy, path)).status == 200


async def test_a_registration_of_another_package_is_refused(proxy: Proxy, feed: FakeFeed) -> None:
    feed.add(make_nupkg("Acme.B", "1.0.0"))
    mixed = {"items": [{"items": [{"catalogEntry": {"id": "Acme.B", "version": "1.0.0"}}]}]}
    feed.origin.routes[UP_REGISTRATION] = Script(body=json.dumps(mixed).encode())
    got = await ask(proxy, REGISTRATION)
    assert (got.status, got.cache) == (502, 'fwd=uri-miss; detail="invalid_content"')
    assert (await ask(proxy, VERSIONS)).status == 404


async def test_a_list_of_one_host_does_not_fail_because_the_other_is_down(proxy: Proxy, feed: FakeFeed) -> None:
    feed.add(SMALL)
    feed.origin.routes["/azuresearch-usnc/query"] = Script(status=500)
    got = await ask(proxy, SEARCH)
    assert (got.status, json.loads(got.body)["totalHits"]) == (200, 1)


FINAL_NO = [
    (403, "Your organisation has blocked Acme.A", 403, "Your organisation has blocked Acme.A", "auth"),
    (403, "Forbidden", 403, "Upstream 'up' refuses this (403 Forbidden).", "auth"),
    (451, "Withdrawn: see ticket 12", 451, "Withdrawn: see ticket 12", "status"),
    (400, "No such thing as this", 400, "No such thing as this", "status"),
    (
        401,
        "Token expired",
        403,
        "Upstream 'up' asks for credentials, and this proxy has none for it (401 Token expired); its operator must set "
        "username and password (or headers) of upstreams.up.",
        "auth",
    ),
]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", [PACKAGE, VERSIONS, REGISTRATION])
@pytest.mark.parametrize(("status", "phrase", "told", "sentence", "detail"), FINAL_NO)
async def test_a_final_no_is_passed_on_in_the_feeds_own_words(
    proxy: Proxy,
    feed: FakeFeed,
    method: str,
    path: str,
    status: int,
    phrase: str,
    told: int,
    sentence: str,
    detail: str,
) -> None:
    """NuGet repeats a 5xx six times, and prints the reason phrase of everything else."""
    await ask(proxy, "/v3/index.json")
    refused = Script(status=status, reason=phrase, headers=[("WWW-Authenticate", 'Basic realm="feed"')])
    feed.origin.routes |= {UP_PACKAGE: refused, UP_VERSIONS: refused, UP_REGISTRATION: refused}
    feed.requests.clear()
    got = await ask(proxy, path, method)
    assert (got.status, got.reason, got.cache) == (told, sentence, f'fwd=uri-miss; detail="{detail}"')
    assert "WWW-Authenticate" not in got.headers
    twice = (method, path, status) == ("HEAD", PACKAGE, 403)  # a storage may be open to GET alone
    assert len(feed.requests) == (2 if twice else 1), "it is asked once"
    feed.origin.routes.clear()
    feed.add(SMALL)
    assert (await ask(proxy, path)).status == 200, "the refusal was not stored"


async def test_a_no_to_the_proxys_credentials_says_whose_they_are(
    start_proxy: StartProxy, feed: FakeFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_PASSWORD", canary.PASSWORD)
    login = {"username": "svc", "password": "env:TEST_PASSWORD"}
    proxy = await start_proxy(feed.index_url, upstream=login)
    feed.origin.routes[UP_INDEX] = Script(status=401, reason=f"Not {canary.PASSWORD}")
    got = await ask(proxy, VERSIONS)
    assert (got.status, got.reason) == (
        403,
        "Upstream 'up' does not accept the credentials that this proxy has for it (401 Not [hidden]). "
        "Has its token expired? The proxy's operator must renew what upstreams.up refers to.",
    )
    assert failures(proxy, "auth") >= 1


async def test_a_search_that_is_refused_as_malformed_is_the_clients_matter(proxy: Proxy, feed: FakeFeed) -> None:
    for place in ("usnc", "ussc"):
        feed.origin.routes[f"/azuresearch-{place}/query"] = Script(status=400, reason="take is too large")
    got = await ask(proxy, SEARCH)
    assert (got.status, got.reason) == (400, "The upstream 'up' refused this query as malformed (status 400).")


async def test_our_own_sentence_is_in_the_reason_phrase_of_reads_too(proxy: Proxy, feed: FakeFeed) -> None:
    await feed.set_mode("refused")
    got = await ask(proxy, VERSIONS)
    assert (got.status, got.reason) == (503, json.loads(got.body)["error"])
    assert got.reason.startswith("Upstream 'up' ")


class TestWarnings:
    """What a feed has to say to a person (``X-NuGet-Warning``): NuGet 7 prints it."""

    SAID = ("This feed moves on Friday", "Acme.A is retired; take Acme.B")

    @pytest.mark.parametrize(("path", "upstream"), [(VERSIONS, UP_VERSIONS), (REGISTRATION, UP_REGISTRATION)])
    async def test_is_kept_with_what_it_was_said_about(
        self, proxy: Proxy, feed: FakeFeed, path: str, upstream: str
    ) -> None:
        feed.add(SMALL)
        plain = await feed._answer(Seen("GET", upstream, CIMultiDict()))
        warnings = [("X-NuGet-Warning", said) for said in self.SAID]
        feed.origin.routes[upstream] = replace(plain, headers=[*plain.headers, *warnings])
        for _ in range(2):
            assert (await ask(proxy, path)).headers.getall("X-NuGet-Warning") == [*self.SAID]
        await proxy.restart()
        await feed.set_mode("refused")
        got = await ask(proxy, path)
        assert (got.status, got.headers.getall("X-NuGet-Warning")) == (200, [*self.SAID])

    async def test_is_passed_on_to_a_head_of_a_package_that_is_not_held(self, proxy: Proxy, feed: FakeFeed) -> None:
        warnings = [("X-NuGet-Warning", said) for said in self.SAID]
        feed.origin.routes[UP_PACKAGE] = Script(body=SMALL, headers=warnings)
        got = await ask(proxy, PACKAGE, "HEAD")
        assert (got.status, got.headers.getall("X-NuGet-Warning")) == (200, [*self.SAID])

    @pytest.mark.parametrize("nupkg", [SMALL, LARGE], ids=["held back", "streamed"])
    async def test_is_kept_with_a_package(self, proxy: Proxy, feed: FakeFeed, nupkg: bytes) -> None:
        warnings = [("X-NuGet-Warning", said) for said in self.SAID]
        feed.origin.routes[UP_PACKAGE] = Script(body=nupkg, headers=warnings)
        for _ in range(2):
            got = await ask(proxy, PACKAGE)
            assert (got.body, got.headers.getall("X-NuGet-Warning")) == (nupkg, [*self.SAID])
        await proxy.restart()
        await feed.set_mode("refused")
        got = await ask(proxy, PACKAGE)
        assert (got.body, got.headers.getall("X-NuGet-Warning")) == (nupkg, [*self.SAID])
        (source,) = proxy.app.feeds["up"].sources
        assert isinstance(source, RemoteSource)
        await source.packages.purge(PackageIdentity("acme.a", "1.0.0"))
        assert not held(proxy), "nothing of it is left behind"

    async def test_goes_when_the_feed_says_it_no_longer(self, proxy: Proxy, feed: FakeFeed, clock: FakeClock) -> None:
        one = Script(body=b'{"versions":["1.0.0"]}', headers=[("X-NuGet-Warning", "x")])
        feed.origin.routes[UP_VERSIONS] = [one, Script(body=b'{"versions":["1.0.0","2.0.0"]}')]
        assert (await ask(proxy, VERSIONS)).headers["X-NuGet-Warning"] == "x"
        clock.advance(301)
        assert "X-NuGet-Warning" not in (await ask(proxy, VERSIONS)).headers

    @pytest.mark.parametrize(("status", "told"), [(403, True), (401, True), (500, False)])
    async def test_a_final_no_is_told_with_what_is_served_instead_an_outage_is_not(
        self, warm: Proxy, feed: FakeFeed, status: int, told: bool
    ) -> None:
        feed.origin.routes[UP_VERSIONS] = Script(status=status, reason="Contract ended")
        got = await ask(warm, VERSIONS)
        assert (got.status, "X-NuGet-Warning" in got.headers) == (200, told)
        if told:
            said = got.headers["X-NuGet-Warning"]
            assert "Contract ended" in said and said.endswith("What was stored before is served.")


@pytest.mark.parametrize("fault", ["private", "scheme", "loop", "many", "missing"])
async def test_redirects_that_are_not_followed(
    start_proxy: StartProxy, feed: FakeFeed, origin: Origin, fault: str
) -> None:
    names = Names({"feed.test": ["127.0.0.1"], "inside.test": ["10.0.0.1"]})
    proxy = await start_proxy(
        f"http://feed.test:{feed.origin.port}/v3/index.json",
        resolver=names,
        upstream={"hosts": ["feed.test", "127.0.0.1"]},
    )
    await ask(proxy, "/v3/index.json")
    to = {
        "private": "http://inside.test/a.nupkg",
        "scheme": "ftp://feed.test/a",
        "loop": UP_VERSIONS,
        "many": f"{origin.url}/0",
    }.get(fault)
    feed.origin.routes[UP_VERSIONS] = Script(status=302, headers=[("Location", to)] if to else [])
    for hop in range(10):
        origin.routes[f"/{hop}"] = Script(status=302, headers=[("Location", f"/{hop + 1}")])
    got = await ask(proxy, VERSIONS)
    assert (got.status, got.cache) == (502, 'fwd=uri-miss; detail="redirect_denied"')
    assert "Location" not in got.headers
    assert failures(proxy, "redirect_denied") == 1
    assert len(origin.requests) <= 5


async def test_hosts_that_an_index_may_not_lead_to(start_proxy: StartProxy, feed: FakeFeed) -> None:
    """A public feed whose index names this network: nothing is asked there."""
    names = Names({"feed.test": ["127.0.0.1"], "metadata.test": ["169.254.169.254"]})
    index = {
        "version": "3.0.0",
        "resources": [
            {"@type": "PackageBaseAddress/3.0.0", "@id": "http://metadata.test/flat/"},
            {"@type": "RegistrationsBaseUrl/3.6.0", "@id": "http://169.254.169.254/reg/"},
            {"@type": "SearchQueryService", "@id": "file:///etc/passwd"},
        ],
    }
    feed.origin.routes[UP_INDEX] = Script(body=json.dumps(index).encode())
    proxy = await start_proxy(
        f"http://feed.test:{feed.origin.port}/v3/index.json", resolver=names, upstream={"hosts": ["feed.test"]}
    )
    for path in (PACKAGE, VERSIONS, REGISTRATION):
        got = await ask(proxy, path)
        assert (got.status, got.cache) == (502, 'fwd=uri-miss; detail="id_denied"')
    assert (await ask(proxy, SEARCH)).status == 404, "a resource that the feed does not have"
    assert failures(proxy, "id_denied") >= 3


async def test_a_gzip_bomb(start_proxy: StartProxy, feed: FakeFeed) -> None:
    proxy = await start_proxy(feed.index_url, limits={"document": "1 MiB"})
    bomb = gzip.compress(b'{"versions":["' + b"0" * 20_000_000 + b'"]}')
    feed.origin.routes[UP_VERSIONS] = Script(body=bomb, headers=[("Content-Encoding", "gzip")])
    got = await ask(proxy, VERSIONS)
    assert (got.status, got.cache) == (502, 'fwd=uri-miss; detail="too_large"')
    assert failures(proxy, "too_large") == 1


PROTOCOL_ERRORS = {
    "many headers": b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(200)) + b"\r\n",
    "long header": b"HTTP/1.1 200 OK\r\nX: " + b"y" * 40_000 + b"\r\n\r\n",
    "null": b"HTTP/1.1 200 OK\r\nX: a\x00b\r\n\r\n",
    "status line": b"HTP/1.1 yes\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "length and chunks": b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "bad chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
}


@pytest.mark.parametrize("path", [VERSIONS, PACKAGE])
@pytest.mark.parametrize("fault", list(PROTOCOL_ERRORS))
async def test_what_is_not_http(proxy: Proxy, feed: FakeFeed, fault: str, path: str) -> None:
    script = Script(raw=PROTOCOL_ERRORS[fault], end="fin")
    feed.origin.routes |= {UP_VERSIONS: script, UP_PACKAGE: script}
    got = await ask(proxy, path)
    assert (got.status, got.cache) == (502, 'fwd=uri-miss; detail="protocol"')
    assert failures(proxy, "protocol") >= 1
    await until(lambda: proxy.metric("flights") == 0)
    assert (held(proxy), staged(proxy)) == (set(), [])


async def test_an_idle_connection_that_upstream_has_closed_costs_nothing(proxy: Proxy, feed: FakeFeed) -> None:
    feed.add(SMALL)
    await ask(proxy, "/v3/index.json")
    feed.origin.drop()
    assert (await ask(proxy, VERSIONS)).status == 200
    assert failures(proxy, "reset") == 0


async def test_hanging_downloads_do_not_hold_up_documents(start_proxy: StartProxy, feed: FakeFeed) -> None:
    proxy = await start_proxy(
        feed.index_url, upstream={"connections": 2, "read_timeout": "20s", "breaker_failures": 100}
    )
    feed.add(SMALL)
    gate = asyncio.Event()

    async def hang() -> AsyncIterator[bytes]:
        await gate.wait()
        yield b""

    paths = [f"/v3/content/acme.a/{n}.0.0/acme.a.{n}.0.0.nupkg" for n in range(2, 6)]
    for n in range(2, 6):
        feed.origin.routes[f"/v3-flatcontainer/acme.a/{n}.0.0/acme.a.{n}.0.0.nupkg"] = Script(stream=hang, length=None)
    hanging = [asyncio.create_task(ask(proxy, path)) for path in paths]
    await until(lambda: proxy.metric("flights") == 4)
    assert (await ask(proxy, VERSIONS)).status == 200
    gate.set()
    assert {(await one).status for one in hanging} == {502}


async def test_errors_do_not_reflect_what_was_asked(proxy: Proxy, feed: FakeFeed) -> None:
    await feed.set_mode("5xx")
    for path in ("/v3/content/canary17/index.json", "/v3/query?q=canary17", "/canary17", "/v3/content/x/canary17!"):
        got = await ask(proxy, path, headers={"X-Canary": "canary17"})
        assert got.status in {404, 503}
        assert b"canary17" not in got.body
        assert got.headers["X-Content-Type-Options"] == "nosniff"
        assert got.headers["Content-Security-Policy"] == "default-src 'none'"
        assert "canary17" not in str(got.headers)
