"""The form of the holdings's SQLite file."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from nugetproxy.store.fs import FsOps
from nugetproxy.store.sqlite_form import Form, SqliteUnavailable, UnsoundFile, open_writer, pragma, transaction

APPLICATION: Final = 0x4E755043
"""``NuPC``: tells our file from any other SQLite file (PRAGMA application_id)."""
LAYOUT: Final = 2
"""Another number in the file (PRAGMA user_version) begins a fresh holdings: it is rebuilt, never migrated."""

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


class HoldingsUnavailable(SqliteUnavailable):
    """The holdings cannot say what is held, so nobody may conclude that something is not."""

    what = "record of held packages"


def make_tables(connection: sqlite3.Connection) -> None:
    """The empty tables, replacing those that there are; part of the caller's transaction."""
    for name in ("packages", "facts", "types", "words"):
        connection.execute(f"DROP TABLE IF EXISTS {name}")
    for statement in _TABLES:
        connection.execute(statement)


def _prepare(connection: sqlite3.Connection, empty: bool) -> None:
    if empty:
        with transaction(connection):
            make_tables(connection)
            connection.execute(f"PRAGMA application_id = {APPLICATION}")
            connection.execute(f"PRAGMA user_version = {LAYOUT}")
        return
    if (pragma(connection, "application_id"), pragma(connection, "user_version")) != (APPLICATION, LAYOUT):
        raise UnsoundFile("not a holdings of this version")
    if not {name for (name,) in connection.execute("SELECT name FROM sqlite_master")} >= _NAMES:
        raise UnsoundFile("its tables are not there")


def _check(connection: sqlite3.Connection) -> None:
    connection.execute("INSERT INTO words (words) VALUES ('integrity-check')")


def _renew(_fs: FsOps, path: Path) -> None:
    open_writer(HOLDINGS, path).close()


HOLDINGS: Final = Form(
    name="holdings",
    prepare=_prepare,
    check=_check,
    renew=_renew,
    unavailable=HoldingsUnavailable,
    synchronous="NORMAL",  # a sync finds what a power cut has lost
    made_when_missing=True,
)
"""Derived from the folder, so it is begun afresh whenever something is wrong with it."""
