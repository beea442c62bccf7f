"""What an operator is told of rules."""

from __future__ import annotations

from collections.abc import Callable

from nugetproxy.admin.explain import Explanation, explain
from tests.fakes.feed import FakeFeed
from tests.rules.conftest import COOLDOWN, Shop, StartShop

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
    unknown = "not known yet: it is looked at when a client asks for the package, which may be denied then"
    assert (await lines(shop, "acme.a", "1.0.0"))[1:] == [f"its licence is {unknown}"]
    assert (await lines(shop, "acme.a"))[1:] == [f"the licence of 2 of its versions is {unknown}"]
    assert (await shop.package("acme.a", "1.0.0")).status == 403
    (said,) = await lines(shop, "acme.a", "1.0.0")
    assert said.endswith("it states no licence expression.")
    assert (await lines(shop, "acme.a"))[2:] == [f"the licence of 1 of its versions is {unknown}"]
