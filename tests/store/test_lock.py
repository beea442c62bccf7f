"""One instance per cache directory, in a directory that is ours alone."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from nugetproxy.errors import StoreUnusable
from nugetproxy.store import lock as lock_module
from nugetproxy.store.lock import DirectoryLock, DirectoryLocked, file_system
from tests.store.kit import files

RACER = """
import sys, time
from pathlib import Path
from nugetproxy.store.lock import DirectoryLock, DirectoryLocked
lock = DirectoryLock(Path(sys.argv[1]))
sys.stdin.readline()
try:
    lock.acquire()
except DirectoryLocked as error:
    print("locked", error.pid, flush=True)
else:
    print("mine", flush=True)
    sys.stdin.read()
"""


def racer(directory: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", RACER, str(directory)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait(10)
    for stream in (process.stdin, process.stdout):
        assert stream is not None
        stream.close()


def test_the_directory_is_made_private(tmp_path: Path) -> None:
    with DirectoryLock(tmp_path / "a" / "cache"):
        assert stat.S_IMODE((tmp_path / "a" / "cache").stat().st_mode) == 0o700
        assert files(tmp_path) == {"a/cache/lock"}


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o755, 0o701])
def test_a_directory_of_ours_that_others_can_reach_is_closed_to_them(tmp_path: Path, mode: int) -> None:
    tmp_path.chmod(mode)
    with DirectoryLock(tmp_path):
        assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700


def test_a_directory_of_someone_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = tmp_path.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(StoreUnusable, match=f"belongs to user {owner}"):
        DirectoryLock(tmp_path).acquire()
    assert files(tmp_path) == set()


def test_a_file_in_place_of_the_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("")
    with pytest.raises(StoreUnusable, match="it is a file, not a directory"):
        DirectoryLock(tmp_path / "cache").acquire()


def test_a_file_above_the_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreUnusable) as caught:
        DirectoryLock(tmp_path / "file" / "cache").acquire()
    assert caught.value.why == f"{tmp_path / 'file'} is a file, not a directory"


def test_a_full_disk_is_not_a_matter_of_rights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "mkdir", full)
    with pytest.raises(StoreUnusable) as caught:
        DirectoryLock(tmp_path / "cache").acquire()
    assert caught.value.remedy.startswith("Make room")


def test_a_disk_too_full_for_the_format_is_not_a_matter_of_rights_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with DirectoryLock(tmp_path / "cache") as lock:
        monkeypatch.setattr(Path, "replace", full)
        with pytest.raises(StoreUnusable, match=r"No space left on device \(ENOSPC\). Make room on that disk"):
            lock.write_format()


def test_the_second_is_told_who_is_first(tmp_path: Path) -> None:
    with DirectoryLock(tmp_path), pytest.raises(DirectoryLocked) as caught:
        DirectoryLock(tmp_path).acquire()
    assert caught.value.pid == os.getpid()
    assert str(os.getpid()) in str(caught.value)
    assert caught.value.since.startswith("20")
    with DirectoryLock(tmp_path):
        pass  # free again


@pytest.mark.parametrize("words", [b"", b"\xff\xfe\n", b"pid", b"99999999999999 2026-01-01T00:00:00\n"])
def test_a_holder_that_left_no_name_still_holds(tmp_path: Path, words: bytes) -> None:
    with DirectoryLock(tmp_path):
        (tmp_path / "lock").write_bytes(words)
        with pytest.raises(DirectoryLocked, match="another process uses it"):
            DirectoryLock(tmp_path).acquire()


def test_acquiring_and_releasing_twice_is_harmless(tmp_path: Path) -> None:
    lock, other = DirectoryLock(tmp_path), DirectoryLock(tmp_path)
    lock.acquire()
    lock.acquire()
    with pytest.raises(DirectoryLocked):
        other.acquire()
    lock.release()
    lock.release()
    other.acquire()
    with pytest.raises(DirectoryLocked):
        lock.acquire()
    other.release()


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_of_twenty_processes_one_wins_until_it_is_killed(tmp_path: Path) -> None:
    racers = [racer(tmp_path) for _ in range(20)]
    try:
        for process in racers:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        words = {}
        for process in racers:
            assert process.stdout is not None
            words[process] = process.stdout.readline().split()
        winners = [process for process, said in words.items() if said == ["mine"]]
        assert len(winners) == 1
        winner = winners[0]
        losers = [said for process, said in words.items() if process is not winner]
        # 0: the winner had the lock, but had not written its name yet
        assert {said[0] for said in losers} == {"locked"}
        assert {said[1] for said in losers} <= {str(winner.pid), "0"}
        with pytest.raises(DirectoryLocked) as caught:
            DirectoryLock(tmp_path).acquire()
        assert caught.value.pid == winner.pid
        winner.send_signal(signal.SIGKILL)
        winner.wait(10)
        with DirectoryLock(tmp_path):
            pass
    finally:
        for process in racers:
            end(process)


# --- format ---


def test_a_newer_format_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "format").write_text("3\n")
    (tmp_path / "packages").write_text("precious")
    with pytest.raises(StoreUnusable, match="newer nugetproxy"):
        DirectoryLock(tmp_path).acquire()
    assert (tmp_path / "format").read_text() == "3\n"
    assert (tmp_path / "packages").read_text() == "precious"
    (tmp_path / "format").write_text("1\n")
    with DirectoryLock(tmp_path):
        pass  # the refusal did not keep the lock


@pytest.mark.parametrize("text", ["", "\n", "one", "-1", "1.5"])
def test_a_format_file_that_says_nothing_is_written_again(tmp_path: Path, text: str) -> None:
    (tmp_path / "format").write_text(text)
    with DirectoryLock(tmp_path) as lock:
        assert lock.format == 0
        lock.write_format()
        assert (tmp_path / "format").read_text() == "2\n"


def test_an_older_format_stays_until_what_is_there_was_taken_over(tmp_path: Path) -> None:
    (tmp_path / "format").write_text("1\n")
    with DirectoryLock(tmp_path) as lock:
        assert lock.format == 1
        assert (tmp_path / "format").read_text() == "1\n"
        lock.write_format()
        assert (tmp_path / "format").read_text() == "2\n"


# --- file system ---

MOUNTINFO = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:40 / /srv rw - nfs4 server:/srv rw,vers=4.2
31 30 0:41 / /srv/local rw master:3 propagate_from:2 - xfs /dev/vdb rw
32 22 0:42 / /with\\040space rw - cifs //server/share rw
33 22 0:43 / /twice rw - ext4 /dev/vdc rw
34 22 0:44 / /twice rw - 9p share rw
garbage
"""


