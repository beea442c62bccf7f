"""Synthesis makes documents from held packages, for when nobody else can say."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Protocol

import structlog

from nugetproxy.errors import Reason
from nugetproxy.nuget.facts import PackageFacts
from nugetproxy.nuget.kinds import Kind
from nugetproxy.nuget.resources import GZ_SEMVER1, GZ_SEMVER2
from nugetproxy.nuget.routes import Route
from nugetproxy.nuget.synthesis import synthesize
from nugetproxy.nuget.synthesis.search_query import SearchQuery
from nugetproxy.nuget.synthesis.version_metadata import NO_METADATA, IdMetadata
from nugetproxy.store.holdings.holdings import Holdings, HoldingsUnavailable

log = structlog.get_logger(__name__)

CERTAIN = frozenset({None, Reason.OFFLINE})
"""When what is held is all there is, so that finding nothing is an answer; else it would be an outage in disguise."""


class Held(Protocol):
    """What is held, whoever knows it. Both raise HoldingsUnavailable."""

    async def facts(self, id: str) -> tuple[PackageFacts, ...]:
        """All that is held of an id, ascending."""

    async def holds_anything(self) -> bool:
        """Whether there is any package."""


class PublishedFacts(Protocol):
    """What upstream has said of held versions."""

    async def metadata(self, route: Route, versions: Collection[str], base: str) -> IdMetadata:
        """Of versions of the id that the registration at ``route`` is about, for clients of ``base``."""

    async def brief(self, id: str, versions: Collection[str]) -> IdMetadata:
        """As much of it as costs little."""


class Synthesis:
    """The documents of one source as far as its held packages tell them."""

    def __init__(
        self, source: str, holdings: Holdings, said: PublishedFacts | None = None, held: Held | None = None
    ) -> None:
        """``said`` by upstream, where there is one. ``held`` knows each id before the holdings know all."""
        self._source = source
        self._holdings = holdings
        self._said = said
        self._held: Held = held or holdings
        self._knows_each = held is not None
        self._makers: Mapping[Kind, Callable[[Route, str, str], Awaitable[bytes | None]]] = {
            Kind.INDEX: self._index,
            Kind.VERSIONS: self._versions,
            Kind.REGISTRATION: self._registration,
            Kind.REGISTRATION_PAGE: self._page,
            Kind.REGISTRATION_LEAF: self._leaf,
            Kind.SEARCH: self._search,
            Kind.AUTOCOMPLETE: self._autocomplete,
        }

    async def make(self, route: Route, query: str, base: str, why: Reason | None) -> bytes | None:
        """The document of ``route`` made from what is held, its links below ``base``; None where that says nothing.

        ``why`` upstream was not asked or did not answer; None where there is none to ask. Raises HoldingsUnavailable
        where it cannot be told what is held.
        """
        maker = self._makers.get(route.kind) if route.kind is not None else None
        if maker is None or route.kind is None:
            return None
        if not self._may_list(route.kind):
            raise HoldingsUnavailable("incomplete")
        body = await maker(route, query, base)
        if body is None and why in CERTAIN:
            body = _nothing(route.kind, query, base)
        if body is None:
            return None
        if why not in CERTAIN:
            log.info("document.synthesized", upstream=self._source, kind=route.kind, path=route.rest, reason=why)
        return body

    async def can(self, route: Route, query: str) -> bool:
        """Whether something held says anything about ``route``."""
        maker = self._makers.get(route.kind) if route.kind is not None else None
        if maker is None or route.kind is None or not self._may_list(route.kind):
            return False
        try:
            return await maker(route, query, "") is not None
        except HoldingsUnavailable:
            return False

    def _may_list(self, kind: Kind) -> bool:
        """Whether all is known that a document of ``kind`` must name."""
        # A list that is short would silently change which version is restored.
        return not kind.row.lists or self._knows_each or self._holdings.synced

    async def holds_anything(self) -> bool:
        """True when at least one package is held."""
        try:
            return await self._held.holds_anything()
        except HoldingsUnavailable:
            return False

    async def names(self, route: Route) -> bool:
        """True when lists name the version that ``route`` is about, so that its absence is damage, not an answer."""
        try:
            return any(facts.identity.version == route.version for facts in await self._holdings.facts(route.id))
        except HoldingsUnavailable:
            return True

    async def _index(self, _route: Route, _query: str, base: str) -> bytes | None:
        return synthesize.service_index(base) if await self.holds_anything() else None

    async def _versions(self, route: Route, _query: str, _base: str) -> bytes | None:
        facts = await self._held.facts(route.id)
        return synthesize.version_list(facts) if facts else None

    async def unknown(self, route: Route) -> str:
        """What nobody here knows of the registration of ``route``, in words; empty where all is known."""
        if self._said is None or route.kind is None or route.kind.row.family != "registration":
            return ""
        versions = {facts.identity.version for facts in await self._held.facts(route.id)}
        if route.version:
            versions &= {route.version}
        return (await self._said.metadata(route, versions, "")).unknown()

    async def _registration(self, route: Route, _query: str, base: str) -> bytes | None:
        facts = await self._held.facts(route.id)
        return synthesize.registration_index(facts, base, route.resource, await self._metadata(route, facts, base))

    async def _metadata(self, route: Route, facts: Sequence[PackageFacts], base: str) -> IdMetadata:
        if self._said is None or not base or not facts:
            return NO_METADATA
        return await self._said.metadata(route, [one.identity.version for one in facts], base)

    async def _page(self, route: Route, _query: str, base: str) -> bytes | None:
        """Pages are named ``{id}/page/{lower}/{upper}.json``, by us as by nuget.org."""
        words = route.rest.removesuffix(".json").split("/")
        if len(words) != 4 or words[1] != "page":
            return None
        facts = await self._held.facts(route.id)
        return synthesize.registration_page(
            facts, base, route.resource, (words[2], words[3]), await self._metadata(route, facts, base)
        )

    async def _leaf(self, route: Route, _query: str, base: str) -> bytes | None:
        facts = await self._held.facts(route.id)
        return synthesize.registration_leaf(
            facts, base, route.resource, route.version, await self._metadata(route, facts, base)
        )

    def _want_all(self) -> None:
        """Somebody is told what is known so far, and may ask again."""
        if not self._holdings.synced:
            self._holdings.hurry()

    async def _search(self, _route: Route, query: str, base: str) -> bytes | None:
        asked = SearchQuery.parse(query)
        self._want_all()
        total, hits = await self._holdings.search(asked)
        if total == 0:
            return None
        metadata = {}
        if self._said is not None and base:
            for hit in hits:
                identity = hit.newest.identity
                metadata[identity.id] = await self._said.brief(identity.id, [identity.version])
        return synthesize.search_response(hits, total, base, _hive(asked), metadata)

    async def _autocomplete(self, _route: Route, query: str, _base: str) -> bytes | None:
        asked = SearchQuery.parse(query)
        self._want_all()
        total, found = await self._holdings.autocomplete(asked)
        if total == 0:
            return None
        if asked.id is not None:
            return synthesize.autocomplete_versions(found)
        return synthesize.autocomplete_ids(found, total)


def _hive(asked: SearchQuery) -> str:
    return GZ_SEMVER2 if asked.semver2 else GZ_SEMVER1


def _nothing(kind: Kind, query: str, base: str) -> bytes | None:
    """What a search is told that finds nothing where what is held is all there is; None for other documents."""
    if kind not in {Kind.SEARCH, Kind.AUTOCOMPLETE}:
        return None
    asked = SearchQuery.parse(query)
    if kind is Kind.SEARCH:
        return synthesize.search_response((), 0, base, _hive(asked))
    return synthesize.autocomplete_ids((), 0) if asked.id is None else synthesize.autocomplete_versions(())
