"""Prober finds out in the background when an upstream that was given up answers again."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from nugetproxy.clock import Clock
from nugetproxy.upstream.client import UpstreamClient

log = structlog.get_logger(__name__)

TICK = 0.25
"""Seconds between two looks whether a probe is due; how often there is one is the breaker's matter."""


class Prober:
    """Probes every origin whose circuit breaker is open, so that no client's request has to."""

    def __init__(self, upstreams: Sequence[UpstreamClient], clock: Clock) -> None:
        self._upstreams = upstreams
        self._clock = clock

    def use(self, upstreams: Sequence[UpstreamClient]) -> None:
        """From now on it is about these."""
        self._upstreams = upstreams

    async def run(self) -> None:
        """Look again and again until cancelled; a probe that hangs holds up no other."""
        async with asyncio.TaskGroup() as group:
            while True:
                await self._clock.sleep(TICK)
                for upstream, origin in self._due():
                    group.create_task(self._probe(upstream, origin), name=f"probe of {origin}")

    async def round(self) -> None:
        """One probe of every origin that is due, side by side."""
        await asyncio.gather(*(self._probe(upstream, origin) for upstream, origin in self._due()))

    def _due(self) -> list[tuple[UpstreamClient, str]]:
        return [(upstream, origin) for upstream in self._upstreams for origin in upstream.due()]

    async def _probe(self, upstream: UpstreamClient, origin: str) -> None:
        try:
            await upstream.probe(origin)
        except Exception:  # the top of a background task: the others must go on
            log.exception("probe.crashed", upstream=upstream.name, origin=origin)
