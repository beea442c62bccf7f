"""The form of the history's SQLite file."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from nugetproxy.store.fs import FsOps
from nugetproxy.store.sqlite_form import Form, SqliteUnavailable, UnsoundFile, open_writer, pragma, transaction

APPLICATION: Final = 0x4E755048
"""``NuPH``: tells our file from any other SQLite file (PRAGMA application_id)."""
LAYOUT: Final = 1
"""Another number in the file (PRAGMA user_version) begins a fresh history: it is never migrated."""

_TABLES: Final = {
    "counts": """(
        span INTEGER NOT NULL, start INTEGER NOT NULL, feed TEXT NOT NULL,
        requests INTEGER NOT NULL, hits INTEGER NOT NULL, fetches INTEGER NOT NULL, failed INTEGER NOT NULL,
        bytes INTEGER NOT NULL, saved INTEGER NOT NULL, packages INTEGER NOT NULL,
        PRIMARY KEY (span, start, feed)) WITHOUT ROWID""",
    "pulls": """(
        feed TEXT NOT NULL, id TEXT NOT NULL, version TEXT NOT NULL,
        last REAL NOT NULL, arrived REAL NOT NULL, times INTEGER NOT NULL, size INTEGER NOT NULL,
        PRIMARY KEY (feed, id, version)) WITHOUT ROWID""",
    "usage": """(
        id TEXT NOT NULL, version TEXT NOT NULL, feed TEXT NOT NULL, token TEXT NOT NULL, client TEXT NOT NULL,
        first REAL NOT NULL, last REAL NOT NULL, times INTEGER NOT NULL,
        PRIMARY KEY (id, version, feed, token, client)) WITHOUT ROWID""",
    "restores": """(
        number INTEGER PRIMARY KEY, session TEXT NOT NULL, client TEXT NOT NULL, token TEXT NOT NULL,
        began REAL NOT NULL, ended REAL NOT NULL, body BLOB NOT NULL,
        UNIQUE (session, client, token))""",
    "troubles": """(
        feed TEXT NOT NULL, kind TEXT NOT NULL, reason TEXT NOT NULL, first REAL NOT NULL, last REAL NOT NULL,
        times INTEGER NOT NULL, id TEXT NOT NULL, version TEXT NOT NULL, detail TEXT NOT NULL, status INTEGER NOT NULL,
        PRIMARY KEY (feed, kind, reason)) WITHOUT ROWID""",
}
_INDEXES: Final = (
    "CREATE INDEX pulls_by_arrival ON pulls (arrived)",
    "CREATE INDEX pulls_by_times ON pulls (times)",
    "CREATE INDEX pulls_by_last ON pulls (last)",
    "CREATE INDEX usage_by_last ON usage (last)",
    "CREATE INDEX usage_by_token ON usage (token, last)",
    "CREATE INDEX restores_by_end ON restores (ended)",
)


class HistoryUnavailable(SqliteUnavailable):
    """What was seen cannot be read or written now."""

    what = "history"


def _prepare(connection: sqlite3.Connection, empty: bool) -> None:
    if empty:
        with transaction(connection):
            for name, columns in _TABLES.items():
                connection.execute(f"CREATE TABLE {name} {columns}")
            for statement in _INDEXES:
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION}")
            connection.execute(f"PRAGMA user_version = {LAYOUT}")
        return
    if (pragma(connection, "application_id"), pragma(connection, "user_version")) != (APPLICATION, LAYOUT):
        raise UnsoundFile("not a history of this version")
    if not {name for (name,) in connection.execute("SELECT name FROM sqlite_master")} >= set(_TABLES):
        raise UnsoundFile("its tables are not there")


def _renew(_fs: FsOps, path: Path) -> None:
    open_writer(HISTORY, path).close()


HISTORY: Final = Form(
    name="history",
    prepare=_prepare,
    check=lambda _: None,
    renew=_renew,
    unavailable=HistoryUnavailable,
    synchronous="NORMAL",  # a power cut may take the last seconds
    made_when_missing=True,
)
"""Nobody's bread: begun afresh whenever something is wrong with it."""
