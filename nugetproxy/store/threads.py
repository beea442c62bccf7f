"""The threads in which the store's blocking calls run."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, ParamSpec, TypeVar

from nugetproxy.metrics import Metrics
from nugetproxy.store.fs import DiskFailure, FsOps

SYNCS: Final = 24
"""Threads that wait for the disk to have synced something: it syncs for many at once as fast as for one."""

_P = ParamSpec("_P")
_T = TypeVar("_T")


class StoreThreads:
    """Own pools, because the default one is shared with DNS look-ups, which a slow disk must not hold up."""

    def __init__(self) -> None:
        self.read = ThreadPoolExecutor(4, thread_name_prefix="store-read")
        self.write = ThreadPoolExecutor(2, thread_name_prefix="store-write")
        self.hash = ThreadPoolExecutor(2, thread_name_prefix="store-hash")
        self.commit = ThreadPoolExecutor(1, thread_name_prefix="store-commit")
        self.sync = ThreadPoolExecutor(SYNCS, thread_name_prefix="store-sync")
        self._ended = False

    def close_later(self, fd: int) -> None:
        """Close a descriptor in a thread; the last close of a large deleted file takes a while."""
        try:
            self.write.submit(os.close, fd)
        except RuntimeError:  # the pool has ended: at shutdown there is no loop left to hold up
            os.close(fd)

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

        for job in [self.sync.submit(work) for _ in range(min(at_once, len(what)))]:
            job.result()

    async def close(self) -> None:
        """Wait for what is running, then end all threads; may be called again."""
        if self._ended:
            return
        self._ended = True
        for pool in (self.read, self.hash, self.commit, self.sync):
            await hop(self.write, pool.shutdown)
        self.write.shutdown()  # blocks, but only descriptors to be closed are left


async def hop(pool: ThreadPoolExecutor, function: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Run ``function`` in a thread of ``pool``.

    A thread cannot be stopped, so a cancelled caller still waits for its end: whoever comes next must not meet it
    half-way through a change on disk.
    """
    # Not through aiofiles, which makes a task of every call: a tenth of what a cold package cost the loop.
    work = asyncio.get_running_loop().run_in_executor(pool, partial(function, *args, **kwargs))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait({work})
        if not work.cancelled():
            work.exception()  # looked at, so that asyncio does not report it as lost
        raise


class DiskCalls:
    """Runs file operations in threads, counting those that fail."""

    def __init__(self, fs: FsOps, threads: StoreThreads, metrics: Metrics) -> None:
        self.fs = fs
        self.threads = threads
        self._metrics = metrics

    async def run(
        self, pool: ThreadPoolExecutor, function: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs
    ) -> _T:
        """``hop``; a DiskFailure is counted on its way out."""
        try:
            return await hop(pool, function, *args, **kwargs)
        except DiskFailure as failure:
            self.count(failure)
            raise

    def count(self, failure: DiskFailure) -> None:
        """Count a failure in the metrics."""
        self._metrics.disk_errors.labels(failure.op, failure.errno_name).inc()
