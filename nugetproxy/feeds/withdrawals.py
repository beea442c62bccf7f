"""Withdrawals looks for what upstream has taken away of what was served, whatever rules there are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import structlog

from nugetproxy.clock import Clock
from nugetproxy.errors import ProxyError
from nugetproxy.feeds.dossiers import APART_SECONDS, Dossiers
from nugetproxy.sources.remote import RemoteSource
from nugetproxy.store.ledger.ledger import Ledger, LedgerUnavailable, Sighting

log = structlog.get_logger(__name__)

ROUND_SECONDS: Final = 30.0
AGAIN_SECONDS: Final = 600.0
"""After a look that failed."""
LATER_SECONDS: Final = APART_SECONDS + 60.0
"""Between the two looks at what is gone."""
LOOKS: Final = 4
"""At an id, while nothing is sure: that a document is gone is believed when it was said twice."""


class Withdrawals:
    """Of one source: asks again about an id whose version list lacks what was served, twice, an hour apart."""

    def __init__(self, source: RemoteSource, dossiers: Dossiers, ledger: Ledger, clock: Clock) -> None:
        """``dossiers`` are of this source alone, and watch for what is withdrawn."""
        self._source = source
        self._dossiers = dossiers
        self._ledger = ledger
        self._clock = clock
        self._due: dict[str, float] = {}
        """Id -> monotonic time of the next look."""
        self._looks: dict[str, int] = {}
        """Id -> how often nothing was sure."""

    async def run(self) -> None:
        """Go on with what an earlier run has seen once; runs until cancelled."""
        try:
            for identity, sighting in (await self._ledger.missing(self._source.name)).items():
                if sighting.withdrawn is None:
                    self._due[identity.id] = self._clock.monotonic()
        except LedgerUnavailable as error:  # it is seen again when its list is
            log.warning("withdrawals.unknown", upstream=self._source.name, detail=str(error))
        while True:
            await self.round()
            await self._clock.sleep(ROUND_SECONDS)

    async def round(self) -> None:
        """Look at what is due."""
        suspects = self._source.suspects
        while suspects:
            self._due[suspects.popitem()[0]] = self._clock.monotonic()
        for id_ in [id_ for id_, at in self._due.items() if at <= self._clock.monotonic()]:
            try:
                wait = await self._look(id_)
            except (ProxyError, LedgerUnavailable) as failure:
                log.debug("withdrawals.unseen", upstream=self._source.name, id=id_, detail=str(failure))
                wait = AGAIN_SECONDS
            if wait is None:
                del self._due[id_]
                self._looks.pop(id_, None)
            else:
                self._due[id_] = self._clock.monotonic() + wait

    async def _look(self, id_: str) -> float | None:
        """Ask upstream now; seconds until it must be asked again, None where all is settled."""
        await self._source.refresh(id_)
        await self._dossiers.of(id_, exact=False, older=self._dossiers.fresh(id_, exact=False))
        seen = await self._ledger.sightings(self._source.name, id_)
        open_ = [one for one in seen.values() if one.missing is not None and one.withdrawn is None]
        if not open_:
            self._looks[id_] = self._looks.get(id_, 0) + 1
            settled = self._looks[id_] >= LOOKS or not self._source.lacks(id_) - _withdrawn(seen)
            return None if settled else AGAIN_SECONDS
        passed = self._clock.now() - min(one.missing for one in open_ if one.missing is not None)
        return AGAIN_SECONDS if passed >= APART_SECONDS else LATER_SECONDS


def _withdrawn(seen: Mapping[str, Sighting]) -> frozenset[str]:
    return frozenset(version for version, one in seen.items() if one.withdrawn is not None)
