"""Usage counts what a package folder holds, with when each package was used last."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping

from msgspec import Struct
from structlog.typing import FilteringBoundLogger

from nugetproxy.clock import Clock
from nugetproxy.errors import Reason
from nugetproxy.metrics import Metrics
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.store.fs import DiskFailure, FsOps, MissingFile
from nugetproxy.store.packages.layout import HASH_SUFFIX, Layout
from nugetproxy.store.packages.retention import Counted
from nugetproxy.store.sieve import Sieve
from nugetproxy.store.threads import DiskCalls

LOW_WATER = 0.95
"""Eviction goes down to this part of the limit, so that the next package does not need another one."""
MANY_IDS = 10_000
"""A look at a folder with more of them would hold up the start."""
YOUNG_SECONDS = 10.0
"""What landed so recently goes last: whoever has just asked for it may come back."""
FAILED_DELETIONS = 10
"""So many in one eviction say that the disk as a whole refuses them."""


class Usage:
    """Totals, kept right by every commit and deletion, made right by every count; last uses not yet written.

    The last use is the modification time of the hash file: it costs no database, survives a restart, and the package
    itself keeps the time that tells whether it was changed.
    """

    def __init__(
        self,
        layout: Layout,
        calls: DiskCalls,
        *,
        metrics: Metrics,
        clock: Clock,
        log: FilteringBoundLogger,
        pending: Callable[[], Mapping[PackageIdentity, int]],
    ) -> None:
        """``pending``: the packages with their bytes that count already, but are not yet found in the folder."""
        self.bytes = 0
        self.packages = 0
        """Both as far as counted."""
        self.unreadable = ""
        """Why the last count could not see all."""
        self._layout = layout
        self._calls = calls
        self._metrics = metrics
        self._gauge = metrics.store_bytes.labels("packages")
        self._clock = clock
        self._log = log
        self._pending = pending
        self._uses: dict[PackageIdentity, float] = {}
        self._found: Sieve | None = None
        """Those that the last count has found; None before the first, or where it could not see all."""
        self._came = Sieve()
        """Those that landed, or were seen, since the start."""
        self._landed: OrderedDict[PackageIdentity, float] = OrderedDict()
        self._before: dict[PackageIdentity, int] | None = {}
        """What landed before the first count, in bytes; None from then on."""

    @property
    def is_counted(self) -> bool:
        """Whether what was held at the start is counted."""
        return self._before is None

    def add(self, size: int, packages: int) -> None:
        """Something came (positive) or went (negative)."""
        self._set(max(0, self.bytes + size), max(0, self.packages + packages))

    def _set(self, size: int, packages: int) -> None:
        # The gauges are sums over all upstreams' folders.
        self._gauge.inc(size - self.bytes)
        self._metrics.store_packages.inc(packages - self.packages)
        self.bytes, self.packages = size, packages

    async def is_large(self) -> bool:
        """Whether there are packages of more than ``MANY_IDS`` ids."""
        calls = self._calls
        try:
            names = await calls.run(calls.threads.read, calls.fs.names, self._layout.packages)
        except DiskFailure:  # counted; whoever looks for packages says it
            return False
        return len(names) > MANY_IDS

    def note(self, identity: PackageIdentity) -> None:
        """Remember in memory that a package was used now."""
        self._uses[identity] = self._clock.now()

    def landed(self, identity: PackageIdentity, size: int) -> None:
        """A package came just now."""
        self.add(size, 1)
        self._came.add(str(identity))
        if self._before is not None:
            self._before[identity] = size
        self._landed[identity] = self._clock.monotonic()
        self._landed.move_to_end(identity)
        self._grow_up()

    def saw(self, identity: PackageIdentity) -> None:
        """It is there, whoever has put it there."""
        self._came.add(str(identity))

    def lacks(self, identity: PackageIdentity) -> bool:
        """Whether it is not there as far as is known; somebody else may have put it there since the last count."""
        if self._found is None:
            return False
        text = str(identity)
        return text not in self._found and text not in self._came

    def is_young(self, identity: PackageIdentity) -> bool:
        """Whether a package came within the last ``YOUNG_SECONDS``."""
        self._grow_up()
        return identity in self._landed

    def forget(self, identity: PackageIdentity) -> None:
        """The package is gone."""
        self._uses.pop(identity, None)
        self._landed.pop(identity, None)

    async def write(self) -> int:
        """Write the remembered uses; how many. Those that cannot be are lost, which costs little: DiskFailure."""
        uses = dict(self._uses)
        if not uses:
            return 0
        try:
            return await self._calls.run(self._calls.threads.write, _write, self._calls.fs, self._layout, uses)
        finally:  # until then they count as remembered
            self._uses = {identity: when for identity, when in self._uses.items() if uses.get(identity) != when}

    async def count(self) -> list[Counted]:
        """What is held, as far as it can be read: (last use, identity, bytes), the least recently used first.

        What comes or goes meanwhile may be missed until the next count.
        """
        uses, pending = dict(self._uses), self._pending()
        found = await self._calls.run(self._calls.threads.read, _survey, self._calls.fs, self._layout, uses)
        sizes = {**pending, **{identity: size for _, identity, size in found.packages}}
        self._set(sum(sizes.values()), len(sizes))
        self._found, self._before = (None if found.unreadable else found.sieve), None
        self.unreadable = str(found.unreadable[0]) if found.unreadable else ""
        for failure in found.unreadable:
            self._calls.count(failure)
            self._log.warning("folder.unreadable", reason=Reason.DISK, detail=str(failure))
        return found.packages

    def take(self, tally: Tally) -> None:
        """Somebody has walked through all of it: that will do for the first count."""
        if self._before is None:
            return
        missed = [size for identity, size in self._before.items() if str(identity) not in tally.sieve]
        self._set(tally.bytes + sum(missed), tally.packages + len(missed))
        self._found, self._before = tally.sieve, None

    async def disk(self) -> tuple[int, int]:
        """Bytes of the disk: in all, free for us."""
        return await self._calls.run(self._calls.threads.read, self._calls.fs.room, self._layout.root)

    async def evict(
        self,
        max_bytes: int,
        keep: Callable[[PackageIdentity], bool],
        delete: Callable[[PackageIdentity], Awaitable[int]],
        *,
        young: bool,
    ) -> int:
        """If more than ``max_bytes`` are held, delete the least recently used down to 95 % of it; bytes removed.

        What landed just now goes last, only if ``young`` says so, and only as far as ``max_bytes`` demands. What cannot
        be deleted is passed over, up to ``FAILED_DELETIONS`` packages.
        """
        found = await self.count()
        total = self.bytes
        if total <= max_bytes:
            return 0
        removed, failed = 0, 0
        for is_young, (_, identity, _) in self._in_order(found):
            goal = max_bytes if is_young else LOW_WATER * max_bytes
            if (is_young and not young) or total - removed <= goal or failed > FAILED_DELETIONS:
                break
            if not keep(identity):
                try:
                    removed += await delete(identity)
                except DiskFailure as failure:
                    failed += 1
                    detail = str(failure)
                    self._log.error("package.not_evicted", package=str(identity), reason=Reason.DISK, detail=detail)
        self._metrics.evicted_bytes.inc(removed)
        if removed:
            self._log.info("packages.evicted", bytes=removed, limit=max_bytes)
        return removed

    def would_go(
        self, found: Iterable[Counted], max_bytes: int, keep: Callable[[PackageIdentity], bool]
    ) -> list[Counted]:
        """What ``evict`` would delete of what was ``found``, in its order, where nothing young has to go."""
        left, going = sum(size for _, _, size in found), list[Counted]()
        if left <= max_bytes:
            return going
        for is_young, one in self._in_order(found):
            if is_young or left <= LOW_WATER * max_bytes:
                break
            if not keep(one[1]):
                going.append(one)
                left -= one[2]
        return going

    def _in_order(self, found: Iterable[Counted]) -> list[tuple[bool, Counted]]:
        """With whether it landed just now, which goes last; the least recently used first."""
        self._grow_up()
        return sorted((one[1] in self._landed, one) for one in found)

    def _grow_up(self) -> None:
        """Forget what landed before the last ``YOUNG_SECONDS``."""
        while self._landed and next(iter(self._landed.values())) + YOUNG_SECONDS <= self._clock.monotonic():
            self._landed.popitem(last=False)


def _write(fs: FsOps, layout: Layout, uses: dict[PackageIdentity, float]) -> int:
    """How many; raises the first DiskFailure once all the others are written."""
    written, failed = 0, list[DiskFailure]()
    for identity, when in uses.items():
        try:
            fs.utime(layout.marker(identity), when)
            written += 1
        except MissingFile:  # deleted meanwhile
            continue
        except DiskFailure as failure:
            failed.append(failure)
    if failed:
        raise failed[0]
    return written


class Tally:
    """What a walk has come by."""

    def __init__(self) -> None:
        self.bytes = 0
        self.packages = 0
        self.sieve = Sieve()

    def add(self, identity: PackageIdentity, size: int) -> None:
        """One more."""
        self.packages += 1
        self.bytes += size
        self.sieve.add(str(identity))


def walk(
    fs: FsOps, layout: Layout, counted: Callable[[Tally], object] | None = None
) -> Iterator[tuple[PackageIdentity, int, float]]:
    """(identity, bytes, last use) of every package, also of one that still lacks its hash file. Blocks.

    At the end ``counted`` is told of all; DiskFailure where the folder of an id could not be listed.
    """
    tally, failures = Tally(), list[DiskFailure]()
    for id_name in fs.names(layout.packages):
        try:
            found = list(walk_id(fs, layout, id_name))
        except DiskFailure as failure:
            failures.append(failure)
            continue
        for identity, size, used in found:
            tally.add(identity, size)
            yield identity, size, used
    if failures:
        raise failures[0]
    if counted is not None:
        counted(tally)


def walk_id(fs: FsOps, layout: Layout, id_name: str) -> Iterator[tuple[PackageIdentity, int, float]]:
    """As ``walk``, of the packages below one folder of ``packages``."""
    for identity in layout.identities_of(fs, id_name):
        nupkg = f"{layout.root}/packages/{id_name}/{identity.version}/{identity.nupkg_name}"
        try:
            state = fs.stat(nupkg)
        except DiskFailure:
            continue
        try:
            used = fs.stat(f"{nupkg}{HASH_SUFFIX}").st_mtime
        except DiskFailure:
            used = state.st_ctime  # not the package's own time, which is when it was published
        yield identity, state.st_size, used


class _Survey(Struct, frozen=True):
    """What a folder holds, as far as it can be read."""

    packages: list[Counted]
    """The least recently used first."""
    unreadable: list[DiskFailure]
    """Of folders of ids that could not be listed: they must not keep the others from being counted or evicted."""
    sieve: Sieve
    """Of the packages."""


def _survey(fs: FsOps, layout: Layout, uses: dict[PackageIdentity, float]) -> _Survey:
    """Count everything. Blocks; raises DiskFailure where not even the ids can be listed."""
    found, unreadable = [], []
    for id_name in fs.names(layout.packages):
        try:
            found += [(uses.get(held, used), held, size) for held, size, used in walk_id(fs, layout, id_name)]
        except DiskFailure as failure:
            unreadable.append(failure)
    return _Survey(sorted(found), unreadable, Sieve(str(identity) for _, identity, _ in found))
