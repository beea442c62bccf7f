"""One source is down, slow or offline: what that changes, and what not."""

from __future__ import annotations

import asyncio

import pytest

from nugetproxy.errors import UpstreamFailure
from nugetproxy.nuget.resources import HIVES
from tests.aggregate.conftest import NEWER, OURS, THEIRS, Farm, StartFarm, asked_for
from tests.fakes.clock import FakeClock
from tests.fakes.feed import FakeFeed, Mode
from tests.fakes.packages import make_nupkg

DAY = 86400.0


async def warm(farm: Farm) -> None:
    for id in ("contoso.a", "acme.a"):
        await farm.versions(id)
        await farm.read(f"/v3/{HIVES[0]}/{id}/index.json")
    assert (await farm.package("contoso.a", "1.0.0")).body == OURS
    assert (await farm.package("acme.a", "1.0.0")).body == THEIRS


async def test_a_list_is_never_shorter(start_farm: StartFarm, company: FakeFeed, public: FakeFeed) -> None:
    company.add(make_nupkg("Shared.A", "1.0.0"))
    public.add(make_nupkg("Shared.A", "2.0.0"))
    farm = await start_farm(mapping={"*": {"sources": ["up", "public"], "union": True}})
    await public.set_mode("refused")
    error = await farm.error("/v3/content/shared.a/index.json", 503)
    assert "'public'" in error
    assert "would change which version is restored" in error
    await public.set_mode("up")
    await farm.proxy.restart()
    assert await farm.versions("shared.a") == ["1.0.0", "2.0.0"]


@pytest.mark.parametrize("mode", ["refused", "5xx", "html"])
async def test_what_is_stored_of_a_source_that_is_down_is_served(farm: Farm, clock: FakeClock, mode: Mode) -> None:
    await warm(farm)
    clock.advance(DAY)
    for feed in (farm.company, farm.public):
        await feed.set_mode(mode)
    await farm.proxy.restart()
    assert await farm.versions("contoso.a") == ["1.0.0"]
    assert await farm.versions("acme.a") == ["1.0.0", "2.0.0-rc.1"]
    assert (await farm.package("contoso.a", "1.0.0")).body == OURS
    assert (await farm.package("acme.a", "1.0.0")).body == THEIRS
    got = await farm.get("/v3/content/acme.a/index.json")
    assert "detail" in got.cache


async def test_a_dead_public_source_takes_no_private_package_away(farm: Farm) -> None:
    await farm.public.set_mode("refused")
    assert await farm.versions("contoso.a") == ["1.0.0"]
    assert (await farm.package("contoso.a", "1.0.0")).body == OURS
    assert (await farm.read(f"/v3/{HIVES[0]}/contoso.a/index.json"))["count"] == 1
    assert (await farm.read("/v3/index.json"))["resources"]


async def test_a_hanging_public_source_does_not_delay_a_private_package(farm: Farm) -> None:
    await farm.read("/v3/index.json")
    await farm.public.set_mode("hang")
    async with asyncio.timeout(8):  # the public source would take 10 s to fail
        assert await farm.versions("contoso.a") == ["1.0.0"]


async def test_a_search_goes_on_without_one(farm: Farm) -> None:
    await farm.company.set_mode("refused")
    got = await farm.get("/v3/query?q=&prerelease=true&semVerLevel=2.0.0")
    assert got.status == 200
    assert b"Acme.A" in got.body
    assert 'detail="without up (' in got.cache


async def test_a_search_without_any_answer_is_503(farm: Farm) -> None:
    for feed in (farm.company, farm.public):
        await feed.set_mode("refused")
    assert (await farm.get("/v3/query?q=a.a")).status == 503


async def test_the_index_goes_on_without_one(farm: Farm) -> None:
    await farm.company.set_mode("refused")
    got = await farm.get("/v3/index.json")
    assert got.status == 200
    assert 'detail="without up (' in got.cache
    await farm.public.set_mode("refused")
    await farm.proxy.restart()
    assert (await farm.get("/v3/index.json")).status == 200


async def test_ready_is_a_feed_that_one_source_keeps_going(farm: Farm) -> None:
    await farm.company.set_mode("refused")
    await farm.proxy.app.feeds["all"].ready()
    sources = farm.proxy.app.feeds["all"].sources
    failed = await asyncio.gather(*(source.ready() for source in sources), return_exceptions=True)
    assert [isinstance(one, UpstreamFailure) for one in failed].count(True) == 1, "the other one keeps it going"


