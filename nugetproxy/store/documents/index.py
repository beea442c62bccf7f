"""Index is the document store's database as its threads see it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar

import structlog
from diskcache import Cache
from diskcache.core import DBNAME

from nugetproxy.errors import Reason
from nugetproxy.metrics import Metrics
from nugetproxy.store.documents.database import check, keys, open_cache, translated
from nugetproxy.store.documents.record import DamagedRecord, Stored, unpack_entry
from nugetproxy.store.documents.strict_disk import PoisonedRow
from nugetproxy.store.fs import FsOps
from nugetproxy.store.sieve import Sieve
from nugetproxy.store.sqlite_form import ERRORS, LOCK_SECONDS, Trouble, UnsoundFile, diagnose, file_key, set_aside

log = structlog.get_logger()

_T = TypeVar("_T")

AGAIN_SECONDS = 10.0
"""Pause between two attempts to open what could not be opened."""
MEASURE_SECONDS = 1.0
"""Pause between two looks at the volume while documents come in batches: two statements for each."""
LOG_SECONDS = 60.0
"""Pause between two log lines about the same trouble."""
_DAMAGE: Final = frozenset({Trouble.BROKEN, Trouble.SUSPECT})
"""What sets the database aside, without a second look: all that is lost can be fetched again."""


class Index:
    """A database that is set aside and begun afresh when anything is wrong with it; no method raises because of it.

    All methods block. ``read`` is for the readers' threads, every other method for the writer's.
    """

    def __init__(self, metrics: Metrics, fs: FsOps, writer: Executor, readers: Sequence[Executor]) -> None:
        self.volume = 0
        """Bytes on disk after the last change that was measured."""
        self._measured = -math.inf
        self.found: Sieve | None = None
        """The keys that were there when it was opened, once they are known."""
        self._metrics = metrics
        self._fs = fs
        self._writer = writer
        self._readers = readers
        self._directory = Path()
        self._cache: Cache | None = None
        self._file = (0, 0)
        self._again = 0.0
        self._logged: dict[str, float] = {}

    def start(self, directory: Path) -> None:
        """Open what is there if it is sound, else begin afresh."""
        self._directory = directory
        try:
            self._open()
        except ERRORS as error:
            self._trouble(None, "open", error)

    def close(self) -> None:
        """Close the calling thread's connection."""
        if self._cache is not None:
            _close(self._cache)

    def read(self, key: str) -> Stored | None:
        """What is stored under a key."""
        cache = self._cache
        try:
            with translated():
                value = None if cache is None else cache.get(key)
            return None if value is None else unpack_entry(key, value)
        except ERRORS as error:
            with suppress(RuntimeError):  # the threads have ended
                self._writer.submit(self._trouble, cache, "get", error)
        return None

    def change(self, function: Callable[[Cache], _T], default: _T, *, measured: bool = True) -> _T:
        """What ``function`` returns, or ``default`` if the database was in the way.

        Where it need not be ``measured``, the volume is looked at once a second.
        """
        cache = self._cache
        if cache is None and self._directory.name and time.monotonic() >= self._again:
            self._again = time.monotonic() + AGAIN_SECONDS
            self.start(self._directory)
            cache = self._cache
        if cache is None:  # never its truth, which is its length
            return default
        try:
            with translated():
                result = function(cache)
                self._check_file()
                if measured or time.monotonic() - self._measured >= MEASURE_SECONDS:
                    self._measure(cache)
        except ERRORS as error:
            self._trouble(cache, "set", error)
            return default
        return result

    def _open(self) -> None:
        self.found = None
        self._fs.mkdir(self._directory)
        self._fs.chmod(self._directory, 0o700)
        self._metrics.orphans_removed.inc(check(self._fs, self._directory))
        with translated():
            cache = open_cache(self._directory)
            self._file = file_key(self._directory / DBNAME)
            self._measure(cache)
        # A new connection obeys the Settings table: the readers' are made now, while it is as it was checked.
        self._in_readers(lambda: cache.get(""))
        self._cache = cache
        with suppress(RuntimeError):  # the threads have ended
            self._writer.submit(self._learn, cache)

    def _learn(self, cache: Cache) -> None:
        if self._cache is cache:
            with translated(), suppress(*ERRORS):  # whoever reads will say what is wrong
                self.found = Sieve(keys(cache))

    def _check_file(self) -> None:
        """Raises UnsoundFile when the file is no longer the one that is open."""
        if file_key(self._directory / DBNAME) != self._file:
            raise UnsoundFile("its file was deleted or replaced")

    def _measure(self, cache: Cache) -> None:
        """Note the volume."""
        self._measured = time.monotonic()
        self.volume = int(cache.volume())
        self._metrics.store_bytes.labels("documents").set(self.volume)

    def _trouble(self, cache: Cache | None, op: str, error: Exception) -> None:
        if diagnose(error)[0] not in _DAMAGE:
            self._unavailable(op, error)
        elif self._cache is cache:  # else another thread's error has led here before
            self._begin_afresh(error)

    def _begin_afresh(self, error: Exception) -> None:
        self._retire()
        self._again = time.monotonic() + AGAIN_SECONDS
        self._metrics.documents_rebuilds.inc()
        if isinstance(error, PoisonedRow | DamagedRecord):
            self._metrics.documents_poisoned.inc()
        try:
            moved = set_aside(self._fs, self._directory)
            self._log("documents.rebuilt", detail=repr(error), moved_to=str(moved))
            self._open()
        except ERRORS as failure:
            self._unavailable("open", failure)

    def _retire(self) -> None:
        """Close all connections, before another database takes the path: SQLite finds a database's log by its name.

        A connection to the old one that closed later would take the new one's log away.
        """
        cache, self._cache = self._cache, None  # no read that begins from here on opens a connection again
        if cache is not None:
            self._in_readers(lambda: _close(cache))
            _close(cache)

    def _in_readers(self, function: Callable[[], object]) -> None:
        # RuntimeError: the threads have ended; TimeoutError: one is stuck in a read that the disk holds up.
        with suppress(RuntimeError, TimeoutError):
            for future in [lane.submit(function) for lane in self._readers]:
                future.result(LOCK_SECONDS)

    def _unavailable(self, op: str, error: Exception) -> None:
        trouble, word = diagnose(error)
        if word.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            self._metrics.documents_write_timeouts.inc()
        else:
            self._metrics.disk_errors.labels(f"documents_{op}", word).inc()
        self._log("documents.unavailable", detail=f"{word}: {error}", trouble=trouble.value, op=op)

    def _log(self, event: str, **fields: object) -> None:
        """Log once a minute per event: a broken disk fails with every request."""
        now = time.monotonic()
        if now - self._logged.get(event, -LOG_SECONDS) >= LOG_SECONDS:
            self._logged[event] = now
            log.error(event, reason=Reason.DISK, **fields)


def _close(cache: Cache) -> None:
    with translated(), suppress(*ERRORS):  # of a database that is broken
        cache.close()
