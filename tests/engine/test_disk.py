"""The disk fails, fills, vanishes or lies: clients get right bytes all the same."""

from __future__ import annotations

import asyncio
import errno
import shutil
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from nugetproxy.nuget.identity import PackageIdentity
from tests.conftest import StartProxy
from tests.fakes.asking import LARGE, MEDIUM, PACKAGE, SMALL, UP_PACKAGE, VERSIONS, ask, held, staged, until
from tests.fakes.feed import FakeFeed
from tests.fakes.origin import Script
from tests.fakes.packages import make_nupkg
from tests.fakes.proxy import Proxy
from tests.store.kit import FailingFs

IDENTITY = PackageIdentity("acme.a", "1.0.0")
NAME = "acme.a.1.0.0.nupkg"
BEHIND = frozenset({"fsync", "mkdir"})
"""What is done behind the answer, whose head has said what is true of what came before."""
WHOLE = {NAME, f"{NAME}.sha512", "acme.a.nuspec"}


@pytest.fixture
def fs() -> FailingFs:
    """Works until it is armed."""
    return FailingFs()


@pytest.fixture
async def proxy(start_proxy: StartProxy, feed: FakeFeed, fs: FailingFs) -> Proxy:
    """A proxy over that file system, its service index known."""
    proxy = await start_proxy(feed.index_url, fs=fs)
    await ask(proxy, "/v3/index.json")
    return proxy


def whole_or_nothing(proxy: Proxy) -> bool:
    """Whether the folder has what it shows: a marked package is complete."""
    names = held(proxy)
    return f"{NAME}.sha512" not in names or names == WHOLE


@pytest.mark.parametrize(
    ("code", "nupkg"),
    [(errno.ENOSPC, SMALL), (errno.ENOSPC, MEDIUM), pytest.param(errno.EIO, LARGE, marks=pytest.mark.slow)],
    ids=["small", "medium", "large"],
)
async def test_one_failure_at_every_operation_of_a_cold_fetch(
    proxy: Proxy, feed: FakeFeed, fs: FailingFs, code: int, nupkg: bytes
) -> None:
    feed.origin.routes[UP_PACKAGE] = Script(body=nupkg)
    for at in range(1, 100):
        fs.arm(at, code)
        got = await ask(proxy, PACKAGE)
        assert (got.status, got.body) == (200, nupkg), f"operation {at}: {fs.failed}"
        await until(lambda: proxy.metric("flights") == 0)
        done = not fs.failed
        fs.disarm()
        assert whole_or_nothing(proxy)
        again = await ask(proxy, PACKAGE)
        assert again.body == nupkg
        await proxy.held.folder.delete(IDENTITY)
        if done:
            break
    assert done, "a run without a failure ends it"


@pytest.mark.parametrize("nupkg", [SMALL, MEDIUM, LARGE], ids=["small", "medium", "large"])
@pytest.mark.parametrize("op", ["create", "write", "fsync", "rename", "mkdir"])
async def test_a_full_disk_does_not_keep_a_package_from_its_clients(
    proxy: Proxy, feed: FakeFeed, fs: FailingFs, op: str, nupkg: bytes
) -> None:
    feed.origin.routes[UP_PACKAGE] = Script(body=nupkg)
    fs.arm(1, errno.ENOSPC, for_ever=True, only=op)
    behind = op in BEHIND or (op == "rename" and nupkg is SMALL)  # a small one is written under its sealed name
    with capture_logs() as logs:
        answers = await asyncio.gather(*(ask(proxy, PACKAGE) for _ in range(5)))
        for got in (*answers, await ask(proxy, PACKAGE, headers={"Range": "bytes=100-199"})):
            assert got.body in {nupkg, nupkg[100:200]}
            assert got.status in {200, 206}
            assert "stored" not in got.cache or nupkg is not SMALL or behind
    assert f"{NAME}.sha512" not in held(proxy)
    assert proxy.metric("disk_errors_total", op=op, errno="ENOSPC") >= 1
    events = {"package.not_kept" if behind else "download.failed"}
    if op == "rename" and nupkg is MEDIUM:  # which has its sealed name from the start only if it came at once
        events = {"package.not_kept", "download.failed"}
    assert any(entry["event"] in events and entry["reason"] == "disk" for entry in logs)
    fs.disarm()
    assert (await ask(proxy, PACKAGE)).body == nupkg
    assert (await ask(proxy, PACKAGE)).cache == "hit", "it recovers by itself"
    await until(lambda: proxy.metric("flights") == 0)
    assert staged(proxy) == []


async def test_a_disk_that_fills_in_the_middle_goes_on_from_there(proxy: Proxy, feed: FakeFeed, fs: FailingFs) -> None:
    gate = asyncio.Event()
    feed.origin.routes[UP_PACKAGE] = [Script(body=LARGE, gate=gate, gate_at=200_000), Script(body=LARGE)]
    async with proxy.client.get(PACKAGE) as response:
        start = await response.content.readexactly(100_000)
        fs.arm(1, errno.ENOSPC, for_ever=True, only="write")
        gate.set()
        assert start + await response.content.read() == LARGE
    assert held(proxy) == set()


async def test_without_a_disk_a_missing_package_is_still_a_404(proxy: Proxy, feed: FakeFeed, fs: FailingFs) -> None:
    fs.arm(1, errno.EROFS, for_ever=True, only="create")
    assert (await ask(proxy, PACKAGE)).status == 404


async def test_without_a_disk_a_failure_is_still_a_503(proxy: Proxy, feed: FakeFeed, fs: FailingFs) -> None:
    fs.arm(1, errno.EROFS, for_ever=True, only="create")
    await feed.set_mode("5xx")
    assert (await ask(proxy, PACKAGE)).status == 503


