"""PackageFolder keeps the packages of one upstream in a folder that is itself a NuGet feed."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from weakref import WeakValueDictionary

import structlog

from nugetproxy.clock import Clock
from nugetproxy.errors import StoreUnusable
from nugetproxy.metrics import Metrics
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.nuget.kinds import Kind
from nugetproxy.on_disk import is_dir
from nugetproxy.store.fs import DiskFailure, FsOps
from nugetproxy.store.lock import remedy_of
from nugetproxy.store.packages.commit import remove_package
from nugetproxy.store.packages.held import HeldPackage
from nugetproxy.store.packages.intake import Doors, Intake
from nugetproxy.store.packages.inventory import Inventory
from nugetproxy.store.packages.layout import Layout
from nugetproxy.store.packages.open_packages import KEPT, OpenPackages
from nugetproxy.store.packages.pending import PendingCommits
from nugetproxy.store.packages.quarantine import Quarantine
from nugetproxy.store.packages.recovery import recover
from nugetproxy.store.packages.staging import MakesRoom, Staged
from nugetproxy.store.packages.usage import Tally, Usage, walk
from nugetproxy.store.packages.verify import (
    Damaged,
    Known,
    Pace,
    Sound,
    examine,
    hash_slowly,
    look_into,
    read_warnings,
)
from nugetproxy.store.threads import DiskCalls, StoreThreads

log = structlog.get_logger()


class PackageFolder:
    """The packages below ``root`` (``<cache>/<upstream>``); to be used from one event loop.

    A ``HeldPackage`` that a method returns is borrowed: it stays open until the caller's next await, unless the
    caller ``acquire()``s it. Methods raise DiskFailure where nothing else is said.
    """

    def __init__(
        self,
        root: Path,
        *,
        fs: FsOps,
        metrics: Metrics,
        upstream: str,
        clock: Clock | None = None,
        kept_open: int = KEPT,
        room: MakesRoom | None = None,
    ) -> None:
        """``kept_open``: files that are kept open between requests. ``room`` is asked when the disk is full."""
        self.layout = Layout(root)
        self._fs = fs
        self._metrics = metrics
        self._log = log.bind(upstream=upstream)
        self._threads = StoreThreads()
        self._calls = DiskCalls(fs, self._threads, metrics)
        self.inventory = Inventory(self.layout, self._calls)
        self._quarantine = Quarantine(self.layout, self._calls, metrics=metrics, log=self._log)
        self.pending = PendingCommits(
            self.layout,
            self._calls,
            metrics=metrics,
            upstream=upstream,
            most=kept_open // 2,
            room=room,
            forget=self._lose,
        )
        self.usage = Usage(
            self.layout,
            self._calls,
            metrics=metrics,
            clock=clock or Clock(),
            log=self._log,
            pending=self.pending.sizes,
        )
        self.kept = OpenPackages(self._calls, self._log, limit=kept_open, note_use=self.usage.note)
        """Those that are open."""
        # One change at a time to what lies on disk for an identity; the lock goes when nobody waits for it.
        self._locks: WeakValueDictionary[PackageIdentity, asyncio.Lock] = WeakValueDictionary()
        self._intake = Intake(
            self.layout,
            self._calls,
            kept=self.kept,
            pending=self.pending,
            usage=self.usage,
            doors=Doors(lock=self._lock, peek=self.peek, find=self._open),
            room=room,
            metrics=metrics,
            log=self._log,
        )

    async def prepare(self) -> None:
        """Make the directories, commit what was verified before a crash, sweep what it left; raises StoreUnusable.

        A folder on a file system that has become read-only is still good for its packages.
        """
        try:
            recovered, swept = await self._recover(await self._calls.run(self._threads.write, self._prepare))
        except DiskFailure as failure:
            if failure.errno == errno.EROFS and is_dir(self.layout.packages):
                self._log.warning("store.read_only", directory=str(self.layout.root))
                return
            why = str(failure).rstrip(".")
            raise StoreUnusable(str(self.layout.root), why, remedy_of(failure.errno)) from failure
        if recovered:
            self._log.info("staging.recovered", packages=recovered)
        if swept:
            self._metrics.orphans_removed.inc(swept)
            self._log.info("staging.swept", files=swept)

    def _prepare(self) -> list[str]:
        self.layout.prepare(self._fs)
        return self._fs.names(self.layout.staging)

    async def _recover(self, names: Sequence[str]) -> tuple[int, int]:
        """Commit or remove what lies in staging; how many of each."""
        recovered = 0
        for name in names:
            found = await self._calls.run(self._threads.hash, recover, self._fs, self.layout, self.kept.own, name)
            if found is not None:
                recovered += 1
                self.usage.landed(found[1].identity, found[1].size)
                await self.pending.add(found[0], self.kept.keep(found[1]))
        await self.pending.empty()
        stays = await self._calls.run(self._threads.write, self._fs.names, self.layout.staging)
        return recovered, max(0, len({*names} - {*stays}) - recovered)

    async def close(self) -> None:
        """Commit what is pending, write the last uses, close all, end the threads."""
        await self.pending.empty()
        with contextlib.suppress(DiskFailure):
            await self.usage.write()
        self.kept.clear()
        await self._threads.close()

    # --- download ---

    async def stage(self, identity: PackageIdentity, *, in_memory: int = 0) -> Staged:
        """A new empty file to download into, made with its first bytes; ``close()`` it in the end, after ``land()`` or
        ``abandon()``.

        Where up to ``in_memory`` bytes may be kept without a file, it is made when there are more.
        """
        return await self._intake.stage(identity, in_memory=in_memory)

    # --- use ---

    def peek(self, identity: PackageIdentity) -> HeldPackage | None:
        """The package if it is open or pending; never blocks, so None does not mean that it is not held."""
        return self.kept.get(identity) or self.pending.get(identity)

    async def open(self, identity: PackageIdentity) -> HeldPackage | None:
        """The package, None if it is not held; one that turns out damaged is set aside and thus not held.

        The first opening since the start checks the whole SHA-512, later ones that the file is unchanged.
        """
        held = self.peek(identity)
        if held is not None:
            return held
        async with self._lock(identity):
            return self.peek(identity) or await self._open(identity)

    async def _open(self, identity: PackageIdentity) -> HeldPackage | None:
        found = await self.kept.check(identity, self._examine, identity)
        if isinstance(found, Damaged):
            await self._set_aside(identity, found.reason)
            return None
        if found is None:
            return None
        self.usage.saw(identity)
        return self.kept.keep(found)

    def _examine(self, known: Known | None, identity: PackageIdentity) -> HeldPackage | Damaged | None:
        # The descriptor gets its owner here, in the thread: a caller that was cancelled could not close it.
        finding = examine(self._fs, self.layout, identity, known)
        if not isinstance(finding, Sound):
            return finding
        if finding.adopted:
            self._log.info("package.adopted", package=str(identity))
        held = HeldPackage(identity, self.kept.own(finding.fd), finding.state, finding.sha512)
        held.warnings = read_warnings(self._fs, self.layout, identity)
        return held

    async def set_time(self, identity: PackageIdentity, published: float) -> None:
        """Give a package the time at which it was published, in seconds since the epoch; what is verified stays so."""
        async with self._settled(identity):
            held = self.kept.get(identity) or await self._open(identity)
            if held is None:
                return
            with held:
                state = await self._calls.run(self._threads.write, self._set_time, identity, held.fd, published)
                held.changed(state)
                self.kept.keep(held.acquire())

    def _set_time(self, identity: PackageIdentity, fd: int, published: float) -> os.stat_result:
        self._fs.utime(self.layout.nupkg(identity), published)
        return self._fs.fstat(fd)

    async def nuspec(self, identity: PackageIdentity) -> bytes | None:
        """The nuspec, taken out of the verified package; None if that is not held."""
        return await self.kept.nuspec(await self.open(identity))

    async def member(self, identity: PackageIdentity, kind: Kind) -> tuple[bytes, str] | None:
        """A file that the nuspec names with its path in the package; None if there is none."""
        return await self.kept.member(await self.open(identity), kind)

    async def files(self, identity: PackageIdentity) -> tuple[tuple[str, int], ...]:
        """Path and size of every file in a package; none if that is not held."""
        return await self.kept.files(await self.open(identity))

    # --- scrub ---

    async def scrub(self, identity: PackageIdentity, pace: Pace) -> bool:
        """Check a package's whole SHA-512, however well known it is; False if it was damaged, so set aside.

        ``pace`` is awaited after every piece with its bytes, while nothing is locked. One that is gone meanwhile is
        no damage; one without its hash file is adopted if it is whole, a lost nuspec is written again.
        """
        with contextlib.suppress(DiskFailure):  # judged below
            known = await hash_slowly(self._calls, self.layout, identity, self.kept.own, pace)
            if known is not None:
                self.kept.note(identity, known)
                return True
        async with self._settled(identity):
            # Nobody changes it now, so what is found wrong is wrong.
            found = await self._calls.run(self._threads.hash, self._examine, None, identity)
            if isinstance(found, Damaged):
                await self._set_aside(identity, found.reason)
                return False
            if found is not None:
                self.kept.keep(found)
            return True

    async def check_contents(self, identity: PackageIdentity, sha512: str, pace: Pace) -> str | None:
        """Compare the checksums of all files in a package of these bytes; what is wrong, "" where nothing is.

        A damaged one is set aside. None where these bytes are not held (any more): nothing is known of them.
        ``pace`` is awaited after every piece with its bytes.
        """
        held = await self.open(identity)
        if held is None or held.sha512 != sha512:
            return None
        damage = await look_into(self._calls, held, pace)
        if damage:
            async with self._settled(identity):
                held = self.peek(identity) or await self._open(identity)
                if held is None or held.sha512 != sha512:
                    return None
                await self._set_aside(identity, "contents")
        return damage

    async def set_staged_aside(self, staged: Staged) -> None:
        """Keep a damaged download for the operator to look at."""
        await self._quarantine.take_staged(staged, "contents")

    # --- removal ---

    async def _set_aside(self, identity: PackageIdentity, reason: str) -> None:
        self._forget(identity)
        size = await self._quarantine.take(identity, reason)
        self.usage.add(-size, -1 if size else 0)

    async def delete(self, identity: PackageIdentity) -> int:
        """Remove a package; its size in bytes, 0 if it was not held. Whoever reads it goes on undisturbed."""
        async with self._settled(identity):
            self._forget(identity)
            size = await self._calls.run(self._threads.write, remove_package, self._fs, self.layout, identity)
            self.usage.add(-size, -1 if size else 0)
            return size

    async def evict(
        self,
        max_bytes: int,
        keep: Callable[[PackageIdentity], bool],
        *,
        young: bool = True,
        delete: Callable[[PackageIdentity], Awaitable[int]] | None = None,
    ) -> int:
        """As ``Usage.evict``; ``keep`` is asked on the event loop just before each deletion. What is pending stays."""
        stays = lambda identity: identity in self.pending or keep(identity)  # noqa: E731 - two words
        return await self.usage.evict(max_bytes, stays, delete or self.delete, young=young)

    def walk(self, counted: Callable[[Tally], object] | None = None) -> Iterator[tuple[PackageIdentity, int, float]]:
        """(identity, bytes, last use) of every package; blocks: for a thread. At the end ``counted`` is told of all."""
        return walk(self._fs, self.layout, counted)

    def _lock(self, identity: PackageIdentity) -> asyncio.Lock:
        return self._locks.setdefault(identity, asyncio.Lock())

    @contextlib.asynccontextmanager
    async def _settled(self, identity: PackageIdentity) -> AsyncIterator[None]:
        """Within it nothing else changes what lies on disk for an identity, its commit included."""
        async with self._lock(identity):
            await self.pending.settle(identity)  # told where it failed: then it is not held
            yield

    def _lose(self, held: HeldPackage) -> None:
        self._forget(held.identity)
        self.usage.add(-held.size, -1)

    def _forget(self, identity: PackageIdentity) -> None:
        self.kept.forget(identity)
        self.usage.forget(identity)
