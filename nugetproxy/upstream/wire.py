"""Wire makes single requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache, lru_cache, partial
from time import perf_counter

import aiohttp
from aiohttp.abc import AbstractResolver
from multidict import CIMultiDict
from yarl import URL

from nugetproxy.clock import Clock
from nugetproxy.errors import Reason, UpstreamFailure, upstream_failure
from nugetproxy.metrics import Metrics
from nugetproxy.upstream.addresses import AddressRule, is_literal
from nugetproxy.upstream.asking import LOOP, passing, waited
from nugetproxy.upstream.breakers import MOST_ORIGINS, Breakers, Ticket
from nugetproxy.upstream.egress_choice import EgressChoice
from nugetproxy.upstream.failures import FOREIGN, PROXY_LOGIN, ConnectionDropped, Failures, Progress, UnaskedBytes
from nugetproxy.upstream.hops import Hops
from nugetproxy.upstream.lines import Line, Lines, Raw
from nugetproxy.upstream.patience import Patience, impatience
from nugetproxy.upstream.questions import Question, Request
from nugetproxy.upstream.resolver import GuardedResolver, ThreadResolver
from nugetproxy.upstream.response import Hiding, Response
from nugetproxy.upstream.sessions import Lane, request_timeout
from nugetproxy.upstream.settings import UpstreamSettings
from nugetproxy.upstream.slots import Outgoing, Slot, Slots
from nugetproxy.upstream.urls import UrlDenied, name_of, next_hop, origin_of, origin_of_parts, parse_url

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
        self.clock = clock
        self._metrics = metrics
        self._requests = cache(partial(metrics.upstream_requests.labels, settings.name))
        self._seconds = cache(partial(metrics.upstream_seconds.labels, settings.name))
        self._received = metrics.received_bytes.labels(settings.name)
        self._rule = AddressRule.of(settings)
        resolver = resolver or ThreadResolver()
        self._egress = EgressChoice(settings, self._rule, resolver, clock)
        self._resolver = GuardedResolver(resolver, self._egress.lookup_rule, settings.connect_timeout)
        self._lines = Lines(settings, self._resolver)
        self._index = parse_url(settings.index_url)
        self._credentialed = {origin_of(parse_url(text)) for text in settings.credential_origins}
        self._credentialed.add(origin_of(self._index))
        self._slots = {lane: Slots(settings.connections) for lane in Lane}
        self.hiding = _hiding(settings)
        self._vetted = lru_cache(MOST_ORIGINS)(self._vet)

    def use(self, settings: UpstreamSettings) -> None:
        """Other credentials, from the next request on."""
        self._settings = settings
        self.hiding = _hiding(settings)

    async def trust_again(self) -> None:
        """As ``Lines.trust_again``."""
        await self._lines.trust_again()

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

    def read(self, question: Question, seconds: float, patience: Patience) -> Hops:
        """The final response of a GET or HEAD, at most five redirects away.

        Its headers must have arrived ``seconds`` after a connection slot was free. Statuses that may pass (408, 429,
        5xx) are raised as UpstreamFailure. ``patience``: how long it may wait for an upstream that was just lost.
        """
        self._check_online()
        return Hops(self, question, seconds, patience)

    async def admit(self, question: Question, url: URL, patience: Patience, *, redirected: bool) -> Ticket:
        """As ``Breakers.admit``, if ``url`` may be asked at all; raises UpstreamFailure."""
        reason = Reason.REDIRECT_DENIED if redirected else Reason.ID_DENIED
        origin = self._vetted(url.scheme, url.raw_host, url.port, reason)
        ticket = self.breakers.admit_at_once(origin, question)
        return ticket if ticket is not None else await self.breakers.admit(origin, question, patience)

    @asynccontextmanager
    async def write(
        self, request: Request, url: URL, body: Outgoing | None, seconds: float, progress: Progress
    ) -> AsyncIterator[Response]:
        """The response to a write, sent once; ``progress`` shows how far it got, also after a failure."""
        self._check_online()
        slot = await self.slot(request.lane, seconds)
        try:
            if body is not None:
                body.hold_while_flowing(slot)
            deadline = asyncio.get_running_loop().time() + seconds
            question = Question(request, url, Response.drain)
            with await self.admit(question, url, impatience(), redirected=False) as ticket:
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
            slot.end()

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
            # Nobody was asked, so nothing failed that were to be counted.
            raise upstream_failure(self._settings.name, Reason.OFFLINE, "it is configured offline and is never asked")

    async def close(self) -> None:
        """End all connections; later requests fail with STOPPING."""
        await self._lines.close()
        await self._resolver.close()

    async def slot(self, lane: Lane, seconds: float, ticket: Ticket | None = None) -> Slot:
        """A connection's turn, to be lent in the end; without one ``ticket`` is given back."""
        slots = self._slots[lane]
        if (slot := slots.at_once()) is not None:
            return slot
        try:
            # Packages may queue for longer: a restore asks for hundreds at once, over a slow line.
            return await slots.take(SLOT_WAIT if lane is Lane.PACKAGES else seconds)
        except BaseException as error:
            if ticket is not None:
                ticket.give_back()
            if not isinstance(error, TimeoutError):
                raise
            raise self.failures.make(
                Reason.CONNECT_TIMEOUT, f"all {self._settings.connections} connections for {lane} were busy"
            ) from error

    async def arrived(
        self, request: Request, url: URL, deadline: float, ticket: Ticket, *, redirected: bool
    ) -> Response:
        """The response to one request, sent again where its pooled connection turned out to be closed."""
        ticket.progress.redirected = redirected
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
        line = self._lines.opened(request.lane) or await self._line(request.lane)
        origin, progress, proxy = ticket.origin, ticket.progress, None
        self._requests(request.method).inc()
        began, asked = self.clock.monotonic(), perf_counter()
        try:
            headers = self._headers(request, origin)
            if self._egress.may_be_used:
                async with asyncio.timeout_at(deadline):
                    proxy = await self._egress.proxy_for(url)
            if line.straight is not None and body is None and proxy is None:
                answer: Raw = await line.straight.send(request.method, url, headers, progress, deadline)
            else:
                async with asyncio.timeout_at(deadline):
                    answer = await line.ask(
                        request.method, url, headers, progress, proxy=proxy, body=body, timeout=timeout
                    )
        except ConnectionDropped as dropped:
            if isinstance(dropped, UnaskedBytes):
                self.failures.count(Reason.EXTRA_BYTES)
            if again and progress.reused:
                raise _Stale from dropped
            raise self.failures.translated(dropped, origin, progress) from dropped
        except FOREIGN as error:
            raise self.failures.translated(error, origin, progress) from error
        finally:
            waited(asked)
        progress.answered = True
        if proxy is not None and answer.status == 407:
            answer.close()
            progress.answered = progress.connected = False  # upstream has seen nothing of it
            raise self.failures.make(Reason.REFUSED, f"{PROXY_LOGIN} ({origin})")
        self._seconds(request.method).observe(self.clock.monotonic() - began)
        return self._response(answer, url, deadline, ticket)

    def _response(self, answer: Raw, url: URL, deadline: float, ticket: Ticket) -> Response:
        return Response(
            answer,
            url,
            origin=ticket.origin,
            deadline=deadline,
            silence=self._settings.read_timeout + SPARE,
            clock=self.clock,
            failures=self.failures,
            progress=ticket.progress,
            received=self._received,
            hiding=self.hiding,
        )

    async def _line(self, lane: Lane) -> Line:
        line = await self._lines.open(lane)
        if line is None:
            raise self.failures.make(Reason.STOPPING, "the proxy is stopping")
        return line

    def _headers(self, request: Request, origin: str) -> CIMultiDict[str]:
        """Credentials go to exact origins only, whatever redirects say; what the request brings wins."""
        headers = CIMultiDict(request.headers)
        headers.setdefault("User-Agent", self._settings.user_agent)
        headers[LOOP] = passing()
        if origin in self._credentialed:
            for name, value in self._settings.headers.items():
                if request.credentials or name.lower() in self._settings.public_headers:
                    headers.setdefault(name, value)
        return headers

    def _vet(self, scheme: str, host: str | None, port: int | None, reason: Reason) -> str:
        """The origin, if it may be asked; names are checked once more when they are looked up."""
        origin, name = origin_of_parts(scheme, host, port), name_of(host)
        if self._index.scheme.lower() == "https" and scheme.lower() == "http":
            raise self.failures.make(reason, f"plain http below an https index ({origin})")
        if (is_literal(name) and not self._rule.allows(name, name)) or self._egress.denies(name):
            raise self.failures.make(reason, f"not a public address ({origin})")
        return origin


def _hiding(settings: UpstreamSettings) -> Hiding:
    """For the upstream's secrets, and those of its egress proxies, whose pages show requests, too."""
    return Hiding((*settings.secrets, *(one for proxy in settings.egress.proxies.values() for one in proxy.secrets)))


class _Stale(Exception):
    """Upstream had closed the pooled connection before it saw the request."""
