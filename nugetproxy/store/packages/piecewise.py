"""PieceCheck computes the hash of one package piece by piece, so that its reader can pause in between."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator

from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.store.fs import FsOps, MissingFile
from nugetproxy.store.packages.held import Descriptor, stamp
from nugetproxy.store.packages.layout import Layout
from nugetproxy.store.packages.verify import Known, read_marker

PIECE = 1024 * 1024
CHECKED_BYTES = 4 * 2**20
"""So much of a package is looked into in one go."""


class PieceCheck:
    """A package as it was when the check began; all methods but ``close`` block."""

    def __init__(self, fs: FsOps, descriptor: Descriptor, marker: str) -> None:
        self._fs = fs
        self._descriptor = descriptor
        self._marker = marker
        self._stamp = stamp(fs.fstat(descriptor.fd))
        self._digest = hashlib.sha512()
        self._at = 0

    def step(self) -> int:
        """Read the next piece; its size in bytes, 0 at the end. Raises DiskFailure."""
        piece = self._fs.read(self._descriptor.fd, PIECE, self._at)
        self._digest.update(piece)
        self._at += len(piece)
        return len(piece)

    def verdict(self) -> Known | None:
        """What is known of the package now; None where it is damaged, or was changed meanwhile. Raises DiskFailure."""
        sound = base64.b64encode(self._digest.digest()).decode() == self._marker
        unchanged = stamp(self._fs.fstat(self._descriptor.fd)) == self._stamp
        return Known(self._stamp, self._marker) if sound and unchanged else None

    def close(self) -> None:
        """Let go of the file; once."""
        self._descriptor.release()


def begin_check(
    fs: FsOps, layout: Layout, identity: PackageIdentity, own: Callable[[int], Descriptor]
) -> PieceCheck | None:
    """The check of a package with its hash file; None where one of the two is missing. Blocks; raises DiskFailure.

    ``own`` makes the descriptor's owner, here in the thread: a caller that was cancelled could not close it.
    """
    try:
        descriptor = own(fs.open(layout.nupkg(identity)))
    except MissingFile:
        return None
    marker = read_marker(fs, layout, identity)
    if marker is None:
        descriptor.release()
        return None
    return PieceCheck(fs, descriptor, marker)


def next_steps(steps: Iterator[int]) -> int:
    """Some steps; the bytes that they have looked at, 0 at the end."""
    done = 0
    for size in steps:
        done += size
        if done >= CHECKED_BYTES:
            break
    return done
