"""Server is aiohttp's low-level server under our limits."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from nugetproxy.metrics import Metrics

MAX_LINE = 4096
MAX_FIELD = 8190
MAX_HEADERS = 64
ABORT_SECONDS = 0.1
"""What a handler gets to clean up in once the time to drain is over."""
LOOPBACK = ("127.", "::1", "::ffff:127.")
"""Peers without a limit of their own: a front proxy on this machine is many clients."""

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class LimitedServer(web.Server):
    """Closes connections beyond the limits at once: cheaper for both sides than an answer."""

    def __init__(
        self, handler: Handler, *, max_connections: int, max_per_ip: int, header_timeout: float, metrics: Metrics
    ) -> None:
        """``header_timeout`` (seconds) bounds the first request's headers as well as idle connections."""
        super().__init__(
            handler,
            access_log=None,
            keepalive_timeout=header_timeout,
            max_line_size=MAX_LINE,
            max_field_size=MAX_FIELD,
            max_headers=MAX_HEADERS,
            auto_decompress=False,
            lingering_time=5.0,
        )
        self._max_connections = max_connections
        self._max_per_ip = max_per_ip
        self._metrics = metrics
        self._peers: dict[RequestHandler, str] = {}
        self._per_ip: Counter[str] = Counter()
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def open_connections(self) -> int:
        """Connections that are open now."""
        return len(self._peers)

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        """aiohttp's hook for a new connection."""
        super().connection_made(handler, transport)
        name = transport.get_extra_info("peername")
        peer = name[0] if isinstance(name, tuple) else ""
        self._peers[handler] = peer
        self._per_ip[peer] += 1
        self._empty.clear()
        limited = not peer.startswith(LOOPBACK) and self._per_ip[peer] > self._max_per_ip
        if limited or len(self._peers) > self._max_connections:
            self._metrics.rejected.labels("connections_per_ip" if limited else "connections").inc()
            # Not at once: aiohttp has yet to begin the task of this connection, which fails where it is gone already.
            asyncio.get_running_loop().call_soon(transport.abort)

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        """aiohttp's hook for the end of a connection."""
        super().connection_lost(handler, exc)
        peer = self._peers.pop(handler, None)
        if peer is not None:
            self._per_ip[peer] -= 1
            if self._per_ip[peer] <= 0:
                del self._per_ip[peer]
        if not self._peers:
            self._empty.set()

    async def shutdown(self, timeout: float | None = None) -> None:
        """Let every answer reach its client, for ``timeout`` seconds altogether; then cut what is left.

        aiohttp's own way waits for handlers only, twice as long, then leaves behind what its transports still have to
        send when the process ends.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await super().shutdown(None)
                await self._empty.wait()
        await super().shutdown(ABORT_SECONDS)
