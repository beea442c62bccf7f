"""The blocking steps that make a package appear in its folder or vanish from it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from msgspec import Struct

from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.store.fs import DiskFailure, FsOps, MissingFile, StrPath
from nugetproxy.store.packages.layout import Layout

QUARANTINE_KEPT = 16
"""Damaged packages kept for inspection; more would fill the disk unseen."""


class Verified(Struct, kw_only=True):
    """A package that was verified, with all that its folder gets; ``path`` is where it lies now, open as ``fd``."""

    identity: PackageIdentity
    path: StrPath
    fd: int
    nuspec: bytes
    sha512: str
    """In base64."""
    warnings: tuple[str, ...] = ()
    signer: str | None = None
    """Who has signed it, as far as that was looked at."""
    is_sealed: bool = False
    """Whether a start would find it where it lies."""


def seal(fs: FsOps, package: Verified, sealed: str | None, published: float | None) -> os.stat_result:
    """Give a finished file its time, then the name from which a start commits it; the state that it keeps.

    A file that was made under that name is committed by a start as soon as it is whole, as the name says what is.

    Nothing is synced, so this outlives the end of the process, but no power cut. ``published``, in seconds since the
    epoch, becomes the file's time: NuGet reads it there. Raises DiskFailure.
    """
    if published is not None:
        with contextlib.suppress(DiskFailure):
            fs.utime(package.path, published)
    if sealed is not None:
        if package.path != sealed:
            fs.rename(package.path, sealed)
        package.path, package.is_sealed = sealed, True
    return fs.fstat(package.fd)


def withdraw(fs: FsOps, layout: Layout, package: Verified) -> None:
    """Leave nothing of a package that could not be published, as far as the disk lets go of it."""
    with contextlib.suppress(DiskFailure):
        remove_file(fs, package.path)
    with contextlib.suppress(DiskFailure):
        remove_package(fs, layout, package.identity)


def mark(fs: FsOps, layout: Layout, identity: PackageIdentity, sha512: str) -> None:
    """Write the hash file, durably: the commit."""
    write_file(fs, layout, layout.marker(identity), sha512.encode())
    fs.fsync_dir(layout.directory(identity))


def write_file(fs: FsOps, layout: Layout, target: Path, data: bytes) -> None:
    """Make a whole small file appear under its final name (the directory is the caller's to fsync)."""
    scratch = layout.scratch()
    try:
        fs.write_new(scratch, data)
        fs.rename(scratch, target)
    except DiskFailure:
        with contextlib.suppress(DiskFailure):
            remove_file(fs, scratch)
        raise


def remove_file(fs: FsOps, path: StrPath) -> bool:
    """Remove a file; False if it was not there."""
    try:
        fs.unlink(path)
    except MissingFile:
        return False
    return True


def remove_package(fs: FsOps, layout: Layout, identity: PackageIdentity) -> int:
    """Remove a package, hash file first; its size in bytes, or 0 if there was none. Readers keep their descriptors."""
    try:
        size = fs.stat(layout.nupkg(identity)).st_size
    except MissingFile:
        size = 0
    remove_file(fs, layout.marker(identity))
    remove_file(fs, layout.nupkg(identity))
    _tidy(fs, layout, identity)
    return size


def set_aside(fs: FsOps, layout: Layout, identity: PackageIdentity, name: str) -> int:
    """Move a damaged package into quarantine as ``name``; its size in bytes, 0 if it is gone already.

    The hash file goes last, after the move is durable: without it, a package is one to be adopted.
    """
    try:
        size = fs.stat(layout.nupkg(identity)).st_size
        keep_aside(fs, layout, layout.nupkg(identity), name)
        fs.fsync_dir(layout.directory(identity))
    except MissingFile:
        size = 0
    remove_file(fs, layout.marker(identity))
    _tidy(fs, layout, identity)
    return size


def keep_aside(fs: FsOps, layout: Layout, path: StrPath, name: str) -> None:
    """Move a file into quarantine as ``name``, the oldest ones there make way."""
    fs.mkdir(layout.quarantine)
    fs.rename(path, layout.quarantine / name)
    for old in sorted(fs.names(layout.quarantine))[:-QUARANTINE_KEPT]:
        with contextlib.suppress(DiskFailure):
            remove_file(fs, layout.quarantine / old)


def _tidy(fs: FsOps, layout: Layout, identity: PackageIdentity) -> None:
    remove_file(fs, layout.nuspec(identity))
    remove_file(fs, layout.warnings(identity))
    directory = layout.directory(identity)
    fs.rmdir(directory)
    fs.rmdir(directory.parent)
