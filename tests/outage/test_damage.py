"""Everything derived is damaged or lost while upstream is down: the packages are served all the same, at once."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.conftest import StartProxy
from tests.fakes.asking import LARGE, PACKAGE, REGISTRATION, SEARCH, SMALL, UP_PACKAGE, VERSIONS, ask, held, until
from tests.fakes.clock import FakeClock
from tests.fakes.feed import FakeFeed
from tests.fakes.packages import make_nupkg
from tests.fakes.proxy import Proxy
from tests.outage.kit import lay_down, package_url, read

INDEX = "/v3/index.json"
COUNT = 20
MANY = 2000

START_SECONDS = 5.0


def nothing(path: Path) -> None:
    """Left as it is."""


def lost(path: Path) -> None:
    for one in path.parent.glob(f"{path.name}*"):
        one.unlink()


def garbage(path: Path) -> None:
    path.write_bytes(os.urandom(50_000))


def header(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(os.urandom(100))


def middle(path: Path) -> None:
    with path.open("r+b") as file:
        for at in range(4096, file.seek(0, 2), 4096):
            file.seek(at)
            file.write(b"\xa5" * 4096)


def truncated(path: Path) -> None:
    os.truncate(path, 5000)


def zeroed(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def empty(path: Path) -> None:
    os.truncate(path, 0)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def tables(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for name in names:
            if not name.startswith("sqlite_"):
                connection.execute("PRAGMA writable_schema = ON")
                connection.execute("DELETE FROM sqlite_master WHERE name = ?", (name,))
    connection.close()


DAMAGES: tuple[Callable[[Path], None], ...] = (
    nothing,
    lost,
    garbage,
    header,
    middle,
    truncated,
    zeroed,
    empty,
    folder,
    tables,
)


def nupkg(number: int) -> bytes:
    return make_nupkg(f"Acme.N{number}", "1.0.0", tags="numbered")


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package folder that NuGet filled."""
    packages = tmp_path_factory.mktemp("shelf") / "packages"
    for number in range(COUNT):
        lay_down(packages, f"acme.n{number}", "1.0.0", nupkg(number))
    return packages


@pytest.mark.parametrize(
    ("victims", "damage"),
    [
        *((("documents", "holdings"), damage) for damage in DAMAGES),
        *(((victim,), damage) for victim in ("documents", "holdings") for damage in (lost, garbage)),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, tuple) else value.__name__,
)
async def test_derived_files_may_be_anything(
    start_proxy: StartProxy, feed: FakeFeed, shelf: Path, victims: tuple[str, ...], damage: Callable[[Path], None]
) -> None:
    proxy = await start_proxy(feed.index_url)
    assert (await ask(proxy, INDEX)).status == 200
    shutil.copytree(shelf, proxy.packages, dirs_exist_ok=True)
    await proxy.held.stock.take()
    await proxy.stop()
    await feed.set_mode("refused")
    files = {
        "documents": proxy.directory / "documents" / "cache.db",
        "holdings": proxy.directory / "up" / "holdings.db",
    }
    for victim in victims:
        damage(files[victim])

    began = time.monotonic()
    await proxy.start()
    assert (await ask(proxy, "/health/live")).status == 200
    assert time.monotonic() - began < START_SECONDS
    for number in range(COUNT):
        got = await ask(proxy, package_url(f"acme.n{number}"))
        assert (got.status, got.body, got.cache) == (200, nupkg(number), "hit")

    await proxy.held.stock.take()
    assert (await ask(proxy, INDEX)).status == 200
    assert (await ask(proxy, "/health/ready")).status == 200
    assert await read(proxy, "/v3/content/acme.n7/index.json") == {"versions": ["1.0.0"]}
    assert (await read(proxy, "/v3/query?q=tags:numbered&take=5"))["totalHits"] == COUNT
    assert (await read(proxy, "/v3/registration/semver1/acme.n7/index.json"))["count"] == 1
    await feed.set_mode("up")


