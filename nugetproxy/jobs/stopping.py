"""Stopping is how work of a job ends that was interrupted: at its next step, or once all of it is done."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from nugetproxy.jobs.progress import Progress

T = TypeVar("T")


class Unwanted(Exception):
    """Whoever waited for the work has been cancelled."""


class Watched:
    """Somebody who looks on; ends the work, at its next step, once it is ``unwanted``."""

    def __init__(self, progress: Progress, unwanted: threading.Event) -> None:
        self._progress = progress
        self._unwanted = unwanted

    def expect(self, count: int) -> None:
        """So many more things are to be done."""
        self._check()
        self._progress.expect(count)

    def moved(self, size: int) -> None:
        """So many bytes more have come."""
        self._check()
        self._progress.moved(size)

    def done(self, what: str) -> None:
        """One thing more is done."""
        self._check()
        self._progress.done(what)

    def _check(self) -> None:
        if self._unwanted.is_set():
            raise Unwanted


async def in_thread(work: Callable[[Progress], T], progress: Progress) -> T:
    """What ``work`` brings, which tells the progress it is given of every step.

    When this is cancelled, the work has ended before this does: whoever removes its files then is alone with them.
    """
    unwanted = threading.Event()
    thread = asyncio.ensure_future(asyncio.to_thread(work, Watched(progress, unwanted)))
    try:
        return await asyncio.shield(thread)
    except asyncio.CancelledError:
        unwanted.set()
        with suppress(Exception):  # whatever became of it, nobody wants to know
            await thread
        raise


async def to_its_end(work: Coroutine[Any, Any, T]) -> T:
    """What ``work`` brings, also where this is cancelled meanwhile: half of it is worse than to wait for all."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        return await task
