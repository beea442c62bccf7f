"""Marks tell replicas of each other's writes."""

from __future__ import annotations

import asyncio
import math
import re
import secrets
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from cachetools import LRUCache
from msgspec import Struct

from nugetproxy.clock import Clock
from nugetproxy.cluster import keys
from nugetproxy.cluster.engines import NEVER_WRITTEN, Coordinator, EngineUnavailable, ObjectStore

FOLLOW_SECONDS: Final = 3.0
"""How long a mark is believed while nobody tells us of new ones."""
REMEMBERED: Final = 100_000
MARK: Final = re.compile(r"\d{15}-[0-9a-f]{16}")

Told = Callable[[str, str, float | None], None]
"""Is told of a write on another replica: source, id, when (wall time; None for now)."""


class _Known(Struct, frozen=True):
    mark: str
    at: float = -math.inf
    """When it was asked for, by the monotonic clock."""
    generation: int = -1
    """The one that it was asked for in."""


class Marks:
    """Each write to an id leaves a mark in what is shared; a document that was asked for under another one is outdated.

    A mark begins with its time, so of two the greater one is the later one: it is made greater than the last one,
    whose maker's clock may be ahead.
    """

    def __init__(self, store: ObjectStore | None, coordinator: Coordinator | None, clock: Clock, told: Told) -> None:
        self._store = store
        self._coordinator = coordinator
        self._clock = clock
        self._told = told
        self._known: LRUCache[str, _Known] = LRUCache(REMEMBERED)
        self._asking: dict[tuple[str, int], asyncio.Future[str]] = {}
        self._generation = 0
        self._live = False

    def live(self, *, yes: bool) -> None:
        """Whether others' writes are announced to us from now on; those of before may have been missed."""
        self._live = yes
        self._generation += 1

    def known(self, tag: str) -> str:
        """The last mark of ``tag`` that is known."""
        known = self._known.get(tag)
        return known.mark if known is not None else NEVER_WRITTEN

    async def follow(self, tag: str) -> None:
        """Know the mark of ``tag``, as new as it has to be; as it was known where nothing answers."""
        if self.is_current(tag):
            return
        with suppress(EngineUnavailable):
            await self.current(tag)

    def is_current(self, tag: str) -> bool:
        """Whether what is known of ``tag`` is as new as it has to be."""
        known = self._known.get(tag)
        if known is None:
            return False
        if self._live:
            return known.generation == self._generation
        return self._clock.monotonic() - known.at < FOLLOW_SECONDS

    async def current(self, tag: str) -> str:
        """The last mark, asked for now, once for all who ask at the same time; known from then on.

        Raises EngineUnavailable.
        """
        key = tag, self._generation  # what was asked for before something may have been missed says nothing of that
        while (asked := self._asking.get(key)) is not None:
            await asyncio.wait({asked})
            if not asked.cancelled():  # else who has asked left
                return asked.result()
        asked = self._asking[key] = asyncio.get_running_loop().create_future()
        try:
            mark = await self._ask(tag)
        except EngineUnavailable as error:
            asked.set_exception(error)
            asked.exception()  # whoever else waits for it takes it, or nobody does
            raise
        except BaseException:
            asked.cancel()
            raise
        else:
            asked.set_result(mark)
            self._learn(tag, _Known(mark, self._clock.monotonic(), key[1]), announced=False)
            return mark
        finally:
            del self._asking[key]

    async def _ask(self, tag: str) -> str:
        told, stored = await asyncio.gather(self._of_coordinator(tag), self._of_store(tag), return_exceptions=True)
        for one in (told, stored):
            if isinstance(one, BaseException) and not isinstance(one, EngineUnavailable):
                raise one
        if isinstance(told, BaseException) and isinstance(stored, BaseException):
            raise told
        if isinstance(told, BaseException) and self._store is None:
            raise told
        if isinstance(stored, BaseException) and self._coordinator is None:
            raise stored
        marks = [one for one in (told, stored) if isinstance(one, str)]
        mark = max(marks, default=NEVER_WRITTEN)
        if self._coordinator is not None and isinstance(told, str) and told < mark:
            with suppress(EngineUnavailable):  # it has forgotten, or was away
                await self._coordinator.set_mark(tag, mark)
        return mark

    async def _of_coordinator(self, tag: str) -> str:
        return _sound(await self._coordinator.mark(tag)) if self._coordinator is not None else NEVER_WRITTEN

    async def _of_store(self, tag: str) -> str:
        found = await self._store.read(keys.mark(tag)) if self._store is not None else None
        return _sound(found.body.decode("ascii", "replace")) if found is not None else NEVER_WRITTEN

    def learn(self, tag: str, mark: str, *, announced: bool) -> None:
        """There was this write; where it was not ``announced``, there may have been later ones."""
        known = _Known(_sound(mark))
        if announced:
            known = _Known(known.mark, self._clock.monotonic(), self._generation)
        self._learn(tag, known, announced=announced)

    def _learn(self, tag: str, said: _Known, *, announced: bool) -> None:
        before = self._known.get(tag)
        was = before or _Known(NEVER_WRITTEN)
        mark = max(said.mark, was.mark)
        self._known[tag] = _Known(mark, max(said.at, was.at), max(said.generation, was.generation))
        if mark == was.mark:
            return
        source, _, id_ = tag.partition("/")
        at = None if announced or before is not None else time_of(mark)
        self._told(source, "" if id_ == "_" else id_, at)

    async def write(self, tag: str) -> tuple[bool, bool]:
        """Something was written through this replica: all others learn of it.

        Whether they do for now, whether the bucket has it where there is one: a coordinator may forget. Never raises.
        """
        if not (self._live and self.is_current(tag)):
            with suppress(EngineUnavailable):  # of the faster one: others wait to be told
                last = self._of_coordinator if self._coordinator is not None else self._of_store
                self.learn(tag, await last(tag), announced=False)
        at = max(int(self._clock.now() * 1000), _milliseconds(self.known(tag)) + 1)
        mark = f"{at:015d}-{secrets.token_hex(8)}"
        self._known[tag] = _Known(mark, self._clock.monotonic(), self._generation)
        tasks = []
        if self._coordinator is not None:
            tasks.append(self._announce(self._coordinator, tag, mark))
        if self._store is not None:
            tasks.append(self._store.write(keys.mark(tag), mark.encode(), {}))
        said = [not isinstance(one, BaseException) for one in await asyncio.gather(*tasks, return_exceptions=True)]
        # Who listens to a coordinator looks nowhere else.
        return (said[0], said[-1] or self._store is None) if said else (True, True)

    async def keep(self, tag: str) -> None:
        """Have the bucket know the last mark that is known here; raises EngineUnavailable."""
        if self._store is not None:
            await self._store.write(keys.mark(tag), self.known(tag).encode(), {})

    async def _announce(self, coordinator: Coordinator, tag: str, mark: str) -> None:
        await coordinator.set_mark(tag, mark)
        await coordinator.announce(f"mark {tag} {mark}")


def _sound(mark: str) -> str:
    """The mark; what is damaged is none."""
    return mark if MARK.fullmatch(mark) else NEVER_WRITTEN


def time_of(mark: str) -> float:
    """When it was made, in seconds since the epoch by the clock of its maker; 0 for what is none."""
    return _milliseconds(mark) / 1000


def _milliseconds(mark: str) -> int:
    number = mark.partition("-")[0]
    return int(number) if number.isdecimal() else 0