async def test_a_catalog_damaged_while_running_heals_unasked(proxy: Proxy, feed: FakeFeed) -> None:
    feed.add(SMALL)
    await ask(proxy, PACKAGE)
    await feed.set_mode("refused")
    proxy.app.start_background()
    holdings = proxy.held.holdings
    await until(lambda: holdings.synced)
    middle(proxy.directory / "up" / "holdings.db")
    lost(proxy.directory / "up" / "holdings.db")
    async with asyncio.timeout(10):
        while (await ask(proxy, VERSIONS)).status != 200:
            await asyncio.sleep(0.01)
    assert (await ask(proxy, PACKAGE)).body == SMALL


async def test_documents_damaged_while_running_reach_no_client(proxy: Proxy, feed: FakeFeed, clock: FakeClock) -> None:
    feed.add(SMALL)
    paths = (INDEX, VERSIONS, REGISTRATION, SEARCH, PACKAGE)
    before = [(await ask(proxy, path)).body for path in paths]
    middle(proxy.directory / "documents" / "cache.db")
    clock.advance(10)
    for _ in range(3):
        for path, body in zip(paths, before, strict=True):
            got = await ask(proxy, path)
            assert (got.status, got.body) == (200, body), path
    clock.advance(3)
    assert (await ask(proxy, VERSIONS)).status == 200


async def test_a_row_without_its_file_is_not_listed(proxy: Proxy, feed: FakeFeed) -> None:
    feed.add(SMALL)
    await ask(proxy, PACKAGE)
    await proxy.stop()
    shutil.rmtree(proxy.packages / "acme.a")
    await feed.set_mode("refused")
    await proxy.start()
    await proxy.held.stock.take()
    assert (await ask(proxy, VERSIONS)).status == 503
    assert (await ask(proxy, PACKAGE)).status == 503


async def test_a_file_without_its_row_is_found(proxy: Proxy, feed: FakeFeed) -> None:
    await ask(proxy, INDEX)
    lay_down(proxy.packages, "acme.a", "1.0.0", SMALL)
    await feed.set_mode("refused")
    assert (await ask(proxy, PACKAGE)).cache == "hit"
    await proxy.held.stock.take()
    assert await read(proxy, VERSIONS) == {"versions": ["1.0.0"]}
    assert len(held(proxy)) == 3, "one copy"


async def test_a_directory_deleted_under_a_running_proxy(proxy: Proxy, feed: FakeFeed, clock: FakeClock) -> None:
    feed.add(SMALL)
    for path in (INDEX, VERSIONS, PACKAGE):
        await ask(proxy, path)
    for entry in proxy.directory.iterdir():
        shutil.rmtree(entry) if entry.is_dir() else None
    clock.advance(3)
    for _ in range(2):
        for path in (INDEX, VERSIONS, PACKAGE, SEARCH):
            assert (await ask(proxy, path)).status == 200, path
    assert feed.count(UP_PACKAGE) == 2


