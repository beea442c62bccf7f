"""What upstream takes away is noticed on a feed that has no rule, too."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from nugetproxy.feeds.withdrawals import Withdrawals
from tests.conftest import StartProxy
from tests.fakes.asking import ask, until
from tests.fakes.clock import FakeClock
from tests.fakes.feed import FakeFeed
from tests.fakes.origin import Script
from tests.fakes.packages import make_nupkg
from tests.fakes.proxy import Proxy

LIST = "/v3/content/acme.a/index.json"
PACKAGE = "/v3/content/acme.a/2.0.0/acme.a.2.0.0.nupkg"


@pytest.fixture
async def proxy(start_proxy: StartProxy, feed: FakeFeed) -> Proxy:
    """Both versions of a package are held."""
    for version in ("1.0.0", "2.0.0"):
        feed.add(make_nupkg("Acme.A", version))
    proxy = await start_proxy(feed.index_url)
    for version in ("1.0.0", "2.0.0"):
        assert (await ask(proxy, PACKAGE.replace("2.0.0", version))).status == 200
    await until(lambda: proxy.metric("pending_commits") == 0)
    assert (await ask(proxy, LIST)).status == 200
    return proxy


def watch(proxy: Proxy) -> Withdrawals:
    source = proxy.app.sources["up"]
    return proxy.app.withdrawals_of(source)  # type: ignore[arg-type]


async def listed(proxy: Proxy, clock: FakeClock, status: int = 200) -> None:
    """Clients ask for the list when that is old; that there is none any more is believed the second time."""
    for _ in range(2):
        clock.advance(400)
        got = await ask(proxy, LIST)
    assert got.status == status
    await until(lambda: "acme.a" in proxy.app.sources["up"].suspects)  # type: ignore[attr-defined]


@pytest.mark.parametrize("gone", [("2.0.0",), ("1.0.0", "2.0.0")], ids=["one version", "all of it"])
async def test_what_is_gone_twice_an_hour_apart_is_withdrawn(
    proxy: Proxy, feed: FakeFeed, clock: FakeClock, gone: tuple[str, ...]
) -> None:
    watching = watch(proxy)
    for version in gone:
        feed.remove("Acme.A", version)
    await listed(proxy, clock, 404 if len(gone) == 2 else 200)
    await watching.round()
    clock.advance(600)
    await watching.round()
    assert proxy.metric("withdrawn_total", upstream="up") == 0, "seen once"
    asked = len(feed.requests)
    clock.advance(1800)
    await watching.round()
    assert len(feed.requests) == asked, "it is not asked before an hour has passed"
    clock.advance(1900)
    with capture_logs() as logs:
        await watching.round()
    assert proxy.metric("withdrawn_total", upstream="up") == len(gone)
    told = sorted(one["version"] for one in logs if one["event"] == "version.withdrawn")
    assert told == list(gone)
    asked = len(feed.requests)
    clock.advance(100_000)
    await watching.round()
    assert len(feed.requests) == asked, "nobody asks about it for ever"
    assert (await ask(proxy, PACKAGE)).status == 200, "it is served all the same"


async def test_what_is_registered_still_is_not_withdrawn(proxy: Proxy, feed: FakeFeed, clock: FakeClock) -> None:
    watching = watch(proxy)
    feed.origin.routes["/v3-flatcontainer/acme.a/index.json"] = Script(body=b'{"versions": ["1.0.0"]}')
    await listed(proxy, clock)
    for _ in range(3):
        await watching.round()
        clock.advance(4000)
    assert proxy.metric("withdrawn_total", upstream="up") == 0


async def test_an_outage_at_the_second_look_withdraws_nothing(proxy: Proxy, feed: FakeFeed, clock: FakeClock) -> None:
    watching = watch(proxy)
    feed.remove("Acme.A", "2.0.0")
    await listed(proxy, clock)
    await watching.round()
    await feed.set_mode("5xx")
    clock.advance(4000)
    await watching.round()
    assert proxy.metric("withdrawn_total", upstream="up") == 0
    await feed.set_mode("up")
    clock.advance(700)
    await watching.round()
    assert proxy.metric("withdrawn_total", upstream="up") == 1, "it was asked again soon"


async def test_what_is_back_is_not_withdrawn_any_more(proxy: Proxy, feed: FakeFeed, clock: FakeClock) -> None:
    watching = watch(proxy)
    feed.remove("Acme.A", "2.0.0")
    await listed(proxy, clock)
    await watching.round()
    clock.advance(4000)
    await watching.round()
    assert [one.version for one in await proxy.app.ledger.missing("up")] == ["2.0.0"]
    feed.add(make_nupkg("Acme.A", "2.0.0"))
    await listed(proxy, clock)
    await watching.round()
    assert not await proxy.app.ledger.missing("up")
    feed.remove("Acme.A", "2.0.0")
    await listed(proxy, clock)
    await watching.round()
    clock.advance(4000)
    await watching.round()
    assert proxy.metric("withdrawn_total", upstream="up") == 2


async def test_a_restart_between_the_two_looks_changes_nothing(proxy: Proxy, feed: FakeFeed, clock: FakeClock) -> None:
    watching = watch(proxy)
    feed.remove("Acme.A", "2.0.0")
    await listed(proxy, clock)
    await watching.round()
    await proxy.restart()
    clock.advance(4000)
    proxy.app.start_background()
    await until(lambda: proxy.metric("withdrawn_total", upstream="up") > 0)
    assert proxy.metric("withdrawn_total", upstream="up") == 1


@pytest.mark.parametrize("change", ["restart", "reload"])
@pytest.mark.parametrize("gone", [("2.0.0",), ("1.0.0", "2.0.0")], ids=["one version", "all of it"])
async def test_what_was_gone_before_a_start_and_not_looked_at_is_found_by_a_list_that_has_not_changed(
    proxy: Proxy, feed: FakeFeed, clock: FakeClock, gone: tuple[str, ...], change: str
) -> None:
    for version in gone:
        feed.remove("Acme.A", version)
    await listed(proxy, clock, 404 if len(gone) == 2 else 200)
    await (proxy.restart() if change == "restart" else proxy.reload(limits={"document": "1 MiB"}))
    await listed(proxy, clock, 404 if len(gone) == 2 else 200)
    watching = watch(proxy)
    await watching.round()
    clock.advance(4000)
    await watching.round()
    assert proxy.metric("withdrawn_total", upstream="up") == len(gone)
    asked = feed.count("/v3-flatcontainer/acme.a/index.json")
    for _ in range(3):
        clock.advance(400)
        await ask(proxy, LIST)
    assert feed.count("/v3-flatcontainer/acme.a/index.json") == asked + 3
    assert not proxy.app.sources["up"].suspects, "it is compared once"  # type: ignore[attr-defined]


async def test_what_is_withdrawn_is_told_once_however_many_feeds_see_it(
    start_proxy: StartProxy, feed: FakeFeed, clock: FakeClock
) -> None:
    for version in ("1.0.0", "2.0.0"):
        feed.add(make_nupkg("Acme.A", version))
    table = {"sources": ["up"], "rules": [{"name": "gone", "withdrawn": True}]}
    proxy = await start_proxy(feed.index_url, feeds=dict.fromkeys(("up", "farm", "lab"), table))
    assert (await ask(proxy, PACKAGE)).status == 200
    feed.remove("Acme.A", "2.0.0")
    with capture_logs() as logs:
        for _ in range(5):
            clock.advance(2000)
            await asyncio.gather(*(ask(proxy, f"{root}{PACKAGE}") for root in ("", "/farm", "/lab")))
    assert proxy.metric("withdrawn_total", upstream="up") == 1
    assert [one["event"] for one in logs].count("version.withdrawn") == 1
