"""A start while upstream is down: what is held is served at once, however much there is of it."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
from pathlib import Path
from typing import Literal, NoReturn

import pytest

from nugetproxy.admin.commands import carry_out
from nugetproxy.admin.page.packages import package
from nugetproxy.admin.page.viewer import Viewer
from nugetproxy.errors import StoreUnusable
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.sources.remote import RemoteSource
from nugetproxy.store.fs import FsOps
from tests.conftest import StartProxy
from tests.fakes.asking import ask, until
from tests.fakes.clock import FakeClock
from tests.fakes.feed import FakeFeed
from tests.fakes.packages import make_nupkg
from tests.fakes.proxy import Proxy
from tests.outage.kit import INDEX, lay_down, package_url

MADE = "nugetproxy; detail=synthesized"


class HeldUpClock(FakeClock):
    """Once it is stopped, whoever sleeps sleeps on until it was set ahead as far as that."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = asyncio.Event()
        self.go_on.set()
        self._moved = asyncio.Event()

    def advance(self, seconds: float) -> None:
        super().advance(seconds)
        self._moved.set()

    async def sleep(self, seconds: float) -> None:
        due = self.monotonic() + seconds
        while not self.go_on.is_set() and self.monotonic() < due:
            self._moved.clear()
            await self._moved.wait()
        await super().sleep(max(0.0, due - self.monotonic()))

    def release(self) -> None:
        """Time is no longer held up."""
        self.go_on.set()
        self._moved.set()


@pytest.fixture
def clock() -> HeldUpClock:
    return HeldUpClock()


async def with_nothing_stored(start_proxy: StartProxy, feed: FakeFeed) -> Proxy:
    """A stopped proxy that holds a package; it has lost its documents."""
    proxy = await start_proxy(feed.index_url)
    feed.add(make_nupkg("Acme.A", "1.0.0"))
    assert (await ask(proxy, package_url("acme.a"))).status == 200
    await until(lambda: proxy.metric("flights") == 0)
    await proxy.stop()
    shutil.rmtree(proxy.directory / "documents")
    return proxy


@pytest.mark.parametrize("how", ["hang", "refused"])
async def test_who_holds_something_is_ready_before_upstream_has_said_anything(
    start_proxy: StartProxy, feed: FakeFeed, clock: HeldUpClock, how: Literal["hang", "refused"]
) -> None:
    proxy = await with_nothing_stored(start_proxy, feed)
    await feed.set_mode(how)
    await proxy.start()
    clock.go_on.clear()
    async with asyncio.timeout(5):
        assert (await ask(proxy, "/health/ready")).status == 200
    clock.release()


async def test_who_holds_nothing_is_not(start_proxy: StartProxy, feed: FakeFeed) -> None:
    await feed.set_mode("refused")
    proxy = await start_proxy(feed.index_url)
    assert (await ask(proxy, "/health/ready")).status == 503


async def test_after_the_first_failure_the_index_is_made_at_once(
    start_proxy: StartProxy, feed: FakeFeed, clock: HeldUpClock
) -> None:
    proxy = await with_nothing_stored(start_proxy, feed)
    await feed.set_mode("refused")
    await proxy.start()
    clock.go_on.clear()
    proxy.app.start_background()
    source = proxy.app.sources["up"]
    await until(lambda: any(state.cause is not None for state in source.breakers().values()))
    async with asyncio.timeout(5):  # the start itself waits for its second try
        got = await ask(proxy, INDEX)
    assert (got.status, got.headers["Cache-Status"]) == (200, MADE)
    await feed.set_mode("up")
    clock.advance(2)  # for a probe, not for what the jobs behind a start wait for: they would take hours with them
    async with asyncio.timeout(5):
        assert (await ask(proxy, INDEX)).headers["Cache-Status"] != MADE
    clock.release()


async def test_an_upstream_that_has_answered_is_asked_again_before_an_index_is_made(
    start_proxy: StartProxy, feed: FakeFeed, clock: HeldUpClock
) -> None:
    proxy = await with_nothing_stored(start_proxy, feed)
    await proxy.start()
    assert (await ask(proxy, INDEX)).headers["Cache-Status"] != MADE
    for key, _ in await proxy.app.documents.listed():
        await proxy.app.documents.delete(key)
    source = proxy.app.sources["up"]
    assert isinstance(source, RemoteSource)
    source.forget_documents()
    clock.slept.clear()
    await feed.set_mode("5xx")
    assert (await ask(proxy, INDEX)).headers["Cache-Status"] == MADE
    assert clock.slept, "it was tried again"


@pytest.mark.parametrize("stored", [True, False])
async def test_a_disk_that_lets_nothing_be_made_still_has_what_it_has(
    start_proxy: StartProxy, feed: FakeFeed, clock: HeldUpClock, stored: bool
) -> None:
    """It is full or read-only at the start: then nobody is kept out by tokens that nobody has."""
    proxy = await with_nothing_stored(start_proxy, feed)
    await feed.set_mode("refused")
    files = (proxy.directory / "ledger.db", proxy.packages.parent / "holdings.db")
    if not stored:
        files[1].unlink()
    for file in files:
        file.with_name(f"{file.name}-shm").symlink_to("nowhere")  # so SQLite cannot make its own, whoever runs this
    await proxy.start()
    assert (await ask(proxy, package_url("acme.a"))).status == 200
    assert (await ask(proxy, INDEX)).status == 200
    assert (await ask(proxy, "/v3/content/acme.a/index.json")).status == 200
    await proxy.stop()
    for file in files:
        file.with_name(f"{file.name}-shm").unlink()
    await proxy.start()
    assert (await ask(proxy, package_url("acme.a"))).status == 200


