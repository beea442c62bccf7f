"""What an operator is told of rules."""

from __future__ import annotations

from collections.abc import Callable

from nugetproxy.admin.explain import explain
from tests.fakes.feed import FakeFeed
from tests.rules.conftest import COOLDOWN, Shop, StartShop

Stock = Callable[..., None]


async def lines(shop: Shop, id: str, version: str = "") -> list[str]:
    app = shop.proxy.app
    found = await explain(app.desk.feed(""), app.clock.now(), id_=id, version=version)
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
