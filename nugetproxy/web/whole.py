"""Whole is a response that is complete before its first byte is sent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from types import MappingProxyType

from aiohttp import ClientConnectionResetError, HttpVersion11, hdrs
from aiohttp.abc import AbstractStreamWriter
from multidict import CIMultiDict

from nugetproxy.engine.outcome import CACHE_NAME
from nugetproxy.nuget.moments import LAST_SECOND
from nugetproxy.web import http as web

CACHE_STATUS = "Cache-Status"
PHRASES: Mapping[int, str] = MappingProxyType({status.value: status.phrase for status in HTTPStatus})
ONE_WRITE_BYTES = 64 * 1024
"""Up to this size a body is copied behind its header section, for one system call less."""
PIECE = 128 * 1024
"""Of a larger body so much is written at once: what the kernel does not take is copied, for each client anew."""


def common_headers(cache_control: str, cache_status: str) -> dict[str, str]:
    """What every answer says, whoever makes it."""
    return {
        hdrs.SERVER: CACHE_NAME,
        hdrs.CACHE_CONTROL: cache_control,
        CACHE_STATUS: cache_status,
        "X-Content-Type-Options": "nosniff",
    }


class Whole(web.StreamResponse):
    """Sends header section and body at once.

    aiohttp's own ``Response`` spends on its header section alone more than all else that a hit costs.
    """

    owner: object = None
    """What the body is a part of, alive until it is sent."""

    def __init__(
        self, status: int, fields: Mapping[str, str], body: bytes = b"", *, length: int | None, reason: str = ""
    ) -> None:
        """``fields`` lack ``Date``, ``Connection`` and ``Content-Length``, which is ``length`` where that is known.

        ``headers`` may add to them. ``reason`` is the phrase of the status line where it is not the usual one. To a
        HEAD no body is sent.
        """
        super().__init__(status=status)
        self._fields = fields
        self._whole = body
        self._length = length
        self._phrase = reason

    @property
    def whole_body(self) -> bytes:
        """All that follows the header section."""
        return self._whole

    @property
    def fields(self) -> Mapping[str, str]:
        """As they were given."""
        return self._fields

    @property
    def length(self) -> int | None:
        """What ``Content-Length`` says; None where it is left out."""
        return self._length

    @property
    def body_length(self) -> int:
        """Bytes of the body."""
        return len(self._whole)

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send everything; aiohttp's hook. Waits while the client has too much to read already.

        Raises ValueError for a field with a line break or a NUL in it, ConnectionError when the client takes nothing.
        """
        transport = open_transport(request)
        if self._keep_alive is None:
            self._keep_alive = request.keep_alive
        fields = CIMultiDict([*self._fields.items(), *self.headers.items()]) if self.headers else self._fields
        head = head_of(
            request, self.status, fields, length=self._length, keep_alive=self._keep_alive, reason=self._phrase
        )
        body = b"" if request.method == hdrs.METH_HEAD else self._whole
        if len(body) <= ONE_WRITE_BYTES:
            transport.write(head + body)
        else:
            transport.write(head)
            view = memoryview(body)
            for at in range(0, len(view), PIECE):
                open_transport(request).write(view[at : at + PIECE])
                await request.writer.drain()
        self._eof_sent = True
        await request.writer.drain()
        return None


def open_transport(request: web.BaseRequest) -> asyncio.Transport:
    """The client's connection; raises ConnectionError when the client has left."""
    transport = request.transport
    if transport is None or transport.is_closing():
        raise ClientConnectionResetError("the client has left")
    return transport


def head_of(
    request: web.BaseRequest,
    status: int,
    fields: Mapping[str, str],
    *,
    length: int | None,
    keep_alive: bool,
    reason: str = "",
) -> bytes:
    """Status line and header section; raises ValueError for a field with a line break or a NUL in it.

    The status line names the version that we speak, whatever the request's (RFC 9110 section 6.2).
    """
    lines = [status_line(status, reason), f"Date: {http_date(int(time.time()))}"]
    lines += [f"{name}: {value}" for name, value in fields.items()]
    if length is not None and status != HTTPStatus.NO_CONTENT:  # RFC 9110 section 8.6
        lines.append(f"{hdrs.CONTENT_LENGTH}: {length}")
    if not keep_alive:
        lines.append("Connection: close")
    elif request.version < HttpVersion11:
        lines.append("Connection: keep-alive")
    lines.append("\r\n")
    text = "\r\n".join(lines)
    if not text.count("\r") == text.count("\n") == len(lines) or "\0" in text:
        raise ValueError("a header field holds a line break or a NUL")
    return text.encode()


def template_of(response: Whole, aged: bool) -> bytes:
    """The head of a 200 on a kept connection, with ``%b`` for Date, Cache-Status and, where it is ``aged``, Age."""
    changing = {CACHE_STATUS, hdrs.AGE} if aged else {CACHE_STATUS}
    lines = [status_line(200), "Date: %b"]
    for name, value in response.fields.items():
        lines.append(f"{name}: %b" if name in changing else f"{name}: {value.replace('%', '%%')}")
    if response.length is not None:
        lines.append(f"{hdrs.CONTENT_LENGTH}: {response.length}")
    lines.append("\r\n")
    return "\r\n".join(lines).encode()


@lru_cache(maxsize=4096)
def http_date(seconds: int) -> str:
    """A date as HTTP writes it (RFC 9110 section 5.6.7), of ``seconds`` since the epoch.

    Files, and upstreams, may have one that no calendar has: it becomes the nearest.
    """
    return formatdate(min(max(0, seconds), LAST_SECOND), usegmt=True)


@lru_cache(maxsize=64)
def status_line(status: int, reason: str = "") -> str:
    """The first line of an answer; ``reason`` is its phrase where that is not the usual one.

    A status that nobody has registered, which an upstream may have answered a write with, has none.
    """
    return f"HTTP/1.1 {status} {reason or PHRASES.get(status, '')}"
