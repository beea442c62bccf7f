"""Asking is on whose behalf an upstream is asked, with how long that took."""

from __future__ import annotations

from contextvars import ContextVar
from time import perf_counter

from msgspec import Struct, field

MOST_WAITS = 64
"""Of one request; an aggregated search waits for several upstreams."""


class Asking(Struct):
    """One request of a client; tasks that it starts inherit it."""

    client: str = ""
    """Its address; empty for what is done unasked."""
    seconds: float = 0.0
    """Spent waiting for upstreams to answer."""
    began: float = field(default_factory=perf_counter)
    waits: list[tuple[float, float]] = field(default_factory=list)
    """Beginning and end of each such wait, by ``perf_counter``."""


_current: ContextVar[Asking | None] = ContextVar("asking", default=None)


def begin(client: str) -> Asking:
    """From now on this task, with those that it starts, asks for ``client``."""
    asking = Asking(client)
    _current.set(asking)
    return asking


def asking() -> Asking:
    """What this task asks for."""
    return _current.get() or Asking()


def waited(began: float) -> None:
    """An upstream was waited for since ``began`` (by ``perf_counter``)."""
    ended, one = perf_counter(), asking()
    one.seconds += ended - began
    if len(one.waits) < MOST_WAITS:
        one.waits.append((began, ended))
