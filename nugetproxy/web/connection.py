"""Connection is one client's, under our limits, with our own words where a request cannot be read."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from time import perf_counter
from typing import Any

from aiohttp import ClientConnectionResetError
from aiohttp.streams import EMPTY_PAYLOAD

from nugetproxy.log import rate_limited
from nugetproxy.metrics import Metrics
from nugetproxy.web import http as web
from nugetproxy.web.answers import answer
from nugetproxy.web.file_answer import FileAnswer
from nugetproxy.web.head_check import END, MAX_HEAD, Condition
from nugetproxy.web.hosts import unmapped
from nugetproxy.web.kernelcopy import KernelCopy
from nugetproxy.web.lane import Lane
from nugetproxy.web.malformed import refusal
from nugetproxy.web.one_task import OneTask
from nugetproxy.web.seen import Asked, Peer, Seen


class ClientStalled(ClientConnectionResetError):
    """The client took nothing for the write time-out; it was cut off."""


class Connection(OneTask):
    """aiohttp's handler of one connection."""

    __slots__ = (
        "_block",
        "_clean",
        "_condition",
        "_copy",
        "_ending",
        "_file",
        "_is_cut_off",
        "_lane",
        "_metrics",
        "_names",
        "_peer",
        "_pending",
        "_seen",
        "_stall",
        "_used_at",
        "_wire",
        "_write_timeout",
        "asked",
        "at_finish",
    )

    def __init__(
        self, server: web.Server, *, lane: Lane | None, write_timeout: float, metrics: Metrics, **settings: Any
    ) -> None:
        super().__init__(server, **settings)
        self._write_timeout = write_timeout
        self._metrics = metrics
        self._wire: asyncio.BaseTransport | None = None
        """The transport, which aiohttp forgets when it closes it, with what is still to be sent."""
        self._lane = lane
        self._clean = True
        """True while aiohttp's parser holds nothing of a next request."""
        self._peer: Peer | None = None
        self._block = b""
        self._seen: Seen | None = None
        """What the header section ``_block`` says, which a client repeats with every request."""
        self._condition: Condition | None = None
        self._file: FileAnswer | None = None
        """What the lane sends now; nothing else is looked at meanwhile."""
        self._copy: KernelCopy | None = None
        self._pending = b""
        """What came in meanwhile."""
        self._used_at = -math.inf
        """When the lane answered last, by ``perf_counter``."""
        self._ending = False
        """True when the connection ends behind it."""
        self._stall: asyncio.TimerHandle | None = None
        self._is_cut_off = False
        """True when its client took nothing for too long."""
        self.asked: Asked | None = None
        """The request that is being answered, if the lane can answer it the next time."""
        self.at_finish: Callable[[], None] | None = None
        """Called when the connection is to end: for an answer that would go on for ever."""

    @property
    def peername(self) -> Any:
        """aiohttp's name for the client's address."""
        return self._names[0]

    @property
    def sockname(self) -> Any:
        """aiohttp's name for our own address."""
        return self._names[1]

    @property
    def fresh(self) -> bool:
        """True before its first request."""
        return self._request_count == 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio's hook."""
        self._wire = transport
        self._names = unmapped(transport.get_extra_info("peername")), unmapped(transport.get_extra_info("sockname"))
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """aiohttp's hook for what has come in."""
        if self._file is not None:
            self._put_off(data)
            return
        lane, waiter = self._lane, self._waiter
        self.asked = None
        if (
            lane is not None
            and self._clean
            and waiter is not None
            and not waiter.done()
            and not (self._messages or self._close or self._force_close or self._upgraded)
            and len(data) <= MAX_HEAD
            and self._is_answered(lane, data)
        ):
            return
        before = self._request_count
        super().data_received(data)
        self._clean = (
            self._request_count == before + 1
            and data.endswith(END)
            and data.find(END) == len(data) - len(END)  # one head: behind it the parser may have paused on another
            and data[0] not in b"\r\n"  # which may end the head of before
            and bool(self._messages)
            and self._messages[-1][1] is EMPTY_PAYLOAD
        )

    def _is_answered(self, lane: Lane, data: bytes) -> bool:
        """Whether the lane had the answer to what is one whole request, and has sent it."""
        began = perf_counter()
        at = data.find(b"\r\n")
        block, seen, transport = data[at:], self._seen, self.transport
        if seen is None or block != self._block or seen.generation != lane.generation:
            seen, self._condition = lane.see(self._peer_of(), block)
            self._seen, self._block = seen, block
        if seen is None or transport is None or transport.is_closing() or lane.stopping.draining:
            return False
        line, now, condition, may = data[:at], lane.now(), self._condition, seen.may
        prepared = None
        if now < may.until and (may.is_sure is None or may.is_sure()):
            prepared = seen.answers.get(line) or lane.prepare(seen, line)
        form = prepared.answer(condition, now) if prepared is not None else None
        if prepared is None or form is None or self._paused:  # which it is while anything waits to be sent
            if seen.key is not None:
                self.asked = Asked(seen, line, condition)
            return False
        held, copy = prepared.held if form.size else None, self._copy
        if held is not None and copy is None:
            if transport.get_extra_info("socket") is None:
                return False
            copy = self.copy_to(transport)
        self._request_count += 1
        self._used_at = began
        self.carries_body = prepared.carries_body
        if held is None or copy is None:
            transport.write(form.head + form.body)
            lane.count(prepared, form, seen, now, perf_counter() - began)
        else:
            self._send_held(FileAnswer(lane, seen, prepared, form, held, began=began), copy)
        if self._paused:
            self._stall = self._loop.call_later(self._write_timeout, self._give_up)
        return True

    # --- bodies from files ---

    def copy_to(self, transport: asyncio.Transport) -> KernelCopy:
        """What sends parts of files to this client, for one body at a time; it knows from one to the next how fast."""
        if self._copy is None:
            self._copy = KernelCopy(transport, stall=self._write_timeout)
        return self._copy

    def _send_held(self, file: FileAnswer, copy: KernelCopy) -> None:
        """Send head and body; what the client does not take at once is sent when it does."""
        try:
            if file.at_once(copy):
                return
            self._file = file
            if not self._paused:
                copy.go_on(self._file_ended)
        except OSError as error:
            self._file = file
            self._file_ended(error)

    def _send_file(self, file: FileAnswer, copy: KernelCopy) -> None:
        """The client has the head."""
        try:
            sent = file.start(copy, self._file_ended)
        except OSError as error:
            self._file_ended(error)
            return
        if sent:
            self._file_ended(None)

    def _file_ended(self, error: Exception | None) -> None:
        file, self._file = self._file, None
        assert file is not None, "it is sent once"
        if self._copy is not None:
            self._copy.close()
        pending, self._pending = self._pending, b""
        if error is not None:
            file.cut(error, self._metrics)
            self.cut()
            return
        file.sent()
        self._used_at = perf_counter()
        if self._ending:
            self.finish()
        elif pending:
            if self.transport is not None:
                self.transport.resume_reading()
            self.data_received(pending)

    def _put_off(self, data: bytes) -> None:
        """Look at ``data`` behind what is being sent; who sends very much meanwhile has to wait."""
        self._pending += data
        if len(self._pending) > MAX_HEAD and self.transport is not None:
            self.transport.pause_reading()

    def _process_keepalive(self) -> None:
        """aiohttp's hook for a connection on which nothing has come in for long: one that takes a body is in use."""
        idle = perf_counter() - self._used_at if self._file is None else 0.0
        if idle < self._keepalive_timeout:  # by aiohttp's own time it may be idle since the last one that the lane left
            until = self._loop.time() + self._keepalive_timeout - idle
            self._next_keepalive_close_time = max(until, self._next_keepalive_close_time)
        super()._process_keepalive()

    def _peer_of(self) -> Peer:
        if self._peer is None:
            name, local = self.peername, self.sockname
            self._peer = Peer(
                str(name[0]) if isinstance(name, tuple) else "",
                str(local[0]) if isinstance(local, tuple) else "",
                self.ssl_context is not None,
            )
        return self._peer

    def resume_writing(self) -> None:
        """asyncio's hook: the client has taken all that was written."""
        self._forget_stall()
        super().resume_writing()
        if self._file is not None and self._copy is not None:
            self._send_file(self._file, self._copy)

    def connection_lost(self, exc: BaseException | None) -> None:
        """asyncio's hook for the end of the connection."""
        self._forget_stall()
        if self._file is not None:
            self._file_ended(ConnectionResetError("the client has left"))
        super().connection_lost(exc)

    def _forget_stall(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

    def _give_up(self) -> None:
        """The client has taken nothing of what the lane sent for as long as a write may take."""
        if self._file is not None:
            self._file_ended(TimeoutError("the client takes nothing"))
            return
        self._cut_off()

    def _cut_off(self) -> None:
        """Cut it; what two answers wait for is one stall."""
        if not self._is_cut_off:
            self._is_cut_off = True
            self._metrics.responses_aborted.labels("client_stall").inc()
        self.cut()

    async def _drain_helper(self) -> None:
        """aiohttp's hook below every write: waits while the client takes nothing, here for a limited time."""
        try:
            async with asyncio.timeout(self._write_timeout):
                await super()._drain_helper()
        except TimeoutError as stall:
            self._cut_off()
            raise ClientStalled("the client takes nothing") from stall

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """aiohttp's hook for a request that could not be read; what it says quotes nothing of the request."""
        response = answer(refusal(exc, self.max_line_size, self.max_field_size))
        if not isinstance(exc, ConnectionError):  # an answer that was cut off was read before
            self._metrics.rejected.labels("malformed").inc()
            what = type(exc).__name__ if exc is not None else "unknown"
            rate_limited("request.malformed", what, client=request.remote or "", what=what)
        response.force_close()
        return response

    def finish(self) -> None:
        """End behind the answer that is being made or sent; at once where there is none."""
        if self._file is not None:
            self._ending = True
            return
        self.close()
        if self.at_finish is not None:
            self.at_finish()
        if not self._request_in_progress and not self._messages and self.transport is not None:
            self.transport.close()  # what is still to be sent is sent first

    def cut(self) -> None:
        """Drop whatever is still to be sent."""
        if isinstance(self._wire, asyncio.WriteTransport):
            self._wire.abort()
