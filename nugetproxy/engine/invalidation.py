"""Invalidation keeps what a write has outdated from being served as fresh, or stored late."""

from __future__ import annotations

from dataclasses import replace

from cachetools import TTLCache

from nugetproxy.caching.policy import MINUTE, Policy
from nugetproxy.clock import Clock
from nugetproxy.engine.target import Target

LEASH_SECONDS = 15 * MINUTE
"""How long after a write every read of its package is revalidated (nuget.org indexes a push with a delay)."""


class Invalidation:
    """Which packages were written to through us, and how often."""

    def __init__(self, clock: Clock) -> None:
        self._epochs: dict[str, int] = {}
        self._writes = 0
        self._leashed: TTLCache[str, bool] = TTLCache(10_000, LEASH_SECONDS, timer=clock.monotonic)

    def put_on(self, id: str) -> None:
        """``id`` was written to; an empty one means that it is not known which package was."""
        self._epochs[id] = self._epochs.get(id, 0) + 1
        self._writes += 1
        self._leashed[id] = True

    def epoch(self, target: Target) -> int:
        """Rises with every write that may change ``target``: an answer to a question of an older epoch may be of
        before the write."""
        if target.kind.row.query:
            return self._writes
        return self._epochs.get(target.id, 0) + self._epochs.get("", 0)

    def policy(self, target: Target, policy: Policy) -> Policy:
        """``policy``, or one under which nothing counts as fresh; stored copies stay usable when upstream fails."""
        if not self._leashed:
            return policy
        leashed = target.kind.row.query or target.id in self._leashed or "" in self._leashed
        return replace(policy, fresh=0.0, refresh=0.0, absent=0.0) if leashed else policy
