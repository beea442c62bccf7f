"""What a write has outdated, and for how long."""

from __future__ import annotations

import pytest

from nugetproxy.caching.policy import FOREVER, Policy
from nugetproxy.engine.invalidation import LEASH_SECONDS, Invalidation
from nugetproxy.engine.target import Target
from nugetproxy.nuget.kinds import Kind
from tests.fakes.clock import FakeClock

POLICY = Policy(fresh=300, refresh=3600, on_error=FOREVER, absent=30)
LIST = Target(kind=Kind.VERSIONS, path="content/acme.a/index.json", id="acme.a", scope="up")
OTHER = Target(kind=Kind.VERSIONS, path="content/acme.b/index.json", id="acme.b", scope="up")
SEARCH = Target(kind=Kind.SEARCH, path="query/", query="q=acme", scope="up")


@pytest.mark.parametrize(
    ("written", "leashed"),
    [("acme.a", {LIST, SEARCH}), ("", {LIST, OTHER, SEARCH}), ("acme.c", {SEARCH})],
)
def test_a_write_leashes_its_package_and_every_search(written: str, leashed: set[Target]) -> None:
    clock = FakeClock()
    leash = Invalidation(clock)
    leash.put_on(written)
    for seconds, expected in ((LEASH_SECONDS - 1, leashed), (2, set())):
        clock.advance(seconds)
        short = {target for target in (LIST, OTHER, SEARCH) if leash.policy(target, POLICY).fresh == 0}
        assert short == expected


def test_a_leashed_copy_still_serves_an_outage() -> None:
    leash = Invalidation(FakeClock())
    leash.put_on("acme.a")
    assert leash.policy(LIST, POLICY) == Policy(fresh=0, refresh=0, on_error=FOREVER, absent=0)
