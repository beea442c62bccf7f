"""Straight sends a request without a body over the pooled connections of an aiohttp session, past the session itself.

The session's own work is twice that of the connection: it looks for cookies, logins, traces, middlewares that nothing
here has. Connections, their reuse, TLS, name look-ups, the parser of what comes back remain aiohttp's.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import aiohttp
import structlog
from aiohttp import hdrs, http_writer
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import BaseConnector, Connection
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from nugetproxy.upstream.failures import ConnectionDropped, Progress, UnaskedBytes
from nugetproxy.upstream.sessions import RESPONSE_LIMITS, is_reused

log = structlog.get_logger(__name__)

MOST_WAYS: Final = 256
"""Origins whose connection key is remembered."""
UPGRADED: Final = 101

SIGNATURES: Final[Mapping[str, tuple[Any, tuple[str, ...]]]] = MappingProxyType(
    {
        "BaseConnector.connect": (getattr(BaseConnector, "connect", None), ("self", "req", "traces", "timeout")),
        "Connection.close": (getattr(Connection, "close", None), ("self",)),
        "Connection.release": (getattr(Connection, "release", None), ("self",)),
        "ResponseHandler.read": (getattr(ResponseHandler, "read", None), ("self",)),
        "ResponseHandler.start_timeout": (getattr(ResponseHandler, "start_timeout", None), ("self",)),
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


def is_usable() -> bool:
    """Whether aiohttp is the one that is known here; else there is a warning, and all goes through its session."""
    missing = [name for name in PROPERTIES if not hasattr(ResponseHandler, name)]
    missing += [name for name, (called, parameters) in SIGNATURES.items() if not _takes(called, parameters)]
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


def _write(protocol: ResponseHandler, head: bytes) -> None:
    """Send it; from now on upstream may be silent for a while only."""
    transport = protocol.transport
    if transport is None or transport.is_closing():
        raise ConnectionDropped
    transport.write(head)
    protocol.start_timeout()


class Straight:
    """GET and HEAD over the connections of one session."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        connector = session.connector
        assert connector is not None
        self._connector = connector
        self._timeout = session.timeout
        self._ways: dict[tuple[str, str | None, int | None], aiohttp.ClientRequest] = {}
        """By scheme, host, port what tells the connector where a request goes."""

    async def send(self, method: str, url: URL, headers: CIMultiDict[str], progress: Progress) -> Arrived:
        """The response to one request; raises what aiohttp does, but ConnectionDropped as its session would repeat it.

        ``progress`` is told how far it gets.
        """
        way = self._way(url)
        try:
            connection = await self._connector.connect(way, [], self._timeout)
        except TimeoutError as error:
            raise aiohttp.ConnectionTimeoutError(f"no connection to {way.host} in time") from error
        try:
            protocol = self._begin(connection, method == hdrs.METH_HEAD, progress)
            head = CIMultiDict(((hdrs.HOST, way.headers[hdrs.HOST]),))
            head.update(headers)
            _write(protocol, http_writer._serialize_headers(f"{method} {url.raw_path_qs} HTTP/1.1", head))
            message, content = await protocol.read()
            while 100 <= message.code < 200 and message.code != UPGRADED:
                message, content = await protocol.read()
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
            connection.close()
            raise ConnectionDropped from error
        except BaseException:
            connection.close()
            raise
        return Arrived(connection, message, content)

    def _begin(self, connection: Connection, only_head: bool, progress: Progress) -> ResponseHandler:
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
        return protocol

    def _way(self, url: URL) -> aiohttp.ClientRequest:
        key = (url.scheme, url.raw_host, url.port)
        way = self._ways.get(key)
        if way is None:
            if len(self._ways) >= MOST_WAYS:
                self._ways.clear()
            way = self._ways[key] = aiohttp.ClientRequest(hdrs.METH_GET, url.origin())
        return way
