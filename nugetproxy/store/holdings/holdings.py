"""Holdings knows what one package folder holds, for searches and lists that need no upstream."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sqlite3
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

import structlog

from nugetproxy.clock import Clock
from nugetproxy.nuget.facts import PackageFacts
from nugetproxy.nuget.identity import PackageIdentity, invariant_lower
from nugetproxy.nuget.synthesis.search import Hit
from nugetproxy.nuget.synthesis.search_query import SearchQuery
from nugetproxy.store.fs import DiskFailure, FsOps
from nugetproxy.store.holdings import rows
from nugetproxy.store.holdings import search as holdings_search
from nugetproxy.store.holdings.database import HOLDINGS, HoldingsUnavailable
from nugetproxy.store.holdings.sync import Old, ReadFacts, Synced, Walk, read_all
from nugetproxy.store.sqlite_file import SqliteFile
from nugetproxy.store.threads import hop

__all__ = ["Holdings", "HoldingsUnavailable", "ReadFacts", "Synced", "Walk"]

log = structlog.get_logger(__name__)

_T = TypeVar("_T")

AGAIN_SECONDS: Final = 10.0
"""Pause after a synchronisation that failed, at least."""
AGAIN_SHARE: Final = 10
"""How many times longer than that synchronisation it is: the folder of one id may fail it at the end of all others."""
REST: Final = 2.0
"""Behind clients a synchronisation rests after each batch, for so much of the time that it took."""
BATCH: Final = 250
"""Packages per transaction: some 30 ms, for which a commit of the proxy's own has to wait."""


