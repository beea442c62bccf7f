"""Invalidation keeps what a write has outdated from being served as fresh, or stored late."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from nugetproxy.caching.policy import MINUTE, Policy
from nugetproxy.clock import Clock
from nugetproxy.engine.target import Target
from nugetproxy.nuget.kinds import Kind
from nugetproxy.store.ledger.ledger import Epoch, Ledger

REVALIDATE_SECONDS: Final = 15 * MINUTE
"""How long after a write every read of its package is revalidated (nuget.org indexes a push with a delay)."""
_NEVER: Final = Epoch(0, 0.0)


class Invalidation:
    """Which packages were written to through us, how often, and when; the ledger knows it after a restart too."""

    def __init__(self, ledger: Ledger, source: str, clock: Clock) -> None:
        self._ledger = ledger
        self._source = source
        self._clock = clock
        self.writes = ledger.writes(source)
        """All of them."""

    def note_write(self, id: str) -> None:
        """``id`` was written to; an empty one means that it is not known which package was."""
        self._ledger.raise_epoch(self._source, id)

    def note_other_write(self, id: str, at: float | None) -> None:
        """``id`` was written to through another replica, ``at`` a wall time of its clock; None: just now."""
        known = self.writes.by_id.get(id, _NEVER)
        if at is None or known.at < at or known.at > self._clock.now():  # by its own clock, which was set back
            self._ledger.raise_epoch(self._source, id, at=at)

    async def settle(self) -> None:
        """Wait until every write that was noted is in the ledger's file, for a limited time."""
        await self._ledger.settle()

    def epoch(self, target: Target) -> int:
        """Rises with every write that may change ``target``: an answer to a question of an older epoch may be of
        before the write."""
        if target.kind.row.query:
            return self.writes.number
        return self._of(target.id).number + (self._of("").number if target.id else 0)

    def policy(self, target: Target, policy: Policy, stored_at: float | None) -> Policy:
        """``policy``, or one under which nothing counts as fresh: for a while after a write, and for what was stored
        before it (``stored_at``, wall time) always. Stored copies stay usable when upstream fails, a 404 does not; the
        symbols of a build, which has a key of its own, stay fresh.
        """
        if not self.writes.by_id:
            return policy
        now = self._clock.now()
        at = self._last(target, now)
        outdated = now - at < REVALIDATE_SECONDS or (stored_at is not None and stored_at <= at)
        if not outdated:
            return policy
        found = policy if target.kind is Kind.SYMBOL else replace(policy, fresh=0.0, refresh=0.0)
        return replace(found, absent=0.0, absent_on_error=0.0)

    def is_outdated(self, target: Target, stored_at: float) -> bool:
        """Whether ``target`` was stored (``stored_at``, wall time) before the last write that may have changed it."""
        return bool(self.writes.by_id) and stored_at <= self._last(target, self._clock.now())

    def _last(self, target: Target, now: float) -> float:
        """When there was a write that may have changed ``target``, in wall time; 0 where there was none.

        By a write in the future (the clock was set back) nothing can be told; it hides none that came later.
        """
        if target.kind.row.query:
            return self.writes.latest(now)
        return max((one.at for one in (self._of(target.id), self._of("")) if one.at <= now), default=0.0)

    def _of(self, id: str) -> Epoch:
        return self.writes.by_id.get(id, _NEVER)
