"""The catalog's file is damaged, deleted, foreign, locked, or the disk fails."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from nugetproxy.nuget.facts import PackageFacts
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.nuget.search_query import SearchQuery
from nugetproxy.store.catalog import Catalog, CatalogUnavailable
from nugetproxy.store.catalog_database import CORRUPT_KEPT, STEPS_BETWEEN_LOOKS, Trouble, limit_time
from nugetproxy.store.catalog_file import AGAIN_SECONDS
from nugetproxy.store.catalog_lane import Lane
from tests.fakes.clock import FakeClock
from tests.nuget.held import facts

HELD = {package.identity: package for package in (facts(f"Package{number}", "1.0.0") for number in range(300))}
EVERYTHING = SearchQuery(take=1000)


def walk() -> Iterator[tuple[PackageIdentity, int, float]]:
    return ((identity, package.size, 0.0) for identity, package in HELD.items())


def read(identity: PackageIdentity, _: int) -> PackageFacts | None:
    return HELD[identity]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "catalog.db"


@pytest.fixture
async def start(path: Path, clock: FakeClock) -> AsyncIterator[Callable[[], Catalog]]:
    """Makes catalogs over one file, one after the other; all are closed in the end."""
    made: list[Catalog] = []

    def make() -> Catalog:
        made.append(Catalog(clock=clock))
        return made[-1]

    yield make
    for catalog in made:
        await catalog.close()


async def filled(start: Callable[[], Catalog], path: Path) -> Catalog:
    catalog = start()
    await catalog.open(path)
    await catalog.sync(walk, read)
    return catalog


async def usable(catalog: Catalog) -> int:
    return (await catalog.search(EVERYTHING))[0]


def garbage(path: Path) -> None:
    path.write_bytes(b"\x5a" * path.stat().st_size)


def zeros(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def empty(path: Path) -> None:
    path.write_bytes(b"")


def half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def head(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


def scrambled(path: Path) -> None:
    """The first page is fine, the others are not."""
    path.write_bytes(path.read_bytes()[:4096] + b"\xa5" * (path.stat().st_size - 4096))


def foreign(path: Path) -> None:
    """Somebody else's sound database."""
    path.unlink()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE packages (id TEXT)")
    connection.close()


