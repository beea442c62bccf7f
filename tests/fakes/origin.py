"""Origin is a raw upstream server that follows a script."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import re
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Literal, Self

from multidict import CIMultiDict

PIECE = 65536


@dataclass(slots=True)
class Seen:
    """One request as it arrived; ``body`` grows while it is being read."""

    method: str
    target: str
    """Raw request target, with query."""
    headers: CIMultiDict[str]
    body: bytes = b""

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        return self.target.partition("?")[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """What to answer. Offsets count the body bytes of this very response (after range and gzip)."""

    status: int = 200
    reason: str | None = None
    headers: Iterable[tuple[str, str]] = ()
    body: bytes = b""
    stream: Callable[[], AsyncIterator[bytes]] | None = None
    """Instead of ``body``: pieces, each written at once. Needs ``length`` or ``chunked``, else the close ends it."""
    length: Literal["auto"] | int | None = "auto"
    """The Content-Length sent; None sends none (the end of the connection ends the body unless ``chunked``)."""
    chunked: bool = False
    cut_at: int | None = None
    """End the connection after so many body bytes, by RST if ``end`` says so, else by FIN."""
    end: Literal["keep", "fin", "rst"] = "keep"
    stall_at: int | None = None
    """After so many body bytes send nothing more, until the client leaves."""
    gate: asyncio.Event | None = None
    """Wait for it: before the headers, or after ``gate_at`` body bytes."""
    gate_at: int | None = None
    extra: bytes = b""
    """Sent after the body."""
    raw: bytes | None = None
    """Sent instead of everything."""
    gzip: bool = False
    read_body: bool | int = True
    """False answers before reading the request's body; a number reads only so many bytes of it."""
    ranges: bool = False
    """Honour Range and If-Range (against the ETag among ``headers``)."""


Route = Script | list[Script] | Callable[[Seen], "Script | Awaitable[Script]"]


class _Gone(Exception):
    """The connection is to be ended now."""

    def __init__(self, how: str) -> None:
        super().__init__(how)
        self.how = how


