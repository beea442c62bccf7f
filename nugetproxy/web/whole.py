"""Whole is a response that is complete before its first byte is sent."""

from __future__ import annotations

import time
from collections.abc import Mapping
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus

from aiohttp import ClientConnectionResetError, HttpVersion11, hdrs, web
from aiohttp.abc import AbstractStreamWriter

ONE_WRITE_BYTES = 64 * 1024
"""Up to this size a body is copied behind its header section, for one system call less."""


class Whole(web.StreamResponse):
    """Sends header section and body at once.

    aiohttp's own ``Response`` spends on its header section alone more than all else that a hit costs.
    """

    def __init__(self, status: int, fields: Mapping[str, str], body: bytes = b"", *, length: int | None) -> None:
        """``fields`` lack ``Date``, ``Connection`` and ``Content-Length``, which is ``length`` where that is known."""
        super().__init__(status=status)
        self._fields = fields
        self._whole = body
        self._length = length

    @property
    def body_length(self) -> int:
        """Bytes of the body."""
        return len(self._whole)

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send everything; aiohttp's hook. Waits while the client has too much to read already.

        Raises ValueError for a field with a line break or a NUL in it.
        """
        transport = request.transport
        if transport is None or transport.is_closing():
            raise ClientConnectionResetError("the client has left")
        if self._keep_alive is None:
            self._keep_alive = request.keep_alive
        head = self._head(request)
        if len(self._whole) <= ONE_WRITE_BYTES:
            transport.write(head + self._whole)
        else:
            transport.write(head)
            transport.write(self._whole)
        self._eof_sent = True
        await request.writer.drain()
        return None

    def _head(self, request: web.BaseRequest) -> bytes:
        """Status line and header section."""
        lines = [_status_line(request.version >= HttpVersion11, self.status), f"Date: {http_date(int(time.time()))}"]
        lines += [f"{name}: {value}" for name, value in self._fields.items()]
        if self._length is not None:
            lines.append(f"{hdrs.CONTENT_LENGTH}: {self._length}")
        if not self._keep_alive:
            lines.append("Connection: close")
        elif request.version < HttpVersion11:
            lines.append("Connection: keep-alive")
        lines.append("\r\n")
        text = "\r\n".join(lines)
        if not text.count("\r") == text.count("\n") == len(lines) or "\0" in text:
            raise ValueError("a header field holds a line break or a NUL")
        return text.encode()


@lru_cache(maxsize=4096)
def http_date(seconds: int) -> str:
    """A date as HTTP writes it (RFC 9110 section 5.6.7), of ``seconds`` since the epoch."""
    return formatdate(seconds, usegmt=True)


@lru_cache(maxsize=64)
def _status_line(persistent: bool, status: int) -> str:
    return f"HTTP/1.{int(persistent)} {status} {HTTPStatus(status).phrase}"
