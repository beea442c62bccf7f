"""An audit names what is held or was got that has an advisory, is withdrawn, deprecated, unlisted, or that a rule is
about, with who has got it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from nugetproxy.admin.audit import audit as audit_of
from nugetproxy.admin.commands import carry_out
from nugetproxy.admin.page.audits import SHOWN, shown
from nugetproxy.admin.page.viewer import Viewer
from nugetproxy.nuget.facts import PackageFacts
from nugetproxy.nuget.identity import PackageIdentity
from tests.conftest import StartProxy
from tests.fakes.asking import ask, until
from tests.fakes.clock import FakeClock
from tests.fakes.feed import FakeFeed
from tests.fakes.packages import make_nupkg
from tests.fakes.proxy import Proxy
from tests.outage.kit import lay_down
from tests.rules.conftest import COOLDOWN, Shop, StartShop, ago
from tests.rules.test_rules import licensed

Stock = Callable[..., None]
MANY = 20_000
HOLE = {"url": "https://example.test/1", "severity": 2, "versions": "(, 1.0.0]"}
WORSE = {"url": "https://example.test/2", "severity": 3, "versions": "(, 0.9.0]"}


async def audit(proxy: Proxy, **arguments: Any) -> dict[str, Any]:
    return dict(await carry_out(proxy.app.desk, "audit", arguments, by="a test"))


async def named(proxy: Proxy, **arguments: Any) -> dict[tuple[str, str], dict[str, Any]]:
    found = (await audit(proxy, **arguments))["findings"]
    return {(one["id"], one["version"]): one for one in found}


async def got(shop: Shop, id: str, *versions: str) -> None:
    for version in versions:
        assert (await shop.package(id, version)).status == 200
    await until(lambda: shop.proxy.metric("pending_commits") == 0)


async def test_what_has_an_advisory_is_named_with_who_has_got_it(
    start_shop: StartShop, stock: Stock, feed: FakeFeed
) -> None:
    stock("Acme.A", {"0.9.0": 100, "1.0.0": 90, "2.0.0": 80})
    stock("Acme.B", {"1.0.0": 90})
    feed.vulnerabilities["base"] = {"acme.a": [HOLE, WORSE]}
    shop = await start_shop()
    await got(shop, "acme.a", "0.9.0", "1.0.0", "2.0.0")
    await got(shop, "acme.b", "1.0.0")
    said = await audit(shop.proxy)
    first, second = said["findings"]
    assert (first["id"], first["version"], first["severity"]) == ("acme.a", "0.9.0", "critical"), "the gravest first"
    assert (second["id"], second["version"], second["severity"]) == ("acme.a", "1.0.0", "high")
    assert second["advisories"] == [{"url": "https://example.test/1", "severity": "high"}]
    assert (second["held"], said["looked_at"]) == (["up"], 4)
    (user,) = second["users"]
    assert (user["client"], user["token"], user["times"]) == ("127.0.0.1", "", 1)
    assert (said["unknown"], said["without_advisories"]) == ([], [])


async def test_what_upstream_says_of_held_versions_is_named(
    start_shop: StartShop, feed: FakeFeed, clock: FakeClock
) -> None:
    feed.add(make_nupkg("Acme.A", "1.0.0"), at=ago(clock, 90))
    feed.add(make_nupkg("Acme.A", "1.1.0"), at=ago(clock, 80), listed=False)
    feed.add(make_nupkg("Acme.A", "1.2.0"), at=ago(clock, 70))
    feed.registration_extra["acme.a"] = {"1.2.0": {"deprecation": {"reasons": ["Legacy"]}}}
    shop = await start_shop()
    await shop.registered("acme.a")
    await got(shop, "acme.a", "1.0.0", "1.1.0", "1.2.0")
    found = await named(shop.proxy)
    assert {key: one["says"] for key, one in found.items()} == {
        ("acme.a", "1.1.0"): ["unlisted"],
        ("acme.a", "1.2.0"): ["deprecated"],
    }
    assert {one["severity"] for one in found.values()} == {"low"}


async def test_what_was_withdrawn_is_critical(
    start_shop: StartShop, stock: Stock, feed: FakeFeed, clock: FakeClock
) -> None:
    stock("Acme.A", {"1.0.0": 90, "2.0.0": 80})
    shop = await start_shop()
    await got(shop, "acme.a", "1.0.0", "2.0.0")
    await shop.listed("acme.a")
    feed.remove("Acme.A", "2.0.0")
    watching = shop.proxy.app.withdrawals_of(shop.proxy.app.sources["up"])  # type: ignore[arg-type]
    clock.advance(4000)
    await shop.listed("acme.a")
    await until(lambda: "acme.a" in shop.proxy.app.sources["up"].suspects)  # type: ignore[attr-defined]
    await watching.round()
    assert not await named(shop.proxy), "seen once"
    clock.advance(4000)
    await watching.round()
    found = await named(shop.proxy)
    assert found["acme.a", "2.0.0"]["says"] == ["withdrawn by its upstream"]
    assert found["acme.a", "2.0.0"]["severity"] == "critical"


@pytest.mark.parametrize("ask", [True, False], ids=["upstream is asked", "what is known must do"])
async def test_what_a_rule_denies_now_or_would_deny_is_named(
    start_shop: StartShop, stock: Stock, clock: FakeClock, ask: bool
) -> None:
    stock("Acme.A", {"1.0.0": 90, "2.0.0": 1})
    shop = await start_shop()
    await got(shop, "acme.a", "1.0.0", "2.0.0")
    strict = {"sources": ["up"], "rules": [{**COOLDOWN, "name": "trial", "dry_run": True}, COOLDOWN]}
    await shop.proxy.reload(feeds={"up": strict})
    found = await named(shop.proxy, ask=ask)
    assert list(found) == [("acme.a", "2.0.0")]
    rules = found["acme.a", "2.0.0"]["rules"]
    assert [(one["rule"], one["action"], one["feed"]) for one in rules] == [
        ("cooldown", "deny", "up"),
        ("trial", "dry_run", "up"),
    ]
    assert "younger than 7 days" in rules[0]["why"]
    assert found["acme.a", "2.0.0"]["severity"] == "high"


async def test_a_rule_about_licences_is_told_by_what_is_held(
    start_shop: StartShop, feed: FakeFeed, clock: FakeClock
) -> None:
    feed.add(licensed("1.0.0", "MIT"), at=ago(clock, 90))
    feed.add(licensed("2.0.0", "AGPL-3.0-only"), at=ago(clock, 90))
    shop = await start_shop()
    await got(shop, "acme.a", "1.0.0", "2.0.0")
    await shop.proxy.reload(
        feeds={"up": {"sources": ["up"], "rules": [{"name": "lawyers", "licenses": ["AGPL-3.0-only"]}]}}
    )
    assert list(await named(shop.proxy)) == [("acme.a", "2.0.0")]


@pytest.mark.slow
async def test_others_have_their_turn_while_all_that_is_held_is_looked_at(
    start_shop: StartShop, feed: FakeFeed, clock: FakeClock
) -> None:
    """In calls between two turns of the event loop, which unlike times are the same on every machine."""
    feed.vulnerabilities["base"] = {f"acme.n{number}": [HOLE] for number in range(0, MANY, 50)}
    shop = await start_shop(COOLDOWN)
    (holdings,) = (packages.holdings for packages in shop.proxy.app.packages.values())
    for begin in range(0, MANY, 2000):
        held = [PackageIdentity(f"acme.n{number}", "1.0.0") for number in range(begin, min(begin + 2000, MANY))]
        facts = {"published": clock.now() - 90 * 86400.0, "size": 1}
        await holdings.change([PackageFacts(identity=one, id=one.id, version=one.version, **facts) for one in held], ())
    viewer = Viewer(admin=True, feeds=frozenset(shop.proxy.app.feeds))
    async with calls_between_turns() as calls:
        said = await shown(shop.proxy.app.desk, viewer)
    assert (said["looked_at"], said["total"], len(said["findings"])) == (MANY, MANY // 50, SHOWN)
    assert max(calls) < MANY // 2, "some milliseconds; all of it takes hundreds of thousands"


@asynccontextmanager
async def calls_between_turns() -> AsyncIterator[list[int]]:
    """The calls in the event loop's thread between one turn of it and the next."""
    loop, found, calls = asyncio.get_running_loop(), [0], 0

    def turn() -> None:
        nonlocal calls, handle
        found.append(calls)
        calls, handle = 0, loop.call_soon(turn)

    def called(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    handle = loop.call_soon(turn)
    sys.setprofile(called)
    try:
        yield found
    finally:
        sys.setprofile(None)
        handle.cancel()


async def test_since_a_time_only_what_was_got_is_looked_at_held_or_not(
    start_shop: StartShop, stock: Stock, feed: FakeFeed, clock: FakeClock
) -> None:
    stock("Acme.A", {"0.9.0": 100, "1.0.0": 90})
    feed.vulnerabilities["base"] = {"acme.a": [HOLE]}
    shop = await start_shop()
    await got(shop, "acme.a", "0.9.0")
    clock.advance(86400)
    since = clock.now()
    clock.advance(60)
    await got(shop, "acme.a", "1.0.0")
    assert list(await named(shop.proxy, since=since)) == [("acme.a", "1.0.0")]
    for packages in shop.proxy.app.packages.values():
        for _, identity, _ in await packages.folder.usage.count():
            await packages.drop(identity)
    found = await named(shop.proxy, since=since)
    assert found["acme.a", "1.0.0"]["held"] == [], "who has got it has it still"
    assert len(await named(shop.proxy)) == 2


async def test_a_feed_hears_nothing_of_the_upstreams_of_another(start_proxy: StartProxy, feed: FakeFeed) -> None:
    async with FakeFeed() as company:
        await company.set_mode("5xx")
        other = {"url": company.index_url, "tries": 1, "document_deadline": "1s"}
        proxy = await start_proxy(feed.index_url, upstreams={"company": other})
        desk = proxy.app.desk
        assert [one["upstream"] for one in (await audit(proxy))["unknown"]] == []
        feed.add(make_nupkg("Acme.A", "1.0.0"))
        assert (await ask(proxy, "/v3/content/acme.a/1.0.0/acme.a.1.0.0.nupkg")).status == 200
        await until(lambda: proxy.metric("pending_commits") == 0)
        assert [one["upstream"] for one in (await audit(proxy))["unknown"]] == ["company"]
        assert (await audit_of(desk, feeds=["up"]))["unknown"] == []


async def test_what_is_not_known_is_no_all_clear(start_proxy: StartProxy, feed: FakeFeed, clock: FakeClock) -> None:
    feed.add(make_nupkg("Acme.A", "1.0.0"), at=ago(clock, 90))
    feed.vulnerabilities["base"] = {"acme.a": [HOLE]}
    proxy = await start_proxy(feed.index_url)
    assert (await ask(proxy, "/v3/content/acme.a/1.0.0/acme.a.1.0.0.nupkg")).status == 200
    await until(lambda: proxy.metric("pending_commits") == 0)
    await feed.set_mode("5xx")
    said = await audit(proxy)
    assert said["findings"] == []
    (gap,) = said["unknown"]
    assert (gap["upstream"], "up" in gap["says"]) == ("up", True)
    await feed.set_mode("up")
    clock.advance(100)
    said = await audit(proxy)
    assert (len(said["findings"]), said["unknown"]) == (1, [])


async def test_what_is_held_is_looked_at_however_young_the_proxy_is(
    start_proxy: StartProxy, feed: FakeFeed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither of a large cache nor of a folder is all known at once; what nobody has seen is no all-clear."""
    monkeypatch.setattr("nugetproxy.store.packages.usage.MANY_IDS", 2)
    feed.vulnerabilities["base"] = {"bulk.n0": [HOLE], "bulk.f": [HOLE]}
    (folder := tmp_path / "shelf").mkdir()
    (folder / "bulk.f.1.0.0.nupkg").write_bytes(make_nupkg("Bulk.F", "1.0.0"))
    proxy = await start_proxy(feed.index_url, upstreams={"shelf": {"url": str(folder)}})
    await proxy.stop()
    for number in range(4):
        lay_down(proxy.packages, f"bulk.n{number}", "1.0.0", make_nupkg(f"Bulk.N{number}", "1.0.0"))
    await proxy.start()
    viewer = Viewer(frozenset(proxy.app.feeds), admin=True)
    assert {one["upstream"] for one in (await shown(proxy.app.desk, viewer))["unknown"]} == {"up", "shelf"}
    said = await audit(proxy)
    assert {one["id"] for one in said["findings"]} == {"bulk.n0", "bulk.f"}
    assert (said["looked_at"], said["unknown"]) == (5, [])
    assert (await shown(proxy.app.desk, viewer))["unknown"] == []


async def test_a_folder_that_cannot_be_read_is_no_all_clear(start_proxy: StartProxy, tmp_path: Path) -> None:
    proxy = await start_proxy(str(tmp_path / "nowhere"))
    (gap,) = (await audit(proxy))["unknown"]
    assert (gap["upstream"], "nowhere" in gap["says"]) == ("up", True)


async def test_what_a_feed_of_the_past_does_not_show_is_nothing_against_it(
    start_proxy: StartProxy, stock: Stock, feed: FakeFeed
) -> None:
    stock("Acme.A", {"1.0.0": 200, "2.0.0": 3})
    ban = {"name": "ban", "versions": "[1.0.0]"}
    tables = {"now": {"sources": ["up"]}, "then": {"sources": ["up"], "asof": "2026-10-01", "rules": [ban]}}
    shop = Shop(await start_proxy(feed.index_url, feeds=tables), feed, "/now")
    await got(shop, "acme.a", "1.0.0", "2.0.0")
    assert {key: one["says"] for key, one in (await named(shop.proxy)).items()} == {
        ("acme.a", "1.0.0"): ["denied by the rule 'ban' of 'then'"]
    }
