"""Housekeeping keeps the store within its limits while the proxy runs."""

from __future__ import annotations

from collections.abc import Sequence

from nugetproxy.clock import Clock
from nugetproxy.engine.packages import Packages
from nugetproxy.engine.room import Room, attempt
from nugetproxy.store.documents.documents import Documents
from nugetproxy.store.ledger.ledger import Ledger

ROUND_SECONDS = 30.0


class Housekeeping:
    """Writes down last uses, evicts the least recently used packages, trims documents; one task for all."""

    def __init__(
        self,
        packages: Sequence[Packages],
        documents: Documents,
        ledger: Ledger,
        *,
        room: Room,
        max_documents: int,
        clock: Clock,
    ) -> None:
        """``max_documents`` in bytes, for all upstreams together."""
        self._packages = packages
        self._documents = documents
        self._ledger = ledger
        self._room = room
        self._max_documents = max_documents
        self._clock = clock

    def use(self, packages: Sequence[Packages], max_documents: int) -> None:
        """From now on it is about these, within this limit."""
        self._packages = packages
        self._max_documents = max_documents

    async def run(self) -> None:
        """Round after round until cancelled."""
        for packages in self._packages:
            await packages.stock.counted()
            if not packages.folder.usage.is_counted:  # as whoever brings the holdings up to date should have done
                await attempt(packages.name, "scan", packages.folder.usage.count)
        while True:
            await self.round()
            await self._clock.sleep(ROUND_SECONDS)
            await self._ledger.tidy()  # not at once: the start has enough to do without a copy of the ledger

    async def round(self) -> None:
        """One pass over everything."""
        await self.finish()
        await self._room.keep()
        await self._documents.trim(self._max_documents)

    async def finish(self) -> None:
        """Write down what would be lost by stopping."""
        for packages in self._packages:
            await attempt(packages.name, "last uses", packages.folder.usage.write)
