"""The aiohttp sessions of one upstream, set up so that nothing happens unasked."""

from __future__ import annotations

import asyncio
import ssl
from enum import StrEnum
from functools import cache
from types import SimpleNamespace

import aiohttp
from aiohttp.abc import AbstractResolver
from aiohttp.connector import Connection

from nugetproxy.errors import ConfigError
from nugetproxy.upstream.failures import ConnectionDropped, Progress, UnaskedBytes
from nugetproxy.upstream.settings import UpstreamSettings

READ_BUFFER = 256 * 1024
LINE = 32 * 1024
"""Most bytes of one header line: a policy header of 9 kB must cost nobody a package."""
HEADERS = 100


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


class GuardedRequest(aiohttp.ClientRequest):
    """Does not use a pooled connection on which upstream went on talking.

    aiohttp looks for such bytes when a connection enters the pool, not when it leaves it: a whole response that
    arrives in between would be taken for the answer to the next request.
    """

    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        if conn.protocol is None or conn.protocol.should_close:
            raise UnaskedBytes
        return await super().send(conn)


def open_session(
    lane: Lane, settings: UpstreamSettings, resolver: AbstractResolver, tls: ssl.SSLContext
) -> aiohttp.ClientSession:
    """A session for ``lane``; requests must bring all headers, a Progress as ``trace_request_ctx``."""
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
        timeout=request_timeout(settings, settings.read_timeout),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        auto_decompress=False,
        read_bufsize=READ_BUFFER,
        max_line_size=LINE,
        max_field_size=LINE,
        max_headers=HEADERS,
        requote_redirect_url=False,
        skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent", "Content-Type"),
        middlewares=(_once,),
        trace_configs=[_tracing()],
    )


def request_timeout(settings: UpstreamSettings, silence: float) -> aiohttp.ClientTimeout:
    """No total time-out: it would cut long downloads. ``silence``: longest without a byte, in seconds."""
    return aiohttp.ClientTimeout(
        total=None,
        connect=2.5 * settings.connect_timeout,
        sock_connect=settings.connect_timeout,
        sock_read=silence,
    )


async def _once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    try:
        return await handler(request)
    except (aiohttp.ClientConnectorError, aiohttp.ServerTimeoutError):
        raise
    except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
        raise ConnectionDropped from error


def _tracing() -> aiohttp.TraceConfig:
    async def created(_: aiohttp.ClientSession, context: SimpleNamespace, params: object) -> None:
        context.trace_request_ctx.connected = True

    async def reused(_: aiohttp.ClientSession, context: SimpleNamespace, params: object) -> None:
        progress: Progress = context.trace_request_ctx
        progress.connected = progress.reused = True

    config = aiohttp.TraceConfig()
    config.on_connection_create_end.append(created)
    config.on_connection_reuseconn.append(reused)
    return config


async def close_session(session: aiohttp.ClientSession) -> None:
    """Close it, giving the transports one turn of the loop to end."""
    await session.close()
    await asyncio.sleep(0)
