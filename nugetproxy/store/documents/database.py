"""The diskcache database below the document store: made, checked, set aside; all of it blocks."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType

from diskcache import Cache, Timeout
from diskcache.core import DBNAME

from nugetproxy.store.documents.strict_disk import VALUE_FILE, StrictDisk
from nugetproxy.store.fs import DiskFailure, FsOps, MissingFile

LOCK_SECONDS = 5.0
"""How long a write waits for another process's transaction."""
CORRUPT_KEPT = 2
"""Databases set aside that are kept."""

SETTINGS: Mapping[str, int | str] = MappingProxyType(
    {
        "statistics": 0,  # 1 makes every get a write transaction
        "tag_index": 1,
        # For its index on the store time only: with cull_limit 0 a set never evicts behind our back, and ``trim``
        # chooses by that index. A policy by use would make every get a write transaction.
        "eviction_policy": "least-recently-stored",
        "size_limit": 2**40,
        "cull_limit": 0,
        "sqlite_auto_vacuum": 1,  # FULL: the volume shrinks with what is removed
        "sqlite_cache_size": 2048,  # pages of 4 KiB, for each of three connections
        "sqlite_journal_mode": "wal",  # readers go on while another process writes
        "sqlite_mmap_size": 0,  # mapped, a truncated file would kill the process (SIGBUS)
        "sqlite_synchronous": 1,  # NORMAL: a power cut may lose the last writes, which are rebuildable
        "disk_min_file_size": 2**15,  # larger values are files, so the database stays small and quick to check
        "disk_pickle_protocol": 0,  # unused: nothing is pickled
    }
)
_COUNTERS = frozenset({"count", "size", "hits", "misses"})
_SCHEMA = frozenset(
    {
        ("table", "Settings"),
        ("index", "sqlite_autoindex_Settings_1"),
        ("table", "Cache"),
        ("index", "Cache_key_raw"),
        ("index", "Cache_expire_time"),
        ("index", "Cache_store_time"),
        ("index", "Cache_tag_rowid"),
        ("trigger", "Settings_count_insert"),
        ("trigger", "Settings_count_delete"),
        ("trigger", "Settings_size_insert"),
        ("trigger", "Settings_size_update"),
        ("trigger", "Settings_size_delete"),
    }
)
_HEX = "[0-9a-f]"
_VALUE_GLOB = f"{_HEX * 2}/{_HEX * 2}/{_HEX * 28}.val"
_POISONED = f"""
    raw IS NOT 1 OR typeof(key) != 'text' OR NOT (
        (mode = 1 AND filename IS NULL AND typeof(value) = 'blob')
        OR (mode = 2 AND value IS NULL AND typeof(filename) = 'text' AND filename GLOB '{_VALUE_GLOB}'))
"""


class UnsoundDatabase(Exception):
    """The database is not as we make it."""


class Trouble(StrEnum):
    """What an error of the database calls for."""

    BROKEN = "broken"
    """Set aside, begin afresh."""
    BUSY = "busy"
    """Another process holds the lock; drop the write."""
    DISK = "disk"
    """The disk is full, read-only or failing; drop the write."""


_TROUBLE = {
    sqlite3.SQLITE_BUSY: Trouble.BUSY,
    sqlite3.SQLITE_LOCKED: Trouble.BUSY,
    sqlite3.SQLITE_FULL: Trouble.DISK,
    sqlite3.SQLITE_READONLY: Trouble.DISK,
    sqlite3.SQLITE_PERM: Trouble.DISK,
    sqlite3.SQLITE_NOMEM: Trouble.DISK,
    sqlite3.SQLITE_IOERR: Trouble.DISK,
}
ERRORS = (sqlite3.Error, Timeout, OSError, UnsoundDatabase, DiskFailure)
"""What diskcache and this module raise."""


@dataclass(frozen=True, slots=True)
class Findings:
    """What a check has repaired."""

    poisoned: int
    """Rows removed that we never wrote."""
    orphans: int
    """Value files removed that no row names; a crash between file and row leaves them."""


def diagnose(error: Exception) -> tuple[Trouble, str]:
    """What an error of ``ERRORS`` calls for, with one word for metrics and logs."""
    if isinstance(error, Timeout):
        # diskcache takes every failure to begin a transaction for a time-out; the true one is its context.
        cause = error.__context__
        return diagnose(cause) if isinstance(cause, sqlite3.Error) else (Trouble.BUSY, "timeout")
    if isinstance(error, DiskFailure):
        return Trouble.BROKEN if isinstance(error, MissingFile) else Trouble.DISK, error.errno_name
    if isinstance(error, OSError):
        return Trouble.DISK, type(error).__name__ if error.errno is None else DiskFailure("", error.errno).errno_name
    code: int = getattr(error, "sqlite_errorcode", 0)
    name: str = getattr(error, "sqlite_errorname", type(error).__name__)
    if code == sqlite3.SQLITE_IOERR_SHORT_READ:
        return Trouble.BROKEN, name
    return _TROUBLE.get(code & 0xFF, Trouble.BROKEN), name


