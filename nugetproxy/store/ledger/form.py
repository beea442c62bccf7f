"""The form of the ledger's SQLite file: its tables, made by numbered steps that only go forward."""

from __future__ import annotations

import re
import sqlite3
from itertools import chain
from pathlib import Path
from typing import Final

from nugetproxy.store.fs import FsOps
from nugetproxy.store.ledger.copies import restore
from nugetproxy.store.sqlite_form import Form, SqliteUnavailable, UnsoundFile, pragma, transaction

APPLICATION: Final = 0x4E75504C
"""``NuPL``: tells our file from any other SQLite file (PRAGMA application_id)."""

STEPS: Final[tuple[tuple[str, ...], ...]] = (
    (
        f"PRAGMA application_id = {APPLICATION}",
        """CREATE TABLE pins (
            source TEXT NOT NULL, id TEXT NOT NULL, version TEXT NOT NULL, sha512 TEXT NOT NULL,
            PRIMARY KEY (source, id, version)) WITHOUT ROWID""",
        """CREATE TABLE links (
            source TEXT NOT NULL, token TEXT NOT NULL, kind TEXT NOT NULL, url TEXT NOT NULL, handed_out REAL NOT NULL,
            PRIMARY KEY (source, token)) WITHOUT ROWID""",
        "CREATE INDEX links_by_age ON links (source, handed_out)",
        """CREATE TABLE epochs (
            source TEXT NOT NULL, id TEXT NOT NULL, number INTEGER NOT NULL, at REAL NOT NULL,
            PRIMARY KEY (source, id)) WITHOUT ROWID""",
        "CREATE TABLE scrubs (source TEXT PRIMARY KEY, position BLOB NOT NULL) WITHOUT ROWID",
        """CREATE TABLE facts (
            source TEXT NOT NULL, id TEXT NOT NULL, version TEXT NOT NULL, published TEXT, listed INTEGER,
            deprecation TEXT, origin TEXT NOT NULL, noted REAL NOT NULL,
            PRIMARY KEY (source, id, version)) WITHOUT ROWID""",
        """CREATE TABLE owners (
            feed TEXT NOT NULL, id TEXT NOT NULL, version TEXT NOT NULL, source TEXT NOT NULL, sha512 TEXT NOT NULL,
            PRIMARY KEY (feed, id, version)) WITHOUT ROWID""",
        "CREATE TABLE claims (source TEXT NOT NULL, id TEXT NOT NULL, PRIMARY KEY (source, id)) WITHOUT ROWID",
        """CREATE TABLE tokens (
            name TEXT PRIMARY KEY, hash TEXT NOT NULL, scopes TEXT NOT NULL, feeds TEXT NOT NULL,
            expires REAL, created REAL NOT NULL) WITHOUT ROWID""",
    ),
    ("CREATE TABLE origins (source TEXT PRIMARY KEY, feed TEXT NOT NULL) WITHOUT ROWID",),
    (
        """CREATE TABLE sightings (
            source TEXT NOT NULL, id TEXT NOT NULL, version TEXT NOT NULL, first REAL NOT NULL, missing REAL,
            PRIMARY KEY (source, id, version)) WITHOUT ROWID""",
    ),
    (
        """CREATE TABLE kept (
            id TEXT NOT NULL, version TEXT NOT NULL, wanted_by TEXT NOT NULL, at REAL NOT NULL,
            PRIMARY KEY (id, version, wanted_by)) WITHOUT ROWID""",
    ),
    ("ALTER TABLE sightings ADD COLUMN withdrawn REAL",),
    (
        """CREATE TABLE verdicts (
            source TEXT NOT NULL, id TEXT NOT NULL, version TEXT NOT NULL, sha512 TEXT NOT NULL, trust TEXT NOT NULL,
            verdict TEXT NOT NULL, PRIMARY KEY (source, id, version)) WITHOUT ROWID""",
    ),
)
"""Each is one transaction, which also raises the number in the file (PRAGMA user_version). Never change one that was
released: add another."""

_TABLES: Final = frozenset(re.findall(r"CREATE TABLE (\w+)", "".join(chain(*STEPS))))


class LedgerUnavailable(SqliteUnavailable):
    """The ledger can neither be read nor written now."""

    what = "ledger"


class NewerLedger(Exception):
    """A newer nugetproxy made the file; ``number`` is its step, which we do not know."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def _prepare(connection: sqlite3.Connection, empty: bool) -> None:
    if not empty and pragma(connection, "application_id") != APPLICATION:
        raise UnsoundFile("not a ledger")
    number = pragma(connection, "user_version")
    if number > len(STEPS):
        raise NewerLedger(number)
    for step in range(number, len(STEPS)):
        with transaction(connection):
            for statement in STEPS[step]:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {step + 1}")
    if not {name for (name,) in connection.execute("SELECT name FROM sqlite_master")} >= _TABLES:
        raise UnsoundFile("its tables are not there")


def _renew(fs: FsOps, path: Path) -> None:
    restore(LEDGER, fs, path)


LEDGER: Final = Form(
    name="ledger",
    prepare=_prepare,
    check=lambda _: None,
    renew=_renew,
    unavailable=LedgerUnavailable,
    synchronous="FULL",  # a pin or a write that a power cut took away would be believed again
    made_when_missing=False,
)
"""Never begun afresh by itself: a damaged one is replaced by one of its copies."""
