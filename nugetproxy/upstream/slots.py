"""Slots counts the connections that one sort of request may have at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Slots:
    """So many requests at once; the others wait."""

    def __init__(self, most: int) -> None:
        self._free = asyncio.Semaphore(most)

    @asynccontextmanager
    async def hold(self, seconds: float) -> AsyncIterator[Slot]:
        """One slot; raises TimeoutError when none is free for ``seconds``."""
        async with asyncio.timeout(seconds):
            await self._free.acquire()
        slot = Slot(self._free)
        try:
            yield slot
        finally:
            slot.lend()


class Slot:
    """One request's place among those that are under way."""

    def __init__(self, free: asyncio.Semaphore) -> None:
        self._free = free
        self._held = True

    def lend(self) -> None:
        """Let another request have it."""
        if self._held:
            self._held = False
            self._free.release()

    async def take(self) -> None:
        """Have one again; the caller's own deadline bounds the wait."""
        if not self._held:
            await self._free.acquire()
            self._held = True
