"""Claims are the rights of private sources to ids, for all feeds."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator

import structlog

from nugetproxy.store.ledger.ledger import Ledger

log = structlog.get_logger(__name__)

NONE: frozenset[str] = frozenset()


class Claims:
    """What the ledger knows of them, in memory."""

    def __init__(self, ledger: Ledger, claimed: Callable[[], None] = lambda: None) -> None:
        """``claimed`` is told when there is a new one."""
        self._claimed = claimed
        self.number = 0
        """Changes whenever they do."""
        self.reloads = 0
        """Rises when some may have ended, whose sources own nothing any more."""
        self._ledger = ledger
        self._by_id: dict[str, frozenset[str]] = {}
        self._loaded = False
        self._sorted: tuple[int, list[str]] = (-1, [])

    async def ready(self) -> None:
        """Learn of those of earlier runs; raises LedgerUnavailable, as nobody may be asked before they are known."""
        if not self._loaded:
            await self.reload()

    async def reload(self) -> None:
        """Know what the ledger knows now."""
        number = -1
        while number != self.number:  # what was claimed meanwhile may not be in what was read
            number = self.number
            pairs = await self._ledger.claims()
        found: dict[str, frozenset[str]] = {}
        for source, id_ in pairs:
            found[id_] = found.get(id_, NONE) | {source}
        self._by_id, self._loaded = found, True
        self.number += 1
        self.reloads += 1

    def of(self, id_: str) -> frozenset[str]:
        """The sources that have claimed an id (lower case)."""
        return self._by_id.get(id_, NONE)

    def claim(self, source: str, id_: str) -> bool:
        """A private source knows an id; False if it had claimed it before."""
        known = self.of(id_)
        if source in known:
            return False
        self._by_id[id_] = known | {source}
        self.number += 1
        self._ledger.claim(source, id_)
        self._claimed()
        log.info("id.claimed", upstream=source, id=id_)
        return True

    def begun(self, word: str) -> Iterator[str]:
        """The claimed ids that ``word`` (lower case) is, or that begin with it where it has a dot."""
        if (whole := word.rstrip(".-")) in self._by_id:
            yield whole
        if "." not in word:
            return
        if self._sorted[0] != self.number:
            self._sorted = (self.number, sorted(self._by_id))
        ids = self._sorted[1]
        for at in range(bisect_left(ids, word), len(ids)):
            if not ids[at].startswith(word):
                return
            yield ids[at]
