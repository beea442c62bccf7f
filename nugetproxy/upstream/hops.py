"""Hops leads one GET or HEAD along redirects to its final response."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import TYPE_CHECKING, Final

from yarl import URL

from nugetproxy.errors import Reason
from nugetproxy.upstream.patience import Patience
from nugetproxy.upstream.questions import Question
from nugetproxy.upstream.response import Response
from nugetproxy.upstream.retry import parse_retry_after
from nugetproxy.upstream.urls import UrlDenied, next_hop

if TYPE_CHECKING:
    from nugetproxy.upstream.wire import Wire

LOOP_DETECTED: Final = 508
LOOPED: Final = ", the request came back to a proxy that it had passed"
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_PASSING: Final = {408: Reason.READ_TIMEOUT, 429: Reason.RATE_LIMITED, LOOP_DETECTED: Reason.STATUS}
"""What statuses that may pass mean; those of 500 and more are SERVER_ERROR, but for one that does not pass."""


class Hops:
    """As an asynchronous context manager, the final response: no generator, as every miss enters one."""

    __slots__ = ("_patience", "_question", "_response", "_seconds", "_slot", "_ticket", "_visited", "_wire")

    def __init__(self, wire: Wire, question: Question, seconds: float, patience: Patience) -> None:
        self._wire = wire
        self._question = question
        self._seconds = seconds
        self._patience = patience
        self._response: Response | None = None
        self._visited: frozenset[str] = frozenset()

    async def __aenter__(self) -> Response:
        return self._response or await self.begin()

    async def begin(self) -> Response:
        """Get the response now; it must be entered then."""
        wire, question = self._wire, self._question
        # Before the slot: who waits for a lost upstream must not keep others from a connection.
        self._ticket = await wire.admit(question, question.url, self._patience, redirected=False)
        self._slot = await wire.slot(question.request.lane, self._seconds, self._ticket)
        try:
            self._response = response = await self._final()
        except BaseException:
            self._slot.lend()
            raise
        return response

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._response is not None:
                self._response.close()
            self._ticket.end(error)
        finally:
            self._slot.lend()

    async def _final(self) -> Response:
        wire, question, url = self._wire, self._question, self._question.url
        deadline = asyncio.get_running_loop().time() + self._seconds
        while True:
            try:
                response = await wire.arrived(
                    question.request, url, deadline, self._ticket, redirected=bool(self._visited)
                )
                if response.status < 300:
                    return response
                further = await self._further(url, response)
            except BaseException as error:
                self._ticket.end(error)
                raise
            if further is None:
                return response
            self._ticket.end(None)
            url = further
            self._ticket = await wire.admit(question, url, self._patience, redirected=True)

    async def _further(self, url: URL, response: Response) -> URL | None:
        """Where it leads; None if it is final. Closes it in every other case, raising UpstreamFailure."""
        final = False
        try:
            await self._check_status(response)
            final = response.status not in REDIRECTS
            if final:
                return None
            await response.drain()
            return self._next_hop(url, response)
        finally:
            if not final:
                response.close()

    def _next_hop(self, url: URL, response: Response) -> URL:
        """Where a redirect leads, which is then one of those visited; raises UpstreamFailure (REDIRECT_DENIED)."""
        visited = self._visited | {str(url)}
        try:
            target = next_hop(url, response.headers.get("Location"), visited)
        except UrlDenied as denied:
            raise self._wire.failures.make(Reason.REDIRECT_DENIED, denied.why) from denied
        self._visited = visited
        return target

    async def _check_status(self, response: Response) -> None:
        status = response.status
        if status < 500 and status not in _PASSING:
            return
        await response.drain()
        retry_after = parse_retry_after(response.headers.get("Retry-After"), self._wire.clock.now())
        reason = _PASSING.get(status, Reason.SERVER_ERROR)
        said = f"status {status}{LOOPED if status == LOOP_DETECTED else ''} ({self._ticket.origin})"
        failure = self._wire.failures.make(reason, said, retry_after=retry_after)
        failure.of_host = status in {429, 503}
        if self._question.request.method == "HEAD" and not failure.of_host:
            self._ticket.disregard()  # some do not know HEAD, and say so of each of their packages
        raise failure
