"""Rings are pieces of memory that bodies are received into, used again and again."""

from __future__ import annotations

import asyncio
from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap
from typing import Final

RING: Final = 2**20
"""Bytes of each."""
SPARE: Final = 4
"""So many are kept for the next bodies at all times,"""
MOST_SPARE: Final = 16
"""so many for a while: fresh memory costs the kernel more than what is copied into it."""
WHILE: Final = 10.0
"""Seconds."""
MOST_LENT: Final = 16 * RING
"""Bytes of bodies that may be kept by those who have read them, beyond their end."""


class Rings:
    """Those of this process; for event loops only."""

    def __init__(self) -> None:
        self._spare: list[mmap] = []
        self._lent = 0
        self._trimming: asyncio.AbstractEventLoop | None = None

    def take(self) -> mmap:
        """One to receive into."""
        return self._spare.pop() if self._spare else mmap(-1, RING, flags=MAP_PRIVATE | MAP_ANONYMOUS)

    def give(self, ring: mmap) -> None:
        """One that nobody reads nor writes any more."""
        if len(self._spare) < MOST_SPARE:
            self._spare.append(ring)
        loop = asyncio.get_running_loop()
        if len(self._spare) > SPARE and self._trimming is not loop:
            self._trimming = loop
            loop.call_later(WHILE, self._trim)

    def _trim(self) -> None:
        self._trimming = None
        del self._spare[SPARE:]

    def lend(self, size: int = RING) -> bool:
        """Whether so many more bytes may be kept beyond the end of their body; ``lent_back`` says when no longer."""
        may = self._lent + size <= MOST_LENT
        if may:
            self._lent += size
        return may

    def lent_back(self, lent: mmap | int) -> None:
        """A ring that was kept is not read any more, or so many bytes of another memory."""
        if isinstance(lent, int):
            self._lent -= lent
        else:
            self._lent -= RING
            self.give(lent)


rings: Final = Rings()
