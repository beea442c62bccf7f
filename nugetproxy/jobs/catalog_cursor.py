"""The cursor of a mirror: how far a catalog has been read, kept in a file."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Final

import orjson

from nugetproxy.errors import NotFound
from nugetproxy.jobs.proxy_client import ProxyClient
from nugetproxy.nuget.documents.catalog import catalog_changes, catalog_listing, sortable, successor

BEGINNING: Final = "0"
"""Before every stamp: how far a catalog was read that had nothing in it."""


class CatalogReader:
    """Reads what is new in a catalog; raises NotFound where there is none."""

    def __init__(self, proxy: ProxyClient, base: str, known: tuple[str, str]) -> None:
        """``base``: the published feed's path up to ``v3/``; ``known``: stamp and page of the last time."""
        self._proxy = proxy
        self._base = base
        self.stamp, self.page = known

    async def read(self) -> set[str]:
        """The ids (lower case) of what has changed since the last time; none the first time."""
        found: set[str] = set()
        for page in [self.page] if self.page else await self._pages():
            found |= await self._take(page) or set()
        self.stamp = self.stamp or BEGINNING
        while (after := successor(self.page)) and (more := await self._take(after)) is not None:
            found |= more
        return found

    async def _pages(self) -> list[str]:
        """Those that may have what is new, by the index; the newest where it is read for the first time."""
        got = await self._proxy.get(f"{self._base}catalog/index.json")
        if got.status != 200:
            raise NotFound(f"The feed has no catalog to follow ({got.error or got.said}).")
        return catalog_listing(got.body, "http://localhost/").pages_since(self.stamp)

    async def _take(self, page: str) -> set[str] | None:
        got = await self._proxy.get(f"{self._base}catalog/{page}")
        if got.status == 404:
            if page == self.page:
                self.page = ""
            return None
        if got.status != 200:
            raise NotFound(f"The page {page} of the catalog cannot be read ({got.error or got.said}).")
        since, changes = self.stamp, catalog_changes(got.body)
        self.stamp = max([since, *(change.stamp for change in changes)])
        self.page = page
        return {change.id for change in changes if since and change.stamp > since and not change.deleted}


class Cursor:
    """How far a mirror has come, for the next one with the same wish."""

    def __init__(self, place: Path, wish: str) -> None:
        """``place``: the file; ``wish``: what is mirrored, as a digest: another wish begins afresh."""
        self._place = place
        self._wish = wish

    def load(self) -> tuple[str, str, bool, int]:
        """Stamp and page of the last round, empty where there was none; whether all was fetched once, how many rounds
        ago.
        """
        with suppress(OSError, orjson.JSONDecodeError, TypeError, KeyError):
            known = orjson.loads(self._place.read_bytes())
            if known["wish"] == self._wish:
                where = sortable(str(known["stamp"])), str(known["page"])
                return *where, bool(known["complete"]), int(known.get("rounds", 0))
        return "", "", False, 0

    def save(self, reader: CatalogReader, rounds: int, *, complete: bool = True) -> None:
        """Write down where ``reader`` is; a disk that fails costs lists only, since all is looked through again."""
        where = {"stamp": reader.stamp, "page": reader.page}
        known = {"wish": self._wish, **where, "complete": complete, "rounds": rounds}
        part = self._place.with_suffix(".part")
        with suppress(OSError):
            self._place.parent.mkdir(mode=0o700, exist_ok=True)
            part.write_bytes(orjson.dumps(known))
            part.replace(self._place)
