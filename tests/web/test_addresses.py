"""Under which names clients find us, who may say so, who may not."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.conftest import StartProxy
from tests.fakes.asking import REGISTRATION, SMALL, ask
from tests.fakes.feed import FakeFeed
from tests.fakes.proxy import Proxy

LOOPBACK = {"trusted_proxies": ["127.0.0.1"]}
HOSTILE = [
    {"Host": "evil.example"},
    {"Host": "evil.example:80"},
    {"Host": "127.0.0.1.evil.example"},
    {"Host": "localhost@evil.example"},
    {"Host": "evil.example#localhost"},
    {"Host": "localhost:80@evil"},
    {"Host": "a b"},
    {"Host": "localhost/../"},
    {"Host": "[::1]evil"},
    {"Host": "169.254.169.254"},
]
HARMLESS = [
    {"X-Forwarded-Host": "evil.example"},
    {"X-Forwarded-Proto": "https"},
    {"X-Forwarded-Prefix": "/evil"},
    {"X-Forwarded-For": "1.2.3.4"},
    {"Forwarded": "host=evil.example;proto=https"},
    {"X-Host": "evil.example"},
    {"X-Original-URL": "/evil"},
    {"X-HTTP-Host-Override": "evil.example"},
]


async def bases(proxy: Proxy, path: str = "/v3/index.json", **headers: str) -> set[str]:
    """What stands before ``/v3/`` in all of our links."""
    got = await ask(proxy, path, headers=headers)
    assert got.status == 200, got.body
    links = [entry["@id"] for entry in json.loads(got.body)["resources"]]
    return {link.partition("/v3/")[0] for link in links if "/v3/" in link and "gallery" not in link}


@pytest.mark.parametrize("headers", HOSTILE, ids=str)
async def test_a_host_that_is_not_ours_is_told_nothing(proxy: Proxy, feed: FakeFeed, headers: dict[str, str]) -> None:
    golden = await ask(proxy, "/v3/index.json")
    before = len(feed.requests)
    got = await ask(proxy, "/v3/index.json", headers=headers)
    assert got.status in {400, 421}
    assert b"evil" not in got.body
    assert len(feed.requests) == before
    assert (await ask(proxy, "/v3/index.json")).body == golden.body


@pytest.mark.parametrize("headers", HARMLESS, ids=str)
async def test_a_stranger_cannot_change_our_links(proxy: Proxy, feed: FakeFeed, headers: dict[str, str]) -> None:
    feed.add(SMALL)
    for path in ("/v3/index.json", REGISTRATION, "/v3/query?q=a"):
        poisoned = await ask(proxy, path, headers=headers)
        clean = await ask(proxy, path)
        assert poisoned.body == clean.body
        assert b"evil" not in clean.body


async def test_two_names_each_get_their_own_links(proxy: Proxy, feed: FakeFeed) -> None:
    port = proxy.client.port
    for _ in range(2):
        for host in (f"localhost:{port}", f"127.0.0.1:{port}", f"[::1]:{port}", f"LocalHost:{port}"):
            assert await bases(proxy, Host=host) == {f"http://{host}"}
    assert feed.count("/v3/index.json") == 1, "one stored copy for all"


async def test_configured_names(start_proxy: StartProxy, feed: FakeFeed) -> None:
    proxy = await start_proxy(feed.index_url, server={"allowed_hosts": ["nuget.corp.example"]})
    assert await bases(proxy, Host="nuget.corp.example:8080") == {"http://nuget.corp.example:8080"}
    assert (await ask(proxy, "/v3/index.json", headers={"Host": "other.corp.example"})).status == 421


@pytest.mark.parametrize(
    "public", ["https://nuget.corp.example", "https://nuget.corp.example/feeds/nuget", "http://[fd00::1]:8081"]
)
async def test_the_public_url_wins(start_proxy: StartProxy, feed: FakeFeed, public: str) -> None:
    proxy = await start_proxy(feed.index_url, server={"public_url": public, **LOOPBACK})
    for headers in ({}, *HOSTILE[:2], *HARMLESS):
        assert await bases(proxy, **headers) == {public}
    named = await ask(proxy, "/up/v3/index.json")
    assert f"{public}/up/v3/content/".encode() in named.body


class TestTrustedProxy:
    @pytest.fixture
    async def proxy(self, start_proxy: StartProxy, feed: FakeFeed) -> Proxy:
        return await start_proxy(feed.index_url, server=LOOPBACK)

    @pytest.mark.parametrize(
        ("headers", "base"),
        [
            ({"X-Forwarded-Host": "nuget.corp.example"}, "http://nuget.corp.example"),
            (
                {"X-Forwarded-Host": "nuget.corp.example", "X-Forwarded-Proto": "https"},
                "https://nuget.corp.example",
            ),
            ({"X-Forwarded-Host": "a.example:8443", "X-Forwarded-Proto": "https"}, "https://a.example:8443"),
            ({"X-Forwarded-Host": "a.example:443", "X-Forwarded-Proto": "https"}, "https://a.example"),
            ({"X-Forwarded-Host": "[fd00::1]:8080"}, "http://[fd00::1]:8080"),
            ({"X-Forwarded-Host": "a.example", "X-Forwarded-Prefix": "/nuget/"}, "http://a.example/nuget"),
            ({"X-Forwarded-Host": "a.example, inner.example"}, "http://a.example"),
        ],
        ids=str,
    )
    async def test_says_how_clients_reach_us(self, proxy: Proxy, headers: dict[str, str], base: str) -> None:
        assert await bases(proxy, **headers) == {base}

    @pytest.mark.parametrize(
        "headers",
        [
            {"X-Forwarded-Host": "a.example:99999"},
            {"X-Forwarded-Host": "[:::::]"},
            {"X-Forwarded-Host": "[1.2.3.4.5]"},
            {"X-Forwarded-Host": "a b"},
            {"X-Forwarded-Host": "x@evil"},
            {"X-Forwarded-Host": "a.example", "X-Forwarded-Proto": "javascript"},
            {"X-Forwarded-Host": "a.example", "X-Forwarded-Prefix": "/a/../b"},
            {"X-Forwarded-Host": "a.example", "X-Forwarded-Prefix": "//evil.example"},
            {"X-Forwarded-Host": "a.example", "X-Forwarded-Prefix": '/"><script>'},
            {"Host": "other.example", "X-Forwarded-Proto": "https"},
        ],
        ids=str,
    )
    async def test_nonsense_is_refused(self, proxy: Proxy, headers: dict[str, str]) -> None:
        assert (await ask(proxy, "/v3/index.json", headers=headers)).status == 421

    async def test_over_https_the_signatures_are_offered(self, proxy: Proxy) -> None:
        host = {"X-Forwarded-Host": "a.example"}
        plain = await ask(proxy, "/v3/index.json", headers=host)
        secure = await ask(proxy, "/v3/index.json", headers={**host, "X-Forwarded-Proto": "https"})
        assert b"RepositorySignatures" not in plain.body
        entries = [entry for entry in json.loads(secure.body)["resources"] if "Signatures" in entry["@type"]]
        assert entries and all(entry["@id"].startswith("https://a.example/v3/signatures/") for entry in entries)
        assert b"http://a.example" not in secure.body
        got = await ask(proxy, "/v3/signatures/5.0.0/index.json")
        assert b'"contentUrl":"https://gallery.example/' in got.body.replace(b": ", b":")


async def exchanged(proxy: Proxy, line: str, *fields: str, body: bytes = b"") -> bytes:
    """What is answered to a request as it is written."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.client.port)
    length = [f"Content-Length: {len(body)}"] if body else []
    head = "\r\n".join([line, *fields, "Connection: close", *length, "", ""])
    writer.write(head.encode() + body)
    received = await reader.read()
    writer.close()
    await writer.wait_closed()
    return received


