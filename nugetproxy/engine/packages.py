"""Packages is the folder of one upstream's packages with all that is noted of them."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import aiofiles
import structlog
from msgspec.structs import replace

from nugetproxy.clock import Clock
from nugetproxy.engine.commits import OTHER_HASH, Commits
from nugetproxy.engine.content_check import ContentCheck
from nugetproxy.engine.downloads import Downloads
from nugetproxy.engine.flight import Flight
from nugetproxy.engine.landing import Metadata
from nugetproxy.engine.pass_through import Hashes, refused
from nugetproxy.engine.pins import Pins
from nugetproxy.engine.room import Room
from nugetproxy.engine.shared_packages import SharedPackages
from nugetproxy.engine.signatures import RepositoryList, SignaturePolicy, Signatures
from nugetproxy.engine.stock import Stock
from nugetproxy.engine.tasks import Tasks
from nugetproxy.errors import Reason, UpstreamFailure
from nugetproxy.metrics import Metrics
from nugetproxy.nuget.facts import PackageFacts
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.store.fs import DiskFailure
from nugetproxy.store.holdings.holdings import Holdings
from nugetproxy.store.packages.folder import PackageFolder
from nugetproxy.store.packages.held import HeldPackage
from nugetproxy.upstream.client import UpstreamClient

log = structlog.get_logger(__name__)

SAME_TIME = 1.0
"""Seconds by which two times may differ that say the same: some file systems keep whole seconds."""
TAKEN_AT_ONCE = 2**20
"""Bytes of a file that is copied."""


class Packages:
    """The packages of one upstream; ``holdings`` knows what the folder holds, ``downloads`` brings what it lacks."""

    def __init__(
        self,
        upstream: UpstreamClient,
        folder: PackageFolder,
        pins: Pins,
        holdings: Holdings,
        hashes: Hashes,
        *,
        signatures: Signatures,
        metadata: Metadata,
        clock: Clock,
        metrics: Metrics,
        tasks: Tasks,
        room: Room,
        abandon_above: int,
        check_contents: bool = True,
        shared: SharedPackages | None = None,
    ) -> None:
        """``metadata`` is asked before a commit, ``hashes`` for what the disk cannot take. ``abandon_above``: bytes; a
        package up to this size is downloaded to its end, whoever leaves. ``shared``: what other replicas have."""
        self.name: str = upstream.name
        self.shared = shared
        self.signatures = signatures
        signatures.changed = folder.kept.clear
        self.folder = folder
        self.holdings = holdings
        self.stock = Stock(folder, holdings, clock)
        self._pins = pins
        self._metrics = metrics
        room.add(self)
        self.checks_contents = check_contents
        self._commits = Commits(
            upstream.name,
            folder,
            pins=pins,
            holdings=holdings,
            metadata=metadata,
            contents=ContentCheck(upstream.name, folder, clock, on=check_contents),
            signatures=signatures,
            room=room,
            tasks=tasks,
            metrics=metrics,
        )
        self.downloads = Downloads(
            upstream,
            folder,
            hashes,
            commits=self._commits,
            pins=pins,
            signatures=signatures,
            clock=clock,
            metrics=metrics,
            tasks=tasks,
            abandon_above=abandon_above,
            shared=shared,
        )

    def use(
        self,
        upstream: UpstreamClient,
        hashes: Hashes,
        metadata: Metadata,
        signed: tuple[SignaturePolicy, RepositoryList],
        *,
        abandon_above: int,
        check_contents: bool,
    ) -> None:
        """From the next download on ask these; what is in flight goes on as it began."""
        self.downloads.use(upstream, hashes, abandon_above=abandon_above)
        self._commits.metadata = metadata
        self.checks_contents = self._commits.contents.on = check_contents
        self.signatures.use(*signed)

    def __repr__(self) -> str:
        held = self.folder.usage
        return (
            f"<Packages of {self.name!r}: {held.packages} held ({held.bytes} bytes), {len(self.downloads)} in flight>"
        )

    async def prepare(self) -> None:
        """Open folder and holdings; raises StoreUnusable."""
        await self.folder.prepare()
        await self.holdings.open(self.folder.layout.root / "holdings.db")
        await self.stock.begin()

    async def close(self) -> None:
        """Close both; nothing may be in flight any more."""
        await self.folder.close()
        await self.holdings.close()

    async def open(self, identity: PackageIdentity, *, sure: bool = True) -> HeldPackage | None:
        """As ``held``, for somebody who wants to have it; raises SignatureRefused, UpstreamFailure."""
        held = await self.held(identity, sure=sure)
        try:
            if held is not None and self.signatures.on:
                await self.signatures.allow(held, self.folder.kept)
        except DiskFailure as failure:
            self._warn_unopened(identity, failure)
            return None
        return held

    async def held(self, identity: PackageIdentity, *, sure: bool = True) -> HeldPackage | None:
        """The package from the folder; None when it is not held, was found damaged, or cannot be read now.

        Where it need not be ``sure``, None also for what only somebody else can have put there since the last count.
        """
        try:
            held = self.folder.peek(identity)
            if held is None and not sure and self.folder.usage.lacks(identity):
                return None
            return held or await self.folder.open(identity)
        except DiskFailure as failure:
            self._warn_unopened(identity, failure)
            return None

    def _warn_unopened(self, identity: PackageIdentity, failure: DiskFailure) -> None:
        name, detail = identity.nupkg_name, str(failure)
        log.warning("package.unopened", upstream=self.name, package=name, reason=Reason.DISK, detail=detail)

    async def amend(self, facts: PackageFacts, published: float | None, listed: bool | None) -> None:
        """Upstream says when a held package was published (seconds since the epoch), whether it is listed."""
        if published is not None and abs(facts.published - published) >= SAME_TIME:
            with suppress(DiskFailure):  # a disk that is read-only still has the package to serve
                await self.folder.set_time(facts.identity, published)
            facts = replace(facts, published=published)
        elif listed in {None, facts.listed}:
            return
        await self.holdings.add(replace(facts, listed=facts.listed if listed is None else listed))

    async def drop(self, identity: PackageIdentity) -> int:
        """Delete a package to make room; its size in bytes. What it was pinned to stays known."""
        size = await self.folder.delete(identity)
        await self.holdings.remove(identity)
        return size

    async def purge(self, identity: PackageIdentity) -> int:
        """Forget a package with what it was pinned to; its size in bytes, 0 if it was not held.

        Other replicas, and the bucket, have it still: see ``SharedPackages.forget``.
        """
        size = await self.folder.delete(identity)
        await self.holdings.remove(identity)
        await self._pins.forget(identity)
        self.signatures.forget(identity)
        return size

    async def pinned_versions(self, *ids: str) -> frozenset[PackageIdentity]:
        """The versions of some ids (lower case) whose bytes are remembered, held or not."""
        return await self._pins.versions(*ids)

    async def refusal(self, identity: PackageIdentity, sha512: str) -> str:
        """Why a package with this hash (base64) cannot be taken; empty where it can, or is held."""
        if why := await self._has_others(identity, sha512):
            return why
        others = await self.downloads.known(identity) - {sha512}
        return OTHER_HASH if others and await self.held(identity) is None else ""

    async def _has_others(self, identity: PackageIdentity, sha512: str) -> str:
        held = await self.held(identity)
        pinned = held.sha512 if held is not None else await self._pins.get(identity)
        return "" if pinned in {None, sha512} else "this version has other bytes here; 'nugetproxy purge' forgets them"

    async def take(self, identity: PackageIdentity, file: Path, sha512: str) -> bool:
        """Bring a package that lies on this machine into the folder, checked as a download is; False if it is held.

        ``sha512`` (base64) is what it must be. Raises UpstreamFailure, DiskFailure, OSError.
        """
        if why := await self._has_others(identity, sha512):
            raise self._refused(Reason.PIN, why)
        if await self.held(identity) is not None:
            return False
        staged = await self.folder.stage(identity)
        try:
            async with aiofiles.open(file, "rb") as source:
                while piece := await source.read(TAKEN_AT_ONCE):
                    await staged.write(piece)
            if staged.sha512 != sha512:
                raise self._refused(Reason.HASH, "the file has changed since it was verified")
            await self._commits.take(Flight(identity, (), abandon_above=0), staged)
        finally:
            await staged.abandon()
            staged.close()
        return True

    async def look_into(self, identity: PackageIdentity, sha512: str) -> None:
        """As ``Commits.look_into``."""
        await self._commits.look_into(identity, sha512)

    def _refused(self, reason: Reason, detail: str) -> UpstreamFailure:
        return refused(self.name, reason, detail, self._metrics)
