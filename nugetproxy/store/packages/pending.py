"""PendingCommits brings verified packages into their folder, batch by batch, behind the answers that they were in."""

from __future__ import annotations

import asyncio
import errno
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Final

import structlog
from msgspec import Struct

from nugetproxy.errors import Reason
from nugetproxy.metrics import Metrics
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.store.fs import DiskFailure
from nugetproxy.store.packages.commit import Verified, withdraw
from nugetproxy.store.packages.held import HeldPackage
from nugetproxy.store.packages.layout import Layout
from nugetproxy.store.packages.publishing import Failures, Spread, Sync, in_turn, publish_all
from nugetproxy.store.packages.staging import FULL, MakesRoom
from nugetproxy.store.threads import SYNCS, DiskCalls

log = structlog.get_logger(__name__)

LINGER: Final = 0.02
"""Seconds that the first of a batch waits for others."""
BATCH_SECONDS: Final = 0.1
"""The syncs of a batch that would take longer are shared out to as many threads as that needs."""
FILES: Final = 3
"""A package's, which are synced at the same time."""
_CRASHED: Final = DiskFailure("commit", errno.EIO)
"""What is told where nobody knows how far a batch has come."""
_SYNCING: Final = frozenset({"fsync", "fsync_dir"})

Arrivals = Callable[[Sequence[Verified]], None]
"""Told, in the thread of the commits, of the packages of a batch that are about to be in their folder; never raises."""
Committed = Callable[[Sequence[HeldPackage]], Awaitable[None]]
"""Told of the packages of a batch that are in their folder, durably."""


class _Pending(Struct, kw_only=True, eq=False):
    package: Verified
    held: HeldPackage
    done: asyncio.Future[DiskFailure | None]


