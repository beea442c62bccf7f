"""Gate is the budget of an engine with its circuit breaker."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, TypeVar

import structlog
from msgspec import Struct

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


class _Patience(Struct, frozen=True):
    """Seconds that one call is waited for."""

    budget: float
    silence: float
    is_of_request: bool
    """Whether its request has less time left than an engine may take."""


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
        self._answered = -math.inf
        """When it did last, by the loop's time."""
        self._waiting: dict[asyncio.Timeout, tuple[float, float]] = {}
        """The limits of calls under way: how long each bears silence, when it ends in any case."""
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

    async def call(self, ask: Callable[[], Awaitable[T]], budget: float, *, silence: float = math.inf) -> T:
        """What ``ask`` returns within ``budget`` seconds, or in what is left to its request; raises EngineUnavailable.

        It is given as a function, since some clients begin when they are called, not when they are awaited. Who gets no
        answer for ``silence`` seconds, while nobody else gets one either, waits in vain: the engine hangs.
        """
        if self.is_open:
            self._counts.refused += 1
            raise EngineUnavailable(self.engine, self.why)
        allowance = current()
        left = allowance.left + USUAL if allowance is not None else budget
        if left <= USUAL and allowance is not None:
            self._counts.refused += 1
            raise EngineUnavailable(self.engine, "this request has waited long enough for what is shared")
        began, patience = self._clock.monotonic(), _Patience(min(budget, left), silence, left < min(budget, silence))
        try:
            answer = await self._within(ask, patience)
        finally:
            took = self._clock.monotonic() - began
            self._counts.took(took)
            if allowance is not None:
                allowance.spend(took)
        self.succeeded()
        return answer

    async def _within(self, ask: Callable[[], Awaitable[T]], patience: _Patience) -> T:
        began, shortest = _now(), min(patience.budget, patience.silence)
        try:
            async with asyncio.timeout(shortest) as limit:
                self._waiting[limit] = (patience.silence, began + patience.budget)
                try:
                    return await ask()
                finally:
                    del self._waiting[limit]
        except self._timeouts as error:
            why = f"no answer within {shortest:g} s"
            if patience.is_of_request:
                self._counts.failed += 1
                raise EngineUnavailable(self.engine, why) from error  # it had less time than an engine may take
            hangs = self._answered <= began or _now() - self._answered > 0.9 * patience.silence
            raise self.failed(why, hangs=hangs) from error
        except self._foreign as error:
            raise self.failed(brief(error)) from error

    def succeeded(self) -> None:
        """The engine has answered."""
        self._counts.ok += 1
        self._answered = now = _now()
        self._prolong(lambda silence, end: min(now + silence, end))
        if self.is_open:
            log.info("engine.back", engine=self.engine)
            self._counts.is_open = False
        self._failed, self.why = 0, ""

    def failed(self, why: str, *, hangs: bool = False) -> EngineUnavailable:
        """The engine has failed; what to raise. ``hangs``: it answers nobody."""
        self._counts.failed += 1
        was_open = self.is_open
        self._failed = max(self._failed + 1, FAILURES if hangs else 0)
        self.why = why
        if self.is_open and not was_open:
            log.warning("engine.lost", engine=self.engine, detail=why)
            self._counts.is_open = True
            if hangs:  # who still waits does so in vain
                self._prolong(lambda _, __: _now())
            if self._background is not None and not self._trying:
                self._trying = True
                with unlimited():
                    self._background(self._until_back())
        return EngineUnavailable(self.engine, why)

    def _prolong(self, until: Callable[[float, float], float]) -> None:
        for limit, (silence, end) in self._waiting.items():
            if not limit.expired():
                limit.reschedule(until(silence, end))

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


def _now() -> float:
    return asyncio.get_running_loop().time()


def brief(error: Exception) -> str:
    """The first line of what a client says, without the rest of its story."""
    return (str(error).strip().partition("\n")[0] or type(error).__name__)[:200]
