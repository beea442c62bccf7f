"""The blocking steps that make a package appear in its folder or vanish from it."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.store.fs import DiskFailure, FsOps, MissingFile
from nugetproxy.store.packages.layout import Layout

QUARANTINE_KEPT = 16
"""Damaged packages kept for inspection; more would fill the disk unseen."""


@dataclass(slots=True, kw_only=True)
class Verified:
    """A package that was verified, with all that its folder gets; ``path`` is where it lies now, open as ``fd``."""

    identity: PackageIdentity
    path: Path
    fd: int
    nuspec: bytes
    sha512: str
    """In base64."""
    warnings: tuple[str, ...] = ()


def seal(fs: FsOps, package: Verified, sealed: Path | None, published: float | None) -> os.stat_result:
    """Give a finished file its time, then the name from which a start commits it; the state that it keeps.

    Nothing is synced, so this outlives the end of the process, but no power cut. ``published``, in seconds since the
    epoch, becomes the file's time: NuGet reads it there. Raises DiskFailure.
    """
    if published is not None:
        with contextlib.suppress(DiskFailure):
            fs.utime(package.path, published)
    if sealed is not None:
        fs.rename(package.path, sealed)
        package.path = sealed
    return fs.fstat(package.fd)


def publish(fs: FsOps, layout: Layout, package: Verified) -> None:
    """Move a package into its folder, durably once ``layout.packages`` is synced too. Raises DiskFailure.

    The fsyncs make the order nuspec, package, hash file hold after a power cut too: a hash file that is there vouches
    for content that is there. Done again after a failure, it goes on where it was.
    """
    identity = package.identity
    fs.fsync(package.fd)
    _make_directories(fs, layout, identity)
    remove_file(fs, layout.marker(identity))  # a hash file without its package, left by a deletion
    write_file(fs, layout, layout.nuspec(identity), package.nuspec)
    if package.warnings:
        write_file(fs, layout, layout.warnings(identity), "\n".join(package.warnings).encode())
    fs.rename(package.path, layout.nupkg(identity))
    package.path = layout.nupkg(identity)
    fs.fsync_dir(layout.directory(identity))
    mark(fs, layout, identity, package.sha512)
    # Even where it was there: a run that was killed may have made it without having synced it.
    fs.fsync_dir(layout.directory(identity).parent)


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
    fd = fs.create(scratch)
    try:
        try:
            fs.write(fd, data, 0)
            fs.fsync(fd)
        finally:
            fs.close(fd)
        fs.rename(scratch, target)
    except DiskFailure:
        with contextlib.suppress(DiskFailure):
            remove_file(fs, scratch)
        raise


def remove_file(fs: FsOps, path: Path) -> bool:
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


def keep_aside(fs: FsOps, layout: Layout, path: Path, name: str) -> None:
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


def _make_directories(fs: FsOps, layout: Layout, identity: PackageIdentity) -> None:
    """Make the package's folder. Again when a deletion of another version removes the id's folder in between."""
    directory = layout.directory(identity)
    for last in (False, False, True):
        try:
            fs.mkdir(directory.parent)
            fs.mkdir(directory)
        except MissingFile:
            if last:
                raise
            layout.prepare(fs)
        else:
            return
