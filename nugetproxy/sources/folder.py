"""FolderSource is a folder of packages that somebody else fills."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Final, TypeVar

import structlog

from nugetproxy.clock import Clock
from nugetproxy.engine.signatures import Signatures
from nugetproxy.engine.tasks import Tasks
from nugetproxy.errors import NotFound, Reason, SignatureRefused, UpstreamFailure, WriteRefused, upstream_failure
from nugetproxy.nuget.documents.render import Link
from nugetproxy.nuget.documents.version_list import listed_versions
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.nuget.kinds import Kind
from nugetproxy.nuget.nuspec import DependencyGroup, parse_nuspec
from nugetproxy.nuget.routes import Route, version_list_route
from nugetproxy.nuget.synthesis import synthesize
from nugetproxy.nuget.version import Version
from nugetproxy.sources.source import MadeDocument, Named
from nugetproxy.sources.synthesis import Synthesis
from nugetproxy.store.fs import DiskFailure
from nugetproxy.store.holdings.holdings import Holdings, HoldingsUnavailable
from nugetproxy.store.library.library import Library
from nugetproxy.store.packages.held import HeldPackage
from nugetproxy.upstream.answers import Sent
from nugetproxy.upstream.breaker import BreakerState

log = structlog.get_logger(__name__)

T = TypeVar("T")

WATCH_SECONDS: Final = 3.0
MAX_WATCH_SECONDS: Final = 15.0
"""Between two looks into the folder; longer where one takes long, so that looking stays a twentieth of the time."""
PATIENCE_SECONDS: Final = 10.0
"""How long a request waits for a folder that is read for the first time."""


class FolderSource:
    """The packages of one library; what nobody may conclude yet, nobody is told."""

    immutable = False  # the owner of the folder can replace a package, as NuGet's rules forbid
    offline = False  # it is at hand

    def __init__(self, library: Library, holdings: Holdings, cache: Path, clock: Clock, signatures: Signatures) -> None:
        """``cache``: the directory that ``holdings`` are kept in."""
        self.name = library.name
        self.library = self.changing = library
        self.holdings = holdings
        self.writes = NoWrites()
        self.signatures = signatures
        self._cache = cache
        self._synthesis = Synthesis(library.name, holdings)
        self._clock = clock

    def __repr__(self) -> str:
        state = self.library.problem or ("read" if self.library.complete else "being read")
        return f"<FolderSource {self.name!r} at {self.library.root}: {state}, {len(self.library)} packages>"

    async def open(self) -> None:
        """Begin with what was known of the folder; reads nothing yet."""
        await self.library.open(self._cache)

    def start(self, tasks: Tasks, *, secure: bool) -> None:
        """Watch the folder as a background task."""
        tasks.keep(self.watch, name=f"folder {self.name}")

    async def close(self) -> None:
        """Close what is open."""
        await self.library.close()

    async def watch(self) -> None:
        """Look into the folder again and again; runs until it is cancelled."""
        while True:
            began = self._clock.monotonic()
            try:
                await self.library.look()
            except Exception:  # the top of a background task: the folder must not go unwatched
                log.exception("library.crashed", upstream=self.name)
            took = self._clock.monotonic() - began
            await self._clock.sleep(min(max(WATCH_SECONDS, 20 * took), MAX_WATCH_SECONDS))

    async def ready(self) -> None:
        """Return when the folder is read; raises UpstreamFailure when it cannot be."""
        if not self.library.complete:
            await self.library.refresh()
        self._raise_problem()
        if not self.library.complete:
            raise self._unread()

    async def look(self) -> None:
        """Return when whatever has changed in the folder is known; raises UpstreamFailure where it cannot be read."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self.library.look(full=True)
        except TimeoutError as slow:
            raise self._unread() from slow
        self._raise_problem()

    def breakers(self) -> Mapping[str, BreakerState]:
        """None: nobody is asked."""
        return {}

    async def offers(self, resource: str) -> bool:
        """Whether it can be made from packages."""
        return resource in synthesize.SYNTHESIZED

    def prefetch(self) -> None:
        """Nothing to do: everything is here."""

    async def keep_links(self, links: Iterable[Link]) -> None:
        """Its documents have none."""

    async def document(self, route: Route, query: str) -> None:
        """None, for what can be made; raises NotFound for the rest."""
        if route.kind is not Kind.INDEX and route.resource not in synthesize.SYNTHESIZED:
            raise NotFound("A folder of packages has no such resource.")

    async def stored(self, route: Route) -> None:
        """None: it keeps no documents."""

    async def made(self, route: Route, query: str, base: str, failure: UpstreamFailure | None = None) -> MadeDocument:
        """The document of ``route``, its links below ``base``; raises ``failure`` where there is one already."""
        if failure is not None or route.kind is None:
            raise failure or NotFound("A folder of packages has no links.")
        if route.kind is Kind.INDEX:
            return MadeDocument(route.kind, synthesize.service_index(base))
        return MadeDocument(
            route.kind, await self._seek(route.kind, lambda: self._synthesis.make(route, query, base, None))
        )

    async def package(self, route: Route, *, head: bool) -> HeldPackage:
        """The package, borrowed until the next await."""
        identity = PackageIdentity(route.id, route.version)
        return await self._seek(Kind.PACKAGE, lambda: self._package(identity))

    async def _package(self, identity: PackageIdentity) -> HeldPackage | None:
        """Raises SignatureRefused for what must not be handed out."""
        held = await self.library.package(identity)
        if held is not None:
            await self.signatures.allow(held, self.library.kept)
        return held

    async def elsewhere(self, held: HeldPackage) -> str | None:
        """None: nobody else can read the folder."""
        return None

    def lacks_package(self, identity: PackageIdentity) -> bool:
        """False: it may come at any moment."""
        return False

    async def member(self, identity: PackageIdentity, kind: Kind, *, sure: bool = True) -> bytes:
        """The nuspec, readme, icon or licence out of a package; always ``sure``."""
        if self.signatures.on:
            await self._seek(Kind.PACKAGE, lambda: self._package(identity))
        if kind is Kind.NUSPEC:
            return await self._seek(kind, lambda: self.library.nuspec(identity))
        return await self._seek(kind, lambda: self.library.member(identity, kind))

    def at_hand(self, identity: PackageIdentity) -> HeldPackage | None:
        """A package of the folder that is kept open now."""
        return self.library.kept.get(identity)

    async def versions_without_upstream(self, id_: str) -> tuple[Version, ...] | None:
        """What the folder holds of an id."""
        route = version_list_route(id_)
        try:
            made = await self.made(route, "", "")
        except NotFound:
            return ()
        except UpstreamFailure:
            return None
        return tuple(version for _, version in listed_versions(made.body))

    async def needs_without_upstream(self, identity: PackageIdentity) -> tuple[DependencyGroup, ...] | None:
        """By the nuspec of a package in the folder."""
        try:
            return parse_nuspec(await self.member(identity, Kind.NUSPEC)).dependency_groups
        except (NotFound, SignatureRefused, UpstreamFailure):
            return None

    async def _seek(self, kind: Kind, look: Callable[[], Awaitable[T | None]]) -> T:
        """What ``look`` finds, if need be after a fresh look into the folder."""
        await self._wait(listed=kind.row.from_holdings)
        try:
            found = await look()
            if found is None:
                await self.library.refresh()
                found = await look()
        except (DiskFailure, HoldingsUnavailable) as error:
            raise self._failure(Reason.DISK, str(error)) from error
        if found is None:
            self._raise_problem()
            raise NotFound(f"The folder {self.name!r} holds no such thing.")
        return found

    async def _wait(self, *, listed: bool) -> None:
        """Until the folder was read as far as it is needed; raises UpstreamFailure when that takes too long."""
        if self.library.complete or (self.library.indexed and not listed):
            return
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self.library.refresh()
        except TimeoutError as slow:
            raise self._unread() from slow
        self._raise_problem()
        if not self.library.indexed or (listed and not self.library.complete):
            raise self._unread()

    def _raise_problem(self) -> None:
        if self.library.problem:
            raise self._failure(Reason.DISK, self.library.problem)

    def _unread(self) -> UpstreamFailure:
        return self._failure(Reason.SLOW, f"the folder {self.library.root} is still being read")

    def _failure(self, reason: Reason, detail: str) -> UpstreamFailure:
        return upstream_failure(self.name, reason, detail)


class NoWrites:
    """The write side of a folder: there is none."""

    async def check(self, method: str, _route: Route, _length: int | None) -> str:
        """Raises WriteRefused: a folder takes no writes."""
        raise self._refusal(method)

    async def send(
        self,
        method: str,
        _route: Route,
        _url: str,
        _headers: Mapping[str, str],
        _body: AsyncIterator[bytes] | None,
        *,
        named: Named,
    ) -> Sent:
        """Raises WriteRefused: a folder takes no writes."""
        raise self._refusal(method)

    @staticmethod
    def _refusal(method: str) -> WriteRefused:
        return WriteRefused(
            method, "This feed is a folder of packages; copy packages into it, or remove them there, instead."
        )
