"""Kernel copy sends parts of files to sockets without passing them through this process."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable
from functools import partial
from socket import MSG_MORE, SO_SNDBUF, SOL_SOCKET
from typing import Any

PIECE = 2**20
"""Asked of the kernel at once, in bytes; it takes what the socket has room for."""

FAST_BYTES = 2 * 2**20
FAST_SECONDS = 0.5
FAST_BUFFER = 4 * 2**20
"""A client that took ``FAST_BYTES`` within ``FAST_SECONDS`` gets a large send buffer: fewer wake-ups for each
gigabyte. All others keep the small one of the listening socket, so that slow readers cannot fill the kernel."""

AGAIN_SECONDS = 0.02
"""Where no descriptor is left to wait with, the client is tried so often."""
OUT_OF_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE})

AtEnd = Callable[[Exception | None], None]
"""Called once a copy has ended by itself: with nothing, or with why it failed."""


class KernelCopy:
    """Copies to one client, one part after the other; to be closed.

    ``loop.sendfile`` registers the socket anew for every piece, which costs more than the copy; this keeps one
    registration for each part, on a duplicate of the descriptor because the loop guards the transport's own. A client
    that takes everything at once needs neither.
    """

    def __init__(self, transport: asyncio.Transport, *, stall: float) -> None:
        """``stall``: seconds for which the client may take nothing."""
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        self._stall = stall
        kept = transport.get_extra_info("socket")
        self._out = kept.fileno()
        self._sender: Any = getattr(kept, "_sock", None)
        """The socket that asyncio guards, for a flag that no transport knows; None where the loop is another one."""
        self._socket = -1
        self._fd = -1
        self.at = 0
        """The next byte of the file that is to be sent."""
        self._stop = 0
        self._taken = 0
        self._began = self._loop.time()
        self._fast = False
        self._at_end: AtEnd | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._again: asyncio.TimerHandle | None = None

    async def send(self, fd: int, start: int, stop: int) -> None:
        """Send the bytes ``[start, stop)`` of ``fd``; what was written to the transport before must have been sent.

        Raises TimeoutError when nothing moves for ``stall`` to twice ``stall`` seconds, ConnectionError when the
        client leaves or the file is shorter than ``stop``, OSError when the file cannot be read.
        """
        done: asyncio.Future[None] = self._loop.create_future()
        if self.start(fd, start, stop, partial(_settle, done)):
            return
        try:
            await done
        finally:
            self._withdraw()

    def start(self, fd: int, start: int, stop: int, at_end: AtEnd) -> bool:
        """Begin as ``send`` does; whether everything was sent at once. If not, ``at_end`` is called later.

        Raises what ``send`` raises, for what goes wrong at once.
        """
        self._begin(fd, start, stop)
        if self._push():
            return True
        self.go_on(at_end)
        return False

    def at_once(self, head: bytes, fd: int, start: int, stop: int) -> bool:
        """Send ``head``, then as ``send`` what the client takes now; whether that was all. Nothing may wait before it.

        If not, ``go_on`` sends the rest. If the transport is paused then, a part of ``head`` waits in it, and nothing
        else was sent. The head is no packet of its own, which would cost a tenth of a megabyte. Raises what ``send``
        raises.
        """
        self._begin(fd, start, stop)
        taken = 0 if self._sender is None else self._give(head)
        if taken < len(head):
            self._transport.write(head[taken:])
            if self._transport.get_write_buffer_size():
                return False
        return self._push()

    def _give(self, head: bytes) -> int:
        """How many bytes the kernel takes, to be sent with what follows."""
        try:
            taken: int = self._sender.send(head, MSG_MORE)
        except BlockingIOError:
            return 0
        return taken

    def go_on(self, at_end: AtEnd) -> None:
        """Send the rest when the client takes it; then ``at_end`` is called. Raises OSError."""
        self._wait()
        self._at_end = at_end
        self._watch = self._loop.call_later(self._stall, self._look, self.at)

    def _begin(self, fd: int, start: int, stop: int) -> None:
        self._fd, self.at, self._stop = fd, start, stop
        if not self._fast and self._loop.time() - self._began > FAST_SECONDS:
            self._began, self._taken = self._loop.time(), 0

    def close(self) -> None:
        """Stop, and give the duplicate back; ``at_end`` is not called any more."""
        self._withdraw()
        if self._socket >= 0:
            os.close(self._socket)
            self._socket = -1

    def _withdraw(self) -> AtEnd | None:
        """Wait for the client no longer."""
        at_end, self._at_end = self._at_end, None
        if at_end is not None and self._socket >= 0:
            self._loop.remove_writer(self._socket)
        for timer in (self._watch, self._again):
            if timer is not None:
                timer.cancel()
        self._watch = self._again = None
        return at_end

    def _wait(self) -> None:
        """Until the client has taken something."""
        if self._socket < 0:
            try:
                self._socket = os.dup(self._out)
            except OSError as error:
                if error.errno not in OUT_OF_DESCRIPTORS:
                    raise
                self._again = self._loop.call_later(AGAIN_SECONDS, self._try_again)
                return
        self._loop.add_writer(self._socket, self._writable)

    def _try_again(self) -> None:
        self._writable()
        if self._at_end is not None:
            self._again = self._loop.call_later(AGAIN_SECONDS, self._try_again)

    def _writable(self) -> None:
        try:
            complete = self._push()
        except OSError as error:
            self._end(error)
            return
        if complete:
            self._end(None)

    def _look(self, before: int) -> None:
        """Whether the client has taken something since ``before``."""
        if self.at == before:
            self._end(TimeoutError("the client takes nothing"))
        else:
            self._watch = self._loop.call_later(self._stall, self._look, self.at)

    def _end(self, error: Exception | None) -> None:
        at_end = self._withdraw()
        if at_end is not None:
            at_end(error)

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
        if not self._fast:
            self._count(sent)
        return self.at == self._stop

    def _count(self, sent: int) -> None:
        self._taken += sent
        if self._taken >= FAST_BYTES:
            self._fast = True
            if self._loop.time() - self._began < FAST_SECONDS:
                self._transport.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_SNDBUF, FAST_BUFFER)


def _settle(done: asyncio.Future[None], error: Exception | None) -> None:
    if done.done():
        return
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(error)
