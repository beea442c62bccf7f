"""Writes pass through: once, whole, with upstream's own answer, the key told to nobody else."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from structlog.testing import capture_logs

from nugetproxy import log
from nugetproxy.sources import write_body
from tests.conftest import StartProxy
from tests.fakes import canary
from tests.fakes import logs as fake_logs
from tests.fakes.asking import (
    PACKAGE,
    REGISTRATION,
    SEARCH,
    SMALL,
    UP_PUSH,
    UP_VERSIONS,
    VERSIONS,
    ask,
    failures,
    until,
)
from tests.fakes.clock import FakeClock
from tests.fakes.feed import FakeFeed
from tests.fakes.origin import Script, Seen
from tests.fakes.packages import make_nupkg
from tests.fakes.proxy import Proxy
from tests.web.test_tokens import basic, token

PUSH = "/v3/package"
UP = f"{UP_PUSH}/"
"""With the slash that the official client puts there, too."""
KEY = canary.API_KEY
CANARY = "canary-key-5c1e9a"


def form(nupkg: bytes = SMALL, boundary: str = "b0undary") -> bytes:
    """A package in a multipart form, as the official client sends it."""
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="package"; filename="package.nupkg"\r\n'
    return (
        head.encode() + b"Content-Type: application/octet-stream\r\n\r\n" + nupkg + f"\r\n--{boundary}--\r\n".encode()
    )


def sending(key: str | None = KEY, **more: str) -> dict[str, str]:
    headers = {"Content-Type": 'multipart/form-data; boundary="b0undary"', **more}
    return headers if key is None else {**headers, "X-NuGet-ApiKey": key}


async def push(proxy: Proxy, body: Any = None, path: str = PUSH, key: str | None = KEY, **more: str) -> Any:
    return await ask(proxy, path, "PUT", data=form() if body is None else body, headers=sending(key, **more))


def writes(feed: FakeFeed) -> list[str]:
    return [f"{seen.method} {seen.target}" for seen in feed.requests if seen.method not in {"GET", "HEAD"}]


@pytest.mark.parametrize("path", [PUSH, PUSH + "/"])
async def test_a_push_arrives_as_it_was_sent(proxy: Proxy, feed: FakeFeed, path: str) -> None:
    got = await push(proxy, path=path, **{"X-NuGet-Client-Version": "6.12.1", "User-Agent": "NuGet Command Line/6.12"})
    assert got.status == 201
    assert got.cache == "fwd=method; fwd-status=201"
    seen = feed.requests[-1]
    assert (seen.method, seen.path, seen.body) == ("PUT", UP, form())
    wanted = {
        "X-NuGet-ApiKey": KEY,
        "X-NuGet-Client-Version": "6.12.1",
        "User-Agent": "NuGet Command Line/6.12",
        "Content-Type": 'multipart/form-data; boundary="b0undary"',
    }
    assert {name: seen.headers[name] for name in wanted} == wanted
    assert feed.shelf.find("Acme.A", "1.0.0").content == SMALL


async def test_a_push_without_a_length_is_streamed(proxy: Proxy, feed: FakeFeed) -> None:
    big = form(make_nupkg("Acme.A", "1.0.0", size=3_000_000))
    gate = asyncio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        yield big[:1_000_000]
        await gate.wait()
        yield big[1_000_000:]

    pushing = asyncio.create_task(push(proxy, pieces()))
    await until(lambda: bool(feed.requests) and len(feed.requests[-1].body) > 500_000)
    assert feed.requests[-1].method == "PUT", "it arrives upstream while the client still sends"
    gate.set()
    assert (await pushing).status == 201
    assert feed.requests[-1].body == big


async def test_headers_of_the_client_that_are_nobodys_business_stay_here(proxy: Proxy, feed: FakeFeed) -> None:
    await push(proxy, **{"Cookie": "a=b", "Proxy-Authorization": "x", "X-Forwarded-For": "1.2.3.4", "X-Other": "y"})
    names = {name.lower() for name in feed.requests[-1].headers}
    assert not names & {"cookie", "proxy-authorization", "x-forwarded-for", "x-other", "referer", "origin", "expect"}


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (409, "The feed already contains package 'Acme.A' and version '1.0.0'."),
        (401, "An API key must be provided."),
        (403, "The specified API key is invalid."),
        (413, "Too large"),
        (400, "The package is invalid"),
        (500, "Internal trouble"),
        (503, "Read-only"),
        (202, "Accepted, validating"),
    ],
)
async def test_status_reason_body_and_warnings_are_upstreams(
    proxy: Proxy, feed: FakeFeed, status: int, reason: str
) -> None:
    headers = [
        ("X-NuGet-Warning", "first"),
        ("X-NuGet-Warning", "second"),
        ("WWW-Authenticate", 'ApiKey realm="x"'),
        ("Set-Cookie", "a=b"),
        ("Location", "http://elsewhere/"),
        ("X-Powered-By", "y"),
    ]
    feed.origin.routes[UP] = Script(status=status, reason=reason, headers=headers, body=b"what upstream said")
    got = await push(proxy)
    assert (got.status, got.reason, got.body) == (status, reason, b"what upstream said")
    assert got.headers.getall("X-NuGet-Warning") == ["first", "second"]
    assert got.headers["WWW-Authenticate"] == 'ApiKey realm="x"'
    assert not {"Set-Cookie", "Location", "X-Powered-By"} & set(got.headers)
    assert len(writes(feed)) == 1, "whatever it says, it is not sent again"


async def test_a_reason_with_other_letters_is_made_plain(proxy: Proxy, feed: FakeFeed) -> None:
    raw = "HTTP/1.1 409 Schon da: \u00fcber\r\nX-NuGet-Warning: caf\u00e9 \r\nContent-Length: 0\r\n\r\n".encode(
        "latin-1"
    )
    feed.origin.routes[UP] = Script(raw=raw)
    got = await push(proxy)
    assert got.status == 409
    assert got.reason.startswith("Schon da:") and got.reason.isascii()
    assert got.headers["X-NuGet-Warning"].isascii()


@pytest.mark.parametrize("status", [299, 520, 600])
async def test_a_status_that_nobody_has_registered_is_passed_on_without_a_reason(
    proxy: Proxy, feed: FakeFeed, status: int
) -> None:
    """A client that is cut off instead sends its package again."""
    feed.origin.routes[UP] = Script(raw=f"HTTP/1.1 {status} \r\nContent-Length: 2\r\n\r\nso".encode())
    got = await push(proxy)
    assert (got.status, got.reason, got.body) == (status, "", b"so")
    assert len(writes(feed)) == 1


@pytest.mark.parametrize("line", ["101 Switching Protocols", "099 "])
async def test_a_status_that_is_none_of_a_final_answer_is_not_passed_on(
    proxy: Proxy, feed: FakeFeed, line: str
) -> None:
    feed.origin.routes[UP] = Script(raw=f"HTTP/1.1 {line}\r\nContent-Length: 0\r\n\r\n".encode())
    assert (await push(proxy)).status == 502
    assert len(writes(feed)) == 1


async def test_an_answer_before_the_body_reaches_the_client(proxy: Proxy, feed: FakeFeed) -> None:
    refusal = Script(status=401, reason="No key", headers=[("WWW-Authenticate", "ApiKey")], read_body=False)
    feed.origin.routes[UP] = refusal
    big = form(make_nupkg("Acme.A", "1.0.0", size=5_000_000))
    got = await push(proxy, io.BytesIO(big), key=None)
    assert (got.status, got.reason) == (401, "No key")
    assert len(writes(feed)) == 1


class TestUpstreamDies:
    @pytest.mark.parametrize("read", [True, 100_000], ids=["after", "within"])
    @pytest.mark.parametrize("end", ["fin", "rst"])
    async def test_after_bytes_were_sent_the_outcome_is_unknown(
        self, proxy: Proxy, feed: FakeFeed, end: str, read: bool | int
    ) -> None:
        feed.origin.routes[UP] = Script(raw=b"", end=end, read_body=read)  # type: ignore[arg-type]
        got = await push(proxy, form(make_nupkg("Acme.A", "1.0.0", size=1_000_000)))
        assert got.status == 502
        assert b"unknown" in got.body
        assert len(writes(feed)) == 1, "never sent again"

    async def test_before_anything_was_sent_it_may_be_repeated(self, proxy: Proxy, feed: FakeFeed) -> None:
        await ask(proxy, "/v3/index.json")
        await feed.set_mode("refused")
        got = await push(proxy)
        assert (got.status, "Retry-After" in got.headers) == (503, True)
        assert b"no usable answer" in got.body
        assert b"stored" not in got.body, "nothing stored takes the place of a write"
        await feed.set_mode("up")
        assert (await push(proxy)).status == 201

    async def test_everything_about_the_package_is_asked_for_again(self, proxy: Proxy, feed: FakeFeed) -> None:
        """Nobody knows whether it was carried out."""
        feed.add(make_nupkg("Acme.A", "0.9.0"))
        await ask(proxy, VERSIONS)
        feed.origin.routes[UP] = Script(raw=b"", end="rst")
        assert (await push(proxy)).status == 502
        feed.add(SMALL)
        assert json.loads((await ask(proxy, VERSIONS)).body) == {"versions": ["0.9.0", "1.0.0"]}


class TestInvalidation:
    async def test_a_push_is_seen_by_the_next_read(self, proxy: Proxy, feed: FakeFeed) -> None:
        """The id stands in the multipart body alone."""
        feed.add(make_nupkg("Acme.A", "0.9.0"))
        for path in (VERSIONS, REGISTRATION, SEARCH):
            await ask(proxy, path)
        assert (await ask(proxy, PACKAGE)).status == 404
        await push(proxy)
        assert json.loads((await ask(proxy, VERSIONS)).body) == {"versions": ["0.9.0", "1.0.0"]}
        assert b"1.0.0" in (await ask(proxy, REGISTRATION)).body
        assert b"1.0.0" in (await ask(proxy, SEARCH)).body
        assert (await ask(proxy, PACKAGE)).body == SMALL

    async def test_a_first_push_ends_the_404s(self, proxy: Proxy, feed: FakeFeed) -> None:
        for path in (VERSIONS, REGISTRATION, PACKAGE):
            assert (await ask(proxy, path)).status == 404
        await push(proxy)
        for path in (VERSIONS, REGISTRATION, PACKAGE):
            assert (await ask(proxy, path)).status == 200

    async def test_other_packages_stay_fresh(self, proxy: Proxy, feed: FakeFeed) -> None:
        feed.add(make_nupkg("Acme.B", "1.0.0"))
        other = "/v3/content/acme.b/index.json"
        await ask(proxy, other)
        await push(proxy)
        assert (await ask(proxy, other)).cache == "hit; ttl=300"

    @pytest.mark.parametrize("method", ["DELETE", "POST"])
    async def test_unlisting_and_relisting(self, proxy: Proxy, feed: FakeFeed, method: str) -> None:
        feed.add(SMALL, listed=method == "POST")
        await ask(proxy, REGISTRATION)
        got = await ask(proxy, f"{PUSH}/Acme.A/1.0.0", method, headers={"X-NuGet-ApiKey": KEY})
        assert got.status == 200
        assert writes(feed) == [f"{method} {UP}Acme.A/1.0.0"], "in the caller's spelling"
        assert (await ask(proxy, REGISTRATION)).cache.startswith("fwd=stale; fwd-status=")

    async def test_a_package_that_upstream_lists_late_is_found_when_it_does(
        self, proxy: Proxy, feed: FakeFeed, clock: FakeClock
    ) -> None:
        feed.late = True
        await ask(proxy, VERSIONS)
        await push(proxy)
        assert (await ask(proxy, VERSIONS)).status == 404
        clock.advance(10)
        feed.shelf.publish_deferred()
        assert (await ask(proxy, VERSIONS)).status == 200

    async def test_a_body_that_cannot_be_understood_makes_everything_be_asked_again(
        self, proxy: Proxy, feed: FakeFeed
    ) -> None:
        feed.add(make_nupkg("Acme.A", "0.9.0"))
        await ask(proxy, VERSIONS)
        feed.origin.routes[UP] = Script(status=201)
        feed.add(SMALL)
        await push(proxy, form(b"not a package"))
        assert (await ask(proxy, VERSIONS)).cache == "fwd=stale; fwd-status=200; stored"

    async def test_a_refusal_changes_nothing_for_long(self, proxy: Proxy, feed: FakeFeed) -> None:
        feed.add(SMALL)
        body = (await ask(proxy, VERSIONS)).body
        assert (await push(proxy)).status == 409
        assert (await ask(proxy, VERSIONS)).body == body

    @pytest.mark.parametrize(("path", "upstream"), [(VERSIONS, UP_VERSIONS), (SEARCH, "/azuresearch-usnc/query")])
    async def test_a_fetch_that_began_before_is_not_stored_after(
        self, start_proxy: StartProxy, feed: FakeFeed, path: str, upstream: str
    ) -> None:
        proxy = await start_proxy(feed.index_url)
        await ask(proxy, "/v3/index.json")
        old = b'{"versions":["0.9.0"],"totalHits":0,"data":[]}'
        gate = asyncio.Event()
        feed.origin.routes[upstream] = Script(body=old, gate=gate)
        early = asyncio.create_task(ask(proxy, path))
        await until(lambda: feed.count(upstream) == 1)
        assert (await push(proxy)).status == 201
        del feed.origin.routes[upstream]
        gate.set()
        assert (await early).cache == "fwd=uri-miss; fwd-status=200", "served to who asked before, not stored"
        assert b"1.0.0" in (await ask(proxy, path)).body

    async def test_what_is_stored_serves_on_when_upstream_fails_after_a_push(
        self, proxy: Proxy, feed: FakeFeed
    ) -> None:
        feed.add(make_nupkg("Acme.A", "0.9.0"))
        body = (await ask(proxy, VERSIONS)).body
        await push(proxy)
        await feed.set_mode("5xx")
        got = await ask(proxy, VERSIONS)
        assert (got.status, got.body, got.cache) == (200, body, 'fwd=stale; detail="5xx"')


class TestLimits:
    async def test_a_stated_length_beyond_the_limit(self, start_proxy: StartProxy, feed: FakeFeed) -> None:
        proxy = await start_proxy(feed.index_url, limits={"push": "1 KiB"})
        got = await push(proxy, b"x" * 5000)
        assert got.status == 413
        assert writes(feed) == []

    async def test_a_body_that_grows_beyond_the_limit(self, start_proxy: StartProxy, feed: FakeFeed) -> None:
        proxy = await start_proxy(feed.index_url, limits={"push": "100 KiB"})

        async def endless() -> AsyncIterator[bytes]:
            for _ in range(50):
                yield b"x" * 10_000

        got = await push(proxy, endless())
        assert got.status == 413
        assert not [seen for seen in feed.requests if len(seen.body) > 110_000]
        assert (await ask(proxy, VERSIONS)).status == 404, "upstream got no whole body"

    async def test_a_coded_body_is_not_taken(self, proxy: Proxy, feed: FakeFeed) -> None:
        assert (await push(proxy, **{"Content-Encoding": "gzip"})).status == 400
        assert writes(feed) == []


class TestExpect:
    async def exchange(self, proxy: Proxy, head: str, body: bytes) -> bytes:
        """Send the head, the body only after a 100; what came back."""
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.client.port)
        writer.write(f"{head}\r\nHost: localhost\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode())
        received = await reader.readuntil(b"\r\n\r\n")
        if received.startswith(b"HTTP/1.1 100 "):
            writer.write(body)
            received += await reader.read()
        writer.close()
        await writer.wait_closed()
        return received

    async def test_a_welcome_body_is_asked_for(self, proxy: Proxy, feed: FakeFeed) -> None:
        kind = "Content-Type: multipart/form-data; boundary=b0undary"
        head = f"PUT {PUSH} HTTP/1.1\r\nExpect: 100-continue\r\nX-NuGet-ApiKey: {KEY}\r\n{kind}"
        received = await self.exchange(proxy, head, form())
        assert received.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 ")
        assert "Expect" not in feed.requests[-1].headers

    async def test_an_unwelcome_body_is_not(self, start_proxy: StartProxy, feed: FakeFeed) -> None:
        proxy = await start_proxy(feed.index_url, limits={"push": "1 KiB"})
        received = await self.exchange(proxy, f"PUT {PUSH} HTTP/1.1\r\nExpect: 100-continue", b"x" * 5000)
        assert received.startswith(b"HTTP/1.1 413 ")
        assert b"100 Continue" not in received

    async def test_a_client_of_before_is_told_nothing_that_it_does_not_know(self, proxy: Proxy, feed: FakeFeed) -> None:
        """RFC 9110 section 10.1.1."""
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.client.port)
        head = f"PUT {PUSH} HTTP/1.0\r\nHost: localhost\r\nExpect: 100-continue\r\nX-NuGet-ApiKey: {KEY}\r\n"
        kind = f"Content-Type: multipart/form-data; boundary=b0undary\r\nContent-Length: {len(form())}\r\n\r\n"
        writer.write(f"{head}{kind}".encode() + form())
        assert (await reader.read()).startswith(b"HTTP/1.1 201 ")
        writer.close()
        await writer.wait_closed()

    async def test_a_command_with_a_body_is_asked_for(self, proxy: Proxy) -> None:
        authorization = basic(await token(proxy, "admin"))["Authorization"]
        head = f"POST /-/purge HTTP/1.1\r\nExpect: 100-continue\r\nAuthorization: {authorization}"
        async with asyncio.timeout(5):
            received = await self.exchange(proxy, f"{head}\r\nContent-Type: application/json", b"{}")
        assert received.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 ")


class TestTurnedOff:
    async def test_pushing(self, start_proxy: StartProxy, feed: FakeFeed) -> None:
        proxy = await start_proxy(feed.index_url, upstream={"push": False})
        got = await push(proxy)
        assert 400 <= got.status < 500 and b"turned off" in got.body
        assert writes(feed) == []
        assert (await ask(proxy, f"{PUSH}/A/1.0.0", "DELETE", headers={"X-NuGet-ApiKey": KEY})).status == 404

    async def test_deleting(self, start_proxy: StartProxy, feed: FakeFeed) -> None:
        proxy = await start_proxy(feed.index_url, upstream={"delete": False})
        for method in ("DELETE", "POST"):
            got = await ask(proxy, f"{PUSH}/A/1.0.0", method)
            assert 400 <= got.status < 500 and b"turned off" in got.body
        assert writes(feed) == []
        assert (await push(proxy)).status == 201

    async def test_a_feed_that_takes_no_pushes(self, proxy: Proxy, feed: FakeFeed) -> None:
        feed.omit = {"PackagePublish"}
        assert (await push(proxy)).status == 404


@pytest.mark.parametrize("method", ["GET", "HEAD", "PATCH", "OPTIONS", "TRACE"])
async def test_other_methods_are_not_for_the_push_resource(proxy: Proxy, feed: FakeFeed, method: str) -> None:
    got = await ask(proxy, PUSH, method)
    assert got.status == 405
    assert "PUT" in got.headers["Allow"]
    assert writes(feed) == []


class TestCredentials:
    """The configured credentials are for reading; a client that writes shows its own."""

    @pytest.fixture
    def upstream(self, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
        monkeypatch.setenv("TEST_PASSWORD", canary.PASSWORD)
        monkeypatch.setenv("TEST_TOKEN", canary.TOKEN)
        secret = {"X-Team-Token": "env:TEST_TOKEN", "X-Team": "build"}
        return {"username": canary.USER, "password": "env:TEST_PASSWORD", "headers": secret}

    async def test_the_proxys_own_are_not_lent(
        self, start_proxy: StartProxy, feed: FakeFeed, upstream: dict[str, Any]
    ) -> None:
        proxy = await start_proxy(feed.index_url, upstream=upstream)
        assert (await push(proxy, key=None)).status == 401
        await ask(proxy, f"{PUSH}/Acme.A/1.0.0", "DELETE")
        for seen in feed.requests:
            reading = seen.method == "GET"
            assert ("Authorization" in seen.headers, "X-Team-Token" in seen.headers) == (reading, reading), seen.method
            assert seen.headers["X-Team"] == "build", "what is no secret goes along always"

    async def test_the_clients_go_along(
        self, start_proxy: StartProxy, feed: FakeFeed, upstream: dict[str, Any]
    ) -> None:
        proxy = await start_proxy(feed.index_url, upstream=upstream)
        assert (await push(proxy, Authorization="Basic eDp5")).status == 201
        seen = feed.requests[-1].headers
        assert (seen["Authorization"], seen["X-NuGet-ApiKey"]) == ("Basic eDp5", KEY)

    async def test_where_the_operator_lends_them_the_clients_stay_here(
        self, start_proxy: StartProxy, feed: FakeFeed, upstream: dict[str, Any]
    ) -> None:
        headers = {"X-NuGet-ApiKey": "env:TEST_TOKEN"}
        proxy = await start_proxy(
            feed.index_url, upstream={**upstream, "headers": headers, "push_credentials": "proxy"}
        )
        assert (await push(proxy, key="the-clients", Authorization="Basic eDp5")).status == 403
        seen = feed.requests[-1].headers
        basic = base64.b64encode(f"{canary.USER}:{canary.PASSWORD}".encode()).decode()
        assert (seen["Authorization"], seen["X-NuGet-ApiKey"]) == (f"Basic {basic}", canary.TOKEN)

    async def test_a_debug_page_of_the_upstream_does_not_hand_them_out(
        self, start_proxy: StartProxy, feed: FakeFeed, upstream: dict[str, Any]
    ) -> None:
        def debug_page(seen: Seen) -> Script:
            basic = seen.headers["Authorization"]
            shown = f"{basic} {base64.b64decode(basic.removeprefix('Basic ')).decode()} {seen.headers['X-Team-Token']}"
            return Script(status=500, reason=shown, headers=[("X-NuGet-Warning", shown)], body=shown.encode())

        proxy = await start_proxy(feed.index_url, upstream={**upstream, "push_credentials": "proxy"})
        feed.origin.routes[UP] = debug_page
        got = await push(proxy)
        hidden = f"Basic [hidden] {canary.USER}:[hidden] [hidden]"
        assert (got.status, got.reason, got.body) == (500, hidden, hidden.encode())
        assert got.headers["X-NuGet-Warning"] == hidden


class TestMoved:
    """A feed that has moved its push address."""

    @pytest.mark.parametrize("status", [301, 302, 307, 308])
    @pytest.mark.parametrize("read", [True, False, 100_000], ids=["after", "before", "within"])
    async def test_the_push_arrives_whole_where_it_is_taken_now(
        self, proxy: Proxy, feed: FakeFeed, status: int, read: bool | int
    ) -> None:
        moved = Script(status=status, headers=[("Location", "/push2/")], read_body=read)
        feed.origin.routes |= {UP: moved, "/push2/": Script(status=201)}
        body = form(make_nupkg("Acme.A", "1.0.0", size=1_000_000))
        assert (await push(proxy, body)).status == 201
        seen = feed.requests[-1]
        assert (seen.method, seen.path, seen.headers["X-NuGet-ApiKey"]) == ("PUT", "/push2/", KEY)
        assert seen.body == body

    async def test_where_the_disk_is_full_the_client_sends_it_again_through_us(
        self, proxy: Proxy, feed: FakeFeed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(write_body, "_open_copy", lambda _spool: None)
        feed.origin.routes |= {
            UP: Script(status=308, headers=[("Location", "/push2/")]),
            "/push2/": Script(status=201),
        }
        got = await ask(proxy, PUSH, "PUT", data=form(), headers=sending(), allow_redirects=False)
        assert (got.status, got.headers["Location"]) == (307, f"{proxy.url}{PUSH}")
        assert (await push(proxy)).status == 201
        assert [(seen.path, seen.body) for seen in feed.requests[-2:]] == [(UP, form()), ("/push2/", form())]


async def test_a_write_is_never_redirected_to_another_origin(proxy: Proxy, feed: FakeFeed) -> None:
    feed.origin.routes[UP] = Script(status=307, headers=[("Location", f"{feed.origin.localhost}/elsewhere")])
    got = await push(proxy)
    assert (got.status, failures(proxy, "redirect_denied")) == (502, 1)
    assert feed.count("/elsewhere") == 0
    assert "Location" not in got.headers


async def test_one_line_says_who_wrote_what(proxy: Proxy, feed: FakeFeed) -> None:
    with capture_logs() as logs:
        await push(proxy)
        await ask(proxy, f"{PUSH}/Acme.A/1.0.0", "DELETE", headers={"X-NuGet-ApiKey": "wrong"})
    lines = [entry for entry in logs if entry["event"] == "write.audit"]
    assert [(entry["method"], entry["status"]) for entry in lines] == [("PUT", 201), ("DELETE", 403)]
    assert [(entry["package"], entry["version"]) for entry in lines] == [("acme.a", "1.0.0")] * 2


@pytest.mark.parametrize(
    "script", [Script(status=409, reason="No"), Script(raw=b"", end="rst")], ids=["refused", "unknown"]
)
async def test_the_line_names_the_package_of_a_push_that_failed(proxy: Proxy, feed: FakeFeed, script: Script) -> None:
    feed.origin.routes[UP] = script
    with capture_logs() as logs:
        await push(proxy, form(make_nupkg("Acme.New", "1.2.3-Beta+5")))
    (line,) = [entry for entry in logs if entry["event"] == "write.audit"]
    assert (line["package"], line["version"]) == ("acme.new", "1.2.3-beta")


@pytest.mark.parametrize(
    "script",
    [
        Script(status=201, headers=[("Location", "https://feed.example/packages/Acme.New/1.2.3-Beta?x=y")]),
        Script(status=409, reason="A package with ID 'Acme.New' and version '1.2.3-Beta' already exists."),
        Script(status=400, body=b"The feed already contains 'Acme.New' with version '1.2.3-Beta'."),
    ],
    ids=["its place", "the reason phrase", "the body"],
)
async def test_where_the_disk_takes_no_copy_the_answer_names_the_package(
    proxy: Proxy, feed: FakeFeed, monkeypatch: pytest.MonkeyPatch, script: Script
) -> None:
    monkeypatch.setattr(write_body, "_open_copy", lambda _spool: None)
    feed.origin.routes[UP] = script
    with capture_logs() as logs:
        await push(proxy)
    (line,) = [entry for entry in logs if entry["event"] == "write.audit"]
    assert (line["package"], line["version"]) == ("acme.new", "1.2.3-beta")


async def test_what_an_answer_does_not_say_is_not_made_up(
    proxy: Proxy, feed: FakeFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write_body, "_open_copy", lambda _spool: None)
    for script in (Script(status=201), Script(status=201, headers=[("Location", "/api/v2/package/")])):
        feed.origin.routes[UP] = script
        with capture_logs() as logs:
            await push(proxy)
        (line,) = [entry for entry in logs if entry["event"] == "write.audit"]
        assert (line["package"], line["version"]) == (None, None)


class TestStalled:
    async def test_the_wait_for_a_stalled_body_is_not_begun_again_by_the_answer(
        self, start_proxy: StartProxy, feed: FakeFeed
    ) -> None:
        """Neither where upstream never answers nor where it has answered already."""
        proxy = await start_proxy(feed.index_url, server={"body_timeout": "400ms"})
        await ask(proxy, "/v3/index.json")
        for script in (Script(status=201), Script(status=401, read_body=False)):
            feed.origin.routes[UP] = script
            reader, writer = await asyncio.open_connection("127.0.0.1", proxy.client.port)
            writer.write(f"PUT {PUSH} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999\r\n\r\nabc".encode())
            began = asyncio.get_running_loop().time()
            status = (await reader.readline()).split()[1]
            assert (status, asyncio.get_running_loop().time() - began < 0.75) == (
                b"400" if script.status == 201 else b"401",
                True,
            )
            writer.close()


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """Everything that is logged, as it would be written."""
    with fake_logs.written() as stream:
        yield stream


async def test_the_key_is_nowhere_but_upstream(proxy: Proxy, feed: FakeFeed, written: io.StringIO) -> None:
    answers = []
    for script in (
        Script(status=201),
        Script(status=403, reason="No"),
        Script(raw=b"", end="rst"),
        Script(raw=b"nonsense\r\n\r\n", end="fin"),
        Script(status=302, headers=[("Location", "http://elsewhere/")]),
    ):
        feed.origin.routes[UP] = script
        answers.append(await push(proxy, key=CANARY))
        answers.append(await ask(proxy, VERSIONS, headers={"X-NuGet-ApiKey": CANARY, "Authorization": CANARY}))
    assert [seen for seen in feed.requests if seen.headers.get("X-NuGet-ApiKey") == CANARY]
    assert not [seen for seen in feed.requests if seen.method == "GET" and CANARY in str(seen.headers)]
    metrics = await ask(proxy, "/metrics")
    log.shutdown()
    assert "write.audit" in written.getvalue()
    assert CANARY not in written.getvalue()
    for got in (*answers, metrics):
        assert CANARY.encode() not in got.body
        assert CANARY not in str(got.headers)
    await proxy.stop()
    assert not [
        path for path in Path(proxy.directory).rglob("*") if path.is_file() and CANARY.encode() in path.read_bytes()
    ]


@pytest.mark.parametrize("path", [PUSH, "/-/refresh"])
async def test_a_malformed_chunk_ends_a_body_at_once(
    proxy: Proxy, feed: FakeFeed, path: str, written: io.StringIO
) -> None:
    await ask(proxy, "/v3/index.json")
    allowed = basic(await token(proxy, "admin")) if path == "/-/refresh" else {}
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.client.port)
    fields = {"Host": "localhost", "Content-Type": "application/json", "Transfer-Encoding": "chunked", **allowed}
    fields["Expect"] = "100-continue"
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    began = asyncio.get_running_loop().time()
    try:
        writer.write(f"{'PUT' if path == PUSH else 'POST'} {path} HTTP/1.1\r\n{head}\r\n".encode())
        assert b" 100 " in await reader.readuntil(b"\r\n\r\n")
        writer.write(b"5\r\nabcde\r\n")
        await until(lambda: bool(writes(feed)) or path != PUSH)
        writer.write(b"no chunk\r\n")
        got = await reader.read()
    finally:
        writer.close()
    assert asyncio.get_running_loop().time() - began < 20, "long before body_timeout"
    assert (got.split()[1], b"not well-formed" in got) == (b"400", True)
    await until(lambda: feed.origin.active == 0)
    assert feed.shelf.packages == {}
    log.shutdown()
    assert "Traceback" not in written.getvalue()


async def test_a_client_that_leaves_within_the_body_completes_nothing(proxy: Proxy, feed: FakeFeed) -> None:
    await ask(proxy, "/v3/index.json")
    _, writer = await asyncio.open_connection("127.0.0.1", proxy.client.port)
    head = f"PUT {PUSH} HTTP/1.1\r\nHost: localhost\r\nX-NuGet-ApiKey: {KEY}\r\nContent-Length: 500000\r\n\r\n"
    writer.write(head.encode() + b"x" * 300_000)
    await until(lambda: bool(writes(feed)))
    writer.transport.abort()
    await until(lambda: feed.origin.active == 0)
    assert len(feed.requests[-1].body) < 500_000
    assert feed.shelf.packages == {}


async def test_a_connection_serves_on_after_a_push(proxy: Proxy, feed: FakeFeed) -> None:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as session:
        for status in (201, 409):
            async with session.put(proxy.url + PUSH, data=form(), headers=sending()) as response:
                assert response.status == status
            async with session.get(proxy.url + VERSIONS) as response:
                assert response.status == 200


async def test_a_write_for_a_host_that_is_not_ours_goes_nowhere(proxy: Proxy, feed: FakeFeed) -> None:
    """A page in somebody's browser must not be able to push by a name of its own that leads here."""
    got = await push(proxy, Host="evil.example")
    assert got.status == 421
    assert writes(feed) == []


async def test_a_read_after_a_push_does_not_join_a_fetch_from_before_it(proxy: Proxy, feed: FakeFeed) -> None:
    await ask(proxy, "/v3/index.json")
    gate = asyncio.Event()
    before, after = (Script(body=json.dumps({"versions": versions}).encode()) for versions in (["0.9.0"], ["1.0.0"]))
    feed.origin.routes[UP_VERSIONS] = [replace(before, gate=gate), after]
    early = asyncio.create_task(ask(proxy, VERSIONS))
    await until(lambda: feed.count(UP_VERSIONS) == 1)
    assert (await push(proxy)).status == 201
    late = await ask(proxy, VERSIONS)
    assert json.loads(late.body) == {"versions": ["1.0.0"]}
    gate.set()
    assert json.loads((await early).body) == {"versions": ["0.9.0"]}
    feed.origin.routes[UP_VERSIONS] = after
    assert json.loads((await ask(proxy, VERSIONS)).body) == {"versions": ["1.0.0"]}, "what is late is not stored"
