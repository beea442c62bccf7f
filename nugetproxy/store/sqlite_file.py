"""SqliteFile gives access to one SQLite file, which it replaces when that is damaged."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

import structlog

from nugetproxy.clock import Clock
from nugetproxy.errors import Reason
from nugetproxy.store.fs import FsOps
from nugetproxy.store.sqlite_form import (
    ERRORS,
    Form,
    SqliteUnavailable,
    Trouble,
    UnsoundFile,
    can_make_nothing,
    check,
    diagnose,
    file_key,
    limit_time,
    open_reader,
    open_still,
    open_writer,
    set_aside,
)
from nugetproxy.store.threads import hop

log = structlog.get_logger(__name__)

_P = ParamSpec("_P")
_T = TypeVar("_T")

READ_SECONDS: Final = 3.0
"""After which a query is interrupted; an ordinary one takes some milliseconds."""
WRITE_SECONDS: Final = 30.0
AGAIN_SECONDS: Final = 10.0
"""Pause between two attempts to replace a file."""
READERS: Final = 2


class SqliteFile:
    """One thread writes, some read; a damaged file is set aside, the form's next one put there, ``lost`` called.

    Everything raises the form's SqliteUnavailable; what the functions do in the threads is up to them.
    """

    def __init__(self, form: Form, *, fs: FsOps, clock: Clock, lost: Callable[[], None]) -> None:
        self._form = form
        self._fs = fs
        self._clock = clock
        self._lost = lost
        self._path = Path()
        name, no = form.name, form.unavailable
        self._writer = Lane(f"{name}-write", partial(open_writer, form), seconds=WRITE_SECONDS, unavailable=no)
        self._readers = tuple(
            Lane(f"{name}-read-{n}", open_reader, seconds=READ_SECONDS, unavailable=no, still=True)
            for n in range(READERS)
        )
        self._lanes = (*self._readers, self._writer)
        self._turns = itertools.cycle(self._readers)
        self._repairs = ThreadPoolExecutor(1, thread_name_prefix=f"{name}-repair")
        self._recovery: asyncio.Task[None] | None = None
        self._again = float("-inf")

    def begin(self, path: Path) -> None:
        """Work with the file at ``path``; the first call that needs it opens it, or makes it."""
        self._path = path
        for lane in self._lanes:
            lane.begin(path)

    async def end(self) -> None:
        """Close the file, end the threads. Never raises."""
        if self._recovery is not None:
            await asyncio.wait({self._recovery}, timeout=WRITE_SECONDS)
        for lane in self._lanes:
            with contextlib.suppress(SqliteUnavailable):
                await lane.end()
        self._repairs.shutdown(wait=False)

    async def read(
        self, function: Callable[Concatenate[sqlite3.Connection, _P], _T], /, *args: _P.args, **kwargs: _P.kwargs
    ) -> _T:
        """What ``function`` makes of a connection that only reads."""
        return await self._ask(next(self._turns), function, *args, **kwargs)

    async def write(
        self, function: Callable[Concatenate[sqlite3.Connection, _P], _T], /, *args: _P.args, **kwargs: _P.kwargs
    ) -> _T:
        """What ``function`` returns, which has the only connection that writes."""
        return await self._ask(self._writer, function, *args, **kwargs)

    async def check(self) -> bool:
        """Look at the whole file; True if it was sound, else it has been replaced. Writes wait for some seconds."""
        try:
            await self.write(lambda _: check(self._form, self._path))
        except SqliteUnavailable as error:
            if error.trouble is Trouble.BROKEN:
                return False
            raise
        return True

    async def _ask(
        self,
        lane: Lane,
        function: Callable[Concatenate[sqlite3.Connection, _P], _T],
        /,
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> _T:
        if self._recovery is not None:
            raise self._form.unavailable("rebuilding")
        try:
            return await lane.run(function, *args, **kwargs)
        except SqliteUnavailable as error:
            await self._attend(error)
            raise

    async def _attend(self, error: SqliteUnavailable) -> None:
        log.warning(f"{self._form.name}.unavailable", reason=Reason.DISK, detail=error.why, trouble=error.trouble)
        if error.trouble not in {Trouble.BROKEN, Trouble.SUSPECT}:
            return
        if self._recovery is None and self._clock.monotonic() >= self._again:
            self._again = self._clock.monotonic() + AGAIN_SECONDS
            self._recovery = asyncio.create_task(self._recover(error.trouble), name=f"{self._form.name} recovery")
        if self._recovery is not None:
            # Shielded: it goes on for everybody when this caller is cancelled. ``end`` waits for it.
            await asyncio.shield(self._recovery)

    async def _recover(self, trouble: Trouble) -> None:
        """Replace the file, unless the trouble was none of the file's; never raises."""
        fresh = True
        try:
            for lane in self._lanes:
                await lane.pause()
            fresh = await hop(self._repairs, self._renew, trouble is Trouble.BROKEN)
        except (SqliteUnavailable, *ERRORS) as failure:
            log.error(f"{self._form.name}.lost", detail=str(failure))  # noqa: TRY400 - the traceback says nothing more
        finally:
            self.begin(self._path)
            self._recovery = None
        if fresh:
            self._lost()

    def _renew(self, broken: bool) -> bool:
        """Set the file aside if it is broken or turns out to be; True if it was. Blocks; raises ERRORS."""
        if not broken:
            try:
                check(self._form, self._path)
            except ERRORS as error:
                log.warning(f"{self._form.name}.unsound", detail=str(error))
            else:
                return False
        aside = set_aside(self._fs, self._path)
        log.error(f"{self._form.name}.set_aside", file=str(aside) if aside else None)
        self._form.renew(self._fs, self._path)
        return True


