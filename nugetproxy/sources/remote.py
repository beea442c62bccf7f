"""RemoteSource is a feed somewhere else, with what is stored of it here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext

from nugetproxy.clock import Clock
from nugetproxy.cluster.allowance import limited
from nugetproxy.engine.cache import Cache
from nugetproxy.engine.flight_body import FlightBody
from nugetproxy.engine.outcome import CacheStatus
from nugetproxy.engine.packages import Packages
from nugetproxy.engine.relay import Relay
from nugetproxy.engine.target import Found
from nugetproxy.engine.tasks import Tasks
from nugetproxy.engine.unpinned import look_into_unpinned
from nugetproxy.errors import UpstreamFailure
from nugetproxy.nuget.documents.render import Link
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.nuget.kinds import Kind
from nugetproxy.nuget.nuspec import DependencyGroup
from nugetproxy.nuget.resources import HIVES
from nugetproxy.nuget.routes import Route, index_route, package_route, version_list_route
from nugetproxy.nuget.version import Version
from nugetproxy.sources.document_groups import DocumentGroups
from nugetproxy.sources.following import Following
from nugetproxy.sources.package_finder import PackageFinder
from nugetproxy.sources.published_metadata import PublishedMetadata
from nugetproxy.sources.recorder import Recorder
from nugetproxy.sources.registration_keeper import RegistrationKeeper
from nugetproxy.sources.remote_documents import RemoteDocuments
from nugetproxy.sources.repository_certificates import SIGNATURES
from nugetproxy.sources.services import Services
from nugetproxy.sources.source import PREFETCH_SECONDS, Document, MadeDocument, WriteSide
from nugetproxy.sources.synthesis import Synthesis
from nugetproxy.sources.without_upstream import WithoutUpstream
from nugetproxy.store.holdings.holdings import Holdings
from nugetproxy.store.ledger.ledger import Ledger
from nugetproxy.store.packages.held import HeldPackage
from nugetproxy.upstream.answers import Head
from nugetproxy.upstream.breaker import BreakerState
from nugetproxy.upstream.client import UpstreamClient
from nugetproxy.upstream.patience import spared


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
        offline: bool,
        held_only: bool,
        keep_registrations: bool,
        following: Following | None,
    ) -> None:
        """``secrets`` that it is asked with. ``offline``: never asked; with ``held_only`` lists name what is held."""
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
        self._links = links = ledger.links(self.name)
        self._clock = clock
        self.offline = offline
        self._recorder = cache.conclusions.witness = Recorder(packages, ledger, clock, published_metadata.wanted)
        self.registrations_kept = RegistrationKeeper(
            upstream, cache, groups, services=services, packages=packages, recorder=self._recorder, clock=clock
        )
        self._keeps_registrations = keep_registrations and not offline
        synthesis = self._synthesis = Synthesis(self.name, packages.holdings, published_metadata, packages.stock)
        lists = offline and held_only  # offline, a list must not name what cannot be had
        self._documents = RemoteDocuments(
            self.name, cache, services, groups, published_metadata, links=links, synthesis=synthesis, held_lists=lists
        )
        self._documents.registrations.listed = self._recorder.note_list
        self._held = WithoutUpstream(self.name, synthesis, packages, self._documents, offline=offline)
        self._finder = PackageFinder(
            packages,
            cache,
            services,
            registrations=self._documents.registrations,
            published_metadata=published_metadata,
            relay=Relay(upstream),
            offline=offline,
        )
        self._prefetched_until = 0.0
        self.following = following
        """Looks at its catalog; None where nobody does."""
        self.take_over: Callable[[], None] = _nothing
        """Has its packages come from it, where they came from another one of its name before."""

    @property
    def changing(self) -> Holdings | None:
        """What is held, where that is all it has; else it has what its upstream says."""
        return self.packages.holdings if self.offline else None

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
            return await self._documents.read(route, query)

    async def stored(self, route: Route) -> Found | None:
        """What is stored of the document of ``route``; upstream is not asked."""
        return await self._documents.stored(route)

    def at_hand(self, identity: PackageIdentity) -> HeldPackage | None:
        """A held package that is kept open now."""
        return self.packages.folder.kept.get(identity)

    async def versions_without_upstream(self, id_: str) -> tuple[Version, ...] | None:
        """The stored list, else that of what is held; nobody is asked."""
        return await self._held.versions(id_)

    async def needs_without_upstream(self, identity: PackageIdentity) -> tuple[DependencyGroup, ...] | None:
        """By the nuspec of the held package."""
        return await self._held.needs(identity)

    async def keep_links(self, links: Iterable[Link]) -> None:
        """Remember links that are about to be handed out."""
        await self._links.hand_out_all((link.token, link.kind, link.url) for link in links)

    async def made(self, route: Route, query: str, base: str, failure: UpstreamFailure | None = None) -> MadeDocument:
        """As ``WithoutUpstream.made``."""
        return await self._held.made(route, query, base, failure)

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
        for route in (version_list_route(id), *(index_route(hive, id) for hive in HIVES)):
            if done and await self.stored(route) is None:
                continue
            document = await self._documents.read(route, "")
            if document is not None:
                done[route.resource] = document.found.status
        return done

    def begin_purge(self, id: str) -> None:
        """What is stored of an id (lower case) goes: nothing that was read of it before counts from now on."""
        self._cache.invalidate(id)

    async def unshare(self, id: str, identities: Iterable[PackageIdentity]) -> None:
        """Neither the documents of an id nor these packages come back from what replicas share.

        Raises EngineUnavailable: then they may.
        """
        for identity in identities:
            if self.packages.shared is not None:
                await self.packages.shared.forget(identity)
        await self._cache.purge(id)

    def forget_documents(self) -> None:
        """What was stored may have been removed, or others be there: look again."""
        self._cache.forget()

    async def fetch(self, identity: PackageIdentity) -> None:
        """Have the package held, if upstream has it; raises UpstreamFailure, NotFound."""
        found = await self.package(package_route(identity), head=False)
        if isinstance(found, FlightBody):
            try:
                await found.flight.landing()
            finally:
                found.close()

    async def elsewhere(self, held: HeldPackage) -> str | None:
        """In the bucket that replicas share, where it is there."""
        with self._patience():
            return await self.packages.shared.url(held) if self.packages.shared is not None else None

    def lacks_package(self, identity: PackageIdentity) -> bool:
        """As it was counted; offline the disk alone counts."""
        return not self.offline and self.packages.folder.usage.lacks(identity)

    async def member(self, identity: PackageIdentity, kind: Kind, *, sure: bool = True) -> bytes | None:
        """The nuspec, readme, icon or licence out of the held package; None where there is none.

        Where the upstream has no place for such files, the package is fetched for them.
        """
        if await self.packages.open(identity, sure=sure or self.offline) is None:
            if (await self._services.map()).has("content"):
                return None
            await self.fetch(identity)
        if kind is Kind.NUSPEC:
            return await self.packages.folder.nuspec(identity)
        member = await self.packages.folder.member(identity, kind)
        return member[0] if member is not None else None
