"""Provenance appends to the first-seen log what arrives for the first time."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import structlog
from msgspec import Struct, field

from nugetproxy.clock import Clock
from nugetproxy.nuget.first_seen import BEGINNING, FirstSeen, line_hash
from nugetproxy.store.fs import DiskFailure, FsOps, MissingFile
from nugetproxy.store.packages.commit import Verified
from nugetproxy.store.provenance.entered import Entered
from nugetproxy.store.provenance.reading import lines_of, seen_in
from nugetproxy.store.sqlite_form import set_aside

log = structlog.get_logger(__name__)

NAME: Final = "provenance.log"
MOST_WAITING: Final = 10_000
"""Lines that wait for a disk that takes none; further ones are entered at the next start, from what is held."""
AGAIN_SECONDS: Final = 10.0
"""After a failure."""


@contextmanager
def replacing_log(fs: FsOps, directory: Path, body: bytes) -> Iterator[None]:
    """Put a log that was carried away in place of the one there, which is set aside, after the block: it is on the disk
    before that. Blocks; raises DiskFailure.
    """
    path, scratch = directory / NAME, directory / f"{NAME}.restoring"
    with suppress(MissingFile):
        fs.unlink(scratch)
    try:
        fs.write_new(scratch, body)
        yield
    except BaseException:
        with suppress(DiskFailure):
            fs.unlink(scratch)
        raise
    set_aside(fs, path, sound=True)
    fs.rename(scratch, path)
    fs.fsync_dir(directory)


class _File(Struct, kw_only=True):
    """The log while it is open for appending."""

    fd: int
    size: int = 0
    head: str = BEGINNING
    entered: Entered = field(default_factory=Entered)


class Provenance:
    """One file of lines that are only ever added, each durable before its package is in the folder.

    ``append`` and ``close`` block, and may be called from several threads. A line that a kill or a power cut has left
    half is cut off when the log is opened; lines that cannot be written wait.
    """

    def __init__(self, *, fs: FsOps, clock: Clock) -> None:
        self.problem = ""
        """What an operator must know of; empty while all is well."""
        self.fs = fs
        self.path = Path()
        self._clock = clock
        self._file: _File | None = None
        self._waiting: list[FirstSeen] = []
        self._sure: int | None = None
        """After a failure: how many bytes of the file are sure to be on the disk."""
        self._again = float("-inf")
        self._lock = threading.Lock()  # every source commits in a thread of its own

    def begin(self, directory: Path) -> None:
        """From now on the log is in this directory; it is opened when it is first needed."""
        self.path = directory / NAME

    def close(self) -> None:
        """Write what waits, close the file."""
        with self._lock:
            if self._waiting:
                self._write_waiting()
            self._drop()

    def arrivals(self, source: str) -> Callable[[Sequence[Verified]], None]:
        """Takes the packages of one source that are about to be in their folder."""

        def take(batch: Sequence[Verified]) -> None:
            now = self._clock.now()
            self.append(
                FirstSeen(
                    at=now,
                    source=source,
                    id=one.identity.id,
                    version=one.identity.version,
                    sha512=one.sha512,
                    signer=one.signer,
                )
                for one in batch
            )

        return take

    def append(self, seen: Iterable[FirstSeen]) -> bool:
        """Enter what is not entered yet, durably; False where that has to wait. Never raises."""
        with self._lock:
            self._waiting += seen
            if self._clock.monotonic() < self._again:
                del self._waiting[MOST_WAITING:]
                return False
            return self._write_waiting()

    def lacks(self, versions: Iterable[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
        """Those (source, id, version) of which the log has no bytes. Raises DiskFailure."""
        with self._lock:
            entered = self._opened().entered
            return [one for one in versions if not entered.has_version(*one)]

    def _write_waiting(self) -> bool:
        try:
            self._write(self._opened())
        except DiskFailure as failure:
            self._sure = self._file.size if self._file is not None else self._sure
            self._drop()
            del self._waiting[MOST_WAITING:]
            self._again = self._clock.monotonic() + AGAIN_SECONDS
            if not self.problem:
                log.error("provenance.unwritten", file=str(self.path), detail=str(failure))  # noqa: TRY400 - says it all
            self.problem = f"The first-seen log takes no lines: {failure}"
            return False
        if self.problem:
            log.info("provenance.written_again", file=str(self.path))
        self.problem = ""
        return True

    def _write(self, file: _File) -> None:
        """Append what waits. Where a write fails, what it has left is cut off when the file is opened again."""
        text, head = bytearray(), file.head
        new = {(one.source, one.id, one.version, one.sha512): one for one in reversed(self._waiting)}
        new = {key: one for key, one in reversed(new.items()) if not file.entered.has(one)}
        for one in new.values():
            line = one.line(head)
            head = line_hash(line)
            text += line + b"\n"
        if text:
            self.fs.write(file.fd, bytes(text), file.size)
            self.fs.fsync(file.fd)
        file.size, file.head = file.size + len(text), head
        for one in new.values():
            file.entered.add(one)
        self._waiting.clear()

    def _opened(self) -> _File:
        """The file, read through once; raises DiskFailure."""
        if self._file is not None and self._is_lost(self._file):
            detail = "it was removed, replaced or cut under the running proxy; a new chain begins with what is there"
            log.error("provenance.lost", file=str(self.path), detail=detail)
            self._drop()
        if self._file is None:
            made = not self.fs.exists(self.path)
            file = _File(fd=self.fs.edit(self.path))
            try:
                if self._sure is not None:  # what a failed sync was about is not on the disk, whatever a read says
                    self.fs.truncate(file.fd, min(self._sure, self.fs.fstat(file.fd).st_size))
                self._read(file)
                if made:
                    self.fs.fsync_dir(self.path.parent)
            except BaseException:
                with suppress(DiskFailure):
                    self.fs.close(file.fd)
                raise
            self._file, self._sure = file, None
        return self._file

    def _is_lost(self, file: _File) -> bool:
        """Whether another file, or none, is in its place, or some of it was cut off: what is added is lost."""
        state = self.fs.fstat(file.fd)
        try:
            there = self.fs.stat(self.path)
        except MissingFile:
            return True
        return state.st_size < file.size or not os.path.samestat(state, there)

    def _read(self, file: _File) -> None:
        """Learn what is entered, cut off what is no whole line at the end."""
        last = None
        for line in lines_of(self.fs, file.fd):
            if b"\0" in line.text:  # a power cut leaves zeros where nothing was written yet
                continue
            last = line
            if (seen := seen_in(line.text)) is not None:
                file.entered.add(seen)
        if last is not None:
            file.size, file.head = last.end, line_hash(last.text)
        file.entered.settle()
        size = self.fs.fstat(file.fd).st_size
        if size > file.size:
            self.fs.truncate(file.fd, file.size)
            self.fs.fsync(file.fd)
            cut = size - file.size
            log.warning("provenance.repaired", file=str(self.path), removed=cut, detail="its last line was not whole")

    def _drop(self) -> None:
        if self._file is not None:
            with suppress(DiskFailure):
                self.fs.close(self._file.fd)
            self._file = None
