"""Verify holds every check between a package on disk and a package that may be served."""

from __future__ import annotations

import base64
import contextlib
import errno
import hashlib
import os
import re
import stat
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from pathlib import Path

from msgspec import Struct

from nugetproxy.errors import Reason
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.nuget.nuspec import InvalidPackage, Nuspec, inspect_package
from nugetproxy.nuget.package import checking
from nugetproxy.store.fs import DiskFailure, FsOps, MissingFile
from nugetproxy.store.packages.commit import mark, write_file
from nugetproxy.store.packages.held import Descriptor, HeldPackage, Stamp, stamp
from nugetproxy.store.packages.layout import Layout
from nugetproxy.store.packages.reading import reader
from nugetproxy.store.threads import DiskCalls

_SHA512 = re.compile(r"[A-Za-z0-9+/]{86}==")
_PIECE = 1024 * 1024
_LOOKED_INTO = 4 * 2**20
"""So much of a package is looked into in one go."""
_MOST_WARNINGS = 64 * 1024
"""Bytes of what an upstream had to say that are read."""

Pace = Callable[[int], Awaitable[None]]
"""Awaited after every piece of a slow check, with the piece's bytes."""


class PackageHash:
    """The SHA-512 of bytes that come piece by piece."""

    def __init__(self) -> None:
        self._digest = hashlib.sha512()
        self.update = self._digest.update

    @property
    def text(self) -> str:
        """Of what came so far: in base64, as NuGet writes it into the hash file."""
        return base64.b64encode(self._digest.digest()).decode()


class Known(Struct, frozen=True):
    """What an earlier check found out about a package."""

    stamp: Stamp
    sha512: str


class Sound(Struct, frozen=True, kw_only=True):
    """A package that may be served; ``fd`` now belongs to the receiver."""

    fd: int
    state: os.stat_result
    sha512: str
    adopted: bool
    """It had no hash file (a crash came before it); now it has one."""


class Damaged(Struct, frozen=True):
    """A package that must not be served; ``reason`` is size, hash, zip, identity or io."""

    reason: str


def check_whole(fs: FsOps, fd: int, size: int, identity: PackageIdentity, stated: str | None) -> tuple[Nuspec, str]:
    """Check every byte of a package against the SHA-512 that is ``stated``, without one against its own checksums.

    Its nuspec, its SHA-512. Blocks; raises InvalidPackage, DiskFailure.
    """
    nuspec = inspect_package(reader(fs, fd, size), identity, contents=not stated)
    sha = sha512_of(fs, fd, size)
    if stated and stated != sha:
        raise InvalidPackage(Reason.HASH, "its SHA-512 is not the one in the file beside it")
    return nuspec, sha


def examine(fs: FsOps, layout: Layout, identity: PackageIdentity, known: Known | None) -> Sound | Damaged | None:
    """Open a package and check it; None if it is not there. Blocks; raises DiskFailure where the check itself fails.

    The whole SHA-512 is computed unless ``known`` was found out about the very same, unchanged file.
    """
    try:
        fd = fs.open(layout.places(identity).nupkg)
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


def read_warnings(fs: FsOps, layout: Layout, identity: PackageIdentity) -> tuple[str, ...]:
    """What upstream had to say about a package; nothing where it cannot be read: not worth a failure. Blocks."""
    try:
        text = fs.content(layout.warnings(identity), _MOST_WARNINGS)
    except DiskFailure:
        return ()
    return tuple(text.decode("utf-8", "replace").splitlines())


def read_marker(fs: FsOps, path: Path) -> str | None:
    """The text of a hash file ("" if it is not a hash); None if there is no such file. Blocks."""
    try:
        text = fs.content(path, 256).decode("latin-1").strip()
    except MissingFile:
        return None
    return text if _SHA512.fullmatch(text) else ""


async def hash_slowly(
    calls: DiskCalls, layout: Layout, identity: PackageIdentity, own: Callable[[int], Descriptor], pace: Pace
) -> Known | None:
    """What is known of a package whose whole SHA-512 is that of its hash file; None where anything else is the case.

    Raises DiskFailure. ``own`` makes the descriptor's owner, in a thread: a cancelled caller could not close it.
    """
    check = await calls.run(calls.threads.read, _SlowHash.begin, calls.fs, layout, identity, own)
    if check is None:
        return None
    with closing(check):
        while size := await calls.run(calls.threads.hash, check.step):
            await pace(size)
        return await calls.run(calls.threads.read, check.verdict)


async def look_into(calls: DiskCalls, held: HeldPackage, pace: Pace) -> str:
    """Compare the checksums of all files in a package; what is wrong, "" where nothing is. Raises DiskFailure."""
    steps = checking(reader(calls.fs, held.fd, held.size))
    with held:
        try:
            while size := await calls.run(calls.threads.hash, _some, steps):
                await pace(size)
        except InvalidPackage as problem:
            return problem.detail
    return ""


def _some(steps: Iterator[int]) -> int:
    done = 0
    for size in steps:
        done += size
        if done >= _LOOKED_INTO:
            break
    return done


class _SlowHash:
    """The hash of one package, piece by piece, so that its reader can pause in between; all but ``close`` block."""

    def __init__(self, fs: FsOps, descriptor: Descriptor, marker: str) -> None:
        self._fs = fs
        self._descriptor = descriptor
        self._marker = marker
        self._stamp = stamp(fs.fstat(descriptor.fd))
        self._hash = PackageHash()
        self._at = 0

    @classmethod
    def begin(
        cls, fs: FsOps, layout: Layout, identity: PackageIdentity, own: Callable[[int], Descriptor]
    ) -> _SlowHash | None:
        """None where package, nuspec or hash file is missing."""
        try:
            fs.stat(layout.nuspec(identity))
            descriptor = own(fs.open(layout.nupkg(identity)))
        except MissingFile:
            return None
        marker = read_marker(fs, layout.marker(identity))
        if marker is None:
            descriptor.release()
            return None
        return cls(fs, descriptor, marker)

    def step(self) -> int:
        """Read the next piece; its size in bytes, 0 at the end."""
        piece = self._fs.read(self._descriptor.fd, _PIECE, self._at)
        self._hash.update(piece)
        self._at += len(piece)
        return len(piece)

    def verdict(self) -> Known | None:
        """What is known of the package now; None where it is damaged, or was changed meanwhile."""
        unchanged = stamp(self._fs.fstat(self._descriptor.fd)) == self._stamp
        return Known(self._stamp, self._marker) if unchanged and self._hash.text == self._marker else None

    def close(self) -> None:
        """Let go of the file; once."""
        self._descriptor.release()


def sha512_of(fs: FsOps, fd: int, size: int) -> str:
    """Of the first ``size`` bytes of a file, in base64. Blocks; raises DiskFailure."""
    digest = PackageHash()
    for offset in range(0, size, _PIECE):
        digest.update(fs.read(fd, min(_PIECE, size - offset), offset))
    return digest.text


def _judge(fs: FsOps, layout: Layout, identity: PackageIdentity, fd: int, known: Known | None) -> Sound | Damaged:
    state = fs.fstat(fd)
    if not stat.S_ISREG(state.st_mode):
        return Damaged("io")
    if state.st_size == 0 or (known is not None and known.stamp.same_file_resized(stamp(state))):
        return Damaged("size")
    marker = read_marker(fs, layout.marker(identity))
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
    nuspec, sha = check_whole(fs, fd, state.st_size, identity, None)
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
