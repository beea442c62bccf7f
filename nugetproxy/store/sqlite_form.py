"""Form is what one sort of SQLite file must be like; all that is done with a file by it blocks."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Final

from msgspec import Struct

from nugetproxy.errors import ProxyError
from nugetproxy.nuget.documents.exact_json import InvalidDocument
from nugetproxy.on_disk import exists, is_dir
from nugetproxy.store.fs import DiskFailure, FsOps, MissingFile

LOCK_SECONDS: Final = 5.0
"""How long a statement waits for a lock; nobody but this process opens the file, so it hardly ever does."""
CORRUPT_KEPT: Final = 2
"""Files set aside that are kept."""
CHECK_SECONDS: Final = 20.0
"""After which the check of a file ends without a verdict: what is damaged is still found when it is read."""
PAGES: Final = 2048
"""KiB of pages that a connection keeps. There are some ten of them; the kernel's own cache has what each lets go."""
STEPS_BETWEEN_LOOKS: Final = 5_000
"""Instructions of SQLite's machine between two looks at the clock, some 0.1 ms."""


class UnsoundFile(Exception):
    """The file is not as we make it."""


ERRORS: Final = (sqlite3.Error, UnsoundFile, InvalidDocument, DiskFailure, OSError)
"""What goes wrong with a file."""


class Trouble(StrEnum):
    """What an error of the database calls for."""

    BROKEN = "broken"
    """Set aside, replace."""
    SUSPECT = "suspect"
    """Look whether it is broken."""
    SLOW = "slow"
    """The statement ran into its time limit."""
    DISK = "disk"
    """The disk is full, read-only or failing, or a lock was not to be had."""


OF_THE_DISK: Final = ("SQLITE_CANTOPEN", "SQLITE_FULL", "SQLITE_IOERR", "SQLITE_READONLY")
"""What begins the names of errors that do not pass before somebody does something."""


class SqliteUnavailable(ProxyError):
    """A file of ours cannot be used now.

    ``why`` is one word: incomplete, rebuilding, timeout, closed, or what the database called its trouble.
    """

    what = "database"

    def __init__(self, why: str, trouble: Trouble = Trouble.DISK) -> None:
        super().__init__(why)
        self.why = why
        self.trouble = trouble

    def __str__(self) -> str:
        of_disk = self.why.startswith(OF_THE_DISK)
        remedy = "look at its disk, which may be full or read-only" if of_disk else "try again in a few seconds"
        return f"The {self.what} cannot be used now ({self.why}); {remedy}."


class Form(Struct, frozen=True, kw_only=True):
    """What one sort of file is like; the functions block and raise ERRORS."""

    name: str
    """In the names of threads and log events."""
    prepare: Callable[[sqlite3.Connection, bool], None]
    """Makes the tables where the file is new (the second argument), else looks whether they are ours."""
    check: Callable[[sqlite3.Connection], None]
    """Looks into the tables, beyond SQLite's own check."""
    renew: Callable[[FsOps, Path], None]
    """Puts another file into the place of one that was set aside."""
    unavailable: type[SqliteUnavailable]
    synchronous: str
    """NORMAL: a power cut may lose the last writes; FULL: it does not."""
    made_when_missing: bool
    """Whether a file that is gone is simply begun again."""


_TROUBLE: Final = {
    sqlite3.SQLITE_CORRUPT: Trouble.BROKEN,
    sqlite3.SQLITE_NOTADB: Trouble.BROKEN,
    sqlite3.SQLITE_ERROR: Trouble.SUSPECT,
    sqlite3.SQLITE_SCHEMA: Trouble.SUSPECT,
    sqlite3.SQLITE_INTERRUPT: Trouble.SLOW,
}


_NOTHING_MADE: Final = frozenset(
    {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_FULL}
)


def can_make_nothing(error: Exception) -> bool:
    """Whether the disk is full or read-only, by what a connection to a file met: what is in the file may be sound."""
    return isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", 0) & 0xFF in _NOTHING_MADE


def diagnose(error: Exception) -> tuple[Trouble, str]:
    """What an error calls for, with one word for the log."""
    if isinstance(error, UnsoundFile | InvalidDocument):
        return Trouble.BROKEN, "unsound"
    if isinstance(error, OSError | DiskFailure):
        return Trouble.DISK, errno.errorcode.get(error.errno or 0, type(error).__name__)
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    name: str = getattr(error, "sqlite_errorname", type(error).__name__)
    if code == sqlite3.SQLITE_IOERR_SHORT_READ:
        return Trouble.BROKEN, name
    return _TROUBLE.get(code & 0xFF, Trouble.DISK), name


