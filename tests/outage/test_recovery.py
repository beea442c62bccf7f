"""Recovery: the background probes see it soon, ask seldom, and do what upstream asked for."""

from __future__ import annotations

import asyncio
import itertools
import json

import pytest

from nugetproxy.app import App
from tests.conftest import StartProxy
from tests.fakes.asking import UP_INDEX, ask, until
from tests.fakes.clock import FakeClock
from tests.fakes.feed import FakeFeed, Mode
from tests.fakes.packages import make_nupkg
from tests.fakes.proxy import Proxy

VERSIONS = "/v3/content/acme.a/index.json"
MISSING = "/v3/content/missing/index.json"
OUTAGES: tuple[Mode, ...] = ("refused", "hang", "clogged", "5xx", "html")


WAITED_FOR: dict[Mode, dict[str, str]] = {"hang": {"read_timeout": "400ms"}, "clogged": {"connect_timeout": "400ms"}}
"""What is waited for in vain in an outage. One probe must be enough once it is over: a busy machine has time for it."""


@pytest.fixture
def how() -> Mode:
    """The outage, where a test is not about several."""
    return "refused"


@pytest.fixture
async def warm(start_proxy: StartProxy, feed: FakeFeed, how: Mode) -> Proxy:
    """A proxy that holds the list of one package."""
    feed.add(make_nupkg("Acme.A", "1.0.0"))
    proxy = await start_proxy(feed.index_url, upstream=WAITED_FOR.get(how, {}))
    await ask(proxy, VERSIONS)
    return proxy


async def open_breaker(proxy: Proxy, feed: FakeFeed, how: Mode) -> None:
    """Begin an outage and let requests notice it: each for something else, as one alone says nothing of the host."""
    await feed.set_mode(how)
    async with asyncio.timeout(10):
        for number in itertools.count():
            if is_open(proxy, feed):
                return
            await ask(proxy, f"/v3/content/missing{number}/index.json")


def is_open(proxy: Proxy, feed: FakeFeed) -> bool:
    return proxy.metric("breaker_open", upstream="up", origin=feed.url) == 1


def attempts(proxy: Proxy) -> int:
    return int(proxy.metric("upstream_requests_total", upstream="up", method="GET"))


async def wait(proxy: Proxy, clock: FakeClock, seconds: float) -> None:
    """So long passes, with the probes that are due meanwhile."""
    for _ in range(round(seconds * 4)):
        clock.advance(0.25)
        await proxy.app.prober.round()


@pytest.mark.parametrize("how", OUTAGES)
@pytest.mark.parametrize(("lasted", "seen_after"), [(3, 1.5), pytest.param(3600, 6.0, marks=pytest.mark.slow)])
async def test_recovery_is_seen_soon(
    warm: Proxy, feed: FakeFeed, clock: FakeClock, how: Mode, lasted: int, seen_after: float
) -> None:
    """No client has to ask for it."""
    await open_breaker(warm, feed, how)
    began = clock.monotonic()
    await wait(warm, clock, min(lasted, 20))
    clock.advance(max(0.0, lasted - (clock.monotonic() - began)))
    assert is_open(warm, feed)
    await feed.set_mode("up")
    feed.add(make_nupkg("Acme.A", "2.0.0"))
    await wait(warm, clock, seen_after)
    assert not is_open(warm, feed)
    clock.advance(301)
    assert json.loads((await ask(warm, VERSIONS)).body) == {"versions": ["1.0.0", "2.0.0"]}


@pytest.mark.parametrize("how", ["refused", pytest.param("hang", marks=pytest.mark.slow), "5xx", "html"])
async def test_an_outage_costs_one_probe_a_second_then_one_in_five_whoever_asks(
    warm: Proxy, feed: FakeFeed, clock: FakeClock, how: Mode
) -> None:
    """75 seconds of it, with clients asking every second for what is stored."""
    clock.advance(301)
    await open_breaker(warm, feed, how)
    before = attempts(warm)
    for _ in range(15):
        await wait(warm, clock, 1)
        assert (await ask(warm, VERSIONS)).status == 200
    assert 13 <= attempts(warm) - before <= 15
    before = attempts(warm)
    for _ in range(60):
        await wait(warm, clock, 1)
        for path in (VERSIONS, MISSING, VERSIONS):
            assert (await ask(warm, path)).status in {200, 502, 503}
    assert attempts(warm) - before <= 60 / 5 + 1


