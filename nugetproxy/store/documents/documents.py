"""Documents keeps documents with their entries in diskcache."""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from diskcache import Cache

from nugetproxy.caching.entry import Entry
from nugetproxy.errors import StoreUnusable
from nugetproxy.metrics import Metrics
from nugetproxy.store.documents.batches import Batches, Row, Write, store
from nugetproxy.store.documents.database import expire_unnamed, names_and_tags, remove_oldest
from nugetproxy.store.documents.index import Index
from nugetproxy.store.documents.record import Stored
from nugetproxy.store.fs import FsOps
from nugetproxy.store.sieve import Sieve
from nugetproxy.store.sqlite_form import LOCK_SECONDS

__all__ = ["Documents", "Stored"]

_T = TypeVar("_T")

OPEN_SECONDS = 10.0
"""How long the start waits for the check of what is there; after that, documents are missed until it is done."""
TRIM_ROWS = 200
"""Rows removed at once: few enough that a write waits only some 10 ms for it."""
LOW_WATER = 0.95
SUPERSEDED_SECONDS = 24 * 3600.0
"""How long what is never trimmed is kept when it is no longer named: a client's index may still name it."""
NEVER_TRIMMED = "kept:"


def of_id(id: str) -> str:
    """The tag of the documents about a package (its id in lower case)."""
    return f"id:{id}"


def of_kind(kind: str) -> str:
    """The tag of documents that are about no package."""
    return f"kind:{kind}"


def never_trimmed(group: str) -> str:
    """The tag of documents that go only when they are no longer named (``keep_named``)."""
    return f"{NEVER_TRIMMED}{group}"


class Documents:
    """Documents by key; a cache of what upstream said, rebuildable, so no trouble with it ever reaches a caller.

    A failed ``get`` is a miss, a failed change is dropped, anything damaged has all of it set aside and
    begun afresh. One thread writes, two read, each with a connection of its own; a call ends within ``LOCK_SECONDS``.
    """

    def __init__(self, *, metrics: Metrics, fs: FsOps | None = None) -> None:
        self._metrics = metrics
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="documents-write")
        self._readers = tuple(ThreadPoolExecutor(1, thread_name_prefix=f"documents-read-{n}") for n in range(2))
        self._turns = itertools.cycle(self._readers)
        self._index = Index(metrics, fs or FsOps(), self._writer, self._readers)
        self._batches = Batches(self._writer, self._store, metrics.documents_write_timeouts.inc)
        self._put = Sieve()
        """The keys of all that was to be stored since the start."""

    async def open(self, directory: Path) -> None:
        """Check what is there, set it aside if it is damaged, begin; the only method that raises (StoreUnusable)."""
        text = str(directory)
        if os.path.expandvars(text) != text:  # diskcache would expand it
            raise StoreUnusable(text, "its path has a '$' that names an environment variable", "Use another path.")
        await self._ask(self._writer, lambda: self._index.start(directory), None, limit=OPEN_SECONDS)

    async def close(self) -> None:
        """Close all connections, end the threads; later calls miss."""
        self._batches.flush()
        for lane in (*self._readers, self._writer):
            await self._ask(lane, self._index.close, None)
            lane.shutdown(wait=False)

    async def get(self, key: str) -> Stored | None:
        """What is stored under a key, whole and undamaged; else None."""
        return await self._ask(next(self._turns), lambda: self._index.read(f"e:{key}"), None)

    async def listed(self) -> list[tuple[str, str]]:
        """Key and tag of everything that is stored."""
        return await self._change(names_and_tags, [])

    async def get_all(self, keys: Sequence[str]) -> list[Stored | None]:
        """As ``get``, of several keys at once."""
        read = self._index.read
        return await self._ask(next(self._turns), lambda: [read(f"e:{key}") for key in keys], [None] * len(keys))

    def lacks(self, key: str) -> bool:
        """Whether it is known without a look that nothing is stored under a key."""
        found, name = self._index.found, f"e:{key}"
        return found is not None and name not in found and name not in self._put

    async def put(self, key: str, entry: Entry, body: bytes, *, tag: str, expire: float | None = None) -> bool:
        """As ``store``, waited for."""
        end = self.store(key, entry, body, tag=tag, expire=expire).end
        await asyncio.wait({end})  # which whoever else waits for it survives, when this call is cancelled
        return end.result()

    def store(self, key: str, entry: Entry, body: bytes, *, tag: str, expire: float | None = None) -> Write:
        """Store or replace, in one step; what comes of it says False if it was dropped.

        ``tag`` (of ``of_id``, ``of_kind`` or ``never_trimmed``) is what ``evict_tag`` finds it by; after ``expire``
        seconds it is gone.
        """
        name = f"e:{key}"
        self._put.add(name)
        return self._batches.add(Row(name, entry, body, tag, expire))

    async def delete(self, key: str) -> bool:
        """Remove; False if it was not there or could not be removed."""
        return await self._change(lambda cache: bool(cache.delete(f"e:{key}")), False)

    async def evict_tag(self, tag: str) -> int:
        """Remove everything with this tag; how many."""
        return await self._change(lambda cache: int(cache.evict(tag)), 0)

    async def keep_named(self, tag: str, keys: Collection[str]) -> None:
        """Of the documents with a ``never_trimmed`` tag, these are named now; the others go a day after they were."""
        names = [f"e:{key}" for key in keys]
        end = time.time() + SUPERSEDED_SECONDS
        await self._change(lambda cache: expire_unnamed(cache, tag, names, end), None)

    async def trim(self, max_bytes: int) -> int:
        """Remove what has expired, then, beyond ``max_bytes``, the least recently stored down to 95 %; how many rows.

        What has a ``never_trimmed`` tag stays.
        """
        removed = await self._change(lambda cache: int(cache.expire()), 0)
        goal = max_bytes if self._index.volume <= max_bytes else LOW_WATER * max_bytes
        while self._index.volume > goal:
            rows = await self._change(lambda cache: remove_oldest(cache, TRIM_ROWS, NEVER_TRIMMED), 0)
            if not rows:
                break
            removed += rows
        return removed

    def volume(self) -> int:
        """Bytes on disk, as measured after the last change; of those that come thick and fast, within a second."""
        return self._index.volume

    def _store(self, rows: Sequence[Row]) -> bool:
        return self._index.change(lambda cache: store(cache, rows), False, measured=len(rows) == 1)

    async def _change(self, function: Callable[[Cache], _T], default: _T) -> _T:
        self._batches.flush()  # what was put before comes before
        return await self._ask(self._writer, lambda: self._index.change(function, default), default)

    async def _ask(
        self, lane: ThreadPoolExecutor, function: Callable[[], _T], default: _T, *, limit: float = LOCK_SECONDS
    ) -> _T:
        """What ``function`` returns in a thread; ``default`` if that takes too long, or after the end.

        What has not begun by then is dropped, so that a database locked by someone else holds up nobody for longer,
        and what waits for it does not pile up.
        """
        try:
            answer = asyncio.wrap_future(lane.submit(function))
        except RuntimeError:  # the threads have ended
            return default
        done, _ = await asyncio.wait({answer}, timeout=limit)
        if done:
            return answer.result()
        answer.cancel()
        self._metrics.documents_write_timeouts.inc()
        return default
