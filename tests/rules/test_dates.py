"""Where the date of a version comes from: registration, catalog, another source, first sight."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.conftest import StartProxy
from tests.fakes.asking import PACKAGE, SMALL, UP_PACKAGE, UP_VERSIONS, VERSIONS, ask
from tests.fakes.asking import REGISTRATION as OURS
from tests.fakes.clock import FakeClock
from tests.fakes.feed import FakeFeed
from tests.fakes.feed_documents import catalog_leaf_url
from tests.fakes.origin import Script
from tests.fakes.packages import make_nupkg
from tests.fakes.proxy import Proxy
from tests.rules.conftest import COOLDOWN, HIVE, Shop, StartShop, ago
from tests.rules.test_explain import lines

Stock = Callable[..., None]
REGISTRATION = "/v3/registration5-gz-semver2/acme.a/index.json"
DAY = 86400.0


async def test_1900_is_unlisted_rather_than_old(
    start_shop: StartShop, stock: Stock, feed: FakeFeed, clock: FakeClock
) -> None:
    stock("Acme.A", {"1.0.0": 30, "1.1.0": 10, "2.0.0": 2}, listed=False)
    shop = await start_shop(COOLDOWN)
    assert await shop.listed("acme.a") == ["1.0.0", "1.1.0"]
    asked = [seen.path for seen in feed.requests if "catalog0" in seen.path]
    assert len(asked) == 1, "only of what could be too young"
    clock.advance(5 * DAY)
    assert await shop.listed("acme.a") == ["1.0.0", "1.1.0", "2.0.0"]


async def test_without_a_registration_what_is_new_is_too_young_until_it_was_seen_for_long_enough(
    start_shop: StartShop, stock: Stock, feed: FakeFeed, clock: FakeClock
) -> None:
    stock("Acme.A", {"1.0.0": 30})
    feed.origin.routes[REGISTRATION] = Script(status=500)
    shop = await start_shop(COOLDOWN)
    assert (await shop.get(VERSIONS)).status == 503
    got = await shop.package("acme.a", "1.0.0")
    assert got.status == 403
    assert "(first seen here at 2027-01-15 08:00:" in got.reason
    clock.advance(8 * DAY)
    await shop.proxy.restart()
    assert await shop.listed("acme.a") == ["1.0.0"], "first seen eight days ago, as the ledger knows"
    assert (await lines(shop, "acme.a", "1.0.0"))[0].startswith("acme.a 1.0.0 passes (first seen here at 2027-01-15 ")
    del feed.origin.routes[REGISTRATION]
    clock.advance(60)
    assert await lines(shop, "acme.a", "1.0.0") == ["acme.a 1.0.0 passes (published at 2026-12-16 08:00:00 UTC)"]
    feed.origin.routes[REGISTRATION] = Script(status=500)
    clock.advance(DAY)
    assert await lines(shop, "acme.a", "1.0.0") == ["acme.a 1.0.0 passes (published at 2026-12-16 08:00:00 UTC)"]


async def test_a_failing_registration_is_asked_for_again_soon(
    start_shop: StartShop, stock: Stock, feed: FakeFeed, clock: FakeClock
) -> None:
    stock("Acme.A", {"1.0.0": 30})
    feed.origin.routes[REGISTRATION] = Script(status=500)
    shop = await start_shop(COOLDOWN)
    assert (await shop.get(VERSIONS)).status == 503
    del feed.origin.routes[REGISTRATION]
    clock.advance(60)
    assert await shop.listed("acme.a") == ["1.0.0"]


@pytest.mark.parametrize("root", ["", "/asof/2027-01-12"])
async def test_that_nothing_is_left_is_no_answer_while_a_registration_fails(
    start_shop: StartShop, stock: Stock, feed: FakeFeed, clock: FakeClock, root: str
) -> None:
    """A 404 would be that there is no such package; a client asks again after a 503."""
    stock("Acme.A", {"1.0.0": 30})
    feed.origin.routes[REGISTRATION] = Script(status=500)
    shop = await start_shop(COOLDOWN)
    shop.root = root
    for path in (VERSIONS, "/v3/registration/semver1/acme.a/index.json", "/v3/autocomplete?id=acme.a"):
        got = await shop.get(path)
        assert got.status == 503, path
        assert b"Without the dates of its versions it is not known which of them are left." in got.body
    del feed.origin.routes[REGISTRATION]
    clock.advance(6)
    assert await shop.listed("acme.a") == await shop.completed("acme.a") == ["1.0.0"]
    assert await shop.registered("acme.a", "/v3/registration/semver1") == ["1.0.0"]


async def test_what_a_rule_denies_whatever_its_date_is_a_404_while_a_registration_fails(
    start_shop: StartShop, stock: Stock, feed: FakeFeed
) -> None:
    stock("Acme.A", {"1.0.0": 30})
    feed.origin.routes[REGISTRATION] = Script(status=500)
    shop = await start_shop({"name": "none", "ids": ["Acme.*"]}, COOLDOWN)
    assert (await shop.get(VERSIONS)).status == 404


async def test_the_past_is_not_told_without_what_is_unlisted_while_the_catalog_fails(
    start_shop: StartShop, stock: Stock, feed: FakeFeed, clock: FakeClock
) -> None:
    """Only its leaf says since when an unlisted version exists; that it was not to be had is not remembered."""
    stock("Acme.A", {"1.0.0": 30})
    stock("Acme.A", {"2.0.0": 20}, listed=False)
    leaf = urlsplit(catalog_leaf_url("", feed.shelf.find("Acme.A", "2.0.0"))).path
    feed.origin.routes[leaf] = Script(status=500)
    shop = await start_shop(COOLDOWN)
    shop.root = "/asof/2027-01-12"
    assert (await shop.get(VERSIONS)).status == 503
    assert (await shop.package("acme.a", "2.0.0")).status == 503, "not denied for being of a later day"
    assert (await shop.package("acme.a", "1.0.0")).status == 200
    del feed.origin.routes[leaf]
    clock.advance(6)
    assert await shop.listed("acme.a") == ["1.0.0", "2.0.0"]
    assert (await shop.package("acme.a", "2.0.0")).status == 200


@pytest.mark.parametrize("failing", [REGISTRATION, UP_VERSIONS])
async def test_in_the_past_nothing_is_denied_because_upstream_failed(
    start_shop: StartShop, stock: Stock, feed: FakeFeed, clock: FakeClock, failing: str
) -> None:
    stock("Acme.A", {"1.0.0": 30}, readme="# Read me")
    feed.origin.routes[failing] = Script(status=500)
    shop = await start_shop()
    shop.root = "/asof/2027-01-12"
    paths = [PACKAGE, f"{HIVE}/acme.a/1.0.0.json", "/v3/content/acme.a/1.0.0/readme"]
    assert {(await shop.get(path)).status for path in paths} <= {200, 503}
    del feed.origin.routes[failing]
    clock.advance(61)
    assert {(await shop.get(path)).status for path in paths} == {200}


async def test_what_was_served_before_goes_on_while_nobody_knows_its_date(
    start_shop: StartShop, start_proxy: StartProxy, stock: Stock, feed: FakeFeed
) -> None:
    stock("Acme.A", {"1.0.0": 1, "2.0.0": 1})
    before = await start_proxy(feed.index_url, cache={"keep_registrations": False})
    assert (await Shop(before, feed).package("acme.a", "1.0.0")).status == 200
    await before.stop()
    feed.origin.routes[REGISTRATION] = Script(status=500)
    shop = await start_shop(COOLDOWN)
    assert (await shop.package("acme.a", "1.0.0")).status == 200
    assert (await shop.package("acme.a", "2.0.0")).status == 403
    assert await shop.listed("acme.a") == ["1.0.0"]


@pytest.mark.parametrize("how", ["offline", "down"])
async def test_without_the_source_the_dates_that_were_learnt_count(
    start_shop: StartShop, start_proxy: StartProxy, stock: Stock, feed: FakeFeed, clock: FakeClock, how: str
) -> None:
    stock("Acme.A", {"1.0.0": 30, "2.0.0": 6})
    before = Shop(await start_proxy(feed.index_url), feed)
    await before.registered("acme.a")
    for version in ("1.0.0", "2.0.0"):
        assert (await before.package("acme.a", version)).status == 200
    await before.proxy.stop()
    if how == "down":
        await feed.set_mode("refused")
    shop = await start_shop(COOLDOWN, upstream={"offline": how == "offline"})
    for surface in (shop.listed, shop.registered, shop.searched, shop.completed):
        assert await surface("acme.a") == ["1.0.0"]
    assert (await shop.package("acme.a", "2.0.0")).status == 403
    clock.advance(DAY)
    for surface in (shop.listed, shop.registered, shop.searched, shop.completed):
        assert await surface("acme.a") == ["1.0.0", "2.0.0"]


async def test_a_source_that_publishes_again_is_dated_by_another(
    start_proxy: StartProxy, feed: FakeFeed, stock: Stock, clock: FakeClock
) -> None:
    async with FakeFeed() as mirror:
        for version in ("1.0.0", "2.0.0", "3.0.0"):
            mirror.add(make_nupkg("Acme.A", version), at=ago(clock, 0.5))
        stock("Acme.A", {"1.0.0": 30, "2.0.0": 2})
        upstreams: dict[str, Any] = {"mirror": {"url": mirror.index_url, "dates_from": "up"}}
        table = {"sources": ["mirror"], "rules": [COOLDOWN]}
        shop = Shop(await start_proxy(feed.index_url, upstreams=upstreams, feeds={"mirror": table}), mirror)
        assert await shop.listed("acme.a") == ["1.0.0"]
        sentence = (await shop.package("acme.a", "2.0.0")).reason
        assert "published at 2027-01-13 08:00:00 UTC" in sentence
        clock.advance(5 * DAY)
        assert await shop.listed("acme.a") == ["1.0.0", "2.0.0"], "3.0.0 has its own date, of half a day before"


async def test_an_id_that_is_mapped_to_private_sources_is_asked_of_no_other_for_its_date(
    start_proxy: StartProxy, feed: FakeFeed, clock: FakeClock
) -> None:
    async with FakeFeed() as own:
        own.add(make_nupkg("Contoso.A", "1.0.0"), at=ago(clock, 30))
        own.add(make_nupkg("Acme.A", "1.0.0"), at=ago(clock, 30))
        upstreams = {"own": {"url": own.index_url, "dates_from": "up", "private": True}}
        mapping = {"Contoso.*": ["own"], "*": ["own"]}
        table = {"sources": ["own"], "rules": [COOLDOWN], "mapping": mapping}
        shop = Shop(await start_proxy(feed.index_url, upstreams=upstreams, feeds={"own": table}), own)
        assert await shop.listed("contoso.a") == ["1.0.0"]
        assert not [seen for seen in feed.requests if "contoso" in seen.path]
        await shop.listed("acme.a")
        assert [seen for seen in feed.requests if "acme" in seen.path]


async def test_a_date_in_the_future_is_not_old(start_shop: StartShop, stock: Stock) -> None:
    stock("Acme.A", {"1.0.0": -400})
    shop = await start_shop(COOLDOWN)
    assert await shop.listed("acme.a") == []


@pytest.mark.parametrize("end", ["9999-12-31T23:59:59.9999999Z", "9999-12-31T23:59:59-14:00", "9999-12-30"])
async def test_a_date_at_the_end_of_the_calendar_is_not_old(
    start_shop: StartShop, stock: Stock, feed: FakeFeed, end: str
) -> None:
    """It passes when there are no more years to say so."""
    stock("Acme.A", {"1.0.0": 30, "2.0.0": 30})
    feed.registration_extra["acme.a"] = {"2.0.0": {"published": end}}
    shop = await start_shop(COOLDOWN)
    assert await shop.listed("acme.a") == ["1.0.0"]
    got = await shop.package("acme.a", "2.0.0")
    assert (got.status, got.reason.endswith("It passes at 9999-12-31 23:59:59 UTC.")) == (403, True)
    past = Shop(shop.proxy, feed, root="/asof/2026-12-31")
    assert await past.listed("acme.a") == ["1.0.0"]
    assert (await past.package("acme.a", "2.0.0")).status == 403


async def test_the_past_before_all_years_is_empty(start_shop: StartShop, stock: Stock) -> None:
    stock("Acme.A", {"1.0.0": 30})
    shop = await start_shop()
    shop.root = "/asof/0001-01-01T00:00:00+14:00"
    assert await shop.listed("acme.a") == []
    assert (await shop.package("acme.a", "1.0.0")).status == 403


@pytest.mark.parametrize("date", ["9999-12-31", "9999-12-31T23:59:59-14:00", "1980-01-01"])
@pytest.mark.parametrize(
    "modified",
    [
        "Fri, 31 Dec 9999 23:59:59 -1400",
        "Mon, 01 Jan 0001 00:00:00 +1400",
        "Mon, 01 Jan 99999999999 00:00:00 GMT",
    ],
)
async def test_what_has_an_impossible_date_is_served_all_the_same(
    proxy: Proxy, feed: FakeFeed, date: str, modified: str
) -> None:
    """Its file gets that date, as far as the file system has it."""
    feed.add(SMALL)
    feed.registration_extra["acme.a"] = {"1.0.0": {"published": date}}
    feed.origin.routes[UP_PACKAGE] = Script(body=SMALL, headers=[("Last-Modified", modified)])
    for path in (PACKAGE, PACKAGE, OURS, PACKAGE):
        assert (await ask(proxy, path)).status == 200
    await proxy.restart()
    await feed.set_mode("refused")
    for path in (PACKAGE, PACKAGE, OURS, VERSIONS):
        assert (await ask(proxy, path)).status == 200
