"""What is verified is committed behind its answer: nobody waits for the disk, and nothing that was answered is lost."""

from __future__ import annotations

import asyncio
import errno
import gc
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nugetproxy.admin.commands import carry_out
from nugetproxy.engine.landing import Arrival
from nugetproxy.metrics import Metrics
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.store.fs import DiskFailure, FsOps
from nugetproxy.store.packages import pending
from nugetproxy.store.packages.folder import PackageFolder
from tests.conftest import StartProxy
from tests.fakes.asking import LARGE, PACKAGE, SMALL, UP_PACKAGE, ask, ask_only, held, staged, until
from tests.fakes.feed import FakeFeed
from tests.fakes.origin import Script
from tests.fakes.packages import make_nupkg
from tests.fakes.proxy import Proxy
from tests.store.kit import FailingFs, files, held_versions, package_files

ACME = PackageIdentity("acme.a", "1.0.0")
WHOLE = {"acme.a.1.0.0.nupkg", "acme.a.1.0.0.nupkg.sha512", "acme.a.nuspec"}
FLIPPED = bytes([*SMALL[:60], SMALL[60] ^ 1, *SMALL[61:]])
SYNCS = frozenset({"fsync", "fsync_dir"})


class SlowDisk(FsOps):
    """Syncs nothing while ``synced`` is clear."""

    def __init__(self) -> None:
        self.synced = threading.Event()
        self.synced.set()
        self.waiting = 0

    def call(self, op: str, path: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if op in SYNCS and not self.synced.is_set():
            self.waiting += 1
            assert self.synced.wait(20), "nobody lets the disk go on"
        return super().call(op, path, function, *args, **kwargs)


@pytest.fixture
def disk() -> Iterator[SlowDisk]:
    disk = SlowDisk()
    yield disk
    disk.synced.set()


@pytest.fixture
async def proxy(start_proxy: StartProxy, feed: FakeFeed, disk: SlowDisk) -> Proxy:
    """Its disk syncs nothing any more."""
    proxy = await start_proxy(feed.index_url, fs=disk)
    feed.add(SMALL)
    disk.synced.clear()
    return proxy


async def killed(proxy: Proxy, tmp_path: Path) -> Path:
    """The cache directory as a kill would leave it now."""
    return Path(await asyncio.to_thread(shutil.copytree, proxy.directory, tmp_path / "killed"))


@pytest.mark.parametrize("nupkg", [SMALL, LARGE], ids=["small", "large"])
async def test_an_answer_does_not_wait_for_the_disk_to_sync(
    proxy: Proxy, feed: FakeFeed, disk: SlowDisk, nupkg: bytes
) -> None:
    feed.origin.routes[UP_PACKAGE] = Script(body=nupkg)
    got = await ask_only(proxy, PACKAGE)
    assert (got.status, got.body) == (200, nupkg)
    assert proxy.metric("pending_commits") == 1
    again = await ask_only(proxy, PACKAGE)
    assert (again.body, again.cache) == (nupkg, "hit"), "what is pending is held"
    part = await ask_only(proxy, PACKAGE, headers={"Range": "bytes=100-199"})
    assert (part.status, part.body) == (206, nupkg[100:200])
    assert (await ask_only(proxy, "/v3/content/acme.a/1.0.0/acme.a.nuspec")).status == 200
    assert feed.count(UP_PACKAGE) == 1
    assert "acme.a.1.0.0.nupkg.sha512" not in held(proxy)

    disk.synced.set()
    await until(lambda: proxy.metric("pending_commits") == 0)
    assert held(proxy) == WHOLE
    assert staged(proxy) == []
    assert (await ask_only(proxy, PACKAGE)).cache == "hit"


async def test_a_small_package_is_answered_without_reading_it_back(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def read_at(_fd: int, _count: int, _at: int) -> bytes:
        raise AssertionError("it was in memory")

    monkeypatch.setattr("nugetproxy.web.sending.read_at", read_at)
    answers = await asyncio.gather(*(ask_only(proxy, PACKAGE) for _ in range(3)))
    assert [(got.status, got.body) for got in answers] == [(200, SMALL)] * 3


async def test_a_command_knows_what_was_answered_before_it(
    proxy: Proxy, disk: SlowDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pending, "LINGER", 3600)
    disk.synced.set()
    assert (await ask_only(proxy, PACKAGE)).status == 200
    told = await carry_out(proxy.app.desk, "ls", {}, by="test")
    assert [one["id"] for one in told["packages"]] == ["acme.a"]


async def test_what_was_answered_outlives_a_kill(
    proxy: Proxy, feed: FakeFeed, start_proxy: StartProxy, tmp_path: Path
) -> None:
    assert (await ask_only(proxy, PACKAGE)).body == SMALL
    directory = await killed(proxy, tmp_path)
    await feed.set_mode("refused")
    again = await start_proxy(feed.index_url, directory=directory)
    assert held(again) == WHOLE
    assert staged(again) == []
    got = await ask_only(again, PACKAGE)
    assert (got.body, got.cache) == (SMALL, "hit")
    assert [facts.version for facts in await again.held.holdings.facts("acme.a")] == ["1.0.0"]


@pytest.mark.parametrize("damage", [b"", SMALL[:-1], FLIPPED, bytes(len(SMALL))], ids=["empty", "cut", "bit", "zeros"])
async def test_what_a_power_cut_kept_from_the_disk_is_not_there(
    proxy: Proxy, feed: FakeFeed, start_proxy: StartProxy, tmp_path: Path, damage: bytes
) -> None:
    await ask_only(proxy, PACKAGE)
    directory = await killed(proxy, tmp_path)
    (sealed,) = (directory / "up" / "staging").glob("acme.a~*")
    sealed.write_bytes(damage)
    staging = len(list(sealed.parent.iterdir()))  # with what the batch may have begun to write beside it
    again = await start_proxy(feed.index_url, directory=directory)
    assert held(again) == set()
    assert staged(again) == []
    assert again.metric("orphans_removed_total") == staging
    assert (await ask(again, PACKAGE)).body == SMALL


async def test_another_feeds_pending_packages_do_not_become_ones_own(
    proxy: Proxy, feed: FakeFeed, start_proxy: StartProxy, tmp_path: Path
) -> None:
    await ask_only(proxy, PACKAGE)
    directory = await killed(proxy, tmp_path)
    async with FakeFeed() as other:
        another = await start_proxy(other.index_url, directory=directory)
        assert (await ask(another, PACKAGE)).status == 404
        assert held(another) == set()
        await another.stop()
    await feed.set_mode("refused")
    back = await start_proxy(feed.index_url, directory=directory)
    assert (await ask(back, PACKAGE)).body == SMALL


async def test_a_stop_commits_what_is_pending(proxy: Proxy, disk: SlowDisk) -> None:
    await ask_only(proxy, PACKAGE)
    stopping = asyncio.create_task(proxy.stop())
    await until(lambda: disk.waiting > 0)
    disk.synced.set()
    await stopping
    assert held(proxy) == WHOLE
    assert staged(proxy) == []


async def test_a_purge_of_what_is_pending_leaves_nothing(proxy: Proxy, disk: SlowDisk) -> None:
    await ask_only(proxy, PACKAGE)
    purging = asyncio.create_task(proxy.held.purge(ACME))
    await until(lambda: disk.waiting > 0)
    disk.synced.set()
    assert await purging == len(SMALL)
    assert held(proxy) == set()
    assert staged(proxy) == []
    assert proxy.held.folder.usage.packages == 0
    assert await proxy.held.holdings.facts("acme.a") == ()
    assert await proxy.held.pinned_versions("acme.a") == frozenset()


async def test_what_is_pending_counts_but_is_not_evicted(proxy: Proxy, disk: SlowDisk) -> None:
    await ask_only(proxy, PACKAGE)
    usage = proxy.held.folder.usage
    assert (usage.bytes, usage.packages) == (len(SMALL), 1)
    await usage.count()
    assert (usage.bytes, usage.packages) == (len(SMALL), 1)
    async with asyncio.timeout(10):
        assert await proxy.held.folder.evict(0, lambda _: False) == 0
    assert (await ask_only(proxy, PACKAGE)).cache == "hit"
    disk.synced.set()
    await until(lambda: proxy.metric("pending_commits") == 0)
    await usage.count()
    assert (usage.bytes, usage.packages) == (len(SMALL), 1)
    assert await proxy.held.folder.evict(0, lambda _: False) == len(SMALL)


async def test_what_upstream_has_to_say_is_committed_before_the_answer(
    proxy: Proxy, feed: FakeFeed, disk: SlowDisk
) -> None:
    """A name in staging has no place for it, so that a kill would lose it."""
    feed.origin.routes[UP_PACKAGE] = Script(body=SMALL, headers=[("X-NuGet-Warning", "old")])
    asking = asyncio.create_task(ask_only(proxy, PACKAGE))
    await until(lambda: disk.waiting > 0)
    assert not asking.done()
    disk.synced.set()
    assert (await asking).body == SMALL
    assert "acme.a.1.0.0.nupkg.warnings" in held(proxy)


@pytest.mark.parametrize("op", ["mkdir", "create", "rename"])
async def test_a_disk_that_is_full_at_the_commit_makes_room_and_keeps_it(
    start_proxy: StartProxy, feed: FakeFeed, op: str
) -> None:
    fs = FailingFs()
    proxy = await start_proxy(feed.index_url, fs=fs)
    feed.add(make_nupkg("Acme.Old", "1.0.0"))
    feed.add(SMALL)
    await ask(proxy, "/v3/content/acme.old/1.0.0/acme.old.1.0.0.nupkg")
    fs.arm({"mkdir": 1, "create": 2, "rename": 1}[op], errno.ENOSPC, only=op)  # those of the commit
    assert (await ask(proxy, PACKAGE)).body == SMALL
    assert fs.failed == [op]
    assert held(proxy) == WHOLE, "the other one made way"
    assert staged(proxy) == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("op", ["fsync", "fsync_dir", "mkdir"])
async def test_what_cannot_be_committed_was_answered_all_the_same(
    start_proxy: StartProxy, feed: FakeFeed, op: str, code: int
) -> None:
    fs = FailingFs()
    proxy = await start_proxy(feed.index_url, fs=fs)
    feed.add(SMALL)
    fs.arm(1, code, for_ever=True, only=op)
    assert (await ask(proxy, PACKAGE)).body == SMALL
    assert held(proxy) == set()
    assert staged(proxy) == []
    assert proxy.held.folder.usage.packages == 0
    assert await proxy.held.holdings.facts("acme.a") == ()
    fs.disarm()
    assert (await ask(proxy, PACKAGE)).body == SMALL
    assert held(proxy) == WHOLE


async def test_only_so_many_may_be_pending(tmp_path: Path, disk: SlowDisk) -> None:
    folder = PackageFolder(tmp_path / "up", fs=disk, metrics=Metrics(), upstream="up", kept_open=4)
    await folder.prepare()
    disk.synced.clear()
    storing = [asyncio.create_task(commit(folder, number)) for number in range(3)]
    async with asyncio.timeout(10):
        done, waiting = await asyncio.wait(storing, return_when=asyncio.FIRST_COMPLETED)
        while len(done) < 2:
            more, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            done |= more
        await until(lambda: disk.waiting > 0)
    assert len(waiting) == 1
    assert len(folder.pending) == 2
    disk.synced.set()
    await asyncio.gather(*waiting)
    await folder.close()
    assert files(folder.layout.root) == {
        name for number in range(3) for name in package_files(PackageIdentity(f"acme.p{number}", "1.0.0"))
    }


async def commit(folder: PackageFolder, number: int, *, warnings: tuple[str, ...] = ()) -> None:
    nupkg = make_nupkg(f"Acme.P{number}", "1.0.0")
    identity = PackageIdentity(f"acme.p{number}", "1.0.0")
    staged = await folder.stage(identity)
    staged.warnings = warnings
    await staged.write(nupkg)
    await staged.land(staged.look(identity))
    staged.close()


async def test_what_the_disk_did_not_take_is_not_remembered(start_proxy: StartProxy, feed: FakeFeed) -> None:
    fs = FailingFs()
    proxy = await start_proxy(feed.index_url, fs=fs)
    feed.add(SMALL)
    fs.arm(1, errno.EIO, for_ever=True, only="fsync")
    assert (await ask(proxy, PACKAGE)).body == SMALL
    fs.disarm()
    gc.collect()
    assert not [one for one in gc.get_objects() if isinstance(one, Arrival) and one.nuspec.identity == ACME]


async def test_a_batch_that_breaks_off_unexpectedly_has_committed_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError

    folder = PackageFolder(tmp_path / "up", fs=FsOps(), metrics=Metrics(), upstream="up")
    await folder.prepare()
    with monkeypatch.context() as patch:
        patch.setattr(pending, "publish_all", broken)
        with pytest.raises(DiskFailure):
            await commit(folder, 1, warnings=("keep that",))
    await commit(folder, 2, warnings=("keep that",))
    assert held_versions(folder, "acme.p1") == ()
    assert held_versions(folder, "acme.p2") == ("1.0.0",)
    await folder.close()
