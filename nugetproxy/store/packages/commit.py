"""The blocking steps that make a package appear in its folder or vanish from it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.store.fs import DiskFailure, FsOps, MissingFile
from nugetproxy.store.packages.layout import Layout

QUARANTINE_KEPT = 16
"""Damaged packages kept for inspection; more would fill the disk unseen."""


def publish(
    fs: FsOps,
    layout: Layout,
    identity: PackageIdentity,
    *,
    part: Path,
    fd: int,
    nuspec: bytes,
    sha512: str,
    warnings: tuple[str, ...] = (),
    published: float | None = None,
) -> os.stat_result:
    """Move the finished ``part`` (open as ``fd``) into the folder; its state, which the move does not change.

    ``published``, in seconds since the epoch, becomes its file's time: NuGet reads it there.

    Raises DiskFailure, and then nothing is left.

    The fsyncs make the order nuspec, package, hash file hold after a power cut too: a hash file that is there vouches
    for content that is there.
    """
    try:
        if published is not None:
            with contextlib.suppress(DiskFailure):
                fs.utime(part, published)
        fs.fsync(fd)
        state = fs.fstat(fd)
        _make_directories(fs, layout, identity)
        remove_file(fs, layout.marker(identity))  # a hash file without its package, left by a deletion
        write_file(fs, layout, layout.nuspec(identity), nuspec)
        if warnings:
            write_file(fs, layout, layout.warnings(identity), "\n".join(warnings).encode())
        fs.rename(part, layout.nupkg(identity))
        fs.fsync_dir(layout.directory(identity))
        mark(fs, layout, identity, sha512)
    except DiskFailure:
        with contextlib.suppress(DiskFailure):
            remove_file(fs, part)
        with contextlib.suppress(DiskFailure):
            remove_package(fs, layout, identity)
        raise
    return state


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
    """Make the package's folder, durably.

    Both parents are always synced: another thread may have made the id's folder without having synced it yet. Tried
    again when a deletion of another version removes the id's folder in between.
    """
    directory = layout.directory(identity)
    for last in (False, False, True):
        try:
            layout.prepare(fs)
            fs.mkdir(directory.parent)
            fs.mkdir(directory)
            fs.fsync_dir(directory.parent)
            fs.fsync_dir(layout.packages)
        except MissingFile:
            if last:
                raise
        else:
            return
