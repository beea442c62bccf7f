"""FsOps is the one seam between the store and the file system."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

from nugetproxy.errors import ProxyError
from nugetproxy.on_disk import is_dir

StrPath = str | Path
"""A path; a string where many are made, as pathlib takes longer than the kernel."""

_P = ParamSpec("_P")
_T = TypeVar("_T")

_MISSING = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP})
"""Errors that say that there is no such file: a name too long cannot name one, a symbolic link is not one."""


def pread_all(fd: int, size: int, offset: int) -> bytes:
    """Up to ``size`` bytes from ``offset``, fewer only at the end of the file: a short read is continued."""
    data = os.pread(fd, size, offset)
    while 0 < len(data) < size:
        more = os.pread(fd, size - len(data), offset + len(data))
        if not more:
            break
        data += more
    return data


class DiskFailure(ProxyError):
    """A file operation failed; what was being served can go on without the disk.

    ``op`` is the method of ``FsOps`` that failed, ``errno`` the number that the kernel gave.
    """

    def __init__(self, op: str, errno: int, path: str = "") -> None:
        super().__init__(op, errno, path)
        self.op = op
        self.errno = errno
        self.path = path

    @property
    def errno_name(self) -> str:
        """``ENOSPC``, ``EIO`` ...: the word for logs and metrics."""
        return errno.errorcode.get(self.errno, str(self.errno))

    def __str__(self) -> str:
        where = f" on {self.path}" if self.path else ""
        return f"The disk operation {self.op!r} failed{where}: {os.strerror(self.errno)} ({self.errno_name})."


class MissingFile(DiskFailure):
    """There is no such file or directory."""


class ShortFile(DiskFailure):
    """A file ends before bytes that it had: something has cut it. The kernel reported no error."""

    def __init__(self, path: str = "") -> None:
        super().__init__("read", errno.ENODATA, path)

    def __str__(self) -> str:
        return f"The file{f' {self.path}' if self.path else ''} is shorter than it was: something has cut it."


class FsOps:
    """Every file operation of the store, one method each; raises ``DiskFailure``, never a bare OSError.

    All methods block and are to be called in a thread (``fstat`` alone is quick enough for the event loop). A test
    overrides ``call`` to make the N-th operation fail, or to write down what was done.
    """

    def call(self, op: str, path: str, function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Do one operation; ``op`` is its name in metrics, ``path`` what it concerns (may be empty)."""
        try:
            return function(*args, **kwargs)
        except OSError as error:
            code = error.errno or errno.EIO
            cls = MissingFile if code in _MISSING else DiskFailure
            raise cls(op, code, path) from error

    def create(self, path: StrPath) -> int:
        """A descriptor, open for read and write, of a new file (mode 0600) that must not exist."""
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        return self.call("create", str(path), os.open, path, flags, 0o600)

    def open(self, path: StrPath) -> int:
        """A descriptor, open for reading, of an existing file that is not a symbolic link."""
        # A named pipe would be waited for until somebody writes into it: not with O_NONBLOCK, which files ignore.
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        return self.call("open", str(path), os.open, path, flags)

    def edit(self, path: StrPath) -> int:
        """A descriptor, open for read and write, of a file that is made (mode 0600) where there is none."""
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        return self.call("edit", str(path), os.open, path, flags, 0o600)

    def read(self, fd: int, size: int, offset: int) -> bytes:
        """Up to ``size`` bytes from ``offset``; fewer only at the end of the file."""
        return self.call("read", "", pread_all, fd, size, offset)

    def content(self, path: StrPath, limit: int) -> bytes:
        """The first ``limit`` bytes of a small file."""
        fd = self.open(path)
        try:
            return self.read(fd, limit, 0)
        finally:
            self.close(fd)

    def write(self, fd: int, data: bytes | memoryview, offset: int) -> None:
        """All of ``data`` at ``offset``; a short write is continued."""
        view = memoryview(data)
        while view:
            done = self.call("write", "", os.pwrite, fd, view, offset)
            view = view[done:]
            offset += done

    def write_new(self, path: StrPath, data: bytes) -> None:
        """Make a file with this content, which is durable; its name is not yet."""
        fd = self.create(path)
        try:
            self.write(fd, data, 0)
            self.fsync(fd)
        finally:
            self.close(fd)

    def truncate(self, fd: int, size: int) -> None:
        """Let a file end after ``size`` bytes."""
        self.call("truncate", "", os.ftruncate, fd, size)

    def fsync(self, fd: int) -> None:
        """Make a file's content durable; never to be repeated on the same descriptor after it failed."""
        self.call("fsync", "", os.fsync, fd)

    def open_dir(self, path: StrPath) -> int:
        """A descriptor of a directory, for ``sync_dir``."""
        return self.call("open", str(path), os.open, path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def sync_dir(self, fd: int, path: StrPath) -> None:
        """Make the names in a directory durable that is open as ``fd``."""
        self.call("fsync_dir", str(path), os.fsync, fd)

    def fsync_dir(self, path: StrPath) -> None:
        """Make the names in a directory durable."""
        fd = self.open_dir(path)
        try:
            self.sync_dir(fd, path)
        finally:
            self.close(fd)

    def close(self, fd: int) -> None:
        """Close a descriptor; raises DiskFailure."""
        self.call("close", "", os.close, fd)

    def rename(self, source: StrPath, target: StrPath) -> None:
        """Move within one file system, replacing ``target``, in one step."""
        self.call("rename", str(target), os.replace, source, target)

    def unlink(self, path: StrPath) -> None:
        """Remove a file; raises DiskFailure."""
        self.call("unlink", str(path), os.unlink, path)

    def mkdir(self, path: StrPath) -> bool:
        """Make one directory, mode 0700; False if it is there already."""
        try:
            self.call("mkdir", str(path), os.mkdir, path, 0o700)
        except DiskFailure as failure:
            if failure.errno == errno.EEXIST and is_dir(Path(path)):
                return False
            raise
        return True

    def rmdir(self, path: StrPath) -> bool:
        """Remove an empty directory; False if it is not empty or not there."""
        try:
            self.call("rmdir", str(path), os.rmdir, path)
        except DiskFailure as failure:
            if isinstance(failure, MissingFile) or failure.errno in {errno.ENOTEMPTY, errno.EEXIST}:
                return False
            raise
        return True

    def rmtree(self, path: StrPath) -> None:
        """Remove a directory and all that is in it."""
        self.call("rmtree", str(path), shutil.rmtree, path)

    def chmod(self, path: StrPath, mode: int) -> None:
        """Set the permission bits of a file or directory."""
        self.call("chmod", str(path), os.chmod, path, mode)

    def utime(self, path: StrPath, seconds: float) -> None:
        """Set access and modification time (seconds since the epoch)."""
        self.call("utime", str(path), os.utime, path, (seconds, seconds))

    def stat(self, path: StrPath) -> os.stat_result:
        """The state of a path, symbolic links not followed."""
        return self.call("stat", str(path), os.lstat, path)

    def exists(self, path: StrPath) -> bool:
        """Whether there is anything at a path."""
        try:
            self.stat(path)
        except MissingFile:
            return False
        return True

    def fstat(self, fd: int) -> os.stat_result:
        """The state of an open file."""
        try:  # not through ``call``: this one runs on every hit
            return os.fstat(fd)
        except OSError as error:
            raise DiskFailure("fstat", error.errno or errno.EIO) from error

    def room(self, path: Path) -> tuple[int, int]:
        """Bytes of the file system that ``path`` lies on: in all, free for this user."""
        state = self.call("room", str(path), os.statvfs, path)
        return state.f_blocks * state.f_frsize, state.f_bavail * state.f_frsize

    def names(self, path: StrPath) -> list[str]:
        """The names in a directory, in no order; none if it does not exist."""
        try:
            return self.call("names", str(path), os.listdir, path)
        except MissingFile:
            return []
