"""What an operator is told of rules."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from nugetproxy.admin.audit import audit
from nugetproxy.admin.explain import Explanation, explain
from nugetproxy.feeds.without_upstreams import WithoutUpstreams
from nugetproxy.nuget.identity import PackageIdentity
from tests.conftest import StartProxy
from tests.fakes.asking import ask, until
from tests.fakes.feed import FakeFeed
from tests.rules.conftest import COOLDOWN, Shop, StartShop
from tests.rules.test_rules import licensed

Stock = Callable[..., None]


async def explained(shop: Shop, id: str, version: str = "") -> Explanation:
    app = shop.proxy.app
    return await explain(app.desk.feed(""), app.clock.now(), id_=id, version=version)


async def lines(shop: Shop, id: str, version: str = "") -> list[str]:
    found = await explained(shop, id, version)
    return [line.removeprefix("  rules: ") for line in found.lines() if line.startswith("  rules: ")]


async def test_it_says_the_rule_the_date_and_when_it_passes(start_shop: StartShop, stock: Stock) -> None:
    stock("Acme.A", {"1.0.0": 30, "2.0.0": 1})
    shop = await start_shop({"name": "trial", "dry_run": True, "ids": ["acme.a"]}, COOLDOWN)
    assert await lines(shop, "Acme.A", "2.0.0") == [
        "acme.a 2.0.0 is denied by the rule 'cooldown' of the feed 'up': younger than 7 days (published at 2027-01-14 "
        "08:00:00 UTC). New versions wait a week. It passes at 2027-01-21 08:00:00 UTC.",
        "on trial, 'trial' would deny it: ",
    ]
    assert (await lines(shop, "acme.a", "1.0.0"))[0] == "acme.a 1.0.0 passes (published at 2026-12-16 08:00:00 UTC)"
    of_id = await lines(shop, "acme.a")
    assert of_id[0] == "about acme.a: trial, cooldown"
    assert [line.split(" is ")[0] for line in of_id[1:]] == ["acme.a 2.0.0"]


async def test_rules_that_look_at_nothing_else_ask_nobody(start_shop: StartShop, feed: FakeFeed) -> None:
    shop = await start_shop({"name": "no", "ids": ["acme.*"], "reason": "Never"})
    feed.requests.clear()
    assert await lines(shop, "acme.a", "1.0.0") == ["acme.a 1.0.0 is denied by the rule 'no' of the feed 'up'. Never."]
    assert not feed.requests


async def test_a_feed_without_rules_has_none_to_tell_of(start_shop: StartShop) -> None:
    assert await lines(await start_shop(), "acme.a", "1.0.0") == []


async def test_what_the_rules_deny_is_served_by_nobody(start_shop: StartShop, stock: Stock) -> None:
    stock("Acme.A", {"1.0.0": 30, "2.0.0": 1})
    shop = await start_shop(COOLDOWN)
    assert (await explained(shop, "acme.a", "1.0.0")).served_by == "up"
    denied = await explained(shop, "acme.a", "2.0.0")
    assert (denied.served_by, denied.sentence[-31:]) == ("", " The rules of the feed deny it.")


async def test_a_licence_that_nobody_has_looked_at_is_said_to_be_unknown(start_shop: StartShop, stock: Stock) -> None:
    stock("Acme.A", {"1.0.0": 30, "2.0.0": 30})
    shop = await start_shop({"name": "free", "licenses": {"allowed": ["MIT"]}})
    unknown = "not known yet: it is looked at when a client asks for the package, and may change this"
    assert (await lines(shop, "acme.a", "1.0.0"))[1:] == [f"its licence is {unknown}"]
    assert (await lines(shop, "acme.a"))[1:] == [f"the licence of 2 of its versions is {unknown}"]
    assert (await shop.package("acme.a", "1.0.0")).status == 403
    (said,) = await lines(shop, "acme.a", "1.0.0")
    assert said.endswith("it states no licence expression.")
    assert (await lines(shop, "acme.a"))[2:] == [f"the licence of 1 of its versions is {unknown}"]


async def test_the_licence_of_what_is_held_is_known_before_a_client_asks(start_shop: StartShop, stock: Stock) -> None:
    """To explain, and to who wants to know what could be restored with every upstream gone."""
    stock("Acme.A", {"1.0.0": 30})
    shop = await start_shop()
    assert (await shop.package("acme.a", "1.0.0")).status == 200
    await until(lambda: shop.proxy.metric("pending_commits") == 0)
    await shop.proxy.reload(
        feeds={"up": {"sources": ["up"], "rules": [{"name": "free", "licenses": {"allowed": ["MIT"]}}]}}
    )
    without = WithoutUpstreams(shop.proxy.app.desk.feed(""))
    left = (await without.versions("acme.a"), await without.needs(PackageIdentity("acme.a", "1.0.0")))
    (denied,) = (await without.denied("acme.a")).values()
    said = await lines(shop, "acme.a", "1.0.0")
    got = await shop.package("acme.a", "1.0.0")
    assert (left, said, got.status) == (((), None), [denied], 403)
    assert denied in got.reason


@pytest.mark.parametrize("first", ["MIT", "AGPL-3.0-only"])
async def test_the_licence_of_another_sources_package_says_nothing(
    start_proxy: StartProxy, feed: FakeFeed, first: str
) -> None:
    """An audit looked at all that is held of a version, whosoever."""
    other = "MIT" if first != "MIT" else "AGPL-3.0-only"
    async with FakeFeed() as private:
        for one, licence in ((private, first), (feed, other)):
            one.add(licensed("1.0.0", licence))
            one.registration_extra["acme.a"] = {"1.0.0": {"licenseExpression": ""}}
        proxy = await start_proxy(
            feed.index_url,
            upstream={"private": False},
            upstreams={"own": {"url": private.index_url, "private": True}},
            feeds={
                "all": {"sources": ["own", "up"], "rules": [{"name": "free", "licenses": {"allowed": ["MIT"]}}]},
            },
        )
        for path in ("up", "own"):
            assert (await ask(proxy, f"/{path}/v3/content/acme.a/1.0.0/acme.a.1.0.0.nupkg")).status == 200
        await until(lambda: proxy.metric("pending_commits") == 0)
        desk = proxy.app.desk
        await audit(desk, feeds=list(desk.feeds), ask=True)
        got = await ask(proxy, "/all/v3/content/acme.a/1.0.0/acme.a.1.0.0.nupkg")
        assert got.status == (200 if first == "MIT" else 403)
