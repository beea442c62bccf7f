"""Answers whose truth changes with time end at that moment, in every layer that keeps them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.conftest import StartProxy
from tests.fakes.asking import PACKAGE, VERSIONS, ask, until
from tests.fakes.clock import FakeClock
from tests.fakes.feed import FakeFeed
from tests.fakes.packages import make_nupkg
from tests.rules.conftest import COOLDOWN, Shop, StartShop, ago

Stock = Callable[..., None]
DAY = 86400.0
SURFACES = ("listed", "registered", "searched", "completed", "catalogued")


@pytest.mark.parametrize("surface", SURFACES)
async def test_a_version_comes_of_age_at_its_moment(
    start_shop: StartShop, stock: Stock, clock: FakeClock, surface: str
) -> None:
    stock("Acme.A", {"1.0.0": 30, "2.0.0": 7 - 100 / DAY})
    shop = await start_shop(COOLDOWN)
    for seconds, expected in ((0, ["1.0.0"]), (99, ["1.0.0"]), (1, ["1.0.0", "2.0.0"])):
        clock.advance(seconds)
        for _ in range(3):  # anew, out of the hot pages, in the lane
            assert await getattr(shop, surface)("acme.a") == expected


async def test_what_the_lane_answers_ends_at_that_moment_too(
    start_shop: StartShop, stock: Stock, clock: FakeClock
) -> None:
    stock("Acme.A", {"1.0.0": 30, "2.0.0": 7 - 1 / DAY})
    shop = await start_shop(COOLDOWN)
    path = "/v3/content/acme.a/index.json"
    before = [await shop.get(path) for _ in range(4)]
    assert shop.proxy.app.lane.answered > 0
    assert {got.headers["Age"] for got in before} == {"0"}
    assert "ttl=1" in before[-1].headers["Cache-Status"], "no longer than the answer is true"
    answered = shop.proxy.app.lane.answered
    clock.advance(1)
    after = await shop.get(path)
    assert shop.proxy.app.lane.answered == answered
    assert b"2.0.0" in after.body
    assert after.headers["ETag"] != before[-1].headers["ETag"]
    assert after.headers["Age"] == "0", "as young as it is true"


async def test_a_package_is_let_through_between_the_list_and_the_download(
    start_shop: StartShop, stock: Stock, clock: FakeClock
) -> None:
    stock("Acme.A", {"1.0.0": 7 - 10 / DAY})
    shop = await start_shop(COOLDOWN)
    assert await shop.listed("acme.a") == []
    assert (await shop.package("acme.a", "1.0.0")).status == 403
    clock.advance(10)
    assert (await shop.package("acme.a", "1.0.0")).status == 200
    assert await shop.listed("acme.a") == ["1.0.0"]


async def test_an_exception_ends_for_a_held_package_in_the_lane(
    start_shop: StartShop, stock: Stock, clock: FakeClock
) -> None:
    stock("Acme.A", {"1.0.0": 1})
    end = (datetime.fromtimestamp(clock.now(), UTC) + timedelta(seconds=60)).isoformat()
    urgent = {"name": "urgent", "action": "allow", "ids": ["acme.a"], "until": end}
    shop = await start_shop(urgent, COOLDOWN)
    for _ in range(4):
        assert (await shop.package("acme.a", "1.0.0")).status == 200
    assert shop.proxy.app.lane.answered > 0
    clock.advance(59)
    assert (await shop.package("acme.a", "1.0.0")).status == 200
    clock.advance(1)
    assert (await shop.package("acme.a", "1.0.0")).status == 403
    assert await shop.listed("acme.a") == []


async def test_a_hit_under_rules_is_a_hit_in_the_lane(start_shop: StartShop, stock: Stock, clock: FakeClock) -> None:
    stock("Acme.A", {"1.0.0": 30})
    shop = await start_shop(COOLDOWN)
    for _ in range(3):
        assert (await shop.package("acme.a", "1.0.0")).status == 200
    answered = shop.proxy.app.lane.answered
    for _ in range(5):
        clock.advance(10)  # in all less than that after which other advisories are looked for
        assert (await shop.package("acme.a", "1.0.0")).headers["Cache-Status"] == "nugetproxy; hit"
    assert shop.proxy.app.lane.answered == answered + 5


async def test_a_new_version_on_the_list_is_known_at_once(
    start_shop: StartShop, stock: Stock, feed: FakeFeed, clock: FakeClock
) -> None:
    """Its registration is asked for behind the list's own freshness, not once per version that comes."""
    stock("Acme.A", {"1.0.0": 30})
    shop = await start_shop(COOLDOWN)
    assert await shop.listed("acme.a") == ["1.0.0"]
    clock.advance(301)
    feed.add(make_nupkg("Acme.A", "1.1.0"), at=ago(clock, 8))
    feed.add(make_nupkg("Acme.A", "1.2.0"), at=ago(clock, 1))
    assert await shop.listed("acme.a") == ["1.0.0", "1.1.0"]
    assert feed.count("/v3/registration5-gz-semver2/acme.a/index.json") == 2


