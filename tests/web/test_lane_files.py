"""Large packages go from their files in the lane, whatever the client or the package does meanwhile."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from structlog.testing import capture_logs

from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.store.history.tally import Tally
from nugetproxy.store.packages.held import HeldPackage
from nugetproxy.web import kernelcopy
from nugetproxy.web.connection import Connection
from nugetproxy.web.listening import own_socket
from nugetproxy.web.server import LimitedServer
from tests.fakes.asking import PACKAGE, SMALL, ask, until
from tests.fakes.feed import FakeFeed
from tests.fakes.packages import make_nupkg
from tests.fakes.proxy import Proxy
from tests.web.test_lane import get, steady

LARGE = "/v3/content/acme.c/1.0.0/acme.c.1.0.0.nupkg"
CONTENT = make_nupkg("Acme.C", "1.0.0", size=3_000_000)
LENGTH = re.compile(rb"\r\nContent-Length: (\d+)\r\n")


class Client:
    """The other end of a connection; takes little before it is read from."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, server: LimitedServer) -> None:
        self.reader, self.writer, self.server = reader, writer, server

    def ask(self, request: bytes) -> None:
        self.writer.write(request)

    async def head(self) -> bytes:
        return await self.reader.readuntil(b"\r\n\r\n")

    async def answer(self, *, bodiless: bool = False) -> bytes:
        head = await self.head()
        found = LENGTH.search(head)
        length = 0 if bodiless or found is None else int(found[1])
        return head + await self.reader.readexactly(length)

    async def said(self, request: bytes, *, bodiless: bool = False) -> bytes:
        self.ask(request)
        return await self.answer(bodiless=bodiless)

    @property
    def connection(self) -> Connection:
        [connection] = self.server._peers
        return connection


@asynccontextmanager
async def client_of(proxy: Proxy, *, laned: bool = True, write_timeout: float = 60.0) -> AsyncIterator[Client]:
    limited = LimitedServer(
        proxy.app.edge,
        max_connections=10,
        max_per_ip=10,
        header_timeout=3600.0,
        write_timeout=write_timeout,
        metrics=proxy.app.metrics,
        lane=proxy.app.lane if laned else None,
    )
    loop = asyncio.get_running_loop()
    server = await loop.create_server(limited, sock=own_socket("127.0.0.1", 0))
    near = socket.socket()
    near.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
    near.setblocking(False)
    await loop.sock_connect(near, server.sockets[0].getsockname())
    reader, writer = await asyncio.open_connection(sock=near, limit=16 * 1024)
    try:
        yield Client(reader, writer, limited)
    finally:
        writer.transport.abort()
        server.close()
        await limited.shutdown(1.0)


def held_of(proxy: Proxy) -> HeldPackage:
    held = proxy.held.folder.kept.get(PackageIdentity("acme.c", "1.0.0"))
    assert held is not None
    return held


async def under_way(proxy: Proxy, client: Client) -> None:
    """The lane sends a body which its client does not take."""
    before = proxy.app.lane.answered
    client.ask(get(LARGE))
    assert b" 200 OK" in await client.head()
    assert client.connection._file is not None
    assert proxy.app.lane.answered == before


@pytest.fixture(autouse=True)
async def warm(feed: FakeFeed, proxy: Proxy) -> None:
    feed.add(SMALL)
    feed.add(CONTENT)
    for path in (PACKAGE, LARGE, LARGE):
        assert (await ask(proxy, path)).status == 200
    async with client_of(proxy) as client:
        await client.said(get(PACKAGE))
        await client.said(get(LARGE))


