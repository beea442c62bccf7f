"""What an operator is told of ids, sources, claims."""

from __future__ import annotations

import json

import pytest

from nugetproxy.admin.commands import carry_out
from nugetproxy.admin.explain import Explanation, explain
from nugetproxy.admin.feed_commands import Claim, claims_of, end_claims
from nugetproxy.errors import NotFound
from tests.aggregate.conftest import QUICK, Farm, StartFarm
from tests.fakes.asking import ask, until
from tests.fakes.clock import FakeClock
from tests.fakes.feed import FakeFeed
from tests.fakes.packages import make_nupkg


async def told(farm: Farm, id: str, version: str = "", feed: str = "") -> Explanation:
    app = farm.proxy.app
    return await explain(app.desk.feed(feed), app.clock.now(), id_=id, version=version)


async def test_who_serves_a_version_from_which_copy(farm: Farm, clock: FakeClock) -> None:
    await farm.versions("acme.a")
    clock.advance(120.0)
    for feed in (farm.company, farm.public):
        feed.requests.clear()
    found = await told(farm, "Acme.A", "1.0")
    assert (found.served_by, found.version) == ("public", "1.0.0")
    assert found.sentence == "acme.a 1.0.0 belongs to public, which listed it first; no mapping is configured."
    up, public = found.sources
    assert (up.role, up.asked, up.knows) == ("private", True, False)
    assert up.stored == "it said 2 minutes ago that it has no such package"
    assert public.stored == "its list of 2 versions was stored 2 minutes ago, with 1.0.0"
    assert not farm.company.requests
    assert not farm.public.requests
    assert list(found.lines())[1].startswith("  up (private): asked; if it knows the id, no public source serves it; ")


async def test_why_another_source_does_not(farm: Farm) -> None:
    await farm.versions("contoso.a")
    found = await told(farm, "contoso.a")
    assert found.served_by == "up"
    assert found.sentence == "contoso.a comes from up; the id is claimed by up."
    assert found.sources[1].why == "not asked: the id is claimed by up"


async def test_what_a_mapping_does(start_farm: StartFarm) -> None:
    farm = await start_farm(mapping={"Contoso.*": ["up"]})
    assert (await told(farm, "other")).sentence == (
        "The feed 'all' has no source for other: no pattern of its mapping matches it."
    )
    assert "not asked: Contoso.* is mapped to others" in {one.why for one in (await told(farm, "contoso.x")).sources}


async def test_a_feed_by_name_and_what_is_no_feed(farm: Farm) -> None:
    found = await told(farm, "acme.a", feed="public")
    assert found.sentence == "acme.a in the feed 'public' could only come from public, its only source."
    listed = await farm.versions("acme.a")
    found = await told(farm, "acme.a", feed="public")
    assert found.sentence == "acme.a in the feed 'public' comes from public, its only source."
    assert found.sources[0].stored.startswith(f"its list of {len(listed)} version")
    found = await told(farm, "acme.a", version="9.9.9", feed="public")
    assert found.sentence == "acme.a 9.9.9 in the feed 'public' could only come from public, its only source."
    for wrong in ({"feed": "none"}, {"version": "x.y"}):
        with pytest.raises(NotFound):
            await told(farm, "acme.a", **wrong)


async def test_claims_are_listed_and_ended(farm: Farm, clock: FakeClock, public: FakeFeed) -> None:
    app = farm.proxy.app
    public.add(make_nupkg("Contoso.A", "2.0.0", description="everybody's now"))
    await farm.versions("contoso.a")
    assert await claims_of(app.ledger, "CONTOSO.A") == (Claim("contoso.a", "up"),)
    farm.company.remove("Contoso.A", "1.0.0")
    clock.advance(3600.0)
    await farm.versions("contoso.a")
    clock.advance(600.0)
    assert "'nugetproxy claims release contoso.a' ends that" in await farm.error(
        "/v3/content/contoso.a/index.json", 404
    )
    assert await end_claims(app.ledger, app.feeds, id_="contoso.a") == (Claim("contoso.a", "up"),)
    assert await claims_of(app.ledger) == ()
    assert not await app.ledger.owners("all", "contoso.a")
    assert await farm.versions("contoso.a") == ["2.0.0"]


