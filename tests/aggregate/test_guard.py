"""Nobody's id is served by somebody else: the confusion attack in every form."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nugetproxy.admin.commands import carry_out
from nugetproxy.errors import NotFound
from nugetproxy.nuget.resources import HIVES
from tests.aggregate.conftest import OURS, THEIRS, Farm, StartFarm, asked_for
from tests.fakes.asking import until
from tests.fakes.clock import FakeClock
from tests.fakes.feed import FakeFeed
from tests.fakes.origin import Script
from tests.fakes.packages import make_nupkg

ATTACK = make_nupkg("Contoso.A", "99.0.0", description="an attack")
SAME = make_nupkg("Contoso.A", "1.0.0", description="the same version, other bytes")
LIST = "/v3/content/contoso.a/index.json"
STALE = 30 * 86400.0
"""Seconds after which nothing is fresh any more, and no absence believed."""


@pytest.fixture
def attacked(farm: Farm) -> Farm:
    """Somebody has published the company's id in public: higher, and the same version."""
    farm.public.add(ATTACK)
    farm.public.add(SAME)
    return farm


async def claim(attacked: Farm) -> None:
    """Ask for the id once: both sources are asked at once, as nobody owns it yet. Then nothing is under way."""
    await attacked.versions("contoso.a")
    await until(lambda: bool(asked_for(attacked.public, "contoso")))
    attacked.public.requests.clear()


async def test_before_the_claim(attacked: Farm) -> None:
    assert await attacked.versions("contoso.a") == ["1.0.0"]
    assert (await attacked.package("contoso.a", "99.0.0")).status == 404
    assert (await attacked.package("contoso.a", "1.0.0")).body != SAME


async def test_after_the_claim_nobody_else_is_even_asked(attacked: Farm) -> None:
    await claim(attacked)
    for hive in HIVES:
        index = await attacked.read(f"/v3/{hive}/contoso.a/index.json")
        assert [leaf["catalogEntry"]["version"] for page in index["items"] for leaf in page["items"]] == ["1.0.0"]
    assert await attacked.versions("contoso.a") == ["1.0.0"]
    assert (await attacked.package("contoso.a", "99.0.0")).status == 404
    assert (await attacked.get("/v3/content/contoso.a/99.0.0/contoso.a.nuspec")).status == 404
    assert not asked_for(attacked.public, "contoso")


async def test_a_claim_outlives_a_restart_and_what_made_it(attacked: Farm, clock: FakeClock) -> None:
    await attacked.versions("contoso.a")
    attacked.company.remove("Contoso.A", "1.0.0")
    await attacked.proxy.restart()
    clock.advance(STALE)
    assert await attacked.versions("contoso.a") == ["1.0.0"]  # that it is gone wants a confirmation
    clock.advance(600.0)
    attacked.public.requests.clear()
    assert "claimed by up" in await attacked.error(LIST, 404)
    assert not asked_for(attacked.public, "contoso")


@pytest.mark.parametrize("mode", ["refused", "5xx", "html"])
async def test_an_unclaimed_id_is_503_while_the_private_source_is_down(attacked: Farm, mode: str) -> None:
    await attacked.company.set_mode(mode)
    for path in (LIST, f"/v3/{HIVES[0]}/contoso.a/index.json", "/v3/content/contoso.a/99.0.0/contoso.a.99.0.0.nupkg"):
        error = await attacked.error(path, 503)
        assert "'up'" in error
        assert "may be its own, so no public source may serve it" in error


@pytest.mark.parametrize("status", [401, 403, 451])
async def test_a_final_no_counts_as_failing(attacked: Farm, status: int) -> None:
    attacked.company.origin.routes["/v3-flatcontainer/contoso.a/index.json"] = Script(status=status)
    assert "'up'" in await attacked.error(LIST, 503)


async def test_an_old_absence_is_not_believed(farm: Farm, clock: FakeClock) -> None:
    assert (await farm.get("/v3/content/contoso.new/index.json")).status == 404
    farm.public.add(make_nupkg("Contoso.New", "1.0.0"))
    await farm.company.set_mode("refused")
    clock.advance(3600.0)
    assert "'up'" in await farm.error("/v3/content/contoso.new/index.json", 503)


