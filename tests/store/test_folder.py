"""Packages in their folder: stored, found again, counted, deleted."""

from __future__ import annotations

import asyncio
import base64
import errno
import hashlib
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from nugetproxy.errors import Reason, StoreUnusable
from nugetproxy.metrics import Metrics
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.nuget.nuspec import InvalidPackage, Nuspec
from nugetproxy.store.fs import DiskFailure, FsOps
from nugetproxy.store.packages.folder import PackageFolder
from nugetproxy.store.packages.held import HeldPackage
from nugetproxy.store.packages.staging import PinnedPackage
from nugetproxy.store.threads import StoreThreads
from tests.fakes.clock import FakeClock
from tests.fakes.packages import ICON, LICENSE, README, make_nupkg
from tests.store.conftest import Maker
from tests.store.kit import IDENTITY, NUPKG, FailingFs, content, count, files, held_versions, package_files, store

SHA512 = base64.b64encode(hashlib.sha512(NUPKG).digest()).decode()


async def test_a_committed_package_lies_as_nuget_expects_it(folder: PackageFolder) -> None:
    await store(folder)
    root = folder.layout.root
    assert files(root) == package_files(IDENTITY)
    home = root / "packages/newtonsoft.json/13.0.3"
    assert (home / "newtonsoft.json.13.0.3.nupkg").read_bytes() == NUPKG
    assert (home / "newtonsoft.json.13.0.3.nupkg.sha512").read_text() == SHA512
    assert b"<id>Newtonsoft.Json</id>" in (home / "newtonsoft.json.nuspec").read_bytes()
    for path in (root, *(p for p in root.rglob("*") if p.is_dir())):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    for path in (p for p in root.rglob("*") if p.is_file()):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_what_a_held_package_says_of_itself(folder: PackageFolder) -> None:
    held = await store(folder)
    assert (held.identity, held.size, held.sha512) == (IDENTITY, len(NUPKG), SHA512)
    assert held.etag == f'"sha512-{SHA512}"'
    assert held.modified == folder.layout.nupkg(IDENTITY).stat().st_mtime
    assert content(held) == NUPKG


async def test_a_hit_after_the_commit_needs_no_open(folder: PackageFolder, fs: FailingFs) -> None:
    committed = await store(folder)
    assert folder.peek(IDENTITY) is committed
    fs.arm(1, 5, for_ever=True, only="open")
    assert await folder.open(IDENTITY) is committed


async def test_after_a_restart_it_is_opened_again(folder: PackageFolder, make_folder: Maker) -> None:
    before = await store(folder)
    again = make_folder()
    await again.prepare()
    assert again.peek(IDENTITY) is None
    held = await again.open(IDENTITY)
    assert held is not None
    assert (held.etag, held.modified, content(held)) == (before.etag, before.modified, NUPKG)
    assert again.peek(IDENTITY) is held


async def test_what_is_not_held_is_none(folder: PackageFolder) -> None:
    other = PackageIdentity("newtonsoft.json", "13.0.4")
    await store(folder)
    assert folder.peek(other) is None
    assert await folder.open(other) is None
    assert await folder.nuspec(other) is None
    assert await folder.member(other, "readme") is None
    assert await folder.delete(other) == 0
    assert files(folder.layout.root) == package_files(IDENTITY)


# --- staging ---


async def test_readers_follow_a_file_that_grows(folder: PackageFolder) -> None:
    staged = await folder.stage(IDENTITY)
    await staged.write(NUPKG[:1000])
    staged.acquire()
    assert staged.size == 1000
    assert os.pread(staged.fd, 4096, 200) == NUPKG[200:1000]
    await staged.write(NUPKG[1000:])
    held = await staged.land(staged.look(IDENTITY))
    staged.close()
    staged.close()
    assert os.pread(staged.fd, len(NUPKG), 0) == NUPKG
    assert held.fd == staged.fd
    staged.release()
    await folder.delete(IDENTITY)
    assert held.closed
    with pytest.raises(ValueError, match="closed"):
        _ = staged.fd


