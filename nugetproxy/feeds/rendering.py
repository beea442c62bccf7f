"""Rendering makes the bytes that clients get from the documents that upstream said."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Hashable
from dataclasses import dataclass, replace

import structlog
from cachetools import LRUCache

from nugetproxy.engine.target import Found
from nugetproxy.nuget.documents.render import View, render, render_index
from nugetproxy.nuget.services import ServiceMap
from nugetproxy.off_loop import off_loop
from nugetproxy.sources.source import Document, Source

log = structlog.get_logger(__name__)

GZIP_FROM_BYTES = 400
GZIP_LEVEL = 5
OVERHEAD_BYTES = 600


@dataclass(frozen=True, slots=True)
class Page:
    """Finished bytes with their strong entity tag."""

    body: bytes
    etag: str
    gzipped: bool = False
    empty: bool = False
    """A registration without any leaf, which is a 404."""


class HotPages:
    """Rendered and compressed bytes, keyed by the content they were made from, bounded in bytes."""

    def __init__(self, max_bytes: int) -> None:
        self._pages: LRUCache[Hashable, Page] = LRUCache(max_bytes, _weight)

    def get(self, key: Hashable) -> Page | None:
        """The page made under ``key``, while it is still hot."""
        try:
            return self._pages[key]
        except KeyError:
            return None

    def put(self, key: Hashable, page: Page) -> Page:
        """Keep ``page`` unless it alone would push out most of the others."""
        if _weight(page) < self._pages.maxsize // 4:
            self._pages[key] = page
        return page


def _weight(page: Page) -> int:
    return len(page.body) + OVERHEAD_BYTES


def page_of(body: bytes) -> Page:
    """``body`` with an entity tag of its bytes."""
    return Page(body, f'"{hashlib.blake2b(body, digest_size=16).hexdigest()}"')


def compress(page: Page) -> Page:
    """The gzip coding of ``page``, with an entity tag of its own (RFC 9110 section 8.8.3.3)."""
    return Page(gzip.compress(page.body, GZIP_LEVEL, mtime=0), f'{page.etag[:-1]}-gz"', gzipped=True)


class Rendering:
    """One feed's documents as its clients get them, kept hot under the digest of what they were made from."""

    def __init__(self, feed: str, pages: HotPages, *, several: bool = False) -> None:
        """``several``: documents of more than one source are published side by side."""
        self._feed = feed
        self._pages = pages
        self._several = several

    def index(self, found: Found, services: ServiceMap, base: str, *, secure: bool) -> Page:
        """Our service index for clients that know us as ``base``."""
        key = (self._feed, found.entry.digest, base, secure)
        return self._pages.get(key) or self._pages.put(key, page_of(render_index(services, base, secure=secure)))

    async def document(self, source: Source, document: Document, base: str, resource: str) -> Page:
        """A document of ``source`` with its links pointing to us; every link that it hands out is kept before."""
        kind, found, services = document.kind, document.found, document.services
        key = (self._feed, source.name, found.entry.digest, kind, found.entry.url, services.digest, base, resource)
        page = self._pages.get(key)
        if page is not None:
            return page
        view = View(services, base, found.entry.url, resource, source.name if self._several else "")
        rendered = await off_loop(2 * len(found.body), render, kind, found.body, view)
        if rendered.links:
            await source.keep_links(rendered.links)
        if rendered.dropped:
            log.warning("document.garbage_dropped", upstream=self._feed, kind=kind, dropped=rendered.dropped[:5])
        return self._pages.put(key, replace(page_of(rendered.body), empty=rendered.empty))

    async def coded(self, page: Page, *, gzipped: bool) -> Page:
        """``page`` in the gzip coding, if the client takes it and it is worth it."""
        if not gzipped or len(page.body) < GZIP_FROM_BYTES:
            return page
        key = (page.etag, "gzip")
        known = self._pages.get(key)
        if known is not None:
            return known
        return self._pages.put(key, await off_loop(2 * len(page.body), compress, page))

    def hot(self, key: Hashable) -> Page | None:
        """A page that was kept under a key of the caller's."""
        return self._pages.get(key)

    def keep(self, key: Hashable, page: Page) -> Page:
        """Keep a page under a key of the caller's."""
        return self._pages.put(key, page)
