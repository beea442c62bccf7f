"""A package whose bytes were altered on the way is not believed, though its length and its directory are right."""

from __future__ import annotations

import asyncio
import errno
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientPayloadError
from structlog.testing import capture_logs

from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.store.fs import DiskFailure, FsOps
from tests.conftest import StartProxy
from tests.fakes.asking import PACKAGE, SMALL, UP_PACKAGE, ask, held, until
from tests.fakes.clock import FakeClock
from tests.fakes.feed import FakeFeed
from tests.fakes.origin import Script
from tests.fakes.packages import make_nupkg
from tests.fakes.proxy import Proxy
from tests.store.kit import FailingFs

IDENTITY = PackageIdentity("acme.a", "1.0.0")
SIZES = {"small": 20_000, "streamed": 400_000, "large": 3_000_000}


def flipped(nupkg: bytes) -> bytes:
    """One bit of a file inside is another."""
    altered = bytearray(nupkg)
    altered[nupkg.index(b"padding.bin") + 1000] ^= 0x10
    return bytes(altered)


async def ask_until_fetched(proxy: Proxy, clock: FakeClock, times: int, feed: FakeFeed) -> None:
    """Ask until upstream was asked so many times (a bad target rests for a while)."""
    while feed.count(UP_PACKAGE) < times:
        clock.advance(120)
        try:
            await ask(proxy, PACKAGE)
        except (OSError, ClientPayloadError):
            continue
    await until(lambda: proxy.metric("flights") == 0)


@pytest.fixture(params=list(SIZES))
def nupkg(request: pytest.FixtureRequest) -> bytes:
    return make_nupkg("Acme.A", "1.0.0", size=SIZES[request.param])


async def test_altered_bytes_are_fetched_again_and_said_loudly(
    proxy: Proxy, feed: FakeFeed, clock: FakeClock, nupkg: bytes
) -> None:
    feed.origin.routes[UP_PACKAGE] = [Script(body=flipped(nupkg)), Script(body=nupkg)]
    with capture_logs() as logs:
        if len(nupkg) < 2**20:
            try:
                assert (await ask(proxy, PACKAGE)).status == 502
            except (OSError, ClientPayloadError):
                assert len(nupkg) > 64 * 1024, "a small one gets a proper status"
        else:
            await ask(proxy, PACKAGE)
        await until(lambda: proxy.metric("quarantined_total", reason="contents") == 1)
        await until(lambda: proxy.metric("integrity_failures_total", reason="zip") == 1)
    told = [entry for entry in logs if entry["event"] == "package.damaged"]
    assert [(entry["log_level"], entry["package"]) for entry in told] == [("error", "acme.a 1.0.0")]
    assert "padding.bin" in told[0]["detail"]
    await until(lambda: held(proxy) == set())
    assert len(list((proxy.directory / "up" / "quarantine").iterdir())) == 1
    await ask_until_fetched(proxy, clock, 2, feed)
    got = await ask(proxy, PACKAGE)
    assert (got.status, got.body, got.cache) == (200, nupkg, "hit")


async def test_the_same_bytes_a_second_time_are_the_feeds_own(
    proxy: Proxy, feed: FakeFeed, clock: FakeClock, nupkg: bytes
) -> None:
    own = flipped(nupkg)
    feed.origin.routes[UP_PACKAGE] = [Script(body=own)] * 3
    with capture_logs() as logs:
        await ask_until_fetched(proxy, clock, 1, feed)
        await until(lambda: proxy.metric("quarantined_total", reason="contents") == 1)
        await ask_until_fetched(proxy, clock, 2, feed)
    got = await ask(proxy, PACKAGE)
    assert (got.status, got.body, got.cache) == (200, own, "hit")
    assert [entry["log_level"] for entry in logs if entry["event"] == "package.damaged_at_feed"] == ["warning"]


async def test_it_is_pinned_only_when_it_was_looked_into(proxy: Proxy, feed: FakeFeed, nupkg: bytes) -> None:
    feed.origin.routes[UP_PACKAGE] = [Script(body=flipped(nupkg)), Script(body=nupkg)]
    with suppress(OSError, ClientPayloadError):
        await ask(proxy, PACKAGE)
    await until(lambda: proxy.metric("quarantined_total", reason="contents") == 1)
    assert await pin(proxy) is None


