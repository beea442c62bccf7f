"""Door is sockets that clients come in by, with the server behind them."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Sequence

from nugetproxy.web.direct_tls import DirectTls, is_usable
from nugetproxy.web.listening import BACKLOG
from nugetproxy.web.server import LimitedServer

HANDOVER = 3
"""Turns of the loop within which a connection that was accepted is its server's."""


class Door:
    """Opened once, closed once."""

    def __init__(
        self,
        server: LimitedServer,
        listeners: Sequence[socket.socket],
        *,
        drain: float,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.server = server
        self._tls = tls
        self._drain = drain
        self._listeners = listeners
        self._accepting: list[asyncio.Server] = []

    async def open(self) -> None:
        """Begin to accept."""
        loop, server, tls = asyncio.get_running_loop(), self.server, self._tls
        direct = tls is not None and is_usable(loop)

        def accepted() -> asyncio.BaseProtocol:
            return DirectTls(loop, server(), tls) if direct and tls is not None else server()

        for listener in self._listeners:
            spoken = None if direct else tls
            self._accepting.append(await loop.create_server(accepted, sock=listener, backlog=BACKLOG, ssl=spoken))

    async def close(self) -> None:
        """Accept nobody any more, let what is under way end."""
        loop = asyncio.get_running_loop()
        for listener in self._listeners:
            loop.remove_reader(listener.fileno())
        for _ in range(HANDOVER):  # asyncio drops a connection that it has accepted if its server closes meanwhile
            await asyncio.sleep(0)
        for accepting in self._accepting:
            accepting.close()
        await asyncio.sleep(0)  # requests that have come in begin
        self.server.pre_shutdown()
        await self.server.shutdown(self._drain)