async def test_an_abandoned_download_leaves_no_file_but_its_readers(folder: PackageFolder) -> None:
    staged = await folder.stage(IDENTITY)
    await staged.write(NUPKG[:500])
    await staged.abandon()
    await staged.abandon()
    assert files(folder.layout.root) == set()
    assert os.pread(staged.fd, 1000, 0) == NUPKG[:500]
    staged.close()
    assert await folder.open(IDENTITY) is None


async def test_abandon_after_commit_changes_nothing(folder: PackageFolder) -> None:
    await store(folder)  # abandons in the end
    assert files(folder.layout.root) == package_files(IDENTITY)


@pytest.mark.parametrize(
    ("nupkg", "reason"),
    [
        (NUPKG[:-1], Reason.ZIP),
        (NUPKG + bytes(70_000), Reason.ZIP),
        (b"", Reason.ZIP),
        (b"<html>log in</html>", Reason.ZIP),
        (make_nupkg("Newtonsoft.Json", "13.0.2"), Reason.IDENTITY),
        (make_nupkg("Newtonsoft.Jason", "13.0.3"), Reason.IDENTITY),
    ],
    ids=["cut", "extra", "empty", "html", "version", "id"],
)
async def test_what_is_not_the_package_is_not_verified(folder: PackageFolder, nupkg: bytes, reason: Reason) -> None:
    with pytest.raises(InvalidPackage) as caught:
        await store(folder, nupkg)
    assert caught.value.reason == reason
    assert files(folder.layout.root) == set()


async def test_two_downloads_of_the_same_bytes_are_one_package(folder: PackageFolder) -> None:
    first, second = await asyncio.gather(folder.stage(IDENTITY), folder.stage(IDENTITY))
    for staged in (first, second):
        await staged.write(NUPKG)
    one, two = await asyncio.gather(*(staged.land(staged.look(IDENTITY)) for staged in (first, second)))
    assert one is two
    assert content(one) == NUPKG
    first.close()
    second.close()
    await folder.pending.empty()
    assert (folder.usage.bytes, folder.usage.packages) == (len(NUPKG), 1)
    assert files(folder.layout.root) == package_files(IDENTITY)


async def test_what_is_held_may_make_way_while_the_same_bytes_are_looked_into(folder: PackageFolder) -> None:
    await store(folder)
    staged = await folder.stage(IDENTITY)
    await staged.write(NUPKG)
    look, loop = staged.look(IDENTITY), asyncio.get_running_loop()

    def looked() -> Nuspec:
        done = threading.Event()
        loop.call_soon_threadsafe(lambda: (folder.kept.clear(), done.set()))
        assert done.wait(20)
        return look()

    assert content(await staged.land(looked)) == NUPKG
    staged.close()
    assert files(folder.layout.root) == package_files(IDENTITY)


async def test_other_bytes_for_a_held_version_are_refused(folder: PackageFolder, metrics: Metrics) -> None:
    held = await store(folder)
    with pytest.raises(PinnedPackage) as caught:
        await store(folder, make_nupkg("Newtonsoft.Json", "13.0.3", size=3001))
    assert caught.value.held == SHA512
    assert count(metrics.integrity_failures, "pin") == 1
    assert content(held) == NUPKG
    assert files(folder.layout.root) == package_files(IDENTITY)


# --- removal with open readers ---


async def test_a_reader_survives_deletion(folder: PackageFolder) -> None:
    held = (await store(folder)).acquire()
    assert await folder.delete(IDENTITY) == len(NUPKG)
    assert files(folder.layout.root) == set()
    assert list(folder.layout.packages.iterdir()) == []
    assert folder.peek(IDENTITY) is None
    assert await folder.open(IDENTITY) is None
    assert content(held) == NUPKG
    held.release()
    assert held.closed


