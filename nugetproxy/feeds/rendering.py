"""Rendering makes the bytes that clients get from the documents that upstream said."""

from __future__ import annotations

import asyncio
import hashlib
import zlib
from collections.abc import Awaitable, Callable, Hashable, Sequence
from weakref import WeakValueDictionary

import structlog
from cachetools import LRUCache
from msgspec import Struct
from msgspec.structs import replace
from zlib_ng import zlib_ng

from nugetproxy import __version__
from nugetproxy.engine.target import Found
from nugetproxy.errors import Reason, upstream_failure
from nugetproxy.feeds.kept_pages import KeptPage, KeptPages, digest_of
from nugetproxy.nuget.documents.render import InvalidDocument, Rendered, View, render, render_index
from nugetproxy.nuget.services import ServiceMap
from nugetproxy.off_loop import HEAVY, LARGE, off_loop
from nugetproxy.sources.source import Document, Source

log = structlog.get_logger(__name__)

GZIP_FROM_BYTES = 400
GZIP_LEVEL = 5
GZIP_FORMAT = 16
"""What zlib adds to a window's bits to mean gzip."""
SMALL_BYTES = 8 * 1024
SMALL_WINDOW = 13
SMALL_MEMORY = 5
"""As zlib counts them; ``SMALL_BYTES`` fit in."""
OVERHEAD_BYTES = 1024
"""What a page costs besides its bytes: its key with a digest, a URL; its entity tag; its places in three tables."""


class Page(Struct, frozen=True, weakref=True):
    """Finished bytes with their strong entity tag."""

    body: bytes
    etag: str
    gzipped: bool = False
    empty: bool = False
    """A registration without any leaf, which is a 404."""
    packed: bytes = b""
    """Its gzip coding, of a large one."""
    coded_from: Page | None = None
    """What has these bytes as its ``packed``."""

    @property
    def owner(self) -> Page | None:
        """Of a large one: what is to be alive as long as its bytes are sent."""
        return self.coded_from or (self if self.packed else None)


class HotPages:
    """Rendered and compressed bytes, keyed by the content they were made from, bounded in bytes.

    What is too large for that is shared by those who are sent it at the same time.
    """

    def __init__(self, max_bytes: int, large: KeptPages, most_links: int) -> None:
        """``large`` has those that are none for memory; ``most_links`` opaque links may be in one of either."""
        self.large = large
        self.most_links = most_links
        self._pages: LRUCache[Hashable, Page] = LRUCache(max_bytes, _weight)
        self._in_use: WeakValueDictionary[Hashable, Page] = WeakValueDictionary()
        """Those that are not kept."""

    def get(self, key: Hashable) -> Page | None:
        """The page made under ``key``, while it is still hot, or is being sent."""
        try:
            return self._pages[key]
        except KeyError:
            return self._in_use.get(key) if self._in_use else None

    def put(self, key: Hashable, page: Page) -> Page:
        """Keep ``page``; one that alone would push out half of the others only while somebody has it."""
        (self._pages if _weight(page) < self._pages.maxsize // 2 else self._in_use)[key] = page
        return page


def _weight(page: Page) -> int:
    return len(page.body) + len(page.packed) + OVERHEAD_BYTES


def page_of(body: bytes, *, empty: bool = False) -> Page:
    """``body`` with an entity tag of its bytes."""
    return Page(body, f'"{hashlib.blake2b(body, digest_size=16).hexdigest()}"', empty=empty)


def gzip_coding(body: bytes) -> bytes:
    """``body`` in the gzip coding; of a small one most of the work would be to clear the memory of large ones.

    zlib-ng takes a third of the time for large ones; for small ones as much as zlib, with more bytes.
    """
    if len(body) > SMALL_BYTES:
        return zlib_ng.compress(body, GZIP_LEVEL, GZIP_FORMAT + zlib_ng.MAX_WBITS)
    coder = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, GZIP_FORMAT + SMALL_WINDOW, SMALL_MEMORY)
    return coder.compress(body) + coder.flush()


