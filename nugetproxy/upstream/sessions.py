"""The aiohttp sessions of one upstream, set up so that nothing happens unasked."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from enum import StrEnum
from functools import cache
from types import MappingProxyType
from typing import Any, Final
from weakref import WeakSet

import aiohttp
from aiohttp.abc import AbstractResolver
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection

from nugetproxy.errors import ConfigError
from nugetproxy.upstream.failures import ConnectionDropped, Progress, UnaskedBytes
from nugetproxy.upstream.settings import UpstreamSettings

READ_BUFFER = 256 * 1024
LINE = 32 * 1024
"""Most bytes of one header line: a policy header of 9 kB must cost nobody a package."""
HEADERS = 100
RESPONSE_LIMITS: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "auto_decompress": False,
        "read_bufsize": READ_BUFFER,
        "max_line_size": LINE,
        "max_field_size": LINE,
        "max_headers": HEADERS,
    }
)
"""What aiohttp's session is told of how responses are to be read, and its connections where they are used without."""


class Lane(StrEnum):
    """Bulkheads: one sort of request cannot use up the connections of another."""

    DOCUMENTS = "documents"
    PACKAGES = "packages"
    WRITES = "writes"


def tls_context(settings: UpstreamSettings) -> ssl.SSLContext:
    """Certificates are always verified. Reads files. Raises ConfigError if ``ca_file`` cannot be used."""
    if settings.ca_file is None:
        return _system_context()
    context = _new_context()
    try:
        context.load_verify_locations(cafile=settings.ca_file)
    except OSError as error:
        raise ConfigError(
            (f"upstream {settings.name!r}: ca_file {settings.ca_file!r} is not a readable PEM file.",)
        ) from error
    return context


@cache
def _system_context() -> ssl.SSLContext:
    """Shared: reading the system's authorities takes longer than anything else in making a client."""
    return _new_context()


def _new_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


_progress: ContextVar[Progress] = ContextVar("progress")
_used: WeakSet[ResponseHandler] = WeakSet()
"""The connections that had a request before."""


def is_reused(protocol: ResponseHandler) -> bool:
    """Whether its connection had a request before; from now on it had."""
    if protocol in _used:
        return True
    _used.add(protocol)
    return False


def progress_of_next(progress: Progress) -> None:
    """From now on ``progress`` is told how far this task's requests get."""
    _progress.set(progress)


class GuardedRequest(aiohttp.ClientRequest):
    """Does not use a pooled connection on which upstream went on talking; tells its Progress of the connection.

    aiohttp looks for such bytes when a connection enters the pool, not when it leaves it: a whole response that
    arrives in between would be taken for the answer to the next request.
    """

    def update_auto_headers(self, skip_auto_headers: Iterable[str] | None) -> None:
        """None without a body: all headers are brought."""
        if self.method not in self.GET_METHODS:
            super().update_auto_headers(skip_auto_headers)

    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        progress, protocol = _progress.get(), conn.protocol
        progress.connected = True
        progress.reused = protocol is not None and is_reused(protocol)
        if protocol is None or protocol.should_close:
            raise UnaskedBytes
        return await super().send(conn)


class OnceResponse(aiohttp.ClientResponse):
    """Is lost with its connection: aiohttp would send the request again."""

    async def start(self, connection: Connection) -> aiohttp.ClientResponse:
        try:
            return await super().start(connection)
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
            raise ConnectionDropped from error


def open_session(
    lane: Lane, settings: UpstreamSettings, resolver: AbstractResolver, tls: ssl.SSLContext
) -> aiohttp.ClientSession:
    """A session for ``lane``; requests must bring all headers, after ``progress_of_next``."""
    connector = aiohttp.TCPConnector(
        resolver=resolver,
        ssl=tls,
        # Our own semaphore counts: waiting for a connection must not look like an upstream that is down.
        limit=0,
        ttl_dns_cache=60,
        # A write over a connection that upstream just closed could not be told from one that was carried out.
        force_close=lane is Lane.WRITES,
    )
    return aiohttp.ClientSession(
        connector=connector,
        request_class=GuardedRequest,
        response_class=OnceResponse,
        timeout=request_timeout(settings, settings.read_timeout),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        **RESPONSE_LIMITS,
        requote_redirect_url=False,
        skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent", "Content-Type"),
    )


def request_timeout(settings: UpstreamSettings, silence: float) -> aiohttp.ClientTimeout:
    """No total time-out: it would cut long downloads. ``silence``: longest without a byte, in seconds."""
    return aiohttp.ClientTimeout(
        total=None,
        connect=2.5 * settings.connect_timeout,
        sock_connect=settings.connect_timeout,
        sock_read=silence,
    )


async def once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """For requests through a proxy: as ``OnceResponse``, while the proxy opens a tunnel."""
    try:
        return await handler(request)
    except (aiohttp.ClientConnectorError, aiohttp.ServerTimeoutError):
        raise
    except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
        raise ConnectionDropped from error


async def close_session(session: aiohttp.ClientSession) -> None:
    """Close it, giving the transports one turn of the loop to end."""
    await session.close()
    await asyncio.sleep(0)
