"""Expiry says ahead of time what is going to end: certificates, tokens."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Final

import structlog
from msgspec import Struct

from nugetproxy.caching.policy import DAY, HOUR
from nugetproxy.clock import Clock
from nugetproxy.metrics import Metrics

log = structlog.get_logger(__name__)

AHEAD: Final = 14 * DAY
"""Seconds before the end from which an operator is told."""
ROUND: Final = HOUR


class Ending(Struct, frozen=True, order=True):
    """Something that is good until a time."""

    at: float
    """Wall time, in seconds since the epoch."""
    what: str
    """``certificate``, ``ca_file`` or ``token``."""
    name: str
    """Of the upstream or the token; empty for the only one."""

    def told(self, now: float) -> str:
        """A sentence for people."""
        day = datetime.fromtimestamp(self.at, UTC).strftime("%Y-%m-%d")
        left = int((self.at - now) // DAY)
        when = f"expired on {day}" if self.at <= now else f"expires on {day}, in {left} day{'' if left == 1 else 's'}"
        return f"{_SUBJECTS[self.what].format(self.name)} {when}; {_REMEDIES[self.what]}."


_SUBJECTS: Final = {
    "certificate": "The proxy's own certificate",
    "ca_file": "A certificate in ca_file of upstream {!r}",
    "token": "The token {!r}",
}
_REMEDIES: Final = {
    "certificate": "renew the file that server.tls_certificate names",
    "ca_file": "put the authority's new one into that file",
    "token": "make a new one (nugetproxy token add), or give it another date where it is configured",
}

Look = Callable[[], Awaitable[Sequence[Ending]]]


class Expiry:
    """Looks once an hour; what ends within two weeks is a problem, with a line in the log each day."""

    def __init__(self, clock: Clock, metrics: Metrics) -> None:
        self.problem = ""
        """What an operator must know of; empty while all is well."""
        self.look: Look = _nothing
        """What there is that ends."""
        self.endings: tuple[Ending, ...] = ()
        """As they were last seen, the first to end first."""
        self._clock = clock
        self._metric = metrics.expires
        self._told: dict[Ending, float] = {}

    async def run(self) -> None:
        """Round after round until cancelled."""
        while True:
            await self.round()
            await self._clock.sleep(ROUND)

    async def round(self) -> None:
        """Look once at all that ends, and warn of what ends soon."""
        now = self._clock.now()
        self.endings = tuple(sorted(await self.look()))
        self._metric.clear()
        for one in self.endings:
            self._metric.labels(one.what, one.name).set(one.at)
        near = [one for one in self.endings if one.at - now <= AHEAD]
        self.problem = " ".join(one.told(now) for one in near)
        self._told = {one: at for one, at in self._told.items() if one in near}
        for one in near:
            if now - self._told.get(one, -DAY) >= DAY:
                self._told[one] = now
                log.warning("expiry.near", what=one.what, name=one.name, detail=one.told(now))


async def _nothing() -> Sequence[Ending]:
    return ()
