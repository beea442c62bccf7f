"""Staged is a package file while it is being downloaded."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Final, Protocol, Self, TypeVar

from nugetproxy.errors import ProxyError
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.nuget.nuspec import Nuspec
from nugetproxy.store.fs import DiskFailure
from nugetproxy.store.packages.commit import remove_file
from nugetproxy.store.packages.held import Descriptor, HeldPackage
from nugetproxy.store.packages.verify import PackageHash, inspect_file
from nugetproxy.store.threads import DiskCalls

_T = TypeVar("_T")

FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
TRIES_FOR_ROOM: Final = 3
"""An evicted package frees its bytes only when its last reader has closed it."""


class PinnedPackage(ProxyError):
    """Other bytes are already held for this version, which never changes; they stay."""

    def __init__(self, identity: PackageIdentity, held: str, offered: str) -> None:
        super().__init__(identity, held, offered)
        self.identity = identity
        self.held = held
        self.offered = offered

    def __str__(self) -> str:
        return (
            f"{self.identity} is held with SHA-512 {self.held}, but upstream now offers other bytes ({self.offered}). "
            "Purge the package if upstream is right."
        )


class MakesRoom(Protocol):
    """Whoever can free some of the disk."""

    async def make(self, size: int) -> bool:
        """Free ``size`` bytes and some more; False where nothing could be freed."""


class Staged:
    """Made by ``PackageFolder.stage``; its maker, the one writer, is its first holder.

    Any number of readers may ``os.pread`` from ``fd`` below ``size`` while it grows, each between its ``acquire()``
    and ``release()``. The descriptor stays good through ``commit()`` and ``abandon()``; the last holder closes it.
    """

    def __init__(
        self,
        identity: PackageIdentity,
        path: Path,
        descriptor: Descriptor,
        calls: DiskCalls,
        commit: Callable[[Staged, Nuspec], Awaitable[HeldPackage]],
        *,
        room: MakesRoom | None = None,
    ) -> None:
        self.identity = identity
        self.path = path
        self.descriptor = descriptor
        self.size = 0
        """Bytes that may be read; stays right when a write fails."""
        self.warnings: tuple[str, ...] = ()
        """What upstream had to say about it, to be kept with it."""
        self.published: float | None = None
        """When it was published, in seconds since the epoch: the time that the package's file gets."""
        self._calls = calls
        self._commit = commit
        self._room = room
        self._hash = PackageHash()
        self._failure: DiskFailure | None = None
        self._settled = False
        self._closed = False

    @property
    def fd(self) -> int:
        """Open for read and write; raises ValueError once closed."""
        return self.descriptor.fd

    @property
    def sha512(self) -> str:
        """Base64 SHA-512 of what was written so far."""
        return self._hash.text

    def acquire(self) -> Self:
        """Keep the descriptor open, for one reader."""
        self.descriptor.acquire()
        return self

    def release(self) -> None:
        """The end of one ``acquire()``."""
        self.descriptor.release()

    def close(self) -> None:
        """The maker's ``release()``; may be called again."""
        if not self._closed:
            self._closed = True
            self.descriptor.release()

    async def write(self, data: bytes) -> None:
        """Append; raises DiskFailure, after which reading on is fine, but only ``abandon()`` is left to do."""
        if self._failure is not None:
            raise self._failure
        try:
            await self._with_room(len(data), partial(self._append, data))
        except DiskFailure as failure:
            self._failure = failure
            raise

    async def _with_room(self, size: int, act: Callable[[], _T]) -> _T:
        """Do it in a thread; on a full disk again, after ``size`` bytes have been freed."""
        for _ in range(TRIES_FOR_ROOM):
            try:
                return await self._calls.run(self._calls.threads.write, act)
            except DiskFailure as failure:
                if failure.errno not in FULL or self._room is None or not await self._room.make(size):
                    raise
        return await self._calls.run(self._calls.threads.write, act)

    def _append(self, data: bytes) -> None:
        self._calls.fs.write(self.fd, data, self.size)
        self._hash.update(data)
        self.size += len(data)

    async def verify(self, identity: PackageIdentity, *, contents: bool = False, checksum: bool = True) -> Nuspec:
        """Check that it is a whole package, the one that was asked for; raises InvalidPackage, DiskFailure.

        ``contents`` compares the checksums of all files in it; ``checksum`` False not even that of its nuspec.
        """
        fs, look = self._calls.fs, partial(inspect_file, contents=contents, checksum=checksum)
        return await self._calls.run(self._calls.threads.hash, look, fs, self.fd, self.size, identity)

    async def commit(self, nuspec: Nuspec) -> HeldPackage:
        """Publish it durably; the result is borrowed: ``acquire()`` it before the next await to keep it.

        Raises DiskFailure (nothing of it is left on disk then) and PinnedPackage. If the same bytes are held already,
        that copy is the result and this one is dropped.
        """
        if self._failure is not None:
            raise self._failure
        held = await self._commit(self, nuspec)
        self._settled = True
        return held

    async def abandon(self) -> None:
        """Remove the file if it was not committed; never fails (a leftover is swept at the next start)."""
        if not self._settled:
            self._settled = True
            with contextlib.suppress(DiskFailure):
                await self._calls.run(self._calls.threads.write, remove_file, self._calls.fs, self.path)
