"""Feed answers the reads of one published V3 feed."""

from __future__ import annotations

from collections.abc import Mapping

from nugetproxy.clock import Clock
from nugetproxy.engine.cache import Cache
from nugetproxy.engine.packages import Packages
from nugetproxy.engine.target import Found, Target
from nugetproxy.errors import NotFound, Reason, UpstreamFailure
from nugetproxy.feeds.package_reads import PackageReads
from nugetproxy.feeds.rendering import HotPages, Page, Rendering
from nugetproxy.feeds.reply import Reply, View, absent_reply
from nugetproxy.feeds.synthesis import Synthesis
from nugetproxy.nuget.kinds import Kind
from nugetproxy.nuget.resources import RESOURCES
from nugetproxy.nuget.routes import LINK, Route, parse_route
from nugetproxy.nuget.services import ServiceMap
from nugetproxy.sources.catalog_pages import CatalogPages
from nugetproxy.sources.document_groups import DocumentGroups
from nugetproxy.sources.services import Services
from nugetproxy.store.documents.documents import Documents
from nugetproxy.upstream.breaker import BreakerState
from nugetproxy.upstream.client import UpstreamClient

PREFETCH_SECONDS = 60.0
"""Between two looks whether the signatures are stored and fresh."""
SIGNATURES = tuple(route for row in RESOURCES if row.secure_only and (route := parse_route(row.path)) is not None)
CATALOG = Route(kind=Kind.CATALOG, resource="catalog", rest="index.json")


class Feed:
    """One upstream, published under our own addresses."""

    def __init__(
        self,
        name: str,
        *,
        upstream: UpstreamClient,
        index_url: str,
        scope: str,
        cache: Cache,
        packages: Packages,
        entries: Documents,
        pages: HotPages,
        synthesis: Synthesis,
        clock: Clock,
        offline: bool = False,
        held_only: bool = True,
    ) -> None:
        """``offline``: upstream is never asked; then ``held_only`` says that lists name held versions only."""
        self.name = name
        self.scope = scope
        self.cache = cache
        self.packages = packages
        self.upstream = upstream
        self.synthesis = synthesis
        self._entries = entries
        self._clock = clock
        self._offline = offline
        self._held_lists = offline and held_only
        self._services = Services(name, index_url, scope, cache, clock)
        self._rendering = Rendering(name, pages, entries)
        self._groups = DocumentGroups(cache, upstream, scope)
        self._catalog = CatalogPages(cache)
        self._prefetched_until = 0.0
        self._package_reads = PackageReads(
            name,
            scope=scope,
            upstream=upstream,
            services=self._services,
            cache=cache,
            packages=packages,
            groups=self._groups,
            rendering=self._rendering,
            clock=clock,
        )

    async def read(self, route: Route, query: str, view: View) -> Reply:
        """The reply to one GET or HEAD.

        ``query`` is the client's raw query string; only searches look at it. Where upstream is needed and gives no
        usable answer, what can be said from held packages is said. Raises NotFound for what this feed does not
        publish, or what an offline feed does not hold; UpstreamFailure where nothing can be said.
        """
        if self._held_lists and route.kind is not None and route.kind.row.from_holdings:
            reply = await self.synthesis.make(route, query, view, Reason.OFFLINE)
            if reply is not None:
                return reply
            raise NotFound(self._not_held())
        try:
            return await self._read(route, query, view)
        except UpstreamFailure as failure:
            # Offline, "not held" is an answer, so it must be certain.
            make = self.synthesis.make if self._offline else self.synthesis.reply
            reply = await make(route, query, view, failure.reason)
            if reply is not None:
                return reply
            if self._offline and not (route.kind is Kind.PACKAGE and await self.synthesis.names(route)):
                raise NotFound(self._not_held()) from failure
            raise

    async def services(self) -> ServiceMap:
        """Where the upstream keeps its resources; raises UpstreamFailure where that is not known."""
        return await self._services.map()

    async def offers(self, resource: str) -> bool:
        """Whether the upstream has a resource, as the registry calls it; raises UpstreamFailure."""
        return (await self._services.map()).has(resource)

    def breakers(self) -> Mapping[str, BreakerState]:
        """The circuit breakers of the upstream's origins."""
        return self.upstream.breakers()

    async def begin(self, *, secure: bool) -> None:
        """Fetch what every client begins with; ``secure`` clients begin with the signatures too."""
        services = await self._services.map()
        if secure:
            self._prefetch(services)

    async def ready(self) -> None:
        """Return when clients can be served; raises UpstreamFailure where there is nothing to begin with."""
        try:
            await self._services.map()
        except UpstreamFailure:
            if not await self.synthesis.holds_anything():
                raise

    def _not_held(self) -> str:
        return f"The feed {self.name!r} is offline, and this is not in its cache."

    async def _read(self, route: Route, query: str, view: View) -> Reply:
        kind = route.kind
        if kind is Kind.INDEX:
            return await self._index(view)
        if kind is Kind.PACKAGE:
            return await self._package_reads.package(route, view)
        if kind is not None and kind.row.inside:
            return await self._package_reads.member(route, view)
        return await self._document(route, query if kind is not None and kind.row.query else "", view)

    async def _index(self, view: View) -> Reply:
        found, services = await self._services.index()
        if view.secure:
            self._prefetch(services)
        page = self._rendering.index(found, services, view.base, secure=view.secure)
        return self._reply(Kind.INDEX, found, await self._rendering.coded(page, gzipped=view.gzip))

    def _prefetch(self, services: ServiceMap) -> None:
        """Fetch the signatures: an https client asks for them next, and cannot restore without them."""
        now = self._clock.monotonic()
        if now < self._prefetched_until:
            return
        self._prefetched_until = now + PREFETCH_SECONDS
        for route in SIGNATURES:
            if services.has(route.resource):
                self.cache.prefetch(self._groups.target(route, "", services))

    async def _document(self, route: Route, query: str, view: View) -> Reply:
        services = await self._services.map()
        target = await self._target(route, query, services)
        settled = target.kind is Kind.CATALOG_PAGE and await self._is_finished(target, services)
        complete = self._groups.completion(services, target.kind)
        found = await self.cache.get(target, complete=complete, settled=settled)
        if found.entry.absent:
            return absent_reply(target.kind, found, self._clock.now())
        page = await self._rendering.document(target.kind, found, services, view.base, route.resource)
        if page.empty:
            return absent_reply(target.kind, found, self._clock.now())
        return self._reply(target.kind, found, await self._rendering.coded(page, gzipped=view.gzip))

    async def _is_finished(self, page: Target, services: ServiceMap) -> bool:
        return services.has(CATALOG.resource) and await self._catalog.is_finished(
            self._groups.target(CATALOG, "", services), page
        )

    async def _target(self, route: Route, query: str, services: ServiceMap) -> Target:
        """The upstream document behind a route; raises NotFound where upstream offers no such resource."""
        if route.resource == LINK:
            link = await self._entries.get_link(route.rest)
            if link is None:
                raise NotFound("This link is not one that this proxy has handed out.")
            return self._groups.link_target(route.rest, *link)
        return self._groups.target(route, query, services)

    def _reply(self, kind: Kind, found: Found, page: Page) -> Reply:
        return Reply(
            kind=kind,
            cache=found.status,
            body=page.body,
            etag=page.etag,
            age=self._clock.now() - found.entry.stored_at,
            gzipped=page.gzipped,
            warnings=found.warnings,
            negotiated=True,
        )
