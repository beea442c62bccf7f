"""What is known of others' writes is as new as the question, whoever has asked it."""

from __future__ import annotations

import asyncio

import pytest

from nugetproxy.cluster.engines import Thing
from nugetproxy.cluster.keys import mark
from nugetproxy.cluster.marks import Marks
from tests.cluster.memory import MemoryStore
from tests.fakes.clock import FakeClock

TAG = "up/acme.a"
MARK = "001700000000000-0123456789abcdef"


class SlowStore(MemoryStore):
    """What it has read it says when it may."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock)
        self.may = asyncio.Event()
        self.reads = 0

    async def read(self, key: str) -> Thing | None:
        found = await super().read(key)
        self.reads += 1
        await self.may.wait()
        return found


@pytest.fixture
def store() -> SlowStore:
    return SlowStore(FakeClock())


@pytest.fixture
def marks(store: SlowStore) -> Marks:
    return Marks(store, None, FakeClock(), lambda *_: None)


async def begun(*asked: asyncio.Task[None]) -> None:
    for _ in range(10):
        await asyncio.sleep(0)
    assert not [one for one in asked if one.done()]


async def test_who_asks_with_others_has_an_answer_also_where_the_first_of_them_leaves(
    marks: Marks, store: SlowStore
) -> None:
    await store.write(mark(TAG), MARK.encode(), {})
    first, *others = (asyncio.create_task(marks.follow(TAG)) for _ in range(3))
    await begun(first, *others)
    assert store.reads == 1
    first.cancel()
    await begun(*others)
    store.may.set()
    await asyncio.gather(*others)
    assert (marks.known(TAG), store.reads) == (MARK, 2)


async def test_what_was_asked_before_announcements_were_missed_is_asked_again(marks: Marks, store: SlowStore) -> None:
    marks.live(yes=True)
    early = asyncio.create_task(marks.follow(TAG))
    await begun(early)
    marks.live(yes=False)
    await store.write(mark(TAG), MARK.encode(), {})
    marks.live(yes=True)
    store.may.set()
    await early
    assert not marks.is_current(TAG)
    await marks.follow(TAG)
    assert (marks.known(TAG), marks.is_current(TAG)) == (MARK, True)