@pytest.mark.parametrize(
    ("request_of", "status", "size"),
    [
        (lambda _: get(LARGE), b"200", len(CONTENT)),
        (lambda _: get(LARGE, method="HEAD"), b"200", 0),
        (lambda _: get(LARGE, "Range: bytes=1000000-1999999"), b"206", 1_000_000),
        (lambda _: get(LARGE, "Range: bytes=-2500000"), b"206", 2_500_000),
        (lambda tag: get(LARGE, f"If-None-Match: {tag}"), b"304", 0),
    ],
)
async def test_a_large_package_takes_the_lane_in_every_form(
    proxy: Proxy, request_of: Callable[[str], bytes], status: bytes, size: int
) -> None:
    request, bodiless = request_of(held_of(proxy).etag), not size
    labels = {"upstream": "up", "kind": "package", "outcome": "hit", "status": status.decode()}
    async with client_of(proxy) as client, client_of(proxy, laned=False) as ordinary:
        await client.said(request, bodiless=bodiless)
        counted, sent = proxy.metric("requests_total", **labels), proxy.metric("sent_bytes_total", kind="package")
        await proxy.app.history.flush()
        with capture_logs() as events:
            expected = await ordinary.said(request, bodiless=bodiless)
            await until(lambda: len(events) == 1)
            before = proxy.app.lane.answered
            answer = await client.said(request, bodiless=bodiless)
            await until(lambda: len(events) == 2)
            assert proxy.app.lane.answered == before + 1
    assert expected[9:12] == status
    assert steady(answer) == steady(expected)
    usual, laned = [{**event, "ms": 0} for event in events]
    assert usual == laned
    assert laned["bytes"] == size
    assert proxy.metric("requests_total", **labels) == counted + 2
    assert proxy.metric("sent_bytes_total", kind="package") == sent + 2 * size
    one, other = [
        (tally.what, tally.who, tally.times) for tally in proxy.app.history.pending if isinstance(tally, Tally)
    ]
    assert one == other


class Sender:
    """Takes so many bytes at once."""

    def __init__(self, fd: int, takes: int) -> None:
        self._fd, self._takes = fd, takes

    def send(self, data: bytes, flags: int) -> int:
        assert flags == socket.MSG_MORE
        if not self._takes:
            raise BlockingIOError
        return os.write(self._fd, data[: self._takes])


def packets_to(client: Client) -> int:
    """Those with bytes in them that have come in (tcpi_data_segs_in)."""
    near = client.writer.get_extra_info("socket")
    return int.from_bytes(near.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 160)[152:156], sys.byteorder)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems count no packets")
@pytest.mark.parametrize("laned", [True, False])
async def test_head_and_body_out_of_a_file_are_one_packet(proxy: Proxy, laned: bool) -> None:
    async with client_of(proxy, laned=laned) as client:
        asked = get(LARGE, "Range: bytes=5-9")
        await client.said(asked)
        before, answered = packets_to(client), proxy.app.lane.answered
        assert (await client.said(asked)).endswith(b"\r\n\r\n" + CONTENT[5:10])
        assert proxy.app.lane.answered == answered + laned
        assert packets_to(client) == before + 1


@pytest.mark.parametrize("takes", [None, 0, 10])
async def test_on_the_ordinary_path_such_a_head_is_sent_first_too(proxy: Proxy, takes: int | None) -> None:
    async with client_of(proxy, laned=False) as client:
        expected = await client.said(get(LARGE))
        copy = client.connection._copy
        assert copy is not None
        copy._sender = None if takes is None else Sender(copy._out, takes)
        assert steady(await client.said(get(LARGE))) == steady(expected)


async def test_on_the_ordinary_path_too_a_fast_client_is_known_from_one_body_to_the_next(proxy: Proxy) -> None:
    async with client_of(proxy, laned=False) as client:
        for _ in range(2):
            await client.said(get(LARGE))
        copy = client.connection._copy
        assert copy is not None
        assert copy._fast
        assert copy._socket == -1, "what it waits with is given back"


async def test_an_answer_out_of_a_file_comes_after_what_waits_in_the_transport(proxy: Proxy) -> None:
    async with client_of(proxy, laned=False) as client:
        expected = await client.said(get(LARGE))
        transport = client.connection.transport
        assert transport is not None
        before = b"-" * (8 * 2**20)  # more than the kernel takes
        transport.write(before)
        assert transport.get_write_buffer_size()
        client.writer.write(get(LARGE))
        assert await client.reader.readexactly(len(before)) == before
        assert steady(await client.reader.readexactly(len(expected))) == steady(expected)