async def test_what_a_log_may_say_of_tokens_keeps_everybody_out_where_it_cannot_be_read(
    start_proxy: StartProxy, feed: FakeFeed
) -> None:
    proxy = await with_nothing_stored(start_proxy, feed)
    (proxy.directory / "ledger.db-wal").write_bytes(b"a token")
    (proxy.directory / "ledger.db-shm").symlink_to("nowhere")
    await proxy.start()
    assert (await ask(proxy, package_url("acme.a"))).status == 401
    await proxy.stop()
    (proxy.directory / "ledger.db-shm").unlink()


async def test_packages_of_another_feed_that_cannot_be_put_aside_are_not_served(
    start_proxy: StartProxy, feed: FakeFeed, clock: HeldUpClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = await with_nothing_stored(start_proxy, feed)
    async with FakeFeed() as other:
        other.add(theirs := make_nupkg("Acme.A", "1.0.0", size=5_000))
        changed = Proxy(other.index_url, proxy.directory, clock=clock)
        with monkeypatch.context() as patched:
            patched.setattr(Path, "rename", _refuse)
            with pytest.raises(StoreUnusable, match="it has packages of 127"):
                await changed.start()
        await changed.app.__aexit__(None, None, None)
        proxy = await start_proxy(other.index_url)
        assert (await ask(proxy, package_url("acme.a"))).body == theirs


def _refuse(*_: object) -> NoReturn:
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))


class FullDisk(FsOps):
    """Nothing is free on it."""

    def room(self, path: Path) -> tuple[int, int]:
        return 2**40, 0


async def test_a_disk_is_small_only_beside_what_is_counted(
    start_proxy: StartProxy, feed: FakeFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nugetproxy.store.packages.usage.MANY_IDS", 2)
    nupkgs = [make_nupkg(f"Bulk.N{number}", "1.0.0") for number in range(5)]
    total = sum(map(len, nupkgs))
    proxy = await start_proxy(feed.index_url, fs=FullDisk(), cache={"max_size": f"{total} B"})
    await proxy.stop()
    for number, nupkg in enumerate(nupkgs):
        lay_down(proxy.packages, f"bulk.n{number}", "1.0.0", nupkg)
    await proxy.start()
    await proxy.app.housekeeping.round()
    assert (proxy.app.room.problem, proxy.held.folder.usage.is_counted) == ("", False)
    assert await proxy.app.room.make(1), "what is held is counted where there has to be room at once"
    assert 0 < proxy.held.folder.usage.packages < 5
    await proxy.app.housekeeping.round()
    assert proxy.app.room.problem


async def test_one_walk_through_a_large_folder_counts_it_and_fills_the_holdings(
    start_proxy: StartProxy, feed: FakeFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nugetproxy.store.packages.usage.MANY_IDS", 2)
    proxy = await start_proxy(feed.index_url)
    await proxy.stop()
    for number in range(5):
        lay_down(proxy.packages, f"bulk.n{number}", "1.0.0", make_nupkg(f"Bulk.N{number}", "1.0.0"))
    await proxy.start()
    usage = proxy.held.folder.usage
    assert (usage.is_counted, usage.packages) == (False, 0)
    feed.add(make_nupkg("Acme.A", "1.0.0"))
    assert (await ask(proxy, package_url("acme.a"))).status == 200
    await until(lambda: proxy.metric("flights") == 0)
    proxy.app.start_background()
    await until(lambda: usage.is_counted and proxy.held.holdings.synced)
    on_disk = sum(file.stat().st_size for file in proxy.packages.rglob("*.nupkg"))
    assert (usage.packages, usage.bytes) == (6, on_disk)
    assert not usage.lacks(PackageIdentity("bulk.n3", "1.0.0"))
    assert usage.lacks(PackageIdentity("bulk.n3", "1.0.1"))


async def test_before_the_walk_is_over_nobody_is_told_that_what_is_held_is_not(
    start_proxy: StartProxy, feed: FakeFeed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor that what lies in a folder does not."""
    monkeypatch.setattr("nugetproxy.store.packages.usage.MANY_IDS", 2)
    (folder := tmp_path / "shelf").mkdir()
    (folder / "shelved.1.0.0.nupkg").write_bytes(make_nupkg("Shelved", "1.0.0"))
    shelf = {"shelf": {"url": str(folder)}}
    proxy = await start_proxy(feed.index_url, upstreams=shelf)
    await proxy.stop()
    for number in range(5):
        lay_down(proxy.packages, f"bulk.n{number}", "1.0.0", make_nupkg(f"Bulk.N{number}", "1.0.0"))
    await proxy.start()
    desk = proxy.app.desk
    wanted = {"packages": ["Bulk.N1", "Bulk.N2@1.0.0", "Bulk.N3@2.0.0", "Shelved"]}
    told = await carry_out(desk, "keep", wanted, by="a test")
    assert (told["missing"], told["in_folders"]) == (["bulk.n3@2.0.0"], {"shelved": "shelf"})
    viewer = Viewer(frozenset(proxy.app.feeds), admin=True)
    assert (await package(desk, viewer, id="Bulk.N4"))["version"] == "1.0.0"
    assert not proxy.held.holdings.synced
