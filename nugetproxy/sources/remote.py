"""RemoteSource is a feed somewhere else, with what is stored of it here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from urllib.parse import quote

import structlog

from nugetproxy.clock import Clock
from nugetproxy.cluster.allowance import limited
from nugetproxy.engine.cache import Cache
from nugetproxy.engine.flight_body import FlightBody
from nugetproxy.engine.outcome import HIT, CacheStatus, Outcome
from nugetproxy.engine.packages import Packages
from nugetproxy.engine.relay import Relay
from nugetproxy.engine.target import Found, Target
from nugetproxy.engine.tasks import Tasks
from nugetproxy.engine.unpinned import look_into_unpinned
from nugetproxy.errors import NotFound, UpstreamFailure
from nugetproxy.nuget.documents.render import Link
from nugetproxy.nuget.documents.version_list import listed_versions
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.nuget.kinds import Kind
from nugetproxy.nuget.nuspec import DependencyGroup, parse_nuspec
from nugetproxy.nuget.resources import HIVES
from nugetproxy.nuget.routes import LINK, Route, parse_route
from nugetproxy.nuget.services import ServiceMap
from nugetproxy.nuget.version import Version
from nugetproxy.sources.catalog_pages import CatalogPages
from nugetproxy.sources.document_groups import DocumentGroups
from nugetproxy.sources.following import Following
from nugetproxy.sources.package_finder import PackageFinder
from nugetproxy.sources.published_metadata import PublishedMetadata
from nugetproxy.sources.recorder import Recorder
from nugetproxy.sources.registration_keeper import RegistrationKeeper
from nugetproxy.sources.registrations import Registrations
from nugetproxy.sources.repository_certificates import SIGNATURES
from nugetproxy.sources.services import Services
from nugetproxy.sources.source import PREFETCH_SECONDS, Document, MadeDocument, WriteSide
from nugetproxy.sources.synthesis import Synthesis
from nugetproxy.store.holdings.holdings import HoldingsUnavailable
from nugetproxy.store.ledger.ledger import Ledger
from nugetproxy.store.packages.held import HeldPackage
from nugetproxy.upstream.answers import Head
from nugetproxy.upstream.breaker import BreakerState
from nugetproxy.upstream.client import UpstreamClient
from nugetproxy.upstream.patience import spared

log = structlog.get_logger(__name__)

CATALOG = Route(kind=Kind.CATALOG, resource="catalog", rest="index.json")


def _nothing() -> None:
    """Its packages have come from it from the beginning."""


class RemoteSource:
    """One remote feed: what is stored, else what it says, else what can be made from what is held of it."""

    immutable = True

    def __init__(
        self,
        upstream: UpstreamClient,
        *,
        secrets: tuple[str, ...],
        cache: Cache,
        services: Services,
        groups: DocumentGroups,
        packages: Packages,
        published_metadata: PublishedMetadata,
        ledger: Ledger,
        writes: WriteSide,
        clock: Clock,
        offline: bool = False,
        held_only: bool = True,
        keep_registrations: bool = True,
        following: Following | None = None,
    ) -> None:
        """``secrets`` that it is asked with. ``offline``: it is never asked; then ``held_only`` says that lists name
        held versions only.
        """
        self.name = upstream.name
        self.upstream = upstream
        self.packages = packages
        self.signatures = packages.signatures
        self.writes = writes
        self._secrets = secrets
        self._cache = cache
        self._services = services
        self._groups = groups
        self._patience = limited if packages.shared is not None else nullcontext
        """With what a client waits for what is shared."""
        self._links = ledger.links(self.name)
        self._clock = clock
        self.offline = offline
        # Offline, a list must not name what cannot be had.
        self._held_lists = offline and held_only
        self._catalog = CatalogPages(cache)
        self._registrations = Registrations(self.name, cache, groups)
        self._published_metadata = published_metadata
        self._recorder = cache.conclusions.witness = Recorder(packages, ledger, clock, published_metadata.wanted)
        self.registrations_kept = RegistrationKeeper(
            upstream, cache, groups, services=services, packages=packages, recorder=self._recorder, clock=clock
        )
        self._keeps_registrations = keep_registrations and not offline
        self._finder = PackageFinder(
            packages,
            cache,
            services,
            registrations=self._registrations,
            published_metadata=published_metadata,
            relay=Relay(upstream),
            offline=offline,
        )
        self._synthesis = Synthesis(self.name, packages.holdings, published_metadata)
        self._prefetched_until = 0.0
        self.following = following
        """Looks at its catalog; None where nobody does."""
        self.take_over: Callable[[], None] = _nothing
        """Has its packages come from it, where they came from another one of its name before."""

    @property
    def suspects(self) -> dict[str, bool]:
        """As ``Recorder.suspects``, for whoever takes them."""
        return self._recorder.suspects

    def lacks(self, id_: str) -> frozenset[str]:
        """As ``Recorder.lacks`` says it."""
        return self._recorder.lacks(id_)

    def __repr__(self) -> str:
        state = "offline" if self.offline else str({at: str(one.phase) for at, one in self.breakers().items()})
        return f"<RemoteSource {self.name!r} at {self._services.index_url}: {state}, {self.packages!r}>"

    async def open(self) -> None:
        """Make what is held usable; raises StoreUnusable."""
        await self.begin()
        await self.packages.prepare()

    async def begin(self) -> None:
        """Find out what is still believed of what is stored."""
        await self._cache.begin(self._services.scope, self._secrets)

    async def use_credentials(self, headers: Mapping[str, str], secrets: tuple[str, ...]) -> None:
        """From now on it is asked with these; what it said not to exist is asked for again."""
        self.upstream.use_credentials(headers, secrets)
        self._secrets = secrets
        await self._cache.begin(self._services.scope, secrets)

    def start(self, tasks: Tasks, *, secure: bool) -> None:
        """Fetch what every client begins with, keep the holdings up to date."""
        tasks.start(self._begin(secure), name=f"begin {self.name}")
        tasks.keep(self.packages.stock.keep, name=f"holdings {self.name}")
        tasks.start(look_into_unpinned(self.packages, self._clock), name=f"unpinned {self.name}")
        tasks.start(self._recorder.keep_unlisted(), name=f"unlisted {self.name}")
        if self._keeps_registrations:
            tasks.keep(self.registrations_kept.run, name=f"registrations {self.name}")
        if self.following is not None:
            tasks.keep(self.following.run, name=f"catalog {self.name}")

    async def _begin(self, secure: bool) -> None:
        await self.upstream.settle()
        await self._services.map()
        if secure:
            self.prefetch()

    async def close(self) -> None:
        """End its connections, close what is held."""
        await self.upstream.close()
        await self.packages.close()

    async def ready(self) -> None:
        """Return when clients have something to begin with; raises UpstreamFailure."""
        if self._services.known is None and await self._synthesis.holds_anything():
            return  # an index is made of that, should upstream not answer
        try:
            await self._services.map()
        except UpstreamFailure:
            if not await self._synthesis.holds_anything():
                raise

    def breakers(self) -> Mapping[str, BreakerState]:
        """The circuit breakers of its origins."""
        return self.upstream.breakers()

    async def offers(self, resource: str) -> bool:
        """Whether it has a resource, as the registry calls it; raises UpstreamFailure."""
        return (await self._services.map()).has(resource)

    def prefetch(self) -> None:
        """Fetch the signatures: an https client asks for them next, and cannot restore without them."""
        now, services = self._clock.monotonic(), self._services.known
        if services is None or now < self._prefetched_until:
            return
        self._prefetched_until = now + PREFETCH_SECONDS
        for route in SIGNATURES:
            if services.has(route.resource):
                self._cache.prefetch(self._groups.target(route, "", services))

    # --- documents ---

    async def document(self, route: Route, query: str) -> Document | None:
        """What is stored or said of ``route``; None where, offline, only what is held may be named."""
        with self._patience(), spared(lambda: self._synthesis.can(route, query)):
            return await self._document(route, query)

    async def stored(self, route: Route) -> Found | None:
        """What is stored of the document of ``route``; upstream is not asked."""
        services = await self._services.stored()
        if services is None or route.kind is None or not services.has(route.resource):
            return None
        stored = await self._cache.stored(self._groups.target(route, "", services))
        return None if stored is None else Found(entry=stored.entry, body=stored.body, status=HIT)

    async def _document(self, route: Route, query: str) -> Document | None:
        kind = route.kind
        if kind is Kind.INDEX:
            return Document(kind, *await self._services.index())
        if self._held_lists and kind is not None and kind.row.from_holdings:
            return None
        linked = await self._linked(route.rest) if route.resource == LINK else None
        services = await self._services.map()
        if kind is Kind.VERSIONS and not services.has(route.resource):
            return Document(kind, await self._registrations.versions(route.id, services), services)
        if linked is not None:
            target = linked
        else:
            target = self._groups.target(route, query if kind is not None and kind.row.query else "", services)
        if kind is Kind.REGISTRATION_PAGE:
            found = await self._registrations.page(route, target, services)
        else:
            settled = target.kind is Kind.CATALOG_PAGE and await self._is_finished(target, services)
            found = await self._cache.get(target, group=self._groups, settled=settled)
        if found.entry.absent and found.status.outcome is Outcome.STALE and await self._synthesis.can(route, query):
            return None  # of a time before what is held
        return Document(target.kind, found, services)

    async def _linked(self, token: str) -> Target:
        link = await self._links.find(token)
        if link is None:
            raise NotFound("This link is not one that this feed has handed out.")
        return self._groups.link_target(token, *link)

    async def _is_finished(self, page: Target, services: ServiceMap) -> bool:
        return services.has(CATALOG.resource) and await self._catalog.is_finished(
            self._groups.target(CATALOG, "", services), page
        )

    def at_hand(self, identity: PackageIdentity) -> HeldPackage | None:
        """A held package that is kept open now."""
        return self.packages.folder.kept.get(identity)

    async def versions_without_upstream(self, id_: str) -> tuple[Version, ...] | None:
        """The stored list, else that of what is held; nobody is asked."""
        route = parse_route(f"content/{quote(id_)}/index.json")
        assert route is not None, "an id is a segment of a path"
        found = None if self._held_lists else await self.stored(route)
        if found is not None and not found.entry.absent:
            return tuple(version for _, version in listed_versions(found.body))
        try:
            made = await self._synthesis.make(route, "", "", None)
        except HoldingsUnavailable:
            return None
        if made is not None:
            return tuple(version for _, version in listed_versions(made))
        return () if found is not None or self.offline else None

    async def needs_without_upstream(self, identity: PackageIdentity) -> tuple[DependencyGroup, ...] | None:
        """By the nuspec of the held package."""
        if await self.packages.held(identity) is None:
            return None
        xml = await self.packages.folder.nuspec(identity)
        return parse_nuspec(xml).dependency_groups if xml is not None else None

    async def keep_links(self, links: Iterable[Link]) -> None:
        """Remember links that are about to be handed out."""
        await self._links.hand_out_all((link.token, link.kind, link.url) for link in links)

    async def made(self, route: Route, query: str, base: str, failure: UpstreamFailure | None = None) -> MadeDocument:
        """The document of ``route`` as the held packages tell it; else raises ``failure``.

        Offline, "not held" is an answer (NotFound), so it must be certain: raises HoldingsUnavailable where it is not.
        """
        body, notice = None, ""
        try:
            body = await self._synthesis.make(route, query, base, failure.reason if failure is not None else None)
            notice = await self._synthesis.unknown(route) if body is not None else ""
        except HoldingsUnavailable as error:
            if self.offline:
                raise
            log.warning("synthesis.failed", upstream=self.name, kind=route.kind, detail=str(error))
        if body is not None and route.kind is not None:
            return MadeDocument(route.kind, body, notice)
        if failure is not None and (not self.offline or await self._is_missing(route)):
            raise failure
        raise NotFound(f"The feed {self.name!r} is offline, and this is not in its cache.") from failure

    async def _is_missing(self, route: Route) -> bool:
        """True for a package that lists name: it was held, so that it is not there is damage, not an answer."""
        return route.kind is Kind.PACKAGE and await self._synthesis.names(route)

    # --- packages ---

    async def package(self, route: Route, *, head: bool) -> HeldPackage | FlightBody | Head | Found:
        """A package: held, in flight, what upstream says to a HEAD, or its absence."""
        return await self._finder.find(route, head=head)

    async def refresh(self, id: str) -> Mapping[str, CacheStatus]:
        """Ask about an id (lower case) now: its version list, what is stored of its registrations; how that went.

        What is stored of it counts as old from now on, so that nobody is told anything of before. Raises
        UpstreamFailure where nothing is known of it and it cannot be asked.
        """
        self._cache.invalidate(id)
        done: dict[str, CacheStatus] = {}
        for path in (f"content/{quote(id)}/index.json", *(f"{hive}/{quote(id)}/index.json" for hive in HIVES)):
            route = parse_route(path)
            if route is None or (done and await self.stored(route) is None):
                continue
            document = await self._document(route, "")
            if document is not None:
                done[route.resource] = document.found.status
        return done

    def forget_documents(self) -> None:
        """What was stored may have been removed: look again."""
        self._cache.forget()

    async def fetch(self, identity: PackageIdentity) -> None:
        """Have the package held, if upstream has it; raises UpstreamFailure, NotFound."""
        id_ = quote(identity.id)
        route = parse_route(f"content/{id_}/{identity.version}/{id_}.{identity.version}.nupkg")
        found = await self.package(route, head=False) if route is not None else None
        if isinstance(found, FlightBody):
            try:
                await found.flight.landing()
            finally:
                found.close()

    async def elsewhere(self, identity: PackageIdentity) -> str | None:
        """In the bucket that replicas share, where it is there."""
        with self._patience():
            return await self.packages.shared.url(identity) if self.packages.shared is not None else None

    async def member(self, identity: PackageIdentity, kind: Kind) -> bytes | None:
        """The nuspec, readme, icon or licence out of the held package; None where there is none.

        Where the upstream has no place for such files, the package is fetched for them.
        """
        if await self.packages.open(identity) is None:
            if (await self._services.map()).has("content"):
                return None
            await self.fetch(identity)
        if kind is Kind.NUSPEC:
            return await self.packages.folder.nuspec(identity)
        member = await self.packages.folder.member(identity, kind)
        return member[0] if member is not None else None
