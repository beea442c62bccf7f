"""The diskcache database below the document store: checked, opened, asked in SQL; all of it blocks."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import orjson
from diskcache import Cache, Timeout
from diskcache.core import DBNAME, MODE_RAW

from nugetproxy.store.documents.strict_disk import VALUE_FILE, PoisonedRow, StrictDisk
from nugetproxy.store.fs import FsOps, MissingFile
from nugetproxy.store.sqlite_form import LOCK_SECONDS, UnsoundFile, connect, open_reader, transaction

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
        "sqlite_cache_size": 512,  # pages of 4 KiB, for each of three connections; the kernel keeps the others
        "sqlite_journal_mode": "wal",  # readers go on while another process writes
        "sqlite_mmap_size": 0,  # mapped, a truncated file would kill the process (SIGBUS)
        "sqlite_synchronous": 1,  # NORMAL: a power cut may lose the last writes, which are rebuildable
        "disk_min_file_size": 2**15,  # larger values are files, so the database stays small and quick to check
        "disk_pickle_protocol": 0,  # unused: nothing is pickled
    }
)
_COUNTERS = frozenset({"count", "size", "hits", "misses"})
_SCHEMA = {
    *(f"table {name}" for name in ("Cache", "Settings")),
    *(f"index Cache_{of}" for of in ("key_raw", "expire_time", "store_time", "tag_rowid")),
    *(f"trigger Settings_count_{of}" for of in ("insert", "delete")),
    *(f"trigger Settings_size_{of}" for of in ("insert", "update", "delete")),
    "index sqlite_autoindex_Settings_1",
}
_HEX = "[0-9a-f]"
_VALUE_GLOB = f"{_HEX * 2}/{_HEX * 2}/{_HEX * 28}.val"
_POISONED = f"""
    raw IS NOT 1 OR typeof(key) != 'text' OR NOT (
        (mode = 1 AND filename IS NULL AND typeof(value) = 'blob')
        OR (mode = 2 AND value IS NULL AND typeof(filename) = 'text' AND filename GLOB '{_VALUE_GLOB}'))
