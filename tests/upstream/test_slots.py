"""Slots go round by client."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from nugetproxy.upstream import asking
from nugetproxy.upstream.slots import Slots, Turns


async def turn_of(turns: Turns, client: str, order: list[str]) -> None:
    asking.begin(client)
    await turns.acquire()
    order.append(client)


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_one_client_with_many_requests_does_not_starve_the_others() -> None:
    turns, order = Turns(1), list[str]()
    await turns.acquire()
    waiting = [asyncio.create_task(turn_of(turns, client, order)) for client in ["many"] * 4 + ["a", "b", "b"]]
    await settle()
    for _ in waiting:
        turns.release()
        await settle()
    assert order == ["many", "a", "b", "many", "b", "many", "many"]


async def test_who_gives_up_takes_no_turn() -> None:
    turns, order = Turns(1), list[str]()
    await turns.acquire()
    waiting = [asyncio.create_task(turn_of(turns, client, order)) for client in ("a", "b", "c")]
    await settle()
    waiting[0].cancel()
    turns.release()  # goes to "b"
    waiting[1].cancel()  # which has it already, but has not seen it
    await settle()
    assert order == ["c"]
    turns.release()
    await asyncio.wait_for(turns.acquire(), 1)
    for task in waiting:
        with suppress(asyncio.CancelledError):
            await task


async def test_a_wait_has_a_limit_and_leaves_nothing_behind() -> None:
    slots = Slots(1)
    slot = await slots.take(1)
    with pytest.raises(TimeoutError):
        await slots.take(0.01)
    slot.lend()
    (await slots.take(0.01)).lend()


async def test_a_slots_repr_says_how_many_are_free_and_who_waits() -> None:
    slots = Slots(2)
    asking.begin("a")
    assert repr(slots) == "<Slots: 2, 2 free, waiting {}>"
    held = [await slots.take(1.0), await slots.take(1.0)]
    waiting = asyncio.create_task(slots.take(60.0))
    await settle()
    assert repr(slots) == "<Slots: 2, 0 free, waiting {'a': 1}>"
    held[0].lend()
    await waiting
    assert repr(slots) == "<Slots: 2, 0 free, waiting {}>"
