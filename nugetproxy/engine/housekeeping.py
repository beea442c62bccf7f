"""Housekeeping keeps the store within its limits while the proxy runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import structlog

from nugetproxy.clock import Clock
from nugetproxy.engine.packages import Packages
from nugetproxy.errors import Reason
from nugetproxy.store.documents.documents import Documents
from nugetproxy.store.fs import DiskFailure
from nugetproxy.store.ledger.ledger import Ledger

log = structlog.get_logger(__name__)

ROUND_SECONDS = 30.0


class Housekeeping:
    """Writes down last uses, evicts the least recently used packages, trims documents; one task for all."""

    def __init__(
        self,
        packages: Sequence[Packages],
        documents: Documents,
        ledger: Ledger,
        *,
        max_packages: int,
        max_documents: int,
        clock: Clock,
    ) -> None:
        """``max_packages`` and ``max_documents`` are bytes, for all upstreams together."""
        self._packages = packages
        self._documents = documents
        self._ledger = ledger
        self._max_packages = max_packages
        self._max_documents = max_documents
        self._clock = clock

    async def run(self) -> None:
        """Round after round until cancelled."""
        for packages in self._packages:
            await self._try(packages, "scan", packages.folder.scan)
        while True:
            await self.round()
            await self._clock.sleep(ROUND_SECONDS)
            await self._ledger.tidy()  # not at once: the start has enough to do without a copy of the ledger

    async def round(self) -> None:
        """One pass over everything."""
        await self.finish()
        await self._evict()
        await self._documents.trim(self._max_documents)

    async def finish(self) -> None:
        """Write down what would be lost by stopping."""
        for packages in self._packages:
            await self._try(packages, "last uses", packages.folder.flush_uses)

    async def _try(self, packages: Packages, step: str, act: Callable[[], Awaitable[object]]) -> None:
        """Do one step of a round; a disk that refuses it does not keep the others from being done."""
        try:
            await act()
        except DiskFailure as failure:
            detail = str(failure)
            # What the disk says is all there is; a traceback adds nothing.
            log.error("housekeeping.failed", upstream=packages.name, step=step, reason=Reason.DISK, detail=detail)  # noqa: TRY400

    async def _evict(self) -> None:
        """Make room where the folders together are over the limit: each gives up its share."""
        sizes = [packages.folder.usage()[0] for packages in self._packages]
        total = sum(sizes)
        if total <= self._max_packages:
            return
        for packages, size in zip(self._packages, sizes, strict=True):
            share = self._max_packages * size // total
            await self._try(packages, "eviction", partial(packages.folder.evict, share, packages.in_flight))
            await packages.sync_holdings()