async def test_what_a_public_source_is_known_to_own_is_served_without_the_private_one(
    farm: Farm, clock: FakeClock
) -> None:
    assert await farm.versions("acme.a") == ["1.0.0", "2.0.0-rc.1"]
    await farm.company.set_mode("refused")
    clock.advance(3600.0)
    assert await farm.versions("acme.a") == ["1.0.0", "2.0.0-rc.1"]
    assert (await farm.package("acme.a", "1.0.0")).status == 200
    await farm.proxy.restart()
    assert await farm.versions("acme.a") == ["1.0.0", "2.0.0-rc.1"]


async def test_what_a_private_source_has_named_is_its_own_when_it_is_offline(
    start_farm: StartFarm, company: FakeFeed, public: FakeFeed
) -> None:
    """By its own address alone, so that nobody has claimed it; nothing of it is held."""
    company.add(OURS)
    public.add(ATTACK)
    farm = await start_farm()
    assert json.loads((await farm.get(f"/up{LIST}")).body)["versions"] == ["1.0.0"]
    farm.proxy.config = farm.proxy.config.but(
        upstreams={**farm.proxy.config.upstreams, "up": farm.proxy.config.upstreams["up"].but(offline=True)}
    )
    await farm.proxy.restart()
    for path in (LIST, f"/v3/{HIVES[0]}/contoso.a/index.json", "/v3/content/contoso.a/99.0.0/contoso.a.99.0.0.nupkg"):
        assert "claimed by up" in await farm.error(path, 404)


async def test_what_an_offline_source_has_never_named_is_not_its_own(start_farm: StartFarm, public: FakeFeed) -> None:
    public.add(THEIRS)
    farm = await start_farm(upstream={"offline": True})
    assert await farm.versions("acme.a") == ["1.0.0"]
    assert (await farm.package("acme.a", "1.0.0")).body == THEIRS


async def test_an_id_that_becomes_private_is_taken_away_from_the_public(farm: Farm, clock: FakeClock) -> None:
    assert await farm.versions("acme.a") == ["1.0.0", "2.0.0-rc.1"]
    ours = make_nupkg("Acme.A", "1.0.0", description="ours now")
    farm.company.add(ours)
    clock.advance(STALE)
    assert await farm.versions("acme.a") == ["1.0.0"]
    assert (await farm.package("acme.a", "1.0.0")).body == ours
    assert (await farm.package("acme.a", "2.0.0-rc.1")).status == 404


async def test_an_empty_list_is_no_knowledge(farm: Farm) -> None:
    farm.company.origin.routes["/v3-flatcontainer/acme.a/index.json"] = Script(body=b'{"versions": []}')
    assert await farm.versions("acme.a") == ["1.0.0", "2.0.0-rc.1"]
    assert not await farm.proxy.app.ledger.claims()


async def test_through_search(attacked: Farm) -> None:
    found = await attacked.read("/v3/query?q=contos&prerelease=true&semVerLevel=2.0.0")
    assert [(hit["id"], hit["version"]) for hit in found["data"]] == [("Contoso.A", "1.0.0")]
    assert [one["version"] for hit in found["data"] for one in hit["versions"]] == ["1.0.0"]
    assert found["totalHits"] == 1
    ids = await attacked.read("/v3/autocomplete?q=contos")
    assert ids["data"] == ["Contoso.A"]
    versions = await attacked.read("/v3/autocomplete?id=contoso.a")
    assert versions["data"] == ["1.0.0"]


async def test_a_claimed_name_never_leaves_in_a_search(attacked: Farm) -> None:
    await claim(attacked)
    for query in (
        "query?q=Contoso.A",
        "query?q=packageid:contoso.a",
        "autocomplete?q=contoso.",
        "autocomplete?id=Contoso.A",
    ):
        await attacked.read(f"/v3/{query}")
    assert not asked_for(attacked.public, "contoso")
    await attacked.read("/v3/query?q=acme")
    assert asked_for(attacked.public, "acme")


