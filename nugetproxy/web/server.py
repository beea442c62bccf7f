"""Server is aiohttp's low-level server under our limits."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Any, TypedDict

from aiohttp import StreamReader, hdrs
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import RawRequestMessage
from aiohttp.web_protocol import RequestHandler
from multidict import CIMultiDict, CIMultiDictProxy

from nugetproxy.metrics import Metrics
from nugetproxy.web import http as web
from nugetproxy.web import lane as lanes
from nugetproxy.web.connection import Connection
from nugetproxy.web.hosts import Network, is_in

MAX_LINE = 4096
MAX_FIELD = 8190
MAX_HEADERS = 64
ABORT_SECONDS = 0.1
"""What a handler gets to clean up in once the time to drain is over."""
FRESH_SECONDS = 0.3
"""What a connection without a request yet gets at a stop: its request may be on its way, and would be lost."""
DOCUMENT_SECONDS = 1.0
"""What documents get at a stop; their clients ask again, which costs little."""
ABSOLUTE = re.compile(r"(https?)://([^/?#@]+)(.*)", re.IGNORECASE)
"""A request target with scheme and host, as some clients and proxies send it."""
LOOPBACK = ("127.", "::1")
"""Peers without a limit of their own: a front end on this machine is many clients."""

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Limits(TypedDict):
    """The limits of a ``LimitedServer``; times in seconds."""

    max_connections: int
    max_per_ip: int
    front_ends: Iterable[Network]
    header_timeout: float
    write_timeout: float


class LimitedServer(web.Server):
    """Closes connections beyond the limits at once: cheaper for both sides than an answer."""

    def __init__(
        self,
        handler: Handler,
        *,
        max_connections: int,
        max_per_ip: int,
        header_timeout: float,
        write_timeout: float,
        metrics: Metrics,
        front_ends: Iterable[Network] = (),
        lane: lanes.Lane | None = None,
    ) -> None:
        """``lane`` answers what it can before ``handler`` is asked. ``front_ends`` are many clients, so ``max_per_ip``
        is not theirs. ``header_timeout`` (seconds) bounds the first request's headers as well as idle connections,
        ``write_timeout`` how long a client may take nothing of what is sent.
        """
        super().__init__(handler, request_factory=_request_of)
        self._write_timeout = write_timeout
        self._metrics = metrics
        self._knows_handler = lanes.is_usable()
        self._lane = lane if self._knows_handler else None
        self._header_timeout = header_timeout
        self._max_connections = max_connections
        self._max_per_ip = max_per_ip
        self._front_ends = tuple(front_ends)
        self._peers: dict[Connection, str] = {}
        self._per_ip: Counter[str] = Counter()
        self._empty = asyncio.Event()
        self._empty.set()

    def use(
        self,
        *,
        max_connections: int,
        max_per_ip: int,
        front_ends: Iterable[Network],
        header_timeout: float,
        write_timeout: float,
    ) -> None:
        """Other limits, for connections that are made from now on."""
        self._max_connections = max_connections
        self._max_per_ip = max_per_ip
        self._front_ends = tuple(front_ends)
        self._header_timeout = header_timeout
        self._write_timeout = write_timeout

    def __call__(self) -> Connection:
        """aiohttp's hook: the handler of a new connection."""
        return Connection(
            self,
            write_timeout=self._write_timeout,
            metrics=self._metrics,
            lane=self._lane,
            in_one=self._knows_handler,
            loop=self._loop,
            access_log=None,
            keepalive_timeout=self._header_timeout,
            max_line_size=MAX_LINE,
            max_field_size=MAX_FIELD,
            max_headers=MAX_HEADERS,
            auto_decompress=False,
            lingering_time=5.0,
        )

    @property
    def open_connections(self) -> int:
        """Connections that are open now."""
        return len(self._peers)

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        """aiohttp's hook for a new connection."""
        super().connection_made(handler, transport)
        if not isinstance(handler, Connection):
            return
        # What the kernel does not take waits with its maker, not here. At 0 asyncio's TLS would be paused for ever: it
        # counts what is as much as the limit as too much.
        transport.set_write_buffer_limits(high=0 if transport.get_extra_info("sslcontext") is None else 1, low=0)
        name = handler.peername
        peer = name[0] if isinstance(name, tuple) else ""
        self._peers[handler] = peer
        self._per_ip[peer] += 1
        self._empty.clear()
        limited = self._per_ip[peer] > self._max_per_ip and not self._is_many(peer)
        if limited or len(self._peers) > self._max_connections:
            self._metrics.rejected.labels("connections_per_ip" if limited else "connections").inc()
            # Not at once: aiohttp has yet to begin the task of this connection, which fails where it is gone already.
            asyncio.get_running_loop().call_soon(transport.abort)
        self._metrics.connections.set(len(self._peers))

    def _is_many(self, peer: str) -> bool:
        """Whether more than one client may be behind an address; of a Unix socket nobody knows it."""
        return not peer or peer.startswith(LOOPBACK) or is_in(peer, self._front_ends)

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        """aiohttp's hook for the end of a connection."""
        super().connection_lost(handler, exc)
        peer = self._peers.pop(handler, None) if isinstance(handler, Connection) else None
        if peer is not None:
            self._per_ip[peer] -= 1
            if self._per_ip[peer] <= 0:
                del self._per_ip[peer]
        if not self._peers:
            self._empty.set()
        self._metrics.connections.set(len(self._peers))

    def pre_shutdown(self) -> None:
        """aiohttp's hook: what is idle closes now, what is being answered closes behind its answer."""
        for connection in tuple(self._peers):
            if not connection.fresh:
                connection.finish()

    async def shutdown(self, timeout: float | None = None) -> None:
        """Let packages and writes reach their ends, for ``timeout`` seconds altogether; the rest goes much sooner.

        aiohttp's own way waits for handlers only, twice as long, then leaves behind what its transports still have to
        send when the process ends.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                if any(connection.fresh for connection in self._peers):
                    await self._emptied(FRESH_SECONDS)
                for connection in tuple(self._peers):
                    connection.finish()
                await self._emptied(DOCUMENT_SECONDS)
                for connection in tuple(self._peers):
                    connection.cancel_document()
                await self._emptied(ABORT_SECONDS)
                for connection in tuple(self._peers):
                    if not connection.carries_body:
                        connection.cut()
                await self._empty.wait()
        for connection in tuple(self._peers):
            connection.cut()
        await super().shutdown(ABORT_SECONDS)

    async def _emptied(self, seconds: float) -> None:
        """Until no connection is left, for at most so many seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._empty.wait()


def _request_of(
    message: RawRequestMessage,
    payload: StreamReader,
    handler: RequestHandler,
    writer: AbstractStreamWriter,
    task: asyncio.Task[Any],
) -> web.BaseRequest:
    """aiohttp's hook for what has come in."""
    if not message.path.startswith("/"):
        message = _by_path(message, "http" if handler.ssl_context is None else "https")
    return web.BaseRequest(message, payload, handler, writer, task, task.get_loop())


def _by_path(message: RawRequestMessage, scheme: str) -> RawRequestMessage:
    """The same by its path, where the target is in absolute form and says how we were reached.

    Its host counts, whatever ``Host`` says (RFC 9112 section 3.2.2).
    """
    found = ABSOLUTE.fullmatch(message.path)
    if found is None or found[1].lower() != scheme:
        return message
    host, path = found[2], found[3]
    headers = CIMultiDict(message.headers)
    headers[hdrs.HOST] = host
    others = (one for one in message.raw_headers if one[0].lower() != b"host")
    return message._replace(
        path=path if path.startswith("/") else f"/{path}",
        headers=CIMultiDictProxy(headers),
        raw_headers=((b"Host", host.encode()), *others),
    )
