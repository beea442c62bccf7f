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


class KernelCopy:
    """Copies to one client, one part after the other; to be closed.

    ``loop.sendfile`` registers the socket anew for every piece, which costs more than the copy; this keeps one
    registration for each part, on a duplicate of the descriptor because the loop guards the transport's own. A client
    that takes everything at once needs neither.
    """

    def __init__(self, transport: asyncio.Transport, *, stall: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        self._stall = stall
        self._out = transport.get_extra_info("socket").fileno()
        self._socket = -1
        self._fd = -1
        self.at = 0
        """The next byte of the file that is to be sent."""
        self._stop = 0
        self._taken = 0
        self._began = self._loop.time()
        self._fast = False
        self._done: asyncio.Future[None] | None = None

    async def send(self, fd: int, start: int, stop: int) -> None:
        """Send the bytes ``[start, stop)`` of ``fd``; what was written to the transport before must have been sent.

        Raises TimeoutError when nothing moves for ``stall`` to twice ``stall`` seconds, ConnectionError when the
        client leaves or the file is shorter than ``stop``, OSError when the file cannot be read or no descriptor is
        left.
        """
        self._fd, self.at, self._stop = fd, start, stop
        if self._push():
            return
        if self._socket < 0:
            self._socket = os.dup(self._out)
        self._done = self._loop.create_future()
        self._loop.add_writer(self._socket, self._writable)
        try:
            while not self._done.done():
                before = self.at
                await asyncio.wait((self._done,), timeout=self._stall)
                if self.at == before and not self._done.done():
                    raise TimeoutError("the client takes nothing")
            self._done.result()
        finally:
            self._loop.remove_writer(self._socket)

    def close(self) -> None:
        """Give the duplicate back."""
        if self._socket >= 0:
            os.close(self._socket)
            self._socket = -1

    def _writable(self) -> None:
        if self._done is None or self._done.done():
            return
        try:
            complete = self._push()
        except OSError as error:
            self._done.set_exception(error)
            return
        if complete:
            self._done.set_result(None)

    def _push(self) -> bool:
        """Give the kernel one piece; whether that was all of the part."""
        if self._transport.is_closing():
            raise ConnectionResetError("the client has left")
        try:
            sent = os.sendfile(self._out, self._fd, self.at, min(PIECE, self._stop - self.at))
        except BlockingIOError:
            return False
        if sent == 0:
            raise ConnectionAbortedError("the file ended before its size")
        self.at += sent
        self._taken += sent
        if self._taken >= FAST_BYTES and not self._fast:
            self._fast = True
            if self._loop.time() - self._began < FAST_SECONDS:
                self._transport.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_SNDBUF, FAST_BUFFER)
        return self.at == self._stop