async def test_a_claim_keeps_no_search_from_feeds_in_which_it_does_not_count(
    start_farm: StartFarm, company: FakeFeed, public: FakeFeed
) -> None:
    """Lists of the id are asked of the public source there, so the search may be, too."""
    for feed, version in ((company, "1.0.0"), (public, "2.0.0")):
        feed.add(make_nupkg("Shared.A", version))
    all_: dict[str, Any] = {"sources": ["up", "public"], "mapping": {"*": ["up"]}}
    all_["mapping"]["Shared.*"] = {"sources": ["up", "public"], "union": True}
    farm = await start_farm(
        feeds={"open": {"sources": ["public"], "mapping": {"*": ["public"]}}, "union": all_},
    )
    assert await farm.versions("shared.a") == ["1.0.0"]
    for feed, versions in (("all", ["1.0.0"]), ("open", ["2.0.0"]), ("union", ["1.0.0", "2.0.0"])):
        found = await farm.read(f"/{feed}/v3/query?q=packageid:shared.a")
        assert [one["version"] for hit in found["data"] for one in hit["versions"]] == versions, feed


async def test_a_mapped_name_never_leaves(start_farm: StartFarm, public: FakeFeed) -> None:
    farm = await start_farm(mapping={"Contoso.*": ["up"], "*": ["public"]})
    for path in (
        "content/contoso.x/index.json",
        f"{HIVES[0]}/contoso.x/index.json",
        "content/contoso.x/1.0.0/contoso.x.1.0.0.nupkg",
        "query?q=Contoso.X",
        "query?q=contoso",
        "autocomplete?q=contoso.b",
        "autocomplete?id=contoso.x",
    ):
        await farm.get(f"/v3/{path}")
    assert not asked_for(public, "contoso")


@pytest.mark.parametrize("mapped", [True, False], ids=["mapped", "claimed"])
async def test_a_private_name_does_not_leave_with_a_refresh(
    start_farm: StartFarm, company: FakeFeed, public: FakeFeed, mapped: bool
) -> None:
    company.add(OURS)
    mapping = {"mapping": {"Contoso.*": ["up"], "*": ["up", "public"]}} if mapped else {}
    farm = await start_farm(**mapping)
    if not mapped:
        assert await farm.versions("contoso.a") == ["1.0.0"]
    public.requests.clear()
    desk = farm.proxy.app.desk
    own, other = (await carry_out(desk, "refresh", {"id": "Contoso.A"}, by="a test"))["upstreams"]
    assert (own["found"], other["found"], asked_for(public, "contoso.a")) == (True, False, [])
    assert other["says"].startswith("not asked: Contoso.* is" if mapped else "not asked: the id is claimed by up")
    with pytest.raises(NotFound):
        await carry_out(desk, "refresh", {"id": "Contoso.A", "upstream": "public"}, by="a test")
    assert asked_for(public, "contoso.a") != []


async def test_what_no_pattern_matches_is_not_found(start_farm: StartFarm, company: FakeFeed, public: FakeFeed) -> None:
    public.add(make_nupkg("Acme.A", "1.0.0"))
    farm = await start_farm(mapping={"Contoso.*": ["up"]})
    assert "no pattern of its mapping matches it" in await farm.error("/v3/content/acme.a/index.json", 404)
    assert not asked_for(public, "acme")
    assert not asked_for(company, "acme")


async def test_a_search_names_no_id_that_is_mapped_to_nobody(start_farm: StartFarm, company: FakeFeed) -> None:
    for id in ("Contoso.A", "Acme.A"):
        company.add(make_nupkg(id, "1.0.0"))
    farm = await start_farm(sources=["up"], mapping={"Contoso.*": ["up"]})
    assert (await farm.get("/v3/content/acme.a/index.json")).status == 404
    assert [hit["id"] for hit in (await farm.read("/v3/query?q=a&prerelease=true"))["data"]] == ["Contoso.A"]
    assert (await farm.read("/v3/autocomplete?q=a"))["data"] == ["Contoso.A"]
    assert (await farm.read("/v3/autocomplete?id=acme.a"))["data"] == []


async def test_a_mapped_public_id_needs_no_private_source(start_farm: StartFarm, public: FakeFeed) -> None:
    public.add(make_nupkg("Acme.A", "1.0.0"))
    farm = await start_farm(mapping={"Acme.*": ["public"], "*": ["up", "public"]})
    await farm.company.set_mode("refused")
    assert await farm.versions("acme.a") == ["1.0.0"]
    assert not asked_for(farm.company, "acme")