def compress(page: Page) -> Page:
    """The gzip coding of ``page``, with an entity tag of its own (RFC 9110 section 8.8.3.3)."""
    packed = page.packed or gzip_coding(page.body)
    return Page(packed, f'{page.etag[:-1]}-gz"', gzipped=True)


Make = Callable[[], Awaitable[Rendered]]


class Rendering:
    """One feed's documents as its clients get them, kept hot under the digest of what they were made from."""

    def __init__(self, feed: str, pages: HotPages, *, several: bool = False) -> None:
        """``several``: documents of more than one source are published side by side."""
        self._feed = feed
        self._pages = pages
        self._several = several
        self._turns: WeakValueDictionary[Hashable, asyncio.Lock] = WeakValueDictionary()
        """Of large documents that are rendered now: who asks for one meanwhile waits for it."""

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
        own = source.name if self._several else ""
        view = View(services, base, found.entry.url, resource, own, self._pages.most_links)
        if len(found.body) > HEAVY:
            place = (self._feed, source.name, kind, found.entry.url, base, resource)
            return await self._large(key, place, lambda: self._render(source, document, view), source)
        rendered = await self._render(source, document, view)
        if rendered.links:
            await source.keep_links(rendered.links)
        return self._pages.put(key, page_of(rendered.body, empty=rendered.empty))

    async def merged(
        self, place: tuple[str, ...], made_of: tuple[Hashable, ...], bodies: Sequence[bytes], make: Make
    ) -> Page:
        """The page for ``place`` that ``make`` makes of ``bodies``, of which ``made_of`` says what they are."""
        key = (self._feed, place, made_of)
        page = self._pages.get(key)
        if page is not None:
            return page
        if sum(map(len, bodies)) > HEAVY:
            return await self._large(key, (self._feed, "merged", *place), make)
        made = await make()
        return self._pages.put(key, page_of(made.body, empty=made.empty))

    async def _large(self, key: Hashable, place: tuple[str, ...], make: Make, source: Source | None = None) -> Page:
        """A page that is too large to be made again without need; ``source`` keeps its links."""
        made_of = digest_of((key, self._pages.most_links, __version__))
        async with self._turns.setdefault(key, asyncio.Lock()):
            known = self._pages.get(key)
            if known is not None:  # whoever came first has it
                return known
            page = await self._pages.large.get(place, made_of)
            if page is None:
                made = await make()
                plain = await off_loop(len(made.body), page_of, made.body)
                packed = (await off_loop(len(made.body), compress, plain)).body
                page = KeptPage(body=plain.body, etag=plain.etag, packed=packed, links=made.links, empty=made.empty)
                await self._pages.large.put(place, made_of, page)
            if page.links and source is not None:
                await source.keep_links(page.links)
            return self._pages.put(key, Page(page.body, page.etag, empty=page.empty, packed=page.packed))

    async def _render(self, source: Source, document: Document, view: View) -> Rendered:
        kind, body = document.kind, document.found.body
        size = len(body) if len(body) > LARGE else 2 * len(body)  # it is parsed and written
        try:
            rendered = await off_loop(size, render, kind, body, view)
        except InvalidDocument as problem:
            raise upstream_failure(source.name, Reason.INVALID_CONTENT, str(problem).rstrip(".")) from problem
        if rendered.dropped:
            log.warning("document.garbage_dropped", upstream=self._feed, kind=kind, dropped=rendered.dropped[:5])
        return rendered

    async def coded(self, page: Page, *, gzipped: bool) -> Page:
        """``page`` in the gzip coding, if the client takes it and it is worth it."""
        if not gzipped or len(page.body) < GZIP_FROM_BYTES:
            return page
        if page.packed:
            return replace(compress(page), coded_from=page)
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
