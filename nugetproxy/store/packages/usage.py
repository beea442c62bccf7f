"""Usage counts what a package folder holds, with when each package was used last."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

from nugetproxy.metrics import Metrics
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.store.fs import DiskFailure, FsOps, MissingFile
from nugetproxy.store.packages.layout import Layout

LOW_WATER = 0.95
"""Eviction goes down to this part of the limit, so that the next package does not need another one."""
YOUNG_SECONDS = 10.0
"""What landed so recently goes last: whoever has just asked for it may come back."""


class Usage:
    """Totals, kept right by every commit and deletion, made right by every count; last uses not yet written.

    The last use is the modification time of the hash file: it costs no database, survives a restart, and the package
    itself keeps the time that tells whether it was changed.
    """

    def __init__(self, metrics: Metrics) -> None:
        self.bytes = 0
        self.packages = 0
        self._metrics = metrics
        self._uses: dict[PackageIdentity, float] = {}
        self._landed: OrderedDict[PackageIdentity, float] = OrderedDict()

    def add(self, size: int, packages: int) -> None:
        """Something came (positive) or went (negative)."""
        self.set(max(0, self.bytes + size), max(0, self.packages + packages))

    def set(self, size: int, packages: int) -> None:
        """What a count has found; the gauges are sums over all upstreams' folders."""
        self._metrics.store_bytes.labels("packages").inc(size - self.bytes)
        self._metrics.store_packages.inc(packages - self.packages)
        self.bytes, self.packages = size, packages

    def note_use(self, identity: PackageIdentity, now: float) -> None:
        """Remember a use, in memory."""
        self._uses[identity] = now

    def landed(self, identity: PackageIdentity, size: int, now: float) -> None:
        """A package came, at this monotonic time."""
        self.add(size, 1)
        self._landed[identity] = now
        self._landed.move_to_end(identity)
        self._grow_up(now)

    def young(self, now: float) -> frozenset[PackageIdentity]:
        """What landed within the last ``YOUNG_SECONDS``."""
        self._grow_up(now)
        return frozenset(self._landed)

    def _grow_up(self, now: float) -> None:
        while self._landed and next(iter(self._landed.values())) + YOUNG_SECONDS <= now:
            self._landed.popitem(last=False)

    def forget_use(self, identity: PackageIdentity) -> None:
        """The package is gone."""
        self._uses.pop(identity, None)
        self._landed.pop(identity, None)

    def take_uses(self) -> dict[PackageIdentity, float]:
        """The uses to be written now."""
        uses, self._uses = self._uses, {}
        return uses

    def unwritten_uses(self) -> dict[PackageIdentity, float]:
        """A copy, for a thread."""
        return dict(self._uses)


def write_uses(fs: FsOps, layout: Layout, uses: dict[PackageIdentity, float]) -> int:
    """Write last uses to the hash files; how many. Blocks; raises DiskFailure."""
    written = 0
    for identity, when in uses.items():
        try:
            fs.utime(layout.marker(identity), when)
            written += 1
        except MissingFile:  # deleted meanwhile
            continue
    return written


def walk(fs: FsOps, layout: Layout) -> Iterator[tuple[PackageIdentity, int, float]]:
    """(identity, bytes, last use) of every package, also of one that still lacks its hash file. Blocks."""
    for id_name in fs.names(layout.packages):
        yield from walk_id(fs, layout, id_name)


def walk_id(fs: FsOps, layout: Layout, id_name: str) -> Iterator[tuple[PackageIdentity, int, float]]:
    """As ``walk``, of the packages below one folder of ``packages``."""
    for identity in layout.identities_of(fs, id_name):
        try:
            state = fs.stat(layout.nupkg(identity))
        except DiskFailure:
            continue
        try:
            used = fs.stat(layout.marker(identity)).st_mtime
        except DiskFailure:
            used = state.st_ctime  # not the package's own time, which is when it was published
        yield identity, state.st_size, used


@dataclass(frozen=True, slots=True)
class Survey:
    """What a folder holds, as far as it can be read."""

    packages: list[tuple[float, PackageIdentity, int]]
    """(last use, identity, bytes), the least recently used first."""
    unreadable: list[DiskFailure]
    """Of folders of ids that could not be listed: they must not keep the others from being counted or evicted."""

    @property
    def bytes(self) -> int:
        """In all."""
        return sum(size for _, _, size in self.packages)


def survey(fs: FsOps, layout: Layout, uses: dict[PackageIdentity, float]) -> Survey:
    """Count everything. Blocks; raises DiskFailure where not even the ids can be listed."""
    found, unreadable = [], []
    for id_name in fs.names(layout.packages):
        try:
            found += [(uses.get(held, used), held, size) for held, size, used in walk_id(fs, layout, id_name)]
        except DiskFailure as failure:
            unreadable.append(failure)
    return Survey(sorted(found), unreadable)


def held_after(fs: FsOps, layout: Layout, last: PackageIdentity | None, count: int) -> list[PackageIdentity]:
    """The first ``count`` package folders after ``last`` (None: of all), in the order of their names. Blocks."""
    found: list[PackageIdentity] = []
    for id_name in sorted(name for name in fs.names(layout.packages) if last is None or name >= last.id):
        found += sorted(held for held in layout.identities_of(fs, id_name) if last is None or held > last)
        if len(found) >= count:
            break
    return found[:count]