async def test_documents_locked_by_somebody_else(proxy: Proxy, feed: FakeFeed) -> None:
    """Reads go on, a package is published at once: the file is the truth."""
    feed.add(SMALL)
    await ask(proxy, VERSIONS)
    lock = sqlite3.connect(proxy.directory / "documents" / "cache.db", isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    began = time.monotonic()
    assert (await ask(proxy, VERSIONS)).status == 200
    assert (await ask(proxy, PACKAGE)).body == SMALL
    assert time.monotonic() - began < 2
    assert (await ask(proxy, PACKAGE)).cache == "hit"
    lock.execute("ROLLBACK")
    lock.close()


async def test_a_poisoned_row_is_a_miss(proxy: Proxy, feed: FakeFeed, tmp_path: Path) -> None:
    """Whoever can write into the directory cannot have us run anything."""
    feed.add(SMALL)
    first = await ask(proxy, VERSIONS)
    await proxy.stop()
    canary = tmp_path / "canary"
    with sqlite3.connect(proxy.directory / "documents" / "cache.db") as database:
        poison = b"cos\nsystem\n(S'touch %s'\ntR." % os.fsencode(canary)
        database.execute(
            "UPDATE Cache SET mode = 4, filename = NULL, value = ? WHERE key LIKE 'e:versions:%'", (poison,)
        )
        assert database.execute("SELECT changes()").fetchone() == (1,)
    database.close()
    await proxy.start()
    got = await ask(proxy, VERSIONS)
    assert (got.status, got.body, got.cache) == (200, first.body, "fwd=uri-miss; fwd-status=200; stored")
    assert proxy.metric("documents_poisoned_total") == 1
    assert proxy.metric("documents_rebuilds_total") == 1, "all of it is set aside"
    assert not canary.exists()


async def test_the_shared_threads_may_all_be_busy(proxy: Proxy, feed: FakeFeed) -> None:
    """Packages and documents that are stored, and a small download, need none of them."""
    feed.add(LARGE)
    feed.add(make_nupkg("Acme.B", "1.0.0"))
    for path in (INDEX, VERSIONS, PACKAGE):
        await ask(proxy, path)
    loop, done = asyncio.get_running_loop(), threading.Event()
    pool = ThreadPoolExecutor(2)
    loop.set_default_executor(pool)
    blocked = [loop.run_in_executor(None, done.wait) for _ in range(20)]
    try:
        async with asyncio.timeout(5):
            assert (await ask(proxy, PACKAGE)).body == LARGE
            assert (await ask(proxy, VERSIONS)).status == 200
            assert (await ask(proxy, package_url("acme.b"))).status == 200
            assert (await ask(proxy, "/v3/content/acme.b/index.json")).status == 200
    finally:
        done.set()
        await asyncio.gather(*blocked)


@pytest.mark.parametrize(("many", "waits"), [(3, True), (2, False)], ids=["few ids", "many ids"])
async def test_a_start_waits_for_the_holdings_of_a_small_folder_alone(
    start_proxy: StartProxy, feed: FakeFeed, monkeypatch: pytest.MonkeyPatch, many: int, waits: bool
) -> None:
    monkeypatch.setattr("nugetproxy.store.packages.usage.MANY_IDS", many)
    monkeypatch.setattr("nugetproxy.engine.stock.FIRST_SYNC", 30.0)
    first = await start_proxy(feed.index_url)
    await first.stop()
    for number in range(3):
        lay_down(first.packages, f"bulk.n{number}", "1.0.0", make_nupkg(f"Bulk.N{number}", "1.0.0"))
    await feed.set_mode("refused")
    await first.start()
    assert first.held.holdings.synced is waits
    first.app.start_background()
    assert (await ask(first, package_url("bulk.n0"))).cache == "hit"
    await until(lambda: first.held.holdings.synced)
    assert (await read(first, "/v3/query?q=&take=1"))["totalHits"] == 3


@pytest.mark.slow
async def test_many_packages_and_a_cold_start(start_proxy: StartProxy, feed: FakeFeed) -> None:
    """Ready at once; the catalog is built in the background, while packages are served."""
    first = await start_proxy(feed.index_url)
    await first.stop()
    for number in range(MANY):
        lay_down(first.packages, f"bulk.n{number}", "1.0.0", make_nupkg(f"Bulk.N{number}", "1.0.0"))
    await feed.set_mode("refused")
    began = time.monotonic()
    await first.start()
    first.app.start_background()
    assert (await ask(first, "/health/live")).status == 200
    assert (await ask(first, package_url("bulk.n0"))).cache == "hit"
    assert time.monotonic() - began < START_SECONDS
    holdings = first.held.holdings
    async with asyncio.timeout(45):
        while not holdings.synced:
            assert (await ask(first, package_url("bulk.n0"))).cache == "hit"
            await asyncio.sleep(0.02)
    assert json.loads((await ask(first, "/v3/content/bulk.n0/index.json")).body) == {"versions": ["1.0.0"]}
    assert (await read(first, "/v3/query?q=&take=1"))["totalHits"] == MANY
