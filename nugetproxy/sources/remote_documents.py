"""RemoteDocuments finds the document behind a route of one remote feed."""

from __future__ import annotations

from msgspec.structs import replace

from nugetproxy.engine.cache import Cache
from nugetproxy.engine.outcome import HIT, Outcome
from nugetproxy.engine.target import Found, Target
from nugetproxy.errors import NotFound, Reason
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.nuget.kinds import Kind
from nugetproxy.nuget.routes import LINK, Route
from nugetproxy.nuget.services import ServiceMap
from nugetproxy.sources.catalog_pages import CatalogPages
from nugetproxy.sources.document_groups import DocumentGroups
from nugetproxy.sources.published_metadata import PublishedMetadata
from nugetproxy.sources.registrations import Registrations
from nugetproxy.sources.services import Services
from nugetproxy.sources.source import Document
from nugetproxy.sources.synthesis import Synthesis
from nugetproxy.store.ledger.links import Links

_FILES = frozenset({Kind.NUSPEC, Kind.README, Kind.ICON, Kind.LICENSE})
CATALOG = Route(kind=Kind.CATALOG, resource="catalog", rest="index.json")


class RemoteDocuments:
    """What is stored of a feed's documents, else what it says."""

    def __init__(
        self,
        name: str,
        cache: Cache,
        services: Services,
        groups: DocumentGroups,
        published_metadata: PublishedMetadata,
        *,
        links: Links,
        synthesis: Synthesis,
        held_lists: bool,
    ) -> None:
        """``held_lists``: lists name held versions only."""
        self.held_lists = held_lists
        self._cache = cache
        self._services = services
        self._groups = groups
        self.registrations = Registrations(name, cache, groups)
        self._links = links
        self._synthesis = synthesis
        self._published_metadata = published_metadata
        self._catalog = CatalogPages(cache)

    async def stored(self, route: Route) -> Found | None:
        """What is stored of the document of ``route``; upstream is not asked."""
        services = await self._services.stored()
        if services is None or route.kind is None:
            return None
        if not services.has(route.resource):
            made = route.kind is Kind.VERSIONS
            return await self.registrations.stored_versions(route.id, services) if made else None
        stored = await self._cache.stored(self._groups.target(route, "", services))
        return None if stored is None else Found(entry=stored.entry, body=stored.body, status=HIT)

    async def read(self, route: Route, query: str) -> Document | None:
        """What is stored or said of ``route``; None where only what is held may be named, or knows it better."""
        kind = route.kind
        if kind is Kind.INDEX:
            return Document(kind, *await self._services.index())
        if self.held_lists and kind is not None and kind.row.from_holdings:
            return None
        linked = await self._linked(route.rest) if route.resource == LINK else None
        services = await self._services.map()
        if kind is Kind.VERSIONS and not services.has(route.resource):
            return Document(kind, await self.registrations.versions(route.id, services), services)
        if linked is not None:
            target = linked
        else:
            route = await self._spelled(route)
            target = self._groups.target(route, query if kind is not None and kind.row.query else "", services)
        if kind is Kind.REGISTRATION_PAGE:
            found = await self.registrations.page(route, target, services)
        else:
            settled = target.kind is Kind.CATALOG_PAGE and await self._is_finished(target, services)
            found = await self._cache.get(target, group=self._groups, settled=settled)
        asked = found.status.outcome is not Outcome.STALE and found.status.detail != Reason.OFFLINE
        if found.entry.absent and not asked and await self._synthesis.can(route, query):
            return None  # of a time before what is held
        return Document(target.kind, found, services)

    async def _spelled(self, route: Route) -> Route:
        """``route``, where it is a file of a package: with the address by the spelling of the version list, too."""
        if route.kind not in _FILES or "-" not in route.version:
            return route
        spelling = await self._published_metadata.spelling(PackageIdentity(route.id, route.version))
        if spelling is None or spelling == route.version:
            return route
        id_, _, file = route.rest.split("/")
        return replace(route, alternatives=(*route.alternatives, f"{id_}/{spelling}/{file}"))

    async def _linked(self, token: str) -> Target:
        link = await self._links.find(token)
        if link is None:
            raise NotFound("This link is not one that this feed has handed out.")
        return self._groups.link_target(token, *link)

    async def _is_finished(self, page: Target, services: ServiceMap) -> bool:
        return services.has(CATALOG.resource) and await self._catalog.is_finished(
            self._groups.target(CATALOG, "", services), page
        )
