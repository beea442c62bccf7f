"""SharedDocuments are the documents of one source on the second level."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Final

import structlog

from nugetproxy.caching.entry import Entry
from nugetproxy.clock import Clock
from nugetproxy.cluster import keys
from nugetproxy.cluster.engines import EngineUnavailable
from nugetproxy.cluster.second_level import Place, SecondLevel, SharedDocument
from nugetproxy.engine.invalidation import REVALIDATE_SECONDS
from nugetproxy.engine.repeats import Repeats
from nugetproxy.engine.target import Target
from nugetproxy.engine.tasks import Tasks
from nugetproxy.engine.turns import Held, Turn, Turns
from nugetproxy.nuget.kinds import Kind
from nugetproxy.store.documents.documents import Stored

log = structlog.get_logger(__name__)

LONGEST_WAIT: Final = 5.0
"""Seconds that another replica is waited for."""
TOLD_WITHIN: Final = 3.0
"""Seconds that whoever wrote waits until the other replicas know."""
FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 60.0
"""Seconds until they are told again of what nobody has told them; doubled each time."""


class SharedDocuments:
    """Asked behind the store in memory and on disk; nothing that goes wrong there reaches a caller."""

    def __init__(self, second: SecondLevel, source: str, repeats: Repeats, *, tasks: Tasks, clock: Clock) -> None:
        self.stored: Callable[[Target], Awaitable[Stored | None]]
        """What is stored here."""
        self._repeats = repeats
        self._second = second
        self._source = source
        self._tasks = tasks
        self._turns = Turns(tasks, clock)
        self._puts: dict[str, asyncio.Task[None]] = {}
        self._clock = clock
        self._telling: set[asyncio.Future[None]] = set()

    async def follow(self, target: Target) -> None:
        """Know of what was written to the package of ``target`` on other replicas."""
        await self._second.follow(self._source, target.id)

    def wrote(self, id_: str) -> None:
        """A package was written to through this replica: the others are told."""
        tried = asyncio.get_running_loop().create_future()
        self._telling.add(tried)
        self._tasks.start(self._tell(id_, tried), name=f"announce {id_}")

    async def _tell(self, id_: str, tried: asyncio.Future[None]) -> None:
        try:
            await self._tell_until_told(id_, tried)
        except asyncio.CancelledError:  # this replica stops: nobody else would tell them
            with suppress(TimeoutError):
                async with asyncio.timeout(TOLD_WITHIN):
                    await self._second.wrote(self._source, id_)
            raise

    async def _tell_until_told(self, id_: str, tried: asyncio.Future[None]) -> None:
        try:
            told, kept = await self._second.wrote(self._source, id_)
        finally:
            self._telling.discard(tried)
            tried.set_result(None)
        if not told:
            log.warning("write.unannounced", upstream=self._source, id=id_, detail="the other replicas are told later")
        pause, until = FIRST_PAUSE, self._clock.monotonic() + REVALIDATE_SECONDS
        while not told and self._clock.monotonic() < until:  # what they have of before is asked for again by then
            await self._clock.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
            told, kept = await self._second.wrote(self._source, id_)
        if told and not kept:
            again = partial(self._second.marks.keep, keys.tag(self._source, id_))
            self._repeats.note(f"{self._source} mark {id_}", again)

    async def forget(self, id_: str) -> None:
        """Those of a package go, on an operator's word, once the others are told; raises EngineUnavailable."""
        await self.settle()
        if self._puts:  # what is on its way there has been let in already
            await asyncio.wait(self._puts.values(), timeout=TOLD_WITHIN)
        await self._second.remove_documents(self._source, id_)

    async def settle(self) -> None:
        """Wait, for a limited time, until the others know of every write so far, where somebody tells them now."""
        if self._telling:
            await asyncio.wait(self._telling, timeout=TOLD_WITHIN)

    async def take(self, target: Target, look: Callable[[SharedDocument], Awaitable[bool]]) -> Turn[bool]:
        """Whether the second level has what ``look`` takes for an answer; else whose turn it is, until ``end``.

        ``look`` keeps what it is shown, be it an answer or not.
        """
        place = self._place(target)

        async def ask() -> bool | None:
            found = await self._second.document(place)
            return True if found is not None and await look(found) else None

        return await self._turns.take(self._second.leases, f"{self._source}/{target.key}", ask, most=LONGEST_WAIT)

    def put(self, target: Target, entry: Entry, body: bytes, *, seconds: float) -> None:
        """Upstream has just said this; kept behind whoever waits for it, for ``seconds`` where room is dear."""
        mark = self._second.marks.known(self._place(target).tag)
        self._begin(target, partial(self._put, target, entry, body, mark=mark, seconds=seconds))

    def _begin(self, target: Target, put: Callable[[], Awaitable[object]]) -> asyncio.Task[None]:
        after = self._after(self._puts.get(target.key), put)
        task = self._puts[target.key] = self._tasks.start(after, name=f"share {target.path}")
        task.add_done_callback(lambda done: self._puts.pop(target.key, None) if self._is_last(target, done) else None)
        return task

    async def _after(self, before: asyncio.Task[None] | None, put: Callable[[], Awaitable[object]]) -> None:
        """One after the other: what is long on its way must not take the place of what is newer."""
        if before is not None:
            await asyncio.wait({before})
        await put()

    async def _put(self, target: Target, entry: Entry, body: bytes, *, mark: str, seconds: float) -> None:
        missing = f"{self._source} {target.key}"
        try:
            await self._second.put_document(self._place(target), entry, body, mark=mark, seconds=seconds)
        except EngineUnavailable:
            self._repeats.note(missing, partial(self._put_again, target, entry, mark=mark, seconds=seconds))
        else:
            self._repeats.drop(missing)

    async def _put_again(self, target: Target, entry: Entry, *, mark: str, seconds: float) -> None:
        stored = await self.stored(target)
        # What was removed is not brought there; what is newer was given by itself.
        if stored is not None and (stored.entry.digest, stored.entry.stored_at) == (entry.digest, entry.stored_at):
            place = self._place(target)
            put = self._second.put_document
            await self._begin(target, partial(put, place, entry, stored.body, mark=mark, seconds=seconds))

    def _is_last(self, target: Target, task: asyncio.Task[None]) -> bool:
        return self._puts.get(target.key) is task

    def end(self, target: Target, held: Held | None) -> None:
        """The fetch is over; the next one may have the lease once others can find what came of it."""
        self._turns.give_back(held, after=self._puts.get(target.key))

    def _place(self, target: Target) -> Place:
        return Place(self._source, target.id, target.kind, target.key, target.kind is Kind.VERSIONS)


def is_shared(target: Target) -> bool:
    """Whether a document is worth sharing; answers to queries are too many, too short-lived."""
    return not target.kind.row.query
