"""Clock is the one source of time."""

from __future__ import annotations

import asyncio
import time


class Clock:
    """Wall time for what is stored, monotonic time for durations; tests substitute a fake with the same methods."""

    def now(self) -> float:
        """Wall time, in seconds since the epoch (UTC)."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds that never run backwards; only differences mean anything."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait ``seconds``; never negative."""
        await asyncio.sleep(max(0.0, seconds))
