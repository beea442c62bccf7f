"""Repeats gives the second level again what it did not take."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from nugetproxy.clock import Clock
from nugetproxy.engine.tasks import Tasks
from nugetproxy.errors import ProxyError

MOST: Final = 10_000
"""What is known of one source to be missing there; beyond, the oldest is forgotten."""
FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 60.0
"""Seconds until it is tried again; doubled while nothing is taken."""
LONGEST: Final = 86_400.0
"""Seconds after which nobody tries any more: there may be one thing that it never takes."""

Again = Callable[[], Awaitable[object]]
"""Gives something again, as it is stored here now; raises EngineUnavailable, DiskFailure."""


class Repeats:
    """Keys of what is missing on the second level; a restart knows none of them any more."""

    def __init__(self, tasks: Tasks, clock: Clock) -> None:
        self._tasks = tasks
        self._clock = clock
        self._missing: dict[str, tuple[Again, float]] = {}
        """With the time, by the monotonic clock, until which it is tried."""
        self._task: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()  # who stops waits for what is being given

    def __contains__(self, key: object) -> bool:
        """Whether it is still to be given."""
        return key in self._missing

    def note(self, key: str, again: Again) -> None:
        """The second level did not take this."""
        self.drop(key)
        self._missing[key] = again, self._clock.monotonic() + LONGEST
        if len(self._missing) > MOST:
            del self._missing[next(iter(self._missing))]
        if self._task is None or self._task.done():
            self._task = self._tasks.start(self._run(), name="repeat")

    def drop(self, key: str) -> None:
        """It is there now, or is not to be there."""
        self._missing.pop(key, None)

    async def _run(self) -> None:
        pause = FIRST_PAUSE
        while self._missing:
            await self._clock.sleep(pause)
            pause = FIRST_PAUSE if await self.once() else min(2 * pause, LONGEST_PAUSE)

    async def once(self) -> bool:
        """Give all that is missing until one is not taken, which is tried last from then on; whether any was taken."""
        taken = False
        async with self._turn:
            with suppress(ProxyError):
                while self._missing:
                    await self._give(next(iter(self._missing)))
                    taken = True
        return taken

    async def _give(self, key: str) -> None:
        again, until = noted = self._missing[key]
        try:
            await again()
        except ProxyError:
            if self._missing.get(key) is noted:
                self.drop(key)
                if self._clock.monotonic() < until:
                    self._missing[key] = noted  # behind all others
            raise
        if self._missing.get(key) is noted:
            self.drop(key)
