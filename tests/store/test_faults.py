"""Every single file operation fails once, or from then on: nothing wrong is left, nothing is lost, it recovers."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

import pytest

from nugetproxy.metrics import Metrics
from nugetproxy.store.fs import DiskFailure, FsOps, MissingFile
from nugetproxy.store.packages.folder import PackageFolder
from tests.store.conftest import Maker
from tests.store.kit import IDENTITY, NUPKG, FailingFs, content, count, files, package_files, store

CODES = [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT]
MORE_THAN_THERE_ARE = 200


def assert_nothing_wrong(folder: PackageFolder) -> None:
    """Whatever bears a final name is what it should be; a hash file vouches for a whole package."""
    for path in folder.layout.packages.rglob("*.nupkg"):
        assert path.read_bytes() == NUPKG
    for path in folder.layout.packages.rglob("*.sha512"):
        assert path.with_suffix("").read_bytes() == NUPKG
        assert (path.parent / IDENTITY.nuspec_name).stat().st_size > 0


@pytest.mark.parametrize("code", CODES, ids=errno.errorcode.get)
async def test_a_failure_at_any_point_of_a_download_leaves_nothing(
    make_folder: Maker, tmp_path: Path, metrics: Metrics, code: int
) -> None:
    failures = 0
    for at in range(1, MORE_THAN_THERE_ARE):
        fs = FailingFs()
        folder = make_folder(fs, tmp_path / str(at))
        await folder.prepare()
        fs.arm(at, code)
        try:
            await store(folder)
        except DiskFailure as failure:  # before it was verified; later ones cost nobody the answer
            assert failure.errno == code
            assert fs.failed == [failure.op]
        if fs.failed:
            failures += 1
            assert files(folder.layout.root) == set()
            assert (folder.usage.bytes, folder.usage.packages) == (0, 0)
            assert await folder.open(IDENTITY) is None
            assert content(await store(folder)) == NUPKG
        assert files(folder.layout.root) == package_files(IDENTITY)
        assert_nothing_wrong(folder)
        done = not fs.failed
        await folder.close()
        if done:
            break
    else:
        pytest.fail("it never came to an end")
    assert failures > 20
    samples = (sample for family in metrics.disk_errors.collect() for sample in family.samples)
    counted = sum(sample.value for sample in samples if sample.name.endswith("_total"))
    assert counted >= failures


@pytest.mark.parametrize("code", CODES, ids=errno.errorcode.get)
async def test_a_disk_that_fails_from_any_point_on_holds_nothing_wrong(
    make_folder: Maker, tmp_path: Path, code: int
) -> None:
    for at in range(1, MORE_THAN_THERE_ARE):
        fs = FailingFs()
        folder = make_folder(fs, tmp_path / str(at))
        await folder.prepare()
        fs.arm(at, code, for_ever=True)
        with suppress(DiskFailure):
            await store(folder)
        assert_nothing_wrong(folder)
        done = not fs.failed
        fs.disarm()
        again = make_folder(None, tmp_path / str(at))  # the restart on a disk that works again
        await again.prepare()
        assert list(again.layout.staging.iterdir()) == []
        held = await again.open(IDENTITY)
        assert content(held or await store(again)) == NUPKG
        assert files(again.layout.root) == package_files(IDENTITY)
        await folder.close()
        await again.close()
        if done:
            break
    else:
        pytest.fail("it never came to an end")


async def test_what_was_written_before_a_failure_can_still_be_read(folder: PackageFolder, fs: FailingFs) -> None:
    staged = await folder.stage(IDENTITY)
    await staged.write(NUPKG[:1000])
    fs.arm(1, errno.ENOSPC, only="write")
    for _ in range(2):
        with pytest.raises(DiskFailure, match="ENOSPC"):
            await staged.write(NUPKG[1000:])
    assert staged.size == 1000
    assert os.pread(staged.fd, 5000, 0) == NUPKG[:1000]
    await staged.abandon()
    assert files(folder.layout.root) == set()
    staged.close()


async def test_a_short_write_is_continued(folder: PackageFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: real(fd, data[:7], offset))
    assert content(await store(folder)) == NUPKG


async def test_failures_are_counted_by_operation_and_errno(
    folder: PackageFolder, fs: FailingFs, metrics: Metrics
) -> None:
    fs.arm(1, errno.ENOSPC, only="write")
    with pytest.raises(DiskFailure) as caught:
        await store(folder)
    assert (caught.value.op, caught.value.errno, caught.value.errno_name) == ("write", errno.ENOSPC, "ENOSPC")
    assert count(metrics.disk_errors, "write", "ENOSPC") == 1


async def test_a_failed_sync_is_not_tried_again(folder: PackageFolder, fs: FailingFs) -> None:
    fs.arm(1, errno.EIO, only="fsync")
    staged = await folder.stage(IDENTITY)
    await staged.write(NUPKG)
    held = (await staged.land(staged.look(IDENTITY))).acquire()
    await folder.pending.empty()
    assert fs.calls == 1
    assert files(folder.layout.root) == set()
    assert await folder.open(IDENTITY) is None
    assert content(held) == NUPKG
    held.release()
    staged.close()


async def test_a_deletion_that_fails_can_be_repeated(make_folder: Maker, tmp_path: Path) -> None:
    for at in range(1, MORE_THAN_THERE_ARE):
        fs = FailingFs()
        folder = make_folder(fs, tmp_path / str(at))
        await folder.prepare()
        await store(folder)
        fs.arm(at, errno.EIO)
        try:
            await folder.delete(IDENTITY)
        except DiskFailure:
            assert_nothing_wrong(folder)
            held = await folder.open(IDENTITY)
            assert held is None or content(held) == NUPKG
            await folder.delete(IDENTITY)
        assert files(folder.layout.root) == set()
        done = not fs.failed
        await folder.close()
        if done:
            break


@pytest.mark.parametrize("code", [errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP])
def test_what_cannot_be_there_is_missing(code: int) -> None:
    fs = FailingFs(code=code, at=1)
    with pytest.raises(MissingFile):
        fs.open(Path("/x"))


def test_a_symbolic_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("secret")
    (tmp_path / "link").symlink_to("target")
    with pytest.raises(MissingFile):
        FsOps().open(tmp_path / "link")
    with pytest.raises(DiskFailure):
        FsOps().create(tmp_path / "link")


def test_the_message_says_what_failed() -> None:
    failure = DiskFailure("fsync", errno.EIO, "/cache/x")
    assert str(failure) == "The disk operation 'fsync' failed on /cache/x: Input/output error (EIO)."
    assert DiskFailure("read", 99999).errno_name == "99999"
