"""What an orderly stop says of the holdings: who believes it, who does not."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from nugetproxy.nuget.facts import PackageFacts
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.store.fs import FsOps
from nugetproxy.store.holdings import mark
from nugetproxy.store.holdings.holdings import Holdings
from nugetproxy.store.sqlite_form import file_key
from tests.fakes.clock import FakeClock
from tests.nuget.held import facts
from tests.store.crash import RecordingFs
from tests.store.kit import FailingFs

HELD = facts("A", "1.0.0")
OTHER = facts("A", "2.0.0")


def walk() -> Iterator[tuple[PackageIdentity, int, float]]:
    yield HELD.identity, HELD.size, 0.0


def read(identity: PackageIdentity, _: int) -> PackageFacts | None:
    return HELD if identity == HELD.identity else None


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "up" / "holdings.db"


@pytest.fixture
def folder(file: Path) -> Path:
    """With a package, as far as anybody looks at it."""
    packages = file.parent / "packages"
    (packages / "a" / "1.0.0").mkdir(parents=True)
    return packages


Begin = Callable[..., Awaitable[Holdings]]


@pytest.fixture
async def begin(file: Path, folder: Path, clock: FakeClock) -> AsyncIterator[Begin]:
    """Starts with what there is, as a proxy does; what was never stopped is closed in the end."""
    begun: list[Holdings] = []

    async def start(fs: FsOps | None = None) -> Holdings:
        begun.append(Holdings(fs=fs, clock=clock))
        await begun[-1].recall(file, folder)
        await begun[-1].open(file)
        return begun[-1]

    yield start
    for holdings in begun:
        await holdings.close()


async def stopped(begin: Begin) -> None:
    """A proxy has looked through the folder, then it came to its orderly end."""
    holdings = await begin()
    await holdings.sync(walk, read)
    await holdings.close()


async def test_all_is_known_after_an_orderly_stop_before_anybody_looks(begin: Begin) -> None:
    first = await begin()
    assert not first.complete, "nobody has ever looked"
    await first.close()
    await stopped(begin)
    holdings = await begin()
    assert (holdings.complete, holdings.synced) == (True, False)
    await holdings.sync(walk, read)
    assert (holdings.complete, holdings.synced) == (True, True)


async def test_what_was_believed_holds_for_the_next_start_too(begin: Begin) -> None:
    """Two restarts, the second before the walk behind the first was over."""
    await stopped(begin)
    holdings = await begin()
    await holdings.add(OTHER)
    await holdings.close()
    assert (await begin()).complete


async def test_a_stop_before_the_first_walk_was_over_says_nothing(begin: Begin) -> None:
    holdings = await begin()
    await holdings.add(HELD)
    await holdings.close()
    assert not (await begin()).complete


async def test_a_kill_says_nothing(begin: Begin, file: Path) -> None:
    await stopped(begin)
    killed = await begin()  # never closed
    assert killed.complete
    assert not (await begin()).complete
    await stopped(begin)
    running = await begin()
    await running.sync(walk, read)
    assert not (await begin()).complete
    assert not file.with_suffix(".mark").exists()


async def test_what_a_start_finds_in_its_folder_is_missing(begin: Begin, file: Path, folder: Path) -> None:
    await stopped(begin)
    holdings = Holdings()
    await holdings.recall(file, folder)
    holdings.doubt()  # a package of before a crash is committed between the two
    await holdings.open(file)
    assert not holdings.complete
    await holdings.close()
    assert not (await begin()).complete


async def test_a_change_that_failed_says_nothing(begin: Begin, file: Path) -> None:
    await stopped(begin)
    holdings = await begin()
    file.unlink()
    assert not await holdings.add(OTHER)
    assert not holdings.complete
    await holdings.close()
    assert not (await begin()).complete


# --- what happens while nobody runs ---


def put_in(_: Path, folder: Path) -> None:
    (folder / "b").mkdir()


def take_out(_: Path, folder: Path) -> None:
    shutil.rmtree(folder / "a")


def empty(_: Path, folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def exchange(_: Path, folder: Path) -> None:
    """By a copy, times and all."""
    shutil.copytree(folder, folder.with_name("copy"))
    shutil.rmtree(folder)
    folder.with_name("copy").rename(folder)


def restore(file: Path, _: Path) -> None:
    """The whole directory out of a backup."""
    shutil.copytree(file.parent, file.parent.with_name("backup"))
    shutil.rmtree(file.parent)
    file.parent.with_name("backup").rename(file.parent)


def lay_over(file: Path, folder: Path) -> None:
    """A backup over what is there, with the time that the folder had."""
    before = folder.stat()
    (folder / "b").mkdir()
    os.utime(folder, ns=(before.st_atime_ns, before.st_mtime_ns))


def older_holdings(file: Path, _: Path) -> None:
    shutil.copy2(file, file.with_name("copy"))
    file.with_name("copy").rename(file)


def lose(file: Path, _: Path) -> None:
    file.unlink()


def damage(file: Path, _: Path) -> None:
    file.write_bytes(b"\x5a" * file.stat().st_size)


def edit(file: Path, _: Path) -> None:
    """As a version of before marks does."""
    connection = sqlite3.connect(file)
    connection.execute("UPDATE packages SET downloads = 7")
    connection.commit()
    connection.close()


def open_and_die(file: Path, _: Path) -> None:
    """As a version of before marks does that is killed: what it has written is in the log."""
    other = file.with_name("other.db")
    shutil.copy2(file, other)
    connection = sqlite3.connect(other)
    connection.execute("UPDATE packages SET downloads = 7")
    connection.commit()
    for suffix in ("-wal", "-shm"):
        shutil.copy2(f"{other}{suffix}", f"{file}{suffix}")
    connection.close()


def cut(file: Path, _: Path) -> None:
    at = file.with_suffix(".mark")
    at.write_bytes(at.read_bytes()[:-1])


def scribble(file: Path, _: Path) -> None:
    file.with_suffix(".mark").write_bytes(b'{"folder": [1, "x"]}')


CHANGES = [
    put_in,
    take_out,
    empty,
    exchange,
    restore,
    lay_over,
    older_holdings,
    lose,
    damage,
    edit,
    open_and_die,
    cut,
    scribble,
]


@pytest.mark.parametrize("change", CHANGES)
async def test_it_is_not_believed_of_anything_else(
    begin: Begin, file: Path, folder: Path, change: Callable[[Path, Path], None]
) -> None:
    await stopped(begin)
    change(file, folder)
    holdings = await begin()
    assert not holdings.complete
    assert not file.with_suffix(".mark").exists(), "nor ever again"
    await holdings.sync(walk, read)
    assert holdings.complete


# --- the disk ---


async def test_a_disk_that_does_not_let_it_go_has_it_not_believed_now_or_later(begin: Begin, file: Path) -> None:
    await stopped(begin)
    fs = FailingFs()
    fs.arm(1, errno.EROFS, only="unlink")
    holdings = await begin(fs)
    assert not holdings.complete
    assert file.with_suffix(".mark").exists()
    await holdings.add(OTHER)
    assert not (await begin()).complete, "the first one was killed"


@pytest.mark.parametrize("op", ["create", "write", "fsync", "fsync_dir", "open", "stat"])
async def test_a_stop_that_cannot_leave_it_is_a_stop(begin: Begin, file: Path, op: str) -> None:
    fs = FailingFs()
    holdings = await begin(fs)
    await holdings.sync(walk, read)
    fs.arm(1, errno.ENOSPC, for_ever=True, only=op)
    await holdings.close()
    assert not file.with_suffix(".mark").exists()
    assert not (await begin()).complete


@pytest.mark.parametrize("forget", [frozenset[str](), frozenset({"fsync_dir"})], ids=["", "without syncs"])
def test_a_power_cut_does_not_bring_it_back(tmp_path: Path, forget: frozenset[str]) -> None:
    """It is gone from the disk before the first package comes; this would see it if it were not."""
    fs, root = RecordingFs(forget=forget), tmp_path / "disk"
    version, place = root / "packages" / "2.0.0", root / "holdings.mark"
    for directory in (root, root / "packages"):
        fs.mkdir(directory)
        fs.fsync_dir(directory.parent)
    file = root / "holdings.db"
    file.write_bytes(b"as if")
    assert mark.put(fs, file, root / "packages", file_key(file))
    assert mark.take(fs, file, root / "packages")
    fs.mkdir(version)
    trees = [{Path(path) for path, _ in tree} for _, tree in fs.states(root)]
    assert any(version in paths for paths in trees)
    assert any(place in paths for paths in trees)
    assert any({version, place} <= paths for paths in trees) == bool(forget)


async def test_a_mark_is_of_the_file_that_was_filled(begin: Begin, file: Path, folder: Path) -> None:
    """Another process has got our directory: what lies there now is its."""
    await stopped(begin)
    holdings = await begin()
    await holdings.sync(walk, read)
    shutil.copy2(file, file.with_name("copy"))
    file.with_name("copy").rename(file)
    await holdings.close()
    assert not file.with_suffix(".mark").exists()
