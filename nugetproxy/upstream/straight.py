"""Straight sends a request without a body over the pooled connections of an aiohttp session, past the session itself.

The session's own work is twice that of the connection: it looks for cookies, logins, traces, middlewares that nothing
here has. Connections, their reuse, TLS, name look-ups, the parser of what comes back remain aiohttp's.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple, cast

import aiohttp
import structlog
from aiohttp import hdrs, http_writer
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.connector import BaseConnector, Connection
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from nugetproxy.upstream.failures import ConnectionDropped, Progress, UnaskedBytes
from nugetproxy.upstream.sessions import RESPONSE_LIMITS, is_reused
from nugetproxy.upstream.watched import OVERRIDDEN, Watched, watch

log = structlog.get_logger(__name__)

MOST_WAYS: Final = 256
"""Origins whose connection key is remembered."""
UPGRADED: Final = 101

SIGNATURES: Final[Mapping[str, tuple[Any, tuple[str, ...]]]] = MappingProxyType(
    {
        "BaseConnector.connect": (getattr(BaseConnector, "connect", None), ("self", "req", "traces", "timeout")),
        "BaseConnector._get": (getattr(BaseConnector, "_get", None), ("self", "key", "traces")),
        "Connection.close": (getattr(Connection, "close", None), ("self",)),
        "Connection.release": (getattr(Connection, "release", None), ("self",)),
        "ResponseHandler.read": (getattr(ResponseHandler, "read", None), ("self",)),
        "ResponseHandler.start_timeout": (getattr(ResponseHandler, "start_timeout", None), ("self",)),
        **{f"ResponseHandler.{name}": (getattr(ResponseHandler, name, None), ("self",)) for name in OVERRIDDEN},
        "ResponseHandler.set_response_params": (
            getattr(ResponseHandler, "set_response_params", None),
            ("self", "skip_payload", "read_until_eof", "read_timeout", *RESPONSE_LIMITS),
        ),
        "http_writer._serialize_headers": (
            getattr(http_writer, "_py_serialize_headers", None),
            ("status_line", "headers"),
        ),
    }
)
"""What is called here of aiohttp that it promises nobody, with the parameters that it must have."""
PROPERTIES: Final = ("should_close", "upgraded")
"""What is read of its ResponseHandler."""


def is_usable(connector: BaseConnector) -> bool:
    """Whether aiohttp is the one that is known here; else there is a warning, and all goes through its session."""
    missing = [name for name in PROPERTIES if not hasattr(ResponseHandler, name)]
    missing += [name for name, (called, parameters) in SIGNATURES.items() if not _takes(called, parameters)]
    missing += [name for name in ("_factory", "_loop") if not hasattr(connector, name)]
    if missing:
        log.warning("straight.closed", detail=f"aiohttp's client is another one: {', '.join(missing)}")
    return not missing


def _takes(called: Any, parameters: tuple[str, ...]) -> bool:
    return called is not None and set(parameters) <= inspect.signature(called).parameters.keys()


class Arrived:
    """A response whose headers are here: of aiohttp's ClientResponse what is needed of one."""

    __slots__ = ("connection", "content", "headers", "reason", "status")

    def __init__(self, connection: Connection, message: Any, content: aiohttp.StreamReader) -> None:
        """``message`` is what aiohttp's parser made of the headers."""
        self.connection: Connection | None = connection
        """Until the body is here."""
        self.content = content
        self.status: int = message.code
        self.reason: str | None = message.reason
        self.headers: CIMultiDictProxy[str] = message.headers
        content.on_eof(self._end)

    @property
    def content_length(self) -> int | None:
        """As the header says it, in bytes."""
        length = self.headers.get(hdrs.CONTENT_LENGTH)
        return None if length is None else int(length)

    def close(self) -> None:
        """End the connection if the body is not here yet; whoever waits for it is told."""
        connection, self.connection = self.connection, None
        if connection is not None:
            if self.content.exception() is None:
                self.content.set_exception(aiohttp.ClientConnectionError("Connection closed"))
            connection.close()

    def _end(self) -> None:
        """The body is here: the connection may have another request, unless it has changed its protocol."""
        connection = self.connection
        protocol = connection.protocol if connection is not None else None
        if connection is not None and not (protocol is not None and protocol.upgraded):
            self.connection = None
            connection.release()


class Way(NamedTuple):
    """To one origin."""

    request: aiohttp.ClientRequest
    """What tells the connector where to connect to."""
    key: ConnectionKey
    """What it keeps connections under."""
    host: str
    """What ``Host`` says."""


class Straight:
    """GET and HEAD over the connections of one session."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        connector = session.connector
        assert connector is not None
        watch(connector)
        self._connector = connector
        self._timeout = session.timeout
        self._ways: dict[tuple[str, str | None, int | None], Way] = {}
        """By scheme, host, port."""

    async def send(
        self, method: str, url: URL, headers: CIMultiDict[str], progress: Progress, deadline: float
    ) -> Arrived:
        """The response to one request, whose headers must be here by ``deadline`` (of the event loop's time).

        Raises what aiohttp does, TimeoutError at the deadline, but ConnectionDropped where its session would send the
        request again. ``progress`` is told how far it gets.
        """
        way = self._way(url)
        connection = await self._connector._get(way.key, []) or await self._connect(way, deadline)
        try:
            protocol = self._begin(connection, method == hdrs.METH_HEAD, progress)
            head = CIMultiDict(((hdrs.HOST, way.host),))
            head.update(headers)
            _write(protocol, http_writer._serialize_headers(f"{method} {url.raw_path_qs} HTTP/1.1", head))
            protocol.expect(deadline)
            message, content = await protocol.read()
            while 100 <= message.code < 200 and message.code != UPGRADED:
                message, content = await protocol.read()
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
            connection.close()
            raise ConnectionDropped from error
        except BaseException:
            connection.close()
            raise
        protocol.begun()
        return Arrived(connection, message, content)

    async def _connect(self, way: Way, deadline: float) -> Connection:
        async with asyncio.timeout_at(deadline):
            try:
                return await self._connector.connect(way.request, [], self._timeout)
            except TimeoutError as error:
                raise aiohttp.ConnectionTimeoutError(f"no connection to {way.host} in time") from error

    def _begin(self, connection: Connection, only_head: bool, progress: Progress) -> Watched:
        """The connection's protocol, ready for one response."""
        protocol = connection.protocol
        progress.connected = True
        progress.reused = protocol is not None and is_reused(protocol)
        if protocol is None or protocol.should_close:
            raise UnaskedBytes
        protocol.set_response_params(
            skip_payload=only_head,
            read_until_eof=True,
            read_timeout=self._timeout.sock_read,
            **RESPONSE_LIMITS,
        )
        return cast(Watched, protocol)

    def _way(self, url: URL) -> Way:
        origin = (url.scheme, url.raw_host, url.port)
        way = self._ways.get(origin)
        if way is None:
            if len(self._ways) >= MOST_WAYS:
                self._ways.clear()
            request = aiohttp.ClientRequest(hdrs.METH_GET, url.origin())
            way = self._ways[origin] = Way(request, request.connection_key, request.headers[hdrs.HOST])
        return way


def _write(protocol: ResponseHandler, head: bytes) -> None:
    transport = protocol.transport
    if transport is None or transport.is_closing():
        raise ConnectionDropped
    transport.write(head)
