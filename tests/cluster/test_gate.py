"""An engine that fails, hangs or is slow costs whoever asks little, then nothing."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any

import pytest

from nugetproxy.cluster import allowance
from nugetproxy.cluster.allowance import TOTAL, USUAL, limited, unlimited
from nugetproxy.cluster.engines import EngineUnavailable
from nugetproxy.cluster.gate import FIRST_PAUSE, Gate
from nugetproxy.metrics import Metrics
from tests.fakes.clock import FakeClock

SHORT = 0.02


class Engine:
    """One that is asked through a gate; ``asked`` counts how often."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.metrics = Metrics()
        self.asked = 0
        self.probes: list[Exception | None] = []
        self.background: list[Coroutine[Any, Any, None]] = []
        self.gate = Gate(
            "bucket", self.clock, self.metrics, (KeyError,), probe=self._probe, background=self.background.append
        )

    async def _probe(self) -> None:
        said = self.probes.pop(0)
        if said is not None:
            raise said

    async def hangs(self) -> None:
        self.asked += 1
        await asyncio.Event().wait()

    async def breaks(self) -> None:
        self.asked += 1
        raise KeyError("broken")

    def answers(self, after: float = 0.0) -> Callable[[], Awaitable[str]]:
        async def ask() -> str:
            self.asked += 1
            self.clock.advance(after)
            return "here"

        return ask

    async def refused(
        self, ask: Callable[[], Awaitable[object]], budget: float = 5.0, silence: float = math.inf
    ) -> str:
        with pytest.raises(EngineUnavailable) as caught:
            await self.gate.call(ask, budget, silence=silence)
        return caught.value.why

    @property
    def counts(self) -> tuple[int, int, int]:
        one = self.metrics.engines.of("bucket")
        return one.ok, one.failed, one.refused


@pytest.fixture
def engine() -> Iterator[Engine]:
    one = Engine()
    yield one
    for trying in one.background:
        trying.close()


async def test_one_that_hangs_is_left_alone_after_one_call(engine: Engine) -> None:
    assert await engine.refused(engine.hangs, SHORT) == "no answer within 0.02 s"
    assert await engine.refused(engine.hangs, SHORT) == "no answer within 0.02 s"
    assert engine.asked == 1
    assert engine.counts == (0, 1, 1)
    assert engine.gate.problem == "degraded: the shared bucket gives no answer (no answer within 0.02 s)"


async def test_one_that_answers_others_meanwhile_does_not_hang(engine: Engine) -> None:
    slow = asyncio.create_task(engine.refused(engine.hangs, SHORT))
    await asyncio.sleep(0)
    engine.clock.advance(1.0)
    assert await engine.gate.call(engine.answers(), 5) == "here"
    await slow
    assert not engine.gate.is_open


async def test_answers_to_others_are_a_reason_to_wait_on(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    loop, passed = asyncio.get_running_loop(), 0.0
    real = loop.time
    monkeypatch.setattr(loop, "time", lambda: real() + passed)
    here = asyncio.Event()
    slow = asyncio.create_task(engine.gate.call(here.wait, 6000, silence=200))
    await asyncio.sleep(0)
    for _ in range(10):
        passed += 150
        assert await engine.gate.call(engine.answers(), 5) == "here"
        await asyncio.sleep(0)  # whose time is over ends
    here.set()
    assert await slow


async def test_one_that_answers_nobody_sets_all_free_who_wait(engine: Engine) -> None:
    others = [asyncio.create_task(engine.refused(engine.hangs, 60)) for _ in range(5)]
    await asyncio.sleep(0)
    await engine.refused(engine.hangs, 60, silence=SHORT)
    await asyncio.wait_for(asyncio.gather(*others), 5)
    assert all(one.done() for one in others)


@pytest.mark.parametrize("failures", [2, 3])
async def test_one_that_fails_three_times_in_a_row_is_left_alone(engine: Engine, failures: int) -> None:
    for _ in range(failures):
        assert await engine.refused(engine.breaks) == "'broken'"
    assert engine.gate.is_open == (failures == 3)


async def test_no_request_finds_out_whether_it_is_back(engine: Engine) -> None:
    await engine.refused(engine.hangs, SHORT)
    engine.clock.advance(3600)
    await engine.refused(engine.answers())
    assert engine.asked == 1
    (trying,) = engine.background
    engine.probes = [KeyError("not yet"), TimeoutError(), None]
    await trying
    assert engine.clock.slept == [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE]
    assert await engine.gate.call(engine.answers(), 5) == "here"
    assert engine.gate.problem == ""


async def test_it_is_tried_by_one_at_a_time(engine: Engine) -> None:
    for _ in range(6):
        engine.gate.failed("an announcement was lost")
    assert len(engine.background) == 1
    engine.probes = [None]
    await engine.background.pop()
    await engine.refused(engine.hangs, SHORT)
    assert len(engine.background) == 1


async def test_one_request_waits_for_slow_answers_for_a_limited_time_in_all(engine: Engine) -> None:
    began, answered = engine.clock.monotonic(), 0
    with limited():
        while True:
            try:
                await engine.gate.call(engine.answers(after=1.0), 5)
            except EngineUnavailable as failure:
                assert failure.why == "this request has waited long enough for what is shared"
                break
            answered += 1
    assert engine.clock.monotonic() - began <= TOTAL + 1.0 + answered * USUAL
    assert not engine.gate.is_open
    assert await engine.gate.call(engine.answers(after=1.0), 5) == "here"  # the next request


async def test_how_much_there_is_to_ask_uses_nothing_up(engine: Engine) -> None:
    with limited():
        for _ in range(100):
            assert await engine.gate.call(engine.answers(after=USUAL), 5) == "here"


async def test_what_nobody_waits_for_has_the_time_that_it_needs(engine: Engine) -> None:
    with limited(), unlimited():
        for _ in range(10):
            assert await engine.gate.call(engine.answers(after=10.0), 900) == "here"


async def test_that_a_request_has_little_time_left_is_not_the_fault_of_the_engine(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nugetproxy.cluster.gate.USUAL", 0.01)
    with limited():
        own = allowance.current()
        assert own is not None
        own.left = 0.01
        for _ in range(4):
            await engine.refused(engine.hangs, 5.0)
            own.left = 0.01
    assert (engine.asked, engine.gate.is_open) == (4, False)


async def test_a_part_of_a_request_has_the_allowance_of_the_whole() -> None:
    with limited():
        whole = allowance.current()
        with limited():
            assert allowance.current() is whole
        assert await asyncio.create_task(_current()) is whole
        with unlimited():
            assert allowance.current() is None
        assert allowance.current() is whole
    assert allowance.current() is None


async def _current() -> object:
    return allowance.current()


def test_metrics_are_by_engine(engine: Engine) -> None:
    engine.metrics.engines.of("bucket").note("package", "hit")
    engine.metrics.engines.of("bucket").took(0.3)
    text = engine.metrics.exposition().decode()
    for line in (
        'nugetproxy_engine_calls_total{engine="bucket",outcome="failed"} 0.0',
        'nugetproxy_shared_total{engine="bucket",outcome="hit",what="package"} 1.0',
        'nugetproxy_engine_open{engine="bucket"} 0.0',
        'nugetproxy_engine_seconds_bucket{engine="bucket",le="0.2"} 0.0',
        'nugetproxy_engine_seconds_bucket{engine="bucket",le="0.5"} 1.0',
    ):
        assert line in text.splitlines()
