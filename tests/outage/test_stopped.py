"""What a start with upstream down says of many held packages before it has looked at all of them."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from nugetproxy.engine.stock import LOOK_SECONDS, MOST_LOOKS, Stock
from nugetproxy.store.fs import DiskFailure, FsOps, StrPath
from tests.conftest import StartProxy
from tests.fakes.asking import ask, until
from tests.fakes.clock import FakeClock
from tests.fakes.feed import FakeFeed
from tests.fakes.packages import make_nupkg
from tests.fakes.proxy import Proxy
from tests.outage.kit import INDEX, lay_down, read

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


def as_it_was(_: Proxy) -> None:
    """A stop in order."""


def without_holdings(proxy: Proxy) -> None:
    (proxy.packages.parent / "holdings.db").unlink()


def damaged_holdings(proxy: Proxy) -> None:
    file = proxy.packages.parent / "holdings.db"
    file.write_bytes(b"\x5a" * file.stat().st_size)


@pytest.mark.parametrize("change", [as_it_was, without_holdings, damaged_holdings])
async def test_lists_are_made_at_once_whatever_is_known(
    start_proxy: StartProxy, feed: FakeFeed, change: Callable[[Proxy], None]
) -> None:
    proxy = await looked_through(start_proxy, feed)
    lay_down(proxy.packages, "bulk.n3", "1.0.0-b", make_nupkg("Bulk.N3", "1.0.0-b"))
    lay_down(proxy.packages, "bulk.n3", "10.0.0", make_nupkg("Bulk.N3", "10.0.0"))
    lay_down(proxy.packages, "bulk.n3", "9.0.0", make_nupkg("Bulk.N3", "9.0.0"))
    change(proxy)
    await proxy.start()
    for walked in (False, True):
        assert proxy.held.holdings.synced is walked
        assert {(await ask(proxy, path)).status for path in ("/health/ready", INDEX)} == {200}
        assert await read(proxy, LISTS[0]) == {"versions": ["1.0.0-b", "1.0.0", "9.0.0", "10.0.0"]}
        (page,) = (await read(proxy, LISTS[1]))["items"]
        assert [leaf["catalogEntry"]["version"] for leaf in page["items"]] == ["1.0.0-b", "1.0.0", "9.0.0", "10.0.0"]
        assert (await ask(proxy, LISTS[0].replace("n3", "n77"))).status == 503, "nobody can say that there is none"
        async with walking(proxy):
            pass
    assert (await read(proxy, "/v3/query?q=bulk"))["totalHits"] == COUNT


async def test_what_was_removed_meanwhile_is_not_named(start_proxy: StartProxy, feed: FakeFeed) -> None:
    proxy = await looked_through(start_proxy, feed)
    lay_down(proxy.packages, "bulk.n3", "2.0.0", make_nupkg("Bulk.N3", "2.0.0"))
    shutil.rmtree(proxy.packages / "bulk.n3" / "1.0.0")
    shutil.rmtree(proxy.packages / "bulk.n4")
    await proxy.start()
    assert await read(proxy, LISTS[0]) == {"versions": ["2.0.0"]}
    assert (await ask(proxy, LISTS[0].replace("n3", "n4"))).status == 503


async def test_what_is_known_of_a_package_counts_more_than_its_nuspec(start_proxy: StartProxy, feed: FakeFeed) -> None:
    """That it is not listed, say."""
    proxy = await looked_through(start_proxy, feed)
    await proxy.start()
    (facts,) = await proxy.held.stock.facts("Bulk.N3")
    await proxy.held.amend(facts, None, False)
    assert [one.listed for one in await proxy.held.stock.facts("Bulk.N3")] == [False]
    assert not proxy.held.holdings.synced


class Unlistable(FsOps):
    """The disk does not say what is in a folder of versions."""

    failing = False

    def names(self, path: StrPath) -> list[str]:
        if self.failing and str(path).endswith("bulk.n3"):
            raise DiskFailure("names", errno.EIO, str(path))
        return super().names(path)


async def test_a_folder_that_cannot_be_looked_into_is_no_empty_one(start_proxy: StartProxy, feed: FakeFeed) -> None:
    fs = Unlistable()
    proxy = await looked_through(start_proxy, feed, fs=fs)
    fs.failing = True
    await proxy.start()
    assert await statuses(proxy) == {503}
    fs.failing = False
    assert await statuses(proxy) == {200}


async def test_offline_what_is_held_is_all_there_is_before_anybody_has_looked(
    start_proxy: StartProxy, feed: FakeFeed
) -> None:
    proxy = await looked_through(start_proxy, feed)
    without_holdings(proxy)
    offline = await start_proxy(feed.index_url, directory=proxy.directory, upstream={"offline": True})
    assert await statuses(offline) == {200}
    assert (await ask(offline, LISTS[0].replace("n3", "n77"))).status == 404
    assert not offline.held.holdings.synced


async def doubtful(start_proxy: StartProxy, feed: FakeFeed, disk: SlowDisk) -> Proxy:
    """A proxy that has to look through what it holds; each look waits for its turn."""
    proxy = await looked_through(start_proxy, feed, fs=disk)
    disk.looked, disk.turns = 0, threading.Semaphore(0)
    await proxy.start()
    return proxy


@pytest.mark.parametrize("asked", [False, True])
async def test_after_a_search_that_was_not_told_all_the_walk_does_not_rest(
    start_proxy: StartProxy, feed: FakeFeed, clock: FakeClock, asked: bool
) -> None:
    disk = SlowDisk(clock, LONG)
    proxy = await doubtful(start_proxy, feed, disk)
    assert disk.turns is not None
    async with walking(proxy):
        await until(lambda: disk.looked == 1)
        if asked:
            assert (await ask(proxy, "/v3/query?q=bulk")).status == 200
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