async def test_a_sound_one_is_pinned(proxy: Proxy, feed: FakeFeed, nupkg: bytes) -> None:
    feed.origin.routes[UP_PACKAGE] = Script(body=nupkg)
    assert (await ask(proxy, PACKAGE)).body == nupkg
    for _ in range(1000):
        if await pin(proxy) is not None:
            break
        await until(lambda: True)
    assert await pin(proxy) is not None
    assert proxy.metric("quarantined_total", reason="contents") == 0


async def killed_before_it_looked(start_proxy: StartProxy, feed: FakeFeed, nupkg: bytes, tmp_path: Path) -> Proxy:
    """A proxy over a package that was committed, while nothing says that anybody looked into it."""
    feed.origin.routes[UP_PACKAGE] = Script(body=nupkg)
    last = await start_proxy(feed.index_url, cache={"check_contents": False})
    assert (await ask(last, PACKAGE)).body == nupkg
    await until(lambda: last.metric("flights") == 0)
    packages = Path("up", "packages")
    shutil.copytree(last.directory / packages, tmp_path / "killed" / packages)
    proxy = await start_proxy(feed.index_url, directory=tmp_path / "killed")
    proxy.app.sources["up"].start(proxy.app.tasks, secure=False)
    return proxy


async def test_what_a_killed_run_had_not_looked_into_is_at_the_next_start(
    start_proxy: StartProxy, feed: FakeFeed, nupkg: bytes, tmp_path: Path
) -> None:
    proxy = await killed_before_it_looked(start_proxy, feed, flipped(nupkg), tmp_path)
    async with asyncio.timeout(60):  # all else that a source does behind spins on the fake clock meanwhile
        while proxy.metric("quarantined_total", reason="contents") == 0 or held(proxy):
            await asyncio.sleep(0.001)
    assert await pin(proxy) is None
    feed.origin.routes[UP_PACKAGE] = Script(body=nupkg)
    assert (await ask(proxy, PACKAGE)).body == nupkg


async def test_what_a_killed_run_had_not_looked_into_is_pinned_at_the_next_start(
    start_proxy: StartProxy, feed: FakeFeed, nupkg: bytes, tmp_path: Path
) -> None:
    proxy = await killed_before_it_looked(start_proxy, feed, nupkg, tmp_path)
    async with asyncio.timeout(60):
        while await pin(proxy) is None:
            await asyncio.sleep(0.001)
    assert proxy.metric("quarantined_total", reason="contents") == 0
    assert (await ask(proxy, PACKAGE)).cache == "hit"


async def test_it_can_be_turned_off(start_proxy: StartProxy, feed: FakeFeed, nupkg: bytes) -> None:
    proxy = await start_proxy(feed.index_url, cache={"check_contents": False})
    feed.origin.routes[UP_PACKAGE] = Script(body=flipped(nupkg))
    assert (await ask(proxy, PACKAGE)).body == flipped(nupkg)
    await until(lambda: proxy.metric("flights") == 0)
    assert (await ask(proxy, PACKAGE)).cache == "hit"
    assert await pin(proxy) is not None


async def pin(proxy: Proxy) -> str | None:
    """What the ledger has of the package."""
    return await proxy.app.ledger.pinned("up", IDENTITY)