@dataclass(slots=True, eq=False)
class Origin:
    """``async with Origin() as origin``; fill ``origin.routes``, read ``origin.requests``.

    A route's list is consumed one script per request; its last one repeats.
    Unknown paths go to ``fallback``, else they are 404.
    """

    ssl: ssl.SSLContext | None = None
    host: str = "127.0.0.1"
    routes: dict[str, Route] = field(default_factory=dict)
    fallback: Callable[[Seen], Script | Awaitable[Script]] | None = None
    requests: list[Seen] = field(default_factory=list)
    connections: int = 0
    """How many connections were ever accepted."""
    active: int = 0
    """Requests being answered now."""
    port: int = 0
    _server: asyncio.Server | None = None
    _reserved: socket.socket | None = None
    _fillers: list[socket.socket] = field(default_factory=list)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"{'https' if self.ssl else 'http'}://{self.host}:{self.port}"

    @property
    def localhost(self) -> str:
        """The same server under another host name: another origin to a client."""
        return f"{'https' if self.ssl else 'http'}://localhost:{self.port}"

    def count(self, path: str) -> int:
        """How many requests for ``path`` (raw, without query) arrived."""
        return sum(seen.path == path for seen in self.requests)

    async def __aenter__(self) -> Self:
        await self.listen()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.refuse()
        self._unclog()
        if self._reserved is not None:
            self._reserved.close()
            self._reserved = None

    async def listen(self) -> None:
        """Accept connections (again), on the same port as before."""
        if self._server is not None:
            return
        self._unclog()
        bound, self._reserved = self._reserved or self._bind(), None
        self.port = bound.getsockname()[1]
        self._server = await asyncio.start_server(self._connected, sock=bound, ssl=self.ssl, backlog=1024)

    async def refuse(self) -> None:
        """Stop listening and drop every connection; the port stays ours, so connects are refused."""
        self._unclog()
        if self._server is None:
            return
        self._server.close()
        self._server = None
        self._reserved = self._bind()
        self.drop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def clog(self) -> None:
        """Drop every connection; new ones are never made, as the queue of those to be accepted is full."""
        await self.refuse()
        assert self._reserved is not None
        self._reserved.listen(0)
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex((self.host, self.port))
            self._fillers.append(filler)

    def _unclog(self) -> None:
        if self._fillers and self._reserved is not None:
            self._reserved.close()  # with what is in its queue
            self._reserved = self._bind()
        while self._fillers:
            self._fillers.pop().close()

    def drop(self, *, reset: bool = False) -> None:
        """End every open connection, by FIN or RST, without a word."""
        for writer in list(self._writers):
            if reset:
                _linger_zero(writer)
            writer.transport.abort()

    def _bind(self) -> socket.socket:
        # The protocol is spelled out, or asyncio would not switch Nagle's algorithm off: 40 ms for each small answer.
        bound = socket.socket(proto=socket.IPPROTO_TCP)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((self.host, self.port))
        return bound

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        self.connections += 1
        try:
            while await self._one(reader, writer):
                pass
        except _Gone as gone:
            if gone.how == "rst":
                _linger_zero(writer)
                writer.transport.abort()
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            self._tasks.discard(task)
            self._writers.discard(writer)

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; True if another may follow."""
        seen = await _read_head(reader)
        if seen is None:
            return False
        self.requests.append(seen)
        self.active += 1
        try:
            return await self._answer(seen, reader, writer)
        finally:
            self.active -= 1

    async def _answer(self, seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        route = self._route(seen)
        wanted = route.read_body if isinstance(route, Script) else True
        if "100-continue" in seen.headers.get("Expect", "") and wanted is not False:
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        whole = await _read_body(seen, reader, wanted)
        if isinstance(route, Script):
            script = route
        else:
            made = route(seen)
            script = made if isinstance(made, Script) else await made
        if script.gate is not None and script.gate_at is None:
            await script.gate.wait()
        if not whole:
            script = replace(script, headers=[*script.headers, ("Connection", "close")])
        await _respond(seen, script, reader, writer)
        if not whole and script.end == "keep":
            await _lingering_close(reader, writer)
            return False
        if script.end != "keep" or _until_close(script):
            raise _Gone(script.end)
        return "close" not in seen.headers.get("Connection", "")

    def _route(self, seen: Seen) -> Script | Callable[[Seen], Script | Awaitable[Script]]:
        route = self.routes.get(seen.path)
        if isinstance(route, list):
            return route.pop(0) if len(route) > 1 else route[0]
        return route or self.fallback or Script(status=404)


async def _read_head(reader: asyncio.StreamReader) -> Seen | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    first, *lines = head.decode("latin-1").split("\r\n")[:-2]
    method, target, _ = first.split(" ")
    fields = (line.partition(":") for line in lines)
    return Seen(method, target, CIMultiDict((name, value.strip()) for name, _, value in fields))


async def _read_body(seen: Seen, reader: asyncio.StreamReader, wanted: bool | int) -> bool:
    """Read the request's body, as much as is wanted; True if all of it was read."""
    chunked = "chunked" in seen.headers.get("Transfer-Encoding", "")
    total = int(seen.headers.get("Content-Length", "0"))
    if not chunked and total == 0:
        return True
    if wanted is False:
        return False
    limit = None if wanted is True else wanted
    pieces = _chunks(reader) if chunked else _sized(reader, total)
    async for piece in pieces:
        seen.body += piece
        if limit is not None and len(seen.body) >= limit:
            seen.body = seen.body[:limit]
            return False
    return True


async def _sized(reader: asyncio.StreamReader, total: int) -> AsyncIterator[bytes]:
    while total > 0:
        piece = await reader.read(min(total, PIECE))
        if not piece:
            raise asyncio.IncompleteReadError(b"", total)
        total -= len(piece)
        yield piece


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while size := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16):
        yield await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readuntil(b"\r\n")


