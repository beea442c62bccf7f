"""Reading makes replies of what one source says, for one feed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial

from nugetproxy.clock import Clock
from nugetproxy.engine.content_check import AT_ONCE
from nugetproxy.engine.flight import Flight
from nugetproxy.engine.flight_body import FlightBody
from nugetproxy.engine.outcome import HIT, SECOND_LEVEL, CacheStatus, Outcome
from nugetproxy.engine.standing import (
    BriefStanding,
    HeldStanding,
    LackingStanding,
    Later,
    MakeStanding,
    Standing,
    standing_of,
)
from nugetproxy.errors import NotFound, UpstreamFailure
from nugetproxy.feeds.rendering import HotPages, Page, Rendering, compress, page_of
from nugetproxy.feeds.reply import IMMUTABLE, NO_CACHE, HeldBody, MakeAgain, Reply, View, absent_reply
from nugetproxy.feeds.source_answer import ABSENT, MADE, SourceAnswer, absent_answer
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.nuget.kinds import BINARY_TYPE, Kind
from nugetproxy.nuget.routes import Route
from nugetproxy.off_loop import off_loop
from nugetproxy.sources.source import PREFETCH_SECONDS, MadeDocument, Source
from nugetproxy.store.packages.held import HeldPackage
from nugetproxy.upstream.answers import Head

ICON_SIGNATURES: Mapping[bytes, str] = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg"}
GZIP_FROM_BYTES = 400
RELAYED = CacheStatus(outcome=Outcome.BYPASS, forwarded="bypass", forward_status=200)
SHARED = CacheStatus(outcome=Outcome.HIT, hit=True, detail=SECOND_LEVEL)

Reader = Callable[[Source, Route, str, View], Awaitable[Reply]]


class Reading:
    """What a source has stored or says, rendered, else what can be made of what is held of it."""

    def __init__(self, feed: str, *, pages: HotPages, clock: Clock, several: bool = False) -> None:
        """``several`` says that the feed has more than one source."""
        self._clock = clock
        self.rendering = Rendering(feed, pages, several=several)
        self._readers: dict[Kind | None, Reader] = {kind: self._member for kind in Kind if kind.row.inside}
        self._readers[Kind.PACKAGE] = self._package

    async def read(self, source: Source, route: Route, query: str, view: View) -> Reply:
        """The reply to one GET or HEAD, as for ``Feed.read``."""
        try:
            return await self._readers.get(route.kind, self._document)(source, route, query, view)
        except UpstreamFailure as failure:
            return await synthesized(await source.made(route, query, view.base, failure), view)

    async def said(self, source: Source, route: Route, query: str, base: str) -> SourceAnswer:
        """What a source says to ``route``, to be merged with what others say; raises ProxyError where it cannot."""
        try:
            document = await source.document(route, query)
        except NotFound:
            return absent_answer(source, ABSENT)
        except UpstreamFailure as failure:
            return await self._made(source, route, query, base, failure)
        if document is None:
            return await self._made(source, route, query, base)
        found = document.found
        if found.entry.absent:
            return absent_answer(source, found.status, found.entry.stored_at)
        page = await self.rendering.document(source, document, base, route.resource)
        if page.empty:
            return absent_answer(source, found.status, found.entry.stored_at)
        return SourceAnswer(
            source=source,
            body=page.body,
            etag=page.etag,
            status=found.status,
            stored_at=found.entry.stored_at,
            warnings=found.warnings,
        )

    async def _made(
        self, source: Source, route: Route, query: str, base: str, failure: UpstreamFailure | None = None
    ) -> SourceAnswer:
        try:
            made = await source.made(route, query, base, failure)
        except NotFound:
            return absent_answer(source, ABSENT)
        return SourceAnswer(
            source=source,
            body=made.body,
            etag=page_of(made.body).etag,
            status=MADE if failure else HIT,
            warnings=made.warnings,
            made=source.immutable,
            failure=failure,
        )

    async def _document(self, source: Source, route: Route, query: str, view: View) -> Reply:
        document = await source.document(route, query)
        if document is None:
            return await synthesized(await source.made(route, query, view.base), view)
        found, kind = document.found, document.kind
        if found.entry.absent:
            return absent_reply(kind, found, self._clock.now())
        standing = found.standing
        if kind is Kind.INDEX:
            if view.secure:
                source.prefetch()
                standing = partial(self._briefly, standing) if standing is not None else None
            page = self.rendering.index(found, document.services, view.base, secure=view.secure)
        else:
            page = await self.rendering.document(source, document, view.base, route.resource)
            if page.empty:
                return absent_reply(kind, found, self._clock.now())
        page = await self.rendering.coded(page, gzipped=view.gzip)
        return Reply(
            kind=kind,
            cache=found.status,
            body=page.body,
            etag=page.etag,
            age=self._clock.now() - found.entry.stored_at,
            gzipped=page.gzipped,
            warnings=found.warnings,
            negotiated=True,
            standing=standing,
            owner=page.owner,
        )

    def _briefly(self, make: MakeStanding) -> Standing | None:
        """Of an index for https: the signatures are looked at with it."""
        inner = make()
        if inner is None:
            return None
        return BriefStanding(inner=inner, until=self._clock.monotonic() + PREFETCH_SECONDS, clock=self._clock)

    # --- packages ---

    async def _package(self, source: Source, route: Route, _query: str, view: View) -> Reply:
        found = await source.package(route, head=view.head)
        if isinstance(found, HeldPackage):
            return self._held(source, HeldBody(found.acquire(), source.elsewhere), HIT)
        if isinstance(found, FlightBody):
            return self._flying(source, found)
        if isinstance(found, Head):
            status = SHARED if found.shared else RELAYED
            return Reply(
                kind=Kind.PACKAGE,
                cache=status,
                content_type=BINARY_TYPE,
                relayed=True,
                length=found.length,
                cache_control=IMMUTABLE,
                warnings=found.warnings,
            )
        return absent_reply(Kind.PACKAGE, found, self._clock.now())

    def _flying(self, source: Source, body: FlightBody) -> Reply:
        status, landed = body.status, body.flight.landed
        if landed is not None:
            held = HeldBody(landed.acquire(), source.elsewhere, body.flight.content)
            body.close()
            return self._held(source, held, status, again=partial(self._again, source, body.flight))
        return Reply(
            kind=Kind.PACKAGE,
            cache=status,
            content_type=BINARY_TYPE,
            body=body,
            cache_control=_control(source, checked=body.size is not None and body.size <= AT_ONCE),
            warnings=body.flight.warnings,
            again=partial(self._again, source, body.flight),
        )

    def _again(self, source: Source, flight: Flight) -> Reply | None:
        """What the next one gets of a flight that has landed, once all that is yet to be found out is known."""
        held = flight.landed
        if held is None or held.keeper is None or not held.checked or source.signatures.unjudged(held):
            return None
        return self._held(source, HeldBody(held, source.elsewhere), HIT)

    def _held(self, source: Source, body: HeldBody, status: CacheStatus, *, again: MakeAgain | None = None) -> Reply:
        held, lasting = body.held, source.immutable
        return Reply(
            kind=Kind.PACKAGE,
            cache=status,
            content_type=BINARY_TYPE,
            body=body,
            etag=held.etag,
            modified=held.modified,
            age=self._clock.now() - held.arrived if status.hit and lasting else None,
            cache_control=_control(source, checked=held.checked),
            warnings=held.notices,
            standing=standing_of(held) if status is HIT and lasting and held.checked else None,
            again=again,
        )

    async def _member(self, source: Source, route: Route, query: str, view: View) -> Reply:
        """A nuspec, readme, icon or licence: out of the held package where that has it, else as a document."""
        identity, kind = PackageIdentity(route.id, route.version), route.kind
        if kind is None:
            raise NotFound("There is nothing to read here.")
        if (held := await self._held_member(source, identity, kind, sure=False)) is not None:
            return held
        try:
            document = await source.document(route, query)
        except UpstreamFailure:
            if (held := await self._held_member(source, identity, kind)) is not None:
                return held
            raise
        if document is None:
            raise NotFound("There is no such file in the package.")
        found = document.found
        if found.entry.absent:
            held = await self._held_member(source, identity, kind) if found.status.forwarded else None
            return held or absent_reply(kind, found, self._clock.now())
        age = self._clock.now() - found.entry.stored_at
        page = await off_loop(len(found.body), page_of, found.body)
        standing = Later(_while_lacking, source, identity, found.standing) if found.standing is not None else None
        return _member_reply(source, kind, found.status, page, age=age, standing=standing)

    async def _held_member(
        self, source: Source, identity: PackageIdentity, kind: Kind, *, sure: bool = True
    ) -> Reply | None:
        """A file out of the held package; ``sure`` as in ``Source.member``."""
        sha512 = _sha512(source, identity)
        key = (source.name, kind, identity, sha512)
        page = self.rendering.hot(key) if sha512 else None
        if page is None:
            if (content := await source.member(identity, kind, sure=sure)) is None:
                return None
            page = await off_loop(len(content), page_of, content)
            if sha512 and sha512 == _sha512(source, identity):  # else it may be out of another package
                self.rendering.keep(key, page)
            else:
                sha512 = ""
        return _member_reply(source, kind, HIT, page, standing=partial(_as_held, source, identity, sha512))


def _member_reply(
    source: Source,
    kind: Kind,
    status: CacheStatus,
    page: Page,
    *,
    age: float | None = None,
    standing: MakeStanding | None = None,
) -> Reply:
    return Reply(
        kind=kind,
        cache=status,
        content_type=media_type(kind, page.body),
        body=page.body,
        etag=page.etag,
        age=age,
        cache_control=_control(source),
        standing=standing,
    )


def _sha512(source: Source, identity: PackageIdentity) -> str:
    """The hash of the package that is kept open now, unchanged, and may be handed out; empty says nothing."""
    held = _at_hand(source, identity)
    return "" if held is None else held.sha512


def _as_held(source: Source, identity: PackageIdentity, sha512: str) -> HeldStanding | None:
    """What lies in a package with this hash stands while that does."""
    held = _at_hand(source, identity)
    return None if held is None or held.sha512 != sha512 else standing_of(held)()


def _while_lacking(source: Source, identity: PackageIdentity, make: MakeStanding) -> Standing | None:
    """A document stands for what lies in a package until that is there itself."""
    lacks = partial(source.lacks_package, identity)
    inner = make() if lacks() else None
    return None if inner is None else LackingStanding(inner, lacks)


def _at_hand(source: Source, identity: PackageIdentity) -> HeldPackage | None:
    held = source.at_hand(identity) if source.immutable else None
    return held if held is not None and source.signatures.allows(held) else None


def _control(source: Source, *, checked: bool = True) -> str:
    return IMMUTABLE if source.immutable and checked else NO_CACHE


def media_type(kind: Kind, content: bytes) -> str:
    """The Content-Type of a nuspec, readme, icon or licence."""
    if kind.row.media_type:
        return kind.row.media_type
    return next((known for magic, known in ICON_SIGNATURES.items() if content.startswith(magic)), BINARY_TYPE)


async def synthesized(made: MadeDocument, view: View) -> Reply:
    """The reply of a document that was made here."""
    page = await off_loop(len(made.body), page_of, made.body)
    if view.gzip and len(made.body) >= GZIP_FROM_BYTES:
        page = await off_loop(2 * len(made.body), compress, page)
    return Reply(
        kind=made.kind,
        cache=MADE,
        warnings=made.warnings,
        body=page.body,
        etag=page.etag,
        gzipped=page.gzipped,
        negotiated=True,
    )
