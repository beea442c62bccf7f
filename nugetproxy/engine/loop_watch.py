"""LoopWatch notices when time does not pass as it should: an event loop that was held up, a clock that was set."""

from __future__ import annotations

import structlog

from nugetproxy.clock import Clock
from nugetproxy.metrics import Metrics

log = structlog.get_logger(__name__)

BEAT = 1.0
"""Seconds between two looks."""

LATE = 1.0
"""A beat that comes so many seconds late is worth a line in the log: no client was answered meanwhile."""

JUMP = 60.0
"""Seconds by which the wall clock may stray from the other one between two beats (a leap second, a slow correction)."""


class LoopWatch:
    """Measures how late the event loop is, and logs what an operator would look for after an odd minute."""

    def __init__(self, clock: Clock, metrics: Metrics) -> None:
        self._clock = clock
        self._metrics = metrics
        self._last: tuple[float, float] | None = None
        """What both clocks said at the end of the last beat: the next one begins there, so that nothing happens in
        between unseen."""

    async def run(self) -> None:
        """Beat after beat until cancelled."""
        while True:
            await self.beat()

    async def beat(self) -> None:
        """Sleep for one beat and look at both clocks."""
        began, wall = self._last or self._look()
        await self._clock.sleep(BEAT)
        ended, wall_then = self._last = self._look()
        passed = ended - began
        late = max(0.0, passed - BEAT)
        jumped = wall_then - wall - passed
        self._metrics.loop_lag.set(late)
        if late >= LATE:
            self._metrics.loop_stalls.inc()
            log.warning("loop.late", seconds=round(late, 3))
        if abs(jumped) >= JUMP:
            log.warning("clock.jumped", seconds=round(jumped, 3))

    def _look(self) -> tuple[float, float]:
        return self._clock.monotonic(), self._clock.now()
