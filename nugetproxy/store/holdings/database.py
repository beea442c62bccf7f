"""The holdings's SQLite file: made, opened, checked, set aside; all of it blocks."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Final

from nugetproxy.nuget.documents.exact_json import InvalidDocument
from nugetproxy.store.fs import DiskFailure, FsOps, MissingFile

LOCK_SECONDS: Final = 5.0
"""How long a statement waits for a lock; nobody but this process opens the file, so it hardly ever does."""
CORRUPT_KEPT: Final = 2
"""Holdingss set aside that are kept."""
APPLICATION: Final = 0x4E755043
"""``NuPC``: tells our file from any other SQLite file (PRAGMA application_id)."""
LAYOUT: Final = 1
"""Another number in the file (PRAGMA user_version) begins a fresh holdings: it is rebuilt, never migrated."""
CHECK_SECONDS: Final = 20.0
"""After which the check of a file ends without a verdict: what is damaged is still found when it is read."""
STEPS_BETWEEN_LOOKS: Final = 5_000
"""Instructions of SQLite's machine between two looks at the clock, some 0.1 ms."""

FILTERS: Final = range(4)
"""What a searcher may see, as bits: 1 prereleases, 2 SemVer 2.0.0."""

_TABLES: Final = (
    """CREATE TABLE packages (
        number INTEGER PRIMARY KEY,
        id TEXT NOT NULL,
        ordering BLOB NOT NULL,
        version TEXT NOT NULL,
        name TEXT NOT NULL,
        full TEXT NOT NULL,
        needs INTEGER NOT NULL,
        newest INTEGER NOT NULL,
        size INTEGER NOT NULL,
        downloads INTEGER NOT NULL,
        UNIQUE (id, ordering))""",
    *(f"CREATE INDEX newest_{seen} ON packages (downloads DESC, id) WHERE newest & {1 << seen}" for seen in FILTERS),
    "CREATE TABLE facts (number INTEGER PRIMARY KEY, packed BLOB NOT NULL)",
    "CREATE TABLE types (type TEXT NOT NULL, number INTEGER NOT NULL, PRIMARY KEY (type, number)) WITHOUT ROWID",
    "CREATE INDEX types_of ON types (number)",
    """CREATE VIRTUAL TABLE words USING fts5(
        id, parts, title, tags, authors, owners, summary, description,
        tokenize = "unicode61 remove_diacritics 2")""",
)
"""``needs`` has the bits that a searcher must have to see a version, ``newest`` a bit for each of ``FILTERS`` under
which it stands for its id; only such versions are in ``words``, under their number."""
_NAMES: Final = frozenset({"packages", "facts", "types", "types_of", "words", *(f"newest_{seen}" for seen in FILTERS)})


class UnsoundHoldings(Exception):
    """The holdings is not as we make it."""


ERRORS: Final = (sqlite3.Error, UnsoundHoldings, InvalidDocument, DiskFailure, OSError)
"""What goes wrong with the file."""


class Trouble(StrEnum):
    """What an error of the database calls for."""

    BROKEN = "broken"
    """Set aside, begin afresh."""
    SUSPECT = "suspect"
    """Look whether it is broken."""
    SLOW = "slow"
    """The statement ran into its time limit."""
    DISK = "disk"
    """The disk is full, read-only or failing, or a lock was not to be had."""


_TROUBLE: Final = {
    sqlite3.SQLITE_CORRUPT: Trouble.BROKEN,
    sqlite3.SQLITE_NOTADB: Trouble.BROKEN,
    sqlite3.SQLITE_ERROR: Trouble.SUSPECT,
    sqlite3.SQLITE_SCHEMA: Trouble.SUSPECT,
    sqlite3.SQLITE_INTERRUPT: Trouble.SLOW,
}


def diagnose(error: Exception) -> tuple[Trouble, str]:
    """What an error calls for, with one word for the log."""
    if isinstance(error, UnsoundHoldings | InvalidDocument):
        return Trouble.BROKEN, "unsound"
    if not isinstance(error, sqlite3.Error):
        return Trouble.DISK, type(error).__name__
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    name: str = getattr(error, "sqlite_errorname", type(error).__name__)
    if code == sqlite3.SQLITE_IOERR_SHORT_READ:
        return Trouble.BROKEN, name
    return _TROUBLE.get(code & 0xFF, Trouble.DISK), name


