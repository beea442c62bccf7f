"""A clock that only moves when told to."""

from __future__ import annotations

import asyncio
import time

from nugetproxy.clock import Clock


class FakeClock(Clock):
    """Wall and monotonic time move together; ``sleep`` advances the clock itself and returns at once."""

    def __init__(self, start: float = 1_800_000_000.0) -> None:
        self._start = start
        self._elapsed = 0.0
        self.slept: list[float] = []

    def now(self) -> float:
        return self._start + self._elapsed

    def monotonic(self) -> float:
        return 1000.0 + self._elapsed

    def advance(self, seconds: float) -> None:
        """Move both clocks forward."""
        self._elapsed += seconds

    async def sleep(self, seconds: float) -> None:
        seconds = max(0.0, seconds)
        self.slept.append(seconds)
        self.advance(seconds)
        await asyncio.sleep(0)


class StoppableClock(Clock):
    """The machine's, for processes that sleep for real: it can be stopped, and set ahead."""

    def __init__(self) -> None:
        self._ahead = 0.0
        self._stopped: tuple[float, float] | None = None

    def now(self) -> float:  # type: ignore[override]  # a function there
        return self._ahead + (time.time() if self._stopped is None else self._stopped[0])

    def monotonic(self) -> float:  # type: ignore[override]
        return self._ahead + (time.monotonic() if self._stopped is None else self._stopped[1])

    def stop(self) -> None:
        """From now on no time passes."""
        self._stopped = (time.time(), time.monotonic())

    def advance(self, seconds: float) -> None:
        """Move both clocks forward."""
        self._ahead += seconds


class BriskClock(FakeClock):
    """As the fake one, but what sleeps in a circle leaves room for others."""

    async def sleep(self, seconds: float) -> None:
        self.advance(seconds)
        await asyncio.sleep(0.01)

    def set(self, now: float) -> None:
        """Set the wall clock alone."""
        self._start += now - self.now()
