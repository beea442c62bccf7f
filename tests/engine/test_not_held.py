"""What is known not to be held is not looked for on disk, unless nobody else has it either."""

from __future__ import annotations

from pathlib import Path

import pytest

from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.store.fs import FsOps, StrPath
from tests.conftest import StartProxy
from tests.fakes.asking import PACKAGE, SMALL, UP_PACKAGE, ask
from tests.fakes.clock import FakeClock
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


FULL = make_nupkg("Acme.A", "1.0.0", readme="# Read", icon=b"\x89PNG\r\n\x1a\n...", license_file="MIT")
MEMBERS = tuple(f"/v3/content/acme.a/1.0.0/{name}" for name in ("acme.a.nuspec", "readme", "icon", "license"))


@pytest.mark.parametrize("nupkg", [FULL, make_nupkg("Acme.A", "1.0.0")], ids=["all", "without"])
async def test_files_of_a_package_need_no_look_at_the_disk(
    proxy: Proxy, feed: FakeFeed, fs: WatchedFs, nupkg: bytes
) -> None:
    feed.add(nupkg)
    said = [[(await ask(proxy, path)).status for path in MEMBERS] for _ in range(3)]
    assert said == 3 * [[200, 200, 200, 200] if nupkg is FULL else [200, 404, 404, 404]]
    assert len(fs.opened) == said[0].count(404), "when upstream says that it has none"


async def test_files_of_a_package_are_answered_by_the_lane_until_it_comes(
    proxy: Proxy, feed: FakeFeed, clock: FakeClock
) -> None:
    feed.add(FULL)
    lane, before = proxy.app.lane, {}
    for path in MEMBERS:
        await ask(proxy, path)
        clock.advance(5)
        usual = await ask(proxy, path, headers={"X-Unknown": "1"})
        answered = lane.answered
        before[path] = await ask(proxy, path)
        assert lane.answered == answered + 1
        assert (before[path].body, before[path].cache) == (usual.body, usual.cache)
        assert before[path].headers["Age"] == usual.headers["Age"] == "5"
    await ask(proxy, PACKAGE)
    answered = lane.answered
    for path in MEMBERS:
        got = await ask(proxy, path)
        assert (got.body, got.cache, "Age" in got.headers) == (before[path].body, "hit", False), "out of the package"
    assert lane.answered == answered


@pytest.mark.parametrize("script", [Script(status=500), Script(status=404)], ids=["failure", "absence"])
async def test_files_of_what_somebody_has_put_there_are_found_where_upstream_has_none(
    proxy: Proxy, feed: FakeFeed, script: Script
) -> None:
    feed.add(FULL)
    put_there(proxy, FULL)
    feed.origin.routes[UP_PACKAGE.replace(NAME, "acme.a.nuspec")] = script
    got = await ask(proxy, MEMBERS[0])
    assert (got.status, got.cache) == (200, "hit")


async def test_a_package_that_was_found_in_the_folder_ends_what_upstream_said_of_its_files(
    proxy: Proxy, feed: FakeFeed
) -> None:
    feed.add(FULL)
    for _ in range(3):
        assert b"other" not in (await ask(proxy, MEMBERS[0])).body
    put_there(proxy, make_nupkg("Acme.A", "1.0.0", description="other"))
    feed.origin.routes[UP_PACKAGE] = Script(status=500)
    assert (await ask(proxy, PACKAGE)).status == 200
    for _ in range(3):
        assert b"other" in (await ask(proxy, MEMBERS[0])).body


async def test_offline_the_disk_alone_counts(start_proxy: StartProxy, feed: FakeFeed, fs: WatchedFs) -> None:
    proxy = await start_proxy(feed.index_url, fs=fs, upstream={"offline": True})
    await proxy.held.folder.usage.count()
    put_there(proxy, SMALL)
    assert (await ask(proxy, MEMBERS[0])).status == 200
    assert (await ask(proxy, PACKAGE)).body == SMALL
    assert proxy.held.folder.peek(PackageIdentity("acme.a", "1.0.0")) is not None
