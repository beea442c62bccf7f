"""PackageFinder finds the packages of one remote feed: held, else from where upstream has them."""

from __future__ import annotations

from contextlib import nullcontext, suppress
from urllib.parse import quote

from msgspec.structs import replace

from nugetproxy.cluster.allowance import limited
from nugetproxy.engine.cache import Cache
from nugetproxy.engine.flight import HOLD
from nugetproxy.engine.flight_body import FlightBody
from nugetproxy.engine.packages import Packages
from nugetproxy.engine.relay import Relay
from nugetproxy.engine.target import Found, Target
from nugetproxy.errors import NotFound, Reason, UpstreamFailure, upstream_failure
from nugetproxy.nuget.documents.version_list import listed_versions
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.nuget.kinds import Kind
from nugetproxy.nuget.routes import Route
from nugetproxy.nuget.services import ServiceMap
from nugetproxy.sources.published_metadata import PublishedMetadata
from nugetproxy.sources.registrations import Registrations
from nugetproxy.sources.services import Services
from nugetproxy.store.packages.held import HeldPackage
from nugetproxy.upstream.answers import Head


class PackageFinder:
    """Looks on disk first where something may be there, last where it is known that nothing is."""

    def __init__(
        self,
        packages: Packages,
        cache: Cache,
        services: Services,
        *,
        registrations: Registrations,
        published_metadata: PublishedMetadata,
        relay: Relay,
        offline: bool,
    ) -> None:
        self._packages = packages
        self._cache = cache
        self._services = services
        self._registrations = registrations
        self._published_metadata = published_metadata
        self._relay = relay
        self._offline = offline
        self._patience = limited if packages.shared is not None else nullcontext
        """With what a client waits for what is shared."""

    async def find(self, route: Route, *, head: bool) -> HeldPackage | FlightBody | Head | Found:
        """A package: held, in flight (for a ``head``: where HEAD gets a no), what HEAD gets, its absence."""
        identity = PackageIdentity(route.id, route.version)
        held = await self._held(identity, sure=self._offline)
        if held is not None:
            return held
        target = Target(kind=Kind.PACKAGE, path=f"content/{route.rest}", id=route.id, scope=self._services.scope)
        known = await self._cache.known_absent(target)
        if known is not None:
            return known
        try:
            with self._patience():
                return await self._find(identity, target, route, head)
        except UpstreamFailure as failure:
            # Other bytes than somebody has put there meanwhile are told once; then those are served.
            if failure.reason is not Reason.PIN and (held := await self._held(identity)) is not None:
                return held
            known = await self._cache.known_absent(target, failure)
            if known is None or await self._is_listed(identity):  # by a list that was stored since
                raise
            return known

    async def _is_listed(self, identity: PackageIdentity) -> bool:
        """Whether the stored version list names it, or the registration of a feed that has no list."""
        services = self._services.known
        if services is None or services.has("content"):
            return await self._published_metadata.lists(identity)
        made = await self._registrations.stored_versions(identity.id, services)
        listed = () if made is None or made.entry.absent else listed_versions(made.body)
        return any(version.url == identity.version for _, version in listed)

    async def _held(self, identity: PackageIdentity, *, sure: bool = True) -> HeldPackage | None:
        """As ``Packages.open``, for a client."""
        held = await self._packages.open(identity, sure=sure)
        if held is not None:
            self._packages.folder.usage.note(identity)
        return held

    async def _find(
        self, identity: PackageIdentity, target: Target, route: Route, head: bool
    ) -> HeldPackage | FlightBody | Head | Found:
        """A package that is not held: where the flat container has it, else where its list or registration says."""
        services = await self._services.map()
        asked = services.upstream_urls("content", route.rest)
        with suppress(NotFound):
            return await self._fetch(identity, replace(target, urls=asked), head)
        # Feeds that keep the original casing, have no flat container, or packages elsewhere.
        for where in (self._as_listed, self._as_registered):
            others = tuple(url for url in await where(identity, services) if url not in asked)
            if others:
                asked += others
                with suppress(NotFound):
                    return await self._fetch(identity, replace(target, urls=others), head)
        held = await self._held(identity)
        if held is None and self._offline:  # where no document said that it is anywhere, nobody was asked
            raise upstream_failure(self._services.upstream, Reason.OFFLINE, "it is not in this cache")
        return held or await self._cache.put_absent(target)

    async def _as_listed(self, identity: PackageIdentity, services: ServiceMap) -> tuple[str, ...]:
        """Where NuGet looks for a version: as its list spells it."""
        id_, version = quote(identity.id), await self._published_metadata.spelling(identity)
        return services.upstream_urls("content", f"{id_}/{version}/{id_}.{version}.nupkg") if version else ()

    async def _as_registered(self, identity: PackageIdentity, services: ServiceMap) -> tuple[str, ...]:
        stated = await self._registrations.content_url(identity, services)
        return () if stated is None else (stated,)

    async def _fetch(self, identity: PackageIdentity, target: Target, head: bool) -> FlightBody | Head:
        said = await self._said(identity, target) if head else None
        if said is not None:
            return said
        body = await self._packages.downloads.fly(identity, target.urls)
        if body.flight.landed is not None and body.flight.size <= HOLD:  # of larger ones the files say when they came
            self._packages.folder.usage.note(identity)
        return body

    async def _said(self, identity: PackageIdentity, target: Target) -> Head | None:
        """What is said to a HEAD; None where only a GET can tell."""
        self._packages.signatures.check_absent(identity)
        shared = self._packages.shared
        size = await shared.head(identity, self._packages.downloads.known) if shared is not None else None
        if size is not None:
            return Head(status=200, length=size, shared=True)
        return await self._relay.said(target)
