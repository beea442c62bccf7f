"""Following a catalog tells what has changed at a feed, so that it is asked for again before it goes stale."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

import orjson
import structlog
from msgspec import Struct, to_builtins

from nugetproxy.clock import Clock
from nugetproxy.engine.cache import Cache
from nugetproxy.errors import NotFound, UpstreamFailure, UpstreamRefused
from nugetproxy.nuget.documents.catalog import Change, catalog_changes, catalog_listing, successor
from nugetproxy.nuget.documents.exact_json import InvalidDocument
from nugetproxy.nuget.kinds import Kind
from nugetproxy.nuget.resources import HIVES
from nugetproxy.nuget.routes import Route, index_route, parse_route, version_list_route
from nugetproxy.off_loop import off_loop
from nugetproxy.sources.document_groups import DocumentGroups
from nugetproxy.sources.remote_documents import CATALOG
from nugetproxy.sources.services import Services

log = structlog.get_logger(__name__)

ROUND_SECONDS: Final = 60.0
MOST_PAGES: Final = 50
"""After so many pages in one round the rest is left to the next one."""


class Cursor(Struct, frozen=True, kw_only=True):
    """How far the catalog was read; survives restarts, so that what changed meanwhile is seen."""

    stamp: str = ""
    """Of the last entry, as in ``sortable``; empty before the first round."""
    page: str = ""
    """The newest page, below the catalog; empty where the index is to be asked for it."""
    full: int = 0
    """Entries of a page that has a successor; 0 while it is not known."""


class Following:
    """One small request a minute: the newest page, the one after it where it is full, the index where it must be."""

    def __init__(self, cache: Cache, services: Services, groups: DocumentGroups, place: Path, clock: Clock) -> None:
        """``place``: the file that the cursor is kept in."""
        self._cache = cache
        self._services = services
        self._groups = groups
        self._place = place
        self._clock = clock
        self._cursor: Cursor | None = None
        self.cursor = Cursor()
        self._count = 0
        """Entries of the newest page."""

    async def run(self) -> None:
        """A round a minute; runs until it is cancelled."""
        while True:
            try:
                await self.round()
            except (UpstreamFailure, NotFound, InvalidDocument) as failure:
                level = log.warning if isinstance(failure, NotFound | InvalidDocument) else log.info
                level("catalog.unread", upstream=self._services.upstream, detail=str(failure)[:300])
            await self._clock.sleep(ROUND_SECONDS)

    async def round(self) -> int:
        """Read what is new, then see to it that the ids in it are asked for again; how many.

        Raises UpstreamFailure, NotFound (no catalog), InvalidDocument; what was read until then counts.
        """
        if self._cursor is None:
            self.cursor = self._cursor = await asyncio.to_thread(_load, self._place)
        total = 0
        for page in [self.cursor.page] if self.cursor.page else await self._pages():
            total += await self._take(page)
        for _ in range(MOST_PAGES):
            after = successor(self.cursor.page)
            if not after or not self._may_be_full or not await self._exists(after):
                break
            total += await self._take(after)
        await asyncio.to_thread(_save, self._place, self.cursor)
        return total

    @property
    def _may_be_full(self) -> bool:
        return not self.cursor.full or self._count >= self.cursor.full

    async def _pages(self) -> list[str]:
        """The pages that may have what is new, by the index; of a catalog seen for the first time the newest."""
        target = self._groups.target(CATALOG, "", await self._services.map())
        await self._cache.refresh(target)
        stored = await self._cache.stored(target)
        if stored is None:
            raise NotFound("The catalog cannot be stored; it is asked for again in a minute.")
        listing = await off_loop(len(stored.body), catalog_listing, stored.body, stored.entry.url)
        return listing.pages_since(self.cursor.stamp)[:MOST_PAGES]

    async def _exists(self, page: str) -> bool:
        """Whether there is a page after the newest one that is known; asked for each time."""
        target = self._groups.target(_route(page), "", await self._services.map())
        found = await self._cache.get(target)
        return not found.entry.absent

    async def _take(self, page: str) -> int:
        """Read one page; how many ids in it are asked for again."""
        target = self._groups.target(_route(page), "", await self._services.map())
        try:
            await self._cache.refresh(target)
        except UpstreamRefused:
            self.cursor = Cursor(stamp=self.cursor.stamp)  # it is not there any more: the index knows
            raise
        stored = await self._cache.stored(target)
        changes = await off_loop(len(stored.body), catalog_changes, stored.body) if stored is not None else ()
        since = self.cursor.stamp
        new = [change for change in changes if change.stamp > since] if since else []
        count = await self._outdate(new)
        full = self.cursor.full
        if self.cursor.page not in {"", page}:
            full = max(full, self._count)
        self._count = len(changes)
        self.cursor = Cursor(stamp=max([since, *(change.stamp for change in changes)]), page=page, full=full)
        return count

    async def _outdate(self, changes: Iterable[Change]) -> int:
        ids, count = {change.id for change in changes}, 0
        for id_ in sorted(ids):
            if await self._knows(id_):
                self._cache.invalidate(id_)
                count += 1
        if ids:
            await self._cache.settle_writes()
            log.info("catalog.followed", upstream=self._services.upstream, ids=len(ids), outdated=count)
        return count

    async def _knows(self, id_: str) -> bool:
        """Whether anything that is stored of an id could be out of date."""
        services = await self._services.map()
        routes = (version_list_route(id_), *(index_route(hive, id_) for hive in HIVES))
        targets = [self._groups.target(route, "", services) for route in routes if services.has(route.resource)]
        return any(stored is not None for stored in await self._cache.stored_all(targets))


def _route(page: str) -> Route:
    route = parse_route(f"catalog/{page}")
    if route is None or route.kind is not Kind.CATALOG_PAGE:
        raise NotFound(f"The catalog has a page {page[:80]!r}, which is none; it cannot be followed.")
    return route


def _load(place: Path) -> Cursor:
    """What was saved; a cursor of before everything where that cannot be read."""
    with suppress(OSError, orjson.JSONDecodeError, TypeError):
        return Cursor(**orjson.loads(place.read_bytes()))
    return Cursor()


def _save(place: Path, cursor: Cursor) -> None:
    """Lost with the disk that cannot be written to: then it begins with the newest page again."""
    with suppress(OSError):
        part = place.with_suffix(".part")
        part.write_bytes(orjson.dumps(to_builtins(cursor)))
        part.replace(place)
