"""Upstream is down, in every way: what was there is served, what was not is a failure that says so."""

from __future__ import annotations

import asyncio
import json

import aiohttp
import pytest
from structlog.testing import capture_logs

from tests.conftest import StartProxy
from tests.fakes.asking import Got, ask, ask_again, failures, held, until
from tests.fakes.clock import FakeClock
from tests.fakes.origin import Script
from tests.fakes.packages import make_nupkg
from tests.fakes.proxy import Proxy
from tests.outage.kit import (
    COMMON,
    DOWN,
    INDEX,
    RICH,
    Down,
    NamedFeed,
    is_acceptable,
    names_nothing,
    package_url,
    routes_of,
    upstream,
)

Warm = tuple[Proxy, list[str]]
every_outage = pytest.mark.parametrize(
    "how", [pytest.param(how, marks=pytest.mark.slow) if how in {"clogged", "hang"} else how for how in DOWN]
)
LONG = 8 * 86400
"""Seconds after which every document has run out that can."""
REASONS = {
    "refused": "refused",
    "hang": "read_timeout",
    "clogged": "connect_timeout",
    "dns": "dns",
    "5xx": "5xx",
    "html": "invalid_content",
    "429": "429",
}


@every_outage
async def test_what_was_served_once_is_served_again(warm: Warm, named: NamedFeed, clock: FakeClock, how: Down) -> None:
    proxy, paths = warm
    before = {path: (await ask(proxy, path)).body.replace(proxy.url.encode(), b"") for path in paths}
    clock.advance(5 * 86400)
    await named.fail(how, proxy)
    for path in paths:
        got = await ask(proxy, path)
        assert (got.status, got.body.replace(proxy.url.encode(), b"")) == (200, before[path]), (path, got.cache)
        assert "synthesized" not in got.cache, "what is stored is better than what could be made"
    assert failures(proxy, REASONS[how]) >= 1
    await proxy.restart()
    assert (await ask(proxy, "/health/ready")).status == 200, "a cold process with a warm directory"
    for path in paths:
        assert (await ask(proxy, path)).status == 200, path


@every_outage
async def test_nothing_that_is_missing_becomes_a_404_or_an_empty_list(
    warm: Warm, named: NamedFeed, clock: FakeClock, how: Down
) -> None:
    proxy, _ = warm
    before = held(proxy)
    clock.advance(LONG)
    await named.fail(how, proxy)
    with capture_logs() as logs:
        for path in routes_of("acme.cold"):
            got = await ask(proxy, path)
            assert got.status in {502, 503}, (path, got.status)
            assert got.headers["Cache-Control"] == "no-store"
            if got.status == 503:
                assert got.headers["Retry-After"] == "1"
            assert not names_nothing(got.body)
            assert "error" in json.loads(got.body)
    assert held(proxy) == before, "nothing was stored"
    assert [entry for entry in logs if entry["event"] == "breaker.opened"]
    await named.recover()
    for path in routes_of("acme.cold"):
        assert (await ask_again(proxy, clock, path)).status == 200, f"nothing is left of the outage: {path}"


@every_outage
async def test_a_proxy_that_has_nothing_says_so(
    start_proxy: StartProxy, named: NamedFeed, clock: FakeClock, how: Down
) -> None:
    proxy = await start_proxy(named.index_url, upstream=upstream(how), resolver=named.names)
    await named.fail(how, proxy)
    for path in [*COMMON, *routes_of("acme.a")]:
        got = await ask(proxy, path)
        assert got.status in {502, 503}, (path, got.status)
        assert not names_nothing(got.body)
    await named.recover()
    assert (await ask_again(proxy, clock, INDEX)).status == 200


@every_outage
async def test_an_outage_costs_hardly_more_attempts_than_requests(
    start_proxy: StartProxy, named: NamedFeed, clock: FakeClock, how: Down
) -> None:
    """100 requests one by one, then 100 at once; half of them for what has run out, half for what is missing."""
    proxy = await start_proxy(named.index_url, upstream=upstream(how), resolver=named.names)
    stale = ["/v3/content/acme.a/index.json", "/v3/registration/gz-semver2/acme.a/index.json"]
    for path in stale:
        assert (await ask(proxy, path)).status == 200
    paths = [path for n in range(50) for path in (stale[n % 2], f"/v3/content/missing{n}/index.json")]
    clock.advance(LONG)
    for at_once in (1, 100):
        await named.fail(how, proxy)
        before = attempts(proxy)
        turns = asyncio.Semaphore(at_once)

        async def one(path: str, turns: asyncio.Semaphore = turns) -> int:
            async with turns:
                return (await ask(proxy, path)).status

        statuses = await asyncio.gather(*map(one, paths))
        assert set(statuses[::2]) == {200}
        assert set(statuses[1::2]) <= {502, 503}
        assert attempts(proxy) - before <= 110, at_once
        await named.recover()
        await ask_again(proxy, clock, "/v3/content/missing0/index.json")
        assert proxy.metric("breaker_open", upstream="up", origin=named.url) == 0
        clock.advance(LONG)


def attempts(proxy: Proxy) -> float:
    return sum(proxy.metric("upstream_requests_total", upstream="up", method=method) for method in ("GET", "HEAD"))