@pytest.mark.parametrize("takes", [None, 0, 10])
async def test_a_head_that_the_kernel_does_not_take_at_once_is_sent_first(proxy: Proxy, takes: int | None) -> None:
    """None: on a loop that lends nobody its sockets."""
    async with client_of(proxy) as client:
        expected = await client.said(get(LARGE))
        copy = client.connection._copy
        assert copy is not None
        copy._sender = None if takes is None else Sender(copy._out, takes)
        answered = proxy.app.lane.answered
        assert steady(await client.said(get(LARGE))) == steady(expected)
        assert proxy.app.lane.answered == answered + 1


async def test_the_body_waits_for_a_head_that_the_client_does_not_take(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with client_of(proxy) as client:
        await client.said(get(LARGE))
        connection = client.connection
        copy, transport = connection._copy, connection.transport
        assert copy is not None
        assert transport is not None
        copy._sender = Sender(copy._out, 0)
        write = transport.write

        def held_back(data: bytes) -> None:
            connection.pause_writing()
            monkeypatch.setattr(transport, "write", write)
            write(data)

        monkeypatch.setattr(transport, "write", held_back)
        monkeypatch.setattr(transport, "get_write_buffer_size", lambda: 1)
        client.ask(get(LARGE))
        assert b" 200 OK" in await client.head()
        assert connection._file is not None
        assert copy.at == 0
        connection.resume_writing()
        assert await client.reader.readexactly(len(CONTENT)) == CONTENT
        await until(lambda: connection._file is None)


async def test_a_client_that_has_left_is_told_nothing(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    held, aborted = held_of(proxy), proxy.metric("responses_aborted_total", reason="client_left")
    async with client_of(proxy) as client:
        await client.said(get(LARGE))

        def gone(*_args: object) -> int:
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))

        monkeypatch.setattr(kernelcopy.os, "sendfile", gone)
        with capture_logs() as events:
            client.ask(get(LARGE))
            await cut_off(proxy, events, held, "client_left")
    assert proxy.metric("responses_aborted_total", reason="client_left") == aborted + 1


async def test_what_comes_in_while_a_body_is_sent_is_answered_behind_it(proxy: Proxy) -> None:
    async with client_of(proxy) as client:
        await under_way(proxy, client)
        connection = client.connection
        client.ask(get(PACKAGE))
        await until(lambda: bool(connection._pending))
        client.ask(get(LARGE, "Range: bytes=5-9"))
        assert await client.reader.readexactly(len(CONTENT)) == CONTENT
        assert (await client.answer()).endswith(SMALL)
        assert (await client.answer()).endswith(b"\r\n\r\n" + CONTENT[5:10])
        await client.said(get(PACKAGE))


async def test_who_sends_much_while_a_body_is_sent_waits(proxy: Proxy) -> None:
    async with client_of(proxy) as client:
        await under_way(proxy, client)
        connection, asked = client.connection, get(PACKAGE)
        client.ask(asked * 10_000)
        await until(lambda: bool(connection.transport is not None and not connection.transport.is_reading()))  # type: ignore[attr-defined]
        assert len(connection._pending) < 1_000_000
        assert await client.reader.readexactly(len(CONTENT)) == CONTENT
        for _ in range(50):
            assert (await client.answer()).endswith(SMALL)


async def test_a_package_that_is_purged_while_it_is_sent_is_sent_whole(proxy: Proxy) -> None:
    async with client_of(proxy) as client:
        await under_way(proxy, client)
        held = held_of(proxy)
        await proxy.held.purge(PackageIdentity("acme.c", "1.0.0"))
        assert not held.closed
        assert await client.reader.readexactly(len(CONTENT)) == CONTENT
        await until(lambda: held.closed)
        before = proxy.app.lane.answered
        assert (await client.said(get(LARGE))).endswith(CONTENT)
        assert proxy.app.lane.answered == before, "it was fetched again"


