"""Paths, methods, bodies that are not as they must be: an answer, nothing asked upstream, nothing written."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.fakes.asking import PACKAGE, REGISTRATION, SMALL, VERSIONS, ask
from tests.fakes.feed import FakeFeed
from tests.fakes.proxy import Proxy

ROUTES = [
    "/v3/content/{}/index.json",
    "/v3/content/acme.a/{}/acme.a.1.0.0.nupkg",
    "/v3/content/acme.a/1.0.0/{}",
    "/v3/content/{}/1.0.0/acme.a.1.0.0.nupkg",
    "/v3/content/acme.a/{}/readme",
    "/v3/registration/gz-semver2/{}/index.json",
    "/v3/registration/gz-semver2/acme.a/{}.json",
    "/v3/registration/gz-semver2/acme.a/page/{}/1.0.0.json",
    "/v3/registration/{}/acme.a/index.json",
    "/v3/vulnerabilities/pages/{}/x.json",
    "/v3/catalog/{}/page.json",
    "/v3/x/{}",
    "/v3/signatures/{}/index.json",
    "/v3/{}/index.json",
    "/{}/v3/index.json",
    "/v3/index.json/{}",
    "/health/{}",
]
WORDS = [
    "..", ".", "../..", "../../../../etc/passwd", "..%2f..%2fetc%2fpasswd", "..%2F..%2Fetc", "%2e%2e", "%2E%2E%2F",
    "%2e%2e/%2e%2e", ".%2e", "%252e%252e%252f", "%252fetc", "..%5c..%5cetc", "%5c", "..\\..\\etc", "%00", "a%00b",
    "a%00.json", "%0d%0aX: y", "%0a", "%20", "a%20b", "a;x=y", "..;/", ";a.css", "a//b", "/", "//", "/etc/passwd",
    "./a", "a/.", "a/..", "%c0%ae%c0%ae%c0%af", "%c0%af", "%e0%80%ae", "%u002e%u002e", "%uff0e%uff0e",
    "%ef%bc%8e%ef%bc%8e",
    "%ff", "%fe", "%", "%2", "%zz", "%%35%63", "a%25b", "$HOME", "`id`", "$(id)", "a'b", 'a"b', "<script>",
    "{id}", "[a]", "a|b", "a^b", "a*", "a:b", "a@b", "a,b", "a=b", "a&b", "a!b", "a" * 1100, ".a",
    "con%2f", "a\u202eb",
]  # fmt: skip


PLAIN = ["-", "a.", "~root", "a..b", "a" * 101]
"""May be the names of documents; they lead nowhere else."""


def snapshot(directory: Path) -> set[str]:
    """Every file and directory around the cache, its database's own apart."""
    return {str(path) for path in directory.rglob("*") if "documents" not in path.parts}


