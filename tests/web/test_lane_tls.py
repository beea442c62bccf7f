"""The lane over https: the same answers as the ordinary path's, with its own links, never those of plain http."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trustme

from nugetproxy.web.direct_tls import DirectTls
from tests.fakes.asking import PACKAGE, REGISTRATION, SMALL, VERSIONS, ask
from tests.fakes.feed import FakeFeed
from tests.fakes.packages import make_nupkg
from tests.fakes.proxy import Proxy
from tests.web.test_lane import INDEX, MIDDLE, NUSPEC, get, server_of, steady

PATHS = [INDEX, VERSIONS, REGISTRATION, PACKAGE, MIDDLE, NUSPEC]
_LENGTH = re.compile(rb"\r\nContent-Length: (\d+)\r\n")


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


class Connected:
    """A client's end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def said(self, request: bytes) -> bytes:
        """The whole answer."""
        self.writer.write(request)
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = _LENGTH.search(head)
        assert length is not None, head
        return head + await self.reader.readexactly(int(length[1]))


@asynccontextmanager
async def connected(proxy: Proxy, authority: trustme.CA | None, *, laned: bool = True) -> AsyncIterator[Connected]:
    """A connection to the proxy; with an authority over TLS."""
    ours = theirs = None
    if authority is not None:
        ours, theirs = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
        authority.issue_cert("127.0.0.1").configure_cert(ours)
        authority.configure_trust(theirs)
    limited = server_of(proxy, proxy.app.lane if laned else None)
    loop = asyncio.get_running_loop()
    accepted = limited if ours is None else lambda: DirectTls(loop, limited(), ours)
    server = await loop.create_server(accepted, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=theirs)
    try:
        yield Connected(reader, writer)
    finally:
        writer.close()
        await writer.wait_closed()
        server.close()
        await limited.shutdown(1.0)


@pytest.fixture(autouse=True)
async def warm(feed: FakeFeed, proxy: Proxy) -> None:
    feed.add(SMALL)
    feed.add(make_nupkg("Acme.B", "1.0.0", size=20_000))
    for path in PATHS:
        assert (await ask(proxy, path)).status == 200
        assert (await ask(proxy, path)).status == 200


@pytest.mark.parametrize("path", PATHS)
async def test_hits_over_tls_take_the_lane(proxy: Proxy, authority: trustme.CA, path: str) -> None:
    request = get(path, "Accept-Encoding: gzip")
    async with connected(proxy, authority) as wire, connected(proxy, authority, laned=False) as ordinary:
        expected = steady(await ordinary.said(request))
        first, before = steady(await wire.said(request)), proxy.app.lane.answered
        for number in range(1, 4):
            assert steady(await wire.said(request)) == first == expected
            assert proxy.app.lane.answered == before + number


async def test_tls_and_plain_http_are_two_answers(proxy: Proxy, authority: trustme.CA) -> None:
    request = get(INDEX, "Accept-Encoding: identity")
    async with connected(proxy, authority) as secure, connected(proxy, None) as plain:
        for _ in range(3):
            over_tls, without = await secure.said(request), await plain.said(request)
            assert b"https://127.0.0.1:1/" in over_tls
            assert b"http://127.0.0.1" not in over_tls
            assert b"http://127.0.0.1:1/" in without
            assert b"https://127.0.0.1" not in without
    assert proxy.app.lane.answered >= 4


async def test_a_large_package_over_tls_takes_the_ordinary_path(
    proxy: Proxy, feed: FakeFeed, authority: trustme.CA
) -> None:
    """The kernel does not speak TLS: its bytes must pass through this process."""
    content = make_nupkg("Acme.C", "1.0.0", size=300_000)
    feed.add(content)
    path = "/v3/content/acme.c/1.0.0/acme.c.1.0.0.nupkg"
    await ask(proxy, path)
    async with connected(proxy, authority) as secure, connected(proxy, None) as plain:
        for wire in (secure, plain, secure):
            before = proxy.app.lane.answered
            for _ in range(3):
                assert (await wire.said(get(path))).endswith(content)
            assert proxy.app.lane.answered == before + (2 if wire is plain else 0)
