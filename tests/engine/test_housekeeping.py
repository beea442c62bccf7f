"""Housekeeping keeps the store within its limits, whatever the disk refuses for a while."""

from __future__ import annotations

import asyncio
import errno
import os
from contextlib import suppress
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from nugetproxy.clock import Clock
from nugetproxy.engine.tasks import FIRST_PAUSE, LONGEST_PAUSE, Tasks
from nugetproxy.metrics import Metrics
from nugetproxy.store.fs import StrPath
from tests.conftest import StartProxy
from tests.fakes.asking import ask, until
from tests.fakes.clock import BriskClock, FakeClock
from tests.fakes.feed import FakeFeed
from tests.fakes.packages import make_nupkg
from tests.fakes.proxy import Proxy
from tests.store.kit import FailingFs

COUNT = 12
SIZE = 20_000


@pytest.fixture
def clock() -> FakeClock:
    return BriskClock()


def packages(feed: FakeFeed, count: int = COUNT, name: str = "Acme.P") -> list[str]:
    """Where to get what was published now."""
    ids = [f"{name}{n}" for n in range(count)]
    for id in ids:
        feed.add(make_nupkg(id, "1.0.0", size=SIZE))
    return [f"content/{id.lower()}/1.0.0/{id.lower()}.1.0.0.nupkg" for id in ids]


def size_of(folder: Path) -> int:
    """Bytes of the packages that lie there now (while others are being removed)."""
    found = 0
    for at, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                found += (Path(at) / name).stat().st_size if name.endswith(".nupkg") else 0
    return found


@pytest.fixture
def fs() -> FailingFs:
    """Works until it is armed."""
    return FailingFs()


@pytest.fixture
async def small(start_proxy: StartProxy, feed: FakeFeed, fs: FailingFs) -> Proxy:
    """A proxy that may hold far less than the feed has."""
    return await start_proxy(feed.index_url, fs=fs, cache={"max_size": f"{4 * SIZE} B", "scrub_rate": "off"})


async def fill(proxy: Proxy, feed: FakeFeed) -> None:
    for path in packages(feed):
        assert (await ask(proxy, f"/v3/{path}")).status == 200
    await until(lambda: proxy.metric("flights") == 0)


@pytest.mark.parametrize("op", ["names", "utime"])
async def test_a_failed_disk_operation_does_not_end_it(small: Proxy, feed: FakeFeed, fs: FailingFs, op: str) -> None:
    fs.arm(1, errno.EIO, only=op, for_ever=True)
    with capture_logs() as logs:
        small.app.start_background()
        await fill(small, feed)
        await until(lambda: small.metric("disk_errors_total", op=op, errno="EIO") >= 3)
    told = [entry for entry in logs if entry["event"] == "housekeeping.failed"]
    assert {(entry["log_level"], entry["reason"]) for entry in told} == {("error", "disk")}
    assert "EIO" in told[0]["detail"]
    fs.disarm()
    await until(lambda: size_of(small.packages) <= 4 * SIZE)


async def test_a_folder_that_cannot_be_read_does_not_keep_the_others_from_being_evicted(
    start_proxy: StartProxy, feed: FakeFeed, fs: FailingFs, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = await start_proxy(feed.index_url)
    await fill(before, feed)
    await before.stop()
    small = await start_proxy(feed.index_url, fs=fs, cache={"max_size": f"{4 * SIZE} B", "scrub_rate": "off"})
    names, locked = fs.names, small.packages / "acme.p0"

    def refuse(path: StrPath) -> list[str]:
        if str(path) == str(locked):
            fs.call("names", str(path), fs._fail)
        return names(path)

    monkeypatch.setattr(fs, "names", refuse)
    with capture_logs() as logs:
        small.app.start_background()
        await until(lambda: size_of(small.packages) - size_of(locked) <= 4 * SIZE)
    assert size_of(locked) > 0
    assert any(entry["event"] == "folder.unreadable" and str(locked) in entry["detail"] for entry in logs)


async def test_two_upstreams_share_the_limit_by_what_they_hold(
    start_proxy: StartProxy, feed: FakeFeed, clock: FakeClock
) -> None:
    async with FakeFeed() as other:
        upstreams = {"other": {"url": other.index_url}}
        proxy = await start_proxy(feed.index_url, upstreams=upstreams)
        for path in packages(feed, 12):
            assert (await ask(proxy, f"/v3/{path}")).status == 200
        for path in packages(other, 4, "Other.P"):
            assert (await ask(proxy, f"/other/v3/{path}")).status == 200
        await until(lambda: proxy.metric("flights") == 0)
        await proxy.stop()
        proxy = await start_proxy(feed.index_url, upstreams=upstreams, cache={"max_size": f"{8 * SIZE} B"})
        for packages_of in proxy.app.packages.values():
            await packages_of.folder.usage.count()
        await proxy.app.housekeeping.round()
        first, second = (size_of(proxy.directory / name / "packages") for name in ("up", "other"))
        assert first + second <= 8 * SIZE
        assert 4 * SIZE < first <= 6 * SIZE
        assert SIZE <= second <= 2 * SIZE
        assert (await ask(proxy, "/other/v3/content/other.p3/1.0.0/other.p3.1.0.0.nupkg")).cache.startswith("hit")


async def test_work_that_is_meant_to_run_for_ever_begins_again_when_it_fails() -> None:
    clock, metrics, begun = FakeClock(), Metrics(), 0
    tasks = Tasks(clock, metrics)

    async def work() -> None:
        nonlocal begun
        begun += 1
        if begun == 9:
            clock.advance(LONGEST_PAUSE)
        if begun < 11:
            raise OSError(errno.EIO, f"trouble {begun}")

    with capture_logs() as logs:
        await tasks.keep(work, name="tidying of up")
    assert clock.slept == [FIRST_PAUSE, 2.0, 4.0, 8.0, 16.0, 32.0, LONGEST_PAUSE, LONGEST_PAUSE, FIRST_PAUSE, 2.0]
    assert [(entry["event"], entry["log_level"], entry["task"]) for entry in logs] == [
        ("task.failed", "error", "tidying of up")
    ] * 10
    assert "trouble 1" in logs[0]["detail"]
    assert metrics.registry.get_sample_value("nugetproxy_task_failures_total", {"task": "tidying"}) == 10


async def test_what_follows_a_task_follows_one_that_never_began() -> None:
    tasks, ends = Tasks(FakeClock(), Metrics()), list[str]()
    begun = asyncio.Event()

    async def work() -> None:
        begun.set()

    tasks.start(work(), name="some work", ended=lambda: ends.append("cancelled"))
    await tasks.stop()
    assert (ends, begun.is_set(), len(tasks)) == (["cancelled"], False, 0)
    await tasks.start(work(), name="some work", ended=lambda: ends.append("done"))
    await until(lambda: ends == ["cancelled", "done"])


async def test_the_end_of_a_task_that_nobody_expects_is_an_error() -> None:
    metrics = Metrics()
    tasks = Tasks(Clock(), metrics)

    async def work() -> None:
        raise RuntimeError("a mistake of ours")

    with capture_logs() as logs:
        await asyncio.wait({tasks.start(work(), name="once")})
    assert [(entry["event"], entry["log_level"]) for entry in logs] == [("task.failed", "error")]
    assert metrics.registry.get_sample_value("nugetproxy_task_failures_total", {"task": "once"}) == 1
