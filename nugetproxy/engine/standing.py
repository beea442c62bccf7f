"""Standing says whether an answer of a moment ago would be given again now."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from functools import partial
from typing import Protocol

from msgspec import Struct

from nugetproxy.clock import Clock
from nugetproxy.store.ledger.ledger import Writes
from nugetproxy.store.packages.held import HeldPackage, Signed, Stamp


class Standing(Protocol):
    """What an answer was made of, as far as it can change."""

    def ttl(self, now: float) -> float | None:
        """Seconds of freshness left at ``now`` (wall time), infinite for what is immutable; None: ask anew."""


MakeStanding = Callable[[], Standing | None]
"""Makes the standing of an answer that was just given; called only where somebody wants to give it again."""


class Later(partial[Standing | None]):
    """A ``MakeStanding`` that may as well be called later: it says None where something else is stored by then."""

    __slots__ = ()


class Validity(Struct):
    """Whether what somebody has found out is right as far as is known; it knows no more of it, so it may be kept."""

    ended: bool = False
    """True once something else took its place."""


class DocumentStanding(Struct, kw_only=True, weakref=True):
    """A stored document stands while it is in memory, is fresh, and nothing was written to its source."""

    stored_at: float
    left: float
    """Seconds of freshness that were left ``at`` a wall time."""
    at: float
    least: float
    """The answer stands while more seconds than this are left; -inf offline, where age does not matter."""
    until: float
    """Monotonic time from which what is stored is looked up anew."""
    writes: Writes
    number: int
    """Of the writes when it was looked at."""
    clock: Clock
    replaced: bool = False
    """True once something newer is stored."""

    def ttl(self, now: float) -> float | None:
        """Seconds of freshness left; None when it must be looked up."""
        left = self.left - (now - self.at)
        if (
            self.replaced
            or left <= self.least
            or now < self.stored_at
            or self.number != self.writes.number
            or self.clock.monotonic() >= self.until
        ):
            return None
        return left


class HeldStanding(Struct, frozen=True):
    """A package stands while its file is kept open, unchanged, and its signature is thought of as it was.

    Every look counts as a use of it.
    """

    held: HeldPackage
    stamp: Stamp
    """Of its file, when it was served."""
    signed: Signed | None
    """What was thought of its signature then."""
    until: float
    """Wall time of the end of that."""

    def ttl(self, now: float) -> float | None:
        """For ever, or not at all."""
        held, keeper = self.held, self.held.keeper
        if now >= self.until or held.signed is not self.signed or held.stamp is not self.stamp or keeper is None:
            return None
        return math.inf if keeper.use_again(held) else None


def standing_of(held: HeldPackage) -> Callable[[], HeldStanding]:
    """What makes the standing of a package that is served now."""
    signed = held.signed
    return partial(HeldStanding, held, held.stamp, signed, math.inf if signed is None else signed.until)


class BriefStanding(Struct, frozen=True, kw_only=True):
    """An answer whose making has something else looked at, too, stands for a while."""

    inner: Standing
    until: float
    """Monotonic time from which it is made anew."""
    clock: Clock

    def ttl(self, now: float) -> float | None:
        """Seconds of freshness left; None when it must be made anew."""
        return self.inner.ttl(now) if self.clock.monotonic() < self.until else None


class LackingStanding(Struct, frozen=True):
    """An answer stands while something is known not to be there, which would be asked first."""

    inner: Standing
    lacks: Callable[[], bool]

    def ttl(self, now: float) -> float | None:
        """Seconds of freshness left; None when it may be there."""
        return self.inner.ttl(now) if self.lacks() else None


class JointStanding(Struct, frozen=True, kw_only=True):
    """An answer of a feed that has rules about its sources stands while none of them is written to, or is claimed."""

    inner: Standing | None
    """Of what one source said; None where several did."""
    left: float
    """Seconds of freshness that were left ``since`` a monotonic time."""
    since: float
    until: float
    """Monotonic time from which it is made anew."""
    stamp: Hashable
    stamp_now: Callable[[], Hashable]
    """Another one when it may have to be made anew."""
    clock: Clock
    rulings: tuple[Validity, ...] = ()
    """Of what rules say of what it names."""

    def ttl(self, now: float) -> float | None:
        """Seconds of freshness left; None when it must be made anew."""
        at = self.clock.monotonic()
        if at >= self.until or self.stamp != self.stamp_now():
            return None
        for ruling in self.rulings:
            if ruling.ended:
                return None
        if self.inner is not None:
            return self.inner.ttl(now)
        left = self.left - (at - self.since)
        return left if left > 0 else None


class RuledStanding(Struct, frozen=True, kw_only=True):
    """An answer of a feed with rules stands while they say the same of what it names."""

    inner: Standing
    """Which knows of writes."""
    passes: float
    """Wall time at which time alone makes them say something else."""
    until: float
    """Monotonic time from which what they look at is looked up anew."""
    clock: Clock
    rulings: tuple[Validity, ...]
    """Of what they say."""
    ages: bool
    """False of what never grows old while they let it pass."""

    def ttl(self, now: float) -> float | None:
        """Seconds of freshness left; None when they must be asked."""
        if now >= self.passes or self.clock.monotonic() >= self.until:
            return None
        for ruling in self.rulings:
            if ruling.ended:
                return None
        left = self.inner.ttl(now)
        return min(left, self.passes - now) if left is not None and self.ages else left
