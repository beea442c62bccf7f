"""What goes over the wire, byte by byte: persistence, pipelining, complete responses in one piece."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

import pytest

from nugetproxy.engine.outcome import CacheStatus
from tests.conftest import StartProxy
from tests.fakes.asking import (
    LARGE,
    PACKAGE,
    REGISTRATION,
    SMALL,
    UP_PACKAGE,
    VERSIONS,
    ask,
    staged,
    until,
)
from tests.fakes.feed import FakeFeed
from tests.fakes.origin import Script
from tests.fakes.packages import make_nupkg
from tests.fakes.proxy import Proxy

KEEP, CLOSE = "Connection: keep-alive\r\n", "Connection: close\r\n"
PATHS = ["/v3/index.json", VERSIONS, PACKAGE]


@pytest.fixture(autouse=True)
def acme(feed: FakeFeed) -> None:
    feed.add(SMALL)


@asynccontextmanager
async def connected(proxy: Proxy) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    host, port = proxy.client.host, proxy.client.port
    reader, writer = await asyncio.open_connection(host, port)
    try:
        yield reader, writer
    finally:
        writer.close()


def request(proxy: Proxy, path: str, *, method: str = "GET", version: str = "1.1", more: str = "") -> bytes:
    return f"{method} {path} HTTP/{version}\r\nHost: {proxy.client.host}:{proxy.client.port}\r\n{more}\r\n".encode()


async def response(reader: asyncio.StreamReader, *, bodiless: bool = False) -> tuple[str, dict[str, str], bytes]:
    """Status line, fields by lower-case name, body."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    line, *rest = head.removesuffix("\r\n\r\n").split("\r\n")
    fields = dict(re.fullmatch(r"([^:]+): (.*)", field).groups() for field in rest)  # type: ignore[union-attr]
    fields = {name.lower(): value for name, value in fields.items()}
    assert len(fields) == len(rest), "no field twice"
    body = b"" if bodiless else await reader.readexactly(int(fields["content-length"]))
    return line, fields, body


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("version", "sent", "said", "stays"),
    [
        ("1.1", "", None, True),
        ("1.1", KEEP, None, True),
        ("1.1", CLOSE, "close", False),
        ("1.0", "", "close", False),
        ("1.0", KEEP, "keep-alive", True),
        ("1.0", CLOSE, "close", False),
    ],
)
async def test_persistence(proxy: Proxy, path: str, version: str, sent: str, said: str | None, stays: bool) -> None:
    """RFC 9112 section 9.3; an HTTP/1.0 client that did not ask for it must see the connection end.

    The status line says what we speak, not what was asked in (RFC 9110 section 6.2).
    """
    whole = await ask(proxy, path)
    async with connected(proxy) as (reader, writer):
        writer.write(request(proxy, path, version=version, more=sent))
        line, fields, body = await response(reader)
        assert (line, body) == ("HTTP/1.1 200 OK", whole.body)
        assert fields.get("connection") == said
        if stays:
            writer.write(request(proxy, path, version=version, more=sent))
            assert (await response(reader))[2] == whole.body
        else:
            assert await reader.read() == b""


async def test_without_a_body(proxy: Proxy) -> None:
    """A HEAD and a 304 end with their header section, whatever that says of a length."""
    whole = await ask(proxy, PACKAGE)
    async with connected(proxy) as (reader, writer):
        writer.write(request(proxy, PACKAGE, method="HEAD"))
        line, fields, _ = await response(reader, bodiless=True)
        assert (line, fields["content-length"]) == ("HTTP/1.1 200 OK", str(len(whole.body)))
        writer.write(request(proxy, PACKAGE, more=f"If-None-Match: {whole.headers['ETag']}\r\n"))
        line, fields, _ = await response(reader, bodiless=True)
        assert (line, fields["etag"]) == ("HTTP/1.1 304 Not Modified", whole.headers["ETag"])
        assert not {"content-length", "content-type", "transfer-encoding"} & fields.keys()
        writer.write(request(proxy, PACKAGE, more="Range: bytes=9999999-\r\n"))
        line, fields, body = await response(reader)
        assert (line[:13], body) == ("HTTP/1.1 416 ", b"")
        assert fields["content-range"] == f"bytes */{len(whole.body)}"


