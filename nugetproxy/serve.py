"""Serve runs the proxy until it is told to stop."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import signal
import socket
import ssl
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, assert_never

import structlog
from aiohttp.http_parser import HttpRequestParser, HttpRequestParserPy

from nugetproxy import __version__
from nugetproxy import log as logs
from nugetproxy.app import App, build
from nugetproxy.app.descriptors import raise_descriptor_limit
from nugetproxy.app.reload import Reload
from nugetproxy.banner import banner
from nugetproxy.config import Address, Config, warnings
from nugetproxy.errors import ConfigError
from nugetproxy.web.control import admin_socket, control_socket
from nugetproxy.web.door import Door
from nugetproxy.web.lane import Lane
from nugetproxy.web.listening import ADMIN, HTTP, own_socket, passed_sockets
from nugetproxy.web.server import Handler, LimitedServer, Limits
from nugetproxy.web.supervisor import Supervisor
from nugetproxy.web.tls import Certificate, trouble

log = structlog.get_logger(__name__)

UNUSED = (signal.SIGUSR1, signal.SIGUSR2)
READY = "serving clients"
LOOK_AFTER = 5_000
"""Objects that came since the last look for garbage before there is another one, of a few milliseconds. With the
interpreter's 700, what a few requests hold while they are under way sets one off: a twelfth of what a miss cost.
"""


def run(config: Config, again: Callable[[], Config] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; the exit code is 0, or 128 + the signal when a second one cut it short.

    ``again`` reads the configuration anew when it is to be reloaded; it may raise ConfigError.
    Raises StoreUnusable when the cache directory cannot be used, AddressUnusable when nobody can listen there.
    """
    gc.freeze()  # what was imported stays: no collection looks at it again
    gc.set_threshold(LOOK_AFTER)
    os.umask(0o077)
    _spare_signals()
    passed = passed_sockets(os.environ)
    raise_descriptor_limit()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold the callers' API keys
    logs.setup(config.log.level, config.log.format)
    logs.sample_hits(config.log.sample_hits)
    if HttpRequestParser is HttpRequestParserPy:
        raise ConfigError(("aiohttp's C parser is missing; install aiohttp from a wheel for this platform",))
    try:
        with asyncio.Runner(loop_factory=_loop_factory(config)) as runner:
            return runner.run(_serve(config, again or (lambda: config), passed))
    finally:
        logs.shutdown()
        gc.freeze()  # nothing is left to collect, but the interpreter would look at all that was imported, for long


def _loop_factory(config: Config) -> Callable[[], asyncio.AbstractEventLoop] | None:
    """What makes the event loop; None for that of the standard library."""
    if config.server.event_loop == "asyncio":
        return None
    import uvloop

    return uvloop.new_event_loop


def _spare_signals() -> None:
    """What a service is sent by log rotation, by an operator's habit or by a closing terminal must not end it."""
    for number in UNUSED:
        signal.signal(number, signal.SIG_IGN)
    if not _has_terminal():
        signal.signal(signal.SIGHUP, signal.SIG_IGN)


def _has_terminal() -> bool:
    return sys.stdin is not None and not sys.stdin.closed and sys.stdin.isatty()


async def _serve(config: Config, again: Callable[[], Config], passed: Mapping[str, list[socket.socket]]) -> int:
    asyncio.get_running_loop().set_exception_handler(logs.loop_failed)
    stopping, supervisor = _Signals(), Supervisor(os.environ, os.getpid())
    async with build(config) as app:
        listeners = passed.get(HTTP) or [own_socket(config.server.listen.host, config.server.listen.port)]
        _admit(app, listeners)
        server, drain, certificate = _server(app, app.answer, app.lane), config.server.drain, _tls(app)
        doors = [
            Door(server, listeners, drain=drain, tls=certificate.context if certificate is not None else None),
            *(Door(_server(app, app.operate), one, drain=drain) for one in _operators(config, passed)),
            *(Door(_server(app, app.command), one, drain=drain) for one in _commands(config)),
        ]
        reload = _reload(app, again, doors, certificate)
        reload.before, reload.done = supervisor.reloading, partial(supervisor.ready, READY)
        for door in doors:
            await door.open()
        address = _address(listeners[0], config.server.listen)
        logs.tell(banner(config, address))
        log.info("proxy.started", version=__version__, address=address.host, port=address.port, pid=os.getpid())
        app.start_background()
        stopping.reloads(lambda: app.tasks.start(reload.by_signal(), name="reload"))
        app.tasks.start(supervisor.live(app.clock), name="supervisor")
        supervisor.ready(READY)
        await stopping.wait(app.lock.ousted)
        app.ops.draining = True
        supervisor.stopping()
        log.info("proxy.draining", seconds=config.server.drain, connections=server.open_connections)
        code = await stopping.or_again(asyncio.ensure_future(_close(doors)))
    log.info("proxy.stopped", code=code)
    if app.lock.other is not None:
        raise app.lock.other
    return code


