"""The blocking checks between a package on disk and a package that may be served."""

from __future__ import annotations

import base64
import contextlib
import errno
import hashlib
import os
import re
import stat
from dataclasses import dataclass

from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.nuget.nuspec import InvalidPackage, inspect_package
from nugetproxy.nuget.package import check_entries
from nugetproxy.store.fs import DiskFailure, FsOps, MissingFile
from nugetproxy.store.packages.commit import mark, write_file
from nugetproxy.store.packages.held import Stamp, stamp
from nugetproxy.store.packages.layout import Layout
from nugetproxy.store.packages.reading import reader

_SHA512 = re.compile(r"[A-Za-z0-9+/]{86}==")
_CHUNK = 1024 * 1024
_MOST_WARNINGS = 64 * 1024
"""Bytes of what an upstream had to say that are read."""


@dataclass(frozen=True, slots=True)
class Known:
    """What an earlier check found out about a package."""

    stamp: Stamp
    sha512: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sound:
    """A package that may be served; ``fd`` now belongs to the receiver."""

    fd: int
    state: os.stat_result
    sha512: str
    adopted: bool
    """It had no hash file (a crash came before it); now it has one."""


@dataclass(frozen=True, slots=True)
class Damaged:
    """A package that must not be served; ``reason`` is size, hash, zip, identity or io."""

    reason: str


def examine(fs: FsOps, layout: Layout, identity: PackageIdentity, known: Known | None) -> Sound | Damaged | None:
    """Open a package and check it; None if it is not there. Raises DiskFailure where the check itself fails.

    The whole SHA-512 is computed unless ``known`` was found out about the very same, unchanged file.
    """
    try:
        fd = fs.open(layout.nupkg(identity))
    except MissingFile:
        return None
    finding: Sound | Damaged | None = None
    try:
        finding = _judge(fs, layout, identity, fd, known)
    except InvalidPackage as error:
        finding = Damaged(str(error.reason))
    except DiskFailure as failure:
        if failure.op != "read" or failure.errno != errno.EIO:
            raise
        finding = Damaged("io")
    finally:
        if not isinstance(finding, Sound):
            fs.close(fd)
    return finding


def sha512_of(fs: FsOps, fd: int, size: int) -> str:
    """Base64 SHA-512 of the first ``size`` bytes, as NuGet writes it into the hash file."""
    digest = hashlib.sha512()
    for offset in range(0, size, _CHUNK):
        digest.update(fs.read(fd, min(_CHUNK, size - offset), offset))
    return base64.b64encode(digest.digest()).decode()


def read_warnings(fs: FsOps, layout: Layout, identity: PackageIdentity) -> tuple[str, ...]:
    """What upstream had to say about a package; nothing where that cannot be read, for it is not worth a failure."""
    try:
        fd = fs.open(layout.warnings(identity))
    except DiskFailure:
        return ()
    try:
        return tuple(fs.read(fd, _MOST_WARNINGS, 0).decode("utf-8", "replace").splitlines())
    except DiskFailure:
        return ()
    finally:
        fs.close(fd)


def read_marker(fs: FsOps, layout: Layout, identity: PackageIdentity) -> str | None:
    """The hash file's text ("" if it is not a hash); None if there is no hash file."""
    try:
        fd = fs.open(layout.marker(identity))
    except MissingFile:
        return None
    try:
        text = fs.read(fd, 256, 0).decode("latin-1").strip()
    finally:
        fs.close(fd)
    return text if _SHA512.fullmatch(text) else ""


def _judge(fs: FsOps, layout: Layout, identity: PackageIdentity, fd: int, known: Known | None) -> Sound | Damaged:
    state = fs.fstat(fd)
    if not stat.S_ISREG(state.st_mode):
        return Damaged("io")
    if state.st_size == 0 or (known is not None and known.stamp.same_file_resized(stamp(state))):
        return Damaged("size")
    marker = read_marker(fs, layout, identity)
    if known is not None and known.stamp == stamp(state) and marker in {None, known.sha512}:
        return Sound(fd=fd, state=state, sha512=known.sha512, adopted=False)
    if marker is None:
        return _adopt(fs, layout, identity, fd, state)
    if sha512_of(fs, fd, state.st_size) != marker:
        return Damaged("hash")
    _restore_nuspec(fs, layout, identity, fd, state)
    return Sound(fd=fd, state=state, sha512=marker, adopted=False)


def _adopt(fs: FsOps, layout: Layout, identity: PackageIdentity, fd: int, state: os.stat_result) -> Sound:
    """Take over a package without hash file, if it is the one that its name says, with every checksum inside right."""
    nuspec = inspect_package(reader(fs, fd, state.st_size), identity)
    check_entries(reader(fs, fd, state.st_size))
    sha = sha512_of(fs, fd, state.st_size)
    with contextlib.suppress(DiskFailure):  # a disk that is full or read-only still has a package to serve
        fs.fsync(fd)
        write_file(fs, layout, layout.nuspec(identity), nuspec.xml)
        mark(fs, layout, identity, sha)
    return Sound(fd=fd, state=state, sha512=sha, adopted=True)


def _restore_nuspec(fs: FsOps, layout: Layout, identity: PackageIdentity, fd: int, state: os.stat_result) -> None:
    """Write a lost nuspec again: without it NuGet does not see the package in the folder."""
    try:
        fs.stat(layout.nuspec(identity))
    except MissingFile:
        nuspec = inspect_package(reader(fs, fd, state.st_size), identity)
        with contextlib.suppress(DiskFailure):
            write_file(fs, layout, layout.nuspec(identity), nuspec.xml)
