"""KnownPins says of most packages without a look into the ledger that nothing is pinned of them."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from typing import Final

from nugetproxy.clock import Clock
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.store.ledger import rows
from nugetproxy.store.ledger.form import LedgerUnavailable
from nugetproxy.store.sieve import Sieve
from nugetproxy.store.sqlite_file import SqliteFile

AGAIN_SECONDS: Final = 60.0
"""Between two attempts to learn what is there; there is no hurry, as a look is right, too."""


class KnownPins:
    """What is pinned, by whatever source; it is learned behind the first question, and never said too little of."""

    def __init__(self, file: SqliteFile, clock: Clock) -> None:
        self._file = file
        self._clock = clock
        self._found: Sieve | None = None
        """Those that were there; None until that is known."""
        self._noted = Sieve()
        """Those that were noted since the start."""
        self._learning: asyncio.Task[None] | None = None
        self._again = float("-inf")

    def note(self, identity: PackageIdentity) -> None:
        """It is about to be pinned."""
        self._noted.add(identity.id)
        self._noted.add(_text(identity.id, identity.version))

    def lacks(self, identity: PackageIdentity) -> bool:
        """Whether it is certain that nothing is pinned of it."""
        return self._lacks(_text(identity.id, identity.version))

    def lacks_id(self, id: str) -> bool:
        """Whether it is certain that no version of an id (lower case) is pinned."""
        return self._lacks(id)

    def _lacks(self, text: str) -> bool:
        if self._found is None:
            self._learn_soon()
            return False
        return text not in self._found and text not in self._noted

    def forget(self) -> None:
        """Rows were written past ``note``: learn again."""
        self._found, self._again = None, float("-inf")
        if self._learning is not None:
            self._learning.cancel()

    async def end(self) -> None:
        """Learn no more."""
        if self._learning is not None:
            self._learning.cancel()
            await asyncio.wait({self._learning})

    def _learn_soon(self) -> None:
        if self._learning is None and self._clock.monotonic() >= self._again:
            self._again = self._clock.monotonic() + AGAIN_SECONDS
            self._learning = asyncio.create_task(self._learn(), name="pins known")
            self._learning.add_done_callback(self._learned)

    async def _learn(self) -> None:
        with contextlib.suppress(LedgerUnavailable):  # logged
            self._found = await self._file.read(_sieve)

    def _learned(self, _: asyncio.Task[None]) -> None:
        self._learning = None


def _sieve(connection: sqlite3.Connection) -> Sieve:
    return Sieve(text for id, version in rows.pinned(connection) for text in (id, _text(id, version)))


def _text(id: str, version: str) -> str:
    """No id has a slash in it."""
    return f"{id}/{version}"
