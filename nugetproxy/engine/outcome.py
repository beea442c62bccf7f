"""Outcome is the word for how a reply came about, the same in logs, metrics and ``Cache-Status``."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

CACHE_NAME = "nugetproxy"


class Outcome(StrEnum):
    """How a reply came about (RFC 9211 in one word)."""

    HIT = "hit"
    STALE = "stale"
    REVALIDATED = "revalidated"
    MISS = "miss"
    COLLAPSED = "collapsed"
    BYPASS = "bypass"
    ABSENT = "absent"
    SYNTHESIZED = "synthesized"
    FAILED = "failed"
    REJECTED = "rejected"


LASTING = frozenset({Outcome.HIT, Outcome.MISS, Outcome.COLLAPSED, Outcome.REVALIDATED})
"""Of what may stand: the next one who asks for the same gets it as a hit."""


LEASE = "lease"
SECOND_LEVEL = "second_level"
SHARED_DETAILS = frozenset({LEASE, SECOND_LEVEL})
"""Another replica had it: said of what came from there, not of what is here from then on."""


class CacheStatus(Struct, frozen=True, kw_only=True):
    """The ``Cache-Status`` of one reply (RFC 9211 section 2)."""

    outcome: Outcome
    hit: bool = False
    ttl: float | None = None
    """Remaining freshness in seconds; negative when stale; None or infinite is left out."""
    forwarded: str = ""
    """``uri-miss``, ``stale``, ``bypass``: why upstream was asked; empty when it was not."""
    forward_status: int | None = None
    stored: bool = False
    collapsed: bool = False
    detail: str = ""

    def header(self) -> str:
        """The field value, for example ``nugetproxy; hit; ttl=120``."""
        parts = [CACHE_NAME]
        if self.hit:
            parts.append("hit")
        if self.forwarded:
            parts.append(f"fwd={self.forwarded}")
        if self.forward_status is not None:
            parts.append(f"fwd-status={self.forward_status}")
        if self.ttl is not None and abs(self.ttl) < 1e9:
            parts.append(f"ttl={int(self.ttl)}")
        if self.stored:
            parts.append("stored")
        if self.collapsed:
            parts.append("collapsed")
        if self.detail:
            parts.append(f"detail={self.detail}" if self.detail.isidentifier() else f'detail="{self.detail}"')
        return "; ".join(parts)


def of_next(status: CacheStatus) -> CacheStatus:
    """Of what the next one who asks for the same gets out of memory, where the last one got it with ``status``."""
    return status if status.outcome is Outcome.HIT and status.detail not in SHARED_DETAILS else HIT


HIT = CacheStatus(outcome=Outcome.HIT, hit=True)
"""Of what is held and never grows old."""
