"""Reading takes bytes from open files: at once from the page cache, else in a thread."""

from __future__ import annotations

import asyncio
import errno
import os

from nugetproxy.store.fs import DiskFailure


async def read_at(fd: int, count: int, at: int) -> bytes:
    """At most ``count`` bytes from offset ``at``, at least one; raises DiskFailure.

    What is in the page cache is read on the spot, which costs less than a thread hop; ``RWF_NOWAIT`` (Linux) makes
    the kernel refuse instead of waiting for the disk.
    """
    try:
        buffer = bytearray(count)
        got = os.preadv(fd, [buffer], at, os.RWF_NOWAIT)
        del buffer[got:]
        piece = bytes(buffer)
    except (OSError, AttributeError):  # not cached, or not supported by this file system or platform
        try:
            piece = await asyncio.to_thread(os.pread, fd, count, at)
        except OSError as error:
            raise DiskFailure("read", error.errno or errno.EIO) from error
    if not piece:
        raise DiskFailure("read", errno.EIO)
    return piece
