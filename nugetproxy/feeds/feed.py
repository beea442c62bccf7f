"""Feed answers the reads of one published V3 feed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import orjson
import structlog

from nugetproxy.clock import Clock
from nugetproxy.engine.cache import HOT_SECONDS, Cache, Found, Target
from nugetproxy.engine.outcome import CacheStatus, Outcome
from nugetproxy.engine.packages import Packages
from nugetproxy.errors import NotFound, Reason, upstream_failure
from nugetproxy.feeds.groups import Groups
from nugetproxy.feeds.rendering import HotPages, Page, Rendering, page_of
from nugetproxy.feeds.reply import IMMUTABLE, FlightBody, HeldBody, Reply
from nugetproxy.nuget.documents import stated_content
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.nuget.policies import Kind
from nugetproxy.nuget.resources import HIVES
from nugetproxy.nuget.routes import LINK, Route, parse_route
from nugetproxy.nuget.services import ServiceMap, parse_service_index
from nugetproxy.nuget.version import Version
from nugetproxy.store.contents import MemberKind
from nugetproxy.store.entries import DiskEntries
from nugetproxy.store.fs import DiskFailure
from nugetproxy.upstream.client import UpstreamClient

log = structlog.get_logger(__name__)

PACKAGE_TYPE = "application/octet-stream"
JSON_TYPE = "application/json; charset=utf-8"
MEMBER_TYPES: Mapping[Kind, str] = MappingProxyType(
    {
        Kind.NUSPEC: "text/xml; charset=utf-8",
        Kind.README: "text/markdown; charset=utf-8",
        Kind.LICENSE: "text/plain; charset=utf-8",
    }
)
MEMBERS: Mapping[Kind, MemberKind] = MappingProxyType(
    {Kind.README: "readme", Kind.ICON: "icon", Kind.LICENSE: "license"}
)
ICON_SIGNATURES: Mapping[bytes, str] = MappingProxyType(
    {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg"}
)
QUERY_KINDS = frozenset({Kind.SEARCH, Kind.AUTOCOMPLETE})


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """How one client sees the feed."""

    base: str
    """The URL below which it finds us, as in ``http://host:5555/v3/``."""
    gzip: bool = False
    head: bool = False

    @property
    def secure(self) -> bool:
        """True when the client came over https."""
        return self.base.startswith("https:")


