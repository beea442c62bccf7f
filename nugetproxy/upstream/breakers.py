"""Breakers keeps one circuit breaker per origin, with those who wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import MappingProxyType, TracebackType
from typing import Self

import structlog
from msgspec import Struct, field

from nugetproxy.clock import Clock
from nugetproxy.errors import Reason, UpstreamFailure
from nugetproxy.metrics import Metrics
from nugetproxy.upstream.breaker import NORMAL, Blocked, BreakerState, Cause, CircuitBreaker, Pass, Phase, Role
from nugetproxy.upstream.failures import Failures, Progress, remedy
from nugetproxy.upstream.patience import LONGEST_WAIT, Patience
from nugetproxy.upstream.questions import Question
from nugetproxy.upstream.retry import PATIENCE
from nugetproxy.upstream.settings import UpstreamSettings

log = structlog.get_logger(__name__)

MOST_ORIGINS = 256
"""Redirects could name ever new ones."""

SURE = 1000
"""More than any limit."""
WEIGHTS: Mapping[Reason, int] = MappingProxyType(
    {
        Reason.REFUSED: 2,
        Reason.CONNECT_TIMEOUT: 2,
        Reason.READ_TIMEOUT: 2,
        Reason.DNS: 2,
        Reason.DNS_TIMEOUT: 2,
        Reason.TLS: SURE,  # a certificate does not become valid by the third look
        Reason.RESET: 1,
        Reason.RATE_LIMITED: 1,
        Reason.SERVER_ERROR: 1,
    }
)
"""What counts against a host that has not answered, or whose answer speaks of itself (429, 503)."""

FAULTS = frozenset(
    {
        Reason.READ_TIMEOUT,
        Reason.RESET,
        Reason.TRUNCATED,
        Reason.STALL,
        Reason.SLOW,
        Reason.PROTOCOL,
        Reason.SERVER_ERROR,
        Reason.INVALID_CONTENT,
    }
)
"""What is wrong with one target, of a host that answers."""

ANSWERED = frozenset({Reason.AUTH, Reason.STATUS, Reason.REDIRECT_DENIED, Reason.TOO_LARGE})
"""What shows that it is alive, however useless the answer; all else says nothing about it."""


class _Origin(Struct):
    """One origin: its breaker, who waits for it, what to ask it as a probe."""

    breaker: CircuitBreaker
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: int = 0
    question: Question | None = None
    """The last that failed, or that somebody could not ask."""
    lost_at: float | None = None
    stale: int = 0
    """Stale answers since it was lost."""


class Breakers:
    """The circuit breakers of one upstream."""

    def __init__(self, settings: UpstreamSettings, clock: Clock, metrics: Metrics, failures: Failures) -> None:
        self._settings = settings
        self._clock = clock
        self._gauge = metrics.breaker_open
        self._failures = failures
        self._by_origin: dict[str, _Origin] = {}
        self._shown = True
        self.has_answered = False
        """Whether any of them has, since the start."""
        self.last: Cause | None = None
        """The last failure, also where it is over."""

    def __repr__(self) -> str:
        states = {origin: one.breaker for origin, one in self._by_origin.items()}
        return f"<Breakers of {self._settings.name!r}: {states}>"

    def admit_at_once(self, origin: str, question: Question) -> Ticket | None:
        """Permission to make one request where nothing is known against it."""
        breaker = self._origin(origin).breaker
        return None if breaker.is_open else Ticket(self, origin, breaker, NORMAL, question)

    async def admit(self, origin: str, question: Question, patience: Patience) -> Ticket:
        """As ``admit_at_once``, else waited for while an outage is young.

        Raises UpstreamUnavailable (BREAKER_OPEN, with ``retry_after``) that names what opened the breaker.
        """
        one = self._origin(origin)
        while True:
            verdict = one.breaker.admit(self._clock.monotonic())
            if isinstance(verdict, Pass):
                return Ticket(self, origin, one.breaker, verdict, question)
            if question.repeatable:
                one.question = question
            state = one.breaker.state(self._clock.monotonic())
            if not state.young or verdict.retry_after > LONGEST_WAIT or await patience.is_over():
                raise self._blocked(origin, state, verdict)
            await self._wait(one, patience, verdict.retry_after)

    async def _wait(self, one: _Origin, patience: Patience, seconds: float) -> None:
        """Until something has become of a probe, the next one is due, or patience is over."""
        began = self._clock.monotonic()
        sleeping = asyncio.ensure_future(self._clock.sleep(min(seconds, patience.left)))
        changed = asyncio.ensure_future(one.changed.wait())
        one.waiting += 1
        try:
            await asyncio.wait((sleeping, changed), return_when=asyncio.FIRST_COMPLETED)
        finally:
            one.waiting -= 1
            for end in (sleeping, changed):
                end.cancel()
            patience.left -= self._clock.monotonic() - began

    def _blocked(self, origin: str, state: BreakerState, verdict: Blocked) -> UpstreamFailure:
        detail = f"not asked, after failures ({origin})"
        if (cause := state.cause) is not None:
            detail = f"not asked, it failed at {cause.when} with {cause.reason}: {cause.detail}"
        return self._failures.make(Reason.BREAKER_OPEN, detail, retry_after=verdict.retry_after)

    def is_open(self, origin: str) -> bool:
        """Whether requests to it are held up or refused."""
        one = self._by_origin.get(origin)
        return one is not None and one.breaker.is_open

    @property
    def any_open(self) -> bool:
        """Whether one of its origins is given up for now."""
        return any(one.breaker.is_open for one in self._by_origin.values())

    def due(self) -> Mapping[str, Question | None]:
        """The origins that nobody waits for and that a probe may be made of now, with what to ask."""
        now = self._clock.monotonic()
        found = self._by_origin.items()
        return {origin: one.question for origin, one in found if not one.waiting and one.breaker.is_due(now)}

    def show(self, shown: bool) -> None:
        """Whether the gauge is about them: it says 0 where nobody asks any more."""
        self._shown = shown
        for origin, one in self._by_origin.items():
            if one.lost_at is not None:
                self._gauge.labels(self._settings.name, origin).set(shown)

    def note_stale(self) -> None:
        """A stale answer was served because the upstream failed: counted until it is back."""
        for one in self._by_origin.values():
            one.stale += one.lost_at is not None

    def states(self) -> Mapping[str, BreakerState]:
        """By origin, those with failures."""
        now = self._clock.monotonic()
        states = {origin: one.breaker.state(now) for origin, one in self._by_origin.items()}
        return {origin: state for origin, state in states.items() if not _quiet(state)}

    def cause(self, reason: Reason, detail: str) -> Cause:
        """A failure of now."""
        self.last = Cause(reason=reason, detail=detail, at=self._clock.now())
        return self.last

    def now(self) -> float:
        return self._clock.monotonic()

    def waiting(self, origin: str) -> int:
        """How many are held up at ``origin``."""
        return self._by_origin[origin].waiting if origin in self._by_origin else 0

    def report(self, origin: str, failed: Question | None, *, useless: bool = False) -> None:
        """A ticket was handed back: bring gauge and log up to date, wake who waits.

        ``failed`` is what to ask again as a probe, unless it is ``useless`` for that: its target is what is wrong.
        """
        one = self._by_origin.get(origin)
        if one is None:
            return
        if failed is not None and failed.repeatable:
            one.question = None if useless else failed
        self._show(origin, one)
        if one.waiting:
            waiting, one.changed = one.changed, asyncio.Event()
            waiting.set()

    def _show(self, origin: str, one: _Origin) -> None:
        is_open = one.breaker.is_open
        if is_open == (one.lost_at is not None):
            return
        if self._shown:
            self._gauge.labels(self._settings.name, origin).set(is_open)
        if is_open:
            self._lost(origin, one, one.breaker.state(self._clock.monotonic()))
        else:
            self._back(origin, one)

    def _lost(self, origin: str, one: _Origin, state: BreakerState) -> None:
        one.lost_at, one.stale = self._clock.monotonic(), 0
        fields = {}
        if state.cause is not None:
            fields = {"reason": str(state.cause.reason), "detail": state.cause.detail}
            if todo := remedy(state.cause.reason, state.cause.detail, self._settings):
                fields["remedy"] = todo
        log.warning("breaker.opened", upstream=self._settings.name, origin=origin, **fields)

    def _back(self, origin: str, one: _Origin) -> None:
        seconds = round(self._clock.monotonic() - (one.lost_at or 0.0), 1)
        one.lost_at, one.question = None, None
        log.info("breaker.closed", upstream=self._settings.name, origin=origin, seconds=seconds, stale=one.stale)

    def _origin(self, origin: str) -> _Origin:
        one = self._by_origin.get(origin)
        if one is None:
            if len(self._by_origin) >= MOST_ORIGINS:
                self._forget()
            settings = self._settings
            breaker = CircuitBreaker(
                failures=settings.breaker_failures, open_for=settings.breaker_open, max_open=settings.breaker_max
            )
            one = self._by_origin[origin] = _Origin(breaker)
        return one

    def _forget(self) -> None:
        """Drop the quiet ones; if there are none, the oldest."""
        now = self._clock.monotonic()
        quiet = [origin for origin, one in self._by_origin.items() if _quiet(one.breaker.state(now))]
        for origin in quiet or list(self._by_origin)[:1]:
            one = self._by_origin.pop(origin)
            if one.lost_at is not None:
                self._gauge.labels(self._settings.name, origin).set(0)


def _quiet(state: BreakerState) -> bool:
    return state.phase is Phase.CLOSED and state.failures == 0


class Ticket:
    """One request's permission; as a context manager it reports the outcome when it ends.

    A normal end or a useless answer is a success. An UpstreamFailure is the host's, or its one target's; anything else
    says nothing.
    """

    def __init__(
        self, breakers: Breakers, origin: str, breaker: CircuitBreaker, admitted: Pass, question: Question
    ) -> None:
        self._breakers = breakers
        self.origin = origin
        self._breaker = breaker
        self._pass = admitted
        self._question = question
        self._inconclusive = False
        self.progress = Progress()
        """How far the request got."""

    def arrived(self) -> None:
        """The headers of a long body are here: as a probe it has shown enough."""
        if self._pass.role is not Role.NORMAL:
            self._breakers.has_answered = True
            self._breaker.succeed(self._pass, self._breakers.waiting(self.origin))
            self._pass = NORMAL
            self._breakers.report(self.origin, None)

    def disregard(self) -> None:
        """Whatever the end, say nothing."""
        self._inconclusive = True

    def give_back(self) -> None:
        """Nothing was asked."""
        self._breaker.abandon(self._pass)
        self._breakers.report(self.origin, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end(error)

    def end(self, error: BaseException | None) -> None:
        """It has ended, with ``error`` or well."""
        failed, useless = None, False
        reason = error.reason if isinstance(error, UpstreamFailure) else None
        if self._inconclusive:
            self._breaker.abandon(self._pass)
        elif error is None or reason in ANSWERED:
            self._breakers.has_answered = True
            self._breaker.succeed(self._pass, self._breakers.waiting(self.origin))
        elif isinstance(error, UpstreamFailure) and self._is_of_the_host(error):
            failed = self._question
            # A short Retry-After is waited for by the request itself.
            hold = error.retry_after if (error.retry_after or 0.0) > PATIENCE else None
            weight, cause = WEIGHTS[error.reason], self._breakers.cause(error.reason, error.detail)
            self._breaker.fail(self._pass, self._breakers.now(), weight, cause, hold)
        elif isinstance(error, UpstreamFailure) and error.reason in FAULTS:
            failed, useless = self._question, self._pass.role is Role.PROBE
            cause = self._breakers.cause(error.reason, error.detail)
            self._breaker.fault(self._pass, self._breakers.now(), self._question.name, cause)
        else:
            self._breaker.abandon(self._pass)
        self._breakers.report(self.origin, failed, useless=useless)

    def _is_of_the_host(self, error: UpstreamFailure) -> bool:
        return error.reason in WEIGHTS and (error.of_host or not self.progress.answered)