async def test_a_source_that_left_keeps_its_claims_until_they_are_released(farm: Farm, clock: FakeClock) -> None:
    await farm.versions("contoso.a")
    farm.public.add(make_nupkg("Contoso.A", "2.0.0", description="an attack"))
    await farm.proxy.stop()
    upstreams = {"public": farm.proxy.config.upstreams["public"]}
    feeds = {"all": farm.proxy.config.feeds["all"].but(sources=("public",))}
    farm.proxy.config = farm.proxy.config.but(upstreams=upstreams, feeds=feeds)
    await farm.proxy.start()
    assert "It is claimed by up" in await farm.error("/v3/content/contoso.a/index.json", 404)
    assert (await farm.package("contoso.a", "2.0.0")).status == 404
    app = farm.proxy.app
    assert await end_claims(app.ledger, app.feeds, source="up") == (Claim("contoso.a", "up"),)
    clock.advance(3600.0)  # the absence of before is stored for a moment
    assert await farm.versions("contoso.a") == ["2.0.0"]


async def test_what_is_held_without_a_list_is_told_of(start_farm: StartFarm, public: FakeFeed) -> None:
    """As of packages that were imported, or of an upstream that is never asked."""
    farm = await start_farm()
    public.add(make_nupkg("Acme.Held", "1.0.0"))
    public.add(make_nupkg("Acme.Held", "2.0.0"))
    path = "/public/v3/content/acme.held/1.0.0/acme.held.1.0.0.nupkg"
    assert (await ask(farm.proxy, path)).status == 200
    await until(lambda: farm.proxy.metric("pending_commits") == 0)
    found = await told(farm, "acme.held", "1.0.0", feed="public")
    assert found.sentence == "acme.held 1.0.0 in the feed 'public' comes from public, its only source."
    assert found.sources[0].stored == "what is held here has 1 version, with 1.0.0"
    assert not (await told(farm, "acme.held", "2.0.0", feed="public")).sources[0].knows
    assert (await ask(farm.proxy, "/public/v3/content/acme.held/index.json")).status == 200
    listed = (await told(farm, "acme.held", "2.0.0", feed="public")).sources[0]
    assert listed.stored == "its list of 2 versions was stored 0 seconds ago, with 2.0.0"
    await farm.proxy.reload(upstreams={"public": {"url": public.index_url, **QUICK, "private": False, "offline": True}})
    only = (await told(farm, "acme.held", "2.0.0", feed="public")).sources[0]
    assert (only.knows, only.stored) == (False, "offline: what is held here has 1 version, without 2.0.0")


async def test_what_is_offline_is_not_said_to_have_been_asked(farm: Farm, company: FakeFeed, public: FakeFeed) -> None:
    """It may well have what it does not hold here."""
    assert (await ask(farm.proxy, "/v3/content/acme.a/1.0.0/acme.a.1.0.0.nupkg")).status == 200
    await until(lambda: farm.proxy.metric("pending_commits") == 0)
    private, other = {**QUICK, "private": True}, {"url": public.index_url, **QUICK, "private": False, "offline": True}
    await farm.proxy.reload(upstream=private, upstreams={"public": other}, feeds={"all": {"sources": ["up", "public"]}})
    for path, said in (
        ("acme.a/2.0.0-rc.1/acme.a.2.0.0-rc.1.nupkg", "In the feed 'all', public (offline), which it belongs to, "),
        ("acme.b/index.json", "No source of the feed 'all' has acme.b; asked: up, public (offline)."),
    ):
        got = await ask(farm.proxy, f"/v3/content/{path}")
        assert (got.status, json.loads(got.body)["error"].startswith(said)) == (404, True), got.body
    public.requests.clear()
    with pytest.raises(NotFound, match=r"up: it has no such package; public: it is offline, so it is not asked\."):
        await carry_out(farm.proxy.app.desk, "refresh", {"id": "acme.a"}, by="a test")
    assert not public.requests
