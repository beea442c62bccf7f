"""What a feed of several sources answers from memory ends with what it was made of."""

from __future__ import annotations

import base64
import hashlib

import pytest

from nugetproxy.admin.commands import carry_out
from tests.aggregate.conftest import OURS, QUICK, Farm, StartFarm
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


HELD = "/v3/content/contoso.a/index.json"


async def test_what_is_brought_or_let_go_of_is_known_at_once_of_a_source_that_is_offline(
    start_farm: StartFarm, company: FakeFeed, clock: FakeClock
) -> None:
    company.add(OURS)
    company.add(make_nupkg("Contoso.A", "2.0.0"))
    farm = await start_farm()
    for version in ("1.0.0", "2.0.0"):
        assert (await farm.package("contoso.a", version)).status == 200
    ours = {"upstream": "up", "package": "contoso.a/1.0.0", "place": "transfer-0123456789abcdef"}
    place = farm.proxy.directory / "run" / ours["place"]
    place.mkdir(parents=True)
    (place / "contoso.a 1.0.0").write_bytes(OURS)
    sha512 = base64.b64encode(hashlib.sha512(OURS).digest()).decode()
    await farm.proxy.reload(
        upstream={**QUICK, "private": True, "offline": True},
        upstreams={"public": {"url": farm.public.index_url, **QUICK, "private": False}},
        feeds={"all": {"sources": ["up", "public"]}},
    )
    clock.advance(10)  # what has just landed stays
    for _ in range(3):
        assert await farm.versions("contoso.a") == ["1.0.0", "2.0.0"]

    await carry_out(farm.proxy.app.desk, "evict", {"to": 0.0}, by="test")

    assert (await farm.get(HELD)).status == 404
    await carry_out(farm.proxy.app.desk, "transfer/take", {**ours, "sha512": sha512}, by="test")
    for _ in range(3):
        assert await farm.versions("contoso.a") == ["1.0.0"]
