"""Intake takes what was downloaded into the folder."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Awaitable, Callable
from typing import TypeVar

from msgspec import Struct
from structlog.typing import FilteringBoundLogger

from nugetproxy.metrics import Metrics
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.nuget.nuspec import Nuspec
from nugetproxy.store.fs import DiskFailure, MissingFile
from nugetproxy.store.packages.commit import Verified, seal
from nugetproxy.store.packages.held import Descriptor, HeldPackage
from nugetproxy.store.packages.layout import Layout
from nugetproxy.store.packages.open_packages import OpenPackages
from nugetproxy.store.packages.pending import PendingCommits
from nugetproxy.store.packages.staging import FULL, Look, Looked, MakesRoom, PinnedPackage, Staged
from nugetproxy.store.packages.usage import Usage
from nugetproxy.store.threads import DiskCalls, Pool

_T = TypeVar("_T")

_Sealed = tuple[Verified, os.stat_result]


class Doors(Struct, frozen=True, kw_only=True):
    """What of the folder is needed to take something in."""

    lock: Callable[[PackageIdentity], asyncio.Lock]
    """Held while what lies on disk for an identity changes."""
    peek: Callable[[PackageIdentity], HeldPackage | None]
    """What is open or pending."""
    find: Callable[[PackageIdentity], Awaitable[HeldPackage | None]]
    """What lies on disk, with the lock held."""


class Intake:
    """Stages downloads, then seals them: from there on a start finds them, whatever happens to this process."""

    def __init__(
        self,
        layout: Layout,
        calls: DiskCalls,
        *,
        kept: OpenPackages,
        pending: PendingCommits,
        usage: Usage,
        doors: Doors,
        room: MakesRoom | None,
        metrics: Metrics,
        log: FilteringBoundLogger,
    ) -> None:
        self._layout = layout
        self._calls = calls
        self._fs = calls.fs
        self._kept = kept
        self._pending = pending
        self._usage = usage
        self._doors = doors
        self._room = room
        self._metrics = metrics
        self._log = log

    async def stage(self, identity: PackageIdentity, *, in_memory: int = 0) -> Staged:
        """As ``PackageFolder.stage``."""
        return Staged(identity, self._create, self._calls, self._commit, room=self._room, in_memory=in_memory)

    async def _with_room(self, pool: Pool, act: Callable[[], _T], size: int) -> _T:
        """Do it in a thread; on a full disk once more, after room was made for ``size`` bytes."""
        try:
            return await self._calls.run(pool, act)
        except DiskFailure as failure:
            if failure.errno not in FULL or self._room is None or not await self._room.make(size):
                raise
        return await self._calls.run(pool, act)

    def _create(self, wanted: str | None) -> tuple[str, Descriptor]:
        """A new file, under another name than the ``wanted`` one where that is taken."""
        path = wanted or self._layout.scratch()
        try:
            fd = self._fs.create(path)
        except MissingFile:
            self._log.warning("store.recreated", directory=str(self._layout.root))
            self._layout.prepare(self._fs)
            fd = self._fs.create(path)
        except DiskFailure as failure:
            if wanted is None or failure.errno != errno.EEXIST:
                raise
            return self._create(None)
        return path, self._kept.own(fd)

    async def _commit(self, staged: Staged, look: Look, looked: Looked) -> HeldPackage:
        """One job for a thread looks into it, then seals it."""
        identity, threads = staged.identity, self._calls.threads
        thread = threads.seal if staged.is_small else threads.hash
        to_write = staged.size if staged.is_in_memory else 1
        async with self._doors.lock(identity):
            held = self._doors.peek(identity)
            if held is not None:
                with held:  # it may have to make way for another one meanwhile
                    await self._calls.run(thread, look)
                    return await self._prefer(held, staged)
            nuspec, sealed = await self._with_room(thread, lambda: self._seal_new(staged, look), to_write)
            if sealed is None:
                held = await self._doors.find(identity)
                if held is not None:
                    return await self._prefer(held, staged)
                sealed = await self._with_room(thread, lambda: self._seal(staged, nuspec), to_write)
            looked(nuspec)
            return await self._hold(staged, *sealed)

    def _seal_new(self, staged: Staged, look: Look) -> tuple[Nuspec, _Sealed | None]:
        """Look into it; seal it where no package lies there yet."""
        nuspec = look()
        there = self._fs.exists(self._layout.places(staged.identity).nupkg)
        return nuspec, None if there else self._seal(staged, nuspec)

    def _seal(self, staged: Staged, nuspec: Nuspec) -> _Sealed:
        sha512 = staged.sha512
        sealed = None if staged.warnings else self._layout.sealed(staged.identity, sha512)
        path = staged.make_file(sealed)
        package = Verified(
            identity=staged.identity,
            path=path,
            fd=staged.fd,
            nuspec=nuspec.xml,
            sha512=sha512,
            warnings=staged.warnings,
            signer=staged.signer,
        )
        state = seal(self._fs, package, sealed, staged.published)
        staged.path = package.path
        return package, state

    async def _hold(self, staged: Staged, package: Verified, state: os.stat_result) -> HeldPackage:
        """It is held from now on; it comes into its folder with the next batch."""
        staged.descriptor.acquire()
        held = HeldPackage(package.identity, staged.descriptor, state, package.sha512)
        held.warnings, held.signed = staged.warnings, staged.signed
        self._usage.landed(held.identity, held.size)
        with self._kept.keep(held):
            await self._pending.add(package, held)
            if not package.is_sealed:  # a kill would leave nothing of it
                if (failure := await self._pending.settle(held.identity)) is not None:
                    raise failure
                self._kept.keep(held.acquire())
        return held

    async def _prefer(self, held: HeldPackage, staged: Staged) -> HeldPackage:
        """What is held already stays; raises PinnedPackage if the download has other bytes."""
        with held:
            await staged.know_hash()
            if held.sha512 != staged.sha512:
                self._metrics.integrity_failures.labels("pin").inc()
                self._log.error("package.pinned", package=str(held.identity), held=held.sha512, offered=staged.sha512)
                raise PinnedPackage(held.identity, held.sha512, staged.sha512)
            await staged.remove()
            return self._kept.keep(held.acquire())
