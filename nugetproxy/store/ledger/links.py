"""Links knows which opaque links were handed out for one source, and what they stand for."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final, TypeAlias

from cachetools import LRUCache

from nugetproxy.clock import Clock
from nugetproxy.nuget.kinds import Kind
from nugetproxy.store.ledger import rows
from nugetproxy.store.ledger.write_behind import WriteBehind
from nugetproxy.store.sqlite_file import SqliteFile

MOST: Final = 200_000
"""Links of one source; beyond, those go that were not handed out for the longest time."""
KEPT_SECONDS: Final = 180 * 86400.0
"""How long a link is kept that nobody is handed any more."""
AGAIN_SECONDS: Final = 86400.0
"""A link that is handed out all the time is noted once a day."""
TRIM_SECONDS: Final = 3600.0
AT_ONCE: Final = 1000
"""Noted in a few milliseconds, after which others have their turn."""
REMEMBERED: Final = 50_000
"""Links of which it is remembered that they are stored."""

KINDS: Final = {kind.value: kind for kind in Kind}

Known: TypeAlias = tuple[Kind, str, float]
"""Kind, URL, and when it was last noted as handed out."""


class Links:
    """Made by ``Ledger.links``; a link is known as soon as it is handed out."""

    def __init__(self, source: str, file: SqliteFile, clock: Clock, behind: WriteBehind) -> None:
        self._source = source
        self._file = file
        self._clock = clock
        self._behind = behind
        self._known: LRUCache[str, Known] = LRUCache(REMEMBERED)
        self._trimmed = float("-inf")

    def hand_out(self, token: str, kind: Kind, url: str) -> None:
        """A document that names this link goes to a client."""
        now = self._clock.now()
        known = self._known.get(token)
        if known is None or not 0 <= now - known[2] < AGAIN_SECONDS:
            self._known[token] = (kind, url, now)
            key = ("links", self._source, token)
            self._behind.note(key, rows.LINK, (self._source, token, kind.value, url, now), (kind, url, now))

    async def hand_out_all(self, links: Iterable[tuple[str, Kind, str]]) -> None:
        """A document that names these links (token, kind, URL) goes to a client; one transaction for all of them."""
        with self._behind.together():
            for count, link in enumerate(links, 1):
                self.hand_out(*link)
                if count % AT_ONCE == 0:
                    await asyncio.sleep(0)

    async def find(self, token: str) -> tuple[Kind, str] | None:
        """What a link stands for; None if it was never handed out, or long ago. Raises LedgerUnavailable."""
        known: Known | None = self._known.get(token) or self._behind.noted(("links", self._source, token))
        if known is None:
            row = await self._file.read(rows.link_of, self._source, token)
            if row is None or row[0] not in KINDS:
                return None
            known = (KINDS[row[0]], row[1], row[2])
            self._known[token] = known
        self.hand_out(token, known[0], known[1])  # it is in use
        return known[0], known[1]

    async def trim(self) -> int:
        """Let go of what is old or too much, once in a while; how many. Raises LedgerUnavailable."""
        if self._clock.monotonic() < self._trimmed + TRIM_SECONDS:
            return 0
        self._trimmed = self._clock.monotonic()
        removed = await self._file.write(rows.trim_links, self._source, self._clock.now() - KEPT_SECONDS, MOST)
        if removed:
            self._known.clear()
        return removed
