"""OpenFiles holds the descriptors of the packages that were used last."""

from __future__ import annotations

from collections import OrderedDict

from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.store.fs import DiskFailure, FsOps
from nugetproxy.store.packages.held import HeldPackage

KEPT = 512
"""Descriptors kept open, so that a hit needs no open."""


class OpenFiles:
    """At most ``limit`` packages, each held once; for the event loop only."""

    def __init__(self, fs: FsOps, limit: int = KEPT) -> None:
        self._fs = fs
        self._limit = limit
        self._packages: OrderedDict[PackageIdentity, HeldPackage] = OrderedDict()

    def get(self, identity: PackageIdentity) -> HeldPackage | None:
        """The package if it is kept and its file is still the one that was verified; never blocks."""
        held = self._packages.get(identity)
        if held is None:
            return None
        try:
            intact = held.intact(self._fs)
        except DiskFailure:
            intact = False
        if not intact:
            self.drop(identity)
            return None
        self._packages.move_to_end(identity)
        return held

    def add(self, held: HeldPackage) -> None:
        """Keep a package that the caller holds once, taking that hold over."""
        self.drop(held.identity)
        self._packages[held.identity] = held
        while len(self._packages) > self._limit:
            self._packages.popitem(last=False)[1].release()

    def drop(self, identity: PackageIdentity) -> None:
        """Keep it no longer."""
        held = self._packages.pop(identity, None)
        if held is not None:
            held.release()

    def clear(self) -> None:
        """Keep none."""
        while self._packages:
            self._packages.popitem()[1].release()

    def __len__(self) -> int:
        return len(self._packages)
