"""Pins remember which bytes a package version had when it was first verified."""

from __future__ import annotations

from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.store.ledger.ledger import Ledger, LedgerUnavailable


class Pins:
    """SHA-512 by package, kept when the package itself was evicted: other bytes later are not let in silently."""

    def __init__(self, ledger: Ledger, upstream: str) -> None:
        self._ledger = ledger
        self._upstream = upstream

    async def get(self, identity: PackageIdentity) -> str | None:
        """The pinned hash in base64; None for a package never seen.

        None too while the ledger cannot be read, which its log and ``/health`` tell: builds go on.
        """
        try:
            return await self._ledger.pinned(self._upstream, identity)
        except LedgerUnavailable:
            return None

    def put(self, identity: PackageIdentity, sha512: str) -> None:
        """Pin ``sha512`` (base64) as the bytes of this package."""
        self._ledger.pin(self._upstream, identity, sha512)

    async def versions(self, *ids: str) -> frozenset[PackageIdentity]:
        """The pinned versions of some ids (lower case), held or not; raises LedgerUnavailable."""
        return await self._ledger.pinned_versions(self._upstream, *ids)

    async def forget(self, identity: PackageIdentity) -> None:
        """Let the next bytes of this package be its first; raises LedgerUnavailable."""
        await self._ledger.forget(self._upstream, identity)
