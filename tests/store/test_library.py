"""A folder of packages that belongs to somebody else: every layout, every change, every kind of bad file."""

from __future__ import annotations

import asyncio
import base64
import errno
import hashlib
import os
import shutil
import threading
import zipfile
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import structlog

from nugetproxy.metrics import Metrics
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.nuget.synthesis.search_query import SearchQuery
from nugetproxy.store.fs import FsOps
from nugetproxy.store.holdings.holdings import Holdings, HoldingsUnavailable
from nugetproxy.store.library.library import FULL_SECONDS, Library
from tests.fakes.clock import FakeClock
from tests.fakes.packages import make_nupkg
from tests.store.kit import FailingFs

A1 = PackageIdentity("acme.a", "1.0.0")
NUPKG = make_nupkg("Acme.A", "1.0.0", readme="# hello", size=3000)
OTHER = make_nupkg("Acme.A", "1.0.0", readme="# other", size=5000)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "packages"
    folder.mkdir()
    return folder


MakeLibrary = Callable[..., Awaitable[Library]]


@pytest.fixture
async def make_library(tmp_path: Path, root: Path, clock: FakeClock) -> AsyncIterator[MakeLibrary]:
    """Opens libraries over the same folder and the same holdings, as restarts do."""
    opened: list[Library] = []

    async def make(fs: FsOps | None = None) -> Library:
        for library in opened:
            await library.close()
        opened.clear()
        fs = fs or FsOps()
        holdings = Holdings(fs=fs, clock=clock)
        library = Library("shelf", root, holdings, fs=fs, metrics=Metrics(), clock=clock)
        await library.open(tmp_path / "cache")
        opened.append(library)
        return library

    yield make
    for library in opened:
        await library.close()


@pytest.fixture
async def library(make_library: MakeLibrary) -> Library:
    return await make_library()


def put(root: Path, path: str, content: bytes) -> Path:
    """Write a file as a careful copy does: under another name first."""
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(".part")
    part.write_bytes(content)
    return part.rename(target)


def settle(root: Path) -> None:
    """Let every directory have changed long ago."""
    for path in (root, *root.rglob("*")):
        if path.is_dir():
            os.utime(path, (1_000_000, 1_000_000))


