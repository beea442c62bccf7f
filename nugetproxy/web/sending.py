"""Sending turns replies into HTTP responses: conditions, ranges, headers, bytes."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from functools import lru_cache
from typing import Any

from aiohttp import HttpVersion11, hdrs
from cachetools import LRUCache
from multidict import CIMultiDict

from nugetproxy.caching.conditions import Selection, select
from nugetproxy.engine.flight_body import FlightBody
from nugetproxy.errors import ProxyError
from nugetproxy.feeds.reply import HeldBody, RelayedBody, Reply
from nugetproxy.metrics import Metrics
from nugetproxy.store.packages.held import HeldPackage
from nugetproxy.store.packages.reading import read_at
from nugetproxy.web import http as web
from nugetproxy.web.answers import header_text
from nugetproxy.web.asker import Asker
from nugetproxy.web.connection import ClientStalled, Connection
from nugetproxy.web.cors import NO_FIELDS
from nugetproxy.web.streamed import Streamed
from nugetproxy.web.whole import Whole, common_headers, http_date, open_transport

MAX_WARNING = 1024
"""Characters that are sent of one; whoever reads header fields has had enough after some thousands."""
INLINE_BYTES = 128 * 1024
"""Held packages up to this size are read and sent with their headers."""


class Sender:
    """Sends replies; a body that cannot be completed is cut off, never ended as if it were whole."""

    def __init__(self, metrics: Metrics, *, hot_bytes: int) -> None:
        """``hot_bytes`` of small packages are kept in memory."""
        self._metrics = metrics
        self._contents: LRUCache[HeldPackage, bytes] = LRUCache(hot_bytes, len)

    async def send(
        self, request: web.BaseRequest, reply: Reply, asker: Asker, more: Mapping[str, str] = NO_FIELDS
    ) -> web.StreamResponse:
        """The finished response to ``request`` of ``asker``, with ``more`` header fields; closes ``reply``.

        Raises ConnectionError after cutting off a response whose body failed or whose client stalled.
        """
        try:
            if isinstance(reply.body, FlightBody) and reply.size is None and request.version < HttpVersion11:
                # Without chunks or length a cut body looks whole (RFC 9112 section 6.3): send it when all is here.
                await reply.body.flight.landing()
            selection = _selection(request.method, asker.conditions, reply)
            fields = _fields(reply, selection, more)
            bodiless = request.method == hdrs.METH_HEAD or selection.status in {304, 412, 416}
            if bodiless or isinstance(reply.body, bytes):
                return _whole(reply, selection, fields, bodiless=bodiless)
            if isinstance(reply.body, HeldBody):
                return await self._held(request, reply.body, selection, fields)
            return await self._streamed(request, reply.body, selection, fields)
        finally:
            reply.close()

    def whole(self, method: str, reply: Reply, more: Mapping[str, str]) -> Whole | None:
        """What a request without conditions gets, without the body where that is in a file; None for what is neither
        in memory nor in a file.
        """
        selection = _whole_of(reply.size or 0)
        fields = _fields(reply, selection, more)
        if method == hdrs.METH_HEAD or isinstance(reply.body, bytes):
            return _whole(reply, selection, fields, bodiless=method == hdrs.METH_HEAD)
        if not isinstance(reply.body, HeldBody):
            return None
        return Whole(200, fields, self._contents.get(reply.body.held, b""), length=reply.body.size)

    async def _held(
        self, request: web.BaseRequest, body: HeldBody, selection: Selection, fields: Mapping[str, str]
    ) -> web.StreamResponse:
        start, stop = _span(selection, body.size)
        if body.size <= INLINE_BYTES:
            content = await self._small(body)
            return Whole(selection.status, fields, content[start:stop], length=stop - start)
        return await self._streamed(request, body, selection, fields)

    async def _small(self, body: HeldBody) -> bytes:
        """The whole of a small package; a file that has changed is another ``HeldPackage``."""
        held = body.held
        content: bytes | None = self._contents.get(held)
        if content is None:
            content = body.content if body.content is not None else await read_at(held.fd, held.size, 0)
            if len(content) <= self._contents.maxsize:
                self._contents[held] = content
        return content

    async def _streamed(
        self,
        request: web.BaseRequest,
        body: HeldBody | FlightBody | RelayedBody,
        selection: Selection,
        fields: Mapping[str, str],
    ) -> web.StreamResponse:
        start, stop = (0, None) if body.size is None else _span(selection, body.size)
        length = None if stop is None else stop - start
        connection = request.protocol
        assert isinstance(connection, Connection), "the server is a LimitedServer"
        copy, held = connection.copy_to(open_transport(request)), isinstance(body, HeldBody)
        response = Streamed(request, selection.status, fields, length=length, copy=copy, is_held=held)
        await self._or_cut(request, self._send_body(response, body, start, stop))
        return response

    async def _send_body(
        self, response: Streamed, body: HeldBody | FlightBody | RelayedBody, start: int, stop: int | None
    ) -> None:
        async with response:
            async for piece in body.pieces(start, stop):
                if isinstance(piece, bytes):
                    await response.write_piece(piece)
                else:
                    await response.copy(*piece)
            if stop is not None and response.body_length != stop - start:
                raise ConnectionAbortedError("the body ended before its size")
            await response.end()

    async def _or_cut(self, request: web.BaseRequest, sending: Coroutine[Any, Any, None]) -> None:
        """Finish ``sending``, or abort the connection: a short body on a kept connection would be wrong bytes."""
        try:
            await sending
        except BaseException as error:
            reason = _why_cut(error)
            if not isinstance(error, ClientStalled):  # which is counted where it was noticed
                self._metrics.responses_aborted.labels(reason).inc()
            if request.transport is not None:
                request.transport.abort()
            if isinstance(error, ProxyError | TimeoutError | OSError):
                raise ResponseCut(reason) from error
            raise


def _why_cut(error: BaseException) -> str:
    if isinstance(error, TimeoutError | ClientStalled):
        return "client_stall"
    return "upstream" if isinstance(error, ProxyError) else "client_left"


class ResponseCut(ConnectionError):
    """A response was cut off on purpose; the argument says why."""


def _selection(method: str, conditions: Mapping[str, str], reply: Reply) -> Selection:
    if not conditions or reply.status != 200:  # they apply to what a 200 would select (RFC 9110 section 13.1)
        return _whole_of(reply.size or 0)
    return select(method, conditions, reply.etag, reply.modified, reply.size)


@lru_cache(maxsize=1024)
def _whole_of(size: int) -> Selection:
    return Selection(200, 0, size)


def _span(selection: Selection, size: int) -> tuple[int, int]:
    return (selection.start, selection.stop) if selection.status == 206 else (0, size)


def _whole(reply: Reply, selection: Selection, fields: Mapping[str, str], *, bodiless: bool) -> Whole:
    status = selection.status if reply.status == 200 else reply.status
    if bodiless:
        unstated = None if selection.status == 304 else 0
        return Whole(status, fields, length=reply.size if selection.status == 200 else unstated)
    body = reply.body if isinstance(reply.body, bytes) else b""
    if selection.status == 206:
        body = body[selection.start : selection.stop]
    whole = Whole(status, fields, body, length=len(body))
    if reply.owner is not None:
        whole.owner = reply.owner
    return whole


def _fields(reply: Reply, selection: Selection, more: Mapping[str, str]) -> Mapping[str, str]:
    """The header section, without what depends on the connection."""
    fields = common_headers(reply.cache_control, reply.cache.header())
    if more:
        fields.update(more)
    if reply.location:
        fields[hdrs.LOCATION] = reply.location
    if reply.etag is not None:
        fields[hdrs.ETAG] = reply.etag
    if reply.modified is not None:
        fields[hdrs.LAST_MODIFIED] = http_date(int(reply.modified))
    if reply.age is not None:
        fields[hdrs.AGE] = str(max(0, int(reply.age)))
    if reply.negotiated:
        fields[hdrs.VARY] = hdrs.ACCEPT_ENCODING
    if reply.gzipped:
        fields[hdrs.CONTENT_ENCODING] = "gzip"
    if selection.status == 206:
        fields[hdrs.CONTENT_RANGE] = f"bytes {selection.start}-{selection.stop - 1}/{reply.size}"
    elif selection.status == 416:
        fields[hdrs.CONTENT_RANGE] = f"bytes */{reply.size}"
    if selection.status not in {304, 412, 416}:
        fields[hdrs.CONTENT_TYPE] = reply.content_type
    if reply.status == 200 and not isinstance(reply.body, bytes):
        fields[hdrs.ACCEPT_RANGES] = "bytes"
    return _with_warnings(fields, reply.warnings) if reply.warnings else fields


def _with_warnings(fields: Mapping[str, str], warnings: tuple[str, ...]) -> Mapping[str, str]:
    """A line for each: NuGet prints them one by one."""
    several = CIMultiDict(fields)
    for warning in warnings:
        several.add("X-NuGet-Warning", header_text(warning)[:MAX_WARNING])
    return several
