"""Owners are the sources that the versions of one feed belong to."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

import structlog
from cachetools import LRUCache

from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.store.ledger.ledger import Ledger, Owner

log = structlog.get_logger(__name__)

REMEMBERED: Final = 20_000
"""Ids whose owners are in memory."""


class Owners:
    """What the ledger knows of them; whoever is recorded first stays it."""

    def __init__(self, feed: str, ledger: Ledger) -> None:
        self._feed = feed
        self._ledger = ledger
        self._known: LRUCache[str, dict[str, Owner]] = LRUCache(REMEMBERED)

    async def of(self, id_: str) -> Mapping[str, Owner]:
        """By version (URL form) of an id (lower case); raises LedgerUnavailable."""
        known = self._known.get(id_)
        if known is None:
            known = dict(await self._ledger.owners(self._feed, id_))
            known = self._known.setdefault(id_, known)
        return known

    def remembered(self, id_: str) -> Mapping[str, Owner] | None:
        """The same, without a look into the ledger."""
        found: Mapping[str, Owner] | None = self._known.get(id_)
        return found

    async def record(self, id_: str, owners: Mapping[str, str], *, valid: Collection[str]) -> None:
        """Version -> the source that it belongs to; an owner stays who it is, as long as it is one of ``valid``."""
        known = dict(await self.of(id_))
        for version, source in owners.items():
            before = known.get(version)
            if before is not None and before.source in valid:
                continue
            if before is not None:
                log.warning("owner.changed", feed=self._feed, id=id_, version=version, was=before.source, now=source)
            known[version] = Owner(source, "")
            self._ledger.reown(self._feed, PackageIdentity(id_, version), known[version])
        self._known[id_] = known

    async def seal(self, identity: PackageIdentity, source: str, sha512: str) -> None:
        """The bytes (SHA-512 in base64) of a version have come from its owner."""
        known = dict(await self.of(identity.id))
        if identity.version not in known or known[identity.version] == Owner(source, ""):
            known[identity.version] = Owner(source, sha512)
            self._ledger.reown(self._feed, identity, known[identity.version])
            self._known[identity.id] = known

    def forget(self) -> None:
        """Look into the ledger again."""
        self._known.clear()