class Lane:
    """Runs functions that get its connection, one at a time; the connection is made when it is first needed."""

    def __init__(
        self,
        name: str,
        connect: Callable[[Path], sqlite3.Connection],
        *,
        seconds: float,
        unavailable: type[SqliteUnavailable] = SqliteUnavailable,
        still: bool = False,
    ) -> None:
        """``still``: it only reads, so a file can be read beside which the disk lets nothing be made."""
        self._connect = connect
        self._unavailable = unavailable
        self._seconds = seconds
        self._still = still
        self._threads = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._path = Path()
        self._shut = True
        self._used = False
        """Whether there was anything to run; else there is no thread, and no connection."""
        # These two belong to the thread.
        self._connection: sqlite3.Connection | None = None
        self._file = (0, 0)

    async def run(
        self,
        function: Callable[Concatenate[sqlite3.Connection, _P], _T],
        /,
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> _T:
        """What ``function`` returns; raises SqliteUnavailable. After the lane's seconds it is interrupted.

        What has not begun by then is dropped, so that what waits for a slow disk does not pile up.
        """
        self._used = True
        return await self._submit(self._run, lambda connection: function(connection, *args, **kwargs))

    def begin(self, path: Path) -> None:
        """Let functions run from now on, with connections to ``path``."""
        self._path = path
        self._shut = False

    async def pause(self) -> None:
        """Close the connection; until ``begin`` no function runs. Raises SqliteUnavailable if the thread hangs."""
        self._shut = True
        if self._used:
            await self._submit(self._close)

    async def end(self) -> None:
        """Close the connection, end the thread."""
        try:
            await self.pause()
        finally:
            self._threads.shutdown(wait=False)

    async def _submit(self, function: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        try:
            answer = asyncio.wrap_future(self._threads.submit(function, *args, **kwargs))
        except RuntimeError as error:  # the thread has ended
            raise self._unavailable("closed") from error
        answer.add_done_callback(_looked_at)
        done, _ = await asyncio.wait({answer}, timeout=self._seconds + 1)
        if not done:
            answer.cancel()
            raise self._unavailable("timeout", Trouble.SLOW)
        return answer.result()

    def _run(self, function: Callable[[sqlite3.Connection], _T]) -> _T:
        if self._shut:
            raise self._unavailable("rebuilding")
        try:
            if self._connection is None:
                self._connection = self._connect(self._path)
                self._file = file_key(self._path)
            elif self._file != file_key(self._path):
                raise UnsoundFile("its file was deleted or replaced")
            limit_time(self._connection, self._seconds)
            return function(self._connection)
        except ERRORS as error:
            if self._still and self._connection is None and can_make_nothing(error):
                with contextlib.suppress(*ERRORS), contextlib.closing(open_still(self._path)) as connection:
                    limit_time(connection, self._seconds)
                    return function(connection)
            trouble, word = diagnose(error)
            raise self._unavailable(word, trouble) from error

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _looked_at(answer: asyncio.Future[Any]) -> None:
    """A caller that was cancelled never learns of the error, which asyncio would report as lost."""
    if not answer.cancelled():
        answer.exception()
