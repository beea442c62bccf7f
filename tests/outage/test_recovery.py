"""Recovery: the background probes see it soon, ask seldom, and do what upstream asked for."""

from __future__ import annotations

import asyncio
import json

import pytest

from nugetproxy.engine.prober import INTERVAL
from tests.conftest import StartProxy
from tests.fakes.asking import UP_INDEX, ask, until
from tests.fakes.clock import FakeClock
from tests.fakes.feed import FakeFeed, Mode
from tests.fakes.packages import make_nupkg
from tests.fakes.proxy import Proxy

VERSIONS = "/v3/content/acme.a/index.json"
MISSING = "/v3/content/missing/index.json"
OUTAGES: tuple[Mode, ...] = ("refused", "hang", "clogged", "5xx", "html")


@pytest.fixture
async def warm(start_proxy: StartProxy, feed: FakeFeed) -> Proxy:
    """A proxy that holds the list of one package."""
    feed.add(make_nupkg("Acme.A", "1.0.0"))
    proxy = await start_proxy(feed.index_url, upstream={"read_timeout": "120ms", "connect_timeout": "120ms"})
    await ask(proxy, VERSIONS)
    return proxy


async def open_breaker(proxy: Proxy, feed: FakeFeed, how: Mode) -> None:
    """Begin an outage and let requests notice it."""
    await feed.set_mode(how)
    async with asyncio.timeout(10):
        while not is_open(proxy, feed):
            await ask(proxy, MISSING)


def is_open(proxy: Proxy, feed: FakeFeed) -> bool:
    return proxy.metric("breaker_open", upstream="up", origin=feed.url) == 1


def attempts(proxy: Proxy) -> int:
    return int(proxy.metric("upstream_requests_total", upstream="up", method="GET"))


@pytest.mark.parametrize("how", OUTAGES)
@pytest.mark.parametrize("lasted", [1, 3600])
async def test_recovery_is_seen_within_six_seconds(
    warm: Proxy, feed: FakeFeed, clock: FakeClock, how: Mode, lasted: int
) -> None:
    """No client has to ask for it, however long the breaker would have stayed open by then."""
    await open_breaker(warm, feed, how)
    for _ in range(min(lasted // int(INTERVAL), 3)):
        clock.advance(INTERVAL)
        await warm.app.prober.round()
    clock.advance(max(0, lasted - 15))
    assert is_open(warm, feed)
    await feed.set_mode("up")
    feed.add(make_nupkg("Acme.A", "2.0.0"))
    clock.advance(INTERVAL)
    await warm.app.prober.round()
    assert not is_open(warm, feed)
    clock.advance(301)
    assert json.loads((await ask(warm, VERSIONS)).body) == {"versions": ["1.0.0", "2.0.0"]}


@pytest.mark.parametrize("how", ["refused", "hang", "5xx", "html"])
async def test_an_outage_costs_one_probe_in_five_seconds_whoever_asks(
    warm: Proxy, feed: FakeFeed, clock: FakeClock, how: Mode
) -> None:
    """A minute of it, with clients asking every second."""
    clock.advance(301)
    await open_breaker(warm, feed, how)
    before = attempts(warm)
    for second in range(1, 61):
        clock.advance(1)
        if second % INTERVAL == 0:
            await warm.app.prober.round()
        for path in (VERSIONS, MISSING, VERSIONS):
            assert (await ask(warm, path)).status in {200, 502, 503}
    assert attempts(warm) - before <= 60 / INTERVAL + 1


async def test_probes_come_one_in_an_interval(warm: Proxy, feed: FakeFeed, clock: FakeClock) -> None:
    await open_breaker(warm, feed, "5xx")
    before, began = len(feed.requests), clock.monotonic()
    probing = warm.app.tasks.start(warm.app.prober.run(), name="prober")
    await until(lambda: len(feed.requests) - before >= 10)
    probes, passed = len(feed.requests) - before, clock.monotonic() - began
    probing.cancel()
    assert round(passed / INTERVAL) >= probes
    assert {seen.path for seen in feed.requests[before:]} == {UP_INDEX}


async def test_an_upstream_that_is_well_is_not_probed(warm: Proxy, feed: FakeFeed, clock: FakeClock) -> None:
    before = len(feed.requests)
    for _ in range(5):
        clock.advance(INTERVAL)
        await warm.app.prober.round()
    assert len(feed.requests) == before


@pytest.mark.parametrize(("said", "held"), [("30", 30), ("120", 60), ("3600", 60)])
async def test_an_upstream_that_wants_to_be_left_alone_is(
    warm: Proxy, feed: FakeFeed, clock: FakeClock, said: str, held: int
) -> None:
    feed.retry_after = said
    await open_breaker(warm, feed, "429")
    before = len(feed.requests)
    for passed in range(5, held, 5):
        clock.advance(5)
        await warm.app.prober.round()
        got = await ask(warm, MISSING)
        assert got.status == 503
        assert int(got.headers["Retry-After"]) - (held - passed) in {0, 1}, "what is left, rounded up"
    assert len(feed.requests) == before
    await feed.set_mode("up")
    clock.advance(5.1)
    await warm.app.prober.round()
    assert not is_open(warm, feed)
    assert len(feed.requests) == before + 1


async def test_a_login_page_is_no_recovery(warm: Proxy, feed: FakeFeed, clock: FakeClock) -> None:
    await open_breaker(warm, feed, "refused")
    await feed.set_mode("html")
    clock.advance(INTERVAL)
    await warm.app.prober.round()
    assert is_open(warm, feed)
    assert feed.requests[-1].path == UP_INDEX


async def test_the_running_proxy_probes_unasked(warm: Proxy, feed: FakeFeed) -> None:
    await open_breaker(warm, feed, "refused")
    warm.app.start_background()
    await feed.set_mode("up")
    await until(lambda: not is_open(warm, feed))
    assert json.loads((await ask(warm, "/health/ready")).body)["breakers"] == {"up": {}}
