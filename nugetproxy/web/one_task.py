"""One task answers all requests of a connection, one after the other."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp.http import RawRequestMessage, StreamWriter
from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.web_protocol import RequestHandler

from nugetproxy.web import http as web
from nugetproxy.web.asker import Asker, asker_of
from nugetproxy.web.hosts import PublicAddresses


class OneTask(RequestHandler):
    """aiohttp's handler of a connection, without a task for each request.

    Such a task, with its wakings, costs a tenth of a hit. From the first request on that has a body, cannot be read or
    wants another protocol, a connection goes aiohttp's own way.
    """

    __slots__ = ("_answering", "_asker", "_given_up", "_in_one", "carries_body")

    def __init__(self, server: web.Server, *, in_one: bool, **settings: Any) -> None:
        """``in_one`` is false where all is to go aiohttp's way."""
        super().__init__(server, **settings)
        self._in_one = in_one
        self._asker: Asker | None = None
        """Who sent the last request."""
        self._answering: asyncio.Task[Any] | None = None
        self.carries_body = False
        """True while a package or a write is under way, which a stop waits for."""
        self._given_up = False
        """True when its answer was cancelled because of a stop."""

    def data_received(self, data: bytes) -> None:
        """aiohttp's hook: who reads a body hears at once that the rest of it is malformed.

        aiohttp tells nobody but whoever answers the next request.
        """
        super().data_received(data)
        last = self._messages[-1][0] if self._messages else None
        if last is None or isinstance(last, RawRequestMessage):
            return
        current = [] if self._current_request is None else [self._current_request.content]
        for body in (*current, *(payload for _, payload in self._messages)):
            if not body.is_eof():
                body.set_exception(last.exc)

    async def start(self) -> None:
        """aiohttp's hook: answer until the connection ends."""
        goes_on = True
        while goes_on and self._in_one and not self._force_close:
            if not self._messages:
                await self._something()
                continue
            message, payload = self._messages[0]
            if (
                isinstance(message, RawRequestMessage)
                and payload is EMPTY_PAYLOAD
                and not (self._buffer_paused or self._upgraded)
            ):
                self._messages.popleft()
                goes_on = await self._answer_one(message)
            else:
                self._in_one = False
        if not self._in_one:
            await super().start()
        elif not self._force_close:
            self._task_handler = None
            if self.transport is not None:
                self.transport.close()

    async def _something(self) -> None:
        """Until a request has come in."""
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    async def _answer_one(self, message: RawRequestMessage) -> bool:
        """Answer one request; whether there may be another one."""
        loop, manager, factory, handler = self._loop, self._manager, self._request_factory, self._request_handler
        task = self._task_handler
        assert manager is not None and factory is not None and handler is not None, "the connection is open"
        assert task is not None, "it is the one that runs"
        if self._parser is not None:
            self._parser.message_consumed()
        manager.requests_count += 1
        request = factory(message, EMPTY_PAYLOAD, self, StreamWriter(self, loop), task)
        try:
            response, lost = await self._handle_request(request, None, handler)
        except asyncio.CancelledError:
            self.force_close()
            raise
        except ConnectionError:
            return False
        except Exception as error:  # an answer that cannot be sent
            self.log_exception("Unhandled exception", exc_info=error)
            self.force_close()
            return False
        self._keepalive = bool(response.keep_alive)
        if lost or not self._keepalive or self._close or self._force_close:
            return False
        self._next_keepalive_close_time = loop.time() + self._keepalive_timeout
        if self._keepalive_handle is None:
            self._keepalive_handle = loop.call_at(self._next_keepalive_close_time, self._process_keepalive)
        return True

    def begin(self, request: web.BaseRequest, addresses: PublicAddresses) -> Asker:
        """The running task answers ``request`` now; who has sent it."""
        self._answering = request.task if self._in_one else asyncio.current_task()
        self.carries_body = False
        asker = self._asker
        if asker is None or not asker.is_of(request, addresses):
            asker = self._asker = asker_of(request, addresses)
        return asker

    def cancel_document(self) -> None:
        """The stop does not wait for an answer that is no body under way."""
        if self._answering is not None and self._request_in_progress and not self.carries_body:
            self._given_up = True
            self._answering.cancel()

    def was_given_up(self) -> bool:
        """Whether the answer was cancelled because of a stop; its task then goes on."""
        if self._given_up and self._answering is not None:
            self._answering.uncancel()
        return self._given_up
