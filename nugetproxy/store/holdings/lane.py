"""Lane is one thread with its own connection to the holdings."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from nugetproxy.errors import ProxyError
from nugetproxy.store.holdings.database import ERRORS, Trouble, UnsoundHoldings, diagnose, file_key, limit_time

_P = ParamSpec("_P")
_T = TypeVar("_T")


class HoldingsUnavailable(ProxyError):
    """The holdings cannot say what is held, so nobody may conclude that something is not.

    ``why`` is one word: incomplete, rebuilding, timeout, closed, or what the database called its trouble.
    """

    def __init__(self, why: str, trouble: Trouble = Trouble.DISK) -> None:
        super().__init__(why)
        self.why = why
        self.trouble = trouble

    def __str__(self) -> str:
        return f"The holdings of held packages cannot be used now ({self.why}); try again in a few seconds."


class Lane:
    """Runs functions that get its connection, one at a time; the connection is made when it is first needed."""

    def __init__(self, name: str, connect: Callable[[Path], sqlite3.Connection], *, seconds: float) -> None:
        self._connect = connect
        self._seconds = seconds
        self._threads = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._path = Path()
        self._shut = True
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
        """What ``function`` returns; raises HoldingsUnavailable. After the lane's seconds it is interrupted.

        What has not begun by then is dropped, so that what waits for a slow disk does not pile up.
        """
        return await self._submit(self._run, lambda connection: function(connection, *args, **kwargs))

    def begin(self, path: Path) -> None:
        """Let functions run from now on, with connections to ``path``."""
        self._path = path
        self._shut = False

    async def pause(self) -> None:
        """Close the connection; until ``begin`` no function runs. Raises HoldingsUnavailable if the thread hangs."""
        self._shut = True
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
            raise HoldingsUnavailable("closed") from error
        answer.add_done_callback(_looked_at)
        done, _ = await asyncio.wait({answer}, timeout=self._seconds + 1)
        if not done:
            answer.cancel()
            raise HoldingsUnavailable("timeout", Trouble.SLOW)
        return answer.result()

    def _run(self, function: Callable[[sqlite3.Connection], _T]) -> _T:
        if self._shut:
            raise HoldingsUnavailable("rebuilding")
        try:
            if self._connection is None:
                self._connection = self._connect(self._path)
                self._file = file_key(self._path)
            elif self._file != file_key(self._path):
                raise UnsoundHoldings("its file was deleted or replaced")
            limit_time(self._connection, self._seconds)
            return function(self._connection)
        except ERRORS as error:
            trouble, word = diagnose(error)
            raise HoldingsUnavailable(word, trouble) from error

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _looked_at(answer: asyncio.Future[Any]) -> None:
    """A caller that was cancelled never learns of the error, which asyncio would report as lost."""
    if not answer.cancelled():
        answer.exception()
