"""The holdings's file is damaged, deleted, foreign, locked, or the disk fails."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from nugetproxy.nuget.facts import PackageFacts
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.nuget.synthesis.search_query import SearchQuery
from nugetproxy.store.holdings.holdings import Holdings, HoldingsUnavailable
from nugetproxy.store.sqlite_file import AGAIN_SECONDS, Lane
from nugetproxy.store.sqlite_form import CORRUPT_KEPT, STEPS_BETWEEN_LOOKS, SqliteUnavailable, Trouble, limit_time
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
    return tmp_path / "holdings.db"


@pytest.fixture
async def start(path: Path, clock: FakeClock) -> AsyncIterator[Callable[[], Holdings]]:
    """Makes holdingss over one file, one after the other; all are closed in the end."""
    made: list[Holdings] = []

    def make() -> Holdings:
        made.append(Holdings(clock=clock))
        return made[-1]

    yield make
    for holdings in made:
        await holdings.close()


async def filled(start: Callable[[], Holdings], path: Path) -> Holdings:
    holdings = start()
    await holdings.open(path)
    await holdings.sync(walk, read)
    return holdings


async def usable(holdings: Holdings) -> int:
    return (await holdings.search(EVERYTHING))[0]


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
async def test_damage_between_two_runs_ends_in_a_rebuilt_holdings(
    start: Callable[[], Holdings], path: Path, damage: Callable[[Path], None]
) -> None:
    holdings = await filled(start, path)
    await holdings.close()
    damage(path)
    again = start()
    await again.open(path)
    assert not again.synced
    await again.sync(walk, read)
    assert again.synced
    assert await usable(again) == len(HELD)
    assert [package.id for package in await again.facts("package7")] == ["Package7"]


@pytest.mark.parametrize("leftover", ["-wal", "-shm"])
async def test_a_log_of_another_file_does_no_harm(start: Callable[[], Holdings], path: Path, leftover: str) -> None:
    path.with_name(path.name + leftover).write_bytes(b"\x77" * 70_000)
    holdings = await filled(start, path)
    assert await usable(holdings) == len(HELD)


@pytest.mark.parametrize("damage", [gone, garbage, scrambled])
async def test_damage_while_running_is_noticed_at_the_latest_by_the_next_sync(
    start: Callable[[], Holdings], path: Path, damage: Callable[[Path], None]
) -> None:
    holdings = await filled(start, path)
    await holdings.close()  # what was written is in the file now, not in its log
    holdings = start()
    await holdings.open(path)
    await holdings.sync(walk, read)
    damage(path)
    await holdings.sync(walk, read)
    assert holdings.synced
    assert await usable(holdings) == len(HELD)


async def test_a_read_that_meets_damage_raises_rather_than_find_nothing(
    start: Callable[[], Holdings], path: Path
) -> None:
    holdings = await filled(start, path)
    gone(path)
    with pytest.raises(HoldingsUnavailable) as caught:
        await holdings.facts("package7")
    assert caught.value.trouble is Trouble.BROKEN
    assert "try again" in str(caught.value)
    assert not holdings.synced
    await holdings.sync(walk, read)
    assert len(await holdings.facts("package7")) == 1


async def test_facts_with_a_flipped_bit_are_not_served(start: Callable[[], Holdings], path: Path) -> None:
    holdings = await filled(start, path)
    await holdings.close()
    connection = sqlite3.connect(path)
    connection.execute("UPDATE facts SET packed = CAST(replace(packed, 'Package7', 'Package8') AS BLOB)")
    connection.commit()
    connection.close()
    again = start()
    await again.open(path)
    with pytest.raises(HoldingsUnavailable):
        await again.facts("package7")
    assert not again.synced
    await again.sync(walk, read)
    assert [package.id for package in await again.facts("package7")] == ["Package7"]


async def test_keep_synced_fills_a_holdings_that_was_lost(start: Callable[[], Holdings], path: Path) -> None:
    holdings = start()
    await holdings.open(path)
    keeping = asyncio.create_task(holdings.keep_synced(walk, read))
    while not holdings.synced:
        await asyncio.sleep(0)
    gone(path)
    with pytest.raises(HoldingsUnavailable):
        await holdings.search(EVERYTHING)
    while not holdings.synced:
        await asyncio.sleep(0)
    assert await usable(holdings) == len(HELD)
    keeping.cancel()
    await asyncio.wait({keeping})


async def test_the_damaged_file_is_kept_for_a_look_but_not_many_of_them(
    start: Callable[[], Holdings], path: Path
) -> None:
    for _ in range(CORRUPT_KEPT + 2):
        path.write_bytes(b"not a database" * 1000)
        holdings = start()
        await holdings.open(path)
        await holdings.close()
    kept = [file.name for file in path.parent.iterdir() if ".corrupt-" in file.name]
    assert len(kept) == CORRUPT_KEPT
    assert path.read_bytes().startswith(b"SQLite format 3")


async def test_all_readers_of_a_lost_file_get_the_new_one(start: Callable[[], Holdings], path: Path) -> None:
    holdings = await filled(start, path)
    await asyncio.gather(*(usable(holdings) for _ in range(8)))
    gone(path)
    outcomes = await asyncio.gather(*(usable(holdings) for _ in range(8)), return_exceptions=True)
    assert all(isinstance(outcome, HoldingsUnavailable) for outcome in outcomes)
    await holdings.sync(walk, read)
    assert await asyncio.gather(*(usable(holdings) for _ in range(8))) == [len(HELD)] * 8
    assert not [file for file in path.parent.iterdir() if ".corrupt-" in file.name], "nothing was left to set aside"


async def test_a_fresh_file_is_made_at_most_every_few_seconds(
    start: Callable[[], Holdings], path: Path, clock: FakeClock
) -> None:
    holdings = await filled(start, path)
    gone(path)
    with pytest.raises(HoldingsUnavailable):
        await usable(holdings)
    assert await usable(holdings) == 0
    gone(path)
    for _ in range(2):
        with pytest.raises(HoldingsUnavailable):
            await usable(holdings)
    assert not path.exists()
    clock.advance(AGAIN_SECONDS)
    with pytest.raises(HoldingsUnavailable):
        await usable(holdings)
    assert await usable(holdings) == 0


async def test_a_write_that_fails_makes_the_holdings_incomplete_but_raises_nothing(
    start: Callable[[], Holdings], path: Path
) -> None:
    holdings = await filled(start, path)
    gone(path)
    assert not await holdings.add(facts("Other"))
    assert not holdings.synced


async def test_a_directory_that_is_not_there_is_no_reason_to_fail(
    start: Callable[[], Holdings], path: Path, clock: FakeClock
) -> None:
    nowhere = path.parent / "missing" / "holdings.db"
    holdings = start()
    await holdings.open(nowhere)
    with pytest.raises(HoldingsUnavailable):
        await holdings.facts("a")
    assert not await holdings.add(facts("A"))
    with pytest.raises(HoldingsUnavailable):
        await holdings.sync(walk, read)
    nowhere.parent.mkdir()
    clock.advance(AGAIN_SECONDS)
    await holdings.sync(walk, read)
    assert await usable(holdings) == len(HELD)


async def test_a_full_disk_loses_the_write_not_the_holdings(start: Callable[[], Holdings], path: Path) -> None:
    holdings = await filled(start, path)
    await holdings._file.write(lambda connection: connection.execute("PRAGMA max_page_count = 1").fetchone())
    big = facts("Big", description="".join(f"word{number} " for number in range(100_000)))
    assert not await holdings.add(big)
    assert not holdings.synced
    assert await usable(holdings) == len(HELD)
    assert await holdings.facts("big") == ()


async def test_a_query_that_takes_too_long_is_interrupted(start: Callable[[], Holdings], path: Path) -> None:
    holdings = await filled(start, path)
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"

    def count(connection: sqlite3.Connection) -> None:
        limit_time(connection, 0.0)
        connection.execute(endless).fetchone()

    with pytest.raises(HoldingsUnavailable) as caught:
        await holdings._file.read(count)
    assert caught.value.trouble is Trouble.SLOW
    assert await usable(holdings) == len(HELD)
    assert holdings.synced
    assert STEPS_BETWEEN_LOOKS > 0


async def test_a_check_that_takes_too_long_ends_without_a_verdict(
    start: Callable[[], Holdings], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    holdings = await filled(start, path)
    await holdings.close()
    unlike_words(path)
    holdings = start()
    await holdings.open(path)
    with monkeypatch.context() as slow:
        slow.setattr("nugetproxy.store.sqlite_form.CHECK_SECONDS", -1.0)
        slow.setattr("nugetproxy.store.sqlite_form.STEPS_BETWEEN_LOOKS", 1)
        assert await holdings._file.check()
    assert not await holdings._file.check()


async def test_a_mistake_in_a_query_does_not_cost_the_holdings(start: Callable[[], Holdings], path: Path) -> None:
    holdings = await filled(start, path)
    with pytest.raises(HoldingsUnavailable):
        await holdings._file.read(lambda connection: connection.execute("SELECT nothing FROM nowhere").fetchone())
    assert holdings.synced
    assert await usable(holdings) == len(HELD)


async def test_readers_cannot_write(start: Callable[[], Holdings], path: Path) -> None:
    holdings = await filled(start, path)
    with pytest.raises(HoldingsUnavailable):
        await holdings._file.read(lambda connection: connection.execute("DELETE FROM packages").fetchone())
    assert await usable(holdings) == len(HELD)


async def test_what_waits_for_a_stuck_thread_is_given_up() -> None:
    stuck, lane = threading.Event(), Lane("stuck", lambda _: sqlite3.connect(":memory:"), seconds=-0.9)
    lane.begin(Path())
    ran: list[str] = []
    with pytest.raises(SqliteUnavailable) as caught:
        await lane.run(lambda _: stuck.wait(10))
    assert caught.value.why == "timeout"
    with pytest.raises(SqliteUnavailable):
        await lane.run(lambda _: ran.append("late"))
    stuck.set()
    with pytest.raises(SqliteUnavailable):
        await lane.pause()
        await lane.run(lambda _: ran.append("paused"))
    assert ran == []
    await lane.end()


async def test_a_cancelled_caller_does_not_stop_the_recovery(start: Callable[[], Holdings], path: Path) -> None:
    holdings = await filled(start, path)
    gone(path)
    caller = asyncio.create_task(usable(holdings))
    while holdings._file._recovery is None:
        await asyncio.sleep(0)
    caller.cancel()
    await asyncio.wait({caller})
    while holdings._file._recovery is not None:
        await asyncio.sleep(0)
    assert await usable(holdings) == 0
    assert not holdings.synced
