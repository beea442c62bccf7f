"""UpstreamClient asks one upstream."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import replace
from types import MappingProxyType
from typing import TypeVar
from urllib.parse import urlsplit

import structlog
from aiohttp.abc import AbstractResolver
from multidict import CIMultiDict

from nugetproxy.caching.entry import NO_VALIDATORS, Answer, Validators
from nugetproxy.clock import Clock
from nugetproxy.errors import FINAL, Denial, Reason, UpstreamDenied, UpstreamFailure
from nugetproxy.metrics import Metrics
from nugetproxy.upstream.answers import PAGE, Download, Head, Sent, is_page
from nugetproxy.upstream.breaker import BreakerState, Cause
from nugetproxy.upstream.failures import remedy
from nugetproxy.upstream.faults import Faults
from nugetproxy.upstream.hops import Hops
from nugetproxy.upstream.index_trouble import IndexTrouble
from nugetproxy.upstream.patience import Patience, impatience
from nugetproxy.upstream.questions import Question, Request, Verify, believe, conditions, glance, verify_index
from nugetproxy.upstream.reading import read_answer, read_head, read_package
from nugetproxy.upstream.response import Response
from nugetproxy.upstream.retry import RetryBudget, with_retries
from nugetproxy.upstream.sessions import Lane
from nugetproxy.upstream.settings import UpstreamSettings
from nugetproxy.upstream.urls import UrlDenied, origin_of, parse_url
from nugetproxy.upstream.wire import Wire
from nugetproxy.upstream.writes import Rewind, Write, send_once

log = structlog.get_logger(__name__)

NO_HEADERS: Mapping[str, str] = MappingProxyType({})
MOST_SECRETS = 64
"""The newest so many are looked for in what upstream says."""
PROBE_SECONDS = 3.0
"""How long a probe that no client waits for has until its headers, or its document, are here."""

T = TypeVar("T")

_DOCUMENT = Request(
    lane=Lane.DOCUMENTS,
    method="GET",
    headers=MappingProxyType({"Accept": "application/json, */*;q=0.8", "Accept-Encoding": "gzip"}),
)
_PACKAGE = Request(lane=Lane.PACKAGES, method="GET", headers=NO_HEADERS)


class UpstreamClient:
    """GET, HEAD, downloads, writes for one upstream, with retries, redirects, circuit breakers.

    Every method raises UpstreamFailure (see ``nugetproxy.errors``) when upstream gives no usable answer; its
    ``detail`` holds neither headers nor paths. URLs are absolute http(s) URLs, percent-encoded as they are to be sent.
    """

    def __init__(
        self, settings: UpstreamSettings, *, clock: Clock, metrics: Metrics, resolver: AbstractResolver | None = None
    ) -> None:
        """``resolver`` replaces the system's name look-ups; its addresses are checked all the same."""
        self.name = settings.name
        self.read_timeout = settings.read_timeout
        """Longest silence in a response, in seconds."""
        self._settings = settings
        self._clock = clock
        self._wire = Wire(settings, clock, metrics, resolver)
        self._retries = metrics.upstream_retries.labels(settings.name)
        self._retry_budget = RetryBudget()
        self._faults = Faults(settings.name, clock)
        self._service_index = settings.index_url if settings.is_feed else None
        self._index_trouble = IndexTrouble(settings.name, clock, metrics)
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="decode")

    def use_credentials(self, headers: Mapping[str, str], secrets: tuple[str, ...]) -> None:
        """Ask with these from the next request on; the old ones are still hidden in what upstream says."""
        known = tuple(dict.fromkeys((*secrets, *self._settings.secrets)))[:MOST_SECRETS]
        self._settings = replace(self._settings, headers=headers, secrets=known)
        self._wire.use(self._settings)

    async def trust_again(self) -> None:
        """From the next connection on trust whom ``ca_file`` names now, besides those of before; raises OSError."""
        await self._wire.trust_again()

    async def get(
        self,
        url: str,
        *,
        validators: Validators = NO_VALIDATORS,
        limit: int | None = None,
        headers: Mapping[str, str] = NO_HEADERS,
        patience: Patience | None = None,
        verify: Verify | None = None,
    ) -> Answer:
        """One document: 200 (body decoded, at most ``limit`` bytes), 304 (if ``validators`` were given) or any 4xx.

        408 and 429 are no answers. A body without a stated length may have been cut short unnoticed: parse it before
        believing it. ``headers`` go along, or instead of our own. ``patience`` may be shared by the requests
        made for one client. ``verify`` raises InvalidDocument where a 200 cannot be believed: it fails then as
        INVALID_CONTENT.
        """
        request = _DOCUMENT
        if validators or headers:
            asked = {**_DOCUMENT.headers, **conditions(validators), **headers}
            request = Request(lane=Lane.DOCUMENTS, method="GET", headers=asked)
        most = self._settings.max_document if limit is None else limit

        async def judge(response: Response) -> Answer:
            answer = await read_answer(response, validators, most, self._threads)
            if verify is not None and answer.status == 200:
                await believe(verify, answer, response)
            return answer

        question, seconds = Question(request, self._wire.url(url), judge), self._budget()
        patience = patience or Patience()

        async def attempt() -> Answer:
            async with self._wire.read(question, seconds(), patience) as response:
                return await judge(response)

        try:
            with self._faults.remembered(question):
                answer = await (attempt() if patience.once else self._with_retries(attempt, question))
        except UpstreamFailure as failure:
            if url == self._service_index:
                self._index_trouble.failed(failure)
            raise
        if url == self._service_index:
            self._index_trouble.answered(answer.status, self._settings)
        return answer

    async def head(self, url: str, *, headers: Mapping[str, str] = NO_HEADERS) -> Head:
        """What a GET of ``url`` would say: 200 or any 4xx. A page of HTML fails as INVALID_CONTENT: we ask for none."""
        asked = {"Accept": "*/*", "Accept-Encoding": "identity", **headers}
        request = Request(lane=Lane.DOCUMENTS, method="HEAD", headers=asked)
        question, seconds, patience = Question(request, self._wire.url(url), Response.drain), self._budget(), Patience()

        async def attempt() -> Head:
            async with self._wire.read(question, seconds(), patience) as response:
                head = read_head(response)
                if head.status == 200 and is_page(head.content_type):
                    raise response.refuse(Reason.INVALID_CONTENT, PAGE)
                return head

        with self._faults.remembered(question):
            return await self._with_retries(attempt, question)

    @asynccontextmanager
    async def download(
        self,
        url: str,
        *,
        start: int = 0,
        if_range: str | None = None,
        headers: Mapping[str, str] = NO_HEADERS,
        patience: Patience | None = None,
    ) -> AsyncIterator[Download]:
        """A package, from byte ``start`` (``if_range``: a strong ETag or a date that must still hold).

        Only what happens before the body is tried again; a body that breaks raises, and may be asked for from where it
        broke. Other 4xx than 404 and 410 raise.
        """
        asked = {"Accept": "*/*", "Accept-Encoding": "identity", **headers}
        if start:
            asked["Range"] = f"bytes={start}-"
            if if_range is not None:
                asked["If-Range"] = if_range
        request = Request(lane=Lane.PACKAGES, method="GET", headers=asked)
        question, seconds = Question(request, self._wire.url(url), glance), self._budget()
        patience = patience or Patience()

        async def attempt() -> Hops:
            hops = self._wire.read(question, seconds(), patience)
            await hops.begin()
            return hops

        with self._faults.remembered(question):
            hops = await self._with_retries(attempt, question)
        async with hops as response:
            if response.status in FINAL:
                denied = self.denied(response.status, response.reason)
                response.count(denied.reason)
                raise denied
            yield read_package(response, start, self._settings.max_package)

    def send(
        self,
        method: str,
        url: str,
        *,
        headers: CIMultiDict[str],
        body: AsyncIterator[bytes] | None,
        timeout: float,
        rewind: Rewind | None = None,
        credentials: bool = False,
    ) -> AbstractAsyncContextManager[Sent]:
        """A write, carried out once: the answer whatever its status, at most ``timeout`` seconds after the start.

        ``headers`` go out as given, besides those that belong to a connection; the configured credentials only with
        ``credentials``. A redirect to an origin that may have credentials is followed if there is no body or
        ``rewind`` makes ``body`` begin again; else ``moved`` of the answer says where it leads. Raises OutcomeUnknown
        if upstream was lost after something had been sent; what ``body`` raises passes through.
        """
        write = Write(
            upstream=self.name, method=method, headers=headers, body=body, rewind=rewind, credentials=credentials
        )
        return send_once(self._wire, url, write, timeout)

    def denied(self, status: int, phrase: str) -> UpstreamDenied:
        """The failure that a final no (one of ``FINAL``) is, with the reason phrase that came with it."""
        credentials = bool(self._settings.headers.keys() - self._settings.public_headers)
        return UpstreamDenied(self.name, Denial(status, phrase, credentials))

    def refused(self, reason: Reason, detail: str) -> UpstreamFailure:
        """The failure that something which arrived well is: it must not be kept."""
        return self._wire.failures.make(reason, detail)

    def blame(self, url: str, failure: UpstreamFailure) -> None:
        """Leave the package at ``url`` alone for a short, growing while: its download came to nothing."""
        with suppress(UrlDenied):
            self._faults.note(Question(_PACKAGE, parse_url(url), glance).name, failure)

    def acquit(self, url: str) -> None:
        """The package at ``url`` is as it should be."""
        if self._faults:  # what was asked for once has a proper URL
            self._faults.forget(Question(_PACKAGE, parse_url(url), glance).name)

    def note_stale(self) -> None:
        """Something stale is served instead of what this upstream failed to say."""
        self._wire.breakers.note_stale()

    @property
    def is_lost(self) -> bool:
        """Whether one of its origins is given up for now, or it has done nothing but fail since the start."""
        breakers = self._wire.breakers
        return breakers.any_open or (breakers.last is not None and not breakers.has_answered)

    def last_failure(self) -> tuple[Cause, str] | None:
        """The last failure since the start, over or not, with what to do about it (empty: nothing but wait)."""
        if self._index_trouble.cause is not None:
            return self._index_trouble.cause, self._index_trouble.remedy
        cause = self._wire.breakers.last
        return None if cause is None else (cause, remedy(cause.reason, cause.detail, self._settings))

    @property
    def is_usable(self) -> bool:
        """False while it answers, but without a service index that can be used."""
        return self._index_trouble.cause is None

    @property
    def place(self) -> str:
        """Its URL, fit to be shown."""
        parts = urlsplit(self._settings.index_url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

    async def settle(self) -> None:
        """Decide, at a start, whether the index is at a public address; a private one is refused from then on."""
        await self._wire.settle()

    def due(self) -> tuple[str, ...]:
        """The origins to ask now whether they are back."""
        return tuple(self._wire.breakers.due())

    async def probe(self, origin: str) -> None:
        """Find out whether an origin that was given up answers again, by what failed last or could not be asked.

        Where nothing such is left, the service index is asked for, if it is at this origin.
        """
        question = self._wire.breakers.due().get(origin) or self._index_question(origin)
        if question is None:
            return
        with suppress(UpstreamFailure):
            async with self._wire.read(question, PROBE_SECONDS, impatience()) as response:
                await question.judge(response)

    def _index_question(self, origin: str) -> Question | None:
        index = parse_url(self._settings.index_url)
        if origin_of(index) != origin:
            return None
        most = self._settings.max_document

        async def judge(response: Response) -> None:
            answer = await read_answer(response, NO_VALIDATORS, most, self._threads)
            if answer.status == 200:
                await believe(verify_index, answer, response)

        return Question(_DOCUMENT, index, judge)

    def breakers(self) -> Mapping[str, BreakerState]:
        """By origin, those that are not quietly closed."""
        return self._wire.breakers.states()

    def show_breakers(self, shown: bool) -> None:
        """Whether metrics tell of them: not where another one asks in its place, or nobody."""
        self._wire.breakers.show(shown)
        self._index_trouble.show(shown)

    async def close(self) -> None:
        """End every connection."""
        await self._wire.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _with_retries(self, attempt: Callable[[], Awaitable[T]], question: Question) -> T:
        def is_free() -> bool:
            """While the upstream is held up its breaker says how much it is asked, whoever wants to."""
            return self._wire.breakers.is_open(origin_of(question.url))

        return await with_retries(
            attempt, self._settings, self._clock, self._retry_budget, self._retries.inc, is_free=is_free
        )

    def _budget(self) -> Callable[[], float]:
        """What is left of the document deadline, in seconds, each time it is called."""
        began = self._clock.monotonic()
        return lambda: max(0.0, self._settings.document_deadline - (self._clock.monotonic() - began))
