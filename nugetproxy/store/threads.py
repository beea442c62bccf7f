"""The threads in which the store's blocking calls run."""

from __future__ import annotations

import asyncio
import contextlib
import os
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from queue import SimpleQueue
from threading import Thread
from typing import Final, Generic, ParamSpec, Protocol, TypeVar, cast

from nugetproxy.metrics import Metrics
from nugetproxy.store.fs import DiskFailure, FsOps

SYNCS: Final = 24
"""Threads that wait for the disk to have synced something: it syncs for many at once as fast as for one."""

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Pool(Protocol):
    """Threads that make calls."""

    def submit(self, call: Callable[[], object], /) -> object:
        """Have one of them make a call; raises RuntimeError where they have ended."""


class OneThread:
    """A thread that makes calls one after the other, from the first one on."""

    # A ThreadPoolExecutor makes a future with a condition for each, which nobody here looks at.
    def __init__(self, name: str) -> None:
        self._name = name
        self._calls: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._thread: Thread | None = None
        self._ended = False

    def submit(self, call: Callable[[], object], /) -> None:
        """Make a call, which never raises, after those that wait; RuntimeError once the thread has ended."""
        if self._ended:
            raise RuntimeError(f"the thread {self._name!r} has ended")
        self._calls.put(call)
        if self._thread is None:
            # A daemon: what it does may be broken off anywhere, as by a kill; whoever can wait calls ``shutdown``.
            self._thread = Thread(target=_make_all, args=(self._calls,), name=self._name, daemon=True)
            self._thread.start()
            weakref.finalize(self, self._calls.put, None)

    def shutdown(self) -> None:
        """Wait for the calls that wait, then end the thread. Blocks; may be called again."""
        self._ended = True
        if self._thread is not None:
            self._calls.put(None)
            self._thread.join()


def _make_all(calls: SimpleQueue[Callable[[], object] | None]) -> None:
    while call := calls.get():
        call()
        del call  # it would hold on to what it was about until the next one


class StoreThreads:
    """Own pools, because the default one is shared with DNS look-ups, which a slow disk must not hold up."""

    def __init__(self) -> None:
        self.read = ThreadPoolExecutor(4, thread_name_prefix="store-read")
        self.write = ThreadPoolExecutor(2, thread_name_prefix="store-write")
        self.hash = ThreadPoolExecutor(2, thread_name_prefix="store-hash")
        # One: two and the event loop would take Python's lock from each other at every system call.
        self.seal = OneThread("store-seal")
        self.commit = OneThread("store-commit")
        self.sync = ThreadPoolExecutor(SYNCS, thread_name_prefix="store-sync")
        self._ended = False
        self._to_close: deque[int] = deque()

    def close_later(self, fd: int) -> None:
        """Close a descriptor in a thread; the last close of a large deleted file takes a while.

        Those that come until the thread has the first of them are one job.
        """
        self._to_close.append(fd)
        if len(self._to_close) > 1:
            return
        try:
            self.write.submit(self._close_all)
        except RuntimeError:  # the pool has ended: at shutdown there is no loop left to hold up
            self._close_all()

    def _close_all(self) -> None:
        while self._to_close:
            # Another thread has taken the last; it is closed all the same.
            with contextlib.suppress(IndexError, OSError):
                os.close(self._to_close.popleft())

    def share_out(self, at_once: int, act: Callable[[_T], None], what: Sequence[_T]) -> None:
        """Call ``act`` with each of ``what`` in so many threads for syncs; returns when all is done. Blocks."""
        left = deque(what)

        def work() -> None:
            while left:
                try:
                    one = left.popleft()
                except IndexError:  # another thread has taken the last
                    return
                act(one)

        jobs: list[Future[None]] = []
        while len(jobs) < min(at_once, len(what)):
            try:
                jobs.append(self.sync.submit(work))
            except RuntimeError:  # the system gives us no more threads: with those that there are, and this one
                work()
                break
        for job in jobs:
            job.result()

    async def close(self) -> None:
        """Wait for what is running, then end all threads; may be called again."""
        if self._ended:
            return
        self._ended = True
        for end in (pool.shutdown for pool in (self.read, self.hash, self.sync)):
            await hop(self.write, end)
        for one in (self.seal, self.commit):
            await hop(self.write, one.shutdown)
        self.write.shutdown()  # blocks, but only descriptors to be closed are left


async def hop(pool: Pool, function: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Run ``function`` in a thread of ``pool``.

    A thread cannot be stopped, so a cancelled caller still waits for its end: whoever comes next must not meet it
    half-way through a change on disk.
    """
    # Not by run_in_executor, whose two chained futures with a shield in front cost the loop as much again as the job.
    job = _Job(partial(function, *args, **kwargs))
    pool.submit(job.work)
    try:
        await job.ended
    except asyncio.CancelledError:
        while not job.is_over:
            job.ended = asyncio.get_running_loop().create_future()
            with contextlib.suppress(asyncio.CancelledError):  # once more, by another limit or a stop
                await job.ended
        raise
    return job.outcome()


class _Job(Generic[_T]):
    """One call for a thread, of which the loop is told that it is over."""

    __slots__ = ("_call", "_error", "_loop", "_result", "ended", "is_over")

    def __init__(self, call: Callable[[], _T]) -> None:
        self._call = call
        self._loop = asyncio.get_running_loop()
        self._result: _T | None = None
        self._error: BaseException | None = None
        self.ended: asyncio.Future[None] = self._loop.create_future()
        self.is_over = False

    def work(self) -> None:
        """Make the call, in a thread."""
        try:
            self._result = self._call()
        except BaseException as error:  # the caller's to handle
            self._error = error
        with contextlib.suppress(RuntimeError):  # the loop has ended, nobody waits
            self._loop.call_soon_threadsafe(self._end)

    def _end(self) -> None:
        self.is_over = True
        if not self.ended.done():
            self.ended.set_result(None)

    def outcome(self) -> _T:
        """What the call returned; raises what it raised."""
        if self._error is not None:
            try:
                raise self._error
            finally:
                self._error = None  # which knows this frame: no cycle is left
        return cast(_T, self._result)


class DiskCalls:
    """Runs file operations in threads, counting those that fail."""

    def __init__(self, fs: FsOps, threads: StoreThreads, metrics: Metrics) -> None:
        self.fs = fs
        self.threads = threads
        self._metrics = metrics

    async def run(self, pool: Pool, function: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """``hop``; a DiskFailure is counted on its way out."""
        try:
            return await hop(pool, function, *args, **kwargs)
        except DiskFailure as failure:
            self.count(failure)
            raise

    def count(self, failure: DiskFailure) -> None:
        """Count a failure in the metrics."""
        self._metrics.disk_errors.labels(failure.op, failure.errno_name).inc()
