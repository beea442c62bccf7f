"""Housekeeping keeps the store within its limits while the proxy runs."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from nugetproxy.clock import Clock
from nugetproxy.engine.packages import Packages
from nugetproxy.store.documents.documents import Documents

log = structlog.get_logger(__name__)

ROUND_SECONDS = 30.0


class Housekeeping:
    """Writes down last uses, evicts the least recently used packages, trims documents; one task for all."""

    def __init__(
        self,
        packages: Sequence[Packages],
        entries: Documents,
        *,
        max_packages: int,
        max_documents: int,
        clock: Clock,
    ) -> None:
        """``max_packages`` and ``max_documents`` are bytes, for all upstreams together."""
        self._packages = packages
        self._entries = entries
        self._max_packages = max_packages
        self._max_documents = max_documents
        self._clock = clock

    async def run(self) -> None:
        """Round after round until cancelled."""
        for packages in self._packages:
            await packages.folder.scan()
        while True:
            await self.round()
            await self._clock.sleep(ROUND_SECONDS)

    async def round(self) -> None:
        """One pass over everything."""
        for packages in self._packages:
            await packages.folder.flush_uses()
        await self._evict()
        await self._entries.trim(self._max_documents)

    async def finish(self) -> None:
        """Write down what would be lost by stopping."""
        for packages in self._packages:
            await packages.folder.flush_uses()

    async def _evict(self) -> None:
        """Make room where the folders together are over the limit: each gives up its share."""
        sizes = [packages.folder.usage()[0] for packages in self._packages]
        total = sum(sizes)
        if total <= self._max_packages:
            return
        for packages, size in zip(self._packages, sizes, strict=True):
            share = self._max_packages * size // total
            removed = await packages.folder.evict(share, packages.in_flight)
            await packages.sync_holdings()
            log.info("packages.evicted", upstream=packages.name, bytes=removed, share=share)
