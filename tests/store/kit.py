"""What the tests of the store have in common."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from nugetproxy.nuget.facts import PackageFacts
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.store.fs import FsOps
from nugetproxy.store.holdings.holdings import Holdings
from nugetproxy.store.packages.folder import PackageFolder
from nugetproxy.store.packages.held import HeldPackage
from tests.fakes.packages import make_nupkg

IDENTITY = PackageIdentity("newtonsoft.json", "13.0.3")
NUPKG = make_nupkg("Newtonsoft.Json", "13.0.3", size=3000, readme="# read me", icon=b"\x89PNG", license_file="MIT")


class FailingFs(FsOps):
    """Fails the call number ``at`` (from 1; every later one too if ``for_ever``) with an errno, if ``only`` matches."""

    def __init__(self, *, code: int = errno.EIO, at: int = 0, for_ever: bool = False, only: str = "") -> None:
        self.code = code
        self.at = at
        self.for_ever = for_ever
        self.only = only
        self.calls = 0
        self.failed: list[str] = []

    def call(self, op: str, path: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if self.at and (not self.only or op == self.only) and op != "close":
            self.calls += 1
            if self.calls == self.at or (self.for_ever and self.calls > self.at):
                self.failed.append(op)
                return super().call(op, path, self._fail)
        return super().call(op, path, function, *args, **kwargs)

    def _fail(self) -> None:
        raise OSError(self.code, os.strerror(self.code))

    def arm(self, at: int, code: int, *, for_ever: bool = False, only: str = "") -> None:
        """Count from here."""
        self.at, self.code, self.for_ever, self.only, self.calls, self.failed = at, code, for_ever, only, 0, []

    def disarm(self) -> None:
        """Let everything work again."""
        self.at = 0


async def store(
    folder: PackageFolder,
    nupkg: bytes = NUPKG,
    identity: PackageIdentity = IDENTITY,
    *,
    piece: int = 1000,
    in_memory: int = 0,
) -> HeldPackage:
    """Download, verify and commit a package in pieces; the result is borrowed from the folder."""
    staged = await folder.stage(identity, in_memory=in_memory)
    try:
        for at in range(0, len(nupkg), piece):
            await staged.write(nupkg[at : at + piece])
        held = await staged.land(staged.look(identity))
        await folder.pending.empty()
        return held
    finally:
        await staged.abandon()
        staged.close()


def content(held: HeldPackage) -> bytes:
    """All bytes, by pread."""
    return os.pread(held.fd, held.size + 1, 0)


def files(root: Path) -> set[str]:
    """Every file below ``root``, relative."""
    return {str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir()}


def package_files(identity: PackageIdentity) -> set[str]:
    """The three files of a held package, relative to the root."""
    base = f"packages/{identity.id}/{identity.version}/"
    return {base + identity.nupkg_name, base + identity.nuspec_name, base + identity.nupkg_name + ".sha512"}


def count(metric: Any, *labels: str) -> float:
    """The value of a counter or gauge."""
    return float((metric.labels(*labels) if labels else metric)._value.get())


def held_versions(folder: PackageFolder, id: str) -> tuple[str, ...]:
    """The versions of ``id`` with all three files, sorted as text."""
    found = (identity for identity, _, _ in folder.walk() if identity.id == id)
    return tuple(sorted(identity.version for identity in found if folder.layout.marker(identity).exists()))


async def hold(holdings: Holdings, facts: Iterable[PackageFacts]) -> None:
    """Make the holdings those of a folder with these packages."""
    shelf = {one.identity: one for one in facts}
    walk = [(one.identity, one.size, one.published) for one in shelf.values()]
    await holdings.sync(lambda: walk, lambda identity, _: shelf.get(identity))
