"""Pins remember which bytes a package version had when it was first verified."""

from __future__ import annotations

from nugetproxy.caching.entry import Entry
from nugetproxy.clock import Clock
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.store.documents.documents import Documents

TAG = "pin"


class Pins:
    """SHA-512 by package, kept when the package itself was evicted: other bytes later are not let in silently."""

    def __init__(self, entries: Documents, upstream: str, clock: Clock) -> None:
        self._entries = entries
        self._upstream = upstream
        self._clock = clock

    async def get(self, identity: PackageIdentity) -> str | None:
        """The pinned hash in base64; None for a package never seen (or where the document store was lost)."""
        stored = await self._entries.get(self._key(identity))
        return stored.body.decode() if stored is not None else None

    async def put(self, identity: PackageIdentity, sha512: str) -> None:
        """Pin ``sha512`` (base64) as the bytes of this package."""
        body = sha512.encode()
        entry = Entry.of(200, body, stored_at=self._clock.now())
        await self._entries.put(self._key(identity), entry, body, tag=TAG)

    async def forget(self, identity: PackageIdentity) -> None:
        """Let the next bytes of this package be its first."""
        await self._entries.delete(self._key(identity))

    def _key(self, identity: PackageIdentity) -> str:
        return f"pin:{self._upstream}:{identity.id}/{identity.version}"
