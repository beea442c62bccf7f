"""UpstreamClient asks one upstream."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from types import MappingProxyType
from typing import TypeVar

from aiohttp.abc import AbstractResolver
from multidict import CIMultiDict

from nugetproxy.caching.entry import NO_VALIDATORS, Answer, Validators
from nugetproxy.clock import Clock
from nugetproxy.errors import FINAL, Denial, Reason, UpstreamDenied, UpstreamFailure
from nugetproxy.metrics import Metrics
from nugetproxy.nuget.documents.check import check
from nugetproxy.nuget.documents.exact_json import InvalidDocument
from nugetproxy.nuget.kinds import Kind
from nugetproxy.upstream.answers import Download, Head, Sent
from nugetproxy.upstream.breaker import BreakerState
from nugetproxy.upstream.coding import Incomplete, TooLong, Undecodable, gunzip
from nugetproxy.upstream.response import Response
from nugetproxy.upstream.retry import RetryBudget, with_retries
from nugetproxy.upstream.sessions import Lane
from nugetproxy.upstream.settings import UpstreamSettings
from nugetproxy.upstream.urls import UrlDenied, origin_of, parse_url
from nugetproxy.upstream.wire import Request, Wire
from nugetproxy.upstream.writes import Rewind, Write, send_once

NO_HEADERS: Mapping[str, str] = MappingProxyType({})
OFF_LOOP = 64 * 1024
"""Compressed bodies beyond this are decoded in a thread."""

T = TypeVar("T")

_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", re.IGNORECASE)


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
        self._settings = settings
        self._clock = clock
        self._wire = Wire(settings, clock, metrics, resolver)
        self._retries = metrics.upstream_retries.labels(settings.name)
        self._retry_budget = RetryBudget()
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="decode")

    async def get(
        self,
        url: str,
        *,
        validators: Validators = NO_VALIDATORS,
        limit: int | None = None,
        headers: Mapping[str, str] = NO_HEADERS,
        patient: bool = True,
    ) -> Answer:
        """One document: 200 (body decoded, at most ``limit`` bytes), 304 (if ``validators`` were given) or any 4xx.

        408 and 429 are no answers. A body without a stated length may have been cut short unnoticed: parse it before
        believing it. ``headers`` go along, or instead of our own. Without ``patient`` there is one try only.
        """
        asked = {"Accept": "application/json, */*;q=0.8", "Accept-Encoding": "gzip", **_conditions(validators)}
        request = Request(lane=Lane.DOCUMENTS, method="GET", headers={**asked, **headers})
        most = self._settings.max_document if limit is None else limit
        target, seconds = self._wire.url(url), self._budget()

        async def attempt() -> Answer:
            async with self._wire.read(request, target, seconds()) as response:
                return await self._answer(response, validators, most)

        return await (self._with_retries(attempt) if patient else attempt())

    async def head(self, url: str, *, headers: Mapping[str, str] = NO_HEADERS) -> Head:
        """What a GET of ``url`` would say: 200 or any 4xx."""
        asked = {"Accept": "*/*", "Accept-Encoding": "identity", **headers}
        request = Request(lane=Lane.DOCUMENTS, method="HEAD", headers=asked)
        target, seconds = self._wire.url(url), self._budget()

        async def attempt() -> Head:
            async with self._wire.read(request, target, seconds()) as response:
                if response.status != 200 and not 400 <= response.status < 500:
                    raise response.refuse(Reason.STATUS, f"status {response.status}")
                self._count_refusal(response.status)
                return Head(
                    status=response.status,
                    length=None if response.coding else response.length,
                    validators=response.validators,
                    content_type=response.content_type,
                    url=response.url,
                    phrase=response.reason,
                )

        return await self._with_retries(attempt)

    @asynccontextmanager
    async def download(
        self, url: str, *, start: int = 0, if_range: str | None = None, headers: Mapping[str, str] = NO_HEADERS
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
        target, seconds = self._wire.url(url), self._budget()

        async def attempt() -> tuple[AsyncExitStack, Response]:
            stack = AsyncExitStack()
            return stack, await stack.enter_async_context(self._wire.read(request, target, seconds()))

        stack, response = await self._with_retries(attempt)
        async with stack:
            yield self._download(response, start)

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

    def report_invalid(self, url: str) -> None:
        """Count a 200 whose content was refused (say a login page) as a failure of that URL's origin."""
        try:
            origin = origin_of(parse_url(url))
        except UrlDenied:
            return
        self._wire.failures.count(Reason.INVALID_CONTENT)
        self._wire.breakers.report_invalid(origin)

    async def probe(self, origin: str, *, seconds: float) -> None:
        """Find out, within ``seconds``, whether an origin whose breaker is open answers again.

        The service index tells most, if it is one (a login page is not); of other origins any answer will do. A probe
        that hangs counts as failed.
        """
        if not self._wire.breakers.invite(origin):
            return
        index = self._settings.index_url
        url = index if origin_of(parse_url(index)) == origin else f"{origin}/"
        request = Request(lane=Lane.DOCUMENTS, method="GET", headers={"Accept": "*/*", "Accept-Encoding": "gzip"})
        with suppress(UpstreamFailure):
            async with self._wire.read(request, self._wire.url(url), seconds) as response:
                if url == index and response.status == 200:
                    await self._check_index(response)
                else:
                    await response.drain()

    async def _check_index(self, response: Response) -> None:
        """Raises UpstreamFailure (INVALID_CONTENT) where a service index should be but is none."""
        most = self._settings.max_document
        try:
            check(Kind.INDEX, await self._decoded(response, await response.read(most), most))
        except InvalidDocument as problem:
            raise response.refuse(Reason.INVALID_CONTENT, str(problem)) from problem

    def breakers(self) -> Mapping[str, BreakerState]:
        """By origin, those that are not quietly closed."""
        return self._wire.breakers.states()

    async def close(self) -> None:
        """End every connection."""
        await self._wire.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _with_retries(self, attempt: Callable[[], Awaitable[T]]) -> T:
        return await with_retries(attempt, self._settings, self._clock, self._retry_budget, self._retries.inc)

    def _budget(self) -> Callable[[], float]:
        """What is left of the document deadline, in seconds, each time it is called."""
        began = self._clock.monotonic()
        return lambda: max(0.0, self._settings.document_deadline - (self._clock.monotonic() - began))

    async def _answer(self, response: Response, validators: Validators, limit: int) -> Answer:
        status = response.status
        if status == 304 and not validators:
            raise response.refuse(Reason.PROTOCOL, "status 304 to an unconditional request")
        if status not in {200, 304} and not 400 <= status < 500:
            raise response.refuse(Reason.STATUS, f"status {status}")
        self._count_refusal(status)
        body = b""
        if status == 200:
            body = await self._decoded(response, await response.read(limit), limit)
        else:
            await response.drain()
        return Answer(
            status=status,
            body=body,
            content_type=response.content_type,
            validators=response.validators,
            url=response.url,
            phrase=response.reason if status >= 400 else "",
            warnings=response.warnings,
        )

    def _count_refusal(self, status: int) -> None:
        if status in {401, 403}:
            self._wire.failures.count(Reason.AUTH)

    async def _decoded(self, response: Response, body: bytes, limit: int) -> bytes:
        if not response.coding:
            return body
        if response.coding not in {"gzip", "x-gzip"}:
            raise response.refuse(Reason.PROTOCOL, "a content coding that was not asked for")
        try:
            if len(body) <= OFF_LOOP:
                return gunzip(body, limit)
            return await asyncio.get_running_loop().run_in_executor(self._threads, gunzip, body, limit)
        except TooLong as error:
            raise response.refuse(Reason.TOO_LARGE, f"more than {limit} bytes, or too tightly packed") from error
        except Incomplete as error:
            raise response.refuse(Reason.TRUNCATED, "the gzip stream ends early") from error
        except Undecodable as error:
            raise response.refuse(Reason.PROTOCOL, "not the gzip that it is said to be") from error

    def _download(self, response: Response, start: int) -> Download:
        status = response.status
        if status in {404, 410}:
            return Download(status=status, url=response.url, _chunks=_nothing)
        if status in FINAL:
            denied = self.denied(status, response.reason)
            self._wire.failures.count(denied.reason)
            raise denied
        if status != 200 and not (status == 206 and start):
            raise response.refuse(Reason.STATUS, f"status {status}")
        if response.coding:
            raise response.refuse(Reason.PROTOCOL, "a content coding that was not asked for")
        begin, length, total = start, response.length, response.length
        if status == 206:
            length, total = _ranged(response, start)
        else:
            begin = 0
        most = self._settings.max_package
        response.check_size(None if length is None else begin + length, most)
        response.take_time()

        async def chunks() -> AsyncIterator[bytes]:
            size = begin
            async for piece in response.chunks():
                size += len(piece)
                response.check_size(size, most)
                yield piece

        return Download(
            status=status,
            length=length,
            total=total,
            validators=response.validators,
            content_type=response.content_type,
            url=response.url,
            warnings=response.warnings,
            _chunks=chunks,
        )


def _conditions(validators: Validators) -> dict[str, str]:
    """Both, as some caches in between know only one of them (RFC 9110 section 13.1.3 settles the order)."""
    pairs = {"If-None-Match": validators.etag, "If-Modified-Since": validators.last_modified}
    return {name: value for name, value in pairs.items() if value is not None}


def _ranged(response: Response, start: int) -> tuple[int, int | None]:
    """Length and total that a 206 states; it must run from ``start`` to the end (RFC 9110 section 14.4)."""
    match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if match is None or int(match[1]) != start:
        raise response.refuse(Reason.PROTOCOL, "status 206 with another range than asked for")
    stop = int(match[2]) + 1
    total = None if match[3] == "*" else int(match[3])
    if stop <= start or (total is not None and stop != total) or response.length not in {None, stop - start}:
        raise response.refuse(Reason.PROTOCOL, "status 206 with a Content-Range that cannot be")
    return stop - start, total


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield
