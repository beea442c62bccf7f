"""What the lane keeps takes the memory that it counts for, with all that belongs to it."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections.abc import Iterator

import pytest
import structlog

from nugetproxy.web.prepared import Prepared
from tests.fakes.asking import ask
from tests.fakes.feed import FakeFeed
from tests.fakes.packages import make_nupkg
from tests.fakes.proxy import Proxy
from tests.web.test_lane import get, said, wires

COUNT = 60
FIRST = 10
"""So many are asked for before: their requests also fill tables that are filled once."""


def list_of(number: int) -> str:
    return f"/v3/content/contoso.part{number}/index.json"


@pytest.fixture
def unlogged() -> Iterator[None]:
    """Nothing is written, which would take memory here."""

    def drop(_logger: object, _method: str, _event: object) -> str:
        raise structlog.DropEvent

    usual = structlog.get_config()["processors"]
    structlog.configure(processors=[drop])
    yield
    structlog.configure(processors=usual)


@pytest.mark.slow
@pytest.mark.usefixtures("unlogged")
async def test_answers_with_what_belongs_to_them_take_what_they_count_for(proxy: Proxy, feed: FakeFeed) -> None:
    for number in range(COUNT):
        feed.add(make_nupkg(f"Contoso.Part{number}", "1.0.0"))
        assert (await ask(proxy, list_of(number))).status == 200
    async with wires(proxy, laned=False) as [ordinary]:  # which fills what is none of the lane's
        for number in range(COUNT):
            for _ in range(2):
                assert b" 200 " in await said(ordinary, get(list_of(number)))
    lane, history = proxy.app.lane, proxy.app.history

    async def answered(numbers: range) -> None:
        """Asked for twice, whole and with a condition."""
        async with wires(proxy) as [wire]:
            for _ in range(2):
                for number in numbers:
                    assert b" 200 " in await said(wire, get(list_of(number)))
                    assert b" 304 " in await said(wire, get(list_of(number), "If-None-Match: *"))
        await asyncio.sleep(0)
        await history.flush()
        gc.collect()

    await answered(range(FIRST))
    counted = weight_of(lane.kept())
    tracemalloc.start()
    try:
        gc.collect()
        before, _ = tracemalloc.get_traced_memory()
        hits = lane.answered
        await answered(range(FIRST, COUNT))
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert lane.answered == hits + 3 * (COUNT - FIRST)
    counted = weight_of(lane.kept()) - counted
    assert 0.7 * counted < taken < 1.05 * counted


def weight_of(kept: list[tuple[Prepared, bytes]]) -> int:
    return sum(prepared.weight for prepared, _ in kept)


async def test_a_part_of_an_answer_is_no_copy_of_it(proxy: Proxy, feed: FakeFeed) -> None:
    content = make_nupkg("Contoso.Whole", "1.0.0", size=100_000)
    feed.add(content)
    path = "/v3/content/contoso.whole/1.0.0/contoso.whole.1.0.0.nupkg"
    for _ in range(2):
        assert (await ask(proxy, path)).status == 200
    async with wires(proxy) as [wire]:
        for _ in range(2):
            await said(wire, get(path))
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            assert (await said(wire, get(path, "Range: bytes=5-"))).endswith(content[5:])
            wire.written.clear()
            gc.collect()
            taken = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
    [chosen] = [prepared._chosen for prepared, _ in proxy.app.lane.kept() if prepared._chosen is not None]
    assert chosen.size == len(content) - 5
    assert taken < 50_000
