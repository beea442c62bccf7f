"""Index is the document store's database as its threads see it."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import structlog
from diskcache import Cache
from diskcache.core import DBNAME

from nugetproxy.errors import Reason
from nugetproxy.metrics import Metrics
from nugetproxy.store.documents.database import (
    ERRORS,
    Trouble,
    UnsoundDatabase,
    check,
    diagnose,
    expire_unnamed,
    oldest,
    open_cache,
    set_aside,
)
from nugetproxy.store.documents.record import DamagedRecord
from nugetproxy.store.documents.strict_disk import PoisonedRow
from nugetproxy.store.fs import FsOps

log = structlog.get_logger()

_T = TypeVar("_T")

AGAIN_SECONDS = 10.0
"""Pause between two attempts to begin afresh."""
LOG_SECONDS = 60.0
"""Pause between two log lines about the same trouble."""


@contextmanager
def _hostile() -> Iterator[None]:
    """Where diskcache trips over what it reads from a database that was changed under it."""
    try:
        yield
    except (AttributeError, TypeError, ValueError) as error:
        raise UnsoundDatabase(repr(error)) from error


def _close(cache: Cache) -> None:
    with suppress(*ERRORS):  # of a database that is broken
        cache.close()


class Index:
    """A database that is set aside and begun afresh when it breaks; no method raises because of it.

    All methods block. ``read`` may be called in any reader's thread, every other one in the one writer thread only;
    ``defer`` makes that thread call something soon, ``in_readers`` has something called in each reader's thread and
    waits for it.
    """

    def __init__(
        self,
        metrics: Metrics,
        fs: FsOps,
        *,
        defer: Callable[[Callable[[], object]], None],
        in_readers: Callable[[Callable[[], object]], None],
    ) -> None:
        self.volume = 0
        """Bytes on disk after the last change."""
        self.generation = 0
        """Raised by every fresh beginning: what was stored before may be gone."""
        self._metrics = metrics
        self._fs = fs
        self._defer = defer
        self._in_readers = in_readers
        self._directory = Path()
        self._cache: Cache | None = None
        self._inode = 0
        self._again = 0.0
        self._logged: dict[str, float] = {}

    def start(self, directory: Path) -> None:
        """Open what is there if it is sound, else begin afresh."""
        self._directory = directory
        try:
            self._open()
        except ERRORS as error:
            trouble, word = diagnose(error)
            if trouble is Trouble.BROKEN:
                self._begin_afresh(word, str(error))
            else:
                self._count(trouble, word, "open", error)

    def close(self) -> None:
        """Close the calling thread's connection."""
        if self._cache is not None:
            _close(self._cache)

    def read(self, key: str, decode: Callable[[str, bytes], _T]) -> _T | None:
        """The decoded value of a key; one that is damaged is None, and removed."""
        cache = self._cache
        if cache is None:
            return None
        try:
            with _hostile():
                value = cache.get(key)
            return None if value is None else decode(key, value)
        except (PoisonedRow, DamagedRecord) as error:
            self._metrics.documents_poisoned.inc()
            self._log("documents.refused", reason=Reason.DISK, detail=f"{type(error).__name__}: {error}")
            self._defer(lambda: self.change(lambda now: now.delete(key), False))
        except ERRORS as error:
            self._trouble(cache, "get", error)
        return None

    def change(self, function: Callable[[Cache], _T], default: _T) -> _T:
        """What ``function`` returns, or ``default`` if the database was in the way."""
        cache = self._cache
        if cache is None:  # never its truth, which is its length
            cache = self._try_again()
        if cache is None:
            return default
        try:
            with _hostile():
                result = function(cache)
                self._measure(cache)
        except ERRORS as error:
            self._trouble(cache, "set", error)
            return default
        return result

    def store(self, key: str, value: bytes, *, tag: str, expire: float | None = None) -> bool:
        """Store or replace; False if it was dropped."""
        return self.change(lambda cache: bool(cache.set(key, value, tag=tag, expire=expire)), False)

    def remove_oldest(self, rows: int, spared: str) -> int:
        """Remove the least recently stored; how many. ``spared`` is that of ``database.oldest``."""

        def remove(cache: Cache) -> int:
            keys = oldest(self._directory, rows, spared)
            with cache.transact():  # one commit for all of them
                return sum(cache.delete(key) for key in keys)

        return self.change(remove, 0)

    def keep_named(self, tag: str, keys: Collection[str], seconds: float) -> None:
        """Have the rows with this tag that are not among ``keys`` expire after so many seconds."""
        self.change(lambda _: expire_unnamed(self._directory, tag, keys, time.time() + seconds), None)

    def _open(self) -> None:
        self._fs.mkdir(self._directory)
        self._fs.chmod(self._directory, 0o700)
        findings = check(self._fs, self._directory)
        if findings.orphans:
            self._metrics.orphans_removed.inc(findings.orphans)
        if findings.poisoned:
            self._metrics.documents_poisoned.inc(findings.poisoned)
            self._log("documents.poisoned", rows=findings.poisoned)
        cache = open_cache(self._directory)
        self._inode = self._fs.stat(self._directory / DBNAME).st_ino
        self._measure(cache)
        # A new connection obeys the Settings table: the readers' are made now, while it is as it was checked.
        self._in_readers(lambda: cache.get(""))
        self._cache = cache

    def _measure(self, cache: Cache) -> None:
        """Note the volume; raises UnsoundDatabase when the file is no longer the one that is open."""
        if self._fs.stat(self._directory / DBNAME).st_ino != self._inode:
            raise UnsoundDatabase("replaced")
        self.volume = int(cache.volume())
        self._metrics.store_bytes.labels("documents").set(self.volume)

    def _trouble(self, cache: Cache, op: str, error: Exception) -> None:
        trouble, word = diagnose(error)
        if trouble is Trouble.BROKEN:
            self._defer(lambda: self._replace(cache, word, str(error)))
        else:
            self._count(trouble, word, op, error)

    def _replace(self, cache: Cache, word: str, detail: str) -> None:
        if self._cache is cache:  # else another thread's error has led here before
            self._begin_afresh(word, detail)

    def _begin_afresh(self, word: str, detail: str) -> None:
        self._retire()
        self.generation += 1
        self._again = time.monotonic() + AGAIN_SECONDS
        self._metrics.documents_rebuilds.inc()
        try:
            moved = set_aside(self._fs, self._directory)
            self._log("documents.rebuilt", reason=Reason.DISK, detail=f"{word}: {detail}", moved_to=str(moved))
            self._open()
        except ERRORS as error:
            trouble, word = diagnose(error)
            self._count(trouble, word, "open", error)

    def _retire(self) -> None:
        """Close all connections, before another database takes the path: SQLite finds a database's log by its name.

        A connection to the old one that closed later would take the new one's log away.
        """
        cache, self._cache = self._cache, None  # no read that begins from here on opens a connection again
        if cache is not None:
            self._in_readers(lambda: _close(cache))
            _close(cache)

    def _try_again(self) -> Cache | None:
        if self._directory.name and time.monotonic() >= self._again:
            self._again = time.monotonic() + AGAIN_SECONDS
            self.start(self._directory)
        return self._cache

    def _count(self, trouble: Trouble, word: str, op: str, error: Exception) -> None:
        if trouble is Trouble.BUSY:
            self._metrics.documents_write_timeouts.inc()
        else:
            self._metrics.disk_errors.labels(f"documents_{op}", word).inc()
        self._log("documents.unavailable", reason=Reason.DISK, detail=f"{word}: {error}", trouble=trouble.value, op=op)

    def _log(self, event: str, **fields: object) -> None:
        """Log once a minute per event: a broken disk fails with every request."""
        now = time.monotonic()
        if now - self._logged.get(event, -LOG_SECONDS) >= LOG_SECONDS:
            self._logged[event] = now
            log.error(event, **fields)
