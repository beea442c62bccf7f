"""CircuitBreaker decides when to stop asking an origin that is in trouble."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum

from msgspec import Struct

from nugetproxy.errors import Reason

YOUNG = 15.0
"""So many seconds of an outage are taken for a hiccup: what is asked for may wait for the next probe."""
YOUNG_INTERVAL = 1.0
"""Seconds between two probes in that time."""
PROBE_PATIENCE = 3.0
"""A probe that has no result after so many seconds no longer keeps the next one from being made."""
PROBE_WAIT = 1.0
"""What the others are told while a probe is under way, in seconds."""
RELEASED = 4
"""So many of those who waited go first when a probe has succeeded; all go when one of them does."""
SEVERAL = 2
"""One target alone never speaks against its host."""


class Phase(StrEnum):
    """Where a circuit breaker stands."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Cause(Struct, frozen=True, kw_only=True):
    """A real failure: what an open breaker names in every answer. ``at`` is wall time, seconds since the epoch."""

    reason: Reason
    detail: str
    at: float

    @property
    def when(self) -> str:
        """``at`` for people and machines: to the second, UTC."""
        return datetime.fromtimestamp(self.at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class BreakerState(Struct, frozen=True):
    """A breaker as others see it."""

    phase: Phase
    failures: int
    """Of the host, weighted, since the last success."""
    retry_after: float
    """Seconds until the next probe; 0 while closed."""
    cause: Cause | None = None
    """The last failure since the last success."""
    young: bool = False
    """The outage may be a hiccup: what can wait may wait for the next probe."""


class Role(StrEnum):
    """As what a request is let through."""

    NORMAL = "normal"
    PROBE = "probe"
    TRIAL = "trial"
    """One of the first after a probe that succeeded."""


class Pass(Struct, frozen=True):
    """That a request may be made; handed back with its outcome. ``round`` tells late outcomes from current ones."""

    role: Role
    round: int = 0


NORMAL = Pass(Role.NORMAL)


class Blocked(Struct, frozen=True):
    """That it may not be, for so many seconds."""

    retry_after: float


class CircuitBreaker:
    """A pure state machine: ``now`` is monotonic seconds.

    Opens when the weights of consecutive failures of the host reach ``failures``, or when so many different targets
    (at least two) fail alike without a success in between. Then lets one probe through a second for a while, later
    one per ``open_for`` seconds, which doubles with each failed probe up to ``max_open``. What became of requests that
    were let through before it opened no longer matters. With no ``failures`` (0) it never opens.
    """

    def __init__(self, *, failures: int, open_for: float, max_open: float) -> None:
        self._limit = failures
        self._several = max(SEVERAL, failures)
        self._open_for = open_for
        self._max_open = max_open
        self._failures = 0
        self._alike: dict[Reason, set[str]] = {}
        self._span = open_for
        self._lost_at: float | None = None
        self._next = 0.0
        self._held_until = 0.0
        self._round = 0
        self._probing_since: float | None = None
        self._trials: int | None = None
        self._cause: Cause | None = None

    def __repr__(self) -> str:
        phase = "closed" if self._lost_at is None else "open" if self._trials is None else "releasing"
        alike = {str(reason): len(targets) for reason, targets in self._alike.items()}
        cause = f", {self._cause.reason}: {self._cause.detail}" if self._cause else ""
        return f"<CircuitBreaker {phase}, {self._failures} of {self._limit} failures, alike {alike}{cause}>"

    @property
    def cause(self) -> Cause | None:
        """The last failure since the last success."""
        return self._cause

    @property
    def is_open(self) -> bool:
        """Whether requests are held up, but for those that find out."""
        return self._lost_at is not None

    def admit(self, now: float) -> Pass | Blocked:
        """May a request be made now?"""
        if self._lost_at is None:
            return NORMAL
        if self._trials is not None:
            if self._trials >= RELEASED:
                return Blocked(PROBE_WAIT)
            self._trials += 1
            return Pass(Role.TRIAL, self._round)
        if now < self._next:
            return Blocked(self._next - now)
        if self._probing_since is not None and now - self._probing_since < PROBE_PATIENCE:
            return Blocked(PROBE_WAIT)
        self._round += 1
        self._probing_since = now
        self._next = now + self._interval(now)
        return Pass(Role.PROBE, self._round)

    def is_due(self, now: float) -> bool:
        """Whether a probe would be let through."""
        if self._lost_at is None or now < self._next or self._trials is not None:
            return False
        return self._probing_since is None or now - self._probing_since >= PROBE_PATIENCE

    def succeed(self, ticket: Pass, waiting: int = 0) -> None:
        """The request was answered; ``waiting`` others are held up."""
        if self._lost_at is None:
            self._failures = 0
            self._alike.clear()
            self._cause = None
        elif ticket.role is Role.PROBE and waiting > RELEASED:
            self._probing_since = None
            self._trials = self._trials or 0
        elif ticket.role is not Role.NORMAL:
            self._close()

    def fail(self, ticket: Pass, now: float, weight: int, cause: Cause, hold: float | None = None) -> None:
        """The host failed; ``hold``: it asked to be left alone for so many seconds."""
        if self._lost_at is None:
            self._cause = cause
            self._failures += weight
            if self._limit and (hold is not None or self._failures >= self._limit):
                self._open(now, hold)
        elif ticket.role is not Role.NORMAL and ticket.round == self._round:
            self._cause = cause
            self._open(now, hold)

    def fault(self, ticket: Pass, now: float, target: str, cause: Cause) -> None:
        """The host answered, but not with ``target`` as it should be."""
        if self._lost_at is not None and ticket.role is Role.PROBE and ticket.round == self._round:
            self._cause = cause
            self._open(now, None)
            return
        if ticket.role is Role.TRIAL:
            self.abandon(ticket)
        if self._lost_at is None or self._trials is not None:
            self._cause = cause
            alike = self._alike.setdefault(cause.reason, set())
            alike.add(target)
            if self._limit and len(alike) >= self._several:
                self._open(now, None)

    def abandon(self, ticket: Pass) -> None:
        """Nothing can be said about the request: it was cancelled, or failed for a reason of its own."""
        if ticket.role is Role.NORMAL or ticket.round != self._round:
            return
        if ticket.role is Role.TRIAL and self._trials:
            self._trials -= 1
        elif ticket.role is Role.PROBE and self._probing_since is not None:
            self._next = min(self._next, max(self._probing_since, self._held_until))
            self._probing_since = None

    def state(self, now: float) -> BreakerState:
        """For health reports and gauges."""
        if self._lost_at is None:
            return BreakerState(Phase.CLOSED, self._failures, 0.0, self._cause)
        phase = Phase.OPEN if now < self._next and self._trials is None else Phase.HALF_OPEN
        return BreakerState(phase, self._failures, max(0.0, self._next - now), self._cause, self._is_young(now))

    def _is_young(self, now: float) -> bool:
        return self._lost_at is not None and now - self._lost_at < YOUNG

    def _interval(self, now: float) -> float:
        return YOUNG_INTERVAL if self._is_young(now) else self._span

    def _open(self, now: float, hold: float | None) -> None:
        """Begin an outage, or go on with it."""
        if self._lost_at is None:
            self._lost_at = now
            self._next = now + self._interval(now)
        else:
            self._span = min(self._span * 2, self._max_open)
            began = now if self._probing_since is None else self._probing_since
            self._next = max(now, began + self._interval(now))
        self._round += 1
        self._probing_since = self._trials = None
        self._alike.clear()
        if hold is not None:
            self._held_until = self._next = max(now + hold, now)

    def _close(self) -> None:
        self._lost_at = self._probing_since = self._trials = self._cause = None
        self._failures = 0
        self._alike.clear()
        self._span = self._open_for
        self._held_until = 0.0
        self._round += 1
