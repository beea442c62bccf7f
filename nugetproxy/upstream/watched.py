"""Watched is aiohttp's side of one connection, with one timer for all that it waits for.

aiohttp makes a timer for each request, another for each piece that arrives. Here a timer that is under way stays, and
looks when it is over whether something is due.
"""

from __future__ import annotations

import asyncio
import math
from functools import partial
from typing import Final, cast

import aiohttp
from aiohttp.client_proto import ResponseHandler

OVERRIDDEN: Final = ("_drop_timeout", "_on_read_timeout", "_reschedule_timeout", "connection_lost", "set_exception")
"""Methods of aiohttp's ResponseHandler that are replaced here, or called by what replaces them."""


class Watched(ResponseHandler):
    """Fails with SocketTimeoutError after too long a silence, with TimeoutError at the deadline."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self._silent_at = math.inf
        self._deadline = math.inf
        self._alarm: asyncio.TimerHandle | None = None

    def expect(self, deadline: float) -> None:
        """An answer must begin by ``deadline`` (of the event loop's time), within the silence that is allowed."""
        self._deadline = deadline
        self.start_timeout()

    def begun(self) -> None:
        """It has: from now on only silence ends it."""
        self._deadline = math.inf

    def _reschedule_timeout(self) -> None:
        """aiohttp's hook: silence begins anew."""
        silence = self._read_timeout
        self._silent_at = self._loop.time() + silence if silence else math.inf
        self._arm()

    def _drop_timeout(self) -> None:
        """aiohttp's hook: silence is allowed."""
        self._silent_at = math.inf

    def connection_lost(self, exc: BaseException | None) -> None:
        """aiohttp's hook. A body without a length is whole only where its connection was closed, not where it broke."""
        body = self._payload
        if exc is not None and body is not None and not body.is_eof():
            body.set_exception(aiohttp.ClientPayloadError(f"Response payload is not completed: {exc!r}"))
        super().connection_lost(exc)
        if (closed := self.closed) is not None and closed.done() and not closed.cancelled():
            closed.exception()  # seen: an idle connection that breaks is nothing that the loop need complain of
        self._silent_at = self._deadline = math.inf
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _arm(self) -> None:
        """Have the timer end no later than something is due."""
        due, alarm = min(self._silent_at, self._deadline), self._alarm
        if due == math.inf or (alarm is not None and alarm.when() <= due):
            return
        if alarm is not None:
            alarm.cancel()
        self._alarm = self._loop.call_at(due, self._look)

    def _look(self) -> None:
        self._alarm = None
        now = self._loop.time()
        if self._deadline <= now:
            self._deadline = math.inf
            self.set_exception(TimeoutError())
        elif self._silent_at <= now:
            self._on_read_timeout()
        else:
            self._arm()


def watch(connector: aiohttp.BaseConnector) -> None:
    """Have the connections that ``connector`` makes from now on be watched so."""
    connector._factory = cast("partial[ResponseHandler]", partial(Watched, loop=connector._loop))
