"""Contents are what is read out of a held package."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from structlog.typing import FilteringBoundLogger

from nugetproxy.nuget.kinds import Kind
from nugetproxy.nuget.nuspec import InvalidPackage, Nuspec, inspect_package, read_member
from nugetproxy.store.fs import FsOps
from nugetproxy.store.packages.held import HeldPackage
from nugetproxy.store.packages.reading import reader
from nugetproxy.store.threads import DiskCalls

MAX_MEMBER = 4 * 1024 * 1024
"""Largest icon, licence or readme that is read out of a package, in bytes; nuget.org allows 1 MB."""

_PATH: dict[Kind, Callable[[Nuspec], str]] = {
    Kind.README: lambda nuspec: nuspec.readme,
    Kind.ICON: lambda nuspec: nuspec.icon,
    Kind.LICENSE: lambda nuspec: nuspec.license_file,
}

_T = TypeVar("_T")


class Contents:
    """Reads them in a thread; of a package that is not held, or turns out unreadable, there are none."""

    def __init__(self, calls: DiskCalls, log: FilteringBoundLogger) -> None:
        self._calls = calls
        self._log = log

    async def nuspec(self, held: HeldPackage | None) -> bytes | None:
        """The nuspec, taken out of the verified package; raises DiskFailure."""
        return await self._look(held, lambda held: manifest(self._calls.fs, held).xml)

    async def member(self, held: HeldPackage | None, kind: Kind) -> tuple[bytes, str] | None:
        """A file that the nuspec names, with its path in the package; None if there is none; raises DiskFailure."""
        return await self._look(held, lambda held: member(self._calls.fs, held, kind))

    async def _look(self, held: HeldPackage | None, look: Callable[[HeldPackage], _T]) -> _T | None:
        if held is None:
            return None
        with held:
            try:
                return await self._calls.run(self._calls.threads.read, look, held)
            except InvalidPackage as error:
                self._log.warning("package.unreadable", package=str(held.identity), detail=error.detail)
                return None


def manifest(fs: FsOps, held: HeldPackage) -> Nuspec:
    """The nuspec in the package, which its hash covers (the unpacked copy beside it is for NuGet only).

    Blocks. Raises InvalidPackage, DiskFailure.
    """
    return inspect_package(reader(fs, held.fd, held.size), held.identity)


def member(fs: FsOps, held: HeldPackage, kind: Kind) -> tuple[bytes, str] | None:
    """The file that the nuspec names for ``kind``, with its path in the package; blocks, raises like ``manifest``."""
    path = _PATH[kind](manifest(fs, held))
    content = read_member(reader(fs, held.fd, held.size), path, MAX_MEMBER) if path else None
    return None if content is None else (content, path)