class PendingCommits:
    """Verified packages that are written, but not yet in their folder; one writer, for the event loop only.

    What is pending is held: its readers have its open file. At most ``most`` are, further ones wait for a place.
    """

    def __init__(
        self,
        layout: Layout,
        calls: DiskCalls,
        *,
        metrics: Metrics,
        upstream: str,
        most: int,
        room: MakesRoom | None,
        forget: Callable[[HeldPackage], None],
    ) -> None:
        """``forget`` is told of what could not be committed."""
        self.committed: Committed | None = None
        self.lost: Callable[[PackageIdentity], object] = lambda _: None
        """Told of what could not be committed."""
        self.arrivals: Arrivals | None = None
        self._layout = layout
        self._calls = calls
        self._metrics = metrics
        self._upstream = upstream
        self._most = max(1, most)
        self._room = room
        self._forget = forget
        self._pending: dict[PackageIdentity, _Pending] = {}
        self._wanted = asyncio.Event()
        self._writer: asyncio.Task[None] | None = None
        self._seconds_each = 0.0
        """What the syncs of a package of the last batch took in one thread."""

    def __contains__(self, identity: PackageIdentity) -> bool:
        return identity in self._pending

    def __len__(self) -> int:
        return len(self._pending)

    def get(self, identity: PackageIdentity) -> HeldPackage | None:
        """The package if it is pending."""
        pending = self._pending.get(identity)
        return pending.held if pending is not None else None

    def sizes(self) -> dict[PackageIdentity, int]:
        """What is pending, with its bytes."""
        return {identity: pending.held.size for identity, pending in self._pending.items()}

    async def add(self, package: Verified, held: HeldPackage) -> None:
        """Commit ``package``, open as ``held``, in the next batch; returns when there is a place for it."""
        while len(self._pending) >= self._most:
            await asyncio.wait({next(iter(self._pending.values())).done})
        done = asyncio.get_running_loop().create_future()
        self._pending[package.identity] = _Pending(package=package, held=held.acquire(), done=done)
        self._metrics.pending_commits.inc()
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write(), name="commits")

    async def settle(self, identity: PackageIdentity) -> DiskFailure | None:
        """Return when a package is no longer pending: with the failure that kept it from being committed."""
        pending = self._pending.get(identity)
        if pending is None:
            return None
        self._wanted.set()
        await asyncio.wait({pending.done})
        return pending.done.result()

    async def flush(self, seconds: float | None = None) -> None:
        """Commit now what is pending now; returns after so many ``seconds`` even if some still is."""
        if self._pending:
            self._wanted.set()
            await asyncio.wait({pending.done for pending in self._pending.values()}, timeout=seconds)

    async def empty(self) -> None:
        """Commit everything that is pending."""
        while self._pending:
            await self.flush()

    async def _write(self) -> None:
        while self._pending:
            with suppress(TimeoutError):
                async with asyncio.timeout(LINGER):
                    await self._wanted.wait()
            self._wanted.clear()
            try:
                await self._commit(list(self._pending.values()))
            except Exception as error:  # the top of a background task: the next batch must not wait for ever
                log.exception("commits.crashed", upstream=self._upstream, detail=str(error))

    async def _commit(self, batch: Sequence[_Pending]) -> None:
        failures: Failures | None = None
        try:
            failures = await self._publish_with_room(batch)
            await self._give_up([one for one in batch if one.package.identity in failures], failures)
            there = [one.held for one in batch if one.package.identity not in failures]
            if self.committed is not None and there:
                await self.committed(there)
        finally:
            for one in batch:
                del self._pending[one.package.identity]
                self._metrics.pending_commits.dec()
                one.held.release()
                one.done.set_result(_CRASHED if failures is None else failures.get(one.package.identity))

    async def _publish_with_room(self, batch: Sequence[_Pending]) -> Failures:
        """Those that could not be published, on a full disk not even after room was made."""
        failures = await self._publish(batch)
        again = [one for one in batch if _may_fit(failures.get(one.package.identity))]
        if again and self._room is not None and await self._room.make(1):
            for one in again:
                del failures[one.package.identity]
            failures |= await self._publish(again)
        return failures

    async def _publish(self, batch: Sequence[_Pending]) -> Failures:
        """Those that could not be published."""
        threads = self._calls.threads
        wanted = math.ceil(len(batch) * self._seconds_each / BATCH_SECONDS)
        at_once = max(1, min(SYNCS, FILES * len(batch), wanted))
        spread: Spread = partial(threads.share_out, at_once) if at_once > 1 else in_turn
        packages = [one.package for one in batch]
        failures, seconds = await self._calls.run(threads.commit, self._publish_all, packages, spread)
        self._seconds_each = seconds * at_once / len(batch)
        for failure in set(failures.values()):
            self._calls.count(failure)
        return failures

    def _publish_all(self, packages: Sequence[Verified], spread: Spread) -> tuple[Failures, float]:
        """Those that could not be published, with the seconds that the syncs took."""
        seconds = 0.0

        def timed(act: Callable[[Sync], None], syncs: Sequence[Sync]) -> None:
            nonlocal seconds
            began = time.monotonic()
            spread(act, syncs)
            seconds += time.monotonic() - began

        if self.arrivals is not None:  # first: a kill in between leaves a line too many, never one too few
            self.arrivals(packages)
        return publish_all(self._calls.fs, self._layout, packages, timed), seconds

    async def _give_up(self, lost: Sequence[_Pending], failures: Failures) -> None:
        for one in lost:
            identity, detail = one.package.identity, str(failures[one.package.identity])
            log.error(
                "package.not_kept", upstream=self._upstream, package=str(identity), reason=Reason.DISK, detail=detail
            )
            self._forget(one.held)
            self.lost(identity)
            await self._calls.run(self._calls.threads.commit, withdraw, self._calls.fs, self._layout, one.package)


def _may_fit(failure: DiskFailure | None) -> bool:
    """Whether a failure was for want of room; a failed sync is never tried again: it may then say what is not so."""
    return failure is not None and failure.errno in FULL and failure.op not in _SYNCING
