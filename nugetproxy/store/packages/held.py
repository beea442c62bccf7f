"""HeldPackage is one verified package on disk with its open descriptor."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from types import TracebackType
from typing import NamedTuple, Protocol, Self

from msgspec import Struct

from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.nuget.signatures.verdict import Verdict
from nugetproxy.store.fs import FsOps


class Stamp(NamedTuple):
    """What tells a changed file from the one that was verified."""

    device: int
    inode: int
    size: int
    mtime_ns: int

    def same_file_resized(self, now: Stamp) -> bool:
        """True when it is the same file, but shorter or longer."""
        return (self.device, self.inode) == (now.device, now.inode) and self.size != now.size


def stamp(state: os.stat_result) -> Stamp:
    """The stamp of a file in this state."""
    return Stamp(state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns)


class Descriptor:
    """A file descriptor that is shared by counting; begins with one holder, closes with the last.

    ``close`` gets the number; it may hand it to a thread, since the last close of a deleted file frees its blocks.
    """

    __slots__ = ("_close", "_fd", "_holders")

    def __init__(self, fd: int, close: Callable[[int], None]) -> None:
        self._fd = fd
        self._holders = 1
        self._close = close

    @property
    def fd(self) -> int:
        """The number; raises ValueError once closed, so that a late reader never reads another file's bytes."""
        if self._holders == 0:
            raise ValueError("the descriptor is closed; acquire() it before the first wait")
        return self._fd

    @property
    def closed(self) -> bool:
        """True when the last holder has left."""
        return self._holders == 0

    def acquire(self) -> None:
        """Become a holder; raises ValueError once closed."""
        if self._holders == 0:
            raise ValueError("the descriptor is closed")
        self._holders += 1

    def release(self) -> None:
        """Stop being a holder; raises ValueError when there is none left."""
        if self._holders == 0:
            raise ValueError("the descriptor was released more often than acquired")
        self._holders -= 1
        if self._holders == 0:
            self._close(self._fd)

    def __del__(self) -> None:
        # A holder that died without release() must not cost the descriptor for ever.
        if self._holders:
            self._holders = 0
            with contextlib.suppress(OSError):
                os.close(self._fd)


class Signed(Struct, frozen=True, kw_only=True):
    """A verdict over the signature of a package, by the trust of one time."""

    verdict: Verdict
    trust: object
    """By which it was found; another one asks for another verdict."""
    notice: str = ""
    """What clients are told of it."""
    until: float
    """Wall time at which somebody has to look again."""


class Keeper(Protocol):
    """Keeps packages open."""

    def use_again(self, held: HeldPackage) -> bool:
        """Note a use of what is still kept open, unchanged; False where it is not."""


class HeldPackage:
    """A package that is held, immutable; ``acquire()`` keeps its descriptor open until ``release()``.

    ``with held:`` does both. ``size`` in bytes, ``modified`` (when it was published, as far as that is known) with
    ``arrived`` wall times in seconds since the epoch, ``sha512`` base64, ``etag`` strong with its quotes, equal on
    every replica.
    """

    __slots__ = (
        "_descriptor",
        "arrived",
        "checked",
        "etag",
        "identity",
        "keeper",
        "modified",
        "sha512",
        "signed",
        "size",
        "stamp",
        "used_now",
        "warnings",
    )

    def __init__(self, identity: PackageIdentity, descriptor: Descriptor, state: os.stat_result, sha512: str) -> None:
        self.identity = identity
        self.size = state.st_size
        self.sha512 = sha512
        self.etag = f'"sha512-{sha512}"'
        self._descriptor = descriptor
        self.changed(state)
        self.warnings: tuple[str, ...] = ()
        """What upstream had to say about it, when it was fetched."""
        self.checked = True
        """False while every file in it has yet to be compared with its checksum."""
        self.signed: Signed | None = None
        """What is thought of its signature; None where nobody has asked yet."""
        self.used_now = False
        """True within the turn of the loop in which its keeper has looked at its file for a use."""
        self.keeper: Keeper | None = None
        """Who keeps it open between requests; None where nobody does any more."""

    @property
    def notices(self) -> tuple[str, ...]:
        """What clients are told beside it."""
        return self.warnings if self.signed is None or not self.signed.notice else (*self.warnings, self.signed.notice)

    @property
    def fd(self) -> int:
        """For os.pread, os.sendfile; raises ValueError once closed."""
        return self._descriptor.fd

    @property
    def closed(self) -> bool:
        """True when the descriptor was closed."""
        return self._descriptor.closed

    def acquire(self) -> Self:
        """Keep the descriptor open; every call needs its ``release()``."""
        self._descriptor.acquire()
        return self

    def release(self) -> None:
        """Let go of the descriptor."""
        self._descriptor.release()

    def __enter__(self) -> Self:
        return self.acquire()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.release()

    def changed(self, state: os.stat_result) -> None:
        """The file has other times now, the same bytes."""
        self.modified = state.st_mtime
        self.arrived = state.st_ctime  # when the file was last moved or given another time: seldom, and by us
        self.stamp = stamp(state)

    def intact(self, fs: FsOps) -> bool:
        """True while the file is still there with the size and time that were verified; a quick fstat."""
        state, known = fs.fstat(self._descriptor.fd), self.stamp
        # Compared without making a stamp: a hit's dearest part.
        return (
            state.st_nlink > 0
            and state.st_mtime_ns == known.mtime_ns
            and state.st_size == known.size
            and state.st_ino == known.inode
            and state.st_dev == known.device
        )
