"""A feed as it was: lists as the dates say they were, packages shared with the feed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.fakes.clock import FakeClock
from tests.fakes.feed import FakeFeed
from tests.fakes.packages import make_nupkg
from tests.rules.conftest import COOLDOWN, Shop, StartShop, ago

Stock = Callable[..., None]
PACKAGE = "/v3-flatcontainer/acme.a/1.0.0/acme.a.1.0.0.nupkg"


@pytest.fixture
async def shop(start_shop: StartShop, stock: Stock) -> Shop:
    """Now is 2027-01-15."""
    stock("Acme.A", {"1.0.0": 300, "1.1.0": 100, "2.0.0": 1})
    return await start_shop()


@pytest.mark.parametrize(
    ("date", "there"),
    [
        ("2026-03-01", []),
        ("2026-04-01", ["1.0.0"]),
        ("2026-10-07", ["1.0.0"]),
        ("2026-10-07T07:59:59Z", ["1.0.0"]),
        ("2026-10-07T08:00:00Z", ["1.0.0", "1.1.0"]),
        ("2026-10-07T08%3A00%3A00Z", ["1.0.0", "1.1.0"]),
        ("2026-10-08", ["1.0.0", "1.1.0"]),
        ("2027-01-15", ["1.0.0", "1.1.0", "2.0.0"]),
    ],
)
async def test_every_list_is_as_the_dates_say(shop: Shop, date: str, there: list[str]) -> None:
    for root in (f"/asof/{date}", f"/up/asof/{date}"):
        then = Shop(shop.proxy, shop.feed, root)
        for surface in (then.listed, then.registered, then.searched, then.completed):
            assert await surface("acme.a") == there
    assert await shop.listed("acme.a") == ["1.0.0", "1.1.0", "2.0.0"], "today's is not touched"


async def test_links_lead_to_the_same_date_and_packages_are_shared(shop: Shop, feed: FakeFeed) -> None:
    then = Shop(shop.proxy, feed, "/asof/2026-10-08")
    index = await then.read("/v3/index.json")
    assert all(
        row["@id"].startswith(f"{shop.proxy.url}/asof/2026-10-08/v3/")
        for row in index["resources"]
        if row["@id"].startswith(shop.proxy.url)
    )
    leaf = (await then.read("/v3/registration/gz-semver2/acme.a/index.json"))["items"][0]["items"][0]
    assert (await then.get(leaf["packageContent"])).body == make_nupkg("Acme.A", "1.0.0")
    assert (await shop.package("acme.a", "1.0.0")).headers["Cache-Status"] == "nugetproxy; hit"
    assert feed.count(PACKAGE) == 1


async def test_what_came_later_is_refused_by_name(shop: Shop) -> None:
    then = Shop(shop.proxy, shop.feed, "/asof/2026-10-08")
    got = await then.package("acme.a", "2.0.0")
    assert got.status == 403
    assert got.reason == (
        "acme.a 2.0.0 is denied by the rule 'asof' of the feed 'up': published at 2027-01-14 08:00:00 UTC, after "
        "2026-10-08 00:00:00 UTC."
    )


@pytest.mark.parametrize(("date", "why"), [("soon", "asof/2026-03-01/v3"), ("2027-01-16", "nobody knows yet")])
async def test_what_is_no_past_date_is_said_so(shop: Shop, date: str, why: str) -> None:
    got = await shop.get(f"/asof/{date}/v3/index.json")
    assert got.status == 400
    assert why in got.reason


async def test_a_feed_that_does_not_exist_has_no_past(shop: Shop) -> None:
    assert (await shop.get("/none/asof/2026-03-01/v3/index.json")).status == 404


async def test_the_configuration_pins_a_whole_feed(start_shop: StartShop, stock: Stock) -> None:
    stock("Acme.A", {"1.0.0": 300, "2.0.0": 1})
    shop = await start_shop(keys={"asof": "2026-10-01"})
    assert await shop.listed("acme.a") == await shop.searched("acme.a") == ["1.0.0"]
    later = Shop(shop.proxy, shop.feed, "/asof/2027-01-15")
    assert await later.listed("acme.a") == ["1.0.0"], "no address shows more than the feed"


async def test_rules_hold_for_the_past_too_as_they_would_have_then(start_shop: StartShop, stock: Stock) -> None:
    stock("Acme.A", {"1.0.0": 300, "1.1.0": 100, "2.0.0": 50})
    shop = await start_shop({"name": "no", "ids": ["Acme.A"], "versions": "[1.0.0]"}, COOLDOWN)
    for days, there in ((90, ["1.1.0"]), (94, []), (40, ["1.1.0", "2.0.0"]), (44, ["1.1.0"])):
        then = Shop(shop.proxy, shop.feed, f"/asof/{days_ago(days)}")
        assert await then.listed("acme.a") == there


async def test_what_is_unlisted_is_dated_by_the_catalog(
    start_shop: StartShop, feed: FakeFeed, clock: FakeClock
) -> None:
    feed.add(make_nupkg("Acme.A", "1.0.0"), at=ago(clock, 50), listed=False)
    shop = await start_shop()
    for days, there in ((51, []), (49, ["1.0.0"])):
        assert await Shop(shop.proxy, feed, f"/asof/{days_ago(days)}").listed("acme.a") == there


def days_ago(days: float) -> str:
    return ago(FakeClock(), days).strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.mark.parametrize("date", ["0001-01-01T00:00:00%2B14:00", "0001-01-01"])
async def test_what_came_after_the_first_day_of_all_is_refused_too(shop: Shop, date: str) -> None:
    got = await Shop(shop.proxy, shop.feed, f"/asof/{date}").package("acme.a", "1.0.0")
    assert (got.status, got.reason[-24:]) == (403, "0001-01-01 00:00:00 UTC.")


async def test_an_age_that_no_calendar_reaches_is_refused_all_the_same(start_shop: StartShop, stock: Stock) -> None:
    stock("Acme.A", {"1.0.0": 300})
    shop = await start_shop({"name": "never", "min_age": "9000000d"})
    got = await shop.package("acme.a", "1.0.0")
    assert (got.status, got.reason[-38:]) == (403, " It passes at 9999-12-31 23:59:59 UTC.")
