"""The history knows what was asked for lately, by whom, how that went."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Final

from nugetproxy.clock import Clock
from nugetproxy.metrics import Metrics
from nugetproxy.store.fs import FsOps
from nugetproxy.store.history import reading
from nugetproxy.store.history.form import HISTORY, HistoryUnavailable
from nugetproxy.store.history.reading import Count, Pull, Seen, Trouble, Use
from nugetproxy.store.history.sighting import Sighting, What, Who
from nugetproxy.store.history.tally import Tally
from nugetproxy.store.history.writing import prune, write
from nugetproxy.store.sqlite_file import SqliteFile

__all__ = ["History", "HistoryUnavailable"]

NAME: Final = "history.db"
ROUND_SECONDS: Final = 2.0
"""Between two writes; so much is lost by a kill."""
PRUNE_SECONDS: Final = 600.0
MOST_PENDING: Final = 100_000
"""Sightings and tallies that wait for a slow disk; further ones are dropped."""
BATCH: Final = 10_000


class History:
    """Everything in one SQLite file, written behind the answers; it may be deleted at any time.

    Reads raise HistoryUnavailable; writes never raise.
    """

    def __init__(self, *, fs: FsOps, clock: Clock, metrics: Metrics, restores: int, usage: float) -> None:
        """``restores`` are kept (0: none); who used what for ``usage`` seconds (0: not at all)."""
        self.now = clock.now
        self.usage = usage
        self.pending: list[Sighting | Tally] = []
        """What is to be written."""
        self._tallies: dict[tuple[int, int], Tally] = {}
        """Those of the pending that still take more, by the objects that they are about."""
        self._clock = clock
        self._dropped = metrics.history_dropped
        self._restores = restores
        self._file = SqliteFile(HISTORY, fs=fs, clock=clock, lost=lambda: None)
        self._flushing = asyncio.Lock()  # a stop waits for the batch that is being written
        self._pruned = float("-inf")

    def use(self, *, restores: int, usage: float) -> None:
        """From now on so much is kept."""
        self._restores, self.usage = restores, usage

    async def open(self, directory: Path) -> None:
        """Begin with the file in ``directory``, or with a new one; never raises."""
        self._file.begin(directory / NAME)
        with suppress(HistoryUnavailable):  # logged; tried again with the next write
            await self._file.write(lambda _: None)

    async def close(self) -> None:
        """Write what is pending, close the file."""
        await self.flush()
        await self._file.end()

    def note(self, what: What, who: Who, *, seconds: float, upstream: float, client: float) -> None:
        """A request has been answered."""
        self.enter((self.now(), what, who, seconds, upstream, client))

    def enter(self, sighting: Sighting) -> None:
        """A request has been answered; for one of a restore, of which each is looked at."""
        if len(self.pending) < MOST_PENDING:
            self.pending.append(sighting)
        else:
            self._dropped.inc()

    def count(self, at: float, what: What, who: Who) -> Tally | None:
        """A request without a session was answered ``at`` a wall time: as ``enter`` of it, for much less.

        It counts with all that were given the same two objects. The tally that did so takes more of them; None where it
        was dropped.
        """
        key = id(what), id(who)  # which a tally keeps alive, so that they are nothing else's
        tally = self._tallies.get(key)
        if tally is not None and tally.takes(at, who):
            return tally
        if len(self.pending) >= MOST_PENDING:
            self._dropped.inc()
            return None
        if tally is not None:
            tally.close()
        tally = self._tallies[key] = Tally(at, what, who)
        self.pending.append(tally)
        return tally

    async def run(self) -> None:
        """Write behind until cancelled."""
        while True:
            await self._clock.sleep(ROUND_SECONDS)
            await self.flush()

    async def flush(self) -> None:
        """Write what is pending."""
        async with self._flushing:
            while batch := self.pending[:BATCH]:
                del self.pending[:BATCH]
                self._close_tallies()
                try:
                    await self._file.write(write, batch, restores=self._restores, usage=self.usage)
                except HistoryUnavailable:  # logged where it was noticed
                    self._dropped.inc(sum(one.times if isinstance(one, Tally) else 1 for one in batch))
                    return
            await self._prune()

    def _close_tallies(self) -> None:
        """What a thread writes down must not change meanwhile."""
        for tally in self._tallies.values():
            tally.close()
        self._tallies.clear()

    async def _prune(self) -> None:
        if self._clock.monotonic() < self._pruned + PRUNE_SECONDS:
            return
        self._pruned = self._clock.monotonic()
        try:
            await self._file.write(prune, self.now(), restores=self._restores, usage=self.usage)
        except HistoryUnavailable:
            return

    # --- what somebody wants to see ---

    async def counts(self, span: int, since: float, feeds: Collection[str]) -> tuple[Count, ...]:
        """Counts by ``span`` (60, 3600, 86400 seconds) since a wall time, summed over ``feeds``, oldest first."""
        return await self._file.read(reading.counts, span, since, feeds)

    async def newest(self, feeds: Collection[str], most: int) -> tuple[Pull, ...]:
        """The packages that came last."""
        return await self._file.read(reading.newest, feeds, most, self.now())

    async def most_used(self, feeds: Collection[str], most: int) -> tuple[Pull, ...]:
        """The packages that were asked for most often."""
        return await self._file.read(reading.most_used, feeds, most)

    async def pulled(self, since: float, feeds: Collection[str]) -> tuple[Pull, ...]:
        """All that clients have got since a wall time, as far as it is remembered."""
        return await self._file.read(reading.pulled, since, feeds)

    async def pulls_of(self, id: str, feeds: Collection[str]) -> tuple[Pull, ...]:
        """All versions of an id (lower case) that clients have got."""
        return await self._file.read(reading.pulls_of, id, feeds)

    async def uses(self, id: str, version: str, since: float = 0.0) -> tuple[Use, ...]:
        """Who has got an id (lower case), in one version or any (empty), the last one first."""
        return await self._file.read(reading.uses, id, version, since)

    async def used_by(self, token: str, client: str, since: float) -> tuple[Use, ...]:
        """What came in by a token (empty: without one) to a client (empty: any), ordered by package."""
        return await self._file.read(reading.used_by, token, client, since)

    async def restores(self, most: int) -> tuple[Seen, ...]:
        """The last restores, the newest first."""
        return await self._file.read(reading.restores, most)

    async def restore(self, number: int) -> Seen | None:
        """One restore; None if it is not known (any more)."""
        return await self._file.read(reading.restore, number)

    async def troubles(self, since: float, feeds: Collection[str]) -> tuple[Trouble, ...]:
        """What failed since a wall time, the last one first."""
        return await self._file.read(reading.troubles, since, feeds)
