"""An event loop on whose clock no time passes while the machine does something else."""

from __future__ import annotations

import asyncio
import selectors
import time

HARDLY = 0.02
"""Seconds that a process may lose at once as any does."""


class SteadySelector(selectors.DefaultSelector):
    """Adds up what was lost: a wait that took longer than told, all of it, as nobody knows since when nothing ran; what
    the thread did not run of the time between two waits. Work of our own is no loss: a test can tell what holds us up.
    """

    def __init__(self) -> None:
        super().__init__()
        self.lost = 0.0
        """Seconds."""
        self._left, self._worked = time.monotonic(), time.thread_time()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        entered = time.monotonic()
        idle = entered - self._left - (time.thread_time() - self._worked)
        if idle > HARDLY:
            self.lost += idle
        events = super().select(timeout)
        self._left, self._worked = time.monotonic(), time.thread_time()
        if timeout is not None and self._left - entered - max(0.0, timeout) > HARDLY:
            self.lost += self._left - entered
        return events


class SteadyLoop(asyncio.SelectorEventLoop):
    """Time-outs of tests are short: one that a machine makes by not running us says nothing of what is tested."""

    def __init__(self) -> None:
        self._selector_of_ours = SteadySelector()
        super().__init__(self._selector_of_ours)

    def time(self) -> float:
        return super().time() - self._selector_of_ours.lost
