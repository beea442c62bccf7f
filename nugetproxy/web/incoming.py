"""Incoming is the body of a write as it comes from its client."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Self

from aiohttp import HttpVersion11, StreamReader, hdrs
from aiohttp.http_exceptions import HttpProcessingError

from nugetproxy.errors import BadRequest, ProxyError
from nugetproxy.web import http as web

DRAIN_BYTES = 512 * 2**20
DRAIN_SECONDS = 120.0
MALFORMED_BODY = "The body of the request is not well-formed HTTP/1.1."


def awaits_welcome(request: web.BaseRequest) -> bool:
    """Whether its client asks first if its body is welcome (RFC 9110 section 10.1.1); one of HTTP/1.0 knows no answer
    to that.
    """
    return request.version >= HttpVersion11 and request.headers.get(hdrs.EXPECT, "").lower() == "100-continue"


def welcome(request: web.BaseRequest) -> None:
    """Tell its client to send its body."""
    if request.transport is not None:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")


class Incoming:
    """Pieces as they arrive; who waits for one may be cancelled without losing it.

    Raises BadRequest for what is malformed, and when nothing comes for ``stall`` seconds; at once from then on:
    nothing waits for it again.
    """

    def __init__(self, content: StreamReader, *, stall: float) -> None:
        self._content = content
        self._stall = stall
        self._stalled = False
        self._since: float | None = None
        """When the wait for what comes next began."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._stalled:
            raise self._too_slow()
        if self._since is None:
            self._since = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout_at(self._since + self._stall):
                chunk = await self._content.readany()
        except TimeoutError as stall:
            self._stalled = True
            raise self._too_slow() from stall
        except HttpProcessingError as error:
            raise BadRequest(MALFORMED_BODY) from error
        self._since = None
        if not chunk:
            raise StopAsyncIteration
        return chunk

    async def drain(self) -> None:
        """Read what is left, within bounds."""
        if self._stalled or self._content.is_eof():
            return
        left = DRAIN_BYTES
        with suppress(TimeoutError, ConnectionError, ProxyError, web.RequestPayloadError):
            async with asyncio.timeout(DRAIN_SECONDS):
                async for chunk in self:
                    left -= len(chunk)
                    if left < 0:
                        return

    def _too_slow(self) -> BadRequest:
        return BadRequest(f"The body stalled for {self._stall:g} s; send it again.")
