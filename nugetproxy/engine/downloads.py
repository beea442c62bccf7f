"""Downloads brings packages from upstream into the folder, each one once for all who want it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial

import structlog

from nugetproxy.clock import Clock
from nugetproxy.engine.commits import Commits
from nugetproxy.engine.fill import Abandoned, Fill
from nugetproxy.engine.flight import Flight, Flights
from nugetproxy.engine.flight_body import FlightBody
from nugetproxy.engine.pass_through import Bypass, Hashes
from nugetproxy.engine.pins import Pins
from nugetproxy.engine.shared_packages import SharedPackages
from nugetproxy.engine.signatures import Signatures
from nugetproxy.engine.tasks import Tasks
from nugetproxy.errors import NotFound, ProxyError, Reason, SignatureRefused, UpstreamFailure, upstream_failure
from nugetproxy.metrics import Metrics
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.store.fs import DiskFailure
from nugetproxy.store.packages.folder import PackageFolder
from nugetproxy.store.packages.held import HeldPackage
from nugetproxy.store.packages.staging import Staged
from nugetproxy.upstream.client import UpstreamClient

log = structlog.get_logger(__name__)


class Downloads:
    """The packages of one upstream on their way into its folder."""

    def __init__(
        self,
        upstream: UpstreamClient,
        folder: PackageFolder,
        hashes: Hashes,
        *,
        commits: Commits,
        pins: Pins,
        signatures: Signatures,
        clock: Clock,
        metrics: Metrics,
        tasks: Tasks,
        abandon_above: int,
        shared: SharedPackages | None,
    ) -> None:
        """As in ``Packages``; ``commits`` takes what has come."""
        self._upstream = upstream
        self._folder = folder
        self._hashes = hashes
        self._commits = commits
        self._pins = pins
        self._signatures = signatures
        self._clock = clock
        self._metrics = metrics
        self._shared = shared
        self._flights = Flights(tasks, metrics, abandon_above=abandon_above)
        self._bypass = Bypass(upstream, hashes, pins, signatures, metrics)

    def __contains__(self, identity: object) -> bool:
        """True while a download of this package is under way."""
        return identity in self._flights

    def __len__(self) -> int:
        return len(self._flights)

    def under_way(self) -> tuple[Flight, ...]:
        """Those that have not failed."""
        return self._flights.under_way()

    def use(self, upstream: UpstreamClient, hashes: Hashes, *, abandon_above: int) -> None:
        """From the next download on ask these; what is in flight goes on as it began."""
        self._upstream = upstream
        self._hashes = hashes
        self._bypass = Bypass(upstream, hashes, self._pins, self._signatures, self._metrics)
        self._flights.abandon_above = abandon_above

    async def fly(self, identity: PackageIdentity, urls: tuple[str, ...]) -> FlightBody:
        """The one download of this package with its first bytes ready; the caller must close it.

        Raises NotFound when none of ``urls`` has it, SignatureRefused, UpstreamFailure.
        """
        self._signatures.check_absent(identity)
        flight = self._flights.get(identity)
        collapsed = flight is not None
        if flight is None:
            flight = self._flights.launch(identity, urls, self._download)
        else:
            self._metrics.collapsed.inc()
        flight.join()
        body = FlightBody(flight, collapsed, self._bypass)
        try:
            await body.begun()
        except BaseException:
            body.close()
            raise
        return body

    async def known(self, identity: PackageIdentity) -> frozenset[str]:
        """The SHA-512 values (base64) that a package must have, from whomever it comes."""
        known = (await self._pins.get(identity), await self._hashes.sha512(identity))
        return frozenset(one for one in known if one is not None)

    async def _download(self, flight: Flight) -> None:
        """Land ``flight`` or fail it, whatever happens."""
        fill = Fill(self._upstream, flight, self._folder.stage, clock=self._clock, metrics=self._metrics)
        try:
            flight.land(await self._held(flight, fill))
        except asyncio.CancelledError:
            flight.fail(upstream_failure(self._upstream.name, Reason.STOPPING, "the proxy is stopping"))
            raise
        except Abandoned as error:
            name = self._upstream.name
            self._metrics.fills_abandoned.inc()
            log.info("download.abandoned", upstream=name, package=error.what, size=error.size, total=error.total)
        except ProxyError as error:
            flight.fail(error)
            if fill.url and isinstance(error, UpstreamFailure):
                self._upstream.blame(fill.url, error)
            if not isinstance(error, NotFound | SignatureRefused):  # those are told
                self._warn(flight, error)
        except Exception:  # the top of a background task: readers must not wait for ever
            flight.fail(upstream_failure(self._upstream.name, Reason.DISK, "unexpected error, see the log"))
            log.exception("download.crashed", upstream=self._upstream.name, package=flight.identity.nupkg_name)
        finally:
            if self._shared is not None:
                self._shared.end(flight.identity)
            if fill.staged is not None and flight.landed is None:
                with suppress(DiskFailure):
                    await fill.staged.abandon()

    async def _held(self, flight: Flight, fill: Fill) -> HeldPackage:
        """The package of ``flight`` in the folder: landed meanwhile, brought by another replica, or downloaded."""
        held = await self._landed_meanwhile(flight.identity)
        if held is None and self._shared is not None:
            commit = partial(self._take, flight)
            held = await self._shared.land(flight, self._folder.stage, self.known, commit)
        if held is None:
            held = await self._take(flight, await fill.run(flight.urls))
            self._upstream.acquit(fill.url)
            if self._shared is not None:
                self._shared.offer(held, self._folder)
        return held

    async def _take(self, flight: Flight, staged: Staged) -> HeldPackage:
        """As ``Commits.take``; what is refused is not asked for again for a while."""
        try:
            return await self._commits.take(flight, staged)
        except SignatureRefused:
            self._signatures.refused(staged)
            raise

    async def _landed_meanwhile(self, identity: PackageIdentity) -> HeldPackage | None:
        """Another flight may have landed between the caller's lookup and this one's start, which is soon after it."""
        young = self._folder.usage.is_young(identity)
        held = await self._folder.open(identity) if young else self._folder.peek(identity)
        if held is not None:
            await self._signatures.allow(held, self._folder.kept)
        return held

    def _warn(self, flight: Flight, error: ProxyError) -> None:
        reason = error.reason if isinstance(error, UpstreamFailure) else Reason.DISK
        if reason in {Reason.BREAKER_OPEN, Reason.OFFLINE} or (isinstance(error, UpstreamFailure) and error.remembered):
            return  # said when it was found out, or as the operator wants it
        log.warning(
            "download.failed",
            upstream=self._upstream.name,
            package=flight.identity.nupkg_name,
            reason=reason,
            detail=str(error),
            size=flight.size,
        )
