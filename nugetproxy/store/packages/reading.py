"""Reading takes bytes from shared descriptors: on the spot from the page cache, in a thread, as a file object."""

from __future__ import annotations

import asyncio
import errno
import io
import os
from concurrent.futures import ThreadPoolExecutor

from nugetproxy.store.fs import DiskFailure, FsOps, ShortFile, pread_all

_THREADS = ThreadPoolExecutor(4, thread_name_prefix="package-read")
"""Of their own: on file systems without ``RWF_NOWAIT`` every read takes one, and DNS look-ups may hold all others."""


async def read_at(fd: int, count: int, at: int) -> bytes:
    """Exactly ``count`` bytes from offset ``at``; raises DiskFailure, ShortFile where the file ends before.

    What is in the page cache is read on the spot, which costs less than a thread hop; ``RWF_NOWAIT`` (Linux) makes
    the kernel stop where it would have to wait for the disk: a thread reads the rest.
    """
    piece = _cached(fd, count, at)
    if len(piece) < count:
        try:
            loop = asyncio.get_running_loop()
            piece += await loop.run_in_executor(_THREADS, pread_all, fd, count - len(piece), at + len(piece))
        except OSError as error:
            raise DiskFailure("read", error.errno or errno.EIO) from error
        if len(piece) < count:
            raise ShortFile
    return piece


def _cached(fd: int, count: int, at: int) -> bytes:
    """What of it is in the page cache from its beginning on."""
    buffer = bytearray(count)
    try:
        got = os.preadv(fd, [buffer], at, os.RWF_NOWAIT)
    except (OSError, AttributeError):  # none of it, or not supported by this file system or platform
        return b""
    del buffer[got:]
    return bytes(buffer)


class DescriptorReader(io.RawIOBase):
    """A read-only view of the first ``size`` bytes of ``fd``.

    A duplicate of the descriptor would share its position with every other one, and two readers of one zip would then
    read each other's parts. Closing the view leaves the descriptor open.
    """

    def __init__(self, fs: FsOps, fd: int, size: int) -> None:
        super().__init__()
        self._fs = fs
        self._fd = fd
        self._size = size
        self._at = 0

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def tell(self) -> int:
        """The position, in bytes."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move; raises ValueError before the beginning, as files do."""
        self._at = _moved({io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence], offset)
        return self._at

    def readinto(self, buffer: memoryview | bytearray) -> int:  # type: ignore[override]
        """Fill ``buffer`` as far as the file goes; raises DiskFailure."""
        data = self._fs.read(self._fd, max(0, min(len(buffer), self._size - self._at)), self._at)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def _moved(base: int, offset: int) -> int:
    if base + offset < 0:
        raise ValueError("negative position")
    return base + offset


def reader(fs: FsOps, fd: int, size: int) -> io.BufferedReader:
    """A buffered file object over the first ``size`` bytes of a shared descriptor."""
    return io.BufferedReader(DescriptorReader(fs, fd, size), 64 * 1024)
