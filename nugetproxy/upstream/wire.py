"""Wire makes single requests, along redirects."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache, partial

import aiohttp
from aiohttp.abc import AbstractResolver
from multidict import CIMultiDict
from yarl import URL

from nugetproxy.clock import Clock
from nugetproxy.errors import Reason, UpstreamFailure
from nugetproxy.metrics import Metrics
from nugetproxy.upstream.addresses import AddressRule, is_literal
from nugetproxy.upstream.asking import waiting
from nugetproxy.upstream.breakers import Breakers, Ticket
from nugetproxy.upstream.egress_choice import EgressChoice
from nugetproxy.upstream.failures import PROXY_LOGIN, ConnectionDropped, Failures, Progress, UnaskedBytes
from nugetproxy.upstream.patience import Patience, impatience
from nugetproxy.upstream.questions import Question, Request
from nugetproxy.upstream.resolver import GuardedResolver, ThreadResolver
from nugetproxy.upstream.response import Hiding, Response
from nugetproxy.upstream.retry import parse_retry_after
from nugetproxy.upstream.sessions import Lane, close_session, open_session, request_timeout, tls_context
from nugetproxy.upstream.settings import UpstreamSettings
from nugetproxy.upstream.slots import Outgoing, Slot, Slots
from nugetproxy.upstream.urls import UrlDenied, host_of, next_hop, origin_of, parse_url

REDIRECTS = frozenset({301, 302, 303, 307, 308})
SLOT_WAIT = 60.0
"""Longest wait of a download for one of the lane's connections, in seconds."""

SPARE = 5.0
"""What aiohttp's own limit for silence is given before ours ends the wait, in seconds."""


