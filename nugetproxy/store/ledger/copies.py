"""Copies of the ledger, made daily by SQLite's online backup; all of it blocks."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sqlite3
from pathlib import Path
from typing import Final

import structlog

from nugetproxy.store.fs import FsOps, MissingFile
from nugetproxy.store.sqlite_form import ERRORS, Form, UnsoundFile, check, open_reader

log = structlog.get_logger(__name__)

KEPT: Final = 7
DAY: Final = 86400.0


def copies(fs: FsOps, path: Path) -> list[Path]:
    """The copies of the file at ``path``, oldest first. They are numbered, as a clock may be set back."""
    form = re.compile(re.escape(path.name) + r"\.copy-(\d{6,})")
    found = [(int(match[1]), name) for name in fs.names(path.parent) if (match := form.fullmatch(name))]
    return [path.with_name(name) for _, name in sorted(found)]


def copy_is_due(fs: FsOps, path: Path, now: float) -> bool:
    """True where the newest copy is not of the last day; ``now`` in seconds since the epoch."""
    made = copies(fs, path)
    return not made or not 0 <= now - fs.stat(made[-1]).st_mtime < DAY


def copy(fs: FsOps, path: Path) -> Path:
    """Make a copy of what is in the file now, while it is used; the oldest beyond ``KEPT`` go. Raises ERRORS."""
    made = copies(fs, path)
    number = int(made[-1].name.rpartition("-")[2]) + 1 if made else 1
    target = snapshot(fs, path, path.with_name(f"{path.name}.copy-{number:06}"))
    for old in copies(fs, path)[:-KEPT]:
        _unlink(fs, old)
    return target


def snapshot(fs: FsOps, path: Path, target: Path) -> Path:
    """Have at ``target`` what is in the file now, while it is used. Raises ERRORS."""
    scratch = path.with_name(f"{target.name}.copying")
    _unlink(fs, scratch)
    os.close(fs.create(scratch))  # made by SQLite, others of the machine could read it
    with contextlib.closing(open_reader(path)) as source, contextlib.closing(sqlite3.connect(scratch)) as into:
        source.backup(into, pages=1000)
        (verdict,) = into.execute("PRAGMA quick_check(1)").fetchone()
        into.execute("PRAGMA journal_mode = DELETE")  # one file, without a log beside it
    if verdict != "ok":
        raise UnsoundFile(str(verdict)[:200])
    _appear(fs, scratch, target)
    return target


def restore(form: Form, fs: FsOps, path: Path) -> Path:
    """Put the newest good copy into the place of a file that was set aside; raises UnsoundFile if there is none."""
    scratch = path.with_name(f"{path.name}.restoring")
    for one in reversed(copies(fs, path)):
        for suffix in ("", "-wal", "-shm"):
            _unlink(fs, scratch.with_name(scratch.name + suffix))
        fs.call("copy", str(one), shutil.copyfile, one, scratch)
        fs.chmod(scratch, 0o600)
        try:
            check(form, scratch)
        except ERRORS as error:
            log.error("ledger.copy_unsound", file=str(one), detail=str(error))  # noqa: TRY400 - the next may be good
            _unlink(fs, scratch)
            continue
        _appear(fs, scratch, path)
        log.error("ledger.restored", file=str(one))
        return one
    raise UnsoundFile("there is no good copy of it")


def _appear(fs: FsOps, scratch: Path, target: Path) -> None:
    fd = fs.open(scratch)
    try:
        fs.fsync(fd)
    finally:
        fs.close(fd)
    fs.rename(scratch, target)
    fs.fsync_dir(target.parent)


def _unlink(fs: FsOps, path: Path) -> None:
    with contextlib.suppress(MissingFile):
        fs.unlink(path)