async def test_the_running_prober_asks_no_more_often(warm: Proxy, feed: FakeFeed, clock: FakeClock) -> None:
    await open_breaker(warm, feed, "5xx")
    before, began = len(feed.requests), clock.monotonic()
    probing = warm.app.tasks.start(warm.app.prober.run(), name="prober")
    await until(lambda: len(feed.requests) - before >= 10)
    probes, passed = len(feed.requests) - before, clock.monotonic() - began
    probing.cancel()
    assert probes <= passed


async def test_a_probe_repeats_what_failed_or_what_somebody_wants(
    warm: Proxy, feed: FakeFeed, clock: FakeClock
) -> None:
    """An answer from ``/``, or from a load balancer's own page, says nothing of the feed."""
    await open_breaker(warm, feed, "refused")
    clock.advance(20)
    await feed.set_mode("5xx")
    before = len(feed.requests)
    await warm.app.prober.round()
    assert feed.requests[before].path.startswith("/v3-flatcontainer/missing")
    clock.advance(1)
    assert (await ask(warm, VERSIONS.replace("acme.a", "wanted"))).status == 503
    before = len(feed.requests)
    clock.advance(5)
    await warm.app.prober.round()
    assert [seen.path for seen in feed.requests[before:]] == ["/v3-flatcontainer/wanted/index.json"]


async def test_an_upstream_that_is_well_is_not_probed(warm: Proxy, feed: FakeFeed, clock: FakeClock) -> None:
    before = len(feed.requests)
    for _ in range(5):
        await wait(warm, clock, 5)
    assert len(feed.requests) == before


@pytest.mark.parametrize(("said", "held"), [("30", 30), ("120", 60), ("3600", 60)])
async def test_an_upstream_that_wants_to_be_left_alone_is(
    warm: Proxy, feed: FakeFeed, clock: FakeClock, said: str, held: int
) -> None:
    feed.retry_after = said
    await open_breaker(warm, feed, "429")
    before = len(feed.requests)
    for _ in range(5, held, 5):
        clock.advance(5)
        await warm.app.prober.round()
        got = await ask(warm, MISSING)
        assert (got.status, got.headers["Retry-After"]) == (503, "1"), "for our clients it is short all the same"
    assert len(feed.requests) == before
    await feed.set_mode("up")
    clock.advance(5.1)
    await warm.app.prober.round()
    assert not is_open(warm, feed)
    assert len(feed.requests) == before + 1


async def test_a_login_page_is_no_recovery(warm: Proxy, feed: FakeFeed, clock: FakeClock) -> None:
    await open_breaker(warm, feed, "refused")
    await feed.set_mode("html")
    await wait(warm, clock, 10)
    assert is_open(warm, feed)
    assert feed.requests[-1].path == UP_INDEX, "what was asked for may itself be what is wrong"


async def test_the_running_proxy_probes_unasked(warm: Proxy, feed: FakeFeed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(App, "start_source", lambda *_: None)  # what a source begins with would ask, too
    await open_breaker(warm, feed, "refused")
    warm.app.start_background()
    await feed.set_mode("up")
    await until(lambda: not is_open(warm, feed))
    health = json.loads((await ask(warm, "/health/ready")).body)
    assert (health["breakers"], health["last_failures"]) == ({"up": {}}, {})


async def test_what_can_be_made_does_not_wait_what_cannot_does(
    start_proxy: StartProxy, feed: FakeFeed, clock: FakeClock
) -> None:
    feed.add(make_nupkg("Acme.A", "1.0.0"))
    proxy = await start_proxy(feed.index_url)
    assert (await ask(proxy, "/v3/content/acme.a/1.0.0/acme.a.1.0.0.nupkg")).status == 200
    await open_breaker(proxy, feed, "refused")
    slept = len(clock.slept)
    got = await ask(proxy, VERSIONS)
    assert (got.status, got.cache) == (200, "detail=synthesized")
    assert (await ask(proxy, "/health/ready")).status == 200
    assert len(clock.slept) == slept, "neither of them waited"
    assert (await ask(proxy, MISSING)).status == 503
    assert len(clock.slept) > slept
