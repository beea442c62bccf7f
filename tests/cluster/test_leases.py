"""One replica at a time fetches a key; one that has died holds the others up for a while, none for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from nugetproxy.cluster.bucket_leases import LEASE_SECONDS, SKEW, BucketLeases
from nugetproxy.cluster.engines import EngineUnavailable
from nugetproxy.cluster.upkeep import DAY, clear, usage
from nugetproxy.engine.tasks import Tasks
from nugetproxy.engine.turns import LONGEST_LOOK, Turns
from nugetproxy.metrics import Metrics
from tests.cluster.memory import MemoryStore
from tests.fakes.clock import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(clock: FakeClock) -> MemoryStore:
    return MemoryStore(clock)


@pytest.fixture
def leases(store: MemoryStore, clock: FakeClock) -> BucketLeases:
    return BucketLeases(store, clock)


@pytest.fixture
async def tasks(clock: FakeClock) -> AsyncIterator[Tasks]:
    one = Tasks(clock, Metrics())
    yield one
    await one.stop()


async def test_the_lease_of_one_that_has_died_is_taken_over_by_one(leases: BucketLeases, clock: FakeClock) -> None:
    assert await leases.acquire("key") is not None
    clock.advance(LEASE_SECONDS + SKEW - 0.1)
    assert await leases.acquire("key") is None
    clock.advance(0.2)
    taken = await asyncio.gather(*(leases.acquire("key") for _ in range(8)))
    assert len([one for one in taken if one is not None]) == 1


async def test_one_that_is_renewed_is_not_taken_over(leases: BucketLeases, clock: FakeClock) -> None:
    proof = await leases.acquire("key")
    for _ in range(5):
        clock.advance(LEASE_SECONDS / 3)
        assert proof is not None
        proof = await leases.renew("key", proof)
        assert await leases.acquire("key") is None


async def test_who_was_taken_for_dead_neither_renews_nor_gives_back(leases: BucketLeases, clock: FakeClock) -> None:
    lost = await leases.acquire("key")
    assert lost is not None
    clock.advance(LEASE_SECONDS + SKEW + 1)
    assert await leases.acquire("key") is not None
    assert await leases.renew("key", lost) is None
    await leases.release("key", lost)
    assert await leases.acquire("key") is None


class Never:
    """Leases that somebody else has; ``fails`` from some call on."""

    seconds = 3.0

    def __init__(self, fails_at: int = 10**9) -> None:
        self.asked = 0
        self._fails_at = fails_at

    async def acquire(self, key: str) -> str | None:
        self.asked += 1
        if self.asked >= self._fails_at:
            raise EngineUnavailable("coordination", "gone")
        return None

    async def renew(self, key: str, proof: str) -> str | None:
        raise AssertionError

    async def release(self, key: str, proof: str) -> None:
        raise AssertionError


async def nothing() -> str | None:
    return None


async def test_nobody_waits_longer_than_that_for_another_replica(tasks: Tasks, clock: FakeClock) -> None:
    began, leases = clock.monotonic(), Never()
    turn = await Turns(tasks, clock).take(leases, "key", nothing, most=20.0)
    assert (turn.found, turn.held, turn.waited) == (None, None, True)
    assert clock.monotonic() - began == pytest.approx(20.0)
    assert max(clock.slept) <= 1.25 * LONGEST_LOOK
    assert leases.asked == len(clock.slept) + 1  # each look tries for the lease, too


async def test_what_another_replica_brings_is_found(tasks: Tasks, clock: FakeClock) -> None:
    looks = iter([None, None, None, "brought"])

    async def look() -> str | None:
        return next(looks)

    turn = await Turns(tasks, clock).take(Never(), "key", look, most=20.0)
    assert (turn.found, turn.held, turn.waited) == ("brought", None, True)


@pytest.mark.parametrize("fails_at", [1, 4])
async def test_who_keeps_leases_no_more_keeps_nobody_waiting(tasks: Tasks, clock: FakeClock, fails_at: int) -> None:
    turn = await Turns(tasks, clock).take(Never(fails_at), "key", nothing, most=20.0)
    assert (turn.found, turn.held, turn.waited) == (None, None, fails_at > 1)
    assert len(clock.slept) == fails_at - 1


async def test_a_lease_is_renewed_until_it_is_given_back(
    tasks: Tasks, clock: FakeClock, leases: BucketLeases, store: MemoryStore
) -> None:
    turns = Turns(tasks, clock)
    turn = await turns.take(leases, "key", nothing, most=20.0)
    assert turn.held is not None
    proofs = set()
    async with asyncio.timeout(10):
        while len(proofs) < 4:  # the fake clock's sleep returns at once
            proofs.add(turn.held.proof)
            await asyncio.sleep(0)
    turns.give_back(turn.held)
    async with asyncio.timeout(10):
        while store.things:
            await asyncio.sleep(0)


async def test_what_lies_in_the_bucket_is_counted_by_source(store: MemoryStore) -> None:
    for key, size in (("up/flat/a/1.0.0/a.1.0.0.nupkg", 70), ("up/flat/a/index.json", 5), ("_lease/x", 3)):
        await store.write(key, bytes(size), {})
    found = {
        one.source: (one.packages, one.package_bytes, one.documents, one.document_bytes) for one in await usage(store)
    }
    assert found == {"up": (1, 70, 1, 5), "_": (0, 0, 1, 3)}


async def test_only_what_nobody_needs_any_more_is_cleared_away(store: MemoryStore, clock: FakeClock) -> None:
    whole, half = "up/flat/a/1.0.0/a", "up/flat/b/2.0.0/b"
    old = (
        "_lease/x",
        "_probe/x",
        "_mark/up/a",
        f"{half}.nuspec",
        f"{whole}.nuspec",
        f"{whole}.1.0.0.nupkg",
        "_truth/claims/up/a",
    )
    young = ("_lease/y", "_mark/up/b", "up/flat/c/3.0.0/c.nuspec")
    for key in (*old, *young):
        await store.write(key, b"x", {})
    for key in old:
        store.age(key, DAY + 1)
    assert await clear(store, clock.now()) == 4
    assert store.things.keys() == {f"{whole}.nuspec", f"{whole}.1.0.0.nupkg", "_truth/claims/up/a", *young}