@pytest.mark.parametrize("how", ["hang", "clogged"])
async def test_the_first_stale_answer_takes_half_a_second_the_next_ones_nothing(
    start_proxy: StartProxy, named: NamedFeed, clock: FakeClock, how: Down
) -> None:
    patient = upstream(how, read_timeout="20s", connect_timeout="20s")
    proxy = await start_proxy(named.index_url, upstream=patient, resolver=named.names)
    versions, other = "/v3/content/acme.a/index.json", "/v3/content/many/index.json"
    before = {path: (await ask(proxy, path)).body for path in (versions, other, package_url("acme.a"))}
    clock.advance(301)
    await named.fail(how, proxy)
    loop = asyncio.get_running_loop()
    began = loop.time()
    first = await ask(proxy, versions)
    assert 0.4 < loop.time() - began < 0.75
    assert (first.body, first.cache) == (before[versions], "hit; ttl=-1; detail=slow_upstream")
    began = loop.time()
    assert (await ask(proxy, package_url("acme.a"))).body == RICH
    assert (await ask(proxy, INDEX)).status == 200
    assert loop.time() - began < 0.25, "what needs no upstream waits for none"
    began = loop.time()
    for _ in range(3):
        second = await ask(proxy, other)
        assert second.body == before[other]
        assert second.cache == "hit; ttl=-1; detail=slow_upstream"
    assert loop.time() - began < 0.25, "one client has waited, that is enough"


async def test_a_slow_answer_does_not_make_the_others_stale(
    start_proxy: StartProxy, named: NamedFeed, clock: FakeClock
) -> None:
    """One document hangs, the upstream does not: what it answers meanwhile is waited for."""
    proxy = await start_proxy(named.index_url, upstream=upstream("hang", read_timeout="20s"), resolver=named.names)
    slow, other = "/v3/content/acme.a/index.json", "/v3/content/many/index.json"
    for path in (slow, other):
        await ask(proxy, path)
    clock.advance(301)
    gate = asyncio.Event()
    named.origin.routes["/v3-flatcontainer/acme.a/index.json"] = Script(body=b'{"versions":["1.0.0"]}', gate=gate)
    assert (await ask(proxy, slow)).cache == "hit; ttl=-1; detail=slow_upstream"
    await ask(proxy, other)
    await until(lambda: named.count("/v3-flatcontainer/many/index.json") == 2)
    await until(lambda: len(proxy.app.tasks) == 1)
    clock.advance(301)
    named.add(make_nupkg("Many", "2.0.0"))
    got = await ask(proxy, other)
    assert b"2.0.0" in got.body
    gate.set()


@pytest.mark.parametrize("how", ["hang", "refused"])
async def test_once_the_breaker_is_open_nothing_waits(
    warm: Warm, named: NamedFeed, clock: FakeClock, how: Down
) -> None:
    proxy, paths = warm
    clock.advance(5 * 86400)
    await named.fail(how, proxy)
    while not proxy.metric("breaker_open", upstream="up", origin=named.url):
        await ask(proxy, "/v3/content/missing/index.json")
    before, slept = attempts(proxy), len(clock.slept)
    loop = asyncio.get_running_loop()
    slowest = 0.0
    for path in paths:
        began = loop.time()
        assert (await ask(proxy, path)).status == 200
        slowest = max(slowest, loop.time() - began)
    assert (attempts(proxy), len(clock.slept)) == (before, slept)
    assert slowest < 0.5
    ready = await ask(proxy, "/health/ready")
    health = json.loads(ready.body)
    assert (health["ready"], health["reasons"], health["breakers"]) == (True, [], {"up": {named.url: "open"}})
    cause = health["last_failures"]["up"][named.url]
    assert cause["reason"] == REASONS[how]
    assert cause["detail"].endswith(f"({named.url})")
    assert cause["when"].endswith("Z")
    assert (await ask(proxy, "/v3/content/acme.a/index.json")).cache == "fwd=stale; detail=breaker_open"


@pytest.mark.parametrize("status", [500, 504])
async def test_a_server_error_is_never_passed_on(warm: Warm, named: NamedFeed, clock: FakeClock, status: int) -> None:
    proxy, _ = warm
    clock.advance(301)
    named.origin.fallback = lambda _: Script(status=status, body=b"secret of the upstream")
    stale = await ask(proxy, "/v3/content/acme.a/index.json")
    assert (stale.status, stale.cache) == (200, 'fwd=stale; detail="5xx"')
    missing = await ask(proxy, "/v3/content/acme.cold/index.json")
    assert missing.status == 503
    assert b"secret" not in missing.body


async def test_a_hanging_upstream_and_a_stopping_proxy(warm: Warm, named: NamedFeed, clock: FakeClock) -> None:
    """Nothing that waits for upstream keeps the process from ending."""
    proxy, _ = warm
    proxy.app.start_background()
    await named.set_mode("hang")
    asked = asyncio.create_task(ask(proxy, "/v3/content/acme.cold/index.json"))
    await until(lambda: named.origin.active > 0)
    async with asyncio.timeout(5):
        await proxy.stop()
    (outcome,) = await asyncio.gather(asked, return_exceptions=True)
    assert isinstance(outcome, aiohttp.ClientError) or (isinstance(outcome, Got) and outcome.status == 503)


async def test_documents_made_for_clients_are_acceptable_upstream_documents(warm: Warm) -> None:
    """What is served could be the upstream of another proxy."""
    proxy, paths = warm
    documents = [path for path in paths if "/x/" not in path and "catalog" not in path]
    assert len(documents) > 10
    for path in documents:
        got = await ask(proxy, path)
        assert got.status == 200
        is_acceptable(path, got)
