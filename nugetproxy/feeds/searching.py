"""Searching asks all sources of a feed, and answers as one."""

from __future__ import annotations

from collections.abc import Sequence

from nugetproxy.errors import NotFound, ProxyError, UpstreamFailure
from nugetproxy.feeds.guard import Guard
from nugetproxy.feeds.reading import Reading
from nugetproxy.feeds.registrations import Made
from nugetproxy.feeds.rendering import Page, page_of
from nugetproxy.feeds.source_answer import SourceAnswer, ask_all, first_failure
from nugetproxy.feeds.versions import Versions
from nugetproxy.nuget.documents.exact_json import dumps
from nugetproxy.nuget.documents.version_list import listed_versions
from nugetproxy.nuget.identity import PackageId
from nugetproxy.nuget.kinds import Kind
from nugetproxy.nuget.merging.search import (
    Window,
    found_ids,
    merge_id_versions,
    merge_ids,
    merge_search,
    window_of,
)
from nugetproxy.nuget.merging.versions import SourceDocument
from nugetproxy.nuget.resources import GZ_SEMVER1, GZ_SEMVER2
from nugetproxy.nuget.routes import Route
from nugetproxy.nuget.synthesis.search_query import SearchQuery
from nugetproxy.off_loop import off_loop
from nugetproxy.sources.source import Source


class Searching:
    """The searches of one feed of several sources."""

    def __init__(
        self, feed: str, sources: Sequence[Source], reading: Reading, *, guard: Guard, versions: Versions
    ) -> None:
        self._feed = feed
        self._sources = sources
        self._reading = reading
        self._guard = guard
        self._versions = versions

    async def read(self, route: Route, query: str, base: str) -> tuple[Made, str]:
        """The answer, with what it lacks in words; raises UpstreamFailure where no source answers."""
        asked = SearchQuery.parse(query)
        if route.kind is Kind.AUTOCOMPLETE and asked.id:
            return await self._versions_of(asked, route, query, base)
        window = window_of(query)
        withheld = self._guard.withholds(query)
        sources = [one for one in self._sources if not withheld or self._guard.is_private(one)]
        said, lacking = await self._ask(sources, route, window.query, base)
        for one in said:
            if self._guard.is_private(one.source):
                for id_ in found_ids(one.body):
                    self._guard.learn(one.source, id_)
        hive = GZ_SEMVER2 if asked.semver2 else GZ_SEMVER1
        parts = tuple((one.source.name, one.etag) for one in said)
        key = (self._feed, route.kind, base, hive, window, parts, self._guard.claims.number)
        page = self._reading.rendering.hot(key)
        if page is None:
            size = sum(len(one.body) for one in said)
            page = self._reading.rendering.keep(
                key, await off_loop(size, self._merged, route, said, window, base, hive)
            )
        return Made(page, said), lacking

    def _merged(self, route: Route, said: Sequence[SourceAnswer], window: Window, base: str, hive: str) -> Page:
        answers = [SourceDocument(one.source.name, one.body) for one in said]

        def suppressed(source: str, id_: str) -> bool:
            return not self._guard.speaks_of(source, id_)

        if route.kind is Kind.AUTOCOMPLETE:
            return page_of(merge_ids(answers, window, suppressed=suppressed))
        return page_of(merge_search(answers, window, base=base, hive=hive, suppressed=suppressed))

    async def _ask(
        self, sources: Sequence[Source], route: Route, query: str, base: str
    ) -> tuple[tuple[SourceAnswer, ...], str]:
        """Those that answer, with who does not; a search is advisory, so it goes on without them."""
        found = await ask_all(self._reading.said(source, route, query, base) for source in sources)
        said = tuple(one for one in found if isinstance(one, SourceAnswer) and not one.absent)
        failure = first_failure(found)
        if failure is not None and not said:
            raise failure
        return said, ", ".join(
            f"without {source.name} ({one.reason if isinstance(one, UpstreamFailure) else type(one).__name__})"
            for source, one in zip(sources, found, strict=True)
            if isinstance(one, ProxyError)
        )

    async def _versions_of(self, asked: SearchQuery, route: Route, query: str, base: str) -> tuple[Made, str]:
        """The listed versions of an id, as far as those that serve it tell; all of them where one cannot tell."""
        id_ = PackageId.parse(asked.id or "")
        try:
            listed = await self._versions.of(id_.lower, base) if id_ is not None else None
        except NotFound:
            listed = None
        if listed is None:
            return Made(page_of(dumps({"totalHits": 0, "data": []})), ()), ""
        said, lacking = await self._ask([one.source for one in listed.said], route, query, base)
        answers = [SourceDocument(one.source.name, one.body) for one in said]
        told = {one.source for one in answers}
        answers += [
            SourceDocument(one.source.name, dumps({"data": _wanted(one.body, asked)}))
            for one in listed.said
            if one.source.name not in told
        ]
        return Made(page_of(merge_id_versions(answers, listed.owners)), (*listed.asked, *said)), lacking


def _wanted(body: bytes, asked: SearchQuery) -> list[str]:
    """Of a version list, what an autocompletion asks for."""
    return [
        version.url
        for _, version in listed_versions(body)
        if (asked.prerelease or not version.is_prerelease) and (asked.semver2 or not version.is_semver2)
    ]
