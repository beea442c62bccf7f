"""Tasks holds background tasks by name until they end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Generic, TypeVar

import structlog

from nugetproxy.clock import Clock
from nugetproxy.errors import ProxyError
from nugetproxy.metrics import Metrics
from nugetproxy.store.fs import DiskFailure

log = structlog.get_logger(__name__)

T = TypeVar("T")

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds before work that is meant to run for ever begins again; doubled until it has run for that longest time."""


@contextmanager
def first_failure() -> Iterator[None]:
    """Around a group of tasks: raises the first ProxyError by itself, unless anything else went wrong, too."""
    try:
        yield
    except BaseExceptionGroup as failures:
        ours, others = failures.split(ProxyError)
        if ours is None or others is not None:
            raise
        first: Exception = ours
        while isinstance(first, ExceptionGroup):  # a task may have had some of its own
            first = first.exceptions[0]
        raise first from failures


class Shared(Generic[T]):
    """A task that several wait for, which goes on where one of them is cancelled.

    As asyncio.shield, with a quarter of the callbacks: ``end`` is called by whatever is done at the end of the task.
    """

    __slots__ = ("_waiting", "task")

    def __init__(self) -> None:
        self.task: asyncio.Task[T]
        self._waiting: list[asyncio.Future[None]] = []

    async def result(self) -> T:
        """What the task comes to; raises what it raised."""
        if not self.task.done():
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            await waiter
        return self.task.result()

    def end(self) -> None:
        """The task has ended."""
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)


class Tasks:
    """The owner of background tasks: it names them, logs their unexpected ends, cancels and awaits them on stop."""

    def __init__(self, clock: Clock, metrics: Metrics, trunk: Tasks | None = None) -> None:
        """``trunk`` holds these too."""
        self._clock = clock
        self._metrics = metrics
        self._trunk = trunk
        self._running: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        return len(self._running)

    def branch(self) -> Tasks:
        """Tasks that can be stopped by themselves, and are stopped with these."""
        return Tasks(self._clock, self._metrics, self)

    def running(self) -> tuple[asyncio.Task[Any], ...]:
        """Those that have not ended."""
        return tuple(self._running)

    def start(
        self, work: Coroutine[Any, Any, T], *, name: str, ended: Callable[[], object] | None = None
    ) -> asyncio.Task[T]:
        """Run ``work`` in the background; its result or exception stays with the task.

        The first word of ``name`` says what sort of task it is, in the metric of those that failed. ``ended`` is called
        when the task has come to an end, however it did.
        """
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._hold(task)
        task.add_done_callback(self._ended if ended is None else partial(self._ended, before=ended))
        return task

    def _hold(self, task: asyncio.Task[Any]) -> None:
        owner: Tasks | None = self
        while owner is not None:
            owner._running.add(task)
            owner = owner._trunk

    def _let_go(self, task: asyncio.Task[Any]) -> None:
        owner: Tasks | None = self
        while owner is not None:
            owner._running.discard(task)
            owner = owner._trunk

    def keep(self, work: Callable[[], Awaitable[None]], *, name: str) -> asyncio.Task[None]:
        """Run ``work`` in the background until it returns; begin again, after a pause, whenever it fails."""
        return self.start(self._again_and_again(work, name), name=name)

    async def _again_and_again(self, work: Callable[[], Awaitable[None]], name: str) -> None:
        pause = FIRST_PAUSE
        while True:
            began = self._clock.monotonic()
            try:
                await work()
            except Exception as error:  # the top of a background task
                self._failed(name, error)
            else:
                return
            if self._clock.monotonic() - began >= LONGEST_PAUSE:
                pause = FIRST_PAUSE
            await self._clock.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def _ended(self, task: asyncio.Task[Any], before: Callable[[], object] | None = None) -> None:
        if before is not None:
            before()
        self._let_go(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        # An answer to whoever awaits the task; its line is for where nobody does.
        if isinstance(error, ProxyError) and not isinstance(error, DiskFailure):
            log.debug("task.refused", task=task.get_name(), detail=str(error))
        else:
            self._failed(task.get_name(), error)

    def _failed(self, name: str, error: BaseException) -> None:
        self._metrics.task_failures.labels(name.partition(" ")[0]).inc()
        log.error("task.failed", task=name, detail=str(error) or type(error).__name__, exc_info=error)

    async def stop(self) -> None:
        """Cancel whatever still runs and wait for its end."""
        running = self.running()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