async def test_a_union_is_meant(start_farm: StartFarm, company: FakeFeed, public: FakeFeed) -> None:
    company.add(make_nupkg("Shared.A", "1.0.0", description="company's"))
    ours = make_nupkg("Shared.A", "1.5.0", description="company's")
    company.add(ours)
    public.add(make_nupkg("Shared.A", "1.5.0", description="everybody's"))
    theirs = make_nupkg("Shared.A", "2.0.0", description="everybody's")
    public.add(theirs)
    farm = await start_farm(mapping={"Shared.*": {"sources": ["up", "public"], "union": True}, "*": ["up", "public"]})
    assert await farm.versions("shared.a") == ["1.0.0", "1.5.0", "2.0.0"]
    assert (await farm.package("shared.a", "1.5.0")).body == ours
    assert (await farm.package("shared.a", "2.0.0")).body == theirs


class TestTheOwnerOfAVersion:
    """Of two sources that both have it."""

    @pytest.fixture
    async def both(self, start_farm: StartFarm, company: FakeFeed, public: FakeFeed) -> Farm:
        public.add(make_nupkg("Shared.A", "1.0.0", description="everybody's"))
        self.theirs = make_nupkg("Shared.A", "2.0.0", description="everybody's")
        public.add(self.theirs)
        mapping = {"*": {"sources": ["up", "public"], "union": True}}
        return await start_farm(mapping=mapping)

    async def test_stays_who_it_was(self, both: Farm, clock: FakeClock) -> None:
        assert await both.versions("shared.a") == ["1.0.0", "2.0.0"]
        both.company.add(make_nupkg("Shared.A", "2.0.0", description="other bytes"))
        for _ in range(2):
            clock.advance(STALE)
            assert await both.versions("shared.a") == ["1.0.0", "2.0.0"]
            assert (await both.package("shared.a", "2.0.0")).body == self.theirs
            await both.proxy.restart()

    async def test_is_never_replaced_when_it_is_down(self, both: Farm, clock: FakeClock) -> None:
        await both.versions("shared.a")
        both.company.add(make_nupkg("Shared.A", "2.0.0", description="other bytes"))
        await both.public.set_mode("refused")
        await both.proxy.restart()
        assert "'public'" in await both.error("/v3/content/shared.a/2.0.0/shared.a.2.0.0.nupkg", 503)

    async def test_is_never_replaced_when_it_has_it_no_more(self, both: Farm, clock: FakeClock) -> None:
        await both.versions("shared.a")
        both.public.remove("Shared.A", "2.0.0")
        both.company.add(make_nupkg("Shared.A", "2.0.0", description="other bytes"))
        clock.advance(STALE)
        assert await both.versions("shared.a") == ["1.0.0"]
        assert "public, which it belongs to" in await both.error("/v3/content/shared.a/2.0.0/shared.a.2.0.0.nupkg", 404)
        for hive in HIVES:  # nor is it named by anything else
            index = await both.read(f"/v3/{hive}/shared.a/index.json")
            assert [leaf["catalogEntry"]["version"] for page in index["items"] for leaf in page["items"]] == ["1.0.0"]
            assert (await both.get(f"/v3/{hive}/shared.a/2.0.0.json")).status == 404
        assert (await both.read("/v3/autocomplete?id=shared.a"))["data"] == ["1.0.0"]

    async def test_is_recorded_with_its_hash(self, both: Farm) -> None:
        await both.versions("shared.a")
        for _ in range(2):
            await both.package("shared.a", "2.0.0")
        owners = await both.proxy.app.ledger.owners("all", "shared.a")
        assert {version: owner.source for version, owner in owners.items()} == {"1.0.0": "public", "2.0.0": "public"}
        etag = (await both.package("shared.a", "2.0.0")).headers["ETag"]
        assert etag == f'"sha512-{owners["2.0.0"].sha512}"'


async def test_each_upstream_is_still_published_by_itself(attacked: Farm) -> None:
    await attacked.versions("contoso.a")
    got = await attacked.read("/public/v3/content/contoso.a/index.json")
    assert got["versions"] == ["1.0.0", "99.0.0"]
    assert json.loads((await attacked.get("/up/v3/content/contoso.a/index.json")).body)["versions"] == ["1.0.0"]