def open_cache(directory: Path) -> Cache:
    """diskcache over a directory that ``check`` approved or that is empty; raises ERRORS."""
    return Cache(str(directory), timeout=LOCK_SECONDS, disk=StrictDisk, **SETTINGS)


def check(fs: FsOps, directory: Path) -> Findings:
    """Make sure that a database may be opened by diskcache, which obeys whatever its Settings table says.

    Raises UnsoundDatabase or another of ERRORS; a directory without a database is sound.
    """
    try:
        fs.stat(directory / DBNAME)
    except MissingFile:
        return Findings(0, _sweep(fs, directory, frozenset()))
    with _connect(directory) as connection:
        # A transaction for writing, because diskcache would wait for 60 seconds for someone else's.
        connection.execute("BEGIN IMMEDIATE")
        _check_structure(connection)
        poisoned = connection.execute(f"DELETE FROM Cache WHERE {_POISONED}").rowcount  # noqa: S608
        named = frozenset(name for (name,) in connection.execute("SELECT filename FROM Cache WHERE mode = 2"))
        connection.execute("COMMIT")
    return Findings(poisoned, _sweep(fs, directory, named))


def oldest(directory: Path, limit: int, spared: str) -> list[str]:
    """Keys of the least recently stored rows, without those whose tag begins with ``spared``. Raises ERRORS."""
    select = """SELECT key FROM Cache WHERE raw = 1 AND typeof(key) = 'text' AND coalesce(tag, '') NOT GLOB ? || '*'
        ORDER BY store_time LIMIT ?"""
    with _connect(directory) as connection:
        return [key for (key,) in connection.execute(select, (spared, limit))]


def expire_unnamed(directory: Path, tag: str, named: Collection[str], at: float) -> None:
    """Have the rows with this tag end ``at`` (epoch seconds) or sooner, but those named never. Raises ERRORS."""
    with _connect(directory) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("CREATE TEMP TABLE named (key TEXT PRIMARY KEY)")
        connection.executemany("INSERT OR IGNORE INTO named VALUES (?)", ((key,) for key in named))
        which = "tag = ? AND key {} (SELECT key FROM named)"
        keep = f"UPDATE Cache SET expire_time = NULL WHERE {which.format('IN')} AND expire_time IS NOT NULL"  # noqa: S608
        end = f"UPDATE Cache SET expire_time = ? WHERE coalesce(expire_time, 9e99) > ? AND {which.format('NOT IN')}"  # noqa: S608
        connection.execute(keep, (tag,))
        connection.execute(end, (at, at, tag))
        connection.execute("COMMIT")


def set_aside(fs: FsOps, directory: Path) -> Path | None:
    """Rename the directory to ``<name>.corrupt-<time>``, keeping few of those; None if it is gone. Raises ERRORS."""
    prefix = f"{directory.name}.corrupt-"
    target = directory.with_name(f"{prefix}{time.time_ns()}")
    try:
        fs.rename(directory, target)
    except MissingFile:
        return None
    old = sorted(name for name in fs.names(directory.parent) if name.startswith(prefix))
    for name in old[:-CORRUPT_KEPT]:
        fs.rmtree(directory.with_name(name))
    return target


def _check_structure(connection: sqlite3.Connection) -> None:
    (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise UnsoundDatabase(str(verdict)[:200])
    if set(connection.execute("SELECT type, name FROM sqlite_master")) != _SCHEMA:
        raise UnsoundDatabase("schema")
    settings = dict(connection.execute("SELECT key, value FROM Settings"))
    # A change of SETTINGS in a later version begins a fresh store, which costs little and needs no migration.
    constants = {key: value for key, value in settings.items() if key not in _COUNTERS}
    counters = [settings.get(key) for key in _COUNTERS]
    if constants != SETTINGS or not all(type(count) is int and count >= 0 for count in counters):
        raise UnsoundDatabase("settings")


def _sweep(fs: FsOps, directory: Path, named: frozenset[str]) -> int:
    swept = 0
    for first in fs.names(directory):
        for second in fs.names(directory / first) if len(first) == 2 else ():
            for name in fs.names(directory / first / second):
                relative = f"{first}/{second}/{name}"
                if VALUE_FILE.fullmatch(relative) and relative not in named:
                    fs.unlink(directory / relative)
                    swept += 1
    return swept


@contextmanager
def _connect(directory: Path) -> Iterator[sqlite3.Connection]:
    uri = f"{(directory / DBNAME).absolute().as_uri()}?mode=rw"
    with closing(sqlite3.connect(uri, uri=True, timeout=LOCK_SECONDS, isolation_level=None)) as connection:
        yield connection
