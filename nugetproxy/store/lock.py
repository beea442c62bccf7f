"""DirectoryLock makes sure that one instance at a time uses a cache directory that is safe to use."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from nugetproxy.errors import StoreUnusable
from nugetproxy.on_disk import is_file

FORMAT = 2
"""Layout of the cache directory; a directory of a higher one belongs to a newer nugetproxy."""

NETWORK_FILE_SYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "fuse.sshfs", "fuse.glusterfs"}
)
"""File systems on which flock or SQLite's locks do not hold between machines."""

MOUNTS = Path("/proc/self/mountinfo")

_REMEDIES = {
    errno.ENOSPC: "Make room on that disk, or set another cache directory.",
    errno.EDQUOT: "Make room for this user there, or set another cache directory.",
    errno.EMFILE: "Raise the limit of open files.",
    errno.ENFILE: "Raise the limit of open files.",
    errno.EIO: "The disk is failing: replace it, or set another cache directory.",
    errno.EEXIST: "Move the file away, or set another cache directory.",
    errno.ENOTDIR: "Move the file away, or set another cache directory.",
}


def remedy_of(code: int | None) -> str:
    """What to do about a cache directory for which the disk says this (of errno)."""
    return _REMEDIES.get(code or 0, "Make it writable for this user, or set another cache directory.")


class DirectoryLocked(StoreUnusable):
    """Another instance uses the directory; ``pid`` and ``since`` as that one wrote them, 0 and "" if unknown."""

    def __init__(self, directory: str, pid: int, since: str) -> None:
        holder = f"process {pid} has used it since {since}" if pid else "another process uses it"
        super().__init__(directory, holder, "Stop that process, or give this one a directory of its own.")
        self.pid = pid
        self.since = since


class DirectoryLock:
    """An exclusive lock on ``<directory>/lock``, held for life; the kernel frees it when the process ends. Blocks."""

    def __init__(self, directory: Path, *, forced: bool = False) -> None:
        self.directory = directory
        self._forced = forced
        self.format = 0
        """What ``format`` said when it was acquired; 0 for a new directory."""
        self._fd: int | None = None
        self._path = directory / "lock"

    def acquire(self) -> None:
        """Make the directory if need be, check it, lock it, write who holds it.

        Raises StoreUnusable (foreign owner, network file system unless ``forced``, newer format, not writable),
        DirectoryLocked.
        """
        if self._fd is not None:
            return
        try:
            self._check_directory()
            self._lock()
            try:
                self._check_format()
            except BaseException:
                self.release()
                raise
        except OSError as error:
            raise self._unusable(*_trouble(error, self.directory)) from error

    def release(self) -> None:
        """Let go of it; may be called again."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def lost(self) -> bool:
        """Whether the locked file is no longer the one in its place: the next process would lock another one."""
        if self._fd is None:
            return False
        try:
            there = self._path.lstat()
        except FileNotFoundError:
            return True
        except OSError:  # a disk in trouble says nothing about the file
            return False
        return not os.path.samestat(there, os.fstat(self._fd))

    def take_again(self) -> None:
        """Lock the file that is in its place now, or a new one there; raises as ``acquire`` does."""
        before, self._fd = self._fd, None
        try:
            self.acquire()
        except BaseException:
            self._fd = before
            raise
        if before is not None:
            os.close(before)

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, *exc: object) -> None:
        self.release()

    def _unusable(self, why: str, remedy: str) -> StoreUnusable:
        return StoreUnusable(str(self.directory), why, remedy)

    def _check_directory(self) -> None:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        state = self.directory.stat()
        if state.st_uid != os.geteuid():
            raise self._unusable(
                f"it belongs to user {state.st_uid}, not to user {os.geteuid()} that this process runs as",
                "Change its owner: whoever may write there decides what is served.",
            )
        if stat.S_IMODE(state.st_mode) & 0o077:
            self.directory.chmod(0o700)
        kind = file_system(self.directory)
        if kind in NETWORK_FILE_SYSTEMS and not self._forced:
            raise self._unusable(
                f"it lies on a network file system ({kind}), where locks are not reliable",
                "Use a local disk, or force it if only this machine ever uses the directory.",
            )

    def _lock(self) -> None:
        fd, writable = self._open_lock()
        try:
            # Protects everything below the directory from a second instance.
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(fd, 200, 0).decode("ascii", "replace")
            os.close(fd)
            found = re.fullmatch(r"(\d{1,10}) ([\dT:+-]{1,40})\n", holder)
            pid, since = (int(found[1]), found[2]) if found else (0, "")
            raise DirectoryLocked(str(self.directory), pid, since) from None
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd
        if writable:
            with contextlib.suppress(OSError):  # a full disk: the lock itself holds without the words
                os.ftruncate(fd, 0)
                os.pwrite(fd, f"{os.getpid()} {datetime.now(UTC).isoformat(timespec='seconds')}\n".encode(), 0)

    def _open_lock(self) -> tuple[int, bool]:
        path = self._path
        try:
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600), True
        except OSError as error:
            # What is held on a disk that became read-only can still be served.
            if error.errno != errno.EROFS:
                raise
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW), False

    def _check_format(self) -> None:
        try:
            text = (self.directory / "format").read_text("ascii", "replace").strip()
        except FileNotFoundError:
            text = ""
        # What is no number is left of a crash while it was first written; only format 1 had that.
        self.format = int(text) if re.fullmatch(r"\d{1,6}", text) else 0
        if self.format > FORMAT:
            raise self._unusable(
                f"a newer nugetproxy made it (format {text}; this one knows up to {FORMAT})",
                "Run the newer version, or set another cache directory. Nothing was changed.",
            )

    def write_format(self) -> None:
        """Say that the directory has the form of this version now, durably; raises StoreUnusable."""
        if self.format == FORMAT:
            return
        scratch = self.directory / "format.new"
        try:
            with scratch.open("w") as file:
                file.write(f"{FORMAT}\n")
                file.flush()
                os.fsync(file.fileno())
            scratch.replace(self.directory / "format")
        except OSError as error:
            # What is held on a disk that became read-only can still be served.
            if error.errno != errno.EROFS:
                raise self._unusable(*_trouble(error, self.directory)) from error
        self.format = FORMAT


def _trouble(error: OSError, directory: Path) -> tuple[str, str]:
    """What is wrong with a directory that could not be locked or written to, with what to do about it."""
    if error.errno in {errno.EEXIST, errno.ENOTDIR}:
        file = next((place for place in (directory, *directory.parents) if is_file(place)), directory)
        what = "it" if file == directory else str(file)
        return f"{what} is a file, not a directory", remedy_of(error.errno)
    return f"{error.strerror} ({errno.errorcode.get(error.errno or 0, '?')})", remedy_of(error.errno)


def file_system(directory: Path, mounts: Path = MOUNTS) -> str:
    """The type of the file system that holds ``directory`` (``ext4``, ``nfs4`` ...); "" where it cannot be known.

    From the mount table (proc_pid_mountinfo(5)): its fifth field is the mount point, the first one after `` - ``
    the type. Of nested mounts the innermost counts, of stacked ones the last.
    """
    try:
        lines = mounts.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return ""
    path = directory.resolve()
    best, kind = -1, ""
    for line in lines:
        left, _, right = line.partition(" - ")
        fields, words = left.split(" "), right.split(" ")
        if len(fields) < 5:
            continue
        point = Path(re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), fields[4]))
        if path.is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), words[0]
    return kind