async def test_a_restart_with_another_rule_forgets_what_was_rendered(
    start_shop: StartShop, start_proxy: StartProxy, stock: Stock, feed: FakeFeed
) -> None:
    stock("Acme.A", {"1.0.0": 30, "2.0.0": 1})
    shop = await start_shop(COOLDOWN)
    assert await shop.registered("acme.a") == await shop.listed("acme.a") == ["1.0.0"]
    await shop.proxy.stop()
    open_ = Shop(await start_proxy(feed.index_url), feed)
    assert await open_.registered("acme.a") == await open_.listed("acme.a") == ["1.0.0", "2.0.0"]


async def test_another_policy_counts_from_the_reload_on_for_what_is_held_and_in_the_lane(
    start_shop: StartShop, stock: Stock
) -> None:
    """In the middle of a restore: the list was read before, the package is asked for after."""
    stock("Acme.A", {"1.0.0": 30, "2.0.0": 1})
    shop = await start_shop()
    for _ in range(3):
        assert await shop.listed("acme.a") == ["1.0.0", "2.0.0"]
        assert (await shop.package("acme.a", "2.0.0")).status == 200
    await shop.proxy.reload(feeds={"up": {"sources": ["up"], "rules": [COOLDOWN]}})
    assert (await shop.package("acme.a", "2.0.0")).status == 403
    assert await shop.listed("acme.a") == await shop.registered("acme.a") == ["1.0.0"]
    await shop.proxy.reload(feeds={"up": {"sources": ["up"]}})
    assert (await shop.package("acme.a", "2.0.0")).status == 200
    assert await shop.listed("acme.a") == await shop.registered("acme.a") == ["1.0.0", "2.0.0"]


async def test_what_is_held_offline_says_when_a_rule_passes_on_the_ordinary_path_as_in_the_lane(
    start_proxy: StartProxy, feed: FakeFeed, clock: FakeClock
) -> None:
    def tables(*, offline: bool) -> dict[str, Any]:
        farm = {"sources": ["up", "second"], "rules": [urgent, COOLDOWN]}
        second = {"url": feed.index_url, "offline": offline}
        return {"upstream": {"offline": offline}, "upstreams": {"second": second}, "feeds": {"farm": farm}}

    feed.add(make_nupkg("Acme.A", "1.0.0"), at=ago(clock, 1))
    end = (datetime.fromtimestamp(clock.now(), UTC) + timedelta(seconds=600)).isoformat()
    urgent = {"name": "urgent", "action": "allow", "ids": ["acme.a"], "until": end}
    proxy = await start_proxy(feed.index_url, **tables(offline=False))
    assert (await ask(proxy, f"/farm{PACKAGE}")).status == 200
    await until(lambda: not proxy.app.tasks.running())
    await proxy.reload(**tables(offline=True))

    answered = proxy.app.lane.answered
    assert [(await ask(proxy, f"/farm{VERSIONS}")).cache for _ in range(3)] == ["hit; ttl=600"] * 3
    assert proxy.app.lane.answered == answered + 2
