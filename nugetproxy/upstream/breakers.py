"""Breakers keeps one circuit breaker per origin."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType, TracebackType
from typing import Self

import structlog

from nugetproxy.clock import Clock
from nugetproxy.errors import Reason, UpstreamFailure
from nugetproxy.metrics import Metrics
from nugetproxy.upstream.breaker import Blocked, BreakerState, CircuitBreaker, Pass, Phase
from nugetproxy.upstream.failures import Failures
from nugetproxy.upstream.retry import PATIENCE
from nugetproxy.upstream.settings import UpstreamSettings

log = structlog.get_logger(__name__)

MOST_ORIGINS = 256
"""Redirects could name ever new ones."""

WEIGHTS: Mapping[Reason, int] = MappingProxyType(
    {
        Reason.REFUSED: 2,
        Reason.CONNECT_TIMEOUT: 2,
        Reason.READ_TIMEOUT: 2,
        Reason.DNS: 2,
        Reason.DNS_TIMEOUT: 2,
        Reason.TLS: 2,
        Reason.STALL: 2,
        Reason.SLOW: 2,
        Reason.RESET: 1,
        Reason.TRUNCATED: 1,
        Reason.PROTOCOL: 1,
        Reason.SERVER_ERROR: 1,
        Reason.RATE_LIMITED: 1,
        Reason.INVALID_CONTENT: 1,
    }
)
"""What counts against an origin."""

ANSWERED = frozenset({Reason.AUTH, Reason.STATUS, Reason.REDIRECT_DENIED, Reason.TOO_LARGE})
"""What shows that it is alive, however useless the answer; all else says nothing about it."""


class Breakers:
    """The circuit breakers of one upstream."""

    def __init__(self, settings: UpstreamSettings, clock: Clock, metrics: Metrics, failures: Failures) -> None:
        self._settings = settings
        self._clock = clock
        self._gauge = metrics.breaker_open
        self._failures = failures
        self._by_origin: dict[str, CircuitBreaker] = {}
        self._open: set[str] = set()

    def admit(self, origin: str) -> Ticket:
        """Leave to make one request. Raises UpstreamUnavailable (BREAKER_OPEN, with ``retry_after``)."""
        breaker = self._breaker(origin)
        verdict = breaker.admit(self._clock.monotonic())
        if isinstance(verdict, Blocked):
            raise self._failures.make(
                Reason.BREAKER_OPEN, f"not asked, after several failures ({origin})", retry_after=verdict.retry_after
            )
        return Ticket(self, origin, breaker, verdict)

    def report_invalid(self, origin: str) -> None:
        """The last success of ``origin`` was none."""
        self._breaker(origin).retract(self._clock.monotonic())
        self.show(origin)

    def invite(self, origin: str) -> bool:
        """Whether a probe of ``origin`` may be made now."""
        breaker = self._by_origin.get(origin)
        return breaker is not None and breaker.invite(self._clock.monotonic())

    def states(self) -> Mapping[str, BreakerState]:
        """By origin, those with failures."""
        now = self._clock.monotonic()
        states = {origin: breaker.state(now) for origin, breaker in self._by_origin.items()}
        return {origin: state for origin, state in states.items() if not _quiet(state)}

    def now(self) -> float:
        return self._clock.monotonic()

    def show(self, origin: str) -> None:
        """Bring gauge and log up to date."""
        state = self._by_origin[origin].state(self._clock.monotonic()) if origin in self._by_origin else None
        is_open = state is not None and state.phase is not Phase.CLOSED
        if is_open == (origin in self._open):
            return
        (self._open.add if is_open else self._open.discard)(origin)
        self._gauge.labels(self._settings.name, origin).set(is_open)
        if state is not None and is_open:
            log.warning("breaker.opened", upstream=self._settings.name, origin=origin, seconds=state.retry_after)
        else:
            log.info("breaker.closed", upstream=self._settings.name, origin=origin)

    def _breaker(self, origin: str) -> CircuitBreaker:
        breaker = self._by_origin.get(origin)
        if breaker is None:
            if len(self._by_origin) >= MOST_ORIGINS:
                self._forget()
            settings = self._settings
            breaker = self._by_origin[origin] = CircuitBreaker(
                failures=settings.breaker_failures, open_for=settings.breaker_open, max_open=settings.breaker_max
            )
        return breaker

    def _forget(self) -> None:
        """Drop the quiet ones; if there are none, the oldest."""
        now = self._clock.monotonic()
        quiet = [origin for origin, breaker in self._by_origin.items() if _quiet(breaker.state(now))]
        for origin in quiet or list(self._by_origin)[:1]:
            del self._by_origin[origin]
            self.show(origin)


def _quiet(state: BreakerState) -> bool:
    return state.phase is Phase.CLOSED and state.failures == 0


class Ticket:
    """One request's leave; as a context manager it reports the outcome when it ends.

    An UpstreamFailure counts by its weight, a normal end or a useless answer as success, anything else not at all.
    """

    def __init__(self, breakers: Breakers, origin: str, breaker: CircuitBreaker, leave: Pass) -> None:
        self._breakers = breakers
        self._origin = origin
        self._breaker = breaker
        self._pass = leave
        self._inconclusive = False

    def arrived(self) -> None:
        """The headers of a long body are here: as a probe it has shown enough."""
        if self._pass.probe:
            self._breaker.succeed(self._pass)
            self._pass = Pass(probe=False)
            self._breakers.show(self._origin)

    def disregard(self) -> None:
        """Whatever the end, say nothing."""
        self._inconclusive = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        reason = error.reason if isinstance(error, UpstreamFailure) else None
        if self._inconclusive:
            self._breaker.abandon(self._pass)
        elif error is None or reason in ANSWERED:
            self._breaker.succeed(self._pass)
        elif isinstance(error, UpstreamFailure) and error.reason in WEIGHTS:
            # A short Retry-After is waited for by the request itself.
            hold = error.retry_after if (error.retry_after or 0.0) > PATIENCE else None
            self._breaker.fail(self._pass, self._breakers.now(), WEIGHTS[error.reason], hold)
        else:
            self._breaker.abandon(self._pass)
        self._breakers.show(self._origin)
