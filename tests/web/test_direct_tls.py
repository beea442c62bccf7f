"""Direct TLS answers as asyncio's TLS does, however records come in, however their client reads."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import trustme
from structlog.testing import capture_logs

from nugetproxy.web import direct_tls
from nugetproxy.web.direct_tls import DirectTls
from nugetproxy.web.listening import own_socket
from nugetproxy.web.server import LimitedServer
from tests.fakes.asking import PACKAGE, SMALL, VERSIONS, ask, until
from tests.fakes.feed import FakeFeed
from tests.fakes.packages import make_nupkg
from tests.fakes.proxy import Proxy
from tests.web.test_lane import get, steady

LARGE = make_nupkg("Acme.C", "1.0.0", size=3_000_000)
LARGE_PATH = "/v3/content/acme.c/1.0.0/acme.c.1.0.0.nupkg"
GET = get(VERSIONS, "Accept-Encoding: gzip")
TWO = get(PACKAGE)
LAST = get(VERSIONS, "Connection: close")
PATIENCE = 30.0
TURNS = 8
"""Of the loop, after which the server has read what was sent to it on this machine."""


@pytest.fixture(scope="module")
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The server's, the client's."""
    authority = trustme.CA()
    ours, theirs = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(ours)
    authority.configure_trust(theirs)
    return ours, theirs


@pytest.fixture(autouse=True)
async def warm(feed: FakeFeed, proxy: Proxy) -> None:
    feed.add(SMALL)
    feed.add(LARGE)
    for path in (VERSIONS, PACKAGE, LARGE_PATH):
        assert (await ask(proxy, path)).status == 200


