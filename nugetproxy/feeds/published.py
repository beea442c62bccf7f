"""Sides are what a published feed is to the server: one that reads, one that writes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Protocol

from nugetproxy.errors import WriteRefused
from nugetproxy.feeds.reply import Reply, View
from nugetproxy.nuget.routes import Route
from nugetproxy.upstream.answers import Sent
from nugetproxy.upstream.breaker import BreakerState

Named = Callable[[str, str], None]
"""Is told an id (lower case) with a normalised version."""


class ReadSide(Protocol):
    """Answers the reads of one feed."""

    @property
    def name(self) -> str:
        """As it stands in its path, in logs, in metrics."""

    async def read(self, route: Route, query: str, view: View) -> Reply:
        """The reply to one GET or HEAD; raises ProxyError where there is none."""

    async def offers(self, resource: str) -> bool:
        """Whether it has a resource (as the registry calls it); raises UpstreamFailure where that is not known."""

    async def ready(self) -> None:
        """Return when clients can be served; raises ProxyError that says why they cannot."""

    def breakers(self) -> Mapping[str, BreakerState]:
        """The circuit breakers of its origins; none where nobody is asked."""


class WriteSide(Protocol):
    """Takes the writes to one feed."""

    async def check(self, method: str, route: Route, length: int | None) -> str:
        """The URL that a write goes to, before its body is read; raises ProxyError where it is not taken."""

    async def send(
        self,
        method: str,
        route: Route,
        url: str,
        headers: Mapping[str, str],
        body: AsyncIterator[bytes] | None,
        *,
        named: Named,
    ) -> Sent:
        """What was answered to it; ``named`` is told which package the body is. Raises UpstreamFailure."""


class NoWrites:
    """The write side of a feed that takes none."""

    def __init__(self, why: str) -> None:
        """``why``: the sentence that a client is shown."""
        self._why = why

    async def check(self, method: str, _route: Route, _length: int | None) -> str:
        """Raises WriteRefused, always."""
        raise WriteRefused(method, self._why)

    async def send(
        self,
        method: str,
        _route: Route,
        _url: str,
        _headers: Mapping[str, str],
        _body: AsyncIterator[bytes] | None,
        *,
        named: Named,
    ) -> Sent:
        """Raises WriteRefused, always."""
        raise WriteRefused(method, self._why)
