"""Staged is a package file while it is being downloaded."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, Protocol, Self, TypeVar

from nugetproxy.errors import ProxyError
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.nuget.nuspec import Nuspec, inspect_archive, inspect_package
from nugetproxy.nuget.package import Content, nuspec_entry, open_archive
from nugetproxy.nuget.signatures.verdict import Trust, Verdict
from nugetproxy.store.fs import DiskFailure, StrPath
from nugetproxy.store.packages.commit import remove_file
from nugetproxy.store.packages.held import Descriptor, HeldPackage, Signed
from nugetproxy.store.packages.reading import read_at, reader
from nugetproxy.store.packages.verify import PackageHash
from nugetproxy.store.threads import DiskCalls

_T = TypeVar("_T")

FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
LONG: Final = 64 * 1024
"""Bytes whose hash takes longer than a thread for it would."""
UNPACKED: Final = 128 * 1024
"""Bytes of content that take longer to unpack than a thread for it would."""
PARSED: Final = 16 * 1024
"""Bytes of nuspec that would hold up the loop for long: 128 KiB, which 350 packed bytes can be, do for 40 ms."""
SENT_WHOLE: Final = 128 * 1024
"""Bytes of a package that its readers get from memory."""
TRIES_FOR_ROOM: Final = 3
"""An evicted package frees its bytes only when its last reader has closed it."""


Look = Callable[[], Nuspec]
"""Checks that it is a whole package, the one that was asked for; blocks, raises InvalidPackage, DiskFailure."""
Looked = Callable[[Nuspec], None]
"""Told what was found in it, before it is held."""


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

    What may be kept ``in_memory`` gets its file with the commit, in one write; until then nobody may read it.
    """

    def __init__(
        self,
        identity: PackageIdentity,
        create: Callable[[str | None], tuple[str, Descriptor]],
        calls: DiskCalls,
        commit: Callable[[Staged, Look, Looked], Awaitable[HeldPackage]],
        *,
        room: MakesRoom | None,
        in_memory: int,
    ) -> None:
        """``create`` makes its file, under a given name if it can, blocking.

        ``in_memory``: bytes up to which it needs none.
        """
        self.identity = identity
        self.path: StrPath | None = None
        self.size = 0
        """Bytes that may be read; stays right when a write fails."""
        self.warnings: tuple[str, ...] = ()
        """What upstream had to say about it, to be kept with it."""
        self.signer: str | None = None
        """Who has signed it, for the first-seen log."""
        self.signed: Signed | None = None
        """What is thought of its signature; None where nobody asks."""
        self.published: float | None = None
        """When it was published, in seconds since the epoch: the time that the package's file gets."""
        self._calls = calls
        self._commit = commit
        self._room = room
        self._create = create
        self._in_memory = in_memory
        self._buffer: bytes | memoryview = b""
        """What is not yet in the file; no byte of it is hashed before that, or before somebody asks for the hash."""
        self._give_back: Callable[[], None] | None = None
        """Ends the loan of the buffer."""
        self.content: bytes | None = None
        """All of it, where it was in memory until it was written; a reader need not read it back."""
        self._descriptor: Descriptor | None = None
        self._hash = PackageHash()
        self._unhashed = 0
        """Bytes at the end of the buffer."""
        self._failure: DiskFailure | None = None
        self._settled = False
        self._closed = False

    @property
    def fd(self) -> int:
        """Open for read and write; raises ValueError once closed."""
        return self.descriptor.fd

    @property
    def descriptor(self) -> Descriptor:
        """Of its file; raises ValueError where it has none yet."""
        if self._descriptor is None:
            raise ValueError("it is still in memory")
        return self._descriptor

    @property
    def is_in_memory(self) -> bool:
        """Whether it has no file yet."""
        return self._descriptor is None

    @property
    def is_small(self) -> bool:
        """Whether all of it is in memory, in few pieces."""
        return self._descriptor is None and isinstance(self._buffer, bytes)

    @property
    def sha512(self) -> str:
        """Base64 SHA-512 of what was written so far."""
        self._hash_buffer()
        return self._hash.text

    def _hash_buffer(self) -> None:
        if self._unhashed:
            self._hash.update(self._buffer[-self._unhashed :])
            self._unhashed = 0

    async def know_hash(self) -> None:
        """Have its hash made in a thread, where it would hold up its caller."""
        if self._unhashed > LONG:
            await self._calls.run(self._calls.threads.hash, self._hash_buffer)

    def acquire(self) -> Self:
        """Keep the descriptor open, for one reader."""
        self.descriptor.acquire()
        return self

    def release(self) -> None:
        """The end of one ``acquire()``."""
        self.descriptor.release()

    def close(self) -> None:
        """The maker's ``release()``; may be called again."""
        self._end_loan()
        if not self._closed:
            self._closed = True
            self.content = None
            if self._descriptor is not None:
                self._descriptor.release()

    def borrow(self, data: bytes | memoryview, give_back: Callable[[], None]) -> None:
        """All of it at once, which stays good until ``give_back`` is called: once it is landed or abandoned."""
        self._buffer, self._give_back = data, give_back
        self.size = self._unhashed = len(data)

    def _end_loan(self) -> None:
        give_back, self._give_back = self._give_back, None
        if give_back is not None:
            self._buffer = b""
            give_back()

    async def write(self, data: bytes | memoryview) -> None:
        """Append; raises DiskFailure, after which reading on is fine, but only ``abandon()`` is left to do."""
        if self._failure is not None:
            raise self._failure
        if self._descriptor is None and self.size + len(data) <= self._in_memory:
            self._buffer = b"".join((self._buffer, data))
            self.size += len(data)
            self._unhashed += len(data)
            return
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

    def _append(self, data: bytes | memoryview) -> None:
        self.make_file()
        self._calls.fs.write(self.fd, data, self.size)
        self._hash.update(data)
        self.size += len(data)
        self.content = None

    def make_file(self, wanted: str | None = None) -> StrPath:
        """Have all of it in a file, one that is new under the ``wanted`` name if that is free.

        Blocks; raises DiskFailure, after which it may be tried again.
        """
        if self.path is None:
            self.path, self._descriptor = self._create(wanted)
        if self._buffer:
            self._calls.fs.write(self.fd, self._buffer, 0)
            self._hash_buffer()
            if isinstance(self._buffer, bytes) and self.size <= SENT_WHOLE:
                self.content = self._buffer
            self._buffer = b""
        return self.path

    async def read(self, count: int, at: int) -> bytes:
        """Bytes that were written before; raises DiskFailure."""
        return bytes(self._buffer[at : at + count]) if self._buffer else await read_at(self.fd, count, at)

    def look(self, identity: PackageIdentity, *, contents: bool = False, checksum: bool = True) -> Look:
        """What checks that it is a whole package, the one that was asked for.

        ``contents`` compares the checksums of all files in it; ``checksum`` False not even that of its nuspec.
        """
        return lambda: inspect_package(self._view(), identity, contents=contents, checksum=checksum)

    async def look_now(
        self, identity: PackageIdentity, *, contents: bool = False, checksum: bool = True
    ) -> Nuspec | None:
        """What ``look`` finds, its hash made besides; None for what takes long enough for a thread.

        A thread has to wait for its turn at each of the calls that inflate, hash, read.
        """
        if not self.is_small or self.size > LONG:
            return None
        archive = open_archive(self._view())
        entry = nuspec_entry(archive)
        if sum(one.size for one in archive.entries) > UNPACKED or max(entry.size, entry.packed) > PARSED:
            return None
        nuspec = inspect_archive(archive, entry, identity, contents=contents, checksum=checksum)
        self._hash_buffer()
        return nuspec

    async def run(self, look: Look) -> Nuspec:
        """Look into it now; raises InvalidPackage, DiskFailure."""
        return await self._calls.run(self._calls.threads.hash, look)

    async def judge(self, trust: Trust, now: float) -> Verdict:
        """The verdict over its signature at ``now``, a wall time; raises DiskFailure."""
        return await self._calls.run(self._calls.threads.hash, lambda: trust.judge(self._view(), now))

    def _view(self) -> Content:
        if self._buffer or self._descriptor is None:  # it may have a file that could not be written
            return self._buffer
        return reader(self._calls.fs, self.fd, self.size)

    async def land(self, look: Look, looked: Looked = lambda _: None) -> HeldPackage:
        """Verify it, publish it durably; the result is borrowed: ``acquire()`` it before the next await to keep it.

        Raises InvalidPackage, DiskFailure (nothing of it is left on disk then) and PinnedPackage. If the same bytes are
        held already, that copy is the result, and this one is dropped.
        """
        if self._failure is not None:
            raise self._failure
        held = await self._commit(self, look, looked)
        self._settled = True
        self._end_loan()
        return held

    async def abandon(self) -> None:
        """Remove the file if it was not committed; never fails (a leftover is swept at the next start)."""
        if not self._settled:
            self._settled = True
            await self.remove()
        self._end_loan()

    async def remove(self) -> None:
        """Remove the file, if there is one and the disk lets go of it."""
        if self.path is not None:
            with contextlib.suppress(DiskFailure):
                await self._calls.run(self._calls.threads.write, remove_file, self._calls.fs, self.path)
