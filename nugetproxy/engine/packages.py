"""Packages gets packages from the folder, or flies them there from upstream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import structlog

from nugetproxy.clock import Clock
from nugetproxy.engine.fill import Fill
from nugetproxy.engine.flight import Flight, Flights
from nugetproxy.engine.tasks import Tasks
from nugetproxy.errors import NotFound, ProxyError, Reason, UpstreamFailure, upstream_failure
from nugetproxy.metrics import Metrics
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.nuget.nuspec import InvalidPackage
from nugetproxy.store.folder import PackageFolder
from nugetproxy.store.fs import DiskFailure
from nugetproxy.store.held import HeldPackage
from nugetproxy.store.staging import Staged
from nugetproxy.upstream.client import UpstreamClient

log = structlog.get_logger(__name__)


class Packages:
    """Open, fly and pass through the packages of one upstream."""

    def __init__(
        self, upstream: UpstreamClient, folder: PackageFolder, *, clock: Clock, metrics: Metrics, tasks: Tasks
    ) -> None:
        self.folder = folder
        self._upstream = upstream
        self._clock = clock
        self._metrics = metrics
        self._flights = Flights(tasks, metrics)

    @property
    def name(self) -> str:
        """The upstream's name."""
        return self._upstream.name

    async def open(self, identity: PackageIdentity) -> HeldPackage | None:
        """The package from the folder; None when it is not held (or was found damaged and set aside)."""
        return self.folder.peek(identity) or await self.folder.open(identity)

    def in_flight(self, identity: PackageIdentity) -> bool:
        """True while a download of this package is under way."""
        return identity in self._flights

    def fly(self, identity: PackageIdentity, urls: tuple[str, ...]) -> tuple[Flight, bool]:
        """The one download of this package, joined by the caller; True when it was already under way.

        The caller must call ``leave()`` on the flight when it is done with it.
        """
        flight = self._flights.get(identity)
        collapsed = flight is not None
        if flight is None:
            flight = self._flights.launch(identity, lambda new: self._download(new, urls))
        else:
            self._metrics.collapsed.inc()
        flight.join()
        return flight, collapsed

    async def pass_through(self, identity: PackageIdentity, urls: tuple[str, ...], start: int) -> AsyncIterator[bytes]:
        """The package's bytes from ``start`` on straight from upstream, for when the disk cannot take them."""
        for url in urls:
            async with self._upstream.download(url) as download:
                if download.status != 200:
                    continue
                skip = start
                async for chunk in download.chunks():
                    if skip < len(chunk):
                        yield chunk[skip:]
                    skip = max(0, skip - len(chunk))
                return
        raise NotFound(f"The upstream {self._upstream.name!r} has no {identity.nupkg_name}.")

    async def _download(self, flight: Flight, urls: tuple[str, ...]) -> None:
        """Land ``flight`` or fail it, whatever happens."""
        staged: Staged | None = None
        try:
            # Another flight may have landed between the caller's lookup and this one's start.
            held = await self.folder.open(flight.identity)
            if held is None:
                staged = await self.folder.stage(flight.identity)
                await Fill(self._upstream, flight, staged, clock=self._clock, metrics=self._metrics).run(urls)
                held = await self._commit(flight.identity, staged)
            flight.land(held)
        except asyncio.CancelledError:
            flight.fail(upstream_failure(self._upstream.name, Reason.STOPPING, "the proxy is stopping"))
            raise
        except ProxyError as error:
            flight.fail(error)
            if not isinstance(error, NotFound):
                self._warn(flight, error)
        except Exception:  # the top of a background task: readers must not wait for ever
            flight.fail(upstream_failure(self._upstream.name, Reason.DISK, "unexpected error, see the log"))
            log.exception("download.crashed", upstream=self._upstream.name, package=flight.identity.nupkg_name)
        finally:
            if staged is not None and flight.landed is None:
                with suppress(DiskFailure):
                    await staged.abandon()

    def _warn(self, flight: Flight, error: ProxyError) -> None:
        reason = error.reason if isinstance(error, UpstreamFailure) else Reason.DISK
        log.warning(
            "download.failed",
            upstream=self._upstream.name,
            package=flight.identity.nupkg_name,
            reason=reason,
            error=str(error),
            size=flight.size,
        )

    async def _commit(self, identity: PackageIdentity, staged: Staged) -> HeldPackage:
        """Verify what was downloaded, then make it part of the folder."""
        try:
            nuspec = await staged.verify(identity)
        except InvalidPackage as problem:
            self._metrics.integrity_failures.labels(problem.reason).inc()
            self._metrics.upstream_failures.labels(self._upstream.name, problem.reason).inc()
            raise upstream_failure(self._upstream.name, problem.reason, problem.detail) from problem
        return await staged.commit(nuspec)
