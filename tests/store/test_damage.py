"""Packages that were damaged on disk, or that a crash left without their hash file."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from nugetproxy.metrics import Metrics
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.store.fs import DiskFailure
from nugetproxy.store.packages import verify as examine_module
from nugetproxy.store.packages.commit import QUARANTINE_KEPT
from nugetproxy.store.packages.folder import PackageFolder
from tests.fakes.packages import make_nupkg
from tests.store.conftest import Maker
from tests.store.kit import IDENTITY, NUPKG, FailingFs, content, count, files, held_versions, package_files, store


def flip(path: Path, at: int = 1500) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    with path.open("r+b") as file:
        file.write(data)


Damage = tuple[Callable[[PackageFolder], object], str]

DAMAGES: dict[str, Damage] = {
    "bit": (lambda f: flip(f.layout.nupkg(IDENTITY)), "hash"),
    "first bit": (lambda f: flip(f.layout.nupkg(IDENTITY), 0), "hash"),
    "last bit": (lambda f: flip(f.layout.nupkg(IDENTITY), len(NUPKG) - 1), "hash"),
    "cut": (lambda f: os.truncate(f.layout.nupkg(IDENTITY), 2000), "hash"),
    "longer": (lambda f: os.truncate(f.layout.nupkg(IDENTITY), 99999), "hash"),
    "empty": (lambda f: os.truncate(f.layout.nupkg(IDENTITY), 0), "size"),
    "other package": (lambda f: f.layout.nupkg(IDENTITY).write_bytes(make_nupkg("Other", "1.0.0")), "hash"),
    "hash file cut": (lambda f: os.truncate(f.layout.marker(IDENTITY), 40), "hash"),
    "hash file empty": (lambda f: os.truncate(f.layout.marker(IDENTITY), 0), "hash"),
    "hash file garbage": (lambda f: f.layout.marker(IDENTITY).write_bytes(b"\xff" * 500), "hash"),
    "hash of other": (lambda f: f.layout.marker(IDENTITY).write_bytes(b"A" * 86 + b"=="), "hash"),
}


@pytest.mark.parametrize("name", DAMAGES)
async def test_damage_is_found_at_the_first_opening(
    folder: PackageFolder, make_folder: Maker, metrics: Metrics, name: str
) -> None:
    damage, reason = DAMAGES[name]
    await store(folder)
    damage(folder)
    again = make_folder()
    await again.prepare()
    assert await again.open(IDENTITY) is None
    assert count(metrics.quarantined, reason) == 1
    (kept,) = (again.layout.quarantine).iterdir()
    assert kept.name.endswith(f"-{reason}-newtonsoft.json.13.0.3.nupkg")
    assert files(again.layout.packages) == set()
    assert held_versions(again, "newtonsoft.json") == ()
    assert content(await store(again)) == NUPKG


@pytest.mark.parametrize(
    ("damage", "reason"), [("cut", "size"), ("longer", "size"), ("empty", "size"), ("bit", "hash")]
)
async def test_damage_is_found_while_running(folder: PackageFolder, metrics: Metrics, damage: str, reason: str) -> None:
    held = (await store(folder)).acquire()
    os.utime(folder.layout.nupkg(IDENTITY), (1, 1))
    assert await folder.open(IDENTITY) is not None  # only touched: checked, and found sound
    DAMAGES[damage][0](folder)
    assert folder.peek(IDENTITY) is None
    assert await folder.open(IDENTITY) is None
    assert count(metrics.quarantined, reason) == 1
    assert content(await store(folder)) == NUPKG
    held.release()


async def test_many_damaged_files_are_all_found(folder: PackageFolder, make_folder: Maker) -> None:
    identities = [PackageIdentity("a", f"{n}.0.0") for n in range(30)]
    for identity in identities:
        await store(folder, make_nupkg("A", identity.version, size=2000), identity)
        flip(folder.layout.nupkg(identity), 37 * (len(identity.version) + int(identity.version[:-4])))
    again = make_folder()
    await again.prepare()
    assert await asyncio.gather(*(again.open(identity) for identity in identities)) == [None] * 30
    assert len(list(again.layout.quarantine.iterdir())) == QUARANTINE_KEPT
    assert files(again.layout.packages) == set()
    assert (again.usage.bytes, again.usage.packages) == (0, 0)


async def test_a_sound_package_is_hashed_once_for_many_openings(
    folder: PackageFolder, make_folder: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store(folder)
    again = make_folder()
    await again.prepare()
    hashed = []
    real = examine_module.sha512_of
    monkeypatch.setattr(examine_module, "sha512_of", lambda *a: hashed.append(a) or real(*a))
    opened = await asyncio.gather(*(again.open(IDENTITY) for _ in range(50)))
    assert len(hashed) == 1
    assert all(held is opened[0] for held in opened)
    again.kept.clear()
    held = await again.open(IDENTITY)
    assert held is not None
    assert content(held) == NUPKG
    assert len(hashed) == 1


async def test_a_lost_nuspec_is_written_again(folder: PackageFolder, make_folder: Maker) -> None:
    await store(folder)
    nuspec = folder.layout.nuspec(IDENTITY).read_bytes()
    folder.layout.nuspec(IDENTITY).unlink()
    again = make_folder()
    assert await again.open(IDENTITY) is not None
    assert folder.layout.nuspec(IDENTITY).read_bytes() == nuspec


async def test_a_directory_in_place_of_a_package_is_set_aside(folder: PackageFolder, metrics: Metrics) -> None:
    folder.layout.nupkg(IDENTITY).mkdir(parents=True)
    assert await folder.open(IDENTITY) is None
    assert count(metrics.quarantined, "io") == 1
    assert content(await store(folder)) == NUPKG


async def test_a_symbolic_link_in_place_of_a_package_is_missed(folder: PackageFolder, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(NUPKG)
    folder.layout.directory(IDENTITY).mkdir(parents=True)
    folder.layout.nupkg(IDENTITY).symlink_to(tmp_path / "elsewhere")
    assert await folder.open(IDENTITY) is None
    assert content(await store(folder)) == NUPKG
    assert not folder.layout.nupkg(IDENTITY).is_symlink()
    assert (tmp_path / "elsewhere").read_bytes() == NUPKG


async def test_a_read_error_sets_the_package_aside(folder: PackageFolder, make_folder: Maker, metrics: Metrics) -> None:
    await store(folder)
    fs = FailingFs()
    again = make_folder(fs)
    await again.prepare()
    fs.arm(2, errno.EIO, only="read")  # the first read is of the hash file
    assert await again.open(IDENTITY) is None
    assert count(metrics.quarantined, "io") == 1


@pytest.mark.parametrize("code", [errno.EMFILE, errno.EACCES])
async def test_trouble_of_our_own_is_no_damage(
    folder: PackageFolder, make_folder: Maker, metrics: Metrics, code: int
) -> None:
    await store(folder)
    fs = FailingFs()
    again = make_folder(fs)
    await again.prepare()
    fs.arm(1, code, only="open")
    with pytest.raises(DiskFailure):
        await again.open(IDENTITY)
    assert files(again.layout.root) == package_files(IDENTITY)
    held = await again.open(IDENTITY)
    assert held is not None
    assert content(held) == NUPKG


@pytest.mark.parametrize("op", ["rename", "unlink", "mkdir", "stat", "fsync_dir"])
async def test_damage_that_cannot_be_moved_is_still_not_served(
    folder: PackageFolder, make_folder: Maker, op: str
) -> None:
    """Not even after a restart, when it could be taken for a package whose hash file is still to come."""
    await store(folder)
    flip(folder.layout.nupkg(IDENTITY))
    fs = FailingFs()
    again = make_folder(fs)
    await again.prepare()
    fs.arm(1, errno.EROFS, only=op, for_ever=True)
    for _ in range(3):
        assert await again.open(IDENTITY) is None
    once_more = make_folder()
    await once_more.prepare()
    assert await once_more.open(IDENTITY) is None


# --- without a hash file ---


def damaged_inside() -> bytes:
    """The package with one bit changed in the data of an entry: only checksums tell."""
    at = NUPKG.index(b"\x89PNG")
    return NUPKG[:at] + b"\x88" + NUPKG[at + 1 :]


def leave(folder: PackageFolder, nupkg: bytes = NUPKG, identity: PackageIdentity = IDENTITY) -> None:
    """What a crash right after the rename leaves."""
    folder.layout.directory(identity).mkdir(parents=True)
    folder.layout.nupkg(identity).write_bytes(nupkg)


async def test_a_package_without_hash_file_is_adopted(
    folder: PackageFolder, make_folder: Maker, metrics: Metrics
) -> None:
    committed = await store(folder)
    expected = {path: (folder.layout.root / path).read_bytes() for path in files(folder.layout.root)}
    shutil.rmtree(folder.layout.packages)
    again = make_folder()
    await again.prepare()
    leave(again)
    held = await again.open(IDENTITY)
    assert held is not None
    assert (held.etag, content(held)) == (committed.etag, NUPKG)
    assert {path: (folder.layout.root / path).read_bytes() for path in files(folder.layout.root)} == expected
    assert again.peek(IDENTITY) is held


@pytest.mark.parametrize(
    ("nupkg", "reason"),
    [
        (NUPKG[:-1], "zip"),
        (NUPKG[:1000], "zip"),
        (b"", "size"),
        (b"PK\x03\x04 not really", "zip"),
        (make_nupkg("Newtonsoft.Json", "13.0.2"), "identity"),
        (damaged_inside(), "zip"),
    ],
    ids=["cut", "half", "empty", "garbage", "other", "inside"],
)
async def test_what_is_no_whole_package_is_not_adopted(
    folder: PackageFolder, metrics: Metrics, nupkg: bytes, reason: str
) -> None:
    leave(folder, nupkg)
    assert await folder.open(IDENTITY) is None
    assert count(metrics.quarantined, reason) == 1
    assert files(folder.layout.packages) == set()
    assert content(await store(folder)) == NUPKG


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
async def test_an_adopted_package_is_served_from_a_disk_that_takes_no_hash_file(
    folder: PackageFolder, fs: FailingFs, code: int
) -> None:
    leave(folder)
    fs.arm(1, code, only="create", for_ever=True)
    for _ in range(2):
        held = await folder.open(IDENTITY)
        assert held is not None
        assert content(held) == NUPKG
        folder.kept.clear()
    assert files(folder.layout.root) == {"packages/newtonsoft.json/13.0.3/newtonsoft.json.13.0.3.nupkg"}


async def test_a_hash_file_without_its_package_is_missed_and_replaced(folder: PackageFolder) -> None:
    folder.layout.directory(IDENTITY).mkdir(parents=True)
    folder.layout.marker(IDENTITY).write_text("A" * 86 + "==")
    assert await folder.open(IDENTITY) is None
    assert held_versions(folder, "newtonsoft.json") == ()
    held = await store(folder)
    assert folder.layout.marker(IDENTITY).read_text() == held.sha512


async def test_a_cancelled_opening_disturbs_nobody(folder: PackageFolder, make_folder: Maker) -> None:
    await store(folder)
    again = make_folder()
    await again.prepare()
    opening = asyncio.ensure_future(again.open(IDENTITY))
    other = asyncio.ensure_future(again.open(IDENTITY))
    await asyncio.sleep(0)
    opening.cancel()
    held = await other
    assert held is not None
    assert content(held) == NUPKG
    with pytest.raises(asyncio.CancelledError):
        await opening
