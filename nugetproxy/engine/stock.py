"""Stock brings what is known of a package folder up to what it holds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final

from nugetproxy.clock import Clock
from nugetproxy.nuget.facts import PackageFacts
from nugetproxy.nuget.identity import invariant_lower
from nugetproxy.store.fs import DiskFailure
from nugetproxy.store.holdings.holdings import Holdings, HoldingsUnavailable, Walk
from nugetproxy.store.packages.folder import PackageFolder

FIRST_SYNC: Final = 2.0
"""Seconds that the start waits for the holdings to know all that is held."""
LOOK_SECONDS: Final = 0.5
"""Between two looks whether the first walk is over."""
MOST_LOOKS: Final = 240
"""Without a step ahead. Then it is not waited for: the disk hangs, or does not take what the holdings know."""


class Stock:
    """One walk through the folder brings the holdings up to date, and counts what is held."""

    def __init__(self, folder: PackageFolder, holdings: Holdings, clock: Clock) -> None:
        self._folder = folder
        self._inventory = folder.inventory
        self._holdings = holdings
        self._clock = clock

    async def begin(self) -> None:
        """At a start: take stock of a small folder, leave a large one to ``keep``."""
        if not await self._folder.usage.is_large():
            with suppress(TimeoutError):
                async with asyncio.timeout(FIRST_SYNC):
                    await self.take()

    async def keep(self) -> None:
        """Take it now unless that is done, and whenever the holdings were lost; runs until it is cancelled."""
        await self._holdings.keep_synced(self._walk(), self._inventory.facts_reader())

    async def take(self) -> None:
        """Take it once."""
        with suppress(HoldingsUnavailable, DiskFailure):
            await self._holdings.sync(self._walk(), self._inventory.facts_reader())

    async def hurry(self) -> None:
        """Take it now, unless that is done: somebody waits until all is known."""
        if not self._holdings.synced:
            self._holdings.hurry()
            await self.take()

    async def facts(self, id: str) -> tuple[PackageFacts, ...]:
        """All that is held of an id (any case), ascending. Raises HoldingsUnavailable.

        Until it was taken, a look into the folder of the id tells it: nobody waits for those of all others.
        """
        return await self._holdings.facts(id) if self._holdings.synced else await self.look(id)

    async def look(self, id: str) -> tuple[PackageFacts, ...]:
        """The same, of what lies in the folder of the id now, whoever has put it there. Raises HoldingsUnavailable."""
        known: tuple[PackageFacts, ...] = ()
        with suppress(HoldingsUnavailable):
            known = await self._holdings.facts(id)
        try:
            found, unknown = await self._inventory.look(invariant_lower(id), {facts.identity: facts for facts in known})
        except DiskFailure as failure:
            raise HoldingsUnavailable("incomplete") from failure
        if unknown:
            self._holdings.hurry()
        return found

    async def holds_anything(self) -> bool:
        """Whether there is any package. Raises HoldingsUnavailable."""
        with suppress(HoldingsUnavailable):
            held = await self._holdings.holds_anything()
            if held or self._holdings.synced:
                return held
        try:
            return bool(await self._inventory.after(None, 1))
        except DiskFailure as failure:
            raise HoldingsUnavailable("incomplete") from failure

    async def taken(self) -> None:
        """Return when it was taken since the start: whoever else goes through the folder then comes behind that."""
        await self._until(lambda: self._holdings.synced and self._folder.usage.is_counted)

    async def counted(self) -> None:
        """Return when what is held was counted."""
        await self._until(lambda: self._folder.usage.is_counted)

    async def _until(self, done: Callable[[], bool]) -> None:
        looks, furthest = 0, self._holdings.furthest
        while not done() and looks < MOST_LOOKS:
            await self._clock.sleep(LOOK_SECONDS)
            looks += 1
            if self._holdings.furthest > furthest:
                looks, furthest = 0, self._holdings.furthest

    def _walk(self) -> Walk:
        """For a thread."""
        loop, usage = asyncio.get_running_loop(), self._folder.usage
        return partial(self._folder.walk, lambda tally: loop.call_soon_threadsafe(usage.take, tally))
