"""UpstreamClient asks one upstream."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager

from aiohttp.abc import AbstractResolver
from multidict import CIMultiDict

from nugetproxy.caching.entry import NO_VALIDATORS, Answer, Validators
from nugetproxy.clock import Clock
from nugetproxy.metrics import Metrics
from nugetproxy.upstream.answers import Download, Head, Sent
from nugetproxy.upstream.breaker import BreakerState
from nugetproxy.upstream.settings import UpstreamSettings


class UpstreamClient:
    """GET, HEAD, downloads, writes for one upstream, with retries, redirects, circuit breakers.

    Every method raises UpstreamFailure (see ``nugetproxy.errors``) when upstream gives no usable answer.
    URLs are absolute http(s) URLs, percent-encoded as they are to be sent.
    """

    def __init__(
        self, settings: UpstreamSettings, *, clock: Clock, metrics: Metrics, resolver: AbstractResolver | None = None
    ) -> None:
        self.name = settings.name

    async def get(self, url: str, *, validators: Validators = NO_VALIDATORS, limit: int | None = None) -> Answer:
        """One document: 200 (body decoded, at most ``limit`` bytes), 304 (if ``validators`` were given) or any 4xx."""
        raise NotImplementedError

    async def head(self, url: str) -> Head:
        """What a GET of ``url`` would say: 200 or any 4xx."""
        raise NotImplementedError

    def download(
        self, url: str, *, start: int = 0, if_range: str | None = None
    ) -> AbstractAsyncContextManager[Download]:
        """A package, from byte ``start`` (``if_range``: a strong ETag or a date that must still hold)."""
        raise NotImplementedError

    def send(
        self,
        method: str,
        url: str,
        *,
        headers: CIMultiDict[str],
        body: AsyncIterator[bytes] | None,
        timeout: float,
    ) -> AbstractAsyncContextManager[Sent]:
        """A write, sent once: the answer whatever its status, at most ``timeout`` seconds after the start.

        Raises OutcomeUnknown if upstream was lost after something had been sent; what ``body`` raises passes through.
        """
        raise NotImplementedError

    def report_invalid(self, url: str) -> None:
        """Count a 200 whose content was refused (say a login page) as a failure of that URL's origin."""
        raise NotImplementedError

    def breakers(self) -> Mapping[str, BreakerState]:
        """By origin, those that are not quietly closed."""
        raise NotImplementedError

    async def close(self) -> None:
        """End every connection."""
        raise NotImplementedError
