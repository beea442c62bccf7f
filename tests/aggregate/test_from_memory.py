"""What a feed of several sources answers from memory ends with what it was made of."""

from __future__ import annotations

import pytest

from tests.aggregate.conftest import Farm
from tests.fakes.asking import until
from tests.fakes.clock import FakeClock
from tests.fakes.feed import FakeFeed
from tests.fakes.halted import halting
from tests.fakes.packages import make_nupkg

LIST = "/v3/content/acme.a/index.json"


async def purge(farm: Farm, id: str) -> None:
    _, secret = await farm.proxy.app.tokens.add("boss", ["admin"], (), None)
    got = await farm.get("/-/purge", "POST", json={"id": id}, headers={"Authorization": f"Bearer {secret}"})
    assert got.status == 200, got.body


async def test_a_purge_is_there_at_once(farm: Farm, public: FakeFeed) -> None:
    for _ in range(3):  # the last ones from memory
        assert await farm.versions("acme.a") == ["1.0.0", "2.0.0-rc.1"]
    await until(lambda: not farm.proxy.app.tasks.running())
    public.add(make_nupkg("Acme.A", "3.0.0"))

    await purge(farm, "Acme.A")

    assert await farm.versions("acme.a") == ["1.0.0", "2.0.0-rc.1", "3.0.0"]
    found = await farm.read("/v3/registration/gz-semver2/acme.a/index.json")
    assert found["items"][-1]["upper"] == "3.0.0"


async def test_whose_bytes_a_version_has_is_forgotten_though_it_was_being_looked_up(
    farm: Farm, public: FakeFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (await farm.package("acme.a", "1.0.0")).status == 200
    await until(lambda: not farm.proxy.app.tasks.running())
    await farm.proxy.restart()
    ledger, other = farm.proxy.app.ledger, make_nupkg("Acme.A", "1.0.0", description="other bytes")
    async with halting(monkeypatch, ledger, "owners", lambda: farm.versions("acme.a")) as under_way:
        public.add(other)
        await purge(farm, "Acme.A")
    assert "1.0.0" in await under_way

    merged = farm.proxy.app.feeds["all"].merged
    assert merged is not None
    assert await merged.owners.of("acme.a") == await ledger.owners("all", "acme.a")
    assert (await farm.package("acme.a", "1.0.0")).body == other


async def test_what_is_claimed_while_claims_are_read_stays_claimed(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    claims = farm.proxy.app.claims
    async with halting(monkeypatch, farm.proxy.app.ledger, "claims", claims.reload):
        assert claims.claim("up", "contoso.new")
    assert claims.of("contoso.new") == {"up"}


async def test_where_one_source_was_asked_the_answer_says_so_and_is_no_hit_in_the_lane_either(
    farm: Farm, clock: FakeClock
) -> None:
    await farm.get(LIST)
    await until(lambda: not farm.proxy.app.tasks.running())
    clock.advance(31)  # so old is no no of the company's, while the public list is fresh

    assert (await farm.get(LIST)).cache == "fwd=stale; fwd-status=404; ttl=269"
    for _ in range(2):
        assert (await farm.get(LIST)).cache == "hit; ttl=30"
