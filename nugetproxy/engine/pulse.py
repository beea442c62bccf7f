"""Pulse notices when time does not pass as it should: an event loop that was held up, a clock that was set."""

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


class Pulse:
    """Measures how late the event loop is, and logs what an operator would look for after an odd minute."""

    def __init__(self, clock: Clock, metrics: Metrics) -> None:
        self._clock = clock
        self._metrics = metrics

    async def run(self) -> None:
        """Beat after beat until cancelled."""
        while True:
            await self.beat()

    async def beat(self) -> None:
        """Sleep for one beat and look at both clocks."""
        began, wall = self._clock.monotonic(), self._clock.now()
        await self._clock.sleep(BEAT)
        passed = self._clock.monotonic() - began
        late = max(0.0, passed - BEAT)
        jumped = self._clock.now() - wall - passed
        self._metrics.loop_lag.set(late)
        if late >= LATE:
            self._metrics.loop_stalls.inc()
            log.warning("loop.late", seconds=round(late, 3))
        if abs(jumped) >= JUMP:
            log.warning("clock.jumped", seconds=round(jumped, 3))