async def test_without_a_disk_what_is_no_package_is_still_refused(proxy: Proxy, feed: FakeFeed, fs: FailingFs) -> None:
    fs.arm(1, errno.EROFS, for_ever=True, only="create")
    feed.origin.routes[UP_PACKAGE] = Script(body=b"<html>log in</html>")
    assert (await ask(proxy, PACKAGE)).status == 502


async def test_documents_do_without_a_disk(proxy: Proxy, feed: FakeFeed) -> None:
    feed.add(SMALL)
    shutil.rmtree(proxy.directory / "documents")
    for _ in range(3):
        assert (await ask(proxy, VERSIONS)).body == b'{"versions":["1.0.0"]}'


async def test_a_directory_deleted_under_us_is_made_again(proxy: Proxy, feed: FakeFeed) -> None:
    feed.add(SMALL)
    feed.add(make_nupkg("Acme.B", "1.0.0"))
    assert (await ask(proxy, PACKAGE)).body == SMALL
    shutil.rmtree(proxy.directory / "up")
    with capture_logs() as logs:
        got = await ask(proxy, "/v3/content/acme.b/1.0.0/acme.b.1.0.0.nupkg")
    assert got.body == make_nupkg("Acme.B", "1.0.0")
    assert [entry for entry in logs if entry["event"] == "store.recreated"]
    assert (await ask(proxy, PACKAGE)).body == SMALL
    assert "acme.b.1.0.0.nupkg.sha512" in held(proxy)


class TestDamage:
    """What lies on disk is not what was stored."""

    @pytest.fixture
    async def stored(self, proxy: Proxy, feed: FakeFeed) -> Path:
        """The file of a package that is held, upstream having it still."""
        feed.add(LARGE)
        await ask(proxy, PACKAGE)
        await ask(proxy, VERSIONS)
        return proxy.packages / "acme.a" / "1.0.0" / NAME

    @pytest.mark.parametrize("size", [0, 1, 1000, len(LARGE) - 1])
    async def test_truncated(self, proxy: Proxy, feed: FakeFeed, stored: Path, size: int) -> None:
        with stored.open("r+b") as file:
            file.truncate(size)
        await proxy.restart()
        with capture_logs() as logs:
            got = await ask(proxy, PACKAGE)
        assert (got.status, got.body) == (200, LARGE)
        assert (await ask(proxy, PACKAGE)).cache == "hit"
        assert feed.count(UP_PACKAGE) == 2
        (line,) = [entry for entry in logs if entry["event"] == "package.quarantined"]
        assert proxy.metric("quarantined_total", reason=line["damage"]) == 1

    async def test_a_flipped_bit(self, proxy: Proxy, feed: FakeFeed, stored: Path) -> None:
        content = bytearray(LARGE)
        content[200_000] ^= 1
        stored.write_bytes(content)
        await proxy.restart()
        assert (await ask(proxy, PACKAGE)).body == LARGE
        assert proxy.metric("quarantined_total", reason="hash") == 1
        assert stored.read_bytes() == LARGE

    async def test_a_flipped_bit_with_upstream_gone(self, proxy: Proxy, feed: FakeFeed, stored: Path) -> None:
        content = bytearray(LARGE)
        content[200_000] ^= 1
        stored.write_bytes(content)
        await feed.set_mode("refused")
        await proxy.restart()
        for _ in range(2):
            assert (await ask(proxy, PACKAGE)).status == 503, "rather nothing than wrong bytes"

    async def test_a_missing_file(self, proxy: Proxy, feed: FakeFeed, stored: Path) -> None:
        stored.unlink()
        await proxy.restart()
        assert (await ask(proxy, PACKAGE)).body == LARGE
        assert held(proxy) == WHOLE

    @pytest.mark.parametrize("name", [f"{NAME}.sha512", "acme.a.nuspec"])
    async def test_a_missing_companion(self, proxy: Proxy, feed: FakeFeed, stored: Path, name: str) -> None:
        (stored.parent / name).unlink()
        await feed.set_mode("refused")
        await proxy.restart()
        got = await ask(proxy, PACKAGE)
        assert (got.status, got.body) == (200, LARGE)
        assert held(proxy) == WHOLE

    async def test_lost_documents_cost_no_package(self, proxy: Proxy, feed: FakeFeed, stored: Path) -> None:
        await proxy.stop()
        shutil.rmtree(proxy.directory / "documents")
        await feed.set_mode("refused")
        await proxy.start()
        got = await ask(proxy, PACKAGE)
        assert (got.body, got.cache) == (LARGE, "hit")

    async def test_other_bytes_that_appear_during_a_download_are_kept(self, proxy: Proxy, feed: FakeFeed) -> None:
        """Somebody copied another build of the version into the folder: it was there first."""
        gate = asyncio.Event()
        other = make_nupkg("Acme.A", "1.0.0", description="another build")
        feed.origin.routes[UP_PACKAGE] = Script(body=SMALL, gate=gate)
        asked = asyncio.create_task(ask(proxy, PACKAGE))
        await until(lambda: feed.count(UP_PACKAGE) == 1)
        directory = proxy.packages / "acme.a" / "1.0.0"
        directory.mkdir(parents=True)
        (directory / NAME).write_bytes(other)
        gate.set()
        got = await asked
        assert (got.status, got.cache) == (502, 'fwd=uri-miss; detail="pin"')
        assert (await ask(proxy, PACKAGE)).body == other
        assert proxy.metric("integrity_failures_total", reason="pin") == 1