async def test_pipelined_requests_are_answered_in_order(proxy: Proxy) -> None:
    bodies = [(await ask(proxy, path)).body for path in PATHS]
    async with connected(proxy) as (reader, writer):
        writer.write(b"".join(request(proxy, path) for path in PATHS))
        assert [(await response(reader))[2] for _ in PATHS] == bodies


async def test_a_client_that_does_not_read_is_not_answered_on_and_on(proxy: Proxy, feed: FakeFeed) -> None:
    """Answers wait in the kernel and a little in our buffer; beyond that, requests wait."""
    for number in range(2, 60):
        feed.add(make_nupkg("Acme.A", f"{number}.0.0", description="many words " * 300))
    body = (await ask(proxy, REGISTRATION)).body
    count = 40_000_000 // len(body)

    def answered() -> float:
        return proxy.metric("requests_total", upstream="up", kind="registration", outcome="hit", status="200")

    async with connected(proxy) as (reader, writer):
        asking = asyncio.create_task(write_all(writer, request(proxy, REGISTRATION), count))
        seen = -1.0
        while seen <= 0 or seen != answered():  # until it answers no more
            seen = answered()
            await asyncio.sleep(0.05)
        assert 0 < seen < count / 2
        for _ in range(count):
            assert (await response(reader))[2] == body
        await asking
    await until(lambda: answered() == count)


