"""Batches are the documents of a few milliseconds, stored in one transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import nullcontext
from typing import Final, NamedTuple

from diskcache import Cache
from msgspec import Struct, field

from nugetproxy.caching.entry import Entry
from nugetproxy.store.documents.database import Value, insert_new
from nugetproxy.store.documents.record import pack_entry
from nugetproxy.store.documents.strict_disk import StrictDisk
from nugetproxy.store.sqlite_form import LOCK_SECONDS

PAUSE: Final = 0.004
"""Seconds between the beginnings of two batches: a document that comes alone is stored at once."""
STORE_SECONDS: Final = 0.5
"""How long an answer waits until it is stored; most are within a millisecond."""


class Row(NamedTuple):
    """A document that is to be stored."""

    key: str
    entry: Entry
    body: bytes
    tag: str
    expire: float | None
    """Seconds from now."""


def store(cache: Cache, rows: Sequence[Row]) -> bool:
    """Store all of them, or none; blocks."""
    disk: StrictDisk = cache.disk
    values = [Value(row.key, pack_entry(row.key, row.entry, row.body), row.tag, row.expire) for row in rows]
    with disk.together(), cache.transact() if len(values) > 1 else nullcontext():  # one has its own
        for value in insert_new(cache, values) if len(values) > 1 else values:
            cache.set(value.key, value.value, tag=value.tag, expire=value.expire)
    return True


class Write(NamedTuple):
    """A row on its way to the disk."""

    told: asyncio.Future[bool | None]
    """Whether it was stored; None where that takes long. One row's own, so whoever waits for it may be cancelled."""
    end: asyncio.Future[bool]
    """The same, however long it takes; shared with other rows: wait for it, never cancel it."""


class _Batch(Struct):
    stored: asyncio.Future[bool]
    rows: list[Row] = field(default_factory=list)
    told: list[asyncio.Future[bool | None]] = field(default_factory=list)
    job: asyncio.Future[bool] | None = None
    slow: asyncio.TimerHandle | None = None
    late: asyncio.TimerHandle | None = None
    is_slow: bool = False

    def tell_slow(self) -> None:
        self.is_slow = True
        self._tell(None)

    def settle(self, stored: bool) -> None:
        for timer in (self.slow, self.late):
            if timer is not None:
                timer.cancel()
        if not self.stored.done():
            self.stored.set_result(stored)
        self._tell(stored)

    def _tell(self, stored: bool | None) -> None:
        for told in self.told:
            if not told.done():
                told.set_result(stored)


class Batches:
    """Gathers rows for the one thread that writes, while that is busy or has just begun."""

    def __init__(
        self, writer: Executor, write: Callable[[Sequence[Row]], bool], dropped: Callable[[int], None]
    ) -> None:
        """``write`` stores rows in the thread; ``dropped`` is told how many were given up."""
        self.limit = LOCK_SECONDS
        """Seconds after which rows are given up; those that the writer has not begun with are not stored."""
        self._writer = writer
        self._write = write
        self._dropped = dropped
        self._gathered: _Batch | None = None
        self._busy = 0
        self._next = 0.0

    def add(self, row: Row) -> Write:
        """Have it stored, with those that come together with it."""
        loop, batch = asyncio.get_running_loop(), self._gathered
        if batch is None:
            batch = self._gathered = _Batch(loop.create_future())
            batch.slow = loop.call_later(STORE_SECONDS, batch.tell_slow)  # one timer for all: each costs a miss 1 %
            batch.late = loop.call_later(self.limit, self._give_up, batch)
            self._flush_in_time()
        told: asyncio.Future[bool | None] = loop.create_future()
        if batch.is_slow:
            told.set_result(None)
        batch.rows.append(row)
        batch.told.append(told)
        return Write(told, batch.stored)

    def flush(self) -> None:
        """Hand what was gathered to the writer."""
        batch, self._gathered = self._gathered, None
        if batch is None:
            return
        self._next = asyncio.get_running_loop().time() + PAUSE
        try:
            batch.job = asyncio.wrap_future(self._writer.submit(self._write, batch.rows))
        except RuntimeError:  # the thread has ended
            batch.settle(False)
            return
        self._busy += 1
        batch.job.add_done_callback(lambda job: self._done(batch, job))

    def _flush_in_time(self) -> None:
        if not self._busy:
            loop = asyncio.get_running_loop()
            loop.call_at(max(self._next, loop.time()), self.flush)

    def _give_up(self, batch: _Batch) -> None:
        self._dropped(len(batch.rows))
        if batch is self._gathered:
            self._gathered = None
        if batch.job is not None:
            batch.job.cancel()
        batch.settle(False)

    def _done(self, batch: _Batch, job: asyncio.Future[bool]) -> None:
        self._busy -= 1
        if self._gathered is not None:
            self._flush_in_time()
        batch.settle(not job.cancelled() and job.result())