async def test_deleting_one_version_leaves_the_others(folder: PackageFolder) -> None:
    other = PackageIdentity("newtonsoft.json", "13.0.4")
    await store(folder)
    await store(folder, make_nupkg("Newtonsoft.Json", "13.0.4"), other)
    await folder.delete(IDENTITY)
    assert files(folder.layout.root) == package_files(other)


async def test_a_package_deleted_behind_our_back_is_missed(folder: PackageFolder) -> None:
    held = await store(folder)
    folder.layout.nupkg(IDENTITY).unlink()
    assert folder.peek(IDENTITY) is None
    assert held.closed
    assert await folder.open(IDENTITY) is None
    assert content(await store(folder)) == NUPKG


async def test_a_cache_directory_deleted_behind_our_back_is_made_again(folder: PackageFolder) -> None:
    await store(folder)
    os.system(f"rm -rf '{folder.layout.root}'")
    assert folder.peek(IDENTITY) is None
    assert await folder.open(IDENTITY) is None
    assert content(await store(folder)) == NUPKG
    assert files(folder.layout.root) == package_files(IDENTITY)


async def test_a_directory_deleted_during_a_download_costs_only_that_download(folder: PackageFolder) -> None:
    staged = await folder.stage(IDENTITY)
    await staged.write(NUPKG)
    os.system(f"rm -rf '{folder.layout.root}'")
    look = staged.look(IDENTITY)
    with pytest.raises(DiskFailure):
        await staged.land(look)
    assert os.pread(staged.fd, len(NUPKG), 0) == NUPKG
    staged.close()
    assert content(await store(folder)) == NUPKG


async def test_releasing_too_often_is_an_error(folder: PackageFolder) -> None:
    held = await store(folder)
    with held:
        await folder.delete(IDENTITY)
    assert held.closed
    for call in (held.release, held.acquire, lambda: held.fd):
        with pytest.raises(ValueError, match="descriptor"):
            call()


async def test_a_forgotten_package_closes_its_descriptor(folder: PackageFolder) -> None:
    held: HeldPackage | None = (await store(folder)).acquire()
    assert held is not None
    fd = held.fd
    await folder.delete(IDENTITY)
    assert os.fstat(fd).st_nlink == 0
    held = None
    with pytest.raises(OSError):
        os.fstat(fd)


async def test_only_so_many_descriptors_are_kept(folder: PackageFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder.kept, "_limit", 2)
    identities = [PackageIdentity("a", f"1.0.{n}") for n in range(3)]
    helds = [await store(folder, make_nupkg("a", i.version), i) for i in identities[:2]]
    assert folder.peek(identities[0]) is not None  # now the most recent
    helds.append(await store(folder, make_nupkg("a", identities[2].version), identities[2]))
    assert [held.closed for held in helds] == [False, True, False]
    assert await folder.open(identities[1]) is not None
    assert [held.closed for held in helds] == [True, True, False]


async def test_some_make_way_at_once_for_one_more(folder: PackageFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder.kept, "_limit", 32)
    identities = [PackageIdentity("a", f"1.0.{n}") for n in range(33)]
    helds = [await store(folder, make_nupkg("a", i.version), i) for i in identities[:32]]
    assert len(folder.kept) == 32
    helds.append(await store(folder, make_nupkg("a", identities[32].version), identities[32]))
    assert [held.closed for held in helds] == [True] * 3 + [False] * 30


async def test_what_is_to_be_closed_meanwhile_is_closed_by_the_same_job() -> None:
    threads, go = StoreThreads(), threading.Event()
    for _ in range(2):
        threads.write.submit(go.wait)
    pipes = [os.pipe() for _ in range(4)]
    for fd in (fd for ends in pipes for fd in ends):
        threads.close_later(fd)
    assert threads.write._work_queue.qsize() == 1
    go.set()
    await threads.close()
    for fd in (fd for ends in pipes for fd in ends):
        with pytest.raises(OSError):
            os.fstat(fd)


# --- what is in a package ---