class Holdings:
    """What is held, in one SQLite file; derived from the folder, so it may be deleted at any time.

    One thread writes, two read, one scans the folder. Reads raise HoldingsUnavailable rather than say that there is
    nothing; writes never raise, but have the next ``sync`` make up for what they could not do. A damaged file is set
    aside, an empty one begun; ``synced`` then is False until a ``sync`` has filled it.
    """

    def __init__(self, *, fs: FsOps | None = None, clock: Clock | None = None) -> None:
        self._clock = clock or Clock()
        self._file = SqliteFile(HOLDINGS, fs=fs or FsOps(), clock=self._clock, lost=self._lose)
        self._scanner = ThreadPoolExecutor(1, thread_name_prefix="holdings-scan")
        self._hurried = False
        self.changes = 0
        """Rises with every change of what is held, as far as it is known here."""
        self.furthest = 0
        """Batches that the longest synchronisation so far has had."""
        self._complete = False
        self._incomplete = asyncio.Event()
        self._incomplete.set()
        # One synchronisation at a time; two would undo each other's work.
        self._syncing = asyncio.Lock()
        # What changed while one runs, so that it does not put back what it saw before. Belongs to the writer's thread.
        self._touched: set[PackageIdentity] = set()

    @property
    def synced(self) -> bool:
        """True when everything that the folder holds is known here."""
        return self._complete

    def hurry(self) -> None:
        """Somebody waits until all is known: a synchronisation does not rest from now on until it is over."""
        self._hurried = True

    async def open(self, path: Path) -> None:
        """Begin with the file at ``path``, or with a new one; its directory must exist. Never raises.

        A file that cannot be used now is tried again with every later call.
        """
        self._file.begin(path)
        try:
            held = await self._file.write(rows.count)
        except HoldingsUnavailable:  # logged; a damaged file is already replaced
            return
        log.info("holdings.opened", packages=held)

    async def close(self) -> None:
        """Close the file, end the threads; whoever synchronises must have been stopped."""
        await self._file.end()
        self._scanner.shutdown(wait=False)

    # --- what is held ---

    async def facts(self, id: str) -> tuple[PackageFacts, ...]:
        """All that is held of an id (any case), ascending by version. Raises HoldingsUnavailable."""
        return await self._file.read(rows.facts_of, invariant_lower(id))

    async def held_ids(self, ids: Collection[str]) -> frozenset[str]:
        """Those ids (lower case) of which something is held. Raises HoldingsUnavailable."""
        return await self._file.read(rows.held_ids, ids)

    async def search(self, query: SearchQuery) -> tuple[int, tuple[Hit, ...]]:
        """The exact number of ids found, with the hits that ``skip`` and ``take`` leave. Raises HoldingsUnavailable.

        The id itself comes first, then ids that begin with what is looked for, then those in which all of it is
        found, then the rest by bm25; what is equal is ordered by id.
        """
        return await self._file.read(holdings_search.search, query)

    async def autocomplete(self, query: SearchQuery) -> tuple[int, tuple[str, ...]]:
        """Ids in which words begin with those asked for, in the order of ``search``; how many there are of them all.

        With ``query.id``: all its versions that the searcher may see, ascending. Raises HoldingsUnavailable.
        """
        return await self._file.read(holdings_search.autocomplete, query)

    async def add(self, facts: PackageFacts) -> bool:
        """Add a package that is held now, or replace what was known of it; False if that failed."""
        return await self.change([facts], ())

    async def remove(self, identity: PackageIdentity) -> bool:
        """Remove a package that is no longer held; False if that failed."""
        return await self.change((), [identity])

    async def change(self, add: Collection[PackageFacts], remove: Collection[PackageIdentity]) -> bool:
        """Add (or replace) and remove several at once; False if that failed."""
        try:
            await self._file.write(self._put_and_note, add, remove)
        except HoldingsUnavailable:
            self._lose()
            return False
        finally:
            self.changes += 1
        return True

    def _put_and_note(
        self, connection: sqlite3.Connection, add: Collection[PackageFacts], remove: Collection[PackageIdentity]
    ) -> None:
        if self._syncing.locked():
            self._touched.update(remove, (facts.identity for facts in add))
        rows.change(connection, add=add, remove=remove)

    async def ids_after(self, id: str, limit: int) -> list[str]:
        """The next ids (lower case) of which something is held, in their order. Raises HoldingsUnavailable."""
        return await self._file.read(rows.ids_after, id, limit)

    async def holds_anything(self) -> bool:
        """Whether there is any package. Raises HoldingsUnavailable."""
        return bool(await self.ids_after("", 1))

    async def recorded(self) -> dict[PackageIdentity, tuple[int, float]]:
        """Size and ``published`` of everything that it has. Raises HoldingsUnavailable."""
        found: dict[PackageIdentity, tuple[int, float]] = {}
        number = 0
        while batch := await self._file.read(rows.recorded_after, number, BATCH):
            number = batch[-1][0]
            found.update((identity, (size, published)) for _, identity, size, published in batch)
        return found

    # --- synchronisation ---

    async def sync(self, walk: Walk, read_facts: ReadFacts, *, rest: float = 0.0) -> Synced:
        """Make the holdings say what the folder holds: read what is missing or has another size, remove what is gone.

        Meanwhile everything else goes on. ``walk`` and ``read_facts`` are called in a thread. It may ``rest``, as
        ``REST`` says. Raises HoldingsUnavailable, and whatever ``walk`` raises; then what was done so far stays.
        """
        await self._file.check()
        async with self._filling():
            done = await self._sync(walk, read_facts, rest)
        log.info("holdings.synced", held=done.held, added=done.added, removed=done.removed, unreadable=done.unreadable)
        return done

    async def keep_synced(self, walk: Walk, read_facts: ReadFacts) -> None:
        """``sync`` now unless that is done, and whenever it is needed again; runs until it is cancelled."""
        while True:
            began = self._clock.monotonic()
            try:
                if self._incomplete.is_set():  # nothing is known yet, it was lost, or somebody's ``sync`` failed
                    await self.sync(walk, read_facts, rest=REST)
            except (HoldingsUnavailable, DiskFailure) as error:
                log.warning("holdings.sync_failed", detail=str(error))
                await self._clock.sleep(max(AGAIN_SECONDS, AGAIN_SHARE * (self._clock.monotonic() - began)))
            else:
                await self._incomplete.wait()

    @contextlib.asynccontextmanager
    async def _filling(self) -> AsyncIterator[None]:
        """The block makes the holdings complete, unless it fails or something is lost meanwhile."""
        async with self._syncing:
            self._incomplete.clear()
            try:
                await self._file.write(self._forget_touched)
                yield
            except BaseException:
                self._incomplete.set()
                raise
            self._complete = not self._incomplete.is_set()
            self.changes += 1
            self._hurried = False

    async def _sync(self, walk: Walk, read_facts: ReadFacts, rest: float) -> Synced:
        old = Old(*await self._file.read(rows.extent))
        held = added = unreadable = batches = 0
        async for batch in self._batches(walk, rest):
            sizes = {identity: size for identity, size, _ in batch}
            known = await self._file.read(rows.held_sizes, sizes)
            old.find(number for number, _ in known.values())
            wanted = [one for one in sizes.items() if one[0] not in known or known[one[0]][1] != one[1]]
            held += len(sizes)
            batches += 1
            self.furthest = max(self.furthest, batches)
            if wanted:
                found, bad = await hop(self._scanner, read_all, read_facts, wanted)
                await self._file.write(self._put, found)
                old.added.update(facts.identity for facts in found)
                added += len(found)
                unreadable += bad
        removed = 0 if old.all_found else await self._remove_others(old)
        return Synced(held=held, added=added, removed=removed, unreadable=unreadable)

    async def _remove_others(self, old: Old) -> int:
        removed, number = 0, 0
        while batch := await self._file.read(rows.identities_after, number, BATCH):
            number = batch[-1][0]
            gone = [identity for number, identity in batch if old.has_lost(number, identity)]
            if gone:
                removed += await self._file.write(self._drop, gone)
        return removed

    async def _batches(self, source: Callable[[], Iterable[_T]], rest: float) -> AsyncIterator[list[_T]]:
        items = await hop(self._scanner, lambda: iter(source()))
        began = self._clock.monotonic()
        failure: DiskFailure | None = None
        while failure is None:
            batch, failure = await hop(self._scanner, _next_batch, items)
            if batch:
                yield batch
            elif failure is None:
                return
            if rest and len(batch) == BATCH and not self._hurried:
                await self._clock.sleep(rest * (self._clock.monotonic() - began))
                began = self._clock.monotonic()
        raise failure

    def _forget_touched(self, _: sqlite3.Connection) -> None:
        self._touched.clear()

    def _put(self, connection: sqlite3.Connection, add: Collection[PackageFacts]) -> None:
        rows.change(connection, add=[facts for facts in add if facts.identity not in self._touched])

    def _drop(self, connection: sqlite3.Connection, gone: Collection[PackageIdentity]) -> int:
        really = [identity for identity in gone if identity not in self._touched]
        rows.change(connection, remove=really)
        return len(really)

    def _lose(self) -> None:
        self._complete = False
        self._incomplete.set()


def _next_batch(items: Iterator[_T]) -> tuple[list[_T], DiskFailure | None]:
    """Some more, with what ended them if anything did: what came before that counts."""
    batch: list[_T] = []
    try:
        batch.extend(itertools.islice(items, BATCH))
    except DiskFailure as failure:
        return batch, failure
    return batch, None
