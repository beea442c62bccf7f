"""Package reads answer for packages with what lies inside of them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import orjson

from nugetproxy.clock import Clock
from nugetproxy.engine.cache import Cache
from nugetproxy.engine.outcome import HIT, CacheStatus, Outcome
from nugetproxy.engine.packages import Packages
from nugetproxy.engine.target import Target
from nugetproxy.errors import FINAL, NotFound, Reason, upstream_failure
from nugetproxy.feeds.rendering import Page, Rendering, page_of
from nugetproxy.feeds.reply import IMMUTABLE, FlightBody, HeldBody, Reply, View, absent_reply
from nugetproxy.nuget.documents.render import stated_content
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.nuget.kinds import BINARY_TYPE, Kind
from nugetproxy.nuget.resources import HIVES
from nugetproxy.nuget.routes import Route, parse_route
from nugetproxy.nuget.services import ServiceMap
from nugetproxy.nuget.version import Version
from nugetproxy.sources.document_groups import DocumentGroups
from nugetproxy.sources.services import Services
from nugetproxy.sources.stated_hashes import StatedHashes
from nugetproxy.store.fs import DiskFailure
from nugetproxy.upstream.client import UpstreamClient

ICON_SIGNATURES: Mapping[bytes, str] = MappingProxyType(
    {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg"}
)


class PackageReads:
    """The ``.nupkg``, nuspec, readme, icon and licence of one upstream's packages."""

    def __init__(
        self,
        name: str,
        *,
        scope: str,
        upstream: UpstreamClient,
        services: Services,
        cache: Cache,
        packages: Packages,
        groups: DocumentGroups,
        rendering: Rendering,
        clock: Clock,
    ) -> None:
        self._name = name
        self._scope = scope
        self._upstream = upstream
        self._services = services
        self._cache = cache
        self._packages = packages
        self._groups = groups
        self._rendering = rendering
        self._clock = clock
        self._stated = StatedHashes(cache, groups)

    async def package(self, route: Route, view: View) -> Reply:
        identity = PackageIdentity(route.id, route.version)
        held = await self._packages.open(identity)
        if held is not None:
            return self._held_reply(HeldBody(held.acquire()), HIT)
        target = Target(kind=Kind.PACKAGE, path=f"content/{route.rest}", id=route.id, scope=self._scope)
        known = await self._cache.known_absent(target)
        if known is not None:
            return absent_reply(Kind.PACKAGE, known, self._clock.now())
        services = await self._services.map()
        urls = services.upstream_urls("content", route.rest)
        try:
            if view.head:
                return await self._head(target, urls)
            return await self._fly(identity, urls, services)
        except NotFound:
            stated = await self._stated_urls(identity, services, urls)
            if stated:
                return await (self._head(target, stated) if view.head else self._fly(identity, stated, services))
            await self._cache.put_absent(target)
            status = CacheStatus(outcome=Outcome.ABSENT, forwarded="uri-miss", forward_status=404, stored=True)
            return Reply(kind=Kind.PACKAGE, cache=status, status=404, body=_no_package(identity))

    async def _fly(self, identity: PackageIdentity, urls: tuple[str, ...], services: ServiceMap) -> Reply:
        """The reply of the one download of this package; raises NotFound when upstream has it nowhere."""

        async def stated() -> str | None:
            return await self._stated.sha512(identity, services)

        flight, collapsed = self._packages.fly(identity, urls, stated)
        body = FlightBody(flight, lambda start: self._packages.pass_through(flight, urls, start, stated))
        stored, detail = not collapsed, ""
        try:
            try:
                await flight.boarding()
            except DiskFailure:
                await body.bypass_disk()
                stored, detail = False, "disk"
        except BaseException:
            flight.leave()
            raise
        status = CacheStatus(
            outcome=Outcome.COLLAPSED if collapsed else Outcome.MISS,
            forwarded="uri-miss",
            forward_status=200,
            stored=stored,
            collapsed=collapsed,
            detail=detail,
        )
        if flight.landed is not None:
            held = HeldBody(flight.landed.acquire())
            flight.leave()
            return self._held_reply(held, status)
        return Reply(kind=Kind.PACKAGE, cache=status, content_type=BINARY_TYPE, body=body, cache_control=IMMUTABLE)

    def _held_reply(self, body: HeldBody, status: CacheStatus) -> Reply:
        held = body.held
        self._packages.folder.note_use(held.identity)
        return Reply(
            kind=Kind.PACKAGE,
            cache=status,
            content_type=BINARY_TYPE,
            body=body,
            etag=held.etag,
            modified=held.modified,
            age=self._clock.now() - held.modified if status.hit else None,
            cache_control=IMMUTABLE,
        )

    async def _head(self, target: Target, urls: tuple[str, ...]) -> Reply:
        """A HEAD of what is not held goes upstream as HEAD; nothing is stored."""
        for url in urls:
            head = await self._upstream.head(url)
            if head.status in {404, 410}:
                continue
            if head.status in FINAL:
                raise self._upstream.denied(head.status, head.phrase)
            if head.status != 200:
                raise upstream_failure(self._upstream.name, Reason.STATUS, f"status {head.status}")
            status = CacheStatus(outcome=Outcome.BYPASS, forwarded="bypass", forward_status=200)
            return Reply(
                kind=target.kind,
                cache=status,
                content_type=BINARY_TYPE,
                relayed=True,
                length=head.length,
                cache_control=IMMUTABLE,
            )
        raise NotFound("The upstream has no such package.")

    async def _stated_urls(
        self, identity: PackageIdentity, services: ServiceMap, tried: tuple[str, ...]
    ) -> tuple[str, ...]:
        """Where the upstream's registration says the package is, for feeds with other paths than the usual.

        Only asked when the usual path answered 404: feeds that keep the original casing, or packages on a CDN.
        """
        version = Version.parse(identity.version)
        for hive in HIVES:
            if version is None or not services.has(hive):
                continue
            route = parse_route(f"{hive}/{identity.id}/index.json")
            if route is None:
                return ()
            found = await self._cache.get(self._groups.target(route, "", services))
            if found.entry.absent:
                continue
            stated = stated_content(found.body, version, found.entry.url)
            return (stated,) if stated and stated not in tried else ()
        return ()

    async def member(self, route: Route, view: View) -> Reply:
        """A nuspec, readme, icon or licence: out of the held package where that has it, else from upstream."""
        identity = PackageIdentity(route.id, route.version)
        kind = route.kind
        if kind is None:
            raise NotFound("There is nothing to read here.")
        key = (self._name, kind, identity)
        page = self._rendering.hot(key)
        if page is None and await self._packages.open(identity) is not None:
            content = await self._content(identity, kind)
            if content is not None:
                page = self._rendering.keep(key, page_of(content))
        if page is not None:
            return self._member_reply(kind, HIT, page)
        services = await self._services.map()
        found = await self._cache.get(self._groups.target(route, "", services))
        if found.entry.absent:
            return absent_reply(kind, found, self._clock.now())
        return self._member_reply(kind, found.status, page_of(found.body), self._clock.now() - found.entry.stored_at)

    async def _content(self, identity: PackageIdentity, kind: Kind) -> bytes | None:
        if kind is Kind.NUSPEC:
            return await self._packages.folder.nuspec(identity)
        member = await self._packages.folder.member(identity, kind)
        return member[0] if member is not None else None

    def _member_reply(self, kind: Kind, status: CacheStatus, page: Page, age: float | None = None) -> Reply:
        return Reply(
            kind=kind,
            cache=status,
            content_type=media_type(kind, page.body),
            body=page.body,
            etag=page.etag,
            age=age,
            cache_control=IMMUTABLE,
        )


def media_type(kind: Kind, content: bytes) -> str:
    """The Content-Type of a nuspec, readme, icon or licence."""
    found = (known for magic, known in ICON_SIGNATURES.items() if content.startswith(magic))
    return kind.row.media_type or next(found, BINARY_TYPE)


def _no_package(identity: PackageIdentity) -> bytes:
    return orjson.dumps({"error": f"The upstream has no {identity.nupkg_name}."})
