"""What is read out of a held package; all of it blocks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from nugetproxy.nuget.nuspec import Nuspec, inspect_package, read_member
from nugetproxy.store.fs import FsOps
from nugetproxy.store.held import HeldPackage
from nugetproxy.store.reader import reader

MAX_MEMBER = 4 * 1024 * 1024
"""Largest icon, licence or readme that is read out of a package, in bytes; nuget.org allows 1 MB."""

MemberKind = Literal["readme", "icon", "license"]
_PATH: dict[MemberKind, Callable[[Nuspec], str]] = {
    "readme": lambda nuspec: nuspec.readme,
    "icon": lambda nuspec: nuspec.icon,
    "license": lambda nuspec: nuspec.license_file,
}


def manifest(fs: FsOps, held: HeldPackage) -> Nuspec:
    """The nuspec in the package, which its hash covers (the unpacked copy beside it is for NuGet only).

    Raises InvalidPackage, DiskFailure.
    """
    return inspect_package(reader(fs, held.fd, held.size), held.identity)


def member(fs: FsOps, held: HeldPackage, kind: MemberKind) -> tuple[bytes, str] | None:
    """The file that the nuspec names for ``kind``, with its path in the package; raises as ``manifest`` does."""
    path = _PATH[kind](manifest(fs, held))
    content = read_member(reader(fs, held.fd, held.size), path, MAX_MEMBER) if path else None
    return None if content is None else (content, path)