async def test_members_and_nuspec_come_out_of_the_package(folder: PackageFolder) -> None:
    await store(folder)
    folder.layout.nuspec(IDENTITY).write_bytes(b"edited")
    nuspec = await folder.nuspec(IDENTITY)
    assert nuspec is not None
    assert b"<id>Newtonsoft.Json</id>" in nuspec
    assert await folder.member(IDENTITY, "readme") == (b"# read me", README)
    assert await folder.member(IDENTITY, "icon") == (b"\x89PNG", ICON)
    assert await folder.member(IDENTITY, "license") == (b"MIT", LICENSE)


async def test_many_readers_of_one_package_at_once(folder: PackageFolder) -> None:
    await store(folder)
    kinds = ("readme", "icon", "license") * 10
    got = await asyncio.gather(*(folder.member(IDENTITY, kind) for kind in kinds))
    assert [part and part[0] for part in got] == [b"# read me", b"\x89PNG", b"MIT"] * 10


async def test_a_package_without_members(folder: PackageFolder) -> None:
    identity = PackageIdentity("plain", "1.0.0")
    await store(folder, make_nupkg("Plain", "1.0"), identity)
    assert [await folder.member(identity, kind) for kind in ("readme", "icon", "license")] == [None] * 3


# --- counting ---


async def test_usage_follows_commits_deletions_and_scans(
    folder: PackageFolder, make_folder: Maker, metrics: Metrics
) -> None:
    other = PackageIdentity("other", "1.0.0")
    nupkg = make_nupkg("Other", "1.0.0")
    await store(folder)
    await store(folder, nupkg, other)
    assert (folder.usage.bytes, folder.usage.packages) == (len(NUPKG) + len(nupkg), 2)
    assert count(metrics.store_bytes, "packages") == len(NUPKG) + len(nupkg)
    await folder.delete(other)
    assert (folder.usage.bytes, folder.usage.packages) == (len(NUPKG), 1)
    assert count(metrics.store_packages) == 1
    await folder.usage.count()
    assert (folder.usage.bytes, folder.usage.packages) == (len(NUPKG), 1)
    again = make_folder()
    await again.prepare()
    assert (again.usage.bytes, again.usage.packages) == (0, 0)
    await again.usage.count()
    assert (again.usage.bytes, again.usage.packages) == (len(NUPKG), 1)
    assert [(identity, size) for identity, size, _ in again.walk()] == [(IDENTITY, len(NUPKG))]


async def test_the_last_use_is_written_to_the_hash_file(folder: PackageFolder, clock: FakeClock) -> None:
    held = await store(folder)
    clock.advance(1000)
    folder.usage.note(IDENTITY)
    folder.usage.note(PackageIdentity("gone", "1.0.0"))
    assert await folder.usage.write() == 1
    assert await folder.usage.write() == 0
    assert [used for _, _, used in folder.walk()] == [clock.now()]
    assert folder.peek(IDENTITY) is held


async def test_a_use_that_the_disk_does_not_take_costs_no_other(
    folder: PackageFolder, clock: FakeClock, fs: FailingFs
) -> None:
    await _fill(folder, clock, 3)
    fs.arm(1, errno.EPERM, only="utime")
    with pytest.raises(DiskFailure, match="EPERM"):
        await folder.usage.write()
    used = {identity.version: used for identity, _, used in folder.walk()}
    assert (used["2.0.0"], used["3.0.0"]) == (clock.now() - 120, clock.now() - 60)


async def test_a_use_that_is_being_written_counts(
    folder: PackageFolder, clock: FakeClock, fs: FailingFs, monkeypatch: pytest.MonkeyPatch
) -> None:
    utime, writing, may_write = fs.utime, threading.Event(), threading.Event()

    def slow(path: str | Path, seconds: float) -> None:
        writing.set()
        assert may_write.wait(30)
        utime(path, seconds)

    await _fill(folder, clock, 1)
    monkeypatch.setattr(fs, "utime", slow)
    write = asyncio.ensure_future(folder.usage.write())
    await asyncio.to_thread(writing.wait, 30)
    counted = await folder.usage.count()
    may_write.set()
    await write
    assert [used for used, _, _ in counted] == [clock.now() - 60]


