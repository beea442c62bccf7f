"""Gate is the budget of an engine with its circuit breaker."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import structlog

from nugetproxy.clock import Clock
from nugetproxy.cluster.engines import EngineUnavailable
from nugetproxy.metrics import Metrics

log = structlog.get_logger(__name__)

T = TypeVar("T")

FAILURES: Final = 3
"""In a row, until the engine is left alone."""
FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 15.0
"""Seconds until one call tries again; doubled while that fails."""


class Gate:
    """Every call to one engine ends in its time; one that fails again and again is not called for a while."""

    def __init__(self, engine: str, clock: Clock, metrics: Metrics, failures: tuple[type[Exception], ...]) -> None:
        """``failures``: what the client of the engine raises when it fails."""
        self.engine = engine
        self._clock = clock
        self._metrics = metrics
        self._foreign: tuple[type[Exception], ...] = (*failures, OSError, TimeoutError)
        self._failed = 0
        self._pause = FIRST_PAUSE
        self._until = 0.0
        self._trying = False
        self.why = ""
        """What failed last; empty after a success."""
        metrics.engine_open.labels(engine).set(0)

    @property
    def is_open(self) -> bool:
        """Whether the engine is being left alone."""
        return self._failed >= FAILURES

    @property
    def problem(self) -> str:
        """What an operator must know; empty while the engine answers."""
        return f"degraded: the shared {self.engine} gives no answer ({self.why})" if self.is_open else ""

    async def call(self, ask: Callable[[], Awaitable[T]], budget: float) -> T:
        """What ``ask`` returns within ``budget`` seconds; raises EngineUnavailable.

        It is given as a function, since some clients begin when they are called, not when they are awaited.
        """
        trial = self._admit()
        try:
            async with asyncio.timeout(budget):
                answer = await ask()
        except self._foreign as error:
            raise self._note(error, budget) from error
        finally:
            if trial:
                self._trying = False
        self.succeeded()
        return answer

    def _admit(self) -> bool:
        """Whether this call is the one that finds out whether the engine is back; raises EngineUnavailable."""
        if not self.is_open:
            return False
        if self._trying or self._clock.monotonic() < self._until:
            self._metrics.engine_calls.labels(self.engine, "refused").inc()
            raise EngineUnavailable(self.engine, self.why)
        self._trying = True
        return True

    def succeeded(self) -> None:
        """The engine has answered."""
        self._metrics.engine_calls.labels(self.engine, "ok").inc()
        if self.is_open:
            log.info("engine.back", engine=self.engine)
            self._metrics.engine_open.labels(self.engine).set(0)
        self._failed, self._pause, self.why = 0, FIRST_PAUSE, ""

    def failed(self, why: str) -> EngineUnavailable:
        """The engine has failed; what to raise."""
        self._metrics.engine_calls.labels(self.engine, "failed").inc()
        self._failed += 1
        self.why = why
        if self.is_open:
            if self._failed == FAILURES:
                log.warning("engine.lost", engine=self.engine, detail=why)
                self._metrics.engine_open.labels(self.engine).set(1)
            self._until = self._clock.monotonic() + self._pause
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
        return EngineUnavailable(self.engine, why)

    def _note(self, error: Exception, budget: float) -> EngineUnavailable:
        why = f"no answer within {budget:g} s" if isinstance(error, TimeoutError) else brief(error)
        return self.failed(why)


def brief(error: Exception) -> str:
    """The first line of what a client says, without the rest of its story."""
    return (str(error).strip().partition("\n")[0] or type(error).__name__)[:200]
