"""Loose packages are ``.nupkg`` files that others put on the disk; they are read, never changed. All of it blocks."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from msgspec import Struct

from nugetproxy.errors import Reason
from nugetproxy.nuget.facts import PackageFacts
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.nuget.nuspec import InvalidPackage, inspect_package
from nugetproxy.store.fs import DiskFailure, FsOps, MissingFile
from nugetproxy.store.library.listing import SUFFIX
from nugetproxy.store.packages.held import Stamp, stamp
from nugetproxy.store.packages.layout import HASH_SUFFIX
from nugetproxy.store.packages.reading import reader
from nugetproxy.store.packages.verify import Known, check_whole, read_marker


class ChangedFile(DiskFailure):
    """The file is no longer the one that was listed."""


class OtherHash(InvalidPackage):
    """The SHA-512 of a package is not the one (base64) that is ``stated`` in the file beside it."""

    def __init__(self, refused: InvalidPackage, stated: str) -> None:
        super().__init__(refused.reason, refused.detail)
        self.stated = stated


class Opened(Struct, frozen=True):
    """A package that may be served; ``fd`` now belongs to the receiver, ``sha512`` is in base64."""

    fd: int
    state: os.stat_result
    sha512: str


def may_pass(failure: DiskFailure) -> bool:
    """Whether the same file may be read another time; one that has changed is seen to have."""
    return not isinstance(failure, ChangedFile | MissingFile)


def named(path: str) -> PackageIdentity | None:
    """The identity that a path (relative, with slashes) promises: ``<id>/<version>/...`` does, flat ones do not."""
    parts = path.split("/")
    return PackageIdentity.parse(parts[0], parts[1]) if len(parts) == 3 else None


def likely(path: str) -> Iterator[PackageIdentity]:
    """The identities that a file name may stand for; ``a.1.2.3.nupkg`` may be ``a 1.2.3`` or ``a.1 2.3``."""
    words = path.rpartition("/")[2][: -len(SUFFIX)].split(".")
    for split in range(1, len(words)):
        identity = PackageIdentity.parse(".".join(words[:split]), ".".join(words[split:]))
        if identity is not None:
            yield identity


def modified(at: Stamp) -> float:
    """When a file was last changed, in seconds since the epoch."""
    return at.mtime_ns / 1e9


def read_loose(fs: FsOps, root: Path, path: str, listed: Stamp) -> PackageFacts:
    """What a package says of itself, its structure checked.

    Raises InvalidPackage for what is no package (or not yet), or not the one that its path promises; ChangedFile,
    MissingFile and other DiskFailures.
    """
    fd = _open(fs, root, path, listed)
    try:
        nuspec = inspect_package(reader(fs, fd, listed.size), named(path))
        _unchanged(fs, fd, path, listed)
    finally:
        fs.close(fd)
    return PackageFacts.of(nuspec, published=modified(listed), size=listed.size)


def open_loose(
    fs: FsOps, root: Path, path: str, listed: Stamp, *, identity: PackageIdentity, known: Known | None
) -> Opened:
    """Open a package to be served; raises as ``read_loose`` does.

    The whole file is checked, against the hash beside it or its own checksums, unless ``known`` was found out about
    the very same, unchanged file.
    """
    fd = _open(fs, root, path, listed)
    try:
        if known is None or known.stamp != listed:
            stated = _stated_hash(fs, root, path)
            try:
                known = Known(listed, check_whole(fs, fd, listed.size, identity, stated)[1])
            except InvalidPackage as error:
                raise OtherHash(error, stated) if stated and error.reason is Reason.HASH else error from None
        return Opened(fd, _unchanged(fs, fd, path, listed), known.sha512)
    except BaseException:
        fs.close(fd)
        raise


def stated_anew(fs: FsOps, root: Path, contradicted: Iterable[tuple[str, Stamp, str]]) -> dict[str, Stamp]:
    """Those beside which another hash is stated now, or none: a copy may write a package some time before its hash."""
    found = {}
    for path, at, stated in contradicted:
        with contextlib.suppress(DiskFailure):
            if _stated_hash(fs, root, path) != stated:
                found[path] = at
    return found


def _stated_hash(fs: FsOps, root: Path, path: str) -> str | None:
    return read_marker(fs, (root / path).with_name(Path(path).name + HASH_SUFFIX))


def _open(fs: FsOps, root: Path, path: str, listed: Stamp) -> int:
    fd = fs.open(root / path)
    try:
        _unchanged(fs, fd, path, listed)
    except DiskFailure:
        fs.close(fd)
        raise
    return fd


def _unchanged(fs: FsOps, fd: int, path: str, listed: Stamp) -> os.stat_result:
    state = fs.fstat(fd)
    if stamp(state) != listed:
        raise ChangedFile("fstat", errno.ESTALE, path)
    return state
