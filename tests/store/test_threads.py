"""Calls in the store's threads: what comes of them, who waits for their end."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event, Thread, current_thread

import pytest

from nugetproxy.store.threads import OneThread, Pool, StoreThreads, hop


@pytest.fixture(params=[lambda: ThreadPoolExecutor(1), lambda: OneThread("one")], ids=["executor", "one thread"])
def pool(request: pytest.FixtureRequest) -> Iterator[Pool]:
    pool = request.param()
    yield pool
    pool.shutdown()


async def test_a_call_returns_what_it_returned(pool: Pool) -> None:
    assert await hop(pool, int, "10", base=16) == 16


async def test_a_call_raises_what_it_raised(pool: Pool) -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        await hop(pool, int, "x")


@pytest.mark.parametrize("times", [1, 3], ids=["once", "again"])
async def test_a_cancelled_caller_waits_for_the_end_of_its_call(pool: Pool, times: int) -> None:
    """Cancelled again by another limit or a stop, too: the call still works on what its caller would give away."""
    began, may_end = asyncio.Event(), Event()
    loop = asyncio.get_running_loop()

    def call() -> None:
        loop.call_soon_threadsafe(began.set)
        assert may_end.wait(30)

    caller = asyncio.create_task(hop(pool, call))
    await began.wait()
    for _ in range(times):
        caller.cancel()
        _, waiting = await asyncio.wait({caller}, timeout=0.05)
        assert waiting, "the call is still half-way through"
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await caller


@pytest.mark.parametrize("most", [0, 2])
async def test_work_is_done_though_the_system_gives_no_more_threads(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = StoreThreads()
    submit, left = threads.sync.submit, [None] * most

    def no_more(work: Callable[[], None]) -> Future[None]:
        if not left:
            raise RuntimeError("can't start new thread")
        left.pop()
        return submit(work)

    monkeypatch.setattr(threads.sync, "submit", no_more)
    done: list[int] = []
    await hop(threads.commit, threads.share_out, 8, done.append, range(20))
    assert sorted(done) == list(range(20))
    await threads.close()


async def test_a_cancelled_caller_is_not_told_what_went_wrong(pool: Pool) -> None:
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


def test_one_thread_makes_all_calls_in_their_order_before_it_ends() -> None:
    thread, made, may_go_on = OneThread("one"), list[tuple[int, str]](), Event()
    thread.submit(lambda: may_go_on.wait(30))
    for number in range(20):
        thread.submit(lambda number=number: made.append((number, current_thread().name)))
    may_go_on.set()
    thread.shutdown()
    assert made == [(number, "one") for number in range(20)]
    thread.shutdown()


def test_one_thread_that_has_ended_takes_no_more_calls() -> None:
    thread = OneThread("one")
    thread.shutdown()
    with pytest.raises(RuntimeError, match="'one' has ended"):
        thread.submit(int)


def test_one_thread_ends_with_whoever_has_it() -> None:
    thread, found = OneThread("one"), list[Thread]()
    called = Event()
    thread.submit(lambda: found.append(current_thread()))
    thread.submit(called.set)
    assert called.wait(30)
    del thread
    gc.collect()
    found[0].join(30)
    assert not found[0].is_alive()


def test_one_thread_does_not_hold_on_to_what_a_call_was_about() -> None:
    class Something:
        def call(self) -> None:
            pass

    thread, something = OneThread("one"), Something()
    gone = weakref.ref(something)
    thread.submit(something.call)
    thread.submit(int)
    del something
    thread.shutdown()
    gc.collect()
    assert gone() is None
