"""AdvisoryBook knows which advisories the sources of a feed have of an id."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import structlog
from cachetools import LRUCache

from nugetproxy.clock import Clock
from nugetproxy.errors import ProxyError, Reason, upstream_failure
from nugetproxy.feeds.advisories import RESOURCE, own_route
from nugetproxy.feeds.reading import Reading
from nugetproxy.feeds.source_answer import SourceAnswer
from nugetproxy.nuget.documents.advisories import Advisory, Page, read_page
from nugetproxy.nuget.documents.render import vulnerability_pages
from nugetproxy.nuget.routes import parse_route
from nugetproxy.off_loop import off_loop
from nugetproxy.sources.source import Source

log = structlog.get_logger(__name__)

REMEMBERED_SECONDS = 60.0
"""How long it is remembered what a source has; its documents have a freshness of their own."""
UNSURE_SECONDS = 5.0
"""How long where they were stale, so that others may be on their way."""
PAGES = 32
NOTHING: Final[tuple[float, tuple[Page, ...]]] = (-math.inf, ())
"""What is known of a source that was not asked: until when, what."""


class AdvisoryBook:
    """The pages of VulnerabilityInfo of all that a feed asks for advisories, parsed once per content."""

    def __init__(self, feed: str, sources: Sequence[Source], reading: Reading, clock: Clock) -> None:
        self._feed = feed
        self._sources = tuple(sources)
        self._reading = reading
        self._clock = clock
        self._known: dict[str, tuple[float, tuple[Page, ...]]] = {}
        self._forgotten = 0
        self._parsed: LRUCache[str, Page] = LRUCache(PAGES)
        self.changes = 0
        """How often a source had others than before."""
        self.problems: dict[str, str] = {}
        """By source: why it is not known what it has now."""
        self.silent: set[str] = set()
        """The sources that say nothing of advisories."""

    async def of(self, id_: str, base: str) -> tuple[Advisory, ...]:
        """Of an id (lower case), as far as anybody says it: a source that fails counts as it was last known."""
        return tuple(one for page in await self.pages(base) for one in page.get(id_, ()))

    async def pages(self, base: str) -> tuple[Page, ...]:
        """All that is known, as for ``of``."""
        return tuple([page for source in self._sources for page in await self._pages(source, base)])

    @property
    def until(self) -> float:
        """Monotonic time from which there may be others."""
        return min((self._known.get(source.name, NOTHING)[0] for source in self._sources), default=math.inf)

    def forget(self) -> None:
        """What is stored is another: read it again; what was known stays for where that fails."""
        self._known = {name: (-math.inf, pages) for name, (_, pages) in self._known.items()}
        self._forgotten += 1

    async def _pages(self, source: Source, base: str) -> tuple[Page, ...]:
        until, before = self._known.get(source.name, NOTHING)
        now, number = self._clock.monotonic(), self._forgotten
        if now < until:
            return before
        seconds, pages = REMEMBERED_SECONDS, before
        try:
            found, sure = await self._read(source, base)
            if before and source.name in self.silent:
                raise upstream_failure(source.name, Reason.GONE, "it has no advisories any more; its last ones count")
            pages, seconds = found, REMEMBERED_SECONDS if sure else UNSURE_SECONDS
            self.problems.pop(source.name, None)
        except ProxyError as error:
            self.problems[source.name] = str(error)
            log.warning("advisories.unknown", feed=self._feed, upstream=source.name, detail=str(error))
        until = now + seconds if number == self._forgotten else -math.inf  # it may be what was before
        self._known[source.name] = (until, pages)
        if pages != before:
            self.changes += 1
        return pages

    async def _read(self, source: Source, base: str) -> tuple[tuple[Page, ...], bool]:
        """Its pages, whether all of them are fresh. Raises ProxyError where what it has is not known."""
        route = parse_route(f"{RESOURCE}/index.json")
        if route is None or not await source.offers(RESOURCE):
            self.silent.add(source.name)
            return (), True
        index = await self._reading.said(source, route, "", base)
        if index.absent:
            self.silent.add(source.name)
            return (), index.certain
        self.silent.discard(source.name)
        said = []
        for ref in vulnerability_pages(index.body, f"{base}{RESOURCE}/index.json"):
            at = own_route(ref.url.removeprefix(base))
            if at is not None:
                said.append(await self._reading.said(source, at, "", base))
        pages = tuple([await self._page(one) for one in said])
        return pages, all(one.certain for one in (index, *said))

    async def _page(self, said: SourceAnswer) -> Page:
        page: Page | None = self._parsed.get(said.etag)
        if page is None:
            page = self._parsed[said.etag] = await off_loop(len(said.body), read_page, said.body or b"{}")
        return page