# --- eviction ---


async def _fill(folder: PackageFolder, clock: FakeClock, versions: int) -> tuple[list[PackageIdentity], int]:
    identities = [PackageIdentity("a", f"{n}.0.0") for n in range(1, versions + 1)]
    for identity in identities:
        nupkg = make_nupkg("A", identity.version, size=10_000)
        await store(folder, nupkg, identity)
        folder.usage.note(identity)
        clock.advance(60)
    return identities, folder.usage.bytes // versions


async def test_eviction_removes_the_least_recently_used(
    folder: PackageFolder, clock: FakeClock, metrics: Metrics
) -> None:
    identities, size = await _fill(folder, clock, 6)
    await folder.usage.write()
    folder.usage.note(identities[0])  # not yet written, but it counts
    before = folder.usage.bytes
    removed = await folder.evict(4 * size, lambda identity: False)  # 95 % of four are three
    assert set(held_versions(folder, "a")) == {"1.0.0", "5.0.0", "6.0.0"}
    assert (folder.usage.bytes, folder.usage.packages) == (before - removed, 3)
    assert count(metrics.evicted_bytes) == removed


async def test_eviction_spares_what_is_to_be_kept(folder: PackageFolder, clock: FakeClock) -> None:
    identities, size = await _fill(folder, clock, 4)
    await folder.evict(2 * size, lambda identity: identity == identities[0])
    assert held_versions(folder, "a") == ("1.0.0",)


async def test_eviction_ends_when_the_disk_refuses(folder: PackageFolder, clock: FakeClock, fs: FailingFs) -> None:
    await _fill(folder, clock, 3)
    fs.arm(2, 30, only="unlink", for_ever=True)
    removed = await folder.evict(0, lambda identity: False)
    assert removed == 0
    fs.disarm()
    await folder.evict(0, lambda identity: False)
    assert files(folder.layout.root) == set()


async def test_eviction_passes_over_what_the_disk_does_not_give_up(
    folder: PackageFolder, clock: FakeClock, fs: FailingFs
) -> None:
    _, size = await _fill(folder, clock, 6)
    await folder.usage.write()
    fs.arm(1, errno.EIO, only="unlink")
    await folder.evict(4 * size, lambda identity: False)
    assert fs.failed == ["unlink"]
    assert set(held_versions(folder, "a")) == {"1.0.0", "5.0.0", "6.0.0"}


async def test_what_was_spared_is_no_eviction(folder: PackageFolder, clock: FakeClock) -> None:
    await _fill(folder, clock, 2)
    with capture_logs() as logs:
        assert await folder.evict(0, lambda identity: True) == 0
        assert await folder.evict(0, lambda identity: False) > 0
    assert [one["event"] for one in logs] == ["packages.evicted"]


async def test_no_eviction_below_the_limit(folder: PackageFolder, clock: FakeClock) -> None:
    await _fill(folder, clock, 3)
    assert await folder.evict(folder.usage.bytes, lambda identity: False) == 0
    assert len(held_versions(folder, "a")) == 3


async def test_eviction_hurts_no_reader(folder: PackageFolder, clock: FakeClock) -> None:
    await _fill(folder, clock, 2)
    held = await folder.open(PackageIdentity("a", "1.0.0"))
    assert held is not None
    with held:
        await folder.evict(0, lambda identity: False)
        assert files(folder.layout.root) == set()
        assert content(held) == make_nupkg("A", "1.0.0", size=10_000)
    assert held.closed


# --- start ---


