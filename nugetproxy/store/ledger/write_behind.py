"""WriteBehind keeps what was noted until the ledger has it."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Collection, Iterator
from typing import Any, Final

from msgspec import Struct

from nugetproxy.store.ledger import rows
from nugetproxy.store.ledger.form import LedgerUnavailable
from nugetproxy.store.sqlite_file import SqliteFile

MOST_WAITING: Final = 100_000
"""Rows that wait for a ledger that cannot be written; beyond, the oldest are given up."""
SETTLE_SECONDS: Final = 5.0
"""How long anybody waits for what was noted to be written."""


class _Noted(Struct, frozen=True):
    """One row on its way: what writes it, and what it says."""

    statement: str
    values: tuple[Any, ...]
    says: Any


class WriteBehind:
    """Writes many rows in one transaction; what cannot be written waits for the next ``note`` or ``settle``."""

    def __init__(self, file: SqliteFile) -> None:
        self._file = file
        self._waiting: dict[tuple[str, ...], _Noted] = {}
        self._writing: dict[tuple[str, ...], _Noted] = {}
        self._flusher: asyncio.Task[None] | None = None
        self._held_back = 0
        """How many are about to note more."""

    def __repr__(self) -> str:
        return f"<WriteBehind: {len(self._waiting)} waiting, {len(self._writing)} being written>"

    def note(self, key: tuple[str, ...], statement: str, values: tuple[Any, ...], says: Any) -> None:
        """Have ``statement`` (of ``rows``) write ``values`` soon; ``says`` is what ``noted`` returns until then.

        A row that waits under the same ``key`` is not written any more.
        """
        self._waiting.pop(key, None)  # what is noted again goes to the end
        self._waiting[key] = _Noted(statement, values, says)
        self._flush_soon()

    def noted(self, key: tuple[str, ...]) -> Any:
        """What was noted under this key, while it is on its way."""
        noted = self._waiting.get(key) or self._writing.get(key)
        return noted.says if noted is not None else None

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """What is noted meanwhile is written in one transaction, unless somebody cannot wait for it."""
        self._held_back += 1
        try:
            yield
        finally:
            self._held_back -= 1
            self._flush_soon()

    async def settle(self) -> bool:
        """Wait until what was noted is written, for ``SETTLE_SECONDS`` at most; False if it is not (yet)."""
        self._flush_soon(at_once=True)
        if self._flusher is not None:
            await asyncio.wait({self._flusher}, timeout=SETTLE_SECONDS)
        return not (self._waiting or self._writing)

    def _flush_soon(self, *, at_once: bool = False) -> None:
        if self._waiting and self._flusher is None and (at_once or not self._held_back):
            self._flusher = asyncio.create_task(self._flush(), name="ledger writes")
            self._flusher.add_done_callback(self._flushed)

    async def _flush(self) -> None:
        while self._waiting:
            self._writing, self._waiting = self._waiting, {}
            try:
                await self._file.write(_write_all, tuple(self._writing.values()))
            except LedgerUnavailable:  # logged; they go on waiting
                waiting = list({**self._writing, **self._waiting}.items())
                self._waiting = dict(waiting[-MOST_WAITING:])
                return
            finally:
                self._writing = {}

    def _flushed(self, _: asyncio.Task[None]) -> None:
        self._flusher = None


def _write_all(connection: sqlite3.Connection, noted: Collection[_Noted]) -> None:
    rows.run_all(connection, ((one.statement, one.values) for one in noted))
