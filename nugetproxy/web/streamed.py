"""Streamed is a response whose body goes out as it comes, without waiting in this process."""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter
from types import TracebackType
from typing import Self

from aiohttp import HttpVersion11, hdrs
from aiohttp.abc import AbstractStreamWriter
from multidict import CIMultiDict

from nugetproxy.store.packages.reading import read_at
from nugetproxy.web import http as web
from nugetproxy.web.kernelcopy import KernelCopy
from nugetproxy.web.whole import head_of, open_transport

PIECE = 64 * 1024
"""Of what the kernel cannot copy by itself so much is written at once, which bounds what one client costs."""


class Streamed(web.StreamResponse):
    """A header section at once, then bytes and parts of files, in one chunk of HTTP each where no length is known.

    To be used as an asynchronous context manager around the body; a body that was not ended must be cut off.
    """

    def __init__(
        self,
        request: web.BaseRequest,
        status: int,
        fields: Mapping[str, str],
        *,
        length: int | None,
        copy: KernelCopy | None = None,
        is_held: bool = False,
    ) -> None:
        """``copy`` sends what is in files, and is closed at the end. ``fields`` as those of ``Whole``.

        Where the body ``is_held`` in a file, the header section goes with the first of it.
        """
        super().__init__(status=status)
        self._request = request
        self._fields = fields
        self._length = length
        self._chunked_body = length is None and request.version >= HttpVersion11
        transport = open_transport(request)
        self._copy = copy
        self._by_kernel = copy is not None and transport.get_extra_info("sslcontext") is None
        self._waits = is_held and self._by_kernel and not self._chunked_body
        self._head = b""
        """What waits for the first bytes of the body."""
        self._sent = 0
        self.waited = 0.0
        """Seconds until the client took what was sent."""

    @property
    def fields(self) -> Mapping[str, str]:
        """As they were given."""
        return self._fields

    @property
    def body_length(self) -> int:
        """Bytes of the body that were sent."""
        return self._sent

    async def __aenter__(self) -> Self:
        """Sends the header section, or has it wait for what is sent next."""
        fields = self._fields
        if self._chunked_body:
            fields = CIMultiDict([*fields.items(), (hdrs.TRANSFER_ENCODING, "chunked")])
        delimited = self._length is not None or self._chunked_body
        self._keep_alive = self._request.keep_alive and delimited
        head = head_of(self._request, self.status, fields, length=self._length, keep_alive=self._keep_alive)
        if self._waits:
            self._head = head
        else:
            await self._put(head)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._copy is not None:
            self._copy.close()

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """aiohttp's hook, when everything is sent already."""
        return None

    async def write_piece(self, data: bytes) -> None:
        """Send bytes; waits until the kernel has them. Raises ConnectionError."""
        view = memoryview(data)
        for at in range(0, len(view), PIECE):
            piece = view[at : at + PIECE]
            await self._frame(len(piece))
            await self._put(piece)
            await self._frame_end()
            self._sent += len(piece)

    async def copy(self, fd: int, start: int, stop: int) -> None:
        """Send the bytes ``[start, stop)`` of a file; raises TimeoutError, OSError, DiskFailure."""
        await self._frame(stop - start)
        if self._by_kernel and self._copy is not None:
            began = perf_counter()
            at = await self._begin(self._copy, fd, start, stop) if self._head else start
            if at < stop:
                await self._copy.send(fd, at, stop)
            self.waited += perf_counter() - began
        else:
            await self._copy_by_hand(fd, start, stop)
        await self._frame_end()
        self._sent += stop - start

    async def end(self) -> None:
        """The body is complete."""
        if self._head:
            await self._put(b"")
        if self._chunked_body:
            await self._put(b"0\r\n\r\n")
        self._eof_sent = True

    def client_left(self) -> None:
        """The client has left, as it may: nothing is missing."""
        self._eof_sent = True

    async def _begin(self, copy: KernelCopy, fd: int, start: int, stop: int) -> int:
        """Send the header section with what the client takes of a file at once; where to go on."""
        if open_transport(self._request).get_write_buffer_size():  # which is to be sent before
            await self._put(b"")
            return start
        head, self._head = self._head, b""
        if not copy.at_once(head, fd, start, stop):
            await self._request.writer.drain()  # a part of the header section may wait in the transport
        return copy.at

    async def _copy_by_hand(self, fd: int, start: int, stop: int) -> None:
        at = start
        while at < stop:
            piece = await read_at(fd, min(PIECE, stop - at), at)
            await self._put(piece)
            at += len(piece)

    async def _frame(self, size: int) -> None:
        if self._chunked_body:
            await self._put(b"%x\r\n" % size)

    async def _frame_end(self) -> None:
        if self._chunked_body:
            await self._put(b"\r\n")

    async def _put(self, data: bytes | memoryview) -> None:
        began = perf_counter()
        head, self._head = self._head, b""
        open_transport(self._request).write(head + data if head else data)
        await self._request.writer.drain()  # the server has the transport keep nothing back
        self.waited += perf_counter() - began