class Wire:
    """Connections, address checks, circuit breakers, credentials of one upstream; no retries."""

    def __init__(
        self, settings: UpstreamSettings, clock: Clock, metrics: Metrics, resolver: AbstractResolver | None
    ) -> None:
        self.failures = Failures(settings.name, metrics)
        self.breakers = Breakers(settings, clock, metrics, self.failures)
        self._settings = settings
        self._clock = clock
        self._metrics = metrics
        self._requests = cache(partial(metrics.upstream_requests.labels, settings.name))
        self._seconds = cache(partial(metrics.upstream_seconds.labels, settings.name))
        self._received = metrics.received_bytes.labels(settings.name)
        self._rule = AddressRule.of(settings)
        resolver = resolver or ThreadResolver()
        self._egress = EgressChoice(settings, self._rule, resolver)
        self._resolver = GuardedResolver(resolver, self._egress.lookup_rule, settings.connect_timeout)
        self._tls = tls_context(settings) if settings.ca_file is not None else None
        """None until the first request: reading the system's authorities would hold up every start."""
        self._index = parse_url(settings.index_url)
        self._credentialed = {origin_of(parse_url(text)) for text in settings.credential_origins}
        self._credentialed.add(origin_of(self._index))
        self._sessions: dict[Lane, aiohttp.ClientSession] = {}
        self._slots = {lane: Slots(settings.connections) for lane in Lane}
        self.hiding = Hiding(settings.secrets)
        self._closed = False

    def use(self, settings: UpstreamSettings) -> None:
        """Other credentials, from the next request on."""
        self._settings = settings
        self.hiding = Hiding(settings.secrets)

    async def settle(self) -> None:
        """Find out, and log, whether the index is at a public address: from then on it stays so."""
        if not self._settings.offline:
            await self._resolver.settle()

    def url(self, text: str) -> URL:
        """Raises UpstreamFailure (ID_DENIED) unless this upstream may be asked for it."""
        try:
            return parse_url(text)
        except UrlDenied as denied:
            raise self.failures.make(Reason.ID_DENIED, denied.why) from denied

    @asynccontextmanager
    async def read(self, question: Question, seconds: float, patience: Patience) -> AsyncIterator[Response]:
        """The final response of a GET or HEAD, at most five redirects away.

        Its headers must have arrived ``seconds`` after a connection slot was free. Statuses that may pass (408, 429,
        5xx) are raised as UpstreamFailure. ``patience``: how long it may wait for an upstream that was just lost.
        """
        self._check_online()
        request, url = question.request, question.url
        visited = {str(url)}
        # Before the slot: who waits for a lost upstream must not keep others from a connection.
        ticket = await self._admit(question, url, patience, redirected=False)
        slot = await self._slot(request.lane, seconds, ticket)
        try:
            deadline = asyncio.get_running_loop().time() + seconds
            while True:
                with ticket:
                    response = await self._arrived(request, url, deadline, ticket, redirected=len(visited) > 1)
                    try:
                        await self._check_status(response, ticket.origin)
                        if response.status not in REDIRECTS:
                            yield response
                            return
                        await response.drain()
                        url = self._next_hop(url, response, visited)
                    finally:
                        response.close()
                ticket = await self._admit(question, url, patience, redirected=True)
        finally:
            slot.lend()

    def _next_hop(self, url: URL, response: Response, visited: set[str]) -> URL:
        """Where a redirect leads, which is then one of those ``visited``; raises UpstreamFailure (REDIRECT_DENIED)."""
        try:
            target = next_hop(url, response.headers.get("Location"), frozenset(visited))
        except UrlDenied as denied:
            raise self.failures.make(Reason.REDIRECT_DENIED, denied.why) from denied
        visited.add(str(target))
        return target

    async def _admit(self, question: Question, url: URL, patience: Patience, *, redirected: bool) -> Ticket:
        return await self.breakers.admit(self._vet(url, redirected=redirected), question, patience)

    @asynccontextmanager
    async def write(
        self, request: Request, url: URL, body: Outgoing | None, seconds: float, progress: Progress
    ) -> AsyncIterator[Response]:
        """The response to a write, sent once; ``progress`` shows how far it got, also after a failure."""
        self._check_online()
        slot = await self._slot(request.lane, seconds)
        try:
            if body is not None:
                body.hold_while_flowing(slot)
            deadline = asyncio.get_running_loop().time() + seconds
            question = Question(request, url, Response.drain)
            with await self._admit(question, url, impatience(), redirected=False) as ticket:
                ticket.progress = progress
                timeout = request_timeout(self._settings, seconds)
                try:
                    response = await self._send(request, url, ticket, deadline, body=body, timeout=timeout)
                except UpstreamFailure as failure:
                    if body is not None and body.error is not None:
                        ticket.disregard()
                        raise body.error from failure
                    raise
                if response.status >= 500:
                    ticket.disregard()  # it may be the package's fault
                try:
                    yield response
                finally:
                    response.close()
        finally:
            slot.lend()

    def moved(self, response: Response, trail: tuple[URL, ...]) -> URL:
        """Where a redirect of a write leads: keys go with it, so only to an origin that may have them.

        ``trail`` are the URLs that it was sent to so far. Raises UpstreamFailure (REDIRECT_DENIED).
        """
        try:
            target = next_hop(trail[-1], response.headers.get("Location"), frozenset(map(str, trail)))
        except UrlDenied as denied:
            raise response.refuse(Reason.REDIRECT_DENIED, denied.why) from denied
        origin = origin_of(target)
        if origin not in self._credentialed and origin != origin_of(trail[-1]):
            detail = f"a write was redirected to {origin}, which is not one of credential_origins"
            raise response.refuse(Reason.REDIRECT_DENIED, detail)
        return target

    def _check_online(self) -> None:
        if self._settings.offline:
            raise self.failures.make(Reason.OFFLINE, "it is configured offline and is never asked")

    async def close(self) -> None:
        """End all connections; later requests fail with STOPPING."""
        self._closed = True
        sessions = list(self._sessions.values())
        self._sessions.clear()
        for session in sessions:
            await close_session(session)
        await self._resolver.close()

    async def _slot(self, lane: Lane, seconds: float, ticket: Ticket | None = None) -> Slot:
        """A connection's turn, to be lent in the end; without one ``ticket`` is given back."""
        try:
            # Packages may queue for longer: a restore asks for hundreds at once, over a slow line.
            return await self._slots[lane].take(SLOT_WAIT if lane is Lane.PACKAGES else seconds)
        except BaseException as error:
            if ticket is not None:
                ticket.give_back()
            if not isinstance(error, TimeoutError):
                raise
            raise self.failures.make(
                Reason.CONNECT_TIMEOUT, f"all {self._settings.connections} connections for {lane} were busy"
            ) from error

    async def _arrived(
        self, request: Request, url: URL, deadline: float, ticket: Ticket, *, redirected: bool
    ) -> Response:
        """The response to one request, sent again where its pooled connection turned out to be closed."""
        ticket.progress = Progress(redirected=redirected)
        try:
            response = await self._send(request, url, ticket, deadline, again=True)
        except _Stale:
            self._metrics.upstream_retries.labels(self._settings.name).inc()
            ticket.progress = Progress(redirected=redirected)
            response = await self._send(request, url, ticket, deadline)
        response.on_arrival = ticket.arrived
        return response

    async def _send(
        self,
        request: Request,
        url: URL,
        ticket: Ticket,
        deadline: float,
        *,
        again: bool = False,
        body: Outgoing | None = None,
        timeout: aiohttp.ClientTimeout | None = None,
    ) -> Response:
        """Raises UpstreamFailure; but _Stale, if ``again``, where a pooled connection turned out to be closed."""
        session = self._sessions.get(request.lane) or await self._session(request.lane)
        origin, progress = ticket.origin, ticket.progress
        self._requests(request.method).inc()
        began = self._clock.monotonic()
        with self.failures.translating(origin, progress), waiting():
            try:
                async with asyncio.timeout_at(deadline):
                    proxy = await self._egress.proxy_for(url)
                    headers = self._headers(request, origin)
                    if proxy is not None and url.scheme.lower() == "http":
                        headers.update(proxy.headers)  # of a tunnel only its CONNECT carries them
                    answer = await session.request(
                        request.method,
                        url,
                        headers=headers,
                        data=body,
                        proxy=proxy.url if proxy is not None else None,
                        proxy_headers=dict(proxy.headers) if proxy is not None else None,
                        allow_redirects=False,
                        trace_request_ctx=progress,
                        timeout=timeout or session.timeout,
                    )
            except ConnectionDropped as dropped:
                if isinstance(dropped, UnaskedBytes):
                    self.failures.count(Reason.EXTRA_BYTES)
                if again and progress.reused:
                    raise _Stale from dropped
                raise
        progress.answered = True
        if proxy is not None and answer.status == 407:
            answer.close()
            progress.answered = False  # not by upstream
            raise self.failures.make(Reason.REFUSED, f"{PROXY_LOGIN} ({origin})")
        self._seconds(request.method).observe(self._clock.monotonic() - began)
        return Response(
            answer,
            url,
            origin=origin,
            deadline=deadline,
            silence=self._settings.read_timeout + SPARE,
            clock=self._clock,
            failures=self.failures,
            progress=progress,
            received=self._received,
            hiding=self.hiding,
        )

    async def _session(self, lane: Lane) -> aiohttp.ClientSession:
        if self._tls is None:
            self._tls = await asyncio.to_thread(tls_context, self._settings)
        if self._closed:
            raise self.failures.make(Reason.STOPPING, "the proxy is stopping")
        session = self._sessions.get(lane)
        if session is None:
            session = self._sessions[lane] = open_session(lane, self._settings, self._resolver, self._tls)
        return session

    def _headers(self, request: Request, origin: str) -> CIMultiDict[str]:
        """Credentials go to exact origins only, whatever redirects say; what the request brings wins."""
        headers = CIMultiDict(request.headers)
        headers.setdefault("User-Agent", self._settings.user_agent)
        if origin in self._credentialed:
            for name, value in self._settings.headers.items():
                if request.credentials or name.lower() in self._settings.public_headers:
                    headers.setdefault(name, value)
        return headers

    def _vet(self, url: URL, *, redirected: bool) -> str:
        """The URL's origin, if it may be asked; names are checked once more when they are looked up."""
        reason = Reason.REDIRECT_DENIED if redirected else Reason.ID_DENIED
        origin, host = origin_of(url), host_of(url)
        if self._index.scheme.lower() == "https" and url.scheme.lower() == "http":
            raise self.failures.make(reason, f"plain http below an https index ({origin})")
        if (is_literal(host) and not self._rule.allows(host, host)) or self._egress.denies(host):
            raise self.failures.make(reason, f"not a public address ({origin})")
        return origin

    async def _check_status(self, response: Response, origin: str) -> None:
        status = response.status
        if status < 500 and status not in {408, 429}:
            return
        await response.drain()
        reason = {408: Reason.READ_TIMEOUT, 429: Reason.RATE_LIMITED}.get(status, Reason.SERVER_ERROR)
        retry_after = parse_retry_after(response.headers.get("Retry-After"), self._clock.now())
        failure = self.failures.make(reason, f"status {status} ({origin})", retry_after=retry_after)
        failure.of_host = status in {429, 503}
        raise failure


class _Stale(Exception):
    """Upstream had closed the pooled connection before it saw the request."""
