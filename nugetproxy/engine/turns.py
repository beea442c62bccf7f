"""Turns let one replica at a time fetch a key, while the others look whether it has come."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from nugetproxy.clock import Clock
from nugetproxy.cluster.engines import EngineUnavailable, Leases
from nugetproxy.engine.tasks import Tasks

T = TypeVar("T")

FIRST_LOOK: Final = 0.05
LONGEST_LOOK: Final = 0.5
"""Seconds between two looks of who waits for another replica."""
SPREAD: Final = 0.25


@dataclass(slots=True)
class Held:
    """A lease of ours, which is renewed until it is let go."""

    leases: Leases
    key: str
    proof: str
    renewing: asyncio.Task[None] | None = None


@dataclass(frozen=True, slots=True)
class Turn(Generic[T]):
    """What was found, else whose turn it is."""

    found: T | None
    held: Held | None
    """The lease, where it is ours; None also where nobody keeps leases now, or another replica takes too long."""
    waited: bool
    """Whether another replica was waited for."""


class Turns:
    """Nothing that is right depends on a lease: who gets none after a while fetches all the same."""

    def __init__(self, tasks: Tasks, clock: Clock) -> None:
        self._tasks = tasks
        self._clock = clock

    async def take(
        self, leases: Leases | None, key: str, look: Callable[[], Awaitable[T | None]], *, most: float
    ) -> Turn[T]:
        """What ``look`` finds, or the turn to fetch it; another replica is waited for ``most`` seconds.

        ``look`` raises EngineUnavailable where it cannot tell: then it is fetched at once, by every replica.
        """
        waited, pause, until = False, FIRST_LOOK, self._clock.monotonic() + most
        try:
            while True:
                found = await look()
                if found is not None or leases is None:
                    return Turn(found, None, waited)
                held = await self._acquire(leases, key)
                if held is not None:
                    return Turn(await self._once_more(look, held), held, waited)
                left = until - self._clock.monotonic()
                if left <= 0:
                    return Turn(None, None, waited)
                waited = True
                await self._clock.sleep(min(left, pause * random.uniform(1 - SPREAD, 1 + SPREAD)))  # noqa: S311 - no secret
                pause = min(2 * pause, LONGEST_LOOK)
        except EngineUnavailable:
            return Turn(None, None, waited)

    async def _acquire(self, leases: Leases, key: str) -> Held | None:
        proof = await leases.acquire(key)
        if proof is None:
            return None
        held = Held(leases, key, proof)
        held.renewing = self._tasks.start(self._renew(held), name=f"lease {key}")
        return held

    async def _once_more(self, look: Callable[[], Awaitable[T | None]], held: Held) -> T | None:
        """Whoever had the lease before may have brought it."""
        try:
            return await look()
        except EngineUnavailable:
            return None
        except BaseException:
            self.give_back(held)
            raise

    async def _renew(self, held: Held) -> None:
        while True:
            await self._clock.sleep(held.leases.seconds / 3)
            with suppress(EngineUnavailable):
                proof = await held.leases.renew(held.key, held.proof)
                if proof is None:
                    return
                held.proof = proof

    def give_back(self, held: Held | None, *, after: asyncio.Task[Any] | None = None) -> None:
        """Let the next one have it, once ``after`` has ended."""
        if held is not None:
            self._tasks.start(self._give_back(held, after), name=f"lease {held.key}")

    async def _give_back(self, held: Held, after: asyncio.Task[Any] | None) -> None:
        if after is not None:
            await asyncio.wait({after})
        if held.renewing is not None:
            held.renewing.cancel()
            await asyncio.wait({held.renewing})
        with suppress(EngineUnavailable):
            await held.leases.release(held.key, held.proof)
