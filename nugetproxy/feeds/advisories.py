"""Advisories concatenates what the sources of a feed, and others that are asked for nothing else, warn of."""

from __future__ import annotations

from collections.abc import Sequence

from nugetproxy.errors import NotFound, UpstreamFailure
from nugetproxy.feeds.reading import Reading
from nugetproxy.feeds.registrations import Made
from nugetproxy.feeds.rendering import page_of
from nugetproxy.feeds.source_answer import ABSENT, SourceAnswer, SourceFailed, absent_answer, ask_all, first_failure
from nugetproxy.nuget.documents.rewrite import SEPARATE
from nugetproxy.nuget.merging.versions import SourceDocument
from nugetproxy.nuget.merging.vulnerabilities import (
    AdvisoryGroup,
    advisory_groups,
    merge_advisory_pages,
    merged_advisory_index,
    merged_page_path,
)
from nugetproxy.nuget.routes import Route, parse_route
from nugetproxy.off_loop import off_loop
from nugetproxy.sources.source import Source

RESOURCE = "vulnerabilities"
WHY = "Advisories without its own would look like an all-clear."


class Advisories:
    """The vulnerability indexes of one feed."""

    def __init__(self, feed: str, sources: Sequence[Source], reading: Reading) -> None:
        """``sources`` are the feed's, then those that are asked for advisories only."""
        self._feed = feed
        self.sources = sources
        self._reading = reading

    async def index(self, route: Route, base: str) -> Made:
        """The merged index; raises NotFound where no source has one, SourceFailed where one that has it fails."""
        said = await self._indexes(route, base)
        if not said:
            raise NotFound(f"No source of the feed {self._feed!r} publishes advisories.")
        return Made(page_of(merged_advisory_index(self._groups(said), base)), said)

    async def page(self, route: Route, base: str) -> Made:
        """A page that was merged of several."""
        index = parse_route(f"{RESOURCE}/index.json")
        assert index is not None, "a path of the registry"
        said = await self._indexes(index, base)
        wanted = f"{RESOURCE}/{route.rest}"
        group = next((one for one in self._groups(said) if merged_page_path(one.name) == wanted), None)
        if group is None:
            raise NotFound("There is no such page of advisories.")
        by_name = {source.name: source for source in self.sources}
        found = await ask_all(
            self._said(by_name[page.source], at, base)
            for page in group.pages
            if (at := own_route(page.url.removeprefix(base))) is not None
        )
        if (failure := first_failure(found)) is not None:
            raise self._failed(failure) if isinstance(failure, UpstreamFailure) else failure
        pages = tuple(one for one in found if isinstance(one, SourceAnswer))
        bodies = [one.body for one in pages if not one.absent]
        return Made(page_of(await off_loop(sum(map(len, bodies)), merge_advisory_pages, bodies)), (*said, *pages))

    @staticmethod
    def _groups(said: Sequence[SourceAnswer]) -> tuple[AdvisoryGroup, ...]:
        return advisory_groups([SourceDocument(one.source.name, one.body) for one in said])

    async def _indexes(self, route: Route, base: str) -> tuple[SourceAnswer, ...]:
        found = await ask_all(self._said(source, route, base) for source in self.sources)
        if (failure := first_failure(found)) is not None:
            raise self._failed(failure) if isinstance(failure, UpstreamFailure) else failure
        return tuple(one for one in found if isinstance(one, SourceAnswer) and not one.absent)

    async def _said(self, source: Source, route: Route, base: str) -> SourceAnswer:
        if not await source.offers(RESOURCE):
            return absent_answer(source, ABSENT)
        return await self._reading.said(source, route, "", base)

    def _failed(self, failure: UpstreamFailure) -> SourceFailed:
        return SourceFailed(self._feed, failure, WHY)


def of_source(path: str) -> tuple[str, str] | None:
    """The source that a path below ``/v3/`` names, with the path that its document has there; None if it names none."""
    for folder, own in SEPARATE.items():
        if path.startswith(own):
            name, _, rest = path.removeprefix(own).partition("/")
            return name, folder + rest
    return None


def own_route(path: str) -> Route | None:
    """The route that a document which is not merged has with its source."""
    separate = of_source(path)
    return parse_route(path if separate is None else separate[1])
