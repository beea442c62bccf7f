"""One timer for each connection tells of silence, of a deadline, of both at the right time."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Any, cast

import aiohttp
import pytest

from nugetproxy.upstream.watched import Watched


class Timer:
    def __init__(self, when: float, callback: Callable[[], None]) -> None:
        self._when = when
        self.callback = callback
        self.cancelled = False

    def when(self) -> float:
        return self._when

    def cancel(self) -> None:
        self.cancelled = True


class Loop:
    """A clock that is set, with the timers that were ever made."""

    def __init__(self) -> None:
        self.now = 100.0
        self.timers: list[Timer] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        self.timers.append(Timer(when, callback))
        return self.timers[-1]

    def pending(self) -> list[Timer]:
        return [timer for timer in self.timers if not timer.cancelled]

    def until(self, now: float) -> None:
        """Let what is due by then happen in its order."""
        while due := [timer for timer in self.pending() if timer.when() <= now]:
            first = min(due, key=Timer.when)
            first.cancel()
            self.now = max(self.now, first.when())
            first.callback()
        self.now = now


@pytest.fixture
def loop() -> Loop:
    return Loop()


@pytest.fixture
def watched(loop: Loop) -> Watched:
    return Watched(cast(asyncio.AbstractEventLoop, loop))


def ask(watched: Watched, *, silence: float | None = 10.0, deadline: float = math.inf) -> None:
    watched.read_timeout = silence
    watched.expect(deadline)


def ended(watched: Watched) -> type[BaseException] | None:
    error = watched.exception()
    return None if error is None else type(error)


def test_silence_ends_it(watched: Watched, loop: Loop) -> None:
    ask(watched)
    loop.until(109.9)
    assert ended(watched) is None
    loop.until(110.0)
    assert ended(watched) is aiohttp.SocketTimeoutError


def test_silence_begins_anew_with_each_piece(watched: Watched, loop: Loop) -> None:
    ask(watched)
    for now in (109.0, 118.0, 127.0):
        loop.until(now)
        watched.data_received(b"HT")
        assert ended(watched) is None
    loop.until(136.9)
    assert ended(watched) is None
    loop.until(137.0)
    assert ended(watched) is aiohttp.SocketTimeoutError


def test_the_deadline_ends_it_whatever_arrives(watched: Watched, loop: Loop) -> None:
    ask(watched, deadline=115.0)
    for now in (109.0, 114.9):
        loop.until(now)
        watched.data_received(b"HT")
        assert ended(watched) is None
    loop.until(115.0)
    assert ended(watched) is TimeoutError


def test_once_an_answer_has_begun_only_silence_counts(watched: Watched, loop: Loop) -> None:
    ask(watched, deadline=105.0)
    loop.until(104.0)
    watched.data_received(b"HT")
    watched.begun()
    loop.until(113.9)
    assert ended(watched) is None
    loop.until(114.0)
    assert ended(watched) is aiohttp.SocketTimeoutError


def test_an_idle_connection_is_silent(watched: Watched, loop: Loop) -> None:
    ask(watched, deadline=150.0)
    watched.begun()
    watched._drop_timeout()
    loop.until(1000.0)
    assert ended(watched) is None
    assert loop.pending() == []


def test_requests_one_after_another_share_a_timer(watched: Watched, loop: Loop) -> None:
    for number in range(50):
        loop.until(100.0 + 0.1 * number)
        ask(watched, deadline=loop.now + 15.0)
        watched.begun()
        watched._drop_timeout()
    assert len(loop.timers) == 1
    ask(watched, deadline=loop.now + 15.0)
    loop.until(114.8)
    assert ended(watched) is None
    loop.until(114.9)
    assert ended(watched) is aiohttp.SocketTimeoutError


def test_one_that_may_wait_less_ends_sooner(watched: Watched, loop: Loop) -> None:
    ask(watched)
    watched._drop_timeout()
    ask(watched, silence=2.0)
    loop.until(102.0)
    assert ended(watched) is aiohttp.SocketTimeoutError


def test_without_a_limit_there_is_only_the_deadline(watched: Watched, loop: Loop) -> None:
    ask(watched, silence=None, deadline=500.0)
    loop.until(499.0)
    assert ended(watched) is None
    loop.until(500.0)
    assert ended(watched) is TimeoutError


@pytest.mark.parametrize("error", [None, ConnectionResetError()])
def test_a_connection_that_is_lost_leaves_no_timer(watched: Watched, loop: Loop, error: Any) -> None:
    ask(watched, deadline=150.0)
    watched.connection_lost(error)
    assert loop.pending() == []
