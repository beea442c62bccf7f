"""Synthesis makes documents from held packages, for when nobody else can say."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import structlog

from nugetproxy.engine.outcome import CacheStatus, Outcome
from nugetproxy.errors import Reason
from nugetproxy.feeds.rendering import compress, page_of
from nugetproxy.feeds.reply import Reply, View
from nugetproxy.nuget.kinds import Kind
from nugetproxy.nuget.resources import GZ_SEMVER1, GZ_SEMVER2
from nugetproxy.nuget.routes import Route
from nugetproxy.nuget.synthesis import synthesize
from nugetproxy.nuget.synthesis.search_query import SearchQuery
from nugetproxy.store.holdings.holdings import Holdings, HoldingsUnavailable

log = structlog.get_logger(__name__)

GZIP_FROM_BYTES = 400
CERTAIN = frozenset({None, Reason.OFFLINE})
"""When what is held is all there is, so that finding nothing is an answer; else it would be an outage in disguise."""

EMPTY: Mapping[Kind, bytes] = {
    Kind.SEARCH: synthesize.search_response((), 0, "", GZ_SEMVER2),
    Kind.AUTOCOMPLETE: synthesize.autocomplete_ids((), 0),
}


class Synthesis:
    """The documents of one feed as far as its held packages tell them; marked ``detail=synthesized``."""

    def __init__(self, feed: str, holdings: Holdings) -> None:
        self._feed = feed
        self._holdings = holdings
        self._makers: Mapping[Kind, Callable[[Route, str, View], Awaitable[bytes | None]]] = {
            Kind.INDEX: self._index,
            Kind.VERSIONS: self._versions,
            Kind.REGISTRATION: self._registration,
            Kind.REGISTRATION_PAGE: self._page,
            Kind.REGISTRATION_LEAF: self._leaf,
            Kind.SEARCH: self._search,
            Kind.AUTOCOMPLETE: self._autocomplete,
        }

    async def reply(self, route: Route, query: str, view: View, why: Reason | None) -> Reply | None:
        """The document of ``route`` made from what is held; None where nothing held says anything about it.

        ``why`` upstream was not asked or did not answer; None for a feed that has no upstream.
        """
        try:
            return await self.make(route, query, view, why)
        except HoldingsUnavailable as error:
            log.warning("synthesis.failed", feed=self._feed, kind=route.kind, problem=str(error))
            return None

    async def make(self, route: Route, query: str, view: View, why: Reason | None) -> Reply | None:
        """As ``reply``; raises HoldingsUnavailable where it cannot be told what is held."""
        maker = self._makers.get(route.kind) if route.kind is not None else None
        if maker is None or route.kind is None:
            return None
        if route.kind.row.lists and not self._holdings.synced:
            # A list that is short would silently change which version is restored.
            raise HoldingsUnavailable("incomplete")
        body = await maker(route, query, view)
        if body is None and route.kind in EMPTY and why in CERTAIN:
            body = EMPTY[route.kind]
        if body is None:
            return None
        if why not in CERTAIN:
            log.info("document.synthesized", feed=self._feed, kind=route.kind, path=route.rest, reason=why)
        return synthesized(route.kind, body, view)

    async def holds_anything(self) -> bool:
        """True when at least one package is held."""
        try:
            total, _ = await self._holdings.search(SearchQuery.parse("prerelease=true&semVerLevel=2.0.0&take=1"))
        except HoldingsUnavailable:
            return False
        return total > 0

    async def names(self, route: Route) -> bool:
        """True when lists name the version that ``route`` is about, so that its absence is damage, not an answer."""
        try:
            return any(facts.identity.version == route.version for facts in await self._holdings.facts(route.id))
        except HoldingsUnavailable:
            return True

    async def _index(self, _route: Route, _query: str, view: View) -> bytes | None:
        if not await self.holds_anything():
            return None
        return synthesize.service_index(view.base, secure=view.secure)

    async def _versions(self, route: Route, _query: str, _view: View) -> bytes | None:
        facts = await self._holdings.facts(route.id)
        return synthesize.version_list(facts) if facts else None

    async def _registration(self, route: Route, _query: str, view: View) -> bytes | None:
        return synthesize.registration_index(await self._holdings.facts(route.id), view.base, route.resource)

    async def _page(self, route: Route, _query: str, view: View) -> bytes | None:
        """Pages are named ``{id}/page/{lower}/{upper}.json``, by us as by nuget.org."""
        words = route.rest.removesuffix(".json").split("/")
        if len(words) != 4 or words[1] != "page":
            return None
        facts = await self._holdings.facts(route.id)
        return synthesize.registration_page(facts, view.base, route.resource, words[2], words[3])

    async def _leaf(self, route: Route, _query: str, view: View) -> bytes | None:
        facts = await self._holdings.facts(route.id)
        return synthesize.registration_leaf(facts, view.base, route.resource, route.version)

    async def _search(self, _route: Route, query: str, view: View) -> bytes | None:
        asked = SearchQuery.parse(query)
        total, hits = await self._holdings.search(asked)
        hive = GZ_SEMVER2 if asked.semver2 else GZ_SEMVER1
        if total == 0:
            return None
        return synthesize.search_response(hits, total, view.base, hive)

    async def _autocomplete(self, _route: Route, query: str, _view: View) -> bytes | None:
        asked = SearchQuery.parse(query)
        total, found = await self._holdings.autocomplete(asked)
        if total == 0:
            return None
        if asked.id is not None:
            return synthesize.autocomplete_versions(found)
        return synthesize.autocomplete_ids(found, total)


def synthesized(kind: Kind, body: bytes, view: View) -> Reply:
    """The reply of a document that was made here."""
    page = page_of(body)
    if view.gzip and len(body) >= GZIP_FROM_BYTES:
        page = compress(page)
    return Reply(
        kind=kind,
        cache=CacheStatus(outcome=Outcome.SYNTHESIZED, detail="synthesized"),
        body=page.body,
        etag=page.etag,
        gzipped=page.gzipped,
        negotiated=True,
    )
