"""Owners are the sources that the versions of one feed belong to."""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterable, Mapping
from functools import partial
from typing import Final

import structlog
from cachetools import LRUCache

from nugetproxy.cluster.allowance import limited
from nugetproxy.cluster.engines import EngineUnavailable
from nugetproxy.engine.shared_truth import SharedTruth
from nugetproxy.errors import Reason, upstream_failure
from nugetproxy.feeds.claims import Claims
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.store.ledger.ledger import Ledger, Owner

log = structlog.get_logger(__name__)

REMEMBERED: Final = 20_000
"""Ids whose owners are in memory."""


class Owners:
    """What the ledger knows of them; whoever is recorded first stays it."""

    def __init__(self, feed: str, ledger: Ledger, claims: Claims, truth: SharedTruth | None = None) -> None:
        """``truth``: what all replicas decide together."""
        self._truth = truth
        self._claims = claims
        self._reloads = claims.reloads
        self._feed = feed
        self._ledger = ledger
        self._known: LRUCache[str, dict[str, Owner]] = LRUCache(REMEMBERED)
        self._forgotten = 0

    def lacks(self, id_: str, recorded: Container[str], versions: Iterable[str]) -> bool:
        """Whether there is something to record of an id of which so much is."""
        return self._is_alone(id_) or any(version not in recorded for version in versions)

    def _is_alone(self, id_: str) -> bool:
        return self._truth is not None and (self._feed, id_) in self._truth.alone

    async def of(self, id_: str) -> Mapping[str, Owner]:
        """By version (URL form) of an id (lower case); raises LedgerUnavailable."""
        while (known := self.remembered(id_)) is None:
            number = self._forgotten
            read = dict(await self._ledger.owners(self._feed, id_))
            if number == self._forgotten:  # else this may be what was to be forgotten
                self._known.setdefault(id_, read)
        return known

    def remembered(self, id_: str) -> Mapping[str, Owner] | None:
        """The same, without a look into the ledger."""
        if self._reloads != self._claims.reloads:
            self._reloads = self._claims.reloads
            self.forget()
        found: Mapping[str, Owner] | None = self._known.get(id_)
        return found

    async def record(self, id_: str, owners: Mapping[str, str], *, valid: Collection[str]) -> None:
        """Version -> the source that it belongs to; an owner stays who it is, as long as it is one of ``valid``."""
        known = dict(await self.of(id_))
        owners = await self._agreed(id_, owners, known, valid)
        known = dict(await self.of(id_))  # whose bytes have come meanwhile, and what others have recorded, stays
        for version, source in owners.items():
            before = known.get(version)
            if before is not None and before.source in valid:
                continue
            if before is not None:
                log.warning("owner.changed", feed=self._feed, id=id_, version=version, was=before.source, now=source)
            known[version] = Owner(source, "")
            self._ledger.reown(self._feed, PackageIdentity(id_, version), known[version])
        self._known[id_] = known

    async def _agreed(
        self, id_: str, owners: Mapping[str, str], known: Mapping[str, Owner], valid: Collection[str]
    ) -> Mapping[str, str]:
        """What is new, as the first of all replicas has decided it; while nobody can tell, as it is decided here, of
        which the others are told later.
        """
        ours = {version: one.source for version, one in known.items() if one.source in valid}
        if self._truth is None or (not self._is_alone(id_) and all(one in ours for one in owners)):
            return owners
        try:
            with limited():
                decided = await self._truth.decide(self._feed, id_, {**owners, **ours})
        except EngineUnavailable:
            self._truth.alone[self._feed, id_] = True
            return owners
        self._truth.alone.pop((self._feed, id_), None)
        return {version: decided[version] if decided[version] in valid else owners[version] for version in owners}

    async def seal(self, identity: PackageIdentity, source: str, sha512: str) -> None:
        """The bytes (SHA-512 in base64) of a version have come from its owner.

        Raises UpstreamRefused where they are not those that it had before.
        """
        if _differs((await self.of(identity.id)).get(identity.version), source, sha512):
            self._known.pop(identity.id, None)  # an operator may have purged it meanwhile
        self._seal(await self.of(identity.id), identity, source, sha512)

    async def landing(self, identity: PackageIdentity, source: str) -> Callable[[str], None]:
        """The same for bytes that are still on their way: is told their hash when they are here."""
        return partial(self._seal, await self.of(identity.id), identity, source)

    def _seal(self, known: Mapping[str, Owner], identity: PackageIdentity, source: str, sha512: str) -> None:
        known = self._known.get(identity.id, known)
        before = known.get(identity.version)
        if _differs(before, source, sha512):
            told = f"these are not the bytes that {identity.nupkg_name} had before; 'nugetproxy purge' forgets them"
            raise upstream_failure(source, Reason.PIN, told)
        if before is None or before == Owner(source, ""):
            self._known[identity.id] = {**known, identity.version: Owner(source, sha512)}
            self._ledger.reown(self._feed, identity, Owner(source, sha512))

    def forget(self) -> None:
        """Look into the ledger again."""
        self._known.clear()
        self._forgotten += 1


def _differs(owner: Owner | None, source: str, sha512: str) -> bool:
    return owner is not None and owner.source == source and owner.sha512 not in {"", sha512}