def older(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 999")
    connection.close()


def without_words(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("DROP TABLE words")
    connection.commit()
    connection.close()


def unlike_words(path: Path) -> None:
    """The index of words says something else than its text."""
    connection = sqlite3.connect(path)
    connection.execute("UPDATE words_content SET c0 = 'nonsense' WHERE id < 50")
    connection.commit()
    connection.close()


def gone(path: Path) -> None:
    path.unlink()


DAMAGES = [garbage, zeros, empty, half, head, scrambled, foreign, older, without_words, unlike_words, gone]


@pytest.mark.parametrize("damage", DAMAGES)
async def test_damage_between_two_runs_ends_in_a_rebuilt_catalog(
    start: Callable[[], Catalog], path: Path, damage: Callable[[Path], None]
) -> None:
    catalog = await filled(start, path)
    await catalog.close()
    damage(path)
    again = start()
    await again.open(path)
    assert not again.synced
    await again.sync(walk, read)
    assert again.synced
    assert await usable(again) == len(HELD)
    assert [package.id for package in await again.facts("package7")] == ["Package7"]


@pytest.mark.parametrize("leftover", ["-wal", "-shm"])
async def test_a_log_of_another_file_does_no_harm(start: Callable[[], Catalog], path: Path, leftover: str) -> None:
    path.with_name(path.name + leftover).write_bytes(b"\x77" * 70_000)
    catalog = await filled(start, path)
    assert await usable(catalog) == len(HELD)


@pytest.mark.parametrize("damage", [gone, garbage, scrambled])
async def test_damage_while_running_is_noticed_at_the_latest_by_the_next_sync(
    start: Callable[[], Catalog], path: Path, damage: Callable[[Path], None]
) -> None:
    catalog = await filled(start, path)
    await catalog.close()  # what was written is in the file now, not in its log
    catalog = start()
    await catalog.open(path)
    await catalog.sync(walk, read)
    damage(path)
    await catalog.sync(walk, read)
    assert catalog.synced
    assert await usable(catalog) == len(HELD)


async def test_a_read_that_meets_damage_raises_rather_than_find_nothing(
    start: Callable[[], Catalog], path: Path
) -> None:
    catalog = await filled(start, path)
    gone(path)
    with pytest.raises(CatalogUnavailable) as caught:
        await catalog.facts("package7")
    assert caught.value.trouble is Trouble.BROKEN
    assert "try again" in str(caught.value)
    assert not catalog.synced
    await catalog.sync(walk, read)
    assert len(await catalog.facts("package7")) == 1


async def test_facts_with_a_flipped_bit_are_not_served(start: Callable[[], Catalog], path: Path) -> None:
    catalog = await filled(start, path)
    await catalog.close()
    connection = sqlite3.connect(path)
    connection.execute("UPDATE facts SET packed = CAST(replace(packed, 'Package7', 'Package8') AS BLOB)")
    connection.commit()
    connection.close()
    again = start()
    await again.open(path)
    with pytest.raises(CatalogUnavailable):
        await again.facts("package7")
    assert not again.synced
    await again.sync(walk, read)
    assert [package.id for package in await again.facts("package7")] == ["Package7"]


async def test_keep_synced_fills_a_catalog_that_was_lost(start: Callable[[], Catalog], path: Path) -> None:
    catalog = start()
    await catalog.open(path)
    keeping = asyncio.create_task(catalog.keep_synced(walk, read))
    while not catalog.synced:
        await asyncio.sleep(0)
    gone(path)
    with pytest.raises(CatalogUnavailable):
        await catalog.search(EVERYTHING)
    while not catalog.synced:
        await asyncio.sleep(0)
    assert await usable(catalog) == len(HELD)
    keeping.cancel()
    await asyncio.wait({keeping})


async def test_the_damaged_file_is_kept_for_a_look_but_not_many_of_them(
    start: Callable[[], Catalog], path: Path
) -> None:
    for _ in range(CORRUPT_KEPT + 2):
        path.write_bytes(b"not a database" * 1000)
        catalog = start()
        await catalog.open(path)
        await catalog.close()
    kept = [file.name for file in path.parent.iterdir() if ".corrupt-" in file.name]
    assert len(kept) == CORRUPT_KEPT
    assert path.read_bytes().startswith(b"SQLite format 3")


async def test_all_readers_of_a_lost_file_get_the_new_one(start: Callable[[], Catalog], path: Path) -> None:
    catalog = await filled(start, path)
    await asyncio.gather(*(usable(catalog) for _ in range(8)))
    gone(path)
    outcomes = await asyncio.gather(*(usable(catalog) for _ in range(8)), return_exceptions=True)
    assert all(isinstance(outcome, CatalogUnavailable) for outcome in outcomes)
    await catalog.sync(walk, read)
    assert await asyncio.gather(*(usable(catalog) for _ in range(8))) == [len(HELD)] * 8
    assert not [file for file in path.parent.iterdir() if ".corrupt-" in file.name], "nothing was left to set aside"


async def test_a_fresh_file_is_made_at_most_every_few_seconds(
    start: Callable[[], Catalog], path: Path, clock: FakeClock
) -> None:
    catalog = await filled(start, path)
    gone(path)
    with pytest.raises(CatalogUnavailable):
        await usable(catalog)
    assert await usable(catalog) == 0
    gone(path)
    for _ in range(2):
        with pytest.raises(CatalogUnavailable):
            await usable(catalog)
    assert not path.exists()
    clock.advance(AGAIN_SECONDS)
    with pytest.raises(CatalogUnavailable):
        await usable(catalog)
    assert await usable(catalog) == 0


async def test_a_write_that_fails_makes_the_catalog_incomplete_but_raises_nothing(
    start: Callable[[], Catalog], path: Path
) -> None:
    catalog = await filled(start, path)
    gone(path)
    assert not await catalog.add(facts("Other"))
    assert not catalog.synced


async def test_a_directory_that_is_not_there_is_no_reason_to_fail(
    start: Callable[[], Catalog], path: Path, clock: FakeClock
) -> None:
    nowhere = path.parent / "missing" / "catalog.db"
    catalog = start()
    await catalog.open(nowhere)
    with pytest.raises(CatalogUnavailable):
        await catalog.facts("a")
    assert not await catalog.add(facts("A"))
    with pytest.raises(CatalogUnavailable):
        await catalog.sync(walk, read)
    nowhere.parent.mkdir()
    clock.advance(AGAIN_SECONDS)
    await catalog.sync(walk, read)
    assert await usable(catalog) == len(HELD)


async def test_a_full_disk_loses_the_write_not_the_catalog(start: Callable[[], Catalog], path: Path) -> None:
    catalog = await filled(start, path)
    await catalog._file.write(lambda connection: connection.execute("PRAGMA max_page_count = 1").fetchone())
    big = facts("Big", description="".join(f"word{number} " for number in range(100_000)))
    assert not await catalog.add(big)
    assert not catalog.synced
    assert await usable(catalog) == len(HELD)
    assert await catalog.facts("big") == ()


async def test_a_query_that_takes_too_long_is_interrupted(start: Callable[[], Catalog], path: Path) -> None:
    catalog = await filled(start, path)
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"

    def count(connection: sqlite3.Connection) -> None:
        limit_time(connection, 0.0)
        connection.execute(endless).fetchone()

    with pytest.raises(CatalogUnavailable) as caught:
        await catalog._file.read(count)
    assert caught.value.trouble is Trouble.SLOW
    assert await usable(catalog) == len(HELD)
    assert catalog.synced
    assert STEPS_BETWEEN_LOOKS > 0


async def test_a_check_that_takes_too_long_ends_without_a_verdict(
    start: Callable[[], Catalog], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = await filled(start, path)
    await catalog.close()
    unlike_words(path)
    catalog = start()
    await catalog.open(path)
    with monkeypatch.context() as slow:
        slow.setattr("nugetproxy.store.catalog_database.CHECK_SECONDS", -1.0)
        slow.setattr("nugetproxy.store.catalog_database.STEPS_BETWEEN_LOOKS", 1)
        assert await catalog._file.check()
    assert not await catalog._file.check()


async def test_a_mistake_in_a_query_does_not_cost_the_catalog(start: Callable[[], Catalog], path: Path) -> None:
    catalog = await filled(start, path)
    with pytest.raises(CatalogUnavailable):
        await catalog._file.read(lambda connection: connection.execute("SELECT nothing FROM nowhere").fetchone())
    assert catalog.synced
    assert await usable(catalog) == len(HELD)


async def test_readers_cannot_write(start: Callable[[], Catalog], path: Path) -> None:
    catalog = await filled(start, path)
    with pytest.raises(CatalogUnavailable):
        await catalog._file.read(lambda connection: connection.execute("DELETE FROM packages").fetchone())
    assert await usable(catalog) == len(HELD)


async def test_what_waits_for_a_stuck_thread_is_given_up() -> None:
    stuck, lane = threading.Event(), Lane("stuck", lambda _: sqlite3.connect(":memory:"), seconds=-0.9)
    lane.begin(Path())
    ran: list[str] = []
    with pytest.raises(CatalogUnavailable) as caught:
        await lane.run(lambda _: stuck.wait(10))
    assert caught.value.why == "timeout"
    with pytest.raises(CatalogUnavailable):
        await lane.run(lambda _: ran.append("late"))
    stuck.set()
    with pytest.raises(CatalogUnavailable):
        await lane.pause()
        await lane.run(lambda _: ran.append("paused"))
    assert ran == []
    await lane.end()


async def test_a_cancelled_caller_does_not_stop_the_recovery(start: Callable[[], Catalog], path: Path) -> None:
    catalog = await filled(start, path)
    gone(path)
    caller = asyncio.create_task(usable(catalog))
    while catalog._file._recovery is None:
        await asyncio.sleep(0)
    caller.cancel()
    await asyncio.wait({caller})
    while catalog._file._recovery is not None:
        await asyncio.sleep(0)
    assert await usable(catalog) == 0
    assert not catalog.synced
