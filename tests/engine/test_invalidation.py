"""What a write has outdated, and for how long."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nugetproxy.caching.policy import FOREVER, Policy
from nugetproxy.engine.invalidation import LEASH_SECONDS, Invalidation
from nugetproxy.engine.target import Target
from nugetproxy.nuget.kinds import Kind
from nugetproxy.store.ledger.ledger import Ledger
from tests.fakes.clock import FakeClock

POLICY = Policy(fresh=300, refresh=3600, on_error=FOREVER, absent=30)
LEASHED = Policy(fresh=0, refresh=0, on_error=FOREVER, absent=0)
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
def leash(ledger: Ledger, clock: FakeClock) -> Invalidation:
    return Invalidation(ledger, "up", clock)


@pytest.mark.parametrize(
    ("written", "leashed"),
    [("acme.a", {LIST, SEARCH}), ("", {LIST, OTHER, SEARCH}), ("acme.c", {SEARCH})],
)
async def test_a_write_leashes_its_package_and_every_search(
    leash: Invalidation, clock: FakeClock, written: str, leashed: set[Target]
) -> None:
    leash.put_on(written)
    for seconds, expected in ((LEASH_SECONDS - 1, leashed), (2, set())):
        clock.advance(seconds)
        short = {target for target in (LIST, OTHER, SEARCH) if leash.policy(target, POLICY, clock.now()).fresh == 0}
        assert short == expected


async def test_a_leashed_copy_still_serves_an_outage(leash: Invalidation, clock: FakeClock) -> None:
    leash.put_on("acme.a")
    assert leash.policy(LIST, POLICY, clock.now()) == LEASHED


async def test_what_was_stored_before_a_write_is_never_fresh_again(leash: Invalidation, clock: FakeClock) -> None:
    before = clock.now()
    clock.advance(1)
    leash.put_on("acme.a")
    clock.advance(LEASH_SECONDS)
    assert leash.policy(LIST, POLICY, before) == LEASHED
    assert leash.policy(LIST, POLICY, clock.now()) == POLICY
    assert leash.policy(OTHER, POLICY, before) == POLICY


async def test_a_write_through_one_source_is_none_through_another(
    leash: Invalidation, ledger: Ledger, clock: FakeClock
) -> None:
    leash.put_on("acme.a")
    other = Invalidation(ledger, "other", clock)
    assert other.policy(LIST, POLICY, clock.now()) == POLICY
    assert (leash.epoch(LIST), other.epoch(LIST)) == (1, 0)


async def test_a_write_in_the_future_says_nothing(leash: Invalidation, clock: FakeClock) -> None:
    """The clock was set back: what is stored now would count as older than the write for years."""
    leash.put_on("acme.a")
    clock.advance(-1000)
    assert leash.policy(LIST, POLICY, clock.now()) == POLICY