@pytest.mark.parametrize(
    ("directory", "kind"),
    [
        ("/home/x", "ext4"),
        ("/srv", "nfs4"),
        ("/srv/cache", "nfs4"),
        ("/srvx", "ext4"),
        ("/srv/local/cache", "xfs"),
        ("/with space/cache", "cifs"),
        ("/twice/cache", "9p"),
    ],
)
def test_the_innermost_mount_counts(tmp_path: Path, directory: str, kind: str) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTINFO)
    assert file_system(Path(directory), mounts) == kind


def test_without_a_mount_table_nothing_is_known(tmp_path: Path) -> None:
    assert file_system(tmp_path, tmp_path / "none") == ""


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs"])
def test_a_network_file_system_is_refused_unless_forced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(lock_module, "file_system", lambda directory: kind)
    with pytest.raises(StoreUnusable, match="network file system"):
        DirectoryLock(tmp_path).acquire()
    with DirectoryLock(tmp_path, forced=True):
        pass


# --- read-only disk ---


def test_a_read_only_disk_can_still_be_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with DirectoryLock(tmp_path):
        pass
    real = os.open

    def read_only(path: str, flags: int, mode: int = 0o777) -> int:
        if flags & (os.O_RDWR | os.O_WRONLY | os.O_CREAT):
            raise OSError(30, "Read-only file system")
        return real(path, flags, mode)

    monkeypatch.setattr(os, "open", read_only)
    lock = DirectoryLock(tmp_path)
    lock.acquire()
    monkeypatch.undo()
    other = os.open(tmp_path / "lock", os.O_RDWR)
    with pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(other)
    lock.release()


def test_a_read_only_disk_without_a_cache_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_only(path: str, flags: int, mode: int = 0o777) -> int:
        raise OSError(30, "Read-only file system") if flags & os.O_CREAT else FileNotFoundError(2, "No such file")

    monkeypatch.setattr(os, "open", read_only)
    with pytest.raises(StoreUnusable, match="No such file"):
        DirectoryLock(tmp_path).acquire()


# --- a directory that is removed while it is used -------------------------------------------------------------------


def test_a_lock_knows_whether_its_file_is_still_there(tmp_path: Path) -> None:
    with DirectoryLock(tmp_path / "cache") as lock:
        assert not lock.lost()
        shutil.rmtree(tmp_path / "cache")
        assert lock.lost()
        (tmp_path / "cache").mkdir()
        (tmp_path / "cache" / "lock").touch()
        assert lock.lost()
    assert not lock.lost()


def test_a_lost_lock_is_taken_again(tmp_path: Path) -> None:
    with DirectoryLock(tmp_path / "cache") as lock:
        shutil.rmtree(tmp_path / "cache")
        lock.take_again()
        assert not lock.lost()
        with pytest.raises(DirectoryLocked):
            DirectoryLock(tmp_path / "cache").acquire()
    DirectoryLock(tmp_path / "cache").acquire()


def test_a_lost_lock_that_another_one_has_stays_lost(tmp_path: Path) -> None:
    with DirectoryLock(tmp_path / "cache") as first:
        shutil.rmtree(tmp_path / "cache")
        with DirectoryLock(tmp_path / "cache"):
            with pytest.raises(DirectoryLocked):
                first.take_again()
            assert first.lost()
