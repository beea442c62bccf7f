"""Documents that are stored, read by several at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import pytest

from nugetproxy.caching.entry import NO_VALIDATORS, Entry
from nugetproxy.caching.policy import MINUTE, Policy
from nugetproxy.engine.hot_documents import HOT_SECONDS, OVERHEAD_BYTES, HotDocuments
from nugetproxy.engine.target import Target
from nugetproxy.engine.tasks import Tasks
from nugetproxy.metrics import Metrics
from nugetproxy.nuget.kinds import Kind
from nugetproxy.store.documents.batches import Write
from nugetproxy.store.documents.documents import Documents, Stored
from tests.fakes.clock import FakeClock

TARGET = Target(kind=Kind.VERSIONS, path="content/acme.a/index.json", scope="up", id="acme.a")
OLD, NEW = b"[1]" * 1000, b"[2]" * 1000


def entry(at: float) -> Entry:
    return Entry(status=200, stored_at=at, digest="00" * 32, validators=NO_VALIDATORS, url="https://up.test/")


class SlowDisk(Documents):
    """One document, whose reads go on until they are let."""

    def __init__(self) -> None:
        super().__init__(metrics=Metrics())
        self.stored = Stored(entry(1.0), OLD)
        self.reads = 0
        self.go = asyncio.Event()

    def lacks(self, key: str) -> bool:
        return False

    async def get(self, key: str) -> Stored | None:
        self.reads += 1
        found = self.stored
        await self.go.wait()
        return found

    def store(self, key: str, entry: Entry, body: bytes, *, tag: str, expire: float | None = None) -> Write:
        self.stored = Stored(entry, body)
        loop = asyncio.get_running_loop()
        write = Write(loop.create_future(), loop.create_future())
        write.told.set_result(True)
        write.end.set_result(True)
        return write


@pytest.fixture
async def disk() -> SlowDisk:
    return SlowDisk()


@pytest.fixture
def hot(disk: SlowDisk, clock: FakeClock) -> HotDocuments:
    """One that has no room for any of them."""
    tasks = Tasks(clock, Metrics())
    return HotDocuments(
        disk, tasks, policies={Kind.VERSIONS: Policy(fresh=MINUTE)}, clock=clock, hot_bytes=100, seconds=HOT_SECONDS
    )


async def begun(hot: HotDocuments, number: int) -> list[asyncio.Task[Stored | None]]:
    tasks = [asyncio.create_task(hot.get(TARGET)) for _ in range(number)]
    await asyncio.sleep(0)
    return tasks


async def test_who_asks_at_the_same_time_is_given_the_same_object(hot: HotDocuments, disk: SlowDisk) -> None:
    reading = await begun(hot, 5)
    disk.go.set()
    found = await asyncio.gather(*reading)
    assert {id(one) for one in found} == {id(disk.stored)}
    assert disk.reads == 1
    await hot.get(TARGET)
    assert disk.reads == 2, "nobody holds on to it"


async def test_a_reader_that_leaves_does_not_take_the_others_along(hot: HotDocuments, disk: SlowDisk) -> None:
    first, second, third = await begun(hot, 3)
    second.cancel()
    first.cancel()
    with suppress(asyncio.CancelledError):
        await first
    disk.go.set()
    assert await third == disk.stored
    assert disk.reads == 2, "the one that read has left"


async def test_who_asks_behind_a_write_gets_what_was_written(hot: HotDocuments, disk: SlowDisk) -> None:
    early = await begun(hot, 1)
    await hot.put(TARGET, entry(2.0), NEW)
    late = await begun(hot, 1)
    disk.go.set()
    (found,) = await asyncio.gather(*late)
    assert found is not None
    assert found.body == NEW
    await asyncio.gather(*early)


async def test_who_asks_after_a_clearing_reads_anew(hot: HotDocuments, disk: SlowDisk) -> None:
    early = await begun(hot, 1)
    hot.clear()
    disk.stored = Stored(entry(2.0), NEW)
    late = await begun(hot, 1)
    disk.go.set()
    (found,) = await asyncio.gather(*late)
    assert found is disk.stored
    await asyncio.gather(*early)


def target(number: int) -> Target:
    return Target(kind=Kind.VERSIONS, path=f"content/acme.{number}/index.json", scope="up", id=f"acme.{number}")


async def test_what_was_in_memory_is_found_though_what_is_read_beside_it_takes_its_place(clock: FakeClock) -> None:
    class Disk(SlowDisk):
        async def get_all(self, keys: Sequence[str]) -> list[Stored | None]:
            return [Stored(entry(1.0), OLD) for _ in keys]

    policies = {Kind.VERSIONS: Policy(fresh=MINUTE)}
    room = 3 * (len(OLD) + OVERHEAD_BYTES)
    hot = HotDocuments(
        Disk(), Tasks(clock, Metrics()), policies=policies, clock=clock, hot_bytes=room, seconds=HOT_SECONDS
    )
    for number in range(3):
        await hot.put(target(number), entry(2.0), NEW)
    found = await hot.get_all([target(number) for number in range(6)])
    assert [one.body if one is not None else None for one in found] == [NEW] * 3 + [OLD] * 3


async def test_a_document_that_memory_has_no_room_for_replaces_the_one_before(disk: SlowDisk, clock: FakeClock) -> None:
    policies = {Kind.VERSIONS: Policy(fresh=MINUTE)}
    hot = HotDocuments(
        disk, Tasks(clock, Metrics()), policies=policies, clock=clock, hot_bytes=20_000, seconds=HOT_SECONDS
    )
    disk.go.set()
    await hot.put(TARGET, entry(1.0), OLD)
    await hot.put(TARGET, entry(2.0), b"[2]" * 10_000)
    found = await hot.get(TARGET)
    assert found is not None
    assert found.body == b"[2]" * 10_000