@pytest.mark.parametrize("target", ["http://evil.example", "evil.example:443", "*.", "http://", "http://a@localhost/"])
@pytest.mark.parametrize("method", ["GET", "CONNECT", "OPTIONS"])
async def test_a_target_that_is_not_ours_is_refused(proxy: Proxy, feed: FakeFeed, method: str, target: str) -> None:
    path = "/v3/index.json" if target.startswith("http:") else ""
    received = await exchanged(proxy, f"{method} {target}{path} HTTP/1.1", "Host: localhost")
    assert received.split(b" ")[1:2] in ([b"400"], [b"404"], [b"405"], [b"421"], []), received
    assert not [seen for seen in feed.requests if "evil" in seen.target]


async def test_the_server_as_a_whole_says_what_it_takes(proxy: Proxy) -> None:
    """RFC 9110 section 9.3.7; no other method has that target (RFC 9112 section 3.2.4)."""
    received = await exchanged(proxy, "OPTIONS * HTTP/1.1", "Host: localhost")
    assert received.startswith(b"HTTP/1.1 204 ")
    assert b"\r\nAllow: GET, HEAD, POST, PUT, DELETE\r\n" in received
    for line in ("GET *", "OPTIONS *x", "OPTIONS x"):
        assert (await exchanged(proxy, f"{line} HTTP/1.1", "Host: localhost")).startswith(b"HTTP/1.1 400 "), line


@pytest.mark.parametrize("host", ["localhost:7", "127.0.0.1", "LOCALHOST"])
async def test_the_host_of_a_target_in_absolute_form_counts(proxy: Proxy, host: str) -> None:
    """RFC 9112 section 3.2.2: it must be taken, whatever the header field says."""
    for path in ("/v3/index.json", "/up/v3/index.json"):
        expected = await exchanged(proxy, f"GET {path} HTTP/1.1", f"Host: {host}")
        assert f'"http://{host}/'.encode() in expected
        for field in (host, "evil.example"):
            received = await exchanged(proxy, f"GET HTTP://{host}{path} HTTP/1.1", f"Host: {field}")
            assert received.partition(b"\r\n\r\n")[2] == expected.partition(b"\r\n\r\n")[2]


async def test_a_target_in_absolute_form_is_taken_on_a_connection_of_any_requests(proxy: Proxy, feed: FakeFeed) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.client.port)
    bases = []
    for target in ("/v3/index.json", "http://localhost:7/v3/index.json", "/v3/index.json") * 2:
        writer.write(f"GET {target} HTTP/1.1\r\nHost: localhost:8\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r")[0])
        bases.append(b"localhost:7" in await reader.readexactly(length))
    assert bases == [False, True, False] * 2
    writer.close()
    await writer.wait_closed()
    assert (await exchanged(proxy, "GET http://localhost?x HTTP/1.1", "Host: a")).startswith(b"HTTP/1.1 404 ")
    assert (await exchanged(proxy, "GET https://localhost/v3/index.json HTTP/1.1", "Host: a")).startswith(
        b"HTTP/1.1 400 "
    ), "not how we were reached"
    pushed = await exchanged(proxy, "PUT http://localhost/v3/package HTTP/1.1", "Host: a", body=SMALL)
    assert pushed.startswith(b"HTTP/1.1 401 "), pushed
    assert feed.requests[-1].body == SMALL
