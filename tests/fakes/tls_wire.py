"""TlsWire is one end of a connection over TLS without a socket, as Wire is one without."""

from __future__ import annotations

import asyncio
import ssl
from asyncio.sslproto import SSLProtocol
from collections.abc import Callable, Sequence

from nugetproxy.web.connection import Connection
from nugetproxy.web.server import LimitedServer
from tests.fakes.wire import Wire

MakeTls = Callable[[Connection], SSLProtocol]


class TlsWire(Wire):
    """``written`` is what the server wrote, deciphered.

    How what is fed arrives depends on its length: in one record, in one that comes in two halves, or in two records at
    once.
    """

    def __init__(self, server: LimitedServer, *, port: int, theirs: ssl.SSLContext, make_tls: MakeTls) -> None:
        """``theirs`` trusts the certificate of what ``make_tls`` makes around a connection."""
        self._make_tls = make_tls
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._client = theirs.wrap_bio(self._incoming, self._outgoing, server_hostname="127.0.0.1")
        self._is_shaken = False
        super().__init__(server, port=port)

    def _connect(self) -> None:
        self._tls = self._make_tls(self._connection)
        self._tls.connection_made(self)

    def write(self, data: bytes) -> None:
        self._incoming.write(data)

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            asyncio.get_running_loop().call_soon(self._tls.connection_lost, None)

    def _force_close(self, _error: BaseException | None) -> None:
        """asyncio's TLS ends a connection like this."""
        self.close()

    def _receive(self, data: bytes) -> None:
        half = len(data) // 2
        match len(data) % 3:
            case 0:
                self._send([data])
            case 1 if half:
                self._send([data[:half], data[half:]])
            case _:
                self._client.write(data)
                record = self._outgoing.read()
                self._arrive(record[: len(record) // 2])
                self._arrive(record[len(record) // 2 :])

    def _send(self, pieces: Sequence[bytes]) -> None:
        for piece in pieces:
            self._client.write(piece)
        self._arrive(self._outgoing.read())

    def _arrive(self, data: bytes) -> None:
        if data and not self.closed:
            self._tls.get_buffer(len(data))[: len(data)] = data
            self._tls.buffer_updated(len(data))

    def _take(self) -> None:
        """Read what the server has sent; it may want an answer below HTTP."""
        try:
            if not self._is_shaken:
                self._client.do_handshake()
                self._is_shaken = True
            while data := self._client.read(2**16):
                self.written += data
            self._client.unwrap()
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self._client.unwrap()
        self._arrive(self._outgoing.read())
