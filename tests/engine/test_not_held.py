"""What is known not to be held is not looked for on disk, unless nobody else has it either."""

from __future__ import annotations

from pathlib import Path

import pytest

from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.store.fs import FsOps, StrPath
from tests.conftest import StartProxy
from tests.fakes.asking import PACKAGE, SMALL, UP_PACKAGE, ask
from tests.fakes.feed import FakeFeed
from tests.fakes.origin import Script
from tests.fakes.packages import make_nupkg
from tests.fakes.proxy import Proxy

NAME = "acme.a.1.0.0.nupkg"


class WatchedFs(FsOps):
    """Notes which packages are opened."""

    def __init__(self) -> None:
        self.opened: list[str] = []

    def open(self, path: StrPath) -> int:
        if str(path).endswith(".nupkg"):
            self.opened.append(Path(path).name)
        return super().open(path)


@pytest.fixture
def fs() -> WatchedFs:
    return WatchedFs()


@pytest.fixture
async def proxy(start_proxy: StartProxy, feed: FakeFeed, fs: WatchedFs) -> Proxy:
    """It has counted what it holds: nothing."""
    proxy = await start_proxy(feed.index_url, fs=fs)
    await proxy.held.folder.usage.count()
    return proxy


def put_there(proxy: Proxy, nupkg: bytes) -> None:
    """As somebody may who copies packages from one machine to another."""
    folder = proxy.packages / "acme.a" / "1.0.0"
    folder.mkdir(parents=True)
    (folder / NAME).write_bytes(nupkg)


async def test_a_download_needs_no_look_at_the_disk(proxy: Proxy, feed: FakeFeed, fs: WatchedFs) -> None:
    feed.add(SMALL)
    assert (await ask(proxy, PACKAGE)).body == SMALL
    assert fs.opened == []


async def test_what_landed_is_looked_for(proxy: Proxy, feed: FakeFeed, fs: WatchedFs) -> None:
    feed.add(SMALL)
    await ask(proxy, PACKAGE)
    proxy.held.folder.kept.clear()
    got = await ask(proxy, PACKAGE)
    assert (got.body, got.cache) == (SMALL, "hit")
    assert fs.opened == [NAME]
    assert feed.origin.count(UP_PACKAGE) == 1


async def test_what_is_held_since_an_earlier_run_is_looked_for(proxy: Proxy, feed: FakeFeed, fs: WatchedFs) -> None:
    feed.add(SMALL)
    await ask(proxy, PACKAGE)
    await proxy.restart()
    await proxy.held.folder.usage.count()
    fs.opened.clear()
    assert (await ask(proxy, PACKAGE)).cache == "hit"
    assert fs.opened == [NAME]


@pytest.mark.parametrize("script", [Script(status=500), Script(status=404)], ids=["failure", "absence"])
async def test_what_somebody_has_put_there_is_found_where_upstream_has_none(
    proxy: Proxy, feed: FakeFeed, script: Script
) -> None:
    feed.add(SMALL)
    put_there(proxy, SMALL)
    feed.origin.routes[UP_PACKAGE] = script
    got = await ask(proxy, PACKAGE)
    assert (got.status, got.body, got.cache) == (200, SMALL, "hit")


async def test_what_somebody_has_put_there_is_not_replaced(proxy: Proxy, feed: FakeFeed) -> None:
    other = make_nupkg("Acme.A", "1.0.0", files={"lib/other.txt": b"other"})
    put_there(proxy, other)
    feed.add(SMALL)
    got = await ask(proxy, PACKAGE)
    assert (got.status, got.cache) == (502, 'fwd=uri-miss; detail="pin"'), "that there are two is said once"
    assert (await ask(proxy, PACKAGE)).body == other
    assert (proxy.packages / "acme.a" / "1.0.0" / NAME).read_bytes() == other


async def test_offline_the_disk_alone_counts(start_proxy: StartProxy, feed: FakeFeed, fs: WatchedFs) -> None:
    proxy = await start_proxy(feed.index_url, fs=fs, upstream={"offline": True})
    await proxy.held.folder.usage.count()
    put_there(proxy, SMALL)
    assert (await ask(proxy, PACKAGE)).body == SMALL
    assert proxy.held.folder.peek(PackageIdentity("acme.a", "1.0.0")) is not None
