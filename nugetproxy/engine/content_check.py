"""ContentCheck compares the checksum of every file inside a package that has just landed."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

import structlog
from cachetools import LRUCache

from nugetproxy.clock import Clock
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.store.fs import DiskFailure
from nugetproxy.store.packages.folder import PackageFolder

log = structlog.get_logger(__name__)

AT_ONCE: Final = 2**20
"""Packages up to so many bytes are looked into before their last byte is sent, larger ones right behind it."""
RATE: Final = 200 * 2**20
"""Bytes per second of large packages: builds need the processor more."""
REMEMBERED: Final = 10_000
AGAIN: Final = (1.0, 10.0, 100.0)
"""Seconds after which a look that the disk has broken off begins again: until then it is served unlooked."""


class ContentCheck:
    """One large package at a time; a switch turns all of it off.

    NuGet itself does not compare these checksums. Bytes that come a second time as they were are the feed's own, so
    they pass.
    """

    def __init__(self, upstream: str, folder: PackageFolder, clock: Clock, *, on: bool) -> None:
        self.on = on
        self._upstream = upstream
        self._folder = folder
        self._clock = clock
        self._refused: LRUCache[PackageIdentity, str] = LRUCache(REMEMBERED)
        self._turn = asyncio.Lock()
        """Protects the disk from being read for several packages at once."""

    def refuse(self, identity: PackageIdentity, sha512: str, detail: str) -> None:
        """These bytes (SHA-512 in base64) are damaged inside: they may come once more."""
        self._refused[identity] = sha512
        log.error("package.damaged", upstream=self._upstream, package=str(identity), detail=detail)

    def has_refused(self, identity: PackageIdentity) -> bool:
        """Whether bytes of this package were refused before."""
        return identity in self._refused

    def is_feeds_own(self, identity: PackageIdentity, sha512: str) -> bool:
        """Whether these very bytes were refused before."""
        own = self._refused.get(identity) == sha512
        if own:
            detail = "a file in it is not what its checksum says, but the feed has it so; NuGet does not look"
            log.warning("package.damaged_at_feed", upstream=self._upstream, package=str(identity), detail=detail)
        return own

    async def look_into(self, identity: PackageIdentity, sha512: str) -> bool | None:
        """Look into a held package; False if it is damaged, so set aside. Raises DiskFailure.

        None where these bytes are not held any more, so that nobody can say what they are.
        """
        damage = await self._damage(identity, sha512)
        if damage:
            self.refuse(identity, sha512, damage)
        return None if damage is None else not damage

    async def _damage(self, identity: PackageIdentity, sha512: str) -> str | None:
        """As ``check_contents``, again after a while where the disk, or a lack of descriptors, was in the way."""
        for pause in AGAIN:
            with suppress(DiskFailure):  # counted
                async with self._turn:
                    return await self._folder.check_contents(identity, sha512, self._pace)
            await self._clock.sleep(pause)
        async with self._turn:
            return await self._folder.check_contents(identity, sha512, self._pace)

    async def _pace(self, size: int) -> None:
        await self._clock.sleep(size / RATE)
