"""CircuitBreaker decides when to stop asking an origin that is in trouble."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Phase(StrEnum):
    """Where a circuit breaker stands."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class BreakerState:
    """A breaker as others see it."""

    phase: Phase
    failures: int
    """Weighted, since the last success."""
    retry_after: float
    """Seconds until the next request is let through; 0 while closed."""


@dataclass(frozen=True, slots=True)
class Pass:
    """That a request may be made; handed back with its outcome."""

    probe: bool


@dataclass(frozen=True, slots=True)
class Blocked:
    """That it may not be, for so many seconds."""

    retry_after: float


PROBE_WAIT = 1.0
"""What the others are told while a probe is under way."""


class CircuitBreaker:
    """A pure state machine: ``now`` is monotonic seconds.

    Opens when the weights of consecutive failures reach ``failures``, for ``open_for`` seconds; then lets one probe
    through at a time. A probe that fails doubles the time, up to ``max_open``. What became of requests that were
    let through before it opened no longer matters.
    """

    def __init__(self, *, failures: int, open_for: float, max_open: float) -> None:
        self._limit = failures
        self._open_for = open_for
        self._max_open = max_open
        self._failures = 0
        self._before = 0
        """Failures before the last success: what `retract` returns to."""
        self._span = open_for
        self._open_until: float | None = None
        self._held_until = 0.0
        self._probing = False

    def admit(self, now: float) -> Pass | Blocked:
        """May a request be made now?"""
        if self._open_until is None:
            return Pass(probe=False)
        if now < self._open_until:
            return Blocked(self._open_until - now)
        if self._probing:
            return Blocked(PROBE_WAIT)
        self._probing = True
        return Pass(probe=True)

    def succeed(self, ticket: Pass) -> None:
        """The request was answered."""
        if ticket.probe:
            # The next open time starts over only after a second success: `retract` may take this one back.
            self._before = self._limit
            self._open_until = None
            self._probing = False
            self._failures = 0
        elif self._open_until is None:
            if self._failures == 0:
                self._span = self._open_for
            self._before, self._failures = self._failures, 0

    def fail(self, ticket: Pass, now: float, weight: int, hold: float | None = None) -> None:
        """The request came to nothing; ``hold``: upstream asked to be left alone for so many seconds."""
        if ticket.probe:
            self._probing = False
            self._span = min(self._span * 2, self._max_open)
            self._open(now, hold)
        elif self._open_until is None:
            self._failures += weight
            if hold is not None or self._failures >= self._limit:
                self._open(now, hold)

    def abandon(self, ticket: Pass) -> None:
        """Nothing can be said about the request: it was cancelled, or failed for a reason of its own."""
        if ticket.probe:
            self._probing = False

    def retract(self, now: float) -> None:
        """The last success was none: upstream answered, but not with what was asked for."""
        if self._open_until is not None:
            return
        reopened = self._before >= self._limit
        self._failures = max(self._failures, self._before) + 1
        if self._failures >= self._limit:
            if reopened:
                self._span = min(self._span * 2, self._max_open)
            self._open(now, None)

    def invite(self, now: float) -> bool:
        """Let the next request through as a probe, however long the breaker would stay open by itself.

        For probes that no client waits for. False where there is nothing to find out, a probe is under way, or
        upstream has asked to be left alone.
        """
        if self._open_until is None or self._probing or now < self._held_until:
            return False
        self._open_until = min(self._open_until, now)
        return True

    def state(self, now: float) -> BreakerState:
        """For health reports and gauges."""
        if self._open_until is None:
            return BreakerState(Phase.CLOSED, self._failures, 0.0)
        phase = Phase.OPEN if now < self._open_until else Phase.HALF_OPEN
        return BreakerState(phase, self._failures, max(0.0, self._open_until - now))

    def _open(self, now: float, hold: float | None) -> None:
        self._open_until = now + min(max(self._span if hold is None else hold, 0.0), self._max_open)
        if hold is not None:
            self._held_until = self._open_until
