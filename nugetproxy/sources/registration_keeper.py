"""RegistrationKeeper fetches the registrations of what is held, so that an outage finds them stored."""

from __future__ import annotations

from contextlib import suppress
from typing import Final
from urllib.parse import quote

import structlog

from nugetproxy.clock import Clock
from nugetproxy.engine.cache import Cache
from nugetproxy.engine.packages import Packages
from nugetproxy.errors import UpstreamFailure
from nugetproxy.nuget.resources import HIVES
from nugetproxy.nuget.routes import parse_route
from nugetproxy.sources.document_groups import DocumentGroups
from nugetproxy.sources.recorder import Recorder
from nugetproxy.sources.services import Services
from nugetproxy.store.holdings.holdings import HoldingsUnavailable
from nugetproxy.upstream.breaker import Phase
from nugetproxy.upstream.client import UpstreamClient

log = structlog.get_logger(__name__)

ROUND_SECONDS: Final = 5.0
"""Between two looks whether there is something to fetch, or whether nothing else is under way."""
PACE_SECONDS: Final = 0.3
"""Between two registrations: a few per second."""
TRIES: Final = 3
"""After so many failures an id waits for the next change of its version list."""


class RegistrationKeeper:
    """Behind the clients' backs: one registration after the other, while nothing else is under way."""

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

    async def run(self) -> None:
        """Begin with all that is held, go on with what comes; runs until cancelled."""
        await self._clock.sleep(ROUND_SECONDS)
        while not self._packages.holdings.synced:
            await self._clock.sleep(ROUND_SECONDS)
        for identity in await self._packages.holdings.recorded():
            self._recorder.wanted.setdefault(identity.id, False)
        while True:
            await self.round()
            await self._clock.sleep(ROUND_SECONDS)

    async def round(self) -> None:
        """Fetch what is wanted until there is nothing more, something else is under way, or upstream fails."""
        wanted = self._recorder.wanted
        if wanted and not self._is_disturbing():
            with suppress(HoldingsUnavailable):  # whoever visits them will meet it
                await self._leave_unheld(wanted)
        while wanted and not self._is_disturbing():
            id = next(iter(wanted))
            changed = wanted.pop(id)
            try:
                if await self._visit(id, changed):
                    await self._clock.sleep(PACE_SECONDS)
            except (UpstreamFailure, HoldingsUnavailable) as failure:
                log.debug("registration.unkept", upstream=self._packages.name, id=id, detail=str(failure))
                if self._may_try_again(id):
                    wanted[id] = wanted.get(id, False) or changed
                return
            self._failed.pop(id, None)

    async def _leave_unheld(self, wanted: dict[str, bool]) -> None:
        """Most ids that clients ask about are not held: one look for all of them. Raises HoldingsUnavailable."""
        asked = tuple(wanted)
        held = await self._packages.holdings.held_ids(asked)
        for id in asked:
            if id not in held:
                wanted.pop(id, None)

    def _is_disturbing(self) -> bool:
        lost = any(state.phase is not Phase.CLOSED for state in self._upstream.breakers().values())
        return lost or self._cache.is_busy or self._packages.is_busy

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
        if not await self._packages.holdings.facts(id):
            return False
        services, asked = await self._services.map(), False
        for hive in HIVES:
            route = parse_route(f"{hive}/{quote(id)}/index.json")
            if route is None or not services.has(hive):
                continue
            target = self._groups.target(route, "", services)
            stored = await self._cache.stored(target)
            if stored is None or stored.entry.absent:
                asked = True
                if (await self._cache.get(target, group=self._groups)).entry.absent:
                    continue
            elif changed:
                asked = True
                await self._cache.refresh(target, self._groups)
            else:
                await self._recorder.note(target, stored.body)  # the package may have come after it
            break
        return asked
