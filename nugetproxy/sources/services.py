"""Services knows where one upstream keeps its resources."""

from __future__ import annotations

import structlog

from nugetproxy.clock import Clock
from nugetproxy.engine.cache import Cache
from nugetproxy.engine.target import Found, Target
from nugetproxy.errors import Reason, upstream_failure
from nugetproxy.nuget.kinds import Kind
from nugetproxy.nuget.services import ServiceMap, parse_service_index
from nugetproxy.off_loop import off_loop

log = structlog.get_logger(__name__)

MAP_SECONDS = 2.0
"""For how long nobody looks whether the index has changed, or is to be asked for again."""


class Services:
    """The upstream's service index, fetched and cached as any document, parsed once per content."""

    def __init__(self, upstream: str, index_url: str, scope: str, cache: Cache, clock: Clock) -> None:
        """``scope`` is what everything stored of this upstream belongs to."""
        self.upstream = upstream
        self.index_url = index_url
        self.scope = scope
        self._cache = cache
        self._clock = clock
        self._target = Target(kind=Kind.INDEX, path="index.json", urls=(index_url,), scope=scope)
        self._parsed: tuple[str, ServiceMap] | None = None
        self._until = 0.0

    @property
    def known(self) -> ServiceMap | None:
        """What was last seen of it, however old; upstream is never asked."""
        return self._parsed[1] if self._parsed is not None else None

    async def stored(self) -> ServiceMap | None:
        """The same, out of the store if need be."""
        if self._parsed is None and (stored := await self._cache.stored(self._target)) is not None:
            return parse_service_index(stored.body, stored.entry.url) if not stored.entry.absent else None
        return self.known

    async def map(self) -> ServiceMap:
        """Where to find what, remembered for a moment. Raises UpstreamFailure where it is unknown."""
        if self._parsed is not None and self._clock.monotonic() < self._until:
            return self._parsed[1]
        return (await self.index())[1]

    async def index(self) -> tuple[Found, ServiceMap]:
        """The stored index with what it says; raises UpstreamFailure."""
        found = await self._cache.get(self._target)
        if found.entry.absent:
            raise upstream_failure(self.upstream, Reason.GONE, "it has no service index at the configured URL")
        if self._parsed is None or self._parsed[0] != found.entry.digest:
            services = await off_loop(len(found.body), parse_service_index, found.body, found.entry.url)
            for name in services.unknown:
                log.info("resource.unknown", upstream=self.upstream, type=name)
            for name in services.denied:
                log.warning("resource.denied", upstream=self.upstream, type=name, reason=Reason.ID_DENIED)
            self._parsed = (found.entry.digest, services)
        self._until = self._clock.monotonic() + MAP_SECONDS
        return found, self._parsed[1]
