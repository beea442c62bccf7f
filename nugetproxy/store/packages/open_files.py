"""OpenFiles holds the descriptors of the packages that were used last."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.store.fs import DiskFailure, FsOps
from nugetproxy.store.packages.held import HeldPackage

KEPT = 512
"""Descriptors kept open, so that a hit needs no open."""


class OpenFiles:
    """At most ``limit`` packages, each held once; for the event loop only."""

    def __init__(self, fs: FsOps, limit: int = KEPT, note_use: Callable[[PackageIdentity], None] | None = None) -> None:
        """``note_use`` is told of uses without a look into the folder."""
        self._fs = fs
        self._limit = limit
        self._note_use = note_use
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

    def use_again(self, held: HeldPackage) -> bool:
        """Note a use of what is still kept open, unchanged; False where it is not."""
        if self._note_use is None or self.get(held.identity) is not held:
            return False
        self._note_use(held.identity)
        return True

    def add(self, held: HeldPackage) -> None:
        """Keep a package that the caller holds once, taking that hold over."""
        self.drop(held.identity)
        self._packages[held.identity] = held
        held.keeper = self
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