class BrokenLooks(FsOps):
    """Threads that look into what was answered can read nothing, so many times."""

    left = 0

    def call(self, op: str, path: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if op == "read" and self.left:
            self.left -= 1
            raise DiskFailure(op, errno.EMFILE)
        return super().call(op, path, function, *args, **kwargs)


class LooksLater(FakeClock):
    """From the first look on, so many reads fail."""

    def __init__(self, disk: BrokenLooks) -> None:
        super().__init__()
        self._disk = disk
        self._begun = False

    async def sleep(self, seconds: float) -> None:
        task = asyncio.current_task()
        if not self._begun and task is not None and task.get_name().startswith("contents"):
            self._begun, self._disk.left = True, 3
        await super().sleep(seconds)


class TestALookThatTheDiskBreaksOff:
    """Begins again: nobody would notice before the next start that what is served is damaged."""

    @pytest.fixture
    def disk(self) -> BrokenLooks:
        return BrokenLooks()

    @pytest.fixture
    def clock(self, disk: BrokenLooks) -> LooksLater:
        return LooksLater(disk)

    @pytest.mark.parametrize("damaged", [False, True])
    async def test_begins_again(
        self, start_proxy: StartProxy, feed: FakeFeed, disk: BrokenLooks, damaged: bool
    ) -> None:
        proxy = await start_proxy(feed.index_url, fs=disk)
        whole = make_nupkg("Acme.A", "1.0.0", size=8_000_000)
        feed.origin.routes[UP_PACKAGE] = Script(body=flipped(whole) if damaged else whole)
        await ask(proxy, PACKAGE)
        await until(lambda: not any(task.get_name().startswith("contents") for task in proxy.app.tasks.running()))
        assert disk.left == 0
        assert (await pin(proxy) is None) == damaged
        assert proxy.metric("quarantined_total", reason="contents") == damaged


class SlowCheck(FakeClock):
    """Looks behind an answer rest after their first piece until they are let."""

    def __init__(self) -> None:
        super().__init__()
        self.go = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        task = asyncio.current_task()
        if task is not None and task.get_name().startswith("contents"):
            await self.go.wait()
        await super().sleep(seconds)


class TestWhatIsGoneBeforeItIsLookedInto:
    """Nobody knows what it was: it is not pinned, nor is what has taken its place judged by it."""

    @pytest.fixture
    def clock(self) -> SlowCheck:
        return SlowCheck()

    async def looked(self, proxy: Proxy, clock: SlowCheck) -> None:
        clock.go.set()
        await until(lambda: not any(task.get_name().startswith("contents") for task in proxy.app.tasks.running()))

    async def test_a_purge_is_not_undone(self, proxy: Proxy, feed: FakeFeed, clock: SlowCheck) -> None:
        other, ours = make_nupkg("Acme.B", "1.0.0", size=3_000_000), make_nupkg("Acme.A", "1.0.0", size=3_000_000)
        feed.add(other)
        feed.add(ours)
        await ask(proxy, PACKAGE.replace("acme.a", "acme.b"))  # whose turn it is now
        await ask(proxy, PACKAGE)
        await proxy.held.purge(IDENTITY)
        feed.origin.routes[UP_PACKAGE] = Script(body=SMALL)
        await self.looked(proxy, clock)
        assert await pin(proxy) is None
        assert (await ask(proxy, PACKAGE)).body == SMALL, "the next bytes are its first"

    async def test_a_disk_that_did_not_take_it_pins_nothing(
        self, start_proxy: StartProxy, feed: FakeFeed, clock: SlowCheck
    ) -> None:
        fs = FailingFs()
        proxy = await start_proxy(feed.index_url, fs=fs)
        feed.add(make_nupkg("Acme.B", "1.0.0", size=3_000_000))
        await ask(proxy, PACKAGE.replace("acme.a", "acme.b"))
        feed.origin.routes[UP_PACKAGE] = [Script(body=flipped(make_nupkg("Acme.A", "1.0.0", size=3_000_000)))]
        fs.arm(1, errno.EIO, for_ever=True, only="fsync")
        await ask(proxy, PACKAGE)
        fs.disarm()
        feed.origin.routes[UP_PACKAGE] = Script(body=SMALL)
        await self.looked(proxy, clock)
        assert await pin(proxy) is None
        assert (await ask(proxy, PACKAGE)).body == SMALL

    async def test_another_one_in_its_place_is_not_set_aside(
        self, proxy: Proxy, feed: FakeFeed, clock: SlowCheck
    ) -> None:
        feed.origin.routes[UP_PACKAGE] = Script(body=flipped(make_nupkg("Acme.A", "1.0.0", size=8_000_000)))
        await ask(proxy, PACKAGE)
        await proxy.held.purge(IDENTITY)
        feed.origin.routes[UP_PACKAGE] = Script(body=SMALL)
        assert (await ask(proxy, PACKAGE)).body == SMALL
        await self.looked(proxy, clock)
        got = await ask(proxy, PACKAGE)
        assert (got.body, got.cache) == (SMALL, "hit")
        assert [facts.version for facts in await proxy.held.holdings.facts("acme.a")] == ["1.0.0"]
