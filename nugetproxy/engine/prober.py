"""Prober finds out in the background when an upstream that was given up answers again."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from nugetproxy.clock import Clock
from nugetproxy.upstream.breaker import Phase
from nugetproxy.upstream.client import UpstreamClient

INTERVAL = 5.0
"""Seconds between two probes of one origin: recovery is seen soon, at a cost that upstream does not feel."""

PATIENCE = 3.0
"""How long a probe waits for an answer, in seconds."""


class Prober:
    """Probes every origin whose circuit breaker is open, so that no client's request has to."""

    def __init__(self, upstreams: Sequence[UpstreamClient], clock: Clock) -> None:
        self._upstreams = upstreams
        self._clock = clock

    async def run(self) -> None:
        """Round after round until cancelled."""
        while True:
            await self._clock.sleep(INTERVAL)
            await self.round()

    async def round(self) -> None:
        """One probe of every origin that needs one, side by side."""
        probes = [
            upstream.probe(origin, seconds=PATIENCE)
            for upstream in self._upstreams
            for origin, state in upstream.breakers().items()
            if state.phase is not Phase.CLOSED
        ]
        await asyncio.gather(*probes)
