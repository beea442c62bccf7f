"""Kernel copy sends parts of files to sockets without passing them through this process."""

from __future__ import annotations

import asyncio
import os
from socket import SO_SNDBUF, SOL_SOCKET

PIECE = 2**20
"""Asked of the kernel at once, in bytes; it takes what the socket has room for."""

FAST_BYTES = 2 * 2**20
FAST_SECONDS = 0.5
FAST_BUFFER = 4 * 2**20
"""A client that took ``FAST_BYTES`` within ``FAST_SECONDS`` gets a large send buffer: fewer wake-ups for each
gigabyte. All others keep the small one of the listening socket, so that slow readers cannot fill the kernel."""


async def send_file(transport: asyncio.Transport, fd: int, start: int, stop: int, *, stall: float) -> None:
    """Send the bytes ``[start, stop)`` of ``fd``; what was written to ``transport`` before must have been sent.

    ``loop.sendfile`` registers the socket anew for every piece, which costs more than the copy; this keeps one
    registration, on a duplicate of the descriptor because the loop guards the transport's own. Raises TimeoutError
    when nothing moves for ``stall`` to twice ``stall`` seconds, ConnectionError when the client leaves or the file
    is shorter than ``stop``.
    """
    socket = os.dup(transport.get_extra_info("socket").fileno())
    try:
        copy = _Copy(transport, socket, fd, start, stop)
        await copy.run(stall)
    finally:
        os.close(socket)


class _Copy:
    """One copy in progress."""

    def __init__(self, transport: asyncio.Transport, socket: int, fd: int, start: int, stop: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        self._socket = socket
        self._fd = fd
        self._at = start
        self._stop = stop
        self._decide_at = start + FAST_BYTES
        self._began = self._loop.time()
        self._done: asyncio.Future[None] = self._loop.create_future()

    async def run(self, stall: float) -> None:
        self._loop.add_writer(self._socket, self._writable)
        try:
            while not self._done.done():
                before = self._at
                await asyncio.wait((self._done,), timeout=stall)
                if self._at == before and not self._done.done():
                    raise TimeoutError("the client takes nothing")
            self._done.result()
        finally:
            self._loop.remove_writer(self._socket)

    def _writable(self) -> None:
        if self._done.done():
            return
        try:
            if self._transport.is_closing():
                raise ConnectionResetError("the client has left")
            sent = os.sendfile(self._socket, self._fd, self._at, min(PIECE, self._stop - self._at))
            if sent == 0:
                raise ConnectionAbortedError("the file ended before its size")
        except BlockingIOError:
            return
        except OSError as error:
            self._done.set_exception(error)
            return
        self._at += sent
        if self._at >= self._decide_at:
            self._decide_at = self._stop + 1
            if self._loop.time() - self._began < FAST_SECONDS:
                self._transport.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_SNDBUF, FAST_BUFFER)
        if self._at == self._stop:
            self._done.set_result(None)
