"""A mark is what an orderly stop leaves beside the holdings: they know all that their folder holds."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec
import structlog
from msgspec import Struct

from nugetproxy.store.fs import DiskFailure, FsOps, MissingFile

log = structlog.get_logger(__name__)

MOST: Final = 4096
"""Bytes; a mark has about a hundred and fifty."""
_OPEN_FILES: Final = ("-wal", "-shm")
"""What SQLite has beside a file that is open, or was when its process was killed."""


class _Mark(Struct, frozen=True, kw_only=True):
    """What folder and file were at the stop. Times of change (``ctime``) are the kernel's: a copy has others."""

    folder: tuple[int, int]
    """Number, time of change: of the folder of all ids, so it is another one where an id came or went."""
    file: tuple[int, int, int]
    """Number, size, time of the last write."""


def put(fs: FsOps, file: Path, folder: Path, key: tuple[int, int]) -> bool:
    """Leave the mark, durably, once ``file`` is closed; False where it was not, or is not the one of that ``key``.

    Blocks; never raises: without a mark the next start goes through the folder first.
    """
    try:
        fd = fs.open(file)
        try:
            fs.fsync(fd)
            state = fs.fstat(fd)
        finally:
            fs.close(fd)
        if (state.st_dev, state.st_ino) != key or _is_open(fs, file):
            return False
        _write(fs, file, msgspec.json.encode(_seen(fs, file, folder)))
    except DiskFailure as failure:
        log.warning("holdings.unmarked", detail=str(failure))
        with suppress(DiskFailure):
            fs.unlink(_place(file))
        return False
    return True


def take(fs: FsOps, file: Path, folder: Path) -> bool:
    """Take the mark away, durably; True if there was one, and folder and file are as they were when it was left.

    To be called before ``file`` is opened and anything is put into ``folder``. Blocks; never raises: a disk that does
    not let it go has its mark not believed. Nor does the next start: it finds the file open, or written to.
    """
    place = _place(file)
    try:
        is_so = _is_so(fs, file, folder)
        fs.unlink(place)
        fs.fsync_dir(place.parent)
    except MissingFile:
        return False
    except DiskFailure as failure:
        log.warning("holdings.mark_unread", detail=str(failure))
        return False
    return is_so


def _is_so(fs: FsOps, file: Path, folder: Path) -> bool:
    """Whether there is a mark that says what there is now; raises DiskFailure."""
    try:
        found = fs.content(_place(file), MOST)
        return _decoded(found) == _seen(fs, file, folder) and not _is_open(fs, file)
    except MissingFile:
        return False


def _place(file: Path) -> Path:
    return file.with_suffix(".mark")


def _is_open(fs: FsOps, file: Path) -> bool:
    return any(fs.exists(file.with_name(f"{file.name}{suffix}")) for suffix in _OPEN_FILES)


def _seen(fs: FsOps, file: Path, folder: Path) -> _Mark:
    ids, rows = fs.stat(folder), fs.stat(file)
    return _Mark(folder=(ids.st_ino, ids.st_ctime_ns), file=(rows.st_ino, rows.st_size, rows.st_mtime_ns))


def _decoded(found: bytes) -> _Mark | None:
    try:
        return msgspec.json.decode(found, type=_Mark)
    except msgspec.DecodeError:
        return None


def _write(fs: FsOps, file: Path, mark: bytes) -> None:
    place = _place(file)
    with suppress(MissingFile):
        fs.unlink(place)
    fd = fs.create(place)
    try:
        fs.write(fd, mark, 0)
        fs.fsync(fd)
    finally:
        fs.close(fd)
    fs.fsync_dir(place.parent)
