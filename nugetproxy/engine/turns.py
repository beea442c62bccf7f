"""Turns let one replica at a time fetch a key, while the others look whether it has come."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final, Generic, TypeVar

from msgspec import Struct

from nugetproxy.clock import Clock
from nugetproxy.cluster.allowance import unlimited
from nugetproxy.cluster.engines import EngineUnavailable, Leases
from nugetproxy.engine.tasks import Tasks

T = TypeVar("T")

FIRST_LOOK: Final = 0.05
LONGEST_LOOK: Final = 0.5
"""Seconds between two looks of who waits for another replica."""
SPREAD: Final = 0.25


class Held(Struct):
    """A lease of ours, which is renewed until it is let go."""

    leases: Leases
    key: str
    proof: str
    renewing: asyncio.Task[None] | None = None


class Turn(Struct, Generic[T], frozen=True):
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
        try:
            turn = await self._once(leases, key, look, waited=False)
            if turn is not None:
                return turn
        except EngineUnavailable:
            return Turn(None, None, False)
        with unlimited():  # how long another replica may take is limited by itself
            return await self._wait(leases, key, look, most)

    async def _wait(
        self, leases: Leases | None, key: str, look: Callable[[], Awaitable[T | None]], most: float
    ) -> Turn[T]:
        pause, until = FIRST_LOOK, self._clock.monotonic() + most
        try:
            while (left := until - self._clock.monotonic()) > 0:
                await self._clock.sleep(min(left, pause * random.uniform(1 - SPREAD, 1 + SPREAD)))  # noqa: S311 - no secret
                turn = await self._once(leases, key, look, waited=True)
                if turn is not None:
                    return turn
                pause = min(2 * pause, LONGEST_LOOK)
        except EngineUnavailable:
            pass
        return Turn(None, None, True)

    async def _once(
        self, leases: Leases | None, key: str, look: Callable[[], Awaitable[T | None]], *, waited: bool
    ) -> Turn[T] | None:
        """What there is, or the turn to fetch it; None while it is another replica's."""
        found = await look()
        if found is not None or leases is None:
            return Turn(found, None, waited)
        held = await self._acquire(leases, key)
        return Turn(await self._once_more(look, held), held, waited) if held is not None else None

    async def _acquire(self, leases: Leases, key: str) -> Held | None:
        with unlimited():  # a store may let those that lose a race wait
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
            with unlimited(), suppress(EngineUnavailable):
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
        with unlimited(), suppress(EngineUnavailable):
            await held.leases.release(held.key, held.proof)
