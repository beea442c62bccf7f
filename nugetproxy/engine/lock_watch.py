"""LockWatch holds the cache directory, also when it is removed under the running proxy."""

from __future__ import annotations

import asyncio

import structlog

from nugetproxy import log as logs
from nugetproxy.clock import Clock
from nugetproxy.errors import StoreUnusable
from nugetproxy.store.lock import DirectoryLock, DirectoryLocked

log = structlog.get_logger(__name__)

BEAT = 1.0
"""Seconds between two looks; for no longer could a second proxy use the directory beside this one."""


class LockWatch:
    """Holds the lock of a directory, takes it again when its file is gone, tells when another process was faster."""

    def __init__(self, lock: DirectoryLock, clock: Clock) -> None:
        self._lock = lock
        self._clock = clock
        self.ousted = asyncio.Event()
        """Another process has the directory now: this one must stop."""
        self.other: DirectoryLocked | None = None
        """Which one."""

    async def acquire(self) -> None:
        """Lock the directory, once; raises StoreUnusable."""
        await asyncio.to_thread(self._lock.acquire)

    @property
    def format(self) -> int:
        """The form of the directory as it was found; 0 for a new one."""
        return self._lock.format

    async def write_format(self) -> None:
        """Say that the directory has the form of this version now; raises StoreUnusable."""
        await asyncio.to_thread(self._lock.write_format)

    async def release(self) -> None:
        """Let go of it."""
        await asyncio.to_thread(self._lock.release)

    async def run(self) -> None:
        """Look after look until cancelled."""
        while True:
            await self._clock.sleep(BEAT)
            if not self.ousted.is_set():
                await self.look()

    async def look(self) -> None:
        """Make sure that whoever starts on our directory finds it locked."""
        if not await asyncio.to_thread(self._lock.lost):
            return
        directory = str(self._lock.directory)
        try:
            await asyncio.to_thread(self._lock.take_again)
        except DirectoryLocked as other:
            logs.rate_limited("lock.taken", level="error", directory=directory, pid=other.pid, detail=str(other))
            self.other = other
            self.ousted.set()
        except StoreUnusable as trouble:
            logs.rate_limited("lock.lost", level="error", directory=directory, detail=trouble.why)
        else:
            told = "the cache directory was removed under the running proxy; restart it, so that all is stored again"
            log.error("lock.removed", directory=directory, detail=told)