"""

_SMALL = int(SETTINGS["disk_min_file_size"])
"""Shorter values are within their row."""
MOST_AT_ONCE = 100
"""Rows of one statement."""
_INSERT = """INSERT INTO Cache(
    key, raw, store_time, expire_time, access_time, access_count, tag, size, mode, filename, value) VALUES"""
_ROW = f"(?, 1, ?, ?, ?, 0, ?, 0, {MODE_RAW}, NULL, ?)"
_IF_NEW = "ON CONFLICT (key, raw) DO NOTHING"


@contextmanager
def translated() -> Iterator[None]:
    """What diskcache raises, as an error that ``diagnose`` knows."""
    try:
        yield
    except Timeout as error:  # it takes every failure to begin a transaction for one; the true one is in its context
        cause: BaseException | None = error
        while isinstance(cause, Timeout):
            cause = cause.__context__
        raise cause or TimeoutError("no transaction") from None
    except (AttributeError, TypeError, ValueError, sqlite3.IntegrityError) as error:
        # What it trips over in a database that was changed under it.
        raise UnsoundFile(repr(error)) from error


def open_cache(directory: Path) -> Cache:
    """diskcache over a directory that ``check`` approved or that is empty."""
    return Cache(str(directory), timeout=LOCK_SECONDS, disk=StrictDisk, **SETTINGS)


def check(fs: FsOps, directory: Path) -> int:
    """Make sure that a database may be opened by diskcache, which obeys whatever its Settings table says.

    Raises UnsoundFile, sqlite3.Error, DiskFailure; a directory without a database is sound. Removes the value files
    that no row names, which a crash between file and row leaves; how many.
    """
    try:
        fs.stat(directory / DBNAME)
    except MissingFile:
        return _sweep(fs, directory, frozenset())
    # A transaction for writing, because diskcache would wait for 60 seconds for someone else's.
    with closing(connect(directory / DBNAME)) as connection, transaction(connection):
        _check_structure(connection)
        if connection.execute(f"SELECT 1 FROM Cache WHERE {_POISONED} LIMIT 1").fetchone():  # noqa: S608
            raise PoisonedRow("found at the start")
        named = frozenset(name for (name,) in connection.execute("SELECT filename FROM Cache WHERE mode = 2"))
    return _sweep(fs, directory, named)


class Value(NamedTuple):
    """What is to be stored under a key."""

    key: str
    value: bytes
    tag: str
    expire: float | None
    """Seconds from now."""


def insert_new(cache: Cache, values: Sequence[Value]) -> list[Value]:
    """Store those of ``values`` that are small, with keys that nothing is stored under; what is still to be stored.

    diskcache asks twice for each row, and for each statement Python's threads change over: here one is enough for many
    rows. Within a transaction of the cache's.
    """
    small: dict[str, Value] = {}
    others: list[Value] = []
    seen: set[str] = set()
    for value in values:
        if len(value.value) < _SMALL and value.key not in seen and len(small) < MOST_AT_ONCE:
            small[value.key] = value
        else:
            others.append(value)
        seen.add(value.key)
    now = time.time()
    columns: list[object] = []
    for new in small.values():
        columns += (new.key, now, None if new.expire is None else now + new.expire, now, new.tag, new.value)
    if not small:
        return others
    execute = cache._con.execute
    done = execute(f"{_INSERT} {','.join((_ROW,) * len(small))} {_IF_NEW}", columns)
    if done.rowcount == len(small):
        return others
    last = (done.lastrowid or 0) - done.rowcount if done.rowcount else 2**63 - 1  # new rows have the highest numbers
    select = f"SELECT key FROM Cache WHERE raw = 1 AND key IN ({','.join('?' * len(small))}) AND rowid <= ?"  # noqa: S608
    return [*(small[key] for (key,) in execute(select, (*small, last)).fetchall()), *others]


def remove_oldest(cache: Cache, limit: int, spared: str) -> int:
    """Remove the least recently stored, without those whose tag begins with ``spared``; how many."""
    select = "SELECT key FROM Cache WHERE coalesce(tag, '') NOT GLOB ? || '*' ORDER BY store_time LIMIT ?"
    with closing(open_reader(Path(cache.directory) / DBNAME)) as connection:
        keys = [key for (key,) in connection.execute(select, (spared, limit))]
    with cache.transact():  # one commit for all of them
        return sum(cache.delete(key) for key in keys)


def expire_unnamed(cache: Cache, tag: str, named: Collection[str], at: float) -> None:
    """Have the rows with this tag end ``at`` (epoch seconds) or sooner, but those named never."""
    update = """UPDATE Cache SET expire_time = CASE WHEN key NOT IN (SELECT value FROM json_each(?))
        THEN min(coalesce(expire_time, 9e99), ?) END WHERE tag = ?"""
    with closing(connect(Path(cache.directory) / DBNAME)) as connection:
        connection.execute(update, (orjson.dumps(list(named)).decode(), at, tag))


def keys(cache: Cache) -> Iterator[str]:
    """The keys of all rows."""
    with closing(open_reader(Path(cache.directory) / DBNAME)) as connection:
        for (key,) in connection.execute("SELECT key FROM Cache"):
            yield str(key)


def names_and_tags(cache: Cache) -> list[tuple[str, str]]:
    """Key and tag of all rows."""
    with closing(connect(Path(cache.directory) / DBNAME)) as connection:
        rows = connection.execute("SELECT key, tag FROM Cache WHERE key LIKE 'e:%'")
        return [(str(key).removeprefix("e:"), str(tag)) for key, tag in rows]


def _check_structure(connection: sqlite3.Connection) -> None:
    (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise UnsoundFile(str(verdict)[:200])
    if {what for (what,) in connection.execute("SELECT type || ' ' || name FROM sqlite_master")} != _SCHEMA:
        raise UnsoundFile("schema")
    settings = dict(connection.execute("SELECT key, value FROM Settings"))
    # A change of SETTINGS in a later version begins a fresh store, which costs little and needs no migration.
    constants = {key: value for key, value in settings.items() if key not in _COUNTERS}
    counters = [settings.get(key) for key in _COUNTERS]
    if constants != SETTINGS or not all(type(count) is int and count >= 0 for count in counters):
        raise UnsoundFile("settings")


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
