"""Calls in the store's threads: what comes of them, who waits for their end."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from nugetproxy.store.threads import hop


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


async def test_a_call_returns_what_it_returned(pool: ThreadPoolExecutor) -> None:
    assert await hop(pool, int, "10", base=16) == 16


async def test_a_call_raises_what_it_raised(pool: ThreadPoolExecutor) -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        await hop(pool, int, "x")


async def test_a_cancelled_caller_waits_for_the_end_of_its_call(pool: ThreadPoolExecutor) -> None:
    began, may_end = asyncio.Event(), Event()
    loop = asyncio.get_running_loop()

    def call() -> None:
        loop.call_soon_threadsafe(began.set)
        assert may_end.wait(30)

    caller = asyncio.create_task(hop(pool, call))
    await began.wait()
    caller.cancel()
    _, waiting = await asyncio.wait({caller}, timeout=0.05)
    assert waiting, "the call is still half-way through"
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await caller


async def test_a_cancelled_caller_is_not_told_what_went_wrong(pool: ThreadPoolExecutor) -> None:
    """Nobody else is told either: asyncio does not report it as an exception that was never retrieved."""
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    may_end = Event()

    def call() -> None:
        assert may_end.wait(30)
        raise ValueError

    caller = asyncio.create_task(hop(pool, call))
    await asyncio.sleep(0)
    caller.cancel()
    await asyncio.sleep(0)
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert complaints == []