class Feed:
    """One upstream, published under our own addresses."""

    def __init__(
        self,
        name: str,
        *,
        upstream: UpstreamClient,
        index_url: str,
        cache: Cache,
        packages: Packages,
        entries: DiskEntries,
        pages: HotPages,
        clock: Clock,
    ) -> None:
        self.name = name
        self.cache = cache
        self.packages = packages
        self.upstream = upstream
        self._entries = entries
        self._scope = index_url
        self._index_target = Target(kind=Kind.INDEX, path="index.json", urls=(index_url,), scope=index_url)
        self._rendering = Rendering(name, pages, entries)
        self._groups = Groups(cache, upstream, index_url)
        self._clock = clock
        self._services: tuple[str, ServiceMap] | None = None
        self._services_until = 0.0
        member = self._member
        self._readers: dict[Kind, Callable[[Route, View], Awaitable[Reply]]] = {
            Kind.INDEX: self._index,
            Kind.PACKAGE: self._package,
            Kind.NUSPEC: member,
            Kind.README: member,
            Kind.ICON: member,
            Kind.LICENSE: member,
        }

    async def read(self, route: Route, query: str, view: View) -> Reply:
        """The reply to one GET or HEAD.

        ``query`` is the client's raw query string; only searches look at it. Raises NotFound for what this feed
        does not publish, UpstreamFailure when upstream is needed and gives no usable answer.
        """
        reader = self._readers.get(route.kind) if route.kind is not None else None
        if reader is not None:
            return await reader(route, view)
        return await self._document(route, query if route.kind in QUERY_KINDS else "", view)

    async def services(self) -> ServiceMap:
        """Where the upstream keeps its resources, from its service index; remembered as long as what is stored."""
        if self._services is not None and self._clock.monotonic() < self._services_until:
            return self._services[1]
        return (await self._service_index())[1]

    async def _service_index(self) -> tuple[Found, ServiceMap]:
        found = await self.cache.get(self._index_target)
        if found.entry.absent:
            raise upstream_failure(self.upstream.name, Reason.GONE, "it has no service index at the configured URL")
        if self._services is None or self._services[0] != found.entry.digest:
            services = parse_service_index(found.body, found.entry.url)
            for name in services.unknown:
                log.info("resource.unknown", upstream=self.upstream.name, type=name)
            for name in services.denied:
                log.warning("resource.denied", upstream=self.upstream.name, type=name, reason=Reason.ID_DENIED)
            self._services = (found.entry.digest, services)
        self._services_until = self._clock.monotonic() + HOT_SECONDS
        return found, self._services[1]

    async def _index(self, _route: Route, view: View) -> Reply:
        found, services = await self._service_index()
        page = self._rendering.index(found, services, view.base, secure=view.secure)
        return self._reply(Kind.INDEX, found, await self._rendering.coded(page, gzipped=view.gzip), view)

    async def _document(self, route: Route, query: str, view: View) -> Reply:
        services = await self.services()
        target = await self._target(route, query, services)
        found = await self.cache.get(target, complete=self._groups.completion(services, target.kind))
        if found.entry.absent:
            return self._absent(target.kind, found)
        page = await self._rendering.document(target.kind, found, services, view.base, route.resource)
        return self._reply(target.kind, found, await self._rendering.coded(page, gzipped=view.gzip), view)

    async def _target(self, route: Route, query: str, services: ServiceMap) -> Target:
        """The upstream document behind a route; raises NotFound where upstream offers no such resource."""
        if route.resource == LINK:
            link = await self._entries.get_link(route.rest)
            if link is None:
                raise NotFound("This link is not one that this proxy has handed out.")
            return self._groups.link_target(route.rest, *link)
        return self._groups.target(route, query, services)

    def _reply(self, kind: Kind, found: Found, page: Page, view: View) -> Reply:
        return Reply(
            kind=kind,
            cache=found.status,
            content_type=PACKAGE_TYPE if kind is Kind.PACKAGE else JSON_TYPE,
            body=page.body,
            etag=page.etag,
            age=self._clock.now() - found.entry.stored_at,
            gzipped=page.gzipped,
            negotiated=True,
        )

    def _absent(self, kind: Kind, found: Found) -> Reply:
        return Reply(
            kind=kind,
            cache=found.status,
            status=404,
            body=b'{"error":"The upstream has no such document."}',
            age=self._clock.now() - found.entry.stored_at,
        )

    # -- packages -----------------------------------------------------------------------------------------------

    async def _package(self, route: Route, view: View) -> Reply:
        identity = PackageIdentity(route.id, route.version)
        held = await self.packages.open(identity)
        if held is not None:
            status = CacheStatus(outcome=Outcome.HIT, hit=True)
            return self._held_reply(HeldBody(held.acquire()), status)
        target = Target(kind=Kind.PACKAGE, path=f"content/{route.rest}", id=route.id, scope=self._scope)
        known = await self.cache.known_absent(target)
        if known is not None:
            return self._absent(Kind.PACKAGE, known)
        services = await self.services()
        urls = services.upstream_urls("content", route.rest)
        try:
            if view.head:
                return await self._head(target, urls)
            return await self._fly(identity, urls)
        except NotFound:
            stated = await self._stated_urls(identity, services, urls)
            if stated:
                return await (self._head(target, stated) if view.head else self._fly(identity, stated))
            await self.cache.put_absent(target)
            status = CacheStatus(outcome=Outcome.ABSENT, forwarded="uri-miss", forward_status=404, stored=True)
            return Reply(kind=Kind.PACKAGE, cache=status, status=404, body=_no_package(identity))

    async def _fly(self, identity: PackageIdentity, urls: tuple[str, ...]) -> Reply:
        """The reply of the one download of this package; raises NotFound when upstream has it nowhere."""
        flight, collapsed = self.packages.fly(identity, urls)
        try:
            await flight.boarding()
        except DiskFailure:
            pass  # the body comes straight from upstream
        except BaseException:
            flight.leave()
            raise
        status = CacheStatus(
            outcome=Outcome.COLLAPSED if collapsed else Outcome.MISS,
            forwarded="uri-miss",
            forward_status=200,
            stored=not collapsed,
            collapsed=collapsed,
        )
        if flight.landed is not None:
            held = HeldBody(flight.landed.acquire())
            flight.leave()
            return self._held_reply(held, status)
        body = FlightBody(flight, lambda start: self.packages.pass_through(identity, urls, start))
        return Reply(kind=Kind.PACKAGE, cache=status, content_type=PACKAGE_TYPE, body=body, cache_control=IMMUTABLE)

    def _held_reply(self, body: HeldBody, status: CacheStatus) -> Reply:
        held = body.held
        self.packages.folder.note_use(held.identity)
        return Reply(
            kind=Kind.PACKAGE,
            cache=status,
            content_type=PACKAGE_TYPE,
            body=body,
            etag=held.etag,
            modified=held.modified,
            age=self._clock.now() - held.modified if status.hit else None,
            cache_control=IMMUTABLE,
        )

    async def _head(self, target: Target, urls: tuple[str, ...]) -> Reply:
        """A HEAD of what is not held goes upstream as HEAD; nothing is stored."""
        for url in urls:
            head = await self.upstream.head(url)
            if head.status in {404, 410}:
                continue
            if head.status != 200:
                reason = Reason.AUTH if head.status in {401, 403} else Reason.STATUS
                raise upstream_failure(self.upstream.name, reason, f"status {head.status}")
            status = CacheStatus(outcome=Outcome.BYPASS, forwarded="bypass", forward_status=200)
            return Reply(
                kind=target.kind,
                cache=status,
                content_type=PACKAGE_TYPE,
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
            found = await self.cache.get(self._groups.target(route, "", services))
            if found.entry.absent:
                continue
            stated = stated_content(found.body, version, found.entry.url)
            return (stated,) if stated and stated not in tried else ()
        return ()

    async def _member(self, route: Route, view: View) -> Reply:
        """A nuspec, readme, icon or licence: out of the held package where that has it, else from upstream."""
        identity = PackageIdentity(route.id, route.version)
        kind = route.kind
        if kind is None:
            raise NotFound("There is nothing to read here.")
        key = (self.name, kind, identity)
        page = self._rendering.hot(key)
        if page is None and await self.packages.open(identity) is not None:
            content = await self._content(identity, kind)
            if content is not None:
                page = self._rendering.keep(key, page_of(content))
        if page is not None:
            status = CacheStatus(outcome=Outcome.HIT, hit=True)
            return self._member_reply(kind, status, page)
        services = await self.services()
        found = await self.cache.get(self._groups.target(route, "", services))
        if found.entry.absent:
            return self._absent(kind, found)
        return self._member_reply(kind, found.status, page_of(found.body), self._clock.now() - found.entry.stored_at)

    async def _content(self, identity: PackageIdentity, kind: Kind) -> bytes | None:
        if kind is Kind.NUSPEC:
            return await self.packages.folder.nuspec(identity)
        member = await self.packages.folder.member(identity, MEMBERS[kind])
        return member[0] if member is not None else None

    def _member_reply(self, kind: Kind, status: CacheStatus, page: Page, age: float | None = None) -> Reply:
        content_type = MEMBER_TYPES.get(kind) or next(
            (known for magic, known in ICON_SIGNATURES.items() if page.body.startswith(magic)), PACKAGE_TYPE
        )
        return Reply(
            kind=kind,
            cache=status,
            content_type=content_type,
            body=page.body,
            etag=page.etag,
            age=age,
            cache_control=IMMUTABLE,
        )


def _no_package(identity: PackageIdentity) -> bytes:
    return orjson.dumps({"error": f"The upstream has no {identity.nupkg_name}."})
