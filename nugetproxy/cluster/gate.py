"""Gate is the budget of an engine with its circuit breaker."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, TypeVar

import structlog

from nugetproxy.clock import Clock
from nugetproxy.cluster.allowance import USUAL, current, unlimited
from nugetproxy.cluster.engines import EngineUnavailable
from nugetproxy.metrics import Metrics

log = structlog.get_logger(__name__)

T = TypeVar("T")

FAILURES: Final = 3
"""In a row, until the engine is left alone; one that hangs is left alone at once."""
FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 15.0
"""Seconds until it is tried again; doubled while that fails."""
PROBE: Final = 2.0
"""Seconds that a trial may take; no client waits for it."""

Background = Callable[[Coroutine[Any, Any, None]], object]
"""Starts work that nobody waits for."""


class Gate:
    """Every call to one engine ends in its time; one that fails is not called, but tried in the background, until it
    is back."""

    def __init__(
        self,
        engine: str,
        clock: Clock,
        metrics: Metrics,
        failures: tuple[type[Exception], ...],
        *,
        timeouts: tuple[type[Exception], ...] = (),
        probe: Callable[[], Awaitable[object]],
        background: Background | None = None,
    ) -> None:
        """``failures``: what the client of the engine raises when it fails, ``timeouts`` when there is no answer.

        ``probe`` raises one of them as long as the engine is not back. Without ``background`` nobody tries that.
        """
        self.engine = engine
        self._clock = clock
        self._counts = metrics.engines.of(engine)
        self._timeouts: tuple[type[Exception], ...] = (*timeouts, TimeoutError)
        self._foreign: tuple[type[Exception], ...] = (*failures, OSError, *self._timeouts)
        self._probe = probe
        self._background = background
        self._failed = 0
        self._trying = False
        self._answered = 0.0
        """When, by the monotonic clock."""
        self.why = ""
        """What failed last; empty after a success."""

    @property
    def is_open(self) -> bool:
        """Whether the engine is being left alone."""
        return self._failed >= FAILURES

    @property
    def problem(self) -> str:
        """What an operator must know; empty while the engine answers."""
        return f"degraded: the shared {self.engine} gives no answer ({self.why})" if self.is_open else ""

    async def call(self, ask: Callable[[], Awaitable[T]], budget: float) -> T:
        """What ``ask`` returns within ``budget`` seconds, or in what is left to its request; raises EngineUnavailable.

        It is given as a function, since some clients begin when they are called, not when they are awaited.
        """
        if self.is_open:
            self._counts.refused += 1
            raise EngineUnavailable(self.engine, self.why)
        allowance, began = current(), self._clock.monotonic()
        left = allowance.left + USUAL if allowance is not None else budget
        if left <= USUAL and allowance is not None:
            self._counts.refused += 1
            raise EngineUnavailable(self.engine, "this request has waited long enough for what is shared")
        try:
            async with asyncio.timeout(min(budget, left)):
                answer = await ask()
        except self._foreign as error:
            raise self._note(error, began, min(budget, left), own=left >= budget) from error
        finally:
            took = self._clock.monotonic() - began
            self._counts.took(took)
            if allowance is not None:
                allowance.spend(took)
        self.succeeded()
        return answer

    def succeeded(self) -> None:
        """The engine has answered."""
        self._counts.ok += 1
        self._answered = self._clock.monotonic()
        if self.is_open:
            log.info("engine.back", engine=self.engine)
            self._counts.is_open = False
        self._failed, self.why = 0, ""

    def failed(self, why: str, *, hangs: bool = False) -> EngineUnavailable:
        """The engine has failed; what to raise. ``hangs``: it has answered nobody for as long as one may wait."""
        self._counts.failed += 1
        was_open = self.is_open
        self._failed = max(self._failed + 1, FAILURES if hangs else 0)
        self.why = why
        if self.is_open and not was_open:
            log.warning("engine.lost", engine=self.engine, detail=why)
            self._counts.is_open = True
            if self._background is not None and not self._trying:
                self._trying = True
                with unlimited():
                    self._background(self._until_back())
        return EngineUnavailable(self.engine, why)

    def _note(self, error: Exception, began: float, waited: float, *, own: bool) -> EngineUnavailable:
        if not isinstance(error, self._timeouts):
            return self.failed(brief(error))
        why = f"no answer within {waited:g} s"
        if not own:
            self._counts.failed += 1
            return EngineUnavailable(self.engine, why)  # it had less time than an engine may take
        return self.failed(why, hangs=self._answered <= began)

    async def _until_back(self) -> None:
        pause = FIRST_PAUSE
        try:
            while self.is_open:
                await self._clock.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
                await self._try()
        finally:
            self._trying = False

    async def _try(self) -> None:
        try:
            async with asyncio.timeout(PROBE):
                await self._probe()
        except self._foreign as error:
            self._counts.failed += 1
            self.why = f"no answer within {PROBE:g} s" if isinstance(error, self._timeouts) else brief(error)
        else:
            self.succeeded()


def brief(error: Exception) -> str:
    """The first line of what a client says, without the rest of its story."""
    return (str(error).strip().partition("\n")[0] or type(error).__name__)[:200]