def open_writer(form: Form, path: Path, *, make: bool | None = None) -> sqlite3.Connection:
    """The one connection that writes; makes the tables in a new file.

    ``make`` says whether a missing file is made, where the form's own rule is not meant. Raises UnsoundFile for a
    file that is not ours, sqlite3.Error, OSError.
    """
    make = form.made_when_missing if make is None else make
    if make:
        with contextlib.suppress(FileExistsError):  # SQLite would let others of the machine read it
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    connection = connect(path)
    try:
        _prepare(form, connection, make)
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(form: Form, connection: sqlite3.Connection, make: bool) -> None:
    empty = not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if empty and not make:
        raise UnsoundFile("it is empty")
    connection.execute("PRAGMA journal_mode = WAL")  # readers go on while the writer writes
    connection.execute(f"PRAGMA synchronous = {form.synchronous}")  # what a power cut may lose
    connection.execute("PRAGMA journal_size_limit = 67108864")  # bytes; a rebuild must not leave a huge log behind
    connection.execute(f"PRAGMA cache_size = -{PAGES}")
    form.prepare(connection, empty)


def open_reader(path: Path) -> sqlite3.Connection:
    """A connection that only reads; raises UnsoundFile if there is no file (any more), sqlite3.Error."""
    connection = connect(path)
    try:
        connection.execute("PRAGMA query_only = ON")
        connection.execute(f"PRAGMA cache_size = -{PAGES}")
        pragma(connection, "schema_version")  # now, not by the first query: whether it can read at all
    except BaseException:
        connection.close()
        raise
    return connection


def open_still(path: Path) -> sqlite3.Connection:
    """A connection for one look at a file beside which the disk lets nothing be made, as one that reads must.

    Raises UnsoundFile where a log beside it may say more, sqlite3.Error.
    """
    log = path.with_name(f"{path.name}-wal")
    if exists(log) and log.stat().st_size:
        raise UnsoundFile("what its log has cannot be read")
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True, isolation_level=None)


def connect(path: Path) -> sqlite3.Connection:
    """A connection to a file that is there, in autocommit; raises UnsoundFile, sqlite3.Error."""
    if is_dir(path):  # to SQLite this would look like trouble with the disk
        raise UnsoundFile("a directory lies in its place")
    if file_key(path) == (0, 0):
        raise UnsoundFile("there is no file")
    uri = f"{path.absolute().as_uri()}?mode=rw"  # rw: readers of a WAL take part in its locks
    return sqlite3.connect(uri, uri=True, timeout=LOCK_SECONDS, isolation_level=None)


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


def check(form: Form, path: Path) -> None:
    """Look at every page and whatever the form looks at, for some seconds; raises UnsoundFile, sqlite3.Error."""
    # A connection of its own sees the file as it is now; the others have pages of it in memory.
    with contextlib.closing(open_writer(form, path)) as connection:
        limit_time(connection, CHECK_SECONDS)
        try:
            (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            form.check(connection)
        except sqlite3.OperationalError as error:
            if diagnose(error)[0] is not Trouble.SLOW:
                raise
            return
    if verdict != "ok":
        raise UnsoundFile(str(verdict)[:200])


def set_aside(fs: FsOps, path: Path, *, sound: bool = False) -> Path | None:
    """Rename a file or directory to ``<name>.corrupt-<time>``; None if it is gone. All connections must be closed.

    A connection that is still open would delete the write-ahead log of the file that comes next. What may be ``sound``
    becomes ``<name>.before-<time>``, and stays. Raises DiskFailure.
    """
    prefix = f"{path.name}.{'before' if sound else 'corrupt'}-"
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
    there = sorted(name for name in fs.names(path.parent) if name.startswith(prefix))
    for name in () if sound else there[:-CORRUPT_KEPT]:
        old = path.with_name(name)
        (fs.rmtree if is_dir(old) else fs.unlink)(old)
    return target


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection, kind: str = "IMMEDIATE") -> Iterator[None]:
    """All or nothing; ``DEFERRED`` for reads that must see one state."""
    connection.execute(f"BEGIN {kind}")
    try:
        yield
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def pragma(connection: sqlite3.Connection, name: str) -> int:
    """A number that the file says of itself."""
    (value,) = connection.execute(f"PRAGMA {name}").fetchone()
    return int(value)