class Client:
    """A client that makes its records by hand."""

    def __init__(self, context: ssl.SSLContext, port: int, *, receives: int = 0) -> None:
        self._loop = asyncio.get_running_loop()
        self._socket: socket.socket | None = None
        self._receives = receives
        self._port = port
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._in, self._out, server_hostname="127.0.0.1")
        self.ended = ""
        """How the server ended it: with or without saying so."""

    async def connect(self) -> None:
        """Until the handshake is done."""
        self._socket = socket.socket()
        self._socket.setblocking(False)
        if self._receives:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receives)
        await self._loop.sock_connect(self._socket, ("127.0.0.1", self._port))
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                await self.send(self._out.read())
                await self._receive()
            else:
                await self.send(self._out.read())
                return

    def close(self) -> None:
        """Hang up."""
        if self._socket is not None:
            self._socket.close()

    def record(self, data: bytes) -> bytes:
        """Data as one record."""
        self.tls.write(data)
        return self._out.read()

    def bye(self) -> bytes:
        """The record that says that nothing follows."""
        with suppress(ssl.SSLWantReadError):
            self.tls.unwrap()
        return self._out.read()

    async def send(self, packet: bytes) -> None:
        """Bytes that the server reads before whatever follows."""
        with suppress(ConnectionError):
            await self._loop.sock_sendall(self._socket, packet)
        for _ in range(TURNS):
            await asyncio.sleep(0)

    async def _receive(self) -> None:
        try:
            data = await asyncio.wait_for(self._loop.sock_recv(self._socket, 65_536), PATIENCE)
        except ConnectionError:
            data = b""
        self._in.write(data)
        if not data:
            self.ended = "cut"

    async def read(self, count: int = 2**30) -> bytes:
        """So many bytes, or all until the server ends the connection."""
        got = bytearray()
        while len(got) < count and not self.ended:
            try:
                data = self.tls.read(min(16_384, count - len(got)))
            except ssl.SSLWantReadError:
                await self._receive()
            except ssl.SSLError as error:
                self.ended = type(error).__name__
            else:
                self.ended = "" if data else "closed"
                got += data
        return bytes(got)

    async def answer(self) -> bytes:
        """One whole answer."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += await self.read(1)
            assert not self.ended, head
        size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        return head + await self.read(size)


@asynccontextmanager
async def serving(
    proxy: Proxy, context: ssl.SSLContext, *, direct: bool = True, write_timeout: float = 60.0
) -> AsyncIterator[tuple[LimitedServer, int]]:
    """A server of the proxy, with its port."""
    loop = asyncio.get_running_loop()
    limited = LimitedServer(
        proxy.app.edge,
        max_connections=1000,
        max_per_ip=1000,
        header_timeout=3600.0,
        write_timeout=write_timeout,
        metrics=proxy.app.metrics,
        lane=proxy.app.lane,
    )
    listener = own_socket("127.0.0.1", 0)
    if direct:
        server = await loop.create_server(lambda: DirectTls(loop, limited(), context), sock=listener)
    else:
        server = await loop.create_server(limited, sock=listener, ssl=context)
    try:
        yield limited, server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await limited.shutdown(1.0)


@asynccontextmanager
async def connected(context: ssl.SSLContext, port: int, *, receives: int = 0) -> AsyncIterator[Client]:
    client = Client(context, port, receives=receives)
    try:
        await client.connect()
        yield client
    finally:
        client.close()


def whole(client: Client) -> list[bytes]:
    return [client.record(GET), client.record(TWO), client.record(GET), client.record(LAST)]


def in_two_records(client: Client) -> list[bytes]:
    return [client.record(GET[:30]) + client.record(GET[30:]), client.record(LAST)]


def record_in_pieces(client: Client) -> list[bytes]:
    first, last = client.record(GET), client.record(LAST)
    return [first[:3], first[3:5], first[5:40], first[40:], last[:-1], last[-1:]]


def byte_by_byte(client: Client) -> list[bytes]:
    return [bytes([byte]) for byte in client.record(GET) + client.record(LAST)]


def pipelined_in_a_record(client: Client) -> list[bytes]:
    return [client.record(GET + TWO + GET), client.record(LAST)]


def pipelined_in_a_packet(client: Client) -> list[bytes]:
    return [b"".join(map(client.record, (GET, TWO, GET, LAST)))]


def tiny_records(client: Client) -> list[bytes]:
    return [b"".join(client.record(bytes([byte])) for byte in GET + TWO), client.record(LAST)]


def with_a_part_of_the_next(client: Client) -> list[bytes]:
    first, second, last = client.record(GET), client.record(TWO), client.record(LAST)
    return [first + second[:20], second[20:] + last[:4], last[4:]]


def two_ends_of_heads(client: Client) -> list[bytes]:
    return [client.record(GET + TWO[:9]), client.record(TWO[9:] + LAST[:50]), client.record(LAST[50:])]


def close_behind_a_request(client: Client) -> list[bytes]:
    return [client.record(GET), client.record(TWO) + client.bye()]


def close_in_the_middle(client: Client) -> list[bytes]:
    return [client.record(GET), client.record(GET[:20]) + client.bye()]


def large(client: Client) -> list[bytes]:
    return [client.record(get(LARGE_PATH)), client.record(GET), client.record(LAST)]


def large_head(client: Client) -> list[bytes]:
    return [client.record(get(VERSIONS, f"X-Much: {'m' * 6000}", f"X-More: {'m' * 6000}")), client.record(LAST)]


def beyond_a_record(client: Client) -> list[bytes]:
    return [client.record(GET[:-2] + b"X-Much: " + b"m" * 40_000 + b"\r\n\r\n")]


CONVERSATIONS = (
    whole,
    in_two_records,
    record_in_pieces,
    byte_by_byte,
    pipelined_in_a_record,
    pipelined_in_a_packet,
    tiny_records,
    with_a_part_of_the_next,
    two_ends_of_heads,
    close_behind_a_request,
    close_in_the_middle,
    large,
    large_head,
    beyond_a_record,
)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("packets_of", CONVERSATIONS)
async def test_both_ways_say_the_same(
    proxy: Proxy,
    contexts: tuple[ssl.SSLContext, ssl.SSLContext],
    version: ssl.TLSVersion,
    packets_of: Callable[[Client], Sequence[bytes]],
) -> None:
    ours, theirs = contexts
    theirs.minimum_version, theirs.maximum_version = ssl.TLSVersion.TLSv1_2, version
    heard = []
    for direct in (False, False, True):  # the first one fills the lane
        async with serving(proxy, ours, direct=direct) as (_, port), connected(theirs, port) as client:
            assert client.tls.version() == ("TLSv1.2" if version is ssl.TLSVersion.TLSv1_2 else "TLSv1.3")
            for packet in packets_of(client):
                await client.send(packet)
            heard.append((steady(await client.read()), client.ended))
    assert heard[1] == heard[2]
    assert heard[2][0].startswith(b"HTTP/1.1 ")
    theirs.maximum_version = ssl.TLSVersion.MAXIMUM_SUPPORTED


async def test_a_request_in_one_record_is_read_once(
    proxy: Proxy, contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    """asyncio reads until there is nothing more, which costs an exception of each request."""
    ours, theirs = contexts
    reads: list[int] = []

    class Watched(ssl.SSLObject):
        def read(self, len: int = 1024, buffer: bytearray | None = None) -> Any:
            if self.server_side:
                reads.append(len)
            return super().read(len, buffer)

    ours.sslobject_class = Watched
    try:
        async with serving(proxy, ours) as (_, port), connected(theirs, port) as client:
            await client.send(client.record(GET))
            await client.answer()
            await client.send(client.record(GET))
            await client.answer()
            reads.clear()
            before = proxy.app.lane.answered
            for _ in range(5):
                await client.send(client.record(GET))
                await client.answer()
            assert proxy.app.lane.answered == before + 5
            assert len(reads) == 5
            assert max(reads) <= 16_384, "each read allocates as much as it asks for"
    finally:
        ours.sslobject_class = ssl.SSLObject


async def test_a_slow_reader_gets_every_byte(proxy: Proxy, contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    ours, theirs = contexts
    async with serving(proxy, ours) as (_, port), connected(theirs, port, receives=4096) as client:
        await client.send(client.record(get(LARGE_PATH)))
        await client.send(client.record(GET))
        assert (await client.answer()).endswith(LARGE)
        assert (await client.answer()).startswith(b"HTTP/1.1 200")


async def test_who_takes_nothing_is_cut_off(proxy: Proxy, contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    ours, theirs = contexts
    async with (
        serving(proxy, ours, write_timeout=0.2) as (limited, port),
        connected(theirs, port, receives=4096) as client,
    ):
        await client.send(client.record(get(LARGE_PATH)))
        await until(lambda: limited.open_connections == 0)
        assert proxy.metric("responses_aborted_total", reason="client_stall") == 1


async def test_who_takes_no_hits_is_cut_off(proxy: Proxy, contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    ours, theirs = contexts
    async with (
        serving(proxy, ours, write_timeout=0.2) as (limited, port),
        connected(theirs, port, receives=4096) as client,
    ):
        for _ in range(20_000):
            if limited.open_connections == 0:
                break
            with suppress(BlockingIOError, TimeoutError):
                await asyncio.wait_for(client.send(client.record(GET)), 0.5)
        await until(lambda: limited.open_connections == 0)
        assert proxy.metric("responses_aborted_total", reason="client_stall") == 1


async def test_a_stop_waits_for_a_body(proxy: Proxy, contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    ours, theirs = contexts
    async with serving(proxy, ours) as (limited, port), connected(theirs, port, receives=4096) as client:
        await client.send(client.record(get(LARGE_PATH)))
        assert (await client.read(1000)).startswith(b"HTTP/1.1 200")
        limited.pre_shutdown()
        stopping = asyncio.ensure_future(limited.shutdown(PATIENCE))
        assert (await client.read()).endswith(LARGE[-1000:])
        assert client.ended == "closed"
        client.close()
        await stopping
        assert limited.open_connections == 0


@pytest.mark.parametrize("behind", [b"", GET])
async def test_a_broken_record_ends_its_connection_alone(
    proxy: Proxy, contexts: tuple[ssl.SSLContext, ssl.SSLContext], behind: bytes
) -> None:
    ours, theirs = contexts
    async with serving(proxy, ours) as (limited, port), connected(theirs, port) as other:
        async with connected(theirs, port) as client:
            await until(lambda: limited.open_connections == 2)
            await client.send((client.record(behind) if behind else b"") + b"\x17\x03\x03\x00\x20" + bytes(32))
            await client.read()
            assert client.ended
            await until(lambda: limited.open_connections == 1)
        await other.send(other.record(GET))
        assert (await other.answer()).startswith(b"HTTP/1.1 200")


async def test_who_speaks_no_tls_is_hung_up_on(
    proxy: Proxy, contexts: tuple[ssl.SSLContext, ssl.SSLContext], caplog: pytest.LogCaptureFixture
) -> None:
    ours, _ = contexts
    async with serving(proxy, ours) as (limited, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(GET)
        async with asyncio.timeout(PATIENCE):
            with suppress(ConnectionError):
                assert b"HTTP" not in await reader.read()
        writer.close()
        assert limited.open_connections == 0
    assert caplog.records == []


async def test_a_handshake_that_is_left_in_the_middle_leaves_nothing(
    proxy: Proxy, contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    ours, theirs = contexts
    async with serving(proxy, ours) as (limited, port):
        client = Client(theirs, port)
        with suppress(ssl.SSLWantReadError):
            client.tls.do_handshake()
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(client._out.read()[:50])
        await writer.drain()
        writer.close()
        async with connected(theirs, port) as other:
            await other.send(other.record(GET))
            assert (await other.answer()).startswith(b"HTTP/1.1 200")
            assert limited.open_connections == 1


async def test_private_attributes_of_asyncio_are_there() -> None:
    with capture_logs() as said:
        assert direct_tls.is_usable(asyncio.get_running_loop())
    assert said == []


async def test_another_asyncio_is_left_alone_with_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct_tls, "PRIVATE", direct_tls.PRIVATE | {"_renamed"})
    with capture_logs() as said:
        assert not direct_tls.is_usable(asyncio.get_running_loop())
    assert [event["event"] for event in said] == ["tls.not_direct"]
    assert "_renamed" in said[0]["detail"]


def test_another_loop_keeps_its_own_tls() -> None:
    uvloop = pytest.importorskip("uvloop")
    loop = uvloop.new_event_loop()
    try:
        assert not direct_tls.is_usable(loop)
    finally:
        loop.close()
