"""FolderFeed publishes a folder of packages as a whole V3 feed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

import structlog

from nugetproxy.clock import Clock
from nugetproxy.engine.outcome import CacheStatus, Outcome
from nugetproxy.errors import NotFound, Reason, UpstreamFailure, upstream_failure
from nugetproxy.feeds.package_reads import media_type
from nugetproxy.feeds.rendering import page_of
from nugetproxy.feeds.reply import HeldBody, Reply, View
from nugetproxy.feeds.synthesis import Synthesis, synthesized
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.nuget.kinds import BINARY_TYPE, Kind
from nugetproxy.nuget.routes import Route
from nugetproxy.nuget.synthesis import synthesize
from nugetproxy.store.fs import DiskFailure
from nugetproxy.store.holdings.holdings import HoldingsUnavailable
from nugetproxy.store.library.library import Library
from nugetproxy.upstream.breaker import BreakerState

log = structlog.get_logger(__name__)

WATCH_SECONDS: Final = 3.0
MAX_WATCH_SECONDS: Final = 15.0
"""Between two looks into the folder; longer where one takes long, so that looking stays a twentieth of the time."""
PATIENCE_SECONDS: Final = 10.0
"""How long a request waits for a folder that is read for the first time."""


class FolderFeed:
    """The packages of one library; what a client may not conclude yet, it is not told."""

    def __init__(self, name: str, *, library: Library, synthesis: Synthesis, clock: Clock) -> None:
        self.name = name
        self.library = library
        self._synthesis = synthesis
        self._clock = clock

    async def read(self, route: Route, query: str, view: View) -> Reply:
        """The reply to one GET or HEAD.

        Raises NotFound for what the folder does not hold, UpstreamFailure while that cannot be told.
        """
        if route.kind is Kind.INDEX:
            return synthesized(Kind.INDEX, synthesize.service_index(view.base, secure=view.secure), view)
        if not await self.offers(route.resource):
            raise NotFound("A folder of packages has no such resource.")
        await self._wait(route.kind)
        reply = await self._reply(route, query, view)
        if reply is None:
            await self.library.refresh()
            reply = await self._reply(route, query, view)
        if reply is not None:
            return reply
        if self.library.problem:
            raise self._failure(Reason.DISK, self.library.problem)
        raise NotFound(f"The folder {self.name!r} holds no such thing.")

    async def offers(self, resource: str) -> bool:
        """Whether it has a resource, as the registry calls it."""
        return resource in synthesize.SYNTHESIZED

    async def ready(self) -> None:
        """Return when the folder is read; raises UpstreamFailure when it cannot be."""
        if not self.library.complete:
            await self.library.refresh()
        if self.library.problem:
            raise self._failure(Reason.DISK, self.library.problem)
        if not self.library.complete:
            raise self._unread()

    def breakers(self) -> Mapping[str, BreakerState]:
        """None: nobody is asked."""
        return {}

    async def watch(self) -> None:
        """Look into the folder again and again; runs until it is cancelled."""
        while True:
            began = self._clock.monotonic()
            try:
                await self.library.look()
            except Exception:  # the top of a background task: the folder must not go unwatched
                log.exception("library.crashed", feed=self.name)
            took = self._clock.monotonic() - began
            await self._clock.sleep(min(max(WATCH_SECONDS, 20 * took), MAX_WATCH_SECONDS))

    async def _wait(self, kind: Kind | None) -> None:
        """Until the folder was read as far as ``kind`` needs it; raises UpstreamFailure when that takes too long."""
        listed = kind is not None and kind.row.from_holdings
        if self.library.complete or (self.library.indexed and not listed):
            return
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self.library.refresh()
        except TimeoutError as slow:
            raise self._unread() from slow
        if self.library.problem:
            raise self._failure(Reason.DISK, self.library.problem)
        if not self.library.indexed or (listed and not self.library.complete):
            raise self._unread()

    async def _reply(self, route: Route, query: str, view: View) -> Reply | None:
        try:
            if route.kind is Kind.PACKAGE:
                return await self._package(PackageIdentity(route.id, route.version))
            if route.kind is not None and route.kind.row.inside:
                return await self._member(route.kind, PackageIdentity(route.id, route.version))
            return await self._synthesis.make(route, query, view, None)
        except DiskFailure as failure:
            raise self._failure(Reason.DISK, str(failure)) from failure
        except HoldingsUnavailable as error:
            raise self._failure(Reason.DISK, str(error)) from error

    async def _package(self, identity: PackageIdentity) -> Reply | None:
        held = await self.library.package(identity)
        if held is None:
            return None
        # A client may be told to ask again: the owner of the folder can replace a package, as NuGet's rules forbid.
        return Reply(
            kind=Kind.PACKAGE,
            cache=_hit(),
            content_type=BINARY_TYPE,
            body=HeldBody(held.acquire()),
            etag=held.etag,
            modified=held.modified,
        )

    async def _member(self, kind: Kind, identity: PackageIdentity) -> Reply | None:
        if kind is Kind.NUSPEC:
            content = await self.library.nuspec(identity)
        else:
            content = await self.library.member(identity, kind)
        if content is None:
            return None
        page = page_of(content)
        return Reply(kind=kind, cache=_hit(), content_type=media_type(kind, content), body=page.body, etag=page.etag)

    def _unread(self) -> UpstreamFailure:
        return self._failure(Reason.SLOW, f"the folder {self.library.root} is still being read")

    def _failure(self, reason: Reason, detail: str) -> UpstreamFailure:
        return upstream_failure(self.name, reason, detail)


def _hit() -> CacheStatus:
    return CacheStatus(outcome=Outcome.HIT, hit=True)
