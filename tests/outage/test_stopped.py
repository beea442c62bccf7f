"""What a start with upstream down says of many held packages: by the stop before it, or by a look at all of them."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import shutil
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from nugetproxy.engine.stock import LOOK_SECONDS, MOST_LOOKS, Stock
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.store.fs import FsOps, StrPath
from tests.conftest import StartProxy
from tests.fakes.asking import ask, until
from tests.fakes.clock import FakeClock
from tests.fakes.feed import FakeFeed
from tests.fakes.packages import make_nupkg
from tests.fakes.proxy import Proxy
from tests.outage.kit import lay_down, package_url, read

COUNT = 5
LISTS = ("/v3/content/bulk.n3/index.json", "/v3/registration/gz-semver2/bulk.n3/index.json")
LONG = 1000.0
"""Seconds that a look at a package takes; nothing else waits for so long."""


class SlowDisk(FsOps):
    """A look at a package takes ``seconds``; it waits for its turn, once there are any."""

    def __init__(self, clock: FakeClock, seconds: float = 0.0) -> None:
        self._clock = clock
        self._seconds = seconds
        self.looked = 0
        self.turns: threading.Semaphore | None = None

    def stat(self, path: StrPath) -> os.stat_result:
        if str(path).endswith(".nupkg"):
            self.looked += 1
            if self._seconds:
                self._clock.advance(self._seconds)
            if self.turns is not None:
                assert self.turns.acquire(timeout=20), "nobody lets it go on"
        return super().stat(path)


@pytest.fixture(autouse=True)
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """What these tests hold is too much to be looked at before a start is ready."""
    monkeypatch.setattr("nugetproxy.store.packages.usage.MANY_IDS", 2)
    monkeypatch.setattr("nugetproxy.store.holdings.holdings.BATCH", 1)


async def looked_through(start_proxy: StartProxy, feed: FakeFeed, **more: FsOps) -> Proxy:
    """A proxy that knew all that it holds, stopped; from now on upstream is down."""
    proxy = await start_proxy(feed.index_url, **more)
    await proxy.stop()
    for number in range(COUNT):
        lay_down(proxy.packages, f"bulk.n{number}", "1.0.0", make_nupkg(f"Bulk.N{number}", "1.0.0"))
    await proxy.start()
    await proxy.held.stock.take()
    await proxy.stop()
    await feed.set_mode("refused")
    return proxy


async def statuses(proxy: Proxy) -> set[int]:
    return {(await ask(proxy, path)).status for path in LISTS}


@asynccontextmanager
async def walking(proxy: Proxy) -> AsyncIterator[None]:
    """It goes through its folder as behind a start."""
    keeping = proxy.app.tasks.start(proxy.held.stock.keep(), name="walk")
    yield
    await until(lambda: proxy.held.holdings.synced)
    keeping.cancel()


async def test_after_an_orderly_stop_lists_are_made_at_once(start_proxy: StartProxy, feed: FakeFeed) -> None:
    proxy = await looked_through(start_proxy, feed)
    await proxy.start()
    assert not proxy.held.holdings.synced, "nobody has looked yet"
    assert await statuses(proxy) == {200}
    assert (await read(proxy, "/v3/query?q=bulk"))["totalHits"] == COUNT
    await proxy.restart()
    assert await statuses(proxy) == {200}, "nor has the run before"


@pytest.mark.parametrize("removed", [False, True])
async def test_what_was_changed_by_hand_meanwhile_is_put_right_by_the_walk(
    start_proxy: StartProxy, feed: FakeFeed, removed: bool
) -> None:
    proxy = await looked_through(start_proxy, feed)
    if removed:
        shutil.rmtree(proxy.packages / "bulk.n3" / "1.0.0")
    else:
        lay_down(proxy.packages, "bulk.n3", "2.0.0", make_nupkg("Bulk.N3", "2.0.0"))
    await proxy.start()
    assert await read(proxy, LISTS[0]) == {"versions": ["1.0.0"]}
    assert (await ask(proxy, package_url("bulk.n3"))).status == (503 if removed else 200), "it is never said to be none"
    async with walking(proxy):
        pass
    got = await ask(proxy, LISTS[0])
    assert (got.status, got.status == 200 and json.loads(got.body)) == (
        (503, False) if removed else (200, {"versions": ["1.0.0", "2.0.0"]})
    )


async def test_another_folder_is_looked_through_first(start_proxy: StartProxy, feed: FakeFeed) -> None:
    proxy = await looked_through(start_proxy, feed)
    shutil.rmtree(proxy.packages)
    proxy.packages.mkdir(mode=0o700)
    await proxy.start()
    assert await statuses(proxy) == {503}
    async with walking(proxy):
        pass
    assert proxy.held.folder.usage.packages == 0


async def test_a_package_that_a_start_commits_is_missing_until_the_walk(
    start_proxy: StartProxy, feed: FakeFeed
) -> None:
    """It was verified when the machine lost its power."""
    proxy = await looked_through(start_proxy, feed)
    nupkg, identity = make_nupkg("Bulk.N3", "2.0.0"), PackageIdentity("bulk.n3", "2.0.0")
    digest = base64.b64encode(hashlib.sha512(nupkg).digest()).decode()
    sealed = proxy.held.folder.layout.sealed(identity, digest)
    assert sealed is not None
    Path(sealed).write_bytes(nupkg)
    await proxy.start()
    assert (await ask(proxy, package_url("bulk.n3", "2.0.0"))).body == nupkg
    assert await statuses(proxy) == {503}
    async with walking(proxy):
        pass
    assert await read(proxy, LISTS[0]) == {"versions": ["1.0.0", "2.0.0"]}


async def doubtful(start_proxy: StartProxy, feed: FakeFeed, disk: SlowDisk) -> Proxy:
    """A proxy that has to look through what it holds, as somebody was there; each look waits for its turn."""
    proxy = await looked_through(start_proxy, feed, fs=disk)
    os.utime(proxy.packages)
    disk.looked, disk.turns = 0, threading.Semaphore(0)
    await proxy.start()
    return proxy


@pytest.mark.parametrize("asked", [False, True])
async def test_while_somebody_waits_for_it_the_walk_does_not_rest(
    start_proxy: StartProxy, feed: FakeFeed, clock: FakeClock, asked: bool
) -> None:
    disk = SlowDisk(clock, LONG)
    proxy = await doubtful(start_proxy, feed, disk)
    assert disk.turns is not None
    async with walking(proxy):
        await until(lambda: disk.looked == 1)
        if asked:
            got = await ask(proxy, LISTS[0])
            assert (got.status, got.headers["Retry-After"]) == (503, "1")
        clock.slept.clear()
        disk.turns.release(100)
    rests = [seconds for seconds in clock.slept if seconds >= LONG]
    assert bool(rests) is not asked
    assert await statuses(proxy) == {200}


class Looks(FakeClock):
    """Whoever waits for the walk has so many looks ``left``."""

    def __init__(self) -> None:
        super().__init__()
        self.left = 0

    async def sleep(self, seconds: float) -> None:
        if seconds == LOOK_SECONDS:
            while not self.left:
                await asyncio.sleep(0.001)
            self.left -= 1
        await super().sleep(seconds)


async def test_whoever_comes_behind_the_walk_waits_while_it_goes_on(
    start_proxy: StartProxy, feed: FakeFeed, clock: FakeClock
) -> None:
    """However long it takes: twice through a large folder at the same time takes longer."""
    disk, looks = SlowDisk(clock), Looks()
    proxy = await doubtful(start_proxy, feed, disk)
    assert disk.turns is not None
    behind = Stock(proxy.held.folder, proxy.held.holdings, looks)
    async with walking(proxy):
        taken = proxy.app.tasks.start(behind.taken(), name="taken")
        for step in range(1, COUNT):
            await until(lambda: disk.looked == step)  # noqa: B023 - it ends here
            looks.left = MOST_LOOKS - 40
            await until(lambda: not looks.left)
            assert not taken.done()
            disk.turns.release()
        disk.turns.release(100)
    looks.left = 1
    await until(taken.done)


async def test_a_walk_that_does_not_go_on_is_not_waited_for(
    start_proxy: StartProxy, feed: FakeFeed, clock: FakeClock
) -> None:
    disk = SlowDisk(clock)
    proxy = await doubtful(start_proxy, feed, disk)
    assert disk.turns is not None
    async with walking(proxy):
        await until(lambda: disk.looked == 1)
        await proxy.held.stock.taken()
        assert not proxy.held.holdings.synced
        disk.turns.release(100)
