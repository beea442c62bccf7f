"""Direct TLS is asyncio's own, with a short way for what comes at once, goes out in one write.

asyncio ends every read by an exception, with two allocations of 256 KiB on the way. Here a read ends where nothing is
left. Handshakes, shutdowns, back pressure, whatever does not come or go at once: all that stays asyncio's.
"""

from __future__ import annotations

import asyncio
import ssl
from asyncio.sslproto import SSLAgainErrors, SSLProtocol, SSLProtocolState, _SSLProtocolTransport
from collections.abc import Callable
from types import FunctionType
from typing import Any, Final

import structlog

log = structlog.get_logger(__name__)

RECORD: Final = 16 * 1024
"""Bytes of plain text in the largest record; no read returns more."""
PRIVATE: Final = frozenset(
    {
        "_app_protocol",
        "_app_reading_paused",
        "_app_transport",
        "_control_app_writing",
        "_do_read",
        "_fatal_error",
        "_get_app_transport",
        "_incoming",
        "_outgoing",
        "_ssl_buffer",
        "_ssl_buffer_view",
        "_ssl_reading_paused",
        "_ssl_writing_paused",
        "_sslobj",
        "_state",
        "_transport",
        "_write_buffer_size",
        "max_size",
    }
)
"""Attributes of asyncio's protocol that the short way reads, calls or replaces, and that asyncio promises nobody."""
_received: Final = bytearray(256 * 1024)
_view: Final = memoryview(_received)
"""Where all sockets are read into: what is there has been used before the next one is read."""
_WRAPPED: Final = SSLProtocolState.WRAPPED


def is_usable(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether the TLS of ``loop`` is the one that we know; there is a warning where asyncio's has changed."""
    if not isinstance(loop, asyncio.SelectorEventLoop):
        return False
    missing = sorted(PRIVATE - _named(SSLProtocol))
    if missing:
        log.warning("tls.not_direct", detail=f"asyncio's TLS protocol has no {', '.join(missing)} any more")
    return not missing


def _named(cls: type) -> set[str]:
    """The attributes of a class, with those that its functions use."""
    codes = (value.__code__ for value in vars(cls).values() if isinstance(value, FunctionType))
    return set(dir(cls)).union(*(code.co_names for code in codes))


class DirectTls(SSLProtocol):
    """The server's end of one connection."""

    max_size = RECORD

    # What type checkers know of asyncio's is older.
    _app_protocol: asyncio.Protocol
    _app_reading_paused: bool
    _control_app_writing: Callable[[], None]
    _do_read: Callable[[], None]
    _incoming: ssl.MemoryBIO
    _outgoing: ssl.MemoryBIO
    _ssl_reading_paused: bool
    _ssl_writing_paused: bool
    _sslobj: ssl.SSLObject
    _state: SSLProtocolState
    _transport: asyncio.Transport
    _write_buffer_size: int

    def __init__(self, loop: asyncio.AbstractEventLoop, protocol: asyncio.Protocol, context: ssl.SSLContext) -> None:
        super().__init__(loop, protocol, context, None, server_side=True)  # type: ignore[arg-type]  # as asyncio does
        self._ssl_buffer, self._ssl_buffer_view = _received, _view

    def _get_app_transport(self) -> _SSLProtocolTransport:
        """asyncio's hook: the transport that the HTTP side writes to."""
        if self._app_transport is None:
            self._app_transport = _Transport(self._loop, self)
        return self._app_transport

    def get_buffer(self, _size: int) -> memoryview:
        """asyncio's hook: where the socket is read into."""
        return _view

    def buffer_updated(self, size: int) -> None:
        """asyncio's hook for what has come in."""
        if self._state is not _WRAPPED or self._app_reading_paused or self._ssl_reading_paused:
            super().buffer_updated(size)
            return
        incoming, connection = self._incoming, self._sslobj
        incoming.write(_view[:size])
        data = piece = b""
        try:
            while True:  # records that come together are one piece, as from asyncio
                piece = connection.read(RECORD)
                data += piece
                if not piece or not (incoming.pending or connection.pending()):
                    break
        except SSLAgainErrors:  # a part of a record
            pass
        except ssl.SSLError as error:
            self._fatal_error(error, "Fatal error on SSL protocol")
            return
        if data:
            self._app_protocol.data_received(data)
        if not piece or incoming.pending or connection.pending() or self._outgoing.pending:
            self._do_read()

    def write_now(self, data: bytes) -> bool:
        """Whether the socket's transport has been given ``data``, or the connection has ended over it."""
        if self._state is not _WRAPPED or self._write_buffer_size or self._ssl_writing_paused:
            return False
        try:
            self._sslobj.write(data)
        except SSLAgainErrors:  # asyncio will repeat it
            return False
        except ssl.SSLError as error:
            self._fatal_error(error, "Fatal error on SSL protocol")
            return True
        self._transport.write(self._outgoing.read())
        self._control_app_writing()
        return True


class _Transport(_SSLProtocolTransport):
    """What the HTTP side writes to."""

    _ssl_protocol: DirectTls | None

    def write(self, data: Any) -> None:
        """asyncio's method."""
        tls = self._ssl_protocol
        if not data or tls is None or not tls.write_now(data):
            super().write(data)