def _admit(app: App, listeners: Sequence[socket.socket]) -> None:
    """Say who may come in by these sockets; raises ConfigError where that would be everybody by accident."""
    app.admission.listens_on(listeners)
    if refusals := tuple(app.admission.refusals()):
        raise ConfigError(refusals)
    found = warnings(app.config, closed=app.admission.closed(), guarded=app.admission.guarded())
    for warning in (*found, *app.admission.concerns()):
        log.warning("config.warning", warning=warning)


def _operators(config: Config, passed: Mapping[str, list[socket.socket]]) -> Iterator[list[socket.socket]]:
    """The sockets of each door that only operators can reach."""
    if ADMIN in passed:
        yield passed[ADMIN]
    match config.server.admin_listen:
        case Path() as path:
            yield [admin_socket(path)]
        case Address(host, port):
            yield [own_socket(host, port, "server.admin_listen")]
        case None:
            pass
        case other:
            assert_never(other)


def _commands(config: Config) -> Iterator[list[socket.socket]]:
    """The socket by which commands of this machine come in."""
    try:
        yield [control_socket(config.cache.path)]
    except OSError as error:  # a disk that takes no writes: what it holds is still served
        log.warning("control.unusable", detail=error.strerror)


def _reload(app: App, again: Callable[[], Config], doors: Sequence[Door], certificate: Certificate | None) -> Reload:
    """What follows another configuration beside the application."""

    def follow(config: Config) -> None:
        for door in doors:
            door.server.use(**_limits(app))
        if certificate is not None and config.server.certificate is not None:
            certificate.files = config.server.certificate
            app.watch.add(certificate.files, certificate.renew)
            app.tasks.start(certificate.renew(), name="certificate")

    reload = Reload(app, again)
    reload.after.append(follow)
    app.desk.switch.reload = reload.told
    return reload


def _tls(app: App) -> Certificate | None:
    files = app.config.server.certificate
    if files is None:
        return None
    try:
        certificate = Certificate(*files)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError((f"server.tls_certificate: {files[0]} with {files[1]}: {trouble(error)}",)) from error
    app.watch.add(files, certificate.renew)
    return certificate


def _server(app: App, handler: Handler, lane: Lane | None = None) -> LimitedServer:
    return LimitedServer(handler, **_limits(app), metrics=app.metrics, lane=lane)


def _limits(app: App) -> Limits:
    limits = app.config.server
    return {
        "max_connections": app.descriptors.clients,
        "max_per_ip": limits.max_connections_per_ip,
        "front_ends": limits.trusted_proxies,
        "header_timeout": limits.header_timeout,
        "write_timeout": limits.write_timeout,
    }


def _address(listener: socket.socket, configured: Address) -> Address:
    """Where the first socket listens; for a Unix socket, which clients cannot name, what is configured."""
    name = listener.getsockname()
    return Address(*name[:2]) if isinstance(name, tuple) else configured


async def _close(doors: Sequence[Door]) -> None:
    await asyncio.gather(*(door.close() for door in doors))


class _Signals:
    """The signals that end the process: the first one drains, a second one does not wait."""

    def __init__(self) -> None:
        self._first = asyncio.Event()
        self._second = asyncio.Event()
        self._code = 0
        self._reload: Callable[[], object] | None = None
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, number)
        if not _has_terminal():
            loop.add_signal_handler(signal.SIGHUP, self._hang_up)
        elif signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup keeps a proxy of a closed terminal alive
            loop.add_signal_handler(signal.SIGHUP, self._stop, signal.SIGHUP)

    def _stop(self, number: signal.Signals) -> None:
        if self._first.is_set():
            self._code = 128 + number
            self._second.set()
        self._first.set()

    def reloads(self, reload: Callable[[], object]) -> None:
        """What SIGHUP leads to from now on, without a terminal to be hung up on."""
        self._reload = reload

    def _hang_up(self) -> None:
        if self._reload is not None and not self._first.is_set():
            self._reload()
        else:
            log.info("signal.ignored", signal="SIGHUP")

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
