"""Merged answers for a feed of several sources, each id by those that may have it."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from functools import partial
from typing import Final

from cachetools import LRUCache
from msgspec import Struct
from msgspec.structs import replace

from nugetproxy.clock import Clock
from nugetproxy.engine.flight_body import FlightBody
from nugetproxy.engine.outcome import Outcome
from nugetproxy.engine.standing import JointStanding, Standing
from nugetproxy.errors import NotFound
from nugetproxy.feeds.advisories import Advisories, of_source
from nugetproxy.feeds.indexes import Indexes
from nugetproxy.feeds.owners import Owners
from nugetproxy.feeds.reading import Reading
from nugetproxy.feeds.registrations import Made, Registrations
from nugetproxy.feeds.rendering import Page, page_of
from nugetproxy.feeds.reply import HeldBody, MakeAgain, Reply, View
from nugetproxy.feeds.searching import Searching
from nugetproxy.feeds.settings import FeedSettings
from nugetproxy.feeds.source_answer import ABSENT, SourceAnswer, merged_status
from nugetproxy.feeds.versions import Tells, Versions, names_of, nobody
from nugetproxy.nuget.documents.exact_json import dumps
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.nuget.kinds import Kind
from nugetproxy.nuget.merging.vulnerabilities import MERGED_PAGES
from nugetproxy.nuget.resources import BY_NAME
from nugetproxy.nuget.routes import LINK, Route, parse_route
from nugetproxy.sources.source import Source

REMEMBERED: Final = 8192
REMEMBERED_SECONDS: Final = 2.0
"""How long it is remembered what a document was made of, as long as for what is stored."""

Reader = Callable[[Route, str, View], Awaitable[Reply]]


class _Remembered(Struct, frozen=True):
    """A reply that could be given again."""

    reply: Reply
    page: Hashable
    """Under which its bytes are kept."""
    stamp: tuple[int, ...]
    since: float
    until: float


class Merged:
    """One feed's replies, made of what its sources say."""

    def __init__(
        self, feed: str, sources: tuple[Source, ...], settings: FeedSettings, *, reading: Reading, clock: Clock
    ) -> None:
        self._feed = feed
        self._sources = sources
        self.guard = settings.guard
        self._changing = tuple(one.changing for one in sources if one.changing is not None)
        self._ledger = settings.ledger
        self._reading = reading
        self._clock = clock
        self.owners = Owners(feed, settings.ledger, settings.guard.claims, settings.truth)
        self.versions = Versions(feed, reading, self.guard, self.owners)
        self._registrations = Registrations(feed, reading, self.versions)
        self._searching = Searching(feed, sources, reading, guard=self.guard, versions=self.versions)
        self._advisories = Advisories(feed, tuple(dict.fromkeys((*sources, *settings.advisories))), reading)
        self._alone = len(sources) == 1
        self._has_others = bool(settings.advisories)
        self._indexes = Indexes(sources, settings, reading)
        self._remembered: LRUCache[Hashable, _Remembered] = LRUCache(REMEMBERED)
        registration: Reader = self._registration
        owned: Reader = self._owned
        self._readers: Mapping[Kind | None, Reader] = {
            Kind.INDEX: self._index,
            Kind.VERSIONS: self._versions,
            Kind.REGISTRATION: registration,
            Kind.REGISTRATION_PAGE: registration,
            Kind.REGISTRATION_LEAF: registration,
            Kind.SEARCH: self._search,
            Kind.AUTOCOMPLETE: self._search,
            Kind.VULNERABILITIES: self._advisory_index,
            Kind.VULNERABILITY_PAGE: self._advisory_page,
            Kind.PACKAGE: owned,
            **{kind: owned for kind in Kind if kind.row.inside},
            **{kind: self._nowhere for kind in Kind if kind.row.unmerged},
        }

    def without_upstreams(self, reading: Tells) -> Versions:
        """The version lists as they would be if sources said no more than ``reading``; owners are as they are."""
        return Versions(self._feed, reading, self.guard, self.owners)

    async def read(self, route: Route, query: str, view: View) -> Reply:
        """The reply to one GET or HEAD, as for ``Feed.read``."""
        await self.guard.claims.ready()
        key, stamp = (route.resource, route.rest, query, view.base, view.gzip), self._stamp()
        known = self._known(key, stamp)
        if known is not None:
            return self._with_stamp(known, self._remembered[key].until, stamp)
        separate = of_source(_path(route))
        if separate is not None:
            return await self._separate(*separate, query, view)
        try:
            if self._alone and route.kind and not self._is_several(route.kind):
                return self._with_stamp(await self._only(route, query, view), math.inf, stamp)
            reply = await self._readers.get(route.kind, self._first)(route, query, view)
        except NotFound as lacking:
            if route.kind is None or not (route.kind.row.lists or route.kind is Kind.PACKAGE):
                raise
            return Reply(kind=route.kind, cache=ABSENT, status=404, body=dumps({"error": str(lacking)}))
        self._remember(key, reply, stamp)
        return self._with_stamp(reply, self._clock.monotonic() + REMEMBERED_SECONDS, stamp)

    def _with_stamp(self, reply: Reply, until: float, stamp: Hashable) -> Reply:
        """``reply``, which stands until then (monotonic), unless there is a write or a claim: since the ``stamp`` was
        taken, before anything of it was read.
        """
        if reply.again is not None:
            return replace(reply, again=partial(self._again, reply.again, until, stamp))
        hit = reply.cache.hit and reply.cache.outcome is Outcome.HIT
        whole = hit and until < math.inf and isinstance(reply.body, bytes)
        if reply.status != 200 or (reply.standing is None and not whole):
            return reply
        return replace(reply, standing=partial(self._stand, reply, until, stamp))

    def _again(self, again: MakeAgain, until: float, stamp: Hashable) -> Reply | None:
        reply = again()
        return None if reply is None else self._with_stamp(reply, until, stamp)

    def _stand(self, reply: Reply, until: float, stamp: Hashable) -> Standing | None:
        inner = reply.standing() if reply.standing is not None else None
        if inner is None and reply.standing is not None:
            return None
        return JointStanding(
            inner=inner,
            left=reply.cache.ttl if reply.cache.ttl is not None else math.inf,
            since=self._clock.monotonic(),
            until=until,
            stamp=stamp,
            stamp_now=self._stamp,
            clock=self._clock,
        )

    # --- what was answered just now ---

    def _stamp(self) -> tuple[int, ...]:
        """Changes with every write, with every claim, with what lies in folders, is held of what is offline."""
        writes = (self._ledger.writes(one.name).number for one in self._sources)
        return (self.guard.claims.number, *writes, *(one.changes for one in self._changing))

    def _known(self, key: Hashable, stamp: Hashable) -> Reply | None:
        known: _Remembered | None = self._remembered.get(key)
        now = self._clock.monotonic()
        if known is None or now >= known.until or known.stamp != stamp:
            return None
        page = self._reading.rendering.hot(known.page)
        if page is None:
            return None
        age = known.reply.age + now - known.since if known.reply.age is not None else None
        return replace(known.reply, body=page.body, age=age)

    def forget(self) -> None:
        """What is stored is another: nothing is said again that was made of it before."""
        self._remembered.clear()
        self.owners.forget()

    def _remember(self, key: Hashable, reply: Reply, stamp: tuple[int, ...]) -> None:
        """What is fresh and whole can be said again for a moment; its bytes are kept apart, bounded as all others."""
        ttl = reply.cache.ttl if reply.cache.ttl is not None else 0.0
        if not isinstance(reply.body, bytes) or not reply.cache.hit or reply.status != 200 or ttl <= 0:
            return
        now, at = self._clock.monotonic(), (self._feed, "remembered", key)
        self._reading.rendering.keep(at, Page(reply.body, reply.etag or "", gzipped=reply.gzipped))
        until = now + min(REMEMBERED_SECONDS, ttl)
        self._remembered[key] = _Remembered(replace(reply, body=b"", owner=None), at, stamp, now, until)

    # --- documents ---

    async def _index(self, _route: Route, _query: str, view: View) -> Reply:
        made, lacking = await self._indexes.read(view)
        return await self._reply(Kind.INDEX, made, view, lacking)

    async def _versions(self, route: Route, _query: str, view: View) -> Reply:
        listed = await self.versions.of(route.id, view.base)
        return await self._reply(Kind.VERSIONS, Made(page_of(listed.body), listed.asked), view)

    async def _registration(self, route: Route, _query: str, view: View) -> Reply:
        made = await self._registrations.read(route, view.base)
        if made.page is None:
            raise NotFound(f"No source of the feed {self._feed!r} has such a registration of {route.id}.")
        return await self._reply(route.kind or Kind.REGISTRATION, made, view)

    async def _search(self, route: Route, query: str, view: View) -> Reply:
        made, lacking = await self._searching.read(route, query, view.base)
        return await self._reply(route.kind or Kind.SEARCH, made, view, lacking)

    async def _advisory_index(self, route: Route, _query: str, view: View) -> Reply:
        return await self._reply(Kind.VULNERABILITIES, await self._advisories.index(route, view.base), view)

    async def _advisory_page(self, route: Route, query: str, view: View) -> Reply:
        if not _path(route).startswith(MERGED_PAGES):
            return await self._first(route, query, view)
        return await self._reply(Kind.VULNERABILITY_PAGE, await self._advisories.page(route, view.base), view)

    async def _nowhere(self, route: Route, _query: str, _view: View) -> Reply:
        raise NotFound(f"The feed {self._feed!r} has several sources, so it has no {route.resource} of its own.")

    async def _reply(self, kind: Kind, made: Made, view: View, lacking: str = "") -> Reply:
        assert made.page is not None, "what is not there was raised"
        page = await self._reading.rendering.coded(made.page, gzipped=view.gzip)
        stored = [one.stored_at for one in made.parts if one.stored_at is not None]
        return Reply(
            kind=kind,
            cache=merged_status([one.status for one in made.parts] or [ABSENT], lacking),
            body=page.body,
            etag=page.etag,
            age=self._clock.now() - min(stored) if stored else None,
            gzipped=page.gzipped,
            warnings=_warnings(made.parts),
            negotiated=True,
            owner=page.owner,
        )

    # --- what one source has ---

    def _is_several(self, kind: Kind) -> bool:
        """Whether what the only source says is not all: of advisories others speak; of ids it may not have them all."""
        return (kind.row.advises and self._has_others) or (kind.row.query and not self.guard.mapping.is_empty)

    async def _only(self, route: Route, query: str, view: View) -> Reply:
        """What the only source says, of ids that it may have."""
        if route.id and not (candidates := self.guard.candidates(route.id)).asked:
            raise NotFound(nobody(self._feed, route.id, candidates))
        return await self._reading.read(self._sources[0], route, query, view)

    async def _separate(self, name: str, path: str, query: str, view: View) -> Reply:
        """A document that is not merged, of the source that its path names."""
        route = parse_route(path)
        if route is not None and route.kind is not None and route.kind.row.apart:
            for source in self._advisories.sources:
                if source.name == name:
                    return await self._reading.read(source, route, query, view)
        raise NotFound(f"The feed {self._feed!r} has no source {name!r} any more.")

    async def _first(self, route: Route, query: str, view: View) -> Reply:
        """Of the first source that has it: opaque links, what only one can have."""
        found: Reply | None = None
        lacking: NotFound | None = None
        sources = self.guard.candidates(route.id).asked if route.id else self._sources
        for source in sources if route.resource != LINK else self._advisories.sources:
            try:
                found = await self._reading.read(source, route, query, view)
            except NotFound as nothing:
                lacking = nothing
                continue
            if found.status != 404:
                return found
        if found is not None:
            return found
        raise lacking or NotFound(f"The feed {self._feed!r} has no source for this.")

    async def _owned(self, route: Route, query: str, view: View) -> Reply:
        """A package, or a file in it, from the source that owns it, never from another one."""
        owner, others = await self._owner(route, view)
        for source in (owner,) if owner is not None else others:
            try:
                reply = await self._reading.read(source, route, query, view)
            except NotFound:
                continue
            if reply.status == 404:
                continue
            await self._seal(PackageIdentity(route.id, route.version), source, reply)
            return reply
        asked = names_of((owner,) if owner is not None else others)
        whose = f"{asked}, which it belongs to," if owner is not None else asked
        raise NotFound(f"In the feed {self._feed!r}, {whose} has no such file of {route.id} {route.version}.")

    async def _seal(self, identity: PackageIdentity, source: Source, reply: Reply) -> None:
        """Have the bytes of a package be those that its owner had before; else they do not go."""
        try:
            if isinstance(reply.body, HeldBody):
                await self.owners.seal(identity, source.name, reply.body.held.sha512)
            elif isinstance(reply.body, FlightBody):
                reply.body.landed = await self.owners.landing(identity, source.name)
        except BaseException:
            reply.close()
            raise

    async def _owner(self, route: Route, view: View) -> tuple[Source | None, tuple[Source, ...]]:
        """The owner of a version; for one that no list names, those that know the id, of which the first will be it."""
        by_name = {source.name: source for source in self.guard.candidates(route.id).asked}
        recorded = (await self.owners.of(route.id)).get(route.version)
        if recorded is not None and recorded.source in by_name:
            return by_name[recorded.source], ()
        listed = await self.versions.of(route.id, view.base)
        knowing = {one.source.name: one.source for one in listed.said}
        name = listed.owners.get(route.version)
        return (knowing[name], ()) if name is not None else (None, tuple(knowing.values()))


def _path(route: Route) -> str:
    """Below ``/v3/``."""
    return f"{BY_NAME[route.resource].root}{route.rest}" if route.resource in BY_NAME else ""


def _warnings(parts: Sequence[SourceAnswer]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(warning for one in parts for warning in one.warnings))
