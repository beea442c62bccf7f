"""HoldingsFile gives access to the holdings's database, which it replaces when that is damaged."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Concatenate, Final, ParamSpec, TypeVar

import structlog

from nugetproxy.clock import Clock
from nugetproxy.store.fs import FsOps
from nugetproxy.store.holdings.database import ERRORS, Trouble, check, open_reader, open_writer, set_aside
from nugetproxy.store.holdings.lane import HoldingsUnavailable, Lane
from nugetproxy.store.threads import hop

log = structlog.get_logger(__name__)

_P = ParamSpec("_P")
_T = TypeVar("_T")

READ_SECONDS: Final = 3.0
"""After which a query is interrupted; an ordinary one takes some milliseconds."""
WRITE_SECONDS: Final = 30.0
AGAIN_SECONDS: Final = 10.0
"""Pause between two attempts to make a fresh file."""
READERS: Final = 2


class HoldingsFile:
    """One thread that writes, some that read; a damaged file is set aside, an empty one begun, ``lost`` called.

    Everything raises HoldingsUnavailable; what the functions do in the threads is up to them.
    """

    def __init__(self, *, fs: FsOps, clock: Clock, lost: Callable[[], None]) -> None:
        self._fs = fs
        self._clock = clock
        self._lost = lost
        self._path = Path()
        self._writer = Lane("holdings-write", open_writer, seconds=WRITE_SECONDS)
        self._readers = tuple(Lane(f"holdings-read-{n}", open_reader, seconds=READ_SECONDS) for n in range(READERS))
        self._lanes = (*self._readers, self._writer)
        self._turns = itertools.cycle(self._readers)
        self._repairs = ThreadPoolExecutor(1, thread_name_prefix="holdings-repair")
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
            with contextlib.suppress(HoldingsUnavailable):
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
            await self.write(lambda _: check(self._path))
        except HoldingsUnavailable as error:
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
            raise HoldingsUnavailable("rebuilding")
        try:
            return await lane.run(function, *args, **kwargs)
        except HoldingsUnavailable as error:
            await self._attend(error)
            raise

    async def _attend(self, error: HoldingsUnavailable) -> None:
        log.warning("holdings.unavailable", reason=error.why, trouble=error.trouble)
        if error.trouble not in {Trouble.BROKEN, Trouble.SUSPECT}:
            return
        if self._recovery is None and self._clock.monotonic() >= self._again:
            self._again = self._clock.monotonic() + AGAIN_SECONDS
            self._recovery = asyncio.create_task(self._recover(error.trouble), name="holdings.recover")
        if self._recovery is not None:
            # Shielded: it goes on for everybody when this caller is cancelled. ``end`` waits for it.
            await asyncio.shield(self._recovery)

    async def _recover(self, trouble: Trouble) -> None:
        """Begin a fresh file, unless the trouble was none of the file's; never raises."""
        fresh = True
        try:
            for lane in self._lanes:
                await lane.pause()
            fresh = await hop(self._repairs, self._renew, trouble is Trouble.BROKEN)
        except (HoldingsUnavailable, *ERRORS) as failure:
            log.error("holdings.lost", detail=str(failure))  # noqa: TRY400 - the traceback says nothing more
        finally:
            self.begin(self._path)
            self._recovery = None
        if fresh:
            self._lost()

    def _renew(self, broken: bool) -> bool:
        """Set the file aside if it is broken or turns out to be; True if it was. Blocks; raises ERRORS."""
        if not broken:
            try:
                check(self._path)
            except ERRORS as error:
                log.warning("holdings.unsound", detail=str(error))
            else:
                return False
        aside = set_aside(self._fs, self._path)
        open_writer(self._path).close()
        log.error("holdings.set_aside", file=str(aside) if aside else None)
        return True
