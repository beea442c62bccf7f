"""SharedPackages gets packages of one source from the second level, and brings them there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import suppress
from functools import partial
from typing import Final

import structlog
from cachetools import TTLCache

from nugetproxy.clock import Clock
from nugetproxy.cluster.engines import EngineUnavailable
from nugetproxy.cluster.second_level import SecondLevel
from nugetproxy.engine.fill import Stage
from nugetproxy.engine.flight import Flight
from nugetproxy.engine.outcome import LEASE, SECOND_LEVEL
from nugetproxy.engine.repeats import Repeats
from nugetproxy.engine.tasks import Tasks
from nugetproxy.engine.turns import Held, Turns
from nugetproxy.errors import Reason, UpstreamFailure
from nugetproxy.metrics import Metrics
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.store.fs import DiskFailure
from nugetproxy.store.packages.folder import PackageFolder
from nugetproxy.store.packages.held import HeldPackage
from nugetproxy.store.packages.reading import read_at
from nugetproxy.store.packages.staging import Staged

log = structlog.get_logger(__name__)

LONGEST_WAIT: Final = 20.0
"""Seconds that another replica is waited for; clients wait for 60 and more."""
PIECE: Final = 2**20
SIGNED_SECONDS: Final = 600.0
SIGNED_AGAIN: Final = 300.0
SIGNED_KEPT: Final = 20_000

Known = Callable[[PackageIdentity], Awaitable[Collection[str]]]
"""The SHA-512 (base64) values that the bytes of a package must have."""
Commit = Callable[[Staged], Awaitable[HeldPackage]]
"""Verifies what was staged, and makes it part of the folder."""


class Uploads:
    """Packages on their way into the bucket, for all sources; bounded, and what is beyond is dropped."""

    most = 64
    most_bytes = 2**30

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._count = self._bytes = 0

    def admit(self, size: int) -> bool:
        """Whether there is room for one more; ``done`` gives it back."""
        if self._count >= self.most or (self._count and self._bytes + size > self.most_bytes):
            self._metrics.engines.of("bucket").note("package", "dropped")
            return False
        self._count += 1
        self._bytes += size
        self._metrics.uploads_waiting.set(self._count)
        return True

    def done(self, size: int) -> None:
        """Give back the room of one of ``size`` bytes that ``admit`` let in."""
        self._count -= 1
        self._bytes -= size
        self._metrics.uploads_waiting.set(self._count)


class SharedPackages:
    """The packages of one source on the second level; nothing that goes wrong there reaches a caller."""

    def __init__(
        self,
        second: SecondLevel,
        source: str,
        uploads: Uploads,
        repeats: Repeats,
        *,
        tasks: Tasks,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._second = second
        self._source = source
        self._uploads = uploads
        self._repeats = repeats
        self._tasks = tasks
        self._metrics = metrics
        self._turns = Turns(tasks, clock)
        self._held: dict[PackageIdentity, Held] = {}
        self._uploading: dict[PackageIdentity, asyncio.Task[bool]] = {}
        self._signed: TTLCache[PackageIdentity, tuple[str, str]] = TTLCache(SIGNED_KEPT, SIGNED_AGAIN, clock.monotonic)

    async def land(self, flight: Flight, stage: Stage, known: Known, commit: Commit) -> HeldPackage | None:
        """The package out of the bucket, when it is there or another replica brings it; None: fetch it, then ``end``.

        Its readers wait until all of it is verified, so that what the bucket has wrong costs none of them anything.
        """
        identity = flight.identity

        async def look() -> HeldPackage | None:
            return await self._look(identity, stage, known, commit)

        key = f"{self._source}/{identity.id}/{identity.version}"
        leases = await self._second.package_leases(self._source)
        turn = await self._turns.take(leases, key, look, most=LONGEST_WAIT)
        if turn.held is not None:
            self._held[identity] = turn.held
        flight.is_fetched = turn.found is None
        flight.detail = LEASE if turn.waited else SECOND_LEVEL if turn.found is not None else ""
        return turn.found

    async def _look(self, identity: PackageIdentity, stage: Stage, known: Known, commit: Commit) -> HeldPackage | None:
        blob = await self._second.package(self._source, identity)
        if blob is None:
            return None
        staged, landed = None, False
        try:
            staged = await stage(identity)
            async for chunk in blob.chunks:
                await staged.write(chunk)
            wrong = self._wrong(staged, blob.size, {blob.meta.get("sha512", ""), *await known(identity)})
            if not wrong:
                held = await commit(staged)
                landed = True
                return held
        except UpstreamFailure as failure:
            wrong = failure.detail
        except DiskFailure:
            return None  # the way past the disk is that of what comes from upstream
        finally:
            if staged is not None:
                if not landed:
                    await staged.abandon()
                staged.close()
        await self._refuse(identity, wrong)
        return None

    def _wrong(self, staged: Staged, size: int, known: Collection[str]) -> str:
        if staged.size != size:
            return f"it is cut: {staged.size} of {size} bytes"
        return "" if {staged.sha512} == set(known) else "its SHA-512 is not the one that is known of it"

    async def _refuse(self, identity: PackageIdentity, why: str) -> None:
        self._metrics.integrity_failures.labels(Reason.HASH).inc()
        self._metrics.engines.of("bucket").note("package", "refused")
        log.error("bucket.refused", upstream=self._source, package=identity.nupkg_name, detail=why)
        with suppress(EngineUnavailable):
            await self._second.remove_package(self._source, identity)

    def offer(self, held: HeldPackage, folder: PackageFolder) -> None:
        """A package has come from upstream: bring it into the bucket, then let others look for it."""
        lease = self._held.pop(held.identity, None)
        if self._second.store is None or not self._uploads.admit(held.size):
            self._turns.give_back(lease)
            if self._second.store is not None:
                self._repeats.note(self._missing(held.identity), partial(self._again, held.identity, folder))
            return
        self._begin(held, folder, lease).add_done_callback(partial(self._offered, held.identity, folder))

    def _offered(self, identity: PackageIdentity, folder: PackageFolder, upload: asyncio.Task[bool]) -> None:
        if not _is_over(upload):
            self._repeats.note(self._missing(identity), partial(self._again, identity, folder))

    def _missing(self, identity: PackageIdentity) -> str:
        return f"{self._source} {identity.nupkg_name}"

    async def _again(self, identity: PackageIdentity, folder: PackageFolder) -> None:
        held = await folder.open(identity)
        if held is None or self._missing(identity) not in self._repeats:  # it was removed here
            return
        if not self._uploads.admit(held.size):
            raise EngineUnavailable("bucket", "too much is on its way there")
        upload = self._begin(held, folder, None)
        await asyncio.wait({upload})
        if not _is_over(upload):
            raise EngineUnavailable("bucket", "it was not taken again")

    def _begin(self, held: HeldPackage, folder: PackageFolder, lease: Held | None) -> asyncio.Task[bool]:
        identity = held.acquire().identity
        task = self._tasks.start(self._upload(held, folder, lease), name=f"upload {identity.nupkg_name}")
        self._uploading[identity] = task
        task.add_done_callback(partial(self._uploaded, identity))
        return task

    def _uploaded(self, identity: PackageIdentity, task: asyncio.Task[bool]) -> None:
        if self._uploading.get(identity) is task:
            del self._uploading[identity]

    async def _upload(self, held: HeldPackage, folder: PackageFolder, lease: Held | None) -> bool:
        """Whether it need not be tried again."""
        try:
            said = await folder.nuspec(held.identity)
            await self._second.put_package(
                self._source, held.identity, _pieces(held), size=held.size, sha512=held.sha512, nuspec=said
            )
        except (EngineUnavailable, DiskFailure) as failure:
            log.debug("upload.failed", upstream=self._source, package=held.identity.nupkg_name, detail=str(failure))
            return False
        else:
            return True
        finally:
            held.release()
            self._uploads.done(held.size)
            self._turns.give_back(lease)

    def end(self, identity: PackageIdentity) -> None:
        """The fetch is over; where nothing came of it, others may try."""
        self._turns.give_back(self._held.pop(identity, None))

    async def forget(self, identity: PackageIdentity) -> None:
        """Remove a package from the bucket on an operator's word, also where it is on its way there.

        Raises EngineUnavailable: then it is there still, and whoever asks for it has it again.
        """
        self._signed.pop(identity, None)
        self._repeats.drop(self._missing(identity))
        upload = self._uploading.get(identity)
        if upload is not None:
            upload.cancel()
            await asyncio.wait({upload})
        await self._second.remove_package(self._source, identity)

    async def head(self, identity: PackageIdentity, known: Known) -> int | None:
        """The bytes of a package that the bucket has; None where it has not, or other ones than are known of it."""
        try:
            said = await self._second.package_head(self._source, identity)
        except EngineUnavailable:
            return None
        if said is None or not {said.meta.get("sha512", "")} >= set(await known(identity)):
            return None
        return said.size

    async def url(self, held: HeldPackage) -> str | None:
        """Where a client can read the package out of the bucket itself; None where these bytes are not said to be
        there, or nobody knows."""
        identity = held.identity
        sha512, url = self._signed.get(identity, ("", None))
        if sha512 != held.sha512:
            try:
                url = await self._second.package_url(self._source, identity, SIGNED_SECONDS, sha512=held.sha512)
            except EngineUnavailable:
                return None
            if url is not None:
                self._signed[identity] = held.sha512, url
        return url


def _is_over(upload: asyncio.Task[bool]) -> bool:
    """Whether it is not to be tried again."""
    return upload.cancelled() or (upload.exception() is None and upload.result())


async def _pieces(held: HeldPackage) -> AsyncIterator[bytes]:
    at = 0
    while at < held.size:
        piece = await read_at(held.fd, min(PIECE, held.size - at), at)
        if not piece:
            return
        at += len(piece)
        yield piece
