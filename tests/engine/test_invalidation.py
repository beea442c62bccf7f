"""What a write has outdated, and for how long."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nugetproxy.caching.policy import FOREVER, Policy
from nugetproxy.engine.invalidation import REVALIDATE_SECONDS, Invalidation
from nugetproxy.engine.target import Target
from nugetproxy.nuget.kinds import Kind
from nugetproxy.store.ledger.ledger import Ledger
from tests.fakes.clock import FakeClock

POLICY = Policy(fresh=300, refresh=3600, on_error=FOREVER, absent=30)
REVALIDATED = Policy(fresh=0, refresh=0, on_error=FOREVER, absent=0)
LIST = Target(kind=Kind.VERSIONS, path="content/acme.a/index.json", id="acme.a", scope="up")
OTHER = Target(kind=Kind.VERSIONS, path="content/acme.b/index.json", id="acme.b", scope="up")
SEARCH = Target(kind=Kind.SEARCH, path="query/", query="q=acme", scope="up")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def ledger(clock: FakeClock, tmp_path: Path) -> AsyncIterator[Ledger]:
    ledger = Ledger(clock=clock)
    await ledger.open(tmp_path, fresh=True)
    yield ledger
    await ledger.close()


@pytest.fixture
def invalidation(ledger: Ledger, clock: FakeClock) -> Invalidation:
    return Invalidation(ledger, "up", clock)


@pytest.mark.parametrize(
    ("written", "outdated"),
    [("acme.a", {LIST, SEARCH}), ("", {LIST, OTHER, SEARCH}), ("acme.c", {SEARCH})],
)
async def test_a_write_outdates_its_package_and_every_search(
    invalidation: Invalidation, clock: FakeClock, written: str, outdated: set[Target]
) -> None:
    invalidation.note_write(written)
    for seconds, expected in ((REVALIDATE_SECONDS - 1, outdated), (2, set())):
        clock.advance(seconds)
        short = {
            target for target in (LIST, OTHER, SEARCH) if invalidation.policy(target, POLICY, clock.now()).fresh == 0
        }
        assert short == expected


async def test_an_outdated_copy_still_serves_an_outage(invalidation: Invalidation, clock: FakeClock) -> None:
    invalidation.note_write("acme.a")
    assert invalidation.policy(LIST, POLICY, clock.now()) == REVALIDATED


async def test_what_was_stored_before_a_write_is_never_fresh_again(
    invalidation: Invalidation, clock: FakeClock
) -> None:
    before = clock.now()
    clock.advance(1)
    invalidation.note_write("acme.a")
    clock.advance(REVALIDATE_SECONDS)
    assert invalidation.policy(LIST, POLICY, before) == REVALIDATED
    assert invalidation.policy(LIST, POLICY, clock.now()) == POLICY
    assert invalidation.policy(OTHER, POLICY, before) == POLICY
    assert invalidation.is_outdated(LIST, before)
    assert not invalidation.is_outdated(LIST, clock.now())
    assert not invalidation.is_outdated(OTHER, before)


async def test_a_write_through_one_source_is_none_through_another(
    invalidation: Invalidation, ledger: Ledger, clock: FakeClock
) -> None:
    invalidation.note_write("acme.a")
    other = Invalidation(ledger, "other", clock)
    assert other.policy(LIST, POLICY, clock.now()) == POLICY
    assert (invalidation.epoch(LIST), other.epoch(LIST)) == (1, 0)


async def test_a_write_in_the_future_says_nothing(invalidation: Invalidation, clock: FakeClock) -> None:
    """The clock was set back: what is stored now would count as older than the write for years."""
    invalidation.note_write("acme.a")
    clock.advance(-1000)
    assert invalidation.policy(LIST, POLICY, clock.now()) == POLICY


@pytest.mark.parametrize("earlier", ["", "acme.c"])
async def test_a_write_in_the_future_hides_none_that_comes_now(
    invalidation: Invalidation, clock: FakeClock, earlier: str
) -> None:
    invalidation.note_write(earlier)
    clock.advance(-1000)
    stored_at = clock.now()
    clock.advance(10)
    invalidation.note_write("acme.a")
    for target in (LIST, SEARCH):
        assert invalidation.policy(target, POLICY, stored_at) == REVALIDATED
        assert invalidation.is_outdated(target, stored_at)
    assert not invalidation.is_outdated(OTHER, stored_at)


async def test_a_write_in_the_future_hides_none_of_another_replica(
    invalidation: Invalidation, clock: FakeClock
) -> None:
    invalidation.note_write("acme.a")
    clock.advance(-1000)
    for _ in range(2):  # it is told again with the next ones
        invalidation.note_other_write("acme.a", clock.now())
        assert invalidation.epoch(LIST) == 2
    assert invalidation.policy(LIST, POLICY, clock.now()) == REVALIDATED
