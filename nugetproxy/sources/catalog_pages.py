"""CatalogPages knows which stored pages of the catalog are final."""

from __future__ import annotations

from cachetools import LRUCache

from nugetproxy.engine.cache import Cache
from nugetproxy.engine.target import Target
from nugetproxy.nuget.documents.catalog import CatalogListing, catalog_listing
from nugetproxy.nuget.documents.render import InvalidDocument, page_commit
from nugetproxy.off_loop import off_loop


class CatalogPages:
    """Only the newest page of a catalog changes; the others need not be asked for again."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._listing: tuple[str, CatalogListing] | None = None
        self._commits: LRUCache[str, str] = LRUCache(1024)

    async def is_finished(self, index: Target, page: Target) -> bool:
        """True when what is stored of ``page`` is what the stored catalog ``index`` says of a page that is full."""
        stored = await self._cache.stored(page)
        if stored is None or stored.entry.absent:
            return False
        listing = await self._listed(index)
        try:
            commit = self._commits.get(stored.entry.digest)
            if commit is None:
                commit = await off_loop(len(stored.body), page_commit, stored.body)
        except InvalidDocument:
            return False
        self._commits[stored.entry.digest] = commit
        return listing is not None and any(listing.is_finished(url, commit) for url in page.urls)

    async def _listed(self, index: Target) -> CatalogListing | None:
        """What the stored index says, parsed once per content."""
        stored = await self._cache.stored(index)
        if stored is None or stored.entry.absent:
            return None
        if self._listing is None or self._listing[0] != stored.entry.digest:
            listing = await off_loop(len(stored.body), catalog_listing, stored.body, stored.entry.url)
            self._listing = (stored.entry.digest, listing)
        return self._listing[1]
