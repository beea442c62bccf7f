"""Packages that come into their folder together: what fails for one of them costs the others nothing."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from nugetproxy.metrics import Metrics
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.store.fs import DiskFailure, FsOps
from nugetproxy.store.packages import pending
from nugetproxy.store.packages.folder import PackageFolder
from tests.fakes.packages import make_nupkg
from tests.store.conftest import Maker
from tests.store.crash import RecordingFs, materialise
from tests.store.kit import FailingFs, content, files, package_files

NUPKGS = {
    PackageIdentity(id.lower(), version): make_nupkg(id, version, size=2000)
    for id, version in (("Acme.A", "1.0.0"), ("Acme.A", "2.0.0"), ("Acme.B", "1.0.0"))
}
MORE_THAN_THERE_ARE = 300


async def land_all(folder: PackageFolder, *, in_memory: int = 0) -> dict[PackageIdentity, DiskFailure]:
    """Download each of them, then commit them as one batch; the failures of those that were refused before that."""
    refused: dict[PackageIdentity, DiskFailure] = {}
    for identity, nupkg in NUPKGS.items():
        staged = await folder.stage(identity, in_memory=in_memory)
        try:
            await staged.write(nupkg)
            held = await staged.land(staged.look(identity))
            assert content(held) == nupkg
        except DiskFailure as failure:
            refused[identity] = failure
        finally:
            await staged.abandon()
            staged.close()
    await folder.pending.empty()
    return refused


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


async def assert_whole(folder: PackageFolder) -> set[PackageIdentity]:
    """Each of them is there with all its files, or nothing of it is; those that are."""
    there = {identity for identity in NUPKGS if folder.layout.marker(identity).exists()}
    assert files(folder.layout.root) == {name for identity in there for name in package_files(identity)}
    for identity in there:
        assert folder.layout.nupkg(identity).read_bytes() == NUPKGS[identity]
        assert b"</package>" in folder.layout.nuspec(identity).read_bytes()
    for identity in NUPKGS:
        held = await folder.open(identity)
        assert (held is not None) == (identity in there)
    assert folder.usage.packages == len(there)
    assert folder.usage.bytes == sum(len(NUPKGS[identity]) for identity in there)
    return there


@pytest.fixture(autouse=True)
def one_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are committed when that is asked for."""
    monkeypatch.setattr(pending, "LINGER", 3600)


@pytest.mark.parametrize("in_memory", [0, 100_000], ids=["files", "memory"])
async def test_a_failure_at_any_point_costs_nothing_of_the_others(
    make_folder: Maker, tmp_path: Path, in_memory: int
) -> None:
    alone = 0
    for at in range(1, MORE_THAN_THERE_ARE):
        fs, opened = FailingFs(), descriptors()
        folder = make_folder(fs, tmp_path / str(at))
        await folder.prepare()
        fs.arm(at, errno.EIO)
        refused = await land_all(folder, in_memory=in_memory)
        there = await assert_whole(folder)
        assert there.isdisjoint(refused)
        done = not fs.failed
        if done:
            assert there == set(NUPKGS)
        alone += len(there) == len(NUPKGS) - 1
        fs.disarm()
        assert await land_all(folder, in_memory=in_memory) == {}
        assert await assert_whole(folder) == set(NUPKGS)
        await folder.close()
        assert descriptors() <= opened
        if done:
            break
    else:
        pytest.fail("it never came to an end")
    assert alone > 20, "most failures are about one package"


class Room:
    """There is always some more."""

    async def make(self, _size: int) -> bool:
        return True


async def test_a_full_disk_costs_nothing_where_room_can_be_made(tmp_path: Path, metrics: Metrics) -> None:
    for at in range(1, MORE_THAN_THERE_ARE):
        fs = FailingFs()
        folder = PackageFolder(tmp_path / str(at), fs=fs, metrics=metrics, upstream="up", room=Room())
        await folder.prepare()
        fs.arm(at, errno.ENOSPC)
        refused = await land_all(folder)
        there = await assert_whole(folder)
        if fs.failed and fs.failed[0] in {"create", "write", "mkdir", "rename"}:
            assert (refused, there) == ({}, set(NUPKGS))
        await folder.close()
        if not fs.failed:
            break
    else:
        pytest.fail("it never came to an end")


@pytest.mark.slow
async def test_every_kill_while_a_batch_is_committed_can_be_recovered_from(make_folder: Maker, tmp_path: Path) -> None:
    fs = RecordingFs()
    folder = make_folder(fs, tmp_path / "cache")
    await folder.prepare()
    began = fs.done
    assert await land_all(folder) == {}
    root = folder.layout.root
    for prefix in range(began, fs.done + 1):
        again = make_folder(FsOps(), tmp_path / "kills" / str(prefix))
        materialise(fs.killed(prefix, root), root, again.layout.root)
        await again.prepare()
        assert list(again.layout.staging.iterdir()) == []
        for identity, nupkg in NUPKGS.items():
            held = await again.open(identity)
            assert held is None or content(held) == nupkg
        assert await land_all(again) == {}
        assert files(again.layout.root) == {name for identity in NUPKGS for name in package_files(identity)}
        await again.close()
