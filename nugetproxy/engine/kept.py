"""Kept knows the packages that an operator wants held whatever else has to go."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import structlog

from nugetproxy.clock import Clock
from nugetproxy.engine.newest import Newest
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.store.ledger.ledger import Ledger, LedgerUnavailable
from nugetproxy.store.ledger.records import Wanted

log = structlog.get_logger(__name__)


class Kept:
    """What the ledger knows of them, in memory; while that could not be read, everything is kept."""

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock
        self._known = False
        self._reads = Newest()
        self._ids: frozenset[str] = frozenset()
        self._versions: frozenset[PackageIdentity] = frozenset()
        self.wanted: tuple[Wanted, ...] = ()
        """Every one with what wants it."""

    async def load(self) -> None:
        """Read it again; raises LedgerUnavailable."""
        number = self._reads.begin()
        wanted = await self._ledger.kept()
        if not self._reads.takes(number):
            return  # what was kept since would be missing
        self.wanted = wanted
        self._ids = frozenset(one.id for one in self.wanted if not one.version)
        self._versions = frozenset(PackageIdentity(one.id, one.version) for one in self.wanted if one.version)
        self._known = True

    async def ready(self) -> None:
        """Read it unless that is done; a ledger that cannot be read says so itself."""
        if not self._known:
            try:
                await self.load()
            except LedgerUnavailable as error:
                log.warning("kept.unknown", detail=f"{error} Nothing is evicted until it is known what is kept.")

    def has(self, identity: PackageIdentity) -> bool:
        """Whether this must not be evicted."""
        return not self._known or identity.id in self._ids or identity in self._versions

    @property
    def lists(self) -> Mapping[str, frozenset[PackageIdentity]]:
        """By lock file: the versions that it wants."""
        found: dict[str, set[PackageIdentity]] = {}
        for one in self.wanted:
            if one.by:
                found.setdefault(one.by, set()).add(PackageIdentity(one.id, one.version))
        return {by: frozenset(versions) for by, versions in found.items()}

    async def keep(self, packages: Collection[tuple[str, str]], by: str) -> None:
        """Never evict these: (id in lower case, version in URL form or "" for all). Those of a file replace what it
        wanted before. Raises LedgerUnavailable.
        """
        now = self._clock.now()
        rows = [Wanted(id=id, version=version, by=by, at=now) for id, version in packages]
        await self._ledger.keep(rows, replace=by)
        await self.load()

    async def unkeep(self, packages: Collection[tuple[str, str]], by: str) -> int:
        """Let these go again; all that a file wants where none are named. How many were kept. LedgerUnavailable."""
        done = await self._ledger.unkeep(packages, by)
        await self.load()
        return done
