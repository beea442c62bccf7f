"""Parts of registrations are what each source of a feed says in the pages of its own."""

from __future__ import annotations

from collections.abc import Hashable
from urllib.parse import quote

from msgspec import Struct

from nugetproxy.errors import Reason, UpstreamFailure, upstream_failure
from nugetproxy.feeds.reading import Reading
from nugetproxy.feeds.source_answer import SourceAnswer, ask_all, first_failure
from nugetproxy.nuget.documents.render import registration_pages
from nugetproxy.nuget.merging.registration import hive_of
from nugetproxy.nuget.resources import HIVES
from nugetproxy.nuget.routes import parse_route
from nugetproxy.off_loop import off_loop
from nugetproxy.sources.source import Source


class Part(Struct, frozen=True):
    """The documents of one source."""

    said: tuple[SourceAnswer, ...]
    filtered: bool
    absent: SourceAnswer | None = None
    """Its word that it has none."""

    @property
    def key(self) -> Hashable:
        """Differs where the documents differ; empty where there are none."""
        return (self.said[0].source.name, self.filtered, tuple(one.etag for one in self.said)) if self.said else ()


class Parts:
    """The registrations of the sources of one feed, one by one."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    async def read(self, source: Source, wanted: str, id_: str, base: str) -> Part:
        """The index of one source, then its pages; raises UpstreamFailure."""
        hive = await hive_in(source, wanted)
        route = parse_route(f"{hive[0]}/{quote(id_)}/index.json") if hive is not None else None
        if hive is None or route is None:
            return Part((), filtered=False)
        index = await self._reading.said(source, route, "", base)
        if index.absent:
            return Part((), filtered=False, absent=index)
        at = f"{base}{route.resource}/{route.rest}"
        named = await off_loop(len(index.body), registration_pages, index.body, at)
        found = await ask_all(self._page(source, ref.url.removeprefix(base), base) for ref in named)
        if (failure := first_failure(found)) is not None:
            raise failure
        return Part((index, *(one for one in found if isinstance(one, SourceAnswer))), hive[1])

    async def _page(self, source: Source, below: str, base: str) -> SourceAnswer:
        route = parse_route(below)
        page = await self._reading.said(source, route, "", base) if route is not None else None
        if page is None or page.absent:
            raise upstream_failure(source.name, Reason.GONE, f"its registration names {below}, which is not there")
        return page


async def hive_in(source: Source, wanted: str) -> tuple[str, bool] | None:
    """Which hive of a source is read; the same one, made of what is held, where nobody can say what it has, or where it
    is offline, so that a search finds what is held of it."""
    made = (wanted, False)
    try:
        return hive_of([hive for hive in HIVES if await source.offers(hive)], wanted) or (
            made if source.offline else None
        )
    except UpstreamFailure:
        return made
