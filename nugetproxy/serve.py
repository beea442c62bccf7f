"""Serve runs the proxy until it is told to stop."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import socket
from typing import Any

import structlog
from aiohttp import web
from aiohttp.http_parser import HttpRequestParser, HttpRequestParserPy

from nugetproxy import __version__
from nugetproxy import log as logs
from nugetproxy.app import build
from nugetproxy.banner import banner
from nugetproxy.config import Address, Config, warnings
from nugetproxy.errors import AddressUnusable, StoreUnusable
from nugetproxy.web.server import LimitedServer

log = structlog.get_logger(__name__)

BACKLOG = 2048
SEND_BUFFER = 256 * 1024
"""Per connection, in bytes; without a bound slow readers fill the kernel's memory."""


def run(config: Config) -> int:
    """Serve until SIGTERM or SIGINT; the exit code is 0, or 128 + the signal when a second one cut it short.

    Raises StoreUnusable when the cache directory cannot be used, AddressUnusable when nobody can listen there.
    """
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold the callers' API keys
    logs.setup(config.log.level, config.log.format)
    if HttpRequestParser is HttpRequestParserPy:
        raise StoreUnusable("", "aiohttp's C parser is missing", "Install aiohttp from a wheel for this platform.")
    try:
        return asyncio.run(_serve(config))
    finally:
        logs.shutdown()


async def _serve(config: Config) -> int:
    asyncio.get_running_loop().set_exception_handler(logs.loop_failed)
    stopping = _Stopping()
    async with build(config) as app:
        for warning in warnings(config):
            log.warning("config.warning", warning=warning)
        listener = _listen(config)
        server = LimitedServer(
            app.edge,
            max_connections=config.server.connection_limit,
            max_per_ip=config.server.max_connections_per_ip,
            header_timeout=config.server.header_timeout,
            metrics=app.metrics,
        )
        runner = web.ServerRunner(server, shutdown_timeout=config.server.drain, handle_signals=False)
        await runner.setup()
        site = web.SockSite(runner, listener, backlog=BACKLOG)
        await site.start()
        host, port = listener.getsockname()[:2]
        logs.say(banner(config, Address(host, port)))
        log.info("proxy.started", version=__version__, address=host, port=port, pid=os.getpid())
        app.start_background()
        await stopping.wait(app.lock.ousted)
        app.ops.draining = True
        log.info("proxy.draining", seconds=config.server.drain, connections=server.open_connections)
        cleanup = asyncio.ensure_future(runner.cleanup())
        code = await stopping.or_again(cleanup)
    log.info("proxy.stopped", code=code)
    if app.lock.other is not None:
        raise app.lock.other
    return code


def _listen(config: Config) -> socket.socket:
    address = config.server.listen
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)  # accepted sockets inherit it
    try:
        listener.bind((address.host, address.port))
        listener.listen(BACKLOG)  # of two that start at once, both can bind (SO_REUSEADDR): the second fails here
    except OSError as error:
        listener.close()
        raise AddressUnusable.of(str(address), error) from error
    listener.setblocking(False)
    return listener


class _Stopping:
    """The signals that end the process: the first one drains, a second one does not wait."""

    def __init__(self) -> None:
        self._first = asyncio.Event()
        self._second = asyncio.Event()
        self._code = 0
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._caught, number)

    def _caught(self, number: signal.Signals) -> None:
        if self._first.is_set():
            self._code = 128 + number
            self._second.set()
        self._first.set()

    async def wait(self, ousted: asyncio.Event) -> None:
        """Until the first signal, or until another process has what is ours."""
        ends = [asyncio.ensure_future(event.wait()) for event in (self._first, ousted)]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for end in ends:
            end.cancel()

    async def or_again(self, draining: asyncio.Future[None]) -> int:
        """Until ``draining`` is done or a second signal comes; the exit code."""
        again = asyncio.ensure_future(self._second.wait())
        ends: tuple[asyncio.Future[Any], ...] = (draining, again)
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for end in ends:
            end.cancel()
        await asyncio.gather(*ends, return_exceptions=True)
        return self._code
