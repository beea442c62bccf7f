"""Feed answers the clients of one published V3 feed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from nugetproxy.clock import Clock
from nugetproxy.engine.flight_body import FlightBody
from nugetproxy.engine.outcome import HIT, CacheStatus, Outcome
from nugetproxy.errors import NotFound, UpstreamFailure
from nugetproxy.feeds.rendering import HotPages, Page, Rendering, compress, page_of
from nugetproxy.feeds.reply import IMMUTABLE, NO_CACHE, HeldBody, Reply, View, absent_reply
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.nuget.kinds import BINARY_TYPE, Kind
from nugetproxy.nuget.routes import Route
from nugetproxy.sources.source import Source, WriteSide
from nugetproxy.store.packages.held import HeldPackage
from nugetproxy.upstream.answers import Head
from nugetproxy.upstream.breaker import BreakerState

ICON_SIGNATURES: Mapping[bytes, str] = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg"}
GZIP_FROM_BYTES = 400

Reader = Callable[[Source, Route, str, View], Awaitable[Reply]]


class Feed:
    """Its sources under our own addresses: what is stored or said, rendered, else what can be made of what is held."""

    def __init__(self, name: str, sources: tuple[Source, ...], *, pages: HotPages, clock: Clock) -> None:
        self.name = name
        self.sources = sources
        self._clock = clock
        self._rendering = Rendering(name, pages)
        self._readers: dict[Kind | None, Reader] = {kind: self._member for kind in Kind if kind.row.inside}
        self._readers[Kind.PACKAGE] = self._package

    def __repr__(self) -> str:
        return f"<Feed {self.name!r} of {list(self.sources)!r}>"

    @property
    def writes(self) -> WriteSide:
        """Where writes go."""
        return self.sources[0].writes

    async def read(self, route: Route, query: str, view: View) -> Reply:
        """The reply to one GET or HEAD; ``query`` is the client's raw query string.

        Raises NotFound for what this feed does not publish, or what an offline feed does not hold; UpstreamFailure
        where nothing can be said.
        """
        source = self.sources[0]
        try:
            return await self._readers.get(route.kind, self._document)(source, route, query, view)
        except UpstreamFailure as failure:
            return synthesized(*await source.made(route, query, view.base, failure), view)

    async def offers(self, resource: str) -> bool:
        """Whether it has a resource, as the registry calls it; raises UpstreamFailure where that is not known."""
        return any([await source.offers(resource) for source in self.sources])

    async def ready(self) -> None:
        """Return when clients can be served; raises ProxyError that says why they cannot."""
        for source in self.sources:
            await source.ready()

    def breakers(self) -> Mapping[str, BreakerState]:
        """The circuit breakers of its origins; none where nobody is asked."""
        return {origin: state for source in self.sources for origin, state in source.breakers().items()}

    async def _document(self, source: Source, route: Route, query: str, view: View) -> Reply:
        document = await source.document(route, query)
        if document is None:
            return synthesized(*await source.made(route, query, view.base), view)
        found, kind = document.found, document.kind
        if found.entry.absent:
            return absent_reply(kind, found, self._clock.now())
        if kind is Kind.INDEX:
            if view.secure:
                source.prefetch()
            page = self._rendering.index(found, document.services, view.base, secure=view.secure)
        else:
            page = await self._rendering.document(source, document, view.base, route.resource)
            if page.empty:
                return absent_reply(kind, found, self._clock.now())
        page = await self._rendering.coded(page, gzipped=view.gzip)
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

    # --- packages ---

    async def _package(self, source: Source, route: Route, _query: str, view: View) -> Reply:
        found = await source.package(route, head=view.head)
        if isinstance(found, HeldPackage):
            return self._held(source, HeldBody(found.acquire()), HIT)
        if isinstance(found, FlightBody):
            return self._flying(source, found)
        if isinstance(found, Head):
            status = CacheStatus(outcome=Outcome.BYPASS, forwarded="bypass", forward_status=200)
            return Reply(
                kind=Kind.PACKAGE,
                cache=status,
                content_type=BINARY_TYPE,
                relayed=True,
                length=found.length,
                cache_control=IMMUTABLE,
            )
        return absent_reply(Kind.PACKAGE, found, self._clock.now())

    def _flying(self, source: Source, body: FlightBody) -> Reply:
        status, landed = body.status, body.flight.landed
        if landed is not None:
            held = HeldBody(landed.acquire())
            body.close()
            return self._held(source, held, status)
        return Reply(
            kind=Kind.PACKAGE,
            cache=status,
            content_type=BINARY_TYPE,
            body=body,
            cache_control=_control(source),
            warnings=body.flight.warnings,
        )

    def _held(self, source: Source, body: HeldBody, status: CacheStatus) -> Reply:
        held, lasting = body.held, source.immutable
        return Reply(
            kind=Kind.PACKAGE,
            cache=status,
            content_type=BINARY_TYPE,
            body=body,
            etag=held.etag,
            modified=held.modified,
            age=self._clock.now() - held.modified if status.hit and lasting else None,
            cache_control=IMMUTABLE if lasting else NO_CACHE,
            warnings=held.warnings,
        )

    async def _member(self, source: Source, route: Route, query: str, view: View) -> Reply:
        """A nuspec, readme, icon or licence: out of the held package where that has it, else as a document."""
        identity, kind = PackageIdentity(route.id, route.version), route.kind
        if kind is None:
            raise NotFound("There is nothing to read here.")
        key = (source.name, kind, identity)
        page = self._rendering.hot(key) if source.immutable else None
        if page is None and (content := await source.member(identity, kind)) is not None:
            page = page_of(content)
            if source.immutable:
                self._rendering.keep(key, page)
        if page is not None:
            return _member_reply(source, kind, HIT, page)
        document = await source.document(route, query)
        if document is None:
            raise NotFound("There is no such file in the package.")
        found = document.found
        if found.entry.absent:
            return absent_reply(kind, found, self._clock.now())
        age = self._clock.now() - found.entry.stored_at
        return _member_reply(source, kind, found.status, page_of(found.body), age)


def _member_reply(source: Source, kind: Kind, status: CacheStatus, page: Page, age: float | None = None) -> Reply:
    return Reply(
        kind=kind,
        cache=status,
        content_type=media_type(kind, page.body),
        body=page.body,
        etag=page.etag,
        age=age,
        cache_control=_control(source),
    )


def _control(source: Source) -> str:
    return IMMUTABLE if source.immutable else NO_CACHE


def media_type(kind: Kind, content: bytes) -> str:
    """The Content-Type of a nuspec, readme, icon or licence."""
    found = (known for magic, known in ICON_SIGNATURES.items() if content.startswith(magic))
    return kind.row.media_type or next(found, BINARY_TYPE)


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