async def cut_off(proxy: Proxy, events: list[Any], held: HeldPackage, why: str) -> None:
    await until(lambda: bool(events))
    [event] = events
    assert event["detail"] == f"cut off: {why}"
    assert (event["outcome"], event["status"], event["bytes"]) == ("failed", 0, 0)
    await proxy.held.purge(PackageIdentity("acme.c", "1.0.0"))
    await until(lambda: held.closed)


async def test_a_client_that_takes_nothing_is_cut_off(proxy: Proxy) -> None:
    held, aborted = held_of(proxy), proxy.metric("responses_aborted_total", reason="client_stall")
    async with client_of(proxy, write_timeout=0.05) as client:
        with capture_logs() as events:
            client.ask(get(LARGE))
            await cut_off(proxy, events, held, "client_stall")
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await client.answer()
    assert proxy.metric("responses_aborted_total", reason="client_stall") == aborted + 1


@pytest.mark.parametrize("laned", [True, False])
async def test_a_client_may_leave_in_the_middle(proxy: Proxy, laned: bool) -> None:
    held, aborted = held_of(proxy), proxy.metric("responses_aborted_total", reason="client_left")
    async with client_of(proxy, laned=laned) as client:
        with capture_logs() as events:
            client.ask(get(LARGE))
            await client.head()
            client.writer.transport.abort()
            await cut_off(proxy, events, held, "client_left")
    assert proxy.metric("responses_aborted_total", reason="client_left") == aborted + 1
    assert proxy.metric("rejected_total", reason="malformed") == 0


async def test_a_stop_waits_for_a_body(proxy: Proxy) -> None:
    async with client_of(proxy) as client:
        await under_way(proxy, client)
        stopping = asyncio.create_task(client.server.shutdown(60.0))
        await until(lambda: client.connection._ending)
        assert await client.reader.read(10) == CONTENT[:10]
        assert await client.reader.readexactly(len(CONTENT) - 10) == CONTENT[10:]
        assert await client.reader.read() == b""
        await stopping


async def test_a_stop_does_not_wait_for_ever(proxy: Proxy) -> None:
    held, aborted = held_of(proxy), proxy.metric("responses_aborted_total", reason="client_left")
    async with client_of(proxy) as client:
        await under_way(proxy, client)
        with capture_logs() as events:
            await client.server.shutdown(0.05)
            await cut_off(proxy, events, held, "client_left")
    assert proxy.metric("responses_aborted_total", reason="client_left") == aborted + 1


async def test_a_connection_that_takes_a_body_is_not_idle(proxy: Proxy) -> None:
    async with client_of(proxy) as client:
        await under_way(proxy, client)
        client.connection._next_keepalive_close_time = 0.0
        client.connection._process_keepalive()
        assert await client.reader.readexactly(len(CONTENT)) == CONTENT
        assert (await client.said(get(PACKAGE))).endswith(SMALL)


@pytest.mark.parametrize("laned", [True, False])
async def test_a_body_is_sent_without_a_free_descriptor(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch, laned: bool
) -> None:
    tried = []

    def full(fd: int) -> int:
        tried.append(fd)
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(kernelcopy.os, "dup", full)
    async with client_of(proxy, laned=laned) as client:
        assert (await client.said(get(LARGE))).endswith(b"\r\n\r\n" + CONTENT)
        assert tried
        assert (await client.said(get(PACKAGE))).endswith(SMALL)


async def test_a_file_that_became_shorter_cuts_the_connection(proxy: Proxy) -> None:
    async with client_of(proxy) as client:
        await under_way(proxy, client)
        os.truncate(next(proxy.packages.glob("acme.c/1.0.0/*.nupkg")), 2_500_000)
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await client.reader.readexactly(len(CONTENT))
