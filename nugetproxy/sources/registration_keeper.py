"""RegistrationKeeper fetches the registrations of what is held, so that an outage finds them stored."""

from __future__ import annotations

import asyncio
from collections import deque
from enum import Enum, auto
from itertools import islice
from typing import Final

import structlog

from nugetproxy.clock import Clock
from nugetproxy.engine.cache import Cache
from nugetproxy.engine.packages import Packages
from nugetproxy.errors import UpstreamFailure
from nugetproxy.nuget.resources import HIVES
from nugetproxy.nuget.routes import index_route
from nugetproxy.sources.document_groups import DocumentGroups
from nugetproxy.sources.recorder import Recorder
from nugetproxy.sources.services import Services
from nugetproxy.store.holdings.holdings import HoldingsUnavailable
from nugetproxy.upstream.breaker import Phase
from nugetproxy.upstream.client import UpstreamClient

log = structlog.get_logger(__name__)

ROUND_SECONDS: Final = 5.0
"""Between two looks whether there is something to fetch, or whether nothing else is under way."""
LOOK: Final = 1000
"""Ids of which it is found out together whether anything is held."""
AT_ONCE: Final = 8
"""Registrations that are fetched side by side, which costs half of what it does one by one."""
PACE_SECONDS: Final = 0.3
"""After each registration: a few per second."""
STORED_SECONDS: Final = 0.02
"""After some that were stored: a start has all of them to look at, clients hardly feel it."""
TRIES: Final = 3
"""After so many failures an id waits for the next change of its version list."""


class Visit(Enum):
    """How a look at the registration of an id went."""

    STORED = auto()
    ASKED = auto()
    """Upstream has said what it is."""
    FAILED = auto()


class RegistrationKeeper:
    """Behind the clients' backs: some registrations, then a pause, while nothing else is under way."""

    def __init__(
        self,
        upstream: UpstreamClient,
        cache: Cache,
        groups: DocumentGroups,
        *,
        services: Services,
        packages: Packages,
        recorder: Recorder,
        clock: Clock,
    ) -> None:
        self._upstream = upstream
        self._cache = cache
        self._groups = groups
        self._services = services
        self._packages = packages
        self._recorder = recorder
        self._clock = clock
        self._failed: dict[str, int] = {}
        self._fetched = 0
        """Since all that was wanted was there the last time."""
        self._first: deque[str] = deque()
        """Ids whose first visit since the start is next: of them something is held."""
        self._first_to: str | None = None
        """The last id that was among them; None before and after the first visits."""

    async def run(self) -> None:
        """Begin with all that is held, go on with what comes; runs until cancelled."""
        await self._clock.sleep(ROUND_SECONDS)
        while not self._packages.holdings.synced:
            await self._clock.sleep(ROUND_SECONDS)
        self._first_to = ""
        while True:
            await self.round()
            await self._clock.sleep(ROUND_SECONDS)

    async def round(self) -> None:
        """Fetch what is wanted until there is nothing more, something else is under way, or upstream fails."""
        wanted = self._recorder.wanted
        while (wanted or self._first or self._first_to is not None) and not self._is_disturbing():
            try:
                held = await self._next_held(wanted) if wanted else await self._next_first()
            except HoldingsUnavailable as failure:
                log.debug("registrations.unkept", upstream=self._packages.name, detail=str(failure))
                return
            if not held:
                continue
            first, *others = held
            # Where one fails, no others are asked for: two that fail alike would be taken for a lost upstream.
            visits = [await self._visited(first)]
            if Visit.FAILED not in visits:
                visits += await asyncio.gather(*map(self._visited, others))
            self._fetched += visits.count(Visit.ASKED)
            if Visit.FAILED in visits:
                return
            await self._clock.sleep(PACE_SECONDS * visits.count(Visit.ASKED) or STORED_SECONDS)
        if not (wanted or self._first) and self._first_to is None and self._fetched:
            log.info("registrations.kept", upstream=self._packages.name, fetched=self._fetched)
            self._fetched = 0

    async def _visited(self, id: str) -> Visit:
        """How a visit went; an id whose visit failed stays wanted, for some times."""
        changed = self._recorder.wanted.pop(id)
        try:
            asked = await self._visit(id, changed)
        except (UpstreamFailure, HoldingsUnavailable) as failure:
            log.debug("registration.unkept", upstream=self._packages.name, id=id, detail=str(failure))
            if self._may_try_again(id):
                self._recorder.wanted[id] = self._recorder.wanted.get(id, False) or changed
            return Visit.FAILED
        self._failed.pop(id, None)
        return Visit.ASKED if asked else Visit.STORED

    async def _next_first(self) -> tuple[str, ...]:
        """Whom to visit for the first time; some are looked for at once, as all take memory. HoldingsUnavailable."""
        if not self._first and self._first_to is not None:
            self._first.extend(await self._packages.holdings.ids_after(self._first_to, LOOK))
            self._first_to = self._first[-1] if self._first else None
        found = tuple(self._first.popleft() for _ in range(min(AT_ONCE, len(self._first))))
        for id in found:
            self._recorder.wanted.setdefault(id, False)
        return found

    async def _next_held(self, wanted: dict[str, bool]) -> tuple[str, ...]:
        """Whom to visit now: of most ids that clients ask about nothing is held, so there is one look for many.

        Raises HoldingsUnavailable.
        """
        looked = tuple(islice(wanted, LOOK))
        held = await self._packages.holdings.held_ids(looked)
        for id in looked:
            if id not in held:
                wanted.pop(id, None)
        return tuple(islice((id for id in looked if id in held), AT_ONCE))

    def _is_disturbing(self) -> bool:
        lost = any(state.phase is not Phase.CLOSED for state in self._upstream.breakers().values())
        return (
            lost or self._cache.is_busy or len(self._packages.downloads) > 0 or len(self._packages.folder.pending) > 0
        )

    def _may_try_again(self, id: str) -> bool:
        self._failed[id] = self._failed.get(id, 0) + 1
        if self._failed[id] < TRIES:
            return True
        del self._failed[id]
        return False

    async def _visit(self, id: str, changed: bool) -> bool:
        """Have the registration of an id stored, as it is now where its version list has ``changed``.

        Whether upstream was asked. Raises UpstreamFailure, HoldingsUnavailable.
        """
        services, asked = await self._services.map(), False
        for hive in filter(services.has, HIVES):
            target = self._groups.target(index_route(hive, id), "", services)
            stored = await self._cache.stored(target)
            if stored is None or stored.entry.absent:
                asked = True
                if (await self._cache.get(target, group=self._groups)).entry.absent:
                    continue
            elif changed:
                asked = True
                await self._cache.refresh(target, self._groups)
            else:
                await self._recorder.note(target, stored.body, changed=True)  # the package may have come after it
            break
        return asked
