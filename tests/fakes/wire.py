"""Wire is one end of a connection without a socket: bytes go in as they are split, what comes out is kept."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from nugetproxy.web.server import LimitedServer

PATIENCE = 30.0
"""Seconds for an answer to what came in; a request that is not whole is known by the handler that waits for it."""


class Wire(asyncio.Transport):
    """Bytes that the server writes; ``takes`` bytes of them are taken at once, the rest waits in its buffer."""

    def __init__(self, server: LimitedServer, *, port: int) -> None:
        super().__init__({"peername": ("127.0.0.1", 50_000), "sockname": ("127.0.0.1", port)})
        self.written = bytearray()
        self.waiting = 0
        self.takes = 2**30
        self.closed = False
        self._connection = server()
        self._connect()

    def _connect(self) -> None:
        """What lies between us and the server's end is told of us."""
        self._connection.connection_made(self)

    def write(self, data: Any) -> None:
        self.written += data
        before = self.waiting
        self.waiting += max(0, len(data) - self.takes)
        if self.waiting and not before:
            self._connection.pause_writing()

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            asyncio.get_running_loop().call_soon(self._connection.connection_lost, None)

    def abort(self) -> None:
        self.close()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """What does not go out at once stops the writer."""

    def get_write_buffer_size(self) -> int:
        return self.waiting

    def pause_reading(self) -> None:
        """Nothing comes unasked."""

    def resume_reading(self) -> None:
        """Nothing comes unasked."""

    async def feed(self, data: bytes) -> None:
        """Bytes come in; returns when everything that they cause has been done."""
        if not self.closed:
            self._receive(data)
        await asyncio.sleep(0)
        await self.settle()

    async def settle(self) -> None:
        """Until the connection waits for its client."""
        async with asyncio.timeout(PATIENCE):
            self._take()
            while not self.closed and not self._is_idle():
                await asyncio.sleep(0)
                self._take()

    def _receive(self, data: bytes) -> None:
        self._connection.data_received(data)

    def _take(self) -> None:
        """What was written was taken by ``write``."""

    def _is_idle(self) -> bool:
        waiter = self._connection._waiter
        return waiter is not None and not waiter.done() and not self._connection._messages

    async def end(self) -> None:
        """Close, then let its task end."""
        self.close()
        with contextlib.suppress(asyncio.CancelledError):
            for _ in range(4):
                await asyncio.sleep(0)
