"""Bulk is the rest of a long body, received into a ring of memory past aiohttp's parser."""

from __future__ import annotations

import asyncio
from mmap import mmap
from typing import Final, Self

import aiohttp
from aiohttp.client_proto import ResponseHandler

from nugetproxy.upstream.lines import Raw

RING: Final = 2**20
"""Bytes that may wait for their reader."""
ENOUGH: Final = RING // 2
"""So many are worth waking the reader at once,"""
LINGER: Final = 0.005
"""less only after so many seconds."""
LEAST: Final = 128 * 1024
"""What is shorter is left to aiohttp."""
SPARE: Final = 4
"""Rings that are kept for the next ones: fresh memory costs the kernel more than what is copied into it."""

_spare: list[mmap] = []


class Bulk(asyncio.BufferedProtocol):
    """Stands in for aiohttp's protocol on one connection until the body is here.

    aiohttp copies a body three times on its way and reads it in pieces of the kernel's choice. Here the kernel writes
    it where its reader finds it. The ring bounds the memory of a fast upstream in front of a slow disk.
    """

    def __init__(
        self, content: aiohttp.StreamReader, handler: ResponseHandler, transport: asyncio.Transport, left: int
    ) -> None:
        """As ``begin``, which says when."""
        self._loop = asyncio.get_running_loop()
        self._content = content
        self._handler = handler
        self._transport = transport
        self._silence = handler.read_timeout
        self._left = left
        self._ring = _spare.pop() if _spare else mmap(-1, RING)
        self._view = memoryview(self._ring)
        self._received = self._taken = self._freed = 0
        """Bytes that came in, that the reader was given, that it has done with."""
        self._paused = False
        self._error: BaseException | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._linger: asyncio.TimerHandle | None = None

    @classmethod
    def begin(cls, answer: Raw, taken: int) -> Self | None:
        """Take over behind the first ``taken`` bytes; None where aiohttp is to go on.

        It must, where the end of the body is not known beforehand, or where it holds bytes itself.
        """
        connection, length = answer.connection, answer.content_length
        handler = connection.protocol if connection is not None else None
        transport = handler.transport if handler is not None else None
        if handler is None or transport is None or length is None or "Transfer-Encoding" in answer.headers:
            return None
        if length - taken < LEAST or answer.content.total_bytes != taken or not transport.is_reading():
            return None
        bulk = cls(answer.content, handler, transport, length - taken)
        handler.read_timeout = None  # its watch is ours from here on; the next request sets another
        handler.start_timeout()
        transport.set_protocol(bulk)
        return bulk

    # --- for the reader ---

    async def next(self) -> memoryview:
        """The next bytes, empty at the end; good until the next call. Raises what aiohttp would."""
        self._freed = self._taken
        if self._freed == self._received:  # begin anew: a slow upstream needs no more memory than what comes at once
            self._received = self._taken = self._freed = 0
        if self._paused and self._received - self._freed < RING:
            self._paused = False
            self._transport.resume_reading()
        if not self._is_enough:
            await self._more()
        count = min(self._received - self._taken, RING - self._taken % RING)
        if not count and self._error is not None:
            raise self._error
        at = self._taken % RING
        self._taken += count
        return self._view[at : at + count]

    def close(self) -> None:
        """The reader is done, with what it was given, too."""
        if self._linger is not None:
            self._linger.cancel()
        if self._left <= 0 and len(_spare) < SPARE:  # else the kernel may still write into it
            _spare.append(self._ring)

    @property
    def _is_enough(self) -> bool:
        return self._received - self._taken >= ENOUGH or self._left <= 0 or self._error is not None

    async def _more(self) -> None:
        """Wait until there is enough for the reader; for a first byte as long as upstream may be silent."""
        self._waiter = self._loop.create_future()
        silence = self._loop.call_later(self._silence, self._fall_silent) if self._silence else None
        if self._received > self._taken:
            self._wake_soon()
        try:
            await self._waiter
        finally:
            self._waiter = None
            if silence is not None:
                silence.cancel()

    def _fall_silent(self) -> None:
        if self._received == self._taken:
            self._fail(aiohttp.SocketTimeoutError("Timeout on reading data from socket"))

    def _fail(self, error: BaseException) -> None:
        self._error = self._error or error
        self._wake()

    def _wake_soon(self) -> None:
        if self._linger is None:
            self._linger = self._loop.call_later(LINGER, self._wake)

    def _wake(self) -> None:
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # --- for the transport ---

    def get_buffer(self, sizehint: int) -> memoryview:
        """Room for what comes next: for one byte more than the body has, so that one too many is seen."""
        at = self._received % RING
        room = min(RING - at, RING - (self._received - self._freed), self._left + 1)
        return self._view[at : at + room]

    def buffer_updated(self, nbytes: int) -> None:
        """So many bytes have been written there."""
        if nbytes > self._left:
            self._handler.force_close()  # upstream goes on talking: nothing of it may answer another request
            nbytes = self._left
        self._left -= nbytes
        self._received += nbytes
        if self._left == 0:
            self._give_back()
        elif self._received - self._freed == RING:
            self._paused = True
            self._transport.pause_reading()
        if self._is_enough:
            self._wake()
        elif self._waiter is not None:
            self._wake_soon()

    def _give_back(self) -> None:
        """The connection is aiohttp's again, which puts it into its pool."""
        self._handler.set_response_params()  # a new parser: to the old one, what comes now would be this body's
        self._transport.set_protocol(self._handler)
        self._content.feed_eof()

    def eof_received(self) -> None:
        """Upstream sends no more; the transport ends the connection next."""
        self._handler.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """It ended within the body."""
        self._handler.connection_lost(exc)
        self._fail(
            self._content.exception() or aiohttp.ClientPayloadError(f"Response payload is not completed: {exc!r}")
        )

    def pause_writing(self) -> None:
        """As aiohttp's."""
        self._handler.pause_writing()

    def resume_writing(self) -> None:
        """As aiohttp's."""
        self._handler.resume_writing()