class CountingFs(FsOps):
    """Counts what is done."""

    def __init__(self) -> None:
        self.done: Counter[str] = Counter()

    def call(self, op: str, path: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self.done[op] += 1
        return super().call(op, path, function, *args, **kwargs)


async def content(library: Library, identity: PackageIdentity) -> bytes | None:
    held = await library.package(identity)
    return None if held is None else os.pread(held.fd, held.size + 1, 0)


async def versions(library: Library, id: str) -> list[str]:
    return [facts.identity.version for facts in await library._holdings.facts(id)]


def lines(logged: list[structlog.typing.EventDict], event: str) -> list[structlog.typing.EventDict]:
    return [line for line in logged if line["event"] == event]


class TestLayouts:
    @pytest.mark.parametrize(
        "path",
        [
            "Acme.A.1.0.0.nupkg",
            "acme.a.1.0.nupkg",
            "whatever it is called.NUPKG",
            "group/Acme.A.1.0.0.nupkg",
            "Acme.A.1.0.0/Acme.A.1.0.0.nupkg",
            "acme.a/1.0.0/acme.a.1.0.0.nupkg",
            "Acme.A/1.0/Acme.A.1.0.0.nupkg",
        ],
    )
    async def test_a_package_is_found_where_nuget_finds_it(self, library: Library, root: Path, path: str) -> None:
        put(root, path, NUPKG)

        await library.look()

        assert library.complete
        assert await content(library, A1) == NUPKG
        assert await versions(library, "acme.a") == ["1.0.0"]
        assert await library.member(A1, "readme") == b"# hello"

    @pytest.mark.parametrize(
        "path",
        [
            "one/two/Acme.A.1.0.0.nupkg",
            "acme.a/1.0.0/more/acme.a.1.0.0.nupkg",
            ".hidden/Acme.A.1.0.0.nupkg",
            "Acme.A.1.0.0.symbols.nupkg",
            "Acme.A.1.0.0.snupkg",
            "Acme.A.1.0.0.zip",
        ],
    )
    async def test_what_nuget_does_not_read_is_left_alone(self, library: Library, root: Path, path: str) -> None:
        put(root, path, NUPKG)

        with structlog.testing.capture_logs() as logged:
            await library.look()
            await library.look()

        assert library.complete
        assert len(library) == 0
        assert not lines(logged, "library.skipped")

    async def test_layouts_may_be_mixed(self, library: Library, root: Path) -> None:
        for number, path in enumerate(["x.nupkg", "sub/x.nupkg", "acme.b/3.0.0/acme.b.3.0.0.nupkg"]):
            put(root, path, make_nupkg("Acme.B", f"{number + 1}.0.0"))

        await library.look()

        assert await versions(library, "acme.b") == ["1.0.0", "2.0.0", "3.0.0"]

    async def test_links_are_not_followed(self, library: Library, root: Path, tmp_path: Path) -> None:
        outside = put(tmp_path, "outside/Acme.A.1.0.0.nupkg", NUPKG)
        (root / "Acme.A.1.0.0.nupkg").symlink_to(outside)
        (root / "linked").symlink_to(outside.parent)

        await library.look()

        assert len(library) == 0

    async def test_nothing_is_ever_written_into_the_folder(self, library: Library, root: Path) -> None:
        put(root, "acme.a/1.0.0/acme.a.1.0.0.nupkg", NUPKG)
        put(root, "broken.nupkg", b"no")
        before = sorted(str(path) for path in root.rglob("*"))
        root.chmod(0o555)

        await library.look()
        assert await content(library, A1) == NUPKG
        await library.look()

        assert sorted(str(path) for path in root.rglob("*")) == before
        root.chmod(0o755)


class TestChanges:
    async def test_a_new_package_appears_with_the_next_look(self, library: Library, root: Path) -> None:
        await library.look()
        assert await content(library, A1) is None

        put(root, "Acme.A.1.0.0.nupkg", NUPKG)
        await library.look()

        assert await content(library, A1) == NUPKG

    async def test_a_package_in_a_version_folder_appears(self, library: Library, root: Path) -> None:
        put(root, "acme.a/0.9.0/acme.a.0.9.0.nupkg", make_nupkg("Acme.A", "0.9.0"))
        (root / "acme.a" / "1.0.0").mkdir()
        await library.look()

        put(root, "acme.a/1.0.0/acme.a.1.0.0.nupkg", NUPKG)
        await library.look()

        assert await versions(library, "acme.a") == ["0.9.0", "1.0.0"]

    @pytest.mark.parametrize("path", ["Acme.A.1.0.0.nupkg", "acme.a/1.0.0/acme.a.1.0.0.nupkg"])
    async def test_a_removed_package_is_gone(self, library: Library, root: Path, path: str) -> None:
        file = put(root, path, NUPKG)
        await library.look()
        assert await content(library, A1) == NUPKG

        file.unlink()
        assert await content(library, A1) is None
        await library.look()

        assert await content(library, A1) is None
        assert await versions(library, "acme.a") == []

    async def test_a_package_moved_out_is_gone_though_its_file_lives_on(
        self, library: Library, root: Path, tmp_path: Path
    ) -> None:
        file = put(root, "Acme.A.1.0.0.nupkg", NUPKG)
        await library.look()
        assert await content(library, A1) == NUPKG

        file.rename(tmp_path / "elsewhere")
        await library.look()

        assert await content(library, A1) is None

    async def test_a_replaced_package_is_served_as_it_is_now(self, library: Library, root: Path) -> None:
        put(root, "Acme.A.1.0.0.nupkg", NUPKG)
        await library.look()
        first = await library.package(A1)
        assert first is not None
        tag = first.etag

        put(root, "Acme.A.1.0.0.nupkg", OTHER)
        await library.look()

        second = await library.package(A1)
        assert second is not None
        assert second.etag != tag
        assert await content(library, A1) == OTHER
        assert await library.member(A1, "readme") == b"# other"
        assert (await library._holdings.facts("acme.a"))[0].size == len(OTHER)

    async def test_a_package_written_over_in_its_place_is_not_served_half(self, library: Library, root: Path) -> None:
        """Its directory does not change; the open file tells."""
        file = put(root, "acme.a/1.0.0/acme.a.1.0.0.nupkg", NUPKG)
        await library.look()
        assert await content(library, A1) == NUPKG

        with file.open("r+b") as stream:
            stream.write(OTHER[:2000])
            stream.truncate(2000)
        assert await content(library, A1) is None
        await library.refresh()
        assert await content(library, A1) is None
        file.write_bytes(OTHER)
        await library.look()

        assert await content(library, A1) == OTHER

    async def test_a_full_look_sees_what_was_written_over_in_its_place(
        self, library: Library, root: Path, clock: FakeClock
    ) -> None:
        file = put(root, "acme.a/1.0.0/acme.a.1.0.0.nupkg", NUPKG)
        settle(root)
        await library.look()

        file.write_bytes(OTHER)
        await library.look()
        assert (await library._holdings.facts("acme.a"))[0].size == len(NUPKG)
        clock.advance(FULL_SECONDS)
        await library.look()

        assert (await library._holdings.facts("acme.a"))[0].size == len(OTHER)

    async def test_an_id_with_all_its_versions_is_removed(self, library: Library, root: Path) -> None:
        for version in ("1.0.0", "2.0.0"):
            put(root, f"acme.a/{version}/acme.a.{version}.nupkg", make_nupkg("Acme.A", version))
        await library.look()

        shutil.rmtree(root / "acme.a")
        await library.look()

        assert await versions(library, "acme.a") == []

    async def test_where_nothing_changes_a_look_costs_one_stat_per_directory(
        self, make_library: MakeLibrary, root: Path
    ) -> None:
        fs = CountingFs()
        library = await make_library(fs)
        for number in range(20):
            put(root, f"Acme.Flat.{number}.0.0.nupkg", make_nupkg("Acme.Flat", f"{number}.0.0"))
            put(root, f"acme.a/{number}.0.0/acme.a.{number}.0.0.nupkg", make_nupkg("Acme.A", f"{number}.0.0"))
        settle(root)
        await library.look()
        assert len(library) == 40

        fs.done.clear()
        await library.look()

        assert fs.done == {"stat": 3}

    async def test_misses_do_not_look_over_and_over(self, library: Library, root: Path, clock: FakeClock) -> None:
        await library.refresh()
        put(root, "Acme.A.1.0.0.nupkg", NUPKG)

        await library.refresh()
        assert await content(library, A1) is None
        clock.advance(1.0)
        await library.refresh()

        assert await content(library, A1) == NUPKG


class TestCopies:
    async def test_a_file_that_is_still_being_copied_waits_until_it_is_whole(
        self, library: Library, root: Path
    ) -> None:
        file = root / "Acme.A.1.0.0.nupkg"
        with structlog.testing.capture_logs() as logged, file.open("wb") as stream:
            for at in range(0, len(NUPKG), 500):
                stream.write(NUPKG[at : at + 500])
                stream.flush()
                if at + 500 < len(NUPKG):
                    await library.look()
                    assert await content(library, A1) is None
                    assert await versions(library, "acme.a") == []
        await library.look()

        assert await content(library, A1) == NUPKG
        assert not lines(logged, "library.skipped")

    async def test_a_file_of_its_final_size_with_a_hole_in_it_waits_too(self, library: Library, root: Path) -> None:
        """As programs leave them that reserve the space first, or fetch the end before the middle."""
        middle = len(NUPKG) // 2
        file = put(root, "Acme.A.1.0.0.nupkg", NUPKG[: middle - 500] + bytes(1000) + NUPKG[middle + 500 :])

        await library.look()
        assert await content(library, A1) is None
        with file.open("r+b") as stream:
            stream.write(NUPKG)
        await library.look()

        assert await content(library, A1) == NUPKG


class TestBadFiles:
    @pytest.mark.parametrize(
        ("path", "body", "why"),
        [
            ("empty.nupkg", b"", "zip"),
            ("text.nupkg", b"hello", "zip"),
            ("cut.nupkg", NUPKG[:-10], "zip"),
            ("acme.b/1.0.0/acme.b.1.0.0.nupkg", NUPKG, "identity"),
        ],
    )
    async def test_are_skipped_with_one_line(
        self, library: Library, root: Path, path: str, body: bytes, why: str
    ) -> None:
        put(root, path, body)
        put(root, "Acme.Good.1.0.0.nupkg", make_nupkg("Acme.Good", "1.0.0"))

        with structlog.testing.capture_logs() as logged:
            for _ in range(4):
                await library.look()

        (line,) = lines(logged, "library.skipped")
        assert line["file"] == path
        assert why in line["detail"]
        assert await versions(library, "acme.good") == ["1.0.0"]
        assert library.complete

    @pytest.mark.parametrize("tail", [b"\n", bytes(10)])
    async def test_what_is_listed_of_an_odd_archive_is_served(self, library: Library, root: Path, tail: bytes) -> None:
        flags = NUPKG.rfind(b"PK\x01\x02") + 8
        odd = bytearray(NUPKG + tail)
        odd[flags] |= 1  # the encrypted flag of an entry that nobody asks for
        put(root, "Acme.A.1.0.0.nupkg", bytes(odd))
        await library.look()

        assert await versions(library, "acme.a") == ["1.0.0"]
        assert await content(library, A1) == bytes(odd)
        assert await versions(library, "acme.a") == ["1.0.0"]

    async def test_a_package_damaged_inside_is_never_served(self, library: Library, root: Path) -> None:
        damaged = bytearray(NUPKG)
        with zipfile.ZipFile(put(root, "Acme.A.1.0.0.nupkg", NUPKG)) as archive:
            damaged[archive.getinfo("padding.bin").header_offset + 100] ^= 0xFF
        put(root, "Acme.A.1.0.0.nupkg", bytes(damaged))
        await library.look()

        with structlog.testing.capture_logs() as logged:
            assert await content(library, A1) is None
            assert await content(library, A1) is None

        assert len(lines(logged, "library.damaged")) == 1
        assert await versions(library, "acme.a") == []

    async def test_the_hash_file_beside_a_package_is_believed(self, library: Library, root: Path) -> None:
        put(root, "acme.a/1.0.0/acme.a.1.0.0.nupkg", NUPKG)
        sha = base64.b64encode(hashlib.sha512(OTHER).digest())
        put(root, "acme.a/1.0.0/acme.a.1.0.0.nupkg.sha512", sha)
        await library.look()

        assert await content(library, A1) is None

    async def test_one_that_comes_after_its_package_is_believed_too(self, library: Library, root: Path) -> None:
        """A copy of a folder may write over a package some time before its hash file."""
        place = "acme.a/1.0.0/acme.a.1.0.0.nupkg"
        put(root, place, NUPKG)
        put(root, f"{place}.sha512", base64.b64encode(hashlib.sha512(OTHER).digest()))
        await library.look()
        assert await content(library, A1) is None

        put(root, f"{place}.sha512", base64.b64encode(hashlib.sha512(NUPKG).digest()))
        await library.look(full=True)

        assert await content(library, A1) == NUPKG
        assert await versions(library, "acme.a") == ["1.0.0"]

    async def test_a_damaged_file_that_is_repaired_is_served(self, library: Library, root: Path) -> None:
        put(root, "Acme.A.1.0.0.nupkg", NUPKG[:-10])
        await library.look()
        await library.look()

        put(root, "Acme.A.1.0.0.nupkg", NUPKG)
        await library.look()

        assert await content(library, A1) == NUPKG


class TestTwoFilesForOnePackage:
    FILES = ("Acme.A.1.0.0.nupkg", "acme.a.1.0.0.nupkg", "acme.a/1.0.0/acme.a.1.0.0.nupkg")

    @pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
    async def test_the_same_one_counts_whatever_came_first(
        self, library: Library, root: Path, order: tuple[int, ...]
    ) -> None:
        bodies = [make_nupkg("Acme.A", "1.0.0", size=1000 + number) for number in range(3)]
        for number in order:
            put(root, self.FILES[number], bodies[number])
            await library.look()

        assert await content(library, A1) == bodies[0]
        assert [facts.size for facts in await library._holdings.facts("acme.a")] == [len(bodies[0])]

    async def test_one_line_says_which(self, library: Library, root: Path) -> None:
        put(root, self.FILES[1], NUPKG)
        put(root, self.FILES[2], OTHER)

        with structlog.testing.capture_logs() as logged:
            await library.look()
            await library.look()

        (line,) = lines(logged, "library.duplicate")
        assert (line["served"], line["ignored"]) == (self.FILES[1], [self.FILES[2]])

    async def test_the_other_one_takes_over(self, library: Library, root: Path) -> None:
        put(root, self.FILES[0], NUPKG)
        put(root, self.FILES[2], OTHER)
        await library.look()
        assert await content(library, A1) == NUPKG

        (root / self.FILES[0]).unlink()
        await library.look()

        assert await content(library, A1) == OTHER
        assert [facts.size for facts in await library._holdings.facts("acme.a")] == [len(OTHER)]


class TestTheFolderItself:
    async def test_that_is_missing_is_a_problem_until_it_is_there(
        self, library: Library, root: Path, tmp_path: Path
    ) -> None:
        put(root, "Acme.A.1.0.0.nupkg", NUPKG)
        await library.look()
        root.rename(tmp_path / "away")

        await library.look()
        assert "ENOENT" in library.problem
        assert await versions(library, "acme.a") == ["1.0.0"]

        (tmp_path / "away").rename(root)
        await library.look()
        assert library.problem == ""
        assert await content(library, A1) == NUPKG

    async def test_an_empty_one_in_its_place_is_a_share_that_is_not_mounted(
        self, library: Library, root: Path, tmp_path: Path
    ) -> None:
        put(root, "Acme.A.1.0.0.nupkg", NUPKG)
        await library.look()
        root.rename(tmp_path / "away")
        root.mkdir()

        await library.look()

        assert library.problem
        assert await versions(library, "acme.a") == ["1.0.0"]

    async def test_nor_is_it_after_a_restart(
        self, make_library: MakeLibrary, library: Library, root: Path, tmp_path: Path
    ) -> None:
        put(root, "Acme.A.1.0.0.nupkg", NUPKG)
        await library.look()
        root.rename(tmp_path / "away")
        root.mkdir()

        library = await make_library()
        await library.look()
        assert "is a share not mounted?" in library.problem
        assert not library.indexed

        root.rmdir()
        (tmp_path / "away").rename(root)
        await library.look()
        assert (library.problem, library.indexed) == ("", True)
        assert await content(library, A1) == NUPKG

    async def test_emptied_while_nobody_looked_it_is_empty(
        self, make_library: MakeLibrary, library: Library, root: Path, tmp_path: Path
    ) -> None:
        file = put(root, "Acme.A.1.0.0.nupkg", NUPKG)
        await library.look()
        file.unlink()
        library = await make_library()
        await library.look()
        assert (library.problem, library.indexed) == ("", True)

        root.rename(tmp_path / "away")
        root.mkdir()
        library = await make_library()
        await library.look()
        assert library.indexed, "the one before was empty, too"

    async def test_emptied_by_its_owner_it_is_empty(self, library: Library, root: Path) -> None:
        file = put(root, "Acme.A.1.0.0.nupkg", NUPKG)
        await library.look()
        file.unlink()

        await library.look()

        assert library.problem == ""
        assert await versions(library, "acme.a") == []

    async def test_replaced_by_another_with_packages(self, library: Library, root: Path, tmp_path: Path) -> None:
        put(root, "Acme.A.1.0.0.nupkg", NUPKG)
        await library.look()
        put(tmp_path, "new/Acme.B.1.0.0.nupkg", make_nupkg("Acme.B", "1.0.0"))
        root.rename(tmp_path / "old")
        (tmp_path / "new").rename(root)

        await library.look()

        assert (await versions(library, "acme.a"), await versions(library, "acme.b")) == ([], ["1.0.0"])

    async def test_a_part_that_fails_for_a_moment_loses_nothing(
        self, make_library: MakeLibrary, root: Path, clock: FakeClock
    ) -> None:
        fs = FailingFs()
        library = await make_library(fs)
        put(root, "acme.a/1.0.0/acme.a.1.0.0.nupkg", NUPKG)
        await library.look()
        assert await versions(library, "acme.a") == ["1.0.0"]

        clock.advance(FULL_SECONDS)
        fs.arm(at=2, code=errno.EIO, only="scan")
        await library.look()

        assert fs.failed == ["scan"]

        assert library.problem == ""
        assert await versions(library, "acme.a") == ["1.0.0"]


class HaltingFs(FsOps):
    """Waits before every operation of one name while it is told to."""

    def __init__(self) -> None:
        self.only = ""
        self.begun = threading.Event()
        self.goes_on = threading.Event()

    def halt(self, only: str) -> None:
        self.only = only
        self.begun.clear()
        self.goes_on.clear()

    def call(self, op: str, path: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if op == self.only:
            self.begun.set()
            assert self.goes_on.wait(30)
        return super().call(op, path, function, *args, **kwargs)


class TestLooksThatAreBrokenOff:
    """Whoever looks can be cancelled: a client that leaves, a limit, an answer that others have given already."""

    @pytest.mark.parametrize("during", ["scan", "open"])
    async def test_what_one_saw_the_next_one_sees(
        self, make_library: MakeLibrary, root: Path, clock: FakeClock, during: str
    ) -> None:
        fs = HaltingFs()
        library = await make_library(fs)
        gone = put(root, "Acme.B.1.0.0.nupkg", make_nupkg("Acme.B", "1.0.0"))
        await library.look()
        put(root, "Acme.A.1.0.0.nupkg", NUPKG)
        gone.unlink()

        fs.halt(during)
        look = asyncio.create_task(library.look())
        assert await asyncio.to_thread(fs.begun.wait, 30)
        look.cancel()
        fs.halt("")
        fs.goes_on.set()
        await asyncio.wait({look})
        assert look.cancelled()
        clock.advance(1.0)
        await library.refresh()

        assert (await versions(library, "acme.a"), await versions(library, "acme.b")) == (["1.0.0"], [])
        assert await content(library, A1) == NUPKG

    async def test_what_was_read_is_in_the_lists_after_the_next_one(
        self, library: Library, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await library.look()
        put(root, "Acme.A.1.0.0.nupkg", NUPKG)

        async def cancelled(*_: Any) -> bool:
            raise asyncio.CancelledError

        with monkeypatch.context() as patch, pytest.raises(asyncio.CancelledError):
            patch.setattr(library._holdings, "change", cancelled)
            await library.look()
        await library.refresh()

        assert await versions(library, "acme.a") == ["1.0.0"]


class TestFilesThatTheDiskDoesNotGive:
    async def test_one_is_read_again_with_the_next_look(self, make_library: MakeLibrary, root: Path) -> None:
        fs = FailingFs()
        library = await make_library(fs)
        put(root, "Acme.A.1.0.0.nupkg", NUPKG)
        fs.arm(at=1, code=errno.EIO, only="open", for_ever=True)
        with structlog.testing.capture_logs() as logged:
            for _ in range(4):
                await library.look()
        assert await versions(library, "acme.a") == []
        assert len(lines(logged, "library.skipped")) == 1

        fs.disarm()
        await library.look()

        assert await versions(library, "acme.a") == ["1.0.0"]
        assert await content(library, A1) == NUPKG

    async def test_the_other_file_of_a_package_too(self, make_library: MakeLibrary, root: Path) -> None:
        fs = FailingFs()
        library = await make_library(fs)
        first = put(root, "Acme.A.1.0.0.nupkg", NUPKG)
        put(root, "group/Acme.A.1.0.0.nupkg", OTHER)
        await library.look()
        first.unlink()
        fs.arm(at=1, code=errno.EIO, only="open")
        await library.look()
        assert fs.failed == ["open"]

        await library.look()

        assert await content(library, A1) == OTHER
        assert await versions(library, "acme.a") == ["1.0.0"]


class TestRestarts:
    async def test_what_the_holdings_knows_is_not_read_again(self, make_library: MakeLibrary, root: Path) -> None:
        library = await make_library()
        put(root, "Acme.A.1.0.0.nupkg", NUPKG)
        put(root, "acme.b/1.2.3/acme.b.1.2.3.nupkg", make_nupkg("Acme.B", "1.2.3"))
        await library.look()

        fs = FailingFs()
        library = await make_library(fs)
        fs.arm(at=1, code=errno.EIO, only="open", for_ever=True)
        await library.look()

        assert library.complete
        assert len(library) == 2
        assert (await versions(library, "acme.a"), await versions(library, "acme.b")) == (["1.0.0"], ["1.2.3"])

    async def test_what_changed_meanwhile_is(self, make_library: MakeLibrary, root: Path) -> None:
        library = await make_library()
        file = put(root, "Acme.A.1.0.0.nupkg", make_nupkg("Acme.A", "1.0.0", description="first"))
        put(root, "Acme.B.1.0.0.nupkg", make_nupkg("Acme.B", "1.0.0"))
        await library.look()
        put(root, file.name, make_nupkg("Acme.A", "1.0.0", description="other"))
        os.utime(file, (1, 1))
        (root / "Acme.B.1.0.0.nupkg").unlink()
        put(root, "Acme.C.1.0.0.nupkg", make_nupkg("Acme.C", "1.0.0"))

        library = await make_library()
        await library.look()

        assert [facts.description for facts in await library._holdings.facts("acme.a")] == ["other"]
        assert (await versions(library, "acme.b"), await versions(library, "acme.c")) == ([], ["1.0.0"])

    async def test_a_lost_holdings_is_made_again(self, make_library: MakeLibrary, root: Path, tmp_path: Path) -> None:
        library = await make_library()
        put(root, "Acme.A.1.0.0.nupkg", NUPKG)
        await library.look()
        await library.close()
        (tmp_path / "cache" / "holdings.db").write_bytes(b"garbage" * 1000)

        library = await make_library()
        await library.look()
        await library.look()

        assert library.complete
        total, _ = await library._holdings.search(SearchQuery.parse("q=acme"))
        assert total == 1

    async def test_packages_are_served_though_the_holdings_cannot_be(
        self, library: Library, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def fail(*_: object) -> None:
            raise HoldingsUnavailable("disk")

        put(root, "Acme.A.1.0.0.nupkg", NUPKG)
        monkeypatch.setattr(library._holdings._file, "read", fail)
        monkeypatch.setattr(library._holdings._file, "write", fail)

        await library.look()

        assert not library.complete
        assert library.indexed
        assert await content(library, A1) == NUPKG
