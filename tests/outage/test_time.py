"""Time does odd things: clocks are set, the event loop stands still."""

from __future__ import annotations

import asyncio
import time

import pytest
from structlog.testing import capture_logs

from nugetproxy.clock import Clock
from nugetproxy.engine.loop_watch import LoopWatch
from nugetproxy.metrics import Metrics
from tests.fakes.asking import PACKAGE, REGISTRATION, SEARCH, SMALL, UP_PACKAGE, VERSIONS, ask, held
from tests.fakes.clock import FakeClock
from tests.fakes.feed import FakeFeed
from tests.fakes.packages import make_nupkg
from tests.fakes.proxy import Proxy
from tests.web.test_push import form, sending

PATHS = ("/v3/index.json", VERSIONS, REGISTRATION, SEARCH, PACKAGE)
HOUR, DAY = 3600, 86400


class SetClock(FakeClock):
    """The wall clock may be set; the other one runs on."""

    offset = 0.0

    def now(self) -> float:
        return super().now() + self.offset


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.mark.parametrize("jump", [HOUR, 3650 * DAY, -DAY, -3650 * DAY], ids=["+1h", "+10y", "-1d", "-10y"])
@pytest.mark.parametrize("down", [False, True], ids=["up", "down"])
async def test_a_clock_that_is_set(proxy: Proxy, feed: FakeFeed, clock: SetClock, jump: float, down: bool) -> None:
    feed.add(SMALL)
    before = {path: (await ask(proxy, path)).body for path in PATHS}
    files = held(proxy)
    asked = {path: feed.count(path) for path in {seen.path for seen in feed.requests}}
    if down:
        await feed.set_mode("refused")
    clock.offset = jump
    clock.advance(3)
    for _ in range(3):
        for path in PATHS:
            got = await ask(proxy, path)
            assert got.status == 200, path
            # Search results are given up after a week; then held packages tell.
            assert got.body == before[path] or "synthesized" in got.cache, path
            assert "synthesized" not in got.cache or path == SEARCH
            assert int(got.headers.get("Age", "0")) >= 0
    await proxy.app.housekeeping.round()
    await proxy.app.scrub.round()
    assert held(proxy) == files
    if not down:
        assert {path: feed.count(path) - count for path, count in asked.items() if feed.count(path) - count > 1} == {}
    assert feed.count(UP_PACKAGE) == 1
    clock.offset = 0
    clock.advance(3)
    for path in PATHS:
        assert (await ask(proxy, path)).status == 200


async def test_after_a_clock_was_set_back_a_push_is_seen_by_the_next_read(
    proxy: Proxy, feed: FakeFeed, clock: SetClock
) -> None:
    for number in (1, 2):
        body = form(make_nupkg("Acme.A", f"{number}.0.0"))
        assert (await ask(proxy, "/v3/package", "PUT", data=body, headers=sending())).status == 201
        for path in (VERSIONS, REGISTRATION, SEARCH):
            assert f"{number}.0.0".encode() in (await ask(proxy, path)).body, path
        clock.offset -= 10_000
        for path in (VERSIONS, REGISTRATION, SEARCH):  # has it stored anew, by the clock of now
            await ask(proxy, path)


async def test_a_clock_that_is_set_is_logged(clock: SetClock) -> None:
    pulse = LoopWatch(clock, Metrics())
    with capture_logs() as logs:
        await pulse.beat()
        beat = asyncio.create_task(pulse.beat())
        await asyncio.sleep(0)
        clock.offset = -3 * HOUR
        await beat
        clock.offset = 0  # between two beats
        await pulse.beat()
    told = [(entry["event"], entry["seconds"]) for entry in logs]
    assert told == [("clock.jumped", -3 * HOUR), ("clock.jumped", 3 * HOUR)]


async def test_an_event_loop_that_was_held_up_goes_on(
    proxy: Proxy, feed: FakeFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nugetproxy.engine.loop_watch.BEAT", 0.05)
    monkeypatch.setattr("nugetproxy.engine.loop_watch.LATE", 0.1)
    feed.add(SMALL)
    await ask(proxy, PACKAGE)
    pulse = proxy.app.loop_watch
    pulse._clock = Clock()  # real time: it is the loop's own that is late
    beat = asyncio.create_task(pulse.beat())
    asked = asyncio.create_task(ask(proxy, PACKAGE))
    await asyncio.sleep(0)
    time.sleep(0.3)
    with capture_logs() as logs:
        await beat
    assert (await asked).body == SMALL
    assert proxy.metric("loop_lag_seconds") >= 0.1
    assert proxy.metric("loop_stalls_total") == 1
    assert [entry["event"] for entry in logs if entry["event"] == "loop.late"] == ["loop.late"]
