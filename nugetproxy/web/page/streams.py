"""Streams keep open pages up to date by server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import orjson
from aiohttp import hdrs

from nugetproxy.admin.desk import Desk
from nugetproxy.admin.page.viewer import Viewer
from nugetproxy.engine.outcome import CACHE_NAME
from nugetproxy.errors import Overloaded
from nugetproxy.web import http as web
from nugetproxy.web.connection import Connection
from nugetproxy.web.streamed import Streamed
from nugetproxy.web.whole import common_headers

MOST: Final = 50
EVERY: Final = 1.0
"""Seconds between two looks; what has not changed is not sent."""
BEAT: Final = 15
"""Looks after which something is sent all the same, so that nobody in between takes the stream for dead."""
LONGEST: Final = 600.0
"""Seconds of one stream; its page asks again, with what it may still see."""
AGAIN: Final = b"retry: 2000\n\n"
"""Milliseconds after which a browser asks again, such as behind a restart."""


class Streams:
    """At most ``MOST`` of them; each ends at once when its connection is to end."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._open: set[asyncio.Event] = set()
        self._seen: dict[Viewer, tuple[float, bytes]] = {}

    def __len__(self) -> int:
        return len(self._open)

    async def stream(self, request: web.BaseRequest, viewer: Viewer) -> web.StreamResponse:
        """Send what changes until the page is closed or the proxy stops; raises Overloaded."""
        if len(self._open) >= MOST:
            raise Overloaded("open pages with live updates")
        ending = asyncio.Event()
        self._open.add(ending)
        try:
            return await self._stream(request, viewer, ending)
        finally:
            self._open.discard(ending)
            if not self._open:
                self._seen.clear()

    def end(self) -> None:
        """End all of them; their pages ask again."""
        for ending in self._open:
            ending.set()

    async def _stream(self, request: web.BaseRequest, viewer: Viewer, ending: asyncio.Event) -> web.StreamResponse:
        connection = request.protocol
        assert isinstance(connection, Connection), "the server is a LimitedServer"
        connection.at_finish = ending.set
        response = Streamed(request, 200, _fields(), length=None)
        try:
            async with response:
                await response.write_piece(AGAIN)
                await self._send_changes(response, request, viewer, ending)
                await response.end()
        except ConnectionError:  # a page was closed: that is how a stream ends
            response.client_left()
        finally:
            connection.at_finish = None
        return response

    async def _send_changes(
        self, response: Streamed, request: web.BaseRequest, viewer: Viewer, ending: asyncio.Event
    ) -> None:
        sent, looks = b"", 0
        loop = asyncio.get_running_loop()
        last = loop.time() + LONGEST
        while not ending.is_set() and loop.time() < last:
            now = await self._look(viewer)
            if now != sent or looks >= BEAT:
                await response.write_piece(b"event: live\ndata: %b\n\n" % now)
                sent, looks = now, 0
            looks += 1
            try:
                async with asyncio.timeout(EVERY):
                    await ending.wait()
            except TimeoutError:
                if request.transport is None or request.transport.is_closing():
                    raise ConnectionResetError("the page was closed") from None

    async def _look(self, viewer: Viewer) -> bytes:
        """What a viewer sees now; everybody who may see the same shares it."""
        now = asyncio.get_running_loop().time()
        known = self._seen.get(viewer)
        if known is None or now - known[0] >= EVERY / 2:
            from nugetproxy.admin.page.overview import live  # large; most proxies are never looked at

            seen: Mapping[str, Any] = await live(self._desk, viewer)
            known = self._seen[viewer] = (now, orjson.dumps({name: seen[name] for name in seen if name != "at"}))
        return known[1]


def _fields() -> dict[str, str]:
    return {
        **common_headers("no-store", f"{CACHE_NAME}; fwd=bypass"),
        hdrs.CONTENT_TYPE: "text/event-stream; charset=utf-8",
        "X-Accel-Buffering": "no",  # nginx would keep events back
    }
