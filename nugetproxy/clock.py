"""Clock is the one source of time."""

from __future__ import annotations

import asyncio
import time


class Clock:
    """Wall time for what is stored, monotonic time for durations; tests substitute a fake with the same methods."""

    now = staticmethod(time.time)
    """Wall time, in seconds since the epoch (UTC)."""
    monotonic = staticmethod(time.monotonic)
    """Seconds that never run backwards; only differences mean anything."""

    async def sleep(self, seconds: float) -> None:
        """Wait ``seconds``; never negative."""
        await asyncio.sleep(max(0.0, seconds))