def open_writer(path: Path) -> sqlite3.Connection:
    """The one connection that writes; makes the tables in a new file.

    Raises UnsoundHoldings for a file that is not ours, sqlite3.Error, OSError.
    """
    if path.is_dir():  # to SQLite this would look like trouble with the disk
        raise UnsoundHoldings("a directory lies in its place")
    with contextlib.suppress(FileExistsError):  # SQLite would let others of the machine read it
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    connection = sqlite3.connect(path, timeout=LOCK_SECONDS, isolation_level=None)
    try:
        _prepare(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def open_reader(path: Path) -> sqlite3.Connection:
    """A connection that only reads; raises UnsoundHoldings if there is no file (any more), sqlite3.Error."""
    if file_key(path) == (0, 0):
        raise UnsoundHoldings("there is no file")
    uri = f"{path.absolute().as_uri()}?mode=rw"  # rw: readers of a WAL take part in its locks
    connection = sqlite3.connect(uri, uri=True, timeout=LOCK_SECONDS, isolation_level=None)
    connection.execute("PRAGMA query_only = ON")
    connection.execute("PRAGMA cache_size = -16384")  # KiB of pages, for each reader
    return connection


def limit_time(connection: sqlite3.Connection, seconds: float) -> None:
    """Interrupt whatever runs on this connection ``seconds`` from now."""
    end = time.monotonic() + seconds
    look: Callable[[], bool] = lambda: time.monotonic() > end  # noqa: E731
    connection.set_progress_handler(look, STEPS_BETWEEN_LOOKS)


def file_key(path: Path) -> tuple[int, int]:
    """Which file lies at ``path``: somebody may have deleted it under us. (0, 0) if there is none."""
    try:
        state = os.stat(path)  # noqa: PTH116
    except OSError:
        return 0, 0
    return state.st_dev, state.st_ino


def make_tables(connection: sqlite3.Connection) -> None:
    """The empty tables, replacing those that there are; part of the caller's transaction."""
    for name in ("packages", "facts", "types", "words"):
        connection.execute(f"DROP TABLE IF EXISTS {name}")
    for statement in _TABLES:
        connection.execute(statement)


def check(path: Path) -> None:
    """Look at every page and every word, some seconds for 100,000 packages; raises UnsoundHoldings, sqlite3.Error."""
    # A connection of its own sees the file as it is now; the others have pages of it in memory.
    with contextlib.closing(open_writer(path)) as connection:
        limit_time(connection, CHECK_SECONDS)
        try:
            (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            connection.execute("INSERT INTO words (words) VALUES ('integrity-check')")
        except sqlite3.OperationalError as error:
            if diagnose(error)[0] is not Trouble.SLOW:
                raise
            return
    if verdict != "ok":
        raise UnsoundHoldings(str(verdict)[:200])


def set_aside(fs: FsOps, path: Path) -> Path | None:
    """Rename the file to ``<name>.corrupt-<time>``; None if it is gone. All connections must be closed.

    A connection that is still open would delete the write-ahead log of the file that comes next. Raises DiskFailure.
    """
    prefix = f"{path.name}.corrupt-"
    target = path.with_name(f"{prefix}{time.time_ns()}")
    for suffix in ("-wal", "-shm"):
        try:
            fs.unlink(path.with_name(path.name + suffix))
        except MissingFile:
            continue
    try:
        fs.rename(path, target)
    except MissingFile:
        return None
    for name in sorted(name for name in fs.names(path.parent) if name.startswith(prefix))[:-CORRUPT_KEPT]:
        fs.unlink(path.with_name(name))
    return target


def _prepare(connection: sqlite3.Connection) -> None:
    application, layout = _pragma(connection, "application_id"), _pragma(connection, "user_version")
    empty = not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    connection.execute("PRAGMA journal_mode = WAL")  # readers go on while the writer writes
    connection.execute("PRAGMA synchronous = NORMAL")  # a power cut may lose the last writes: a sync finds them
    connection.execute("PRAGMA journal_size_limit = 67108864")  # bytes; a rebuild must not leave a huge log behind
    connection.execute("PRAGMA cache_size = -16384")  # KiB of pages
    if not empty:
        if (application, layout) != (APPLICATION, LAYOUT):
            raise UnsoundHoldings("not a holdings of this version")
        _check_tables(connection)
        return
    connection.execute("BEGIN IMMEDIATE")
    make_tables(connection)
    connection.execute(f"PRAGMA application_id = {APPLICATION}")
    connection.execute(f"PRAGMA user_version = {LAYOUT}")
    connection.execute("COMMIT")


def _check_tables(connection: sqlite3.Connection) -> None:
    names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    if not names >= _NAMES:
        raise UnsoundHoldings("its tables are not there")


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    (value,) = connection.execute(f"PRAGMA {name}").fetchone()
    return int(value)