async def _respond(seen: Seen, script: Script, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    if script.raw is not None:
        await _send(replace(script, chunked=False), _split(script.raw), reader, writer)
        return
    script, body = _ranged(seen, script)
    if script.gzip:
        body = gzip.compress(body)
    writer.write(_head(script, len(body)))
    await writer.drain()
    if seen.method == "HEAD" or script.status in {204, 304}:
        return
    await _send(script, script.stream() if script.stream else _split(body), reader, writer)


def _ranged(seen: Seen, script: Script) -> tuple[Script, bytes]:
    """The script and body after Range and If-Range (RFC 9110 section 14), one range only."""
    body = script.body
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", seen.headers.get("Range", ""))
    condition = seen.headers.get("If-Range")
    headers = CIMultiDict(script.headers)
    if not script.ranges or script.status != 200 or match is None or match[0] == "bytes=-":
        return script, body
    if condition is not None and condition not in (headers.get("ETag"), headers.get("Last-Modified")):
        return script, body
    first, last = match[1], match[2]
    start = int(first) if first else max(0, len(body) - int(last))
    stop = min(int(last) + 1, len(body)) if first and last else len(body)
    if start >= stop:
        return replace(script, status=416, headers=[*script.headers, ("Content-Range", f"bytes */{len(body)}")]), b""
    stated = ("Content-Range", f"bytes {start}-{stop - 1}/{len(body)}")
    return replace(script, status=206, headers=[*script.headers, stated]), body[start:stop]


def _head(script: Script, size: int) -> bytes:
    reason = script.reason
    if reason is None:
        reason = HTTPStatus(script.status).phrase if script.status in HTTPStatus.__members__.values() else "Odd"
    lines = [f"HTTP/1.1 {script.status} {reason}", *(f"{name}: {value}" for name, value in script.headers)]
    if script.gzip:
        lines.append("Content-Encoding: gzip")
    if script.chunked:
        lines.append("Transfer-Encoding: chunked")
    elif script.length == "auto":
        if script.stream is None and script.status not in {204, 304}:
            lines.append(f"Content-Length: {size}")
    elif script.length is not None:
        lines.append(f"Content-Length: {script.length}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _until_close(script: Script) -> bool:
    """True if only the end of the connection ends the body."""
    if script.raw is not None or script.chunked or script.status in {204, 304}:
        return False
    return script.length is None or (script.length == "auto" and script.stream is not None)


async def _split(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), PIECE):
        yield body[start : start + PIECE]


async def _send(
    script: Script, pieces: AsyncIterator[bytes], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Write the body, stopping for ``gate_at``, ``stall_at`` and ``cut_at`` at exactly those offsets."""
    stops = sorted({at for at in (script.cut_at, script.stall_at, script.gate_at) if at is not None})
    at = 0
    await _stop(script, at, reader, writer)
    async for piece in pieces:
        while piece:
            limit = next((stop - at for stop in stops if stop > at), len(piece))
            part, piece = piece[:limit], piece[limit:]
            at += len(part)
            writer.write(b"%x\r\n%b\r\n" % (len(part), part) if script.chunked else part)
            await writer.drain()
            await _stop(script, at, reader, writer)
    if script.chunked:
        writer.write(b"0\r\n\r\n")
    writer.write(script.extra)
    await writer.drain()


async def _stop(script: Script, at: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    if script.gate is not None and script.gate_at == at:
        await script.gate.wait()
    if script.stall_at == at:
        while await reader.read(PIECE):
            pass
        raise _Gone("fin")
    if script.cut_at == at:
        raise _Gone("rst" if script.end == "rst" else "fin")


async def _lingering_close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Let the client read our early answer: closing with unread bytes would reset it (RFC 9112 section 9.6)."""
    if writer.can_write_eof():
        writer.write_eof()
    with contextlib.suppress(TimeoutError, OSError):
        async with asyncio.timeout(5):
            while await reader.read(PIECE):
                pass


def _linger_zero(writer: asyncio.StreamWriter) -> None:
    """Make the close a reset."""
    sock = writer.get_extra_info("socket")
    if sock is not None:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