async def write_all(writer: asyncio.StreamWriter, one: bytes, count: int) -> None:
    for _ in range(count):
        writer.write(one)
        await writer.drain()


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "a\rb", "a\0b", "a\r\n"])
async def test_a_field_cannot_end_early(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch, value: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever a field may come to hold: the connection ends without a byte of it."""
    monkeypatch.setattr(CacheStatus, "header", lambda _: value)  # of a miss: a hit may have been prepared before
    async with connected(proxy) as (reader, writer):
        writer.write(request(proxy, VERSIONS))
        assert await reader.read() == b""
    assert "a header field holds a line break" in caplog.text


# --- what cannot be read ---

SENT = "<script>alert(1)</script>"


@pytest.mark.parametrize(
    ("raw", "status", "says"),
    [
        (f"GET /{SENT} HTTP/1.1\r\nHost: a\r\nBad Header: {SENT}\r\n\r\n", 400, "not well-formed"),
        (f"GET / HTTP/1.1\r\nHost: a\r\nX: {SENT}{'x' * 9000}\r\n\r\n", 400, "too long"),
        (f"GET /{SENT}{'x' * 9000} HTTP/1.1\r\nHost: a\r\n\r\n", 400, "too long"),
        (f"G\x01T /{SENT} HTTP/1.1\r\nHost: a\r\n\r\n", 400, "not well-formed"),
        ("GET /v3/index.json HTTP/2.0\r\nHost: a\r\n\r\n", 505, "HTTP/1.1 only"),
        ("GET /v3/index.json HTTP/3.0\r\nHost: a\r\n\r\n", 505, "HTTP/1.1 only"),
        ("GET /v3/index.json HTTP/0.9\r\nHost: a\r\n\r\n", 505, "HTTP/1.1 only"),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "HTTP/1.1 only"),
        (f"GET /{SENT} HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", 400, "not well-formed"),
    ],
)
async def test_what_cannot_be_read_is_refused_in_our_words(proxy: Proxy, raw: str, status: int, says: str) -> None:
    """Nothing of the request comes back, no version of anything is told, and the connection ends."""
    async with connected(proxy) as (reader, writer):
        writer.write(raw.encode())
        line, fields, body = await response(reader)
        assert await reader.read() == b""
    assert line.startswith(f"HTTP/1.1 {status} ")
    assert says in body.decode()
    assert fields["content-type"] == "application/json; charset=utf-8"
    assert (fields["x-content-type-options"], fields["connection"]) == ("nosniff", "close")
    answer = f"{line} {fields} {body!r}"
    assert "script" not in answer
    assert not re.search(r"aiohttp|Python", answer)


@pytest.mark.parametrize("query", ["q=\\", "q=%", 'q="<>{}', "q=[a]^`|"])
async def test_whatever_a_client_searches_for_is_asked_for(proxy: Proxy, feed: FakeFeed, query: str) -> None:
    async with connected(proxy) as (reader, writer):
        writer.write(request(proxy, f"/v3/query?{query}"))
        line, _, _ = await response(reader)
    assert line == "HTTP/1.1 200 OK"
    assert [value for (upstream, _), value in failures_of(proxy).items() if value and upstream == "up"] == []


def failures_of(proxy: Proxy) -> dict[tuple[str, str], float]:
    (family,) = proxy.app.metrics.upstream_failures.collect()
    return {
        (sample.labels["upstream"], sample.labels["reason"]): sample.value
        for sample in family.samples
        if sample.name.endswith("_total")
    }


# --- clients that take nothing ---


@pytest.mark.slow
@pytest.mark.parametrize("path", [REGISTRATION, PACKAGE], ids=["a document", "a package"])
async def test_a_client_that_takes_nothing_is_cut_off(start_proxy: StartProxy, feed: FakeFeed, path: str) -> None:
    """Every write has the write time-out; what is not sent yet is not copied for each such client."""
    feed.add(make_nupkg("Acme.A", "1.0.0", size=12_000_000))
    for number in range(2, 60):
        feed.add(make_nupkg("Acme.A", f"{number}.0.0", description=Random(number).randbytes(100_000).hex()))
    proxy = await start_proxy(feed.index_url, server={"write_timeout": "500ms"})
    assert len((await ask(proxy, path)).body) > 10_000_000
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(client, (proxy.client.host, proxy.client.port))
        await loop.sock_sendall(client, request(proxy, path))
        await until(lambda: proxy.metric("responses_aborted_total", reason="client_stall") == 1)


async def test_a_package_for_an_old_client_says_what_we_speak(proxy: Proxy, feed: FakeFeed) -> None:
    feed.add(make_nupkg("Acme.A", "3.0.0", size=400_000))
    for _ in ("from upstream", "held"):
        async with connected(proxy) as (reader, writer):
            writer.write(request(proxy, "/v3/content/acme.a/3.0.0/acme.a.3.0.0.nupkg", version="1.0"))
            line, fields, body = await response(reader)
            assert await reader.read() == b""
        assert (line, fields["connection"], len(body) > 400_000) == ("HTTP/1.1 200 OK", "close", True)


async def test_a_package_of_unknown_length_is_sent_in_chunks(proxy: Proxy, feed: FakeFeed) -> None:
    gate = asyncio.Event()
    feed.origin.routes[UP_PACKAGE] = Script(body=LARGE, chunked=True, length=None, gate=gate, gate_at=len(LARGE) // 2)
    async with connected(proxy) as (reader, writer):
        writer.write(request(proxy, PACKAGE))
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        assert "transfer-encoding: chunked" in head
        assert "content-length" not in head
        gate.set()
        body = bytearray()
        while size := int(await reader.readuntil(b"\r\n"), 16):
            body += await reader.readexactly(size)
            assert await reader.readexactly(2) == b"\r\n"
        assert await reader.readexactly(2) == b"\r\n"
        assert bytes(body) == LARGE
        writer.write(request(proxy, PACKAGE))
        assert (await response(reader))[2] == LARGE


async def test_no_file_is_open_for_a_package_whose_upstream_has_not_answered(proxy: Proxy, feed: FakeFeed) -> None:
    gate = asyncio.Event()
    feed.origin.routes[UP_PACKAGE] = Script(body=SMALL, gate=gate)
    asked = asyncio.create_task(ask(proxy, PACKAGE))
    await until(lambda: feed.count(UP_PACKAGE) == 1)
    assert staged(proxy) == []
    gate.set()
    assert (await asked).body == SMALL
