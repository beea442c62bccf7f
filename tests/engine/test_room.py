"""Room is made while packages land, on a full disk too: what was asked for last is there."""

from __future__ import annotations

import asyncio
import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from nugetproxy.cli.proxy_client import proxy_client
from nugetproxy.engine.room import SLACK
from nugetproxy.jobs.inner_client import InnerClient
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.store.fs import DiskFailure, FsOps
from nugetproxy.store.packages.retention import Retention
from nugetproxy.store.packages.usage import YOUNG_SECONDS
from tests.conftest import StartProxy
from tests.fakes.asking import ask, held, staged, until
from tests.fakes.clock import FakeClock
from tests.fakes.feed import FakeFeed
from tests.fakes.halted import halting
from tests.fakes.packages import make_nupkg
from tests.fakes.proxy import Proxy
from tests.outage.kit import lay_down
from tests.store.kit import FailingFs

SIZE = 200_000


class SmallDisk(FsOps):
    """A file system of ``capacity`` bytes of which ``others`` are taken by somebody else."""

    def __init__(self, root: Path, capacity: int, others: int = 0) -> None:
        self.root, self.capacity, self.others = root, capacity, others

    def taken(self) -> int:
        """Bytes of packages, downloads included."""
        found = 0
        for place, _, names in os.walk(self.root):
            for name in names:
                path = Path(place) / name
                if "documents" not in place and ".db" not in name and path.exists():
                    found += path.stat().st_size
        return found + self.others

    def call(self, op: str, path: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if op == "write" and self.taken() + len(args[1]) > self.capacity:
            return super().call(op, path, self._full)
        return super().call(op, path, function, *args, **kwargs)

    def _full(self) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def room(self, path: Path) -> tuple[int, int]:
        return self.capacity, max(0, self.capacity - self.taken())


def publish(feed: FakeFeed, number: int) -> str:
    """Where to get a new package of ``SIZE`` bytes and some."""
    feed.add(make_nupkg(f"Acme.P{number}", "1.0.0", size=SIZE))
    return f"/v3/content/acme.p{number}/1.0.0/acme.p{number}.1.0.0.nupkg"


async def get(proxy: Proxy, feed: FakeFeed, *numbers: int) -> None:
    for number in numbers:
        assert (await ask(proxy, publish(feed, number))).status == 200
        await until(lambda: proxy.metric("flights") == 0)


def marked(proxy: Proxy) -> set[int]:
    """The numbers of what is held."""
    return {int(name.split(".")[1][1:]) for name in held(proxy) if name.endswith(".sha512")}


async def test_the_limit_holds_while_packages_land(start_proxy: StartProxy, feed: FakeFeed) -> None:
    limit = 5 * SIZE
    proxy = await start_proxy(feed.index_url, cache={"max_size": f"{limit} B"})
    for number in range(15):
        await get(proxy, feed, number)
        assert proxy.metric("store_bytes", part="packages") <= (1 + SLACK) * limit
    assert marked(proxy) == {10, 11, 12, 13, 14}
    assert proxy.metric("evicted_bytes_total") >= 10 * SIZE


async def test_what_has_just_landed_goes_last(start_proxy: StartProxy, feed: FakeFeed, clock: FakeClock) -> None:
    proxy = await start_proxy(feed.index_url, cache={"max_size": f"{int(3.5 * SIZE)} B"})
    await get(proxy, feed, 0, 1)
    clock.advance(YOUNG_SECONDS)
    await get(proxy, feed, 2)
    for number in (0, 1):  # used later than the third one, which has just landed all the same
        clock.advance(1)
        await ask(proxy, publish(feed, number))
    await proxy.app.housekeeping.finish()
    await get(proxy, feed, 3)
    assert marked(proxy) >= {2, 3}


async def test_a_full_disk_makes_room_for_what_is_asked_for_now(
    start_proxy: StartProxy, feed: FakeFeed, tmp_path: Path
) -> None:
    disk = SmallDisk(tmp_path / "cache", 5 * SIZE)
    proxy = await start_proxy(feed.index_url, fs=disk)
    with capture_logs() as logs:
        await get(proxy, feed, *range(12))
    assert 11 in marked(proxy)
    assert (await ask(proxy, publish(feed, 11))).cache == "hit"
    assert [entry for entry in logs if entry["event"] == "download.failed"] == []
    assert proxy.metric("evicted_bytes_total") > 5 * SIZE
    assert staged(proxy) == []


async def test_a_disk_too_full_for_a_new_file_makes_room(start_proxy: StartProxy, feed: FakeFeed) -> None:
    fs = FailingFs()
    proxy = await start_proxy(feed.index_url, fs=fs)
    await get(proxy, feed, 0)
    fs.arm(1, errno.ENOSPC, only="create")
    await get(proxy, feed, 1)
    assert fs.failed == ["create"]
    assert marked(proxy) == {1}
    assert proxy.metric("disk_errors_total", op="create", errno="ENOSPC") == 1


@pytest.mark.parametrize("size", [20_000, 400_000, 1_200_000])
async def test_a_disk_that_is_full_when_a_package_is_written_makes_room(
    start_proxy: StartProxy, feed: FakeFeed, size: int
) -> None:
    """What could not be written at first is no broken package."""
    fs = FailingFs()
    proxy = await start_proxy(feed.index_url, fs=fs)
    await get(proxy, feed, 0)
    await until(lambda: marked(proxy) == {0})
    nupkg = make_nupkg("Acme.P1", "1.0.0", size=size)
    feed.add(nupkg)
    fs.arm(1, errno.ENOSPC, only="write")
    assert (await ask(proxy, "/v3/content/acme.p1/1.0.0/acme.p1.1.0.0.nupkg")).body == nupkg
    assert fs.failed == ["write"]
    await until(lambda: marked(proxy) == {1})
    assert proxy.metric("integrity_failures_total", reason="zip") == 0


async def test_a_disk_without_anything_to_evict_passes_packages_on(
    start_proxy: StartProxy, feed: FakeFeed, tmp_path: Path
) -> None:
    proxy = await start_proxy(feed.index_url, fs=SmallDisk(tmp_path / "cache", SIZE // 2))
    await get(proxy, feed, 0)
    assert marked(proxy) == set()


@pytest.mark.parametrize(("min_free", "kept"), [("0", 8), ("20 %", 7), (f"{5 * SIZE} B", 4)])
async def test_some_of_the_disk_is_left_free(
    start_proxy: StartProxy, feed: FakeFeed, tmp_path: Path, min_free: str, kept: int
) -> None:
    disk = SmallDisk(tmp_path / "cache", 10 * SIZE, others=SIZE)
    proxy = await start_proxy(feed.index_url, fs=disk, cache={"min_free": min_free, "max_size": "50 GiB"})
    for number in range(15):
        await get(proxy, feed, number)
        await proxy.app.room.keep()
    assert len(marked(proxy)) in {kept, kept - 1}
    assert 14 in marked(proxy)


async def test_a_stopped_proxy_knows_what_is_to_be_left_free(
    start_proxy: StartProxy, feed: FakeFeed, tmp_path: Path, clock: FakeClock
) -> None:
    disk = SmallDisk(tmp_path / "cache", 10 * SIZE, others=SIZE)
    proxy = await start_proxy(feed.index_url, fs=disk, cache={"min_free": f"{5 * SIZE} B"})
    await get(proxy, feed, *range(6))
    await proxy.restart()  # as a command does that opens it
    clock.advance(YOUNG_SECONDS)
    plan = await proxy.app.room.plan()
    assert plan.limit <= 4 * SIZE
    await proxy.app.room.carry_out(plan)
    assert len(marked(proxy)) == 3


async def test_it_is_left_free_where_nobody_keeps_house_too(
    start_proxy: StartProxy, feed: FakeFeed, tmp_path: Path, clock: FakeClock
) -> None:
    """A job of a stopped proxy has none of what a running one does unasked."""
    disk = SmallDisk(tmp_path / "cache", 20 * SIZE, others=SIZE)
    proxy = await start_proxy(feed.index_url, fs=disk, cache={"min_free": f"{10 * SIZE} B"})
    for number in range(15):
        await get(proxy, feed, number)
        clock.advance(YOUNG_SECONDS)
    assert disk.room(tmp_path)[1] >= 9 * SIZE
    assert 14 in marked(proxy)


async def test_a_job_of_a_stopped_proxy_with_much_in_it_keeps_to_the_limit(
    start_proxy: StartProxy, feed: FakeFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nugetproxy.store.packages.usage.MANY_IDS", 2)
    monkeypatch.setattr("nugetproxy.store.packages.usage.YOUNG_SECONDS", 0.0)
    proxy = await start_proxy(feed.index_url, cache={"max_size": f"{5 * SIZE} B"})
    await proxy.stop()
    for number in range(8):
        lay_down(proxy.packages, f"bulk.n{number}", "1.0.0", make_nupkg(f"Bulk.N{number}", "1.0.0", size=SIZE))
    async with proxy_client(proxy.config) as client:
        assert isinstance(client, InnerClient)
        (tenant,) = client._desk().room.tenants
        await until(lambda: tenant.folder.usage.is_counted)
        assert (await client.get(publish(feed, 0).removeprefix("/"))).status == 200
        await tenant.folder.pending.empty()
    assert {"acme.p0.1.0.0.nupkg"} < held(proxy)
    assert sum(name.endswith(".nupkg") for name in held(proxy)) <= 5


async def test_a_limit_beyond_the_disk_is_told(start_proxy: StartProxy, feed: FakeFeed, tmp_path: Path) -> None:
    disk = SmallDisk(tmp_path / "cache", 101 * 2**20)
    with capture_logs() as logs:
        proxy = await start_proxy(feed.index_url, fs=disk, cache={"min_free": "auto", "max_size": "1 GiB"})
        await proxy.app.room.keep()
        await proxy.app.room.keep()
    (line,) = [entry for entry in logs if entry["event"] == "room.small"]
    assert line["log_level"] == "warning"
    assert all(word in line["detail"] for word in ("95 MiB", "1024 MiB", "cache.max_size", "cache.min_free"))
    health = json.loads((await ask(proxy, "/health/ready")).body)
    assert health["ready"]
    assert health["problems"] == [line["detail"]]
    assert proxy.metric("max_size_beyond_disk_bytes") == pytest.approx(928 * 2**20, rel=0.001)
    disk.capacity = 100 * 2**30
    await proxy.app.room.keep()
    assert json.loads((await ask(proxy, "/health/ready")).body)["problems"] == []
    assert proxy.metric("max_size_beyond_disk_bytes") == 0


async def test_it_is_made_behind_an_answer_too(start_proxy: StartProxy, feed: FakeFeed) -> None:
    limit = 4 * SIZE + 30_000
    proxy = await start_proxy(feed.index_url, cache={"max_size": f"{limit} B"})
    proxy.app.tasks.keep(proxy.app.room.run, name="room")
    await asyncio.gather(*(get(proxy, feed, number) for number in range(8)))
    await until(lambda: proxy.metric("evicted_bytes_total") > 0)
    await until(lambda: proxy.metric("store_bytes", part="packages") <= limit)
    assert 0 < proxy.metric("evicted_bytes_total") <= 4 * SIZE + 30_000


async def test_what_was_kept_while_the_list_was_read_is_not_let_go(
    start_proxy: StartProxy, feed: FakeFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = await start_proxy(feed.index_url)
    kept = proxy.app.room.kept
    async with halting(monkeypatch, proxy.app.ledger, "kept", kept.load):
        await kept.keep([("acme.a", "1.0.0")], "")

    assert kept.has(PackageIdentity("acme.a", "1.0.0"))


@pytest.mark.parametrize("by", ["housekeeping", "operator"])
async def test_where_much_of_one_upstream_is_kept_the_others_give_up_what_is_old_first(
    start_proxy: StartProxy, feed: FakeFeed, clock: FakeClock, by: str
) -> None:
    """Not what has just come from it, while what nobody uses stays."""
    async with FakeFeed() as other:
        upstreams = {"other": {"url": other.index_url}}
        proxy = await start_proxy(feed.index_url, upstreams=upstreams)
        for number in range(4):
            other.add(make_nupkg(f"Old.P{number}", "1.0.0", size=SIZE))
            await ask(proxy, f"/other/v3/content/old.p{number}/1.0.0/old.p{number}.1.0.0.nupkg")
        await get(proxy, feed, *range(6))
        await proxy.app.room.kept.keep([(f"acme.p{number}", "") for number in range(6)], "")
        clock.advance(YOUNG_SECONDS)
        await get(proxy, feed, 6)
        if by == "housekeeping":
            await proxy.reload(upstreams=upstreams, cache={"max_size": f"{8 * SIZE} B"})
            await proxy.app.room.keep()
        else:
            await proxy.app.room.carry_out(await proxy.app.room.plan(8 * SIZE))
        assert marked(proxy) == set(range(7))
        assert len(list((proxy.directory / "other" / "packages").glob("*/*/*.nupkg"))) <= 1


class Clinging(FsOps):
    """Does not let go of one file."""

    def call(self, op: str, path: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if op == "unlink" and path.endswith("acme.p0.1.0.0.nupkg"):
            raise DiskFailure(op, errno.EPERM, path)
        return super().call(op, path, function, *args, **kwargs)


@pytest.mark.parametrize("by", ["housekeeping", "operator"])
async def test_what_the_disk_does_not_let_go_of_does_not_keep_the_rest(
    start_proxy: StartProxy, feed: FakeFeed, clock: FakeClock, by: str
) -> None:
    cache = {"unused_for": "30d"} if by == "housekeeping" else {}
    proxy = await start_proxy(feed.index_url, fs=Clinging(), cache=cache)
    await get(proxy, feed, 0, 1, 2)
    await until(lambda: marked(proxy) == {0, 1, 2})
    await proxy.app.housekeeping.finish()
    clock.advance(31 * 86400)
    if by == "housekeeping":
        with capture_logs() as logs:
            await proxy.app.room.keep()
        assert "EPERM" in next(one["detail"] for one in logs if one["event"] == "housekeeping.failed")
    else:
        room = proxy.app.room
        with pytest.raises(DiskFailure, match="EPERM"):
            await room.carry_out(await room.plan(retention=Retention(unused_for=30 * 86400)))
    assert {name for name in held(proxy) if name.endswith(".nupkg")} == {"acme.p0.1.0.0.nupkg"}
    assert proxy.metric("evicted_bytes_total") >= 2 * SIZE