@pytest.mark.slow
async def test_slow_sources_share_one_soft_deadline(
    start_farm: StartFarm, company: FakeFeed, public: FakeFeed, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for feed in (company, public):
        feed.add(make_nupkg("Both.A", "1.0.0"))
    farm = await start_farm(mapping={"*": {"sources": ["up", "public"], "union": True}})
    assert await farm.versions("both.a") == ["1.0.0"]
    clock.advance(600.0)
    for feed in (farm.company, farm.public):
        await feed.set_mode("hang")
    monkeypatch.setattr("nugetproxy.engine.cache.SOFT_DEADLINE", 1.5)  # far more than a busy machine needs besides
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert await farm.versions("both.a") == ["1.0.0"]
    assert 1.4 < loop.time() - began < 2.85, "the soft deadlines came one after the other"


async def test_absences_are_stored_per_source(farm: Farm, clock: FakeClock) -> None:
    assert await farm.versions("acme.a") == ["1.0.0", "2.0.0-rc.1"]
    clock.advance(10.0)
    farm.company.requests.clear()
    await farm.get("/v3/content/acme.a/index.json")
    assert not asked_for(farm.company, "acme")


async def test_offline_names_only_what_is_held(start_farm: StartFarm, company: FakeFeed, public: FakeFeed) -> None:
    company.add(OURS)
    public.add(THEIRS)
    public.add(NEWER)
    farm = await start_farm()
    await warm(farm)
    directory = farm.proxy.directory
    await farm.proxy.stop()
    for feed in (company, public):
        feed.requests.clear()
    farm.proxy.config = farm.proxy.config.all_offline()
    await farm.proxy.start()
    assert directory.exists()
    assert await farm.versions("contoso.a") == ["1.0.0"]
    assert await farm.versions("acme.a") == ["1.0.0"]
    assert (await farm.package("acme.a", "1.0.0")).body == THEIRS
    assert (await farm.package("acme.a", "2.0.0-rc.1")).status == 404
    assert (await farm.get("/v3/content/none/index.json")).status == 404
    assert {hit["id"] for hit in (await farm.read("/v3/query?q=a.a"))["data"]} == {"Contoso.A", "Acme.A"}
    assert not company.requests
    assert not public.requests


async def test_what_a_search_finds_offline_has_a_registration(farm: Farm) -> None:
    """Also of a source that has none itself, nor a search."""
    farm.company.omit |= {"RegistrationsBaseUrl", "SearchQueryService"}
    assert (await farm.package("contoso.a", "1.0.0")).body == OURS
    await farm.proxy.stop()
    farm.proxy.config = farm.proxy.config.all_offline()
    await farm.proxy.start()
    (hit,) = (await farm.read("/v3/query?q=contoso"))["data"]
    for link in (hit["registration"], hit["versions"][0]["@id"]):
        assert (await farm.get(link)).status == 200


async def test_what_is_made_names_the_catalog_leaf_of_its_source(farm: Farm) -> None:
    await warm(farm)
    index, leaf = f"/v3/{HIVES[0]}/acme.a/index.json", f"/v3/{HIVES[0]}/acme.a/1.0.0.json"
    online = [(await farm.read(index))["items"][0]["items"][0]["catalogEntry"]["@id"]]
    online.append((await farm.read(leaf))["catalogEntry"])
    for link in online:
        assert (await farm.get(link)).status == 200
    await farm.proxy.stop()
    farm.proxy.config = farm.proxy.config.all_offline()
    await farm.proxy.start()
    made = [(await farm.read(index))["items"][0]["items"][0]["catalogEntry"]["@id"], (await farm.read(leaf))["@id"]]
    for link in made:
        assert (await farm.get(link)).status == 200


async def test_what_was_made_counts_for_its_source(farm: Farm, clock: FakeClock) -> None:
    """Documents may be deleted; what is held is still known to be the company's."""
    await warm(farm)
    await farm.proxy.stop()
    for path in (farm.proxy.directory / "documents").rglob("*"):
        if path.is_file():
            path.unlink()
    for feed in (farm.company, farm.public):
        await feed.set_mode("refused")
    await farm.proxy.start()
    assert await farm.versions("contoso.a") == ["1.0.0"]
    assert (await farm.package("contoso.a", "1.0.0")).body == OURS
