"""Connections beyond the limits are closed at once."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

import pytest

from nugetproxy.web import server
from tests.conftest import StartProxy
from tests.fakes.asking import until
from tests.fakes.feed import FakeFeed
from tests.fakes.proxy import Proxy

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Connect = Callable[[Proxy, str], Awaitable[Connection]]


async def answered(connection: Connection) -> bool:
    """Whether a request on it gets an answer."""
    reader, writer = connection
    try:
        writer.write(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await writer.drain()
        return (await reader.readline()).startswith(b"HTTP/1.1 200")
    except ConnectionError:
        return False


@pytest.fixture(autouse=True)
async def complaints() -> AsyncIterator[list[str]]:
    """What asyncio would log: a closed connection is nothing unexpected."""
    found: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: found.append(str(context["message"])))
    yield found
    gc.collect()
    assert found == []


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Opens connections from this machine's own addresses; closes them at the end."""
    opened: list[asyncio.StreamWriter] = []

    async def begin(proxy: Proxy, address: str) -> Connection:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.client.port, local_addr=(address, 0))
        opened.append(writer)
        return reader, writer

    yield begin
    for writer in opened:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def test_one_address_may_have_so_many(
    start_proxy: StartProxy, feed: FakeFeed, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "LOOPBACK", ())
    proxy = await start_proxy(feed.index_url, server={"max_connections_per_ip": 2})
    ours = [await connect(proxy, "127.0.0.2") for _ in range(3)]
    others = await connect(proxy, "127.0.0.3")
    assert [await answered(one) for one in (*ours, others)] == [True, True, False, True]
    assert proxy.metric("rejected_total", reason="connections_per_ip") == 1
    ours[0][1].close()
    await until(lambda: proxy.open_connections() == 2)
    assert await answered(await connect(proxy, "127.0.0.2"))


async def test_a_front_end_on_another_machine_may_have_more(
    start_proxy: StartProxy, feed: FakeFeed, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "LOOPBACK", ())
    limits = {"max_connections_per_ip": 1, "trusted_proxies": ["127.0.0.2"]}
    proxy = await start_proxy(feed.index_url, server=limits)
    several = [await connect(proxy, f"127.0.0.{last}") for last in (2, 2, 3, 3)]
    assert [await answered(one) for one in several] == [True, True, True, False]


async def test_a_front_end_on_this_machine_may_have_more(
    start_proxy: StartProxy, feed: FakeFeed, connect: Connect
) -> None:
    proxy = await start_proxy(feed.index_url, server={"max_connections_per_ip": 1, "max_connections": 3})
    several = [await connect(proxy, "127.0.0.1") for _ in range(4)]
    assert [await answered(one) for one in several] == [True, True, True, False]
    assert proxy.metric("rejected_total", reason="connections") == 1
