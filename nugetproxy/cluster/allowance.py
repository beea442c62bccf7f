"""Allowance is how long one request of a client may wait for engines in all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from msgspec import Struct

TOTAL: Final = 2.0
"""Seconds; each call has a limit of its own besides."""
USUAL: Final = 0.25
"""Seconds of each call that are not counted: only what is slow uses an allowance up, not how much there is to ask."""


class Allowance(Struct):
    """What is left of it; calls that are made at the same time share it."""

    left: float = TOTAL

    def spend(self, seconds: float) -> None:
        """A call took so long."""
        self.left -= max(0.0, seconds - USUAL)


_current: ContextVar[Allowance | None] = ContextVar("engine_allowance", default=None)


def current() -> Allowance | None:
    """The one of the request that is being answered; None where no client waits."""
    return _current.get()


@contextmanager
def limited() -> Iterator[None]:
    """A client waits for what happens within, also for tasks that begin there; who has one keeps it."""
    if _current.get() is not None:
        yield
        return
    token = _current.set(Allowance())
    try:
        yield
    finally:
        _current.reset(token)


@contextmanager
def unlimited() -> Iterator[None]:
    """No client waits for what happens within, or only so long as something else limits."""
    token = _current.set(None)
    try:
        yield
    finally:
        _current.reset(token)
