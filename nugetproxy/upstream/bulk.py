"""Bulk is the rest of a long body, received into a ring of memory past aiohttp's parser."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final, Self

import aiohttp
from aiohttp.client_proto import ResponseHandler

from nugetproxy.upstream.lines import Raw
from nugetproxy.upstream.rings import RING, rings

ENOUGH: Final = RING // 2
"""So many bytes of a body that has no room in the ring are worth waking the reader at once,"""
LINGER: Final = 0.005
"""less only after so many seconds."""
LONGEST: Final = 0.05
"""Seconds for which a body that has room in the ring is waited for as a whole, while more of it keeps coming."""
LEAST: Final = 64 * 1024
"""What is shorter is left to aiohttp."""


class Bulk(asyncio.BufferedProtocol):
    """Stands in for aiohttp's protocol on one connection until the body is here.

    aiohttp copies a body three times on its way and reads it in pieces of the kernel's choice. Here the kernel writes
    it where its reader finds it. The ring bounds the memory of a fast upstream in front of a slow disk.
    """

    def __init__(
        self,
        content: aiohttp.StreamReader,
        handler: ResponseHandler,
        transport: asyncio.Transport,
        *,
        first: bytes,
        left: int,
        silence: float,
    ) -> None:
        """As ``begin``, which says when."""
        self._loop = asyncio.get_running_loop()
        self._content = content
        self._handler = handler
        self._transport = transport
        self._silence = handler.read_timeout or silence
        self._left = left
        self._ring = rings.take()
        self._is_kept = False
        self._view = memoryview(self._ring)
        self._view[: len(first)] = first
        self._received = len(first)
        self._taken = self._freed = 0
        """Bytes that the reader was given, that it has done with; before that, those that came in."""
        has_room = len(first) + left <= RING
        self._enough = RING if has_room else ENOUGH
        self._patience = LONGEST if has_room else LINGER
        self._paused = False
        self._error: BaseException | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._linger: asyncio.TimerHandle | None = None
        self._lingers_until = 0.0
        self._seen = 0
        """What had come in when the last wait began."""

    @classmethod
    def begin(cls, answer: Raw, first: bytes, silence: float) -> Self | None:
        """Take over behind the ``first`` bytes, which come once more from here; None where aiohttp is to go on.

        ``silence``: the longest wait for a byte, in seconds, where aiohttp has none.

        It must, where the end of the body is not known beforehand, or where it holds bytes itself.
        """
        connection, length = answer.connection, answer.content_length
        handler = connection.protocol if connection is not None else None
        transport = handler.transport if handler is not None else None
        if handler is None or transport is None or length is None or "Transfer-Encoding" in answer.headers:
            return None
        taken = len(first)
        if length < LEAST or not taken < min(length, RING) or not transport.is_reading():
            return None
        if answer.content.total_bytes != taken:
            return None
        bulk = cls(answer.content, handler, transport, first=first, left=length - taken, silence=silence)
        handler.read_timeout = None  # its watch is ours from here on; the next request sets another
        handler.start_timeout()
        transport.set_protocol(bulk)
        return bulk

    # --- for the reader ---

    @property
    def is_over(self) -> bool:
        """Whether the reader was given all of the body."""
        return self._left <= 0 and self._taken == self._received

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

    def keep(self) -> Callable[[], None] | None:
        """Have what was given last stay good until the result is called; None where it cannot, or not for so many."""
        if self._left > 0 or self._is_kept or not rings.lend():
            return None
        self._is_kept = True
        return partial(rings.lent_back, self._ring)

    def close(self) -> None:
        """The reader is done, with what it was given, too, unless it keeps that."""
        if self._linger is not None:
            self._linger.cancel()
        if self._left <= 0 and not self._is_kept:  # else the kernel may still write into it
            rings.give(self._ring)

    @property
    def _is_enough(self) -> bool:
        return self._received - self._taken >= self._enough or self._left <= 0 or self._error is not None

    async def _more(self) -> None:
        """Wait until there is enough for the reader; for a first byte as long as upstream may be silent."""
        self._waiter = self._loop.create_future()
        silence = None
        if self._received > self._taken:
            self._wake_soon()
        else:
            silence = self._loop.call_later(self._silence, self._fall_silent)
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
            self._lingers_until = self._loop.time() + self._patience
            self._wait_for_more()

    def _wait_for_more(self) -> None:
        self._seen = self._received
        self._linger = self._loop.call_later(LINGER, self._end_lingering)

    def _end_lingering(self) -> None:
        if self._received > self._seen and self._loop.time() < self._lingers_until:
            self._wait_for_more()
        else:
            self._wake()

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
