"""Outgoing is the body of a write on its way through."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Self

from nugetproxy.upstream.slots import Slot

STALLED = 1.0
"""After so many seconds without a byte a body no longer flows: another write may have its place."""


class Outgoing:
    """Counts what is taken from it and remembers what went wrong at the source."""

    def __init__(self, source: AsyncIterator[bytes]) -> None:
        self._source = source
        self._first = b""
        self._slot: Slot | None = None
        self.size = 0
        """Bytes handed over so far."""
        self.error: Exception | None = None
        """What the source raised."""

    async def begin(self) -> None:
        """Wait for the first piece: until then no connection is needed. Raises what the source does."""
        self._first = await anext(self._source, b"")

    def fly(self, slot: Slot) -> None:
        """From now on ``slot`` is held only while the body flows: clients that stall must not stop all others."""
        self._slot = slot

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        try:
            piece = await self._flowing()
        except StopAsyncIteration:
            raise
        except Exception as error:
            # Kept and raised again by the caller: aiohttp would wrap it in a failure of the connection.
            self.error = error
            raise
        self.size += len(piece)
        return piece

    async def _flowing(self) -> bytes:
        if self._first:
            piece, self._first = self._first, b""
            return piece
        slot = self._slot
        if slot is None:
            return await anext(self._source)
        timer = asyncio.get_running_loop().call_later(STALLED, slot.lend)
        try:
            return await anext(self._source)
        finally:
            timer.cancel()
            await slot.take()