async def raw(proxy: Proxy, target: str, method: str = "GET", head: str = "", body: bytes = b"") -> list[bytes]:
    """Send a target as it is; the status, if there was an answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.client.port)
    request = f"{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{head}\r\n"
    writer.write(request.encode("utf-8", "surrogateescape") + body)
    received = b""
    with contextlib.suppress(ConnectionResetError):
        received = await reader.read()
    writer.close()
    return received.split(b" ", 2)[1:2]


@pytest.mark.parametrize("route", ROUTES)
async def test_paths_that_lead_nowhere(proxy: Proxy, feed: FakeFeed, route: str, tmp_path: Path) -> None:
    await ask(proxy, "/v3/index.json")
    before, requests = snapshot(tmp_path), len(feed.requests)
    for word in WORDS:
        (status,) = await raw(proxy, route.format(word))
        assert status in {b"400", b"404"}, word
    assert len(feed.requests) == requests
    for word in PLAIN:
        path = route.format(word)
        (status,) = await raw(proxy, path)
        # Below /-/ are the commands, which want a token whatever they are called.
        assert status == (b"401" if path.startswith("/-/") else b"404"), word
    assert snapshot(tmp_path) == before


NEARLY = [
    "/v3/index.json/x.css",
    "/v3/index.json;.js",
    "/v3/index.json%3f.css",
    VERSIONS + "/a.js",
    PACKAGE + "/",
    PACKAGE + ".css",
    "/v3/content/acme.a/1.0.0/other.1.0.0.nupkg",
    "/v3/content/acme.a/1.0.0/acme.a.2.0.0.nupkg",
    "/v3/content/acme.a/1.0.0/acme.a.1.0.0.nupkg.sha512",
    "/v3/content/acme.a/1.0.0/staging",
    "/v3",
    "/",
    "/v3/",
    "/admin",
    "/favicon.ico",
    "/metrics/",
    "/health",
    "/v3/content/" + "a/" * 300,
]


async def test_paths_that_nearly_exist(proxy: Proxy, feed: FakeFeed) -> None:
    feed.add(SMALL)
    await ask(proxy, PACKAGE)
    before = len(feed.requests)
    for path in NEARLY:
        assert await raw(proxy, path) == [b"404"], path
    assert len(feed.requests) == before


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"])
async def test_reads_are_only_read(proxy: Proxy, feed: FakeFeed, method: str) -> None:
    for path in ("/v3/index.json", VERSIONS, PACKAGE, REGISTRATION, "/v3/query", "/health/live"):
        got = await ask(proxy, path, method)
        assert (got.status, got.headers["Allow"]) == (405, "GET, HEAD"), path
    assert not [seen for seen in feed.requests if seen.method == method]


@pytest.mark.parametrize("head", ["Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_read_with_a_body_is_refused_and_its_connection_closed(
    proxy: Proxy, feed: FakeFeed, method: str, head: str
) -> None:
    """The body must never be taken for a request of its own."""
    smuggled = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
    body = b"hello" if "Length" in head else b"5\r\nhello\r\n0\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.client.port)
    writer.write(f"{method} {VERSIONS} HTTP/1.1\r\nHost: localhost\r\n{head}\r\n".encode() + body + smuggled)
    received = b""
    with contextlib.suppress(ConnectionResetError):
        received = await reader.read()
    writer.close()
    assert received.startswith(b"HTTP/1.1 400 ")
    assert b"alive" not in received


async def test_a_query_beyond_all_measure(proxy: Proxy, feed: FakeFeed) -> None:
    assert await raw(proxy, "/v3/query?q=" + "a" * 3900) == [b"200"]
    before = len(feed.requests)
    assert await raw(proxy, "/v3/query?q=" + "a" * 5000) == [b"400"]
    assert len(feed.requests) == before


async def test_a_query_on_anything_but_a_search_is_left_out(proxy: Proxy, feed: FakeFeed) -> None:
    feed.add(SMALL)
    for query in ("", "?a=b", "?url=http://evil/", "?q=1&q=2"):
        assert (await ask(proxy, VERSIONS + query)).status == 200
    assert feed.count("/v3-flatcontainer/acme.a/index.json") == 1
    assert not [seen for seen in feed.requests if seen.query]


MALFORMED = [
    b"GET /v3/index.json HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"GET /v3/index.json HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"GET /v3/index.json HTTP/1.1\r\nHost: localhost\r\nContent-Length: +4\r\n\r\nabcd",
    b"GET /v3/index.json HTTP/1.1\r\nHost : localhost\r\n\r\n",
    b"GET /v3/index.json HTTP/1.1\r\nHost: localhost\r\nX: a\x00b\r\n\r\n",
    b"get /v3/index.json HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /v3/index.json HTTP/9.9\r\nHost: localhost\r\n\r\n",
    b"GET /v3/index.json HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 20_000 + b"\r\n\r\n",
    b"GET /v3/index.json HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 100 + b"\r\n",
    b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"nonsense\r\n\r\n",
]


@pytest.mark.parametrize("request_bytes", MALFORMED, ids=range(len(MALFORMED)))
async def test_what_is_not_http_is_refused(proxy: Proxy, feed: FakeFeed, request_bytes: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.client.port)
    writer.write(request_bytes)
    writer.write_eof()
    received = b""
    with contextlib.suppress(ConnectionResetError):
        received = await reader.read()
    writer.close()
    # Python 3.11 gives a client that has ended its side nothing.
    assert not received or received.split(b" ")[1] == (b"505" if b"HTTP/9.9" in request_bytes else b"400")
    assert feed.requests == []
    assert (await ask(proxy, "/health/live")).status == 200


async def test_no_path_crashes_a_request(proxy: Proxy) -> None:
    with capture_logs() as logs:
        for word in WORDS:
            await raw(proxy, f"/v3/content/{word}/index.json?{word}")
            await raw(proxy, f"/v3/package/{word}", "DELETE")
    assert not [entry for entry in logs if entry["event"] == "request.crashed"]
