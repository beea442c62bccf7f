"""What goes over the wire, byte by byte: persistence, pipelining, complete responses in one piece."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from nugetproxy.engine.outcome import CacheStatus
from tests.fakes.asking import PACKAGE, REGISTRATION, SMALL, VERSIONS, ask, until
from tests.fakes.feed import FakeFeed
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
        return proxy.metric("requests_total", kind="registration", outcome="hit", status="200")

    async with connected(proxy) as (reader, writer):
        asking = asyncio.create_task(write_all(writer, request(proxy, REGISTRATION), count))
        seen = -1.0
        while seen != answered():  # until it answers no more
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
    await ask(proxy, VERSIONS)
    monkeypatch.setattr(CacheStatus, "header", lambda _: value)
    async with connected(proxy) as (reader, writer):
        writer.write(request(proxy, VERSIONS))
        assert await reader.read() == b""
    assert "a header field holds a line break" in caplog.text