async def test_leftovers_of_a_crash_are_swept(make_folder: Maker, metrics: Metrics, tmp_path: Path) -> None:
    staging = tmp_path / "nuget.org/staging"
    staging.mkdir(parents=True)
    for n in range(3):
        (staging / f"{n}.part").write_bytes(b"half")
    await make_folder().prepare()
    assert list(staging.iterdir()) == []
    assert count(metrics.orphans_removed) == 3


async def test_what_is_in_the_way_in_staging_keeps_nothing_from_being_served(
    folder: PackageFolder, make_folder: Maker, metrics: Metrics, capsys: pytest.CaptureFixture[str]
) -> None:
    await store(folder)
    staging = folder.layout.staging
    (staging / "somebody" / "else").mkdir(parents=True)
    (staging / f"acme.b~1.0.0~{'A' * 86}").symlink_to("/nowhere")  # called as what a start commits
    (staging / "left.part").touch()
    again = make_folder()
    await again.prepare()
    assert await again.open(IDENTITY) is not None
    assert sorted(path.name[:8] for path in staging.iterdir()) == ["acme.b~1", "somebody"]
    assert count(metrics.orphans_removed) == 1
    assert capsys.readouterr().out.count("staging.unswept") == 2


@pytest.mark.timeout(30)
async def test_a_named_pipe_in_staging_does_not_hold_up_the_start(folder: PackageFolder, make_folder: Maker) -> None:
    await folder.prepare()
    os.mkfifo(folder.layout.staging / f"acme.b~1.0.0~{'A' * 86}")  # called as what a start commits
    await make_folder().prepare()
    assert list(folder.layout.staging.iterdir()) == []


async def test_a_directory_that_cannot_be_made_is_said_at_start(make_folder: Maker, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    told = r"/taken: File exists \(EEXIST\)\. Move the file away, or"
    with pytest.raises(StoreUnusable, match=told):
        await make_folder(root=tmp_path / "taken").prepare()


async def test_a_read_only_disk_still_serves_what_is_held(folder: PackageFolder, make_folder: Maker) -> None:
    await store(folder)
    (folder.layout.staging / "left.part").touch()
    read_only = FailingFs()
    again = make_folder(read_only)
    read_only.arm(1, 30, only="unlink", for_ever=True)
    await again.prepare()
    held = await again.open(IDENTITY)
    assert held is not None
    assert content(held) == NUPKG


async def test_whoever_does_not_wait_for_a_file_leaves_none(folder: PackageFolder) -> None:
    staged = await folder.stage(IDENTITY)
    assert list(folder.layout.staging.iterdir()) == []
    writing = asyncio.create_task(staged.write(NUPKG[:1000]))
    await asyncio.sleep(0)  # a thread makes the file now
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert len(list(folder.layout.staging.iterdir())) == 1
    await staged.abandon()
    staged.close()
    assert list(folder.layout.staging.iterdir()) == []


class Told(FsOps):
    """Remembers what was done, and to what."""

    def __init__(self) -> None:
        self.done: list[tuple[str, str]] = []

    def call(self, op: str, path: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self.done.append((op, path))
        return super().call(op, path, function, *args, **kwargs)


async def test_the_folder_of_a_package_is_opened_once_for_both_of_its_syncs(make_folder: Maker, tmp_path: Path) -> None:
    fs = Told()
    folder = make_folder(fs, tmp_path / "cache")
    await folder.prepare()
    await store(folder)
    home = str(folder.layout.directory(IDENTITY))
    done = [op for op, path in fs.done if path == home and op != "mkdir"]  # which is tried before its parent is there
    assert done == ["open", "fsync_dir", "fsync_dir"]


async def test_what_was_in_memory_is_there_for_its_readers_and_no_longer(folder: PackageFolder) -> None:
    staged = await folder.stage(IDENTITY, in_memory=len(NUPKG))
    await staged.write(NUPKG)
    held = await staged.land(staged.look(IDENTITY))
    assert staged.content == NUPKG
    staged.close()
    assert staged.content is None, "whoever still knows of the download would keep it"
    assert content(held) == NUPKG
