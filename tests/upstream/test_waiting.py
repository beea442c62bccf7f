"""Who waits for an upstream that has just been lost, for how long, who goes first when it is back."""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from nugetproxy.errors import OutOfResources, Reason, UpstreamFailure
from nugetproxy.log.floods import FloodGate
from nugetproxy.metrics import Metrics
from nugetproxy.upstream.client import UpstreamClient
from nugetproxy.upstream.patience import LONGEST_WAIT, impatience, spared
from tests.fakes.clock import FakeClock
from tests.fakes.origin import Origin, Script, Seen
from tests.upstream.conftest import MakeClient, turns

JSON = b'{"version":"3.0.0"}'
Count = Callable[..., float]


class HandClock(FakeClock):
    """A clock whose sleepers sleep until somebody moves it."""

    def __init__(self) -> None:
        super().__init__()
        self._moved = asyncio.Event()

    def advance(self, seconds: float) -> None:
        super().advance(seconds)
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()

    async def sleep(self, seconds: float) -> None:
        until = self.monotonic() + seconds
        while self.monotonic() < until:
            await self._moved.wait()


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
async def lost(origin: Origin, make_client: MakeClient) -> UpstreamClient:
    """A client whose upstream was lost just now."""
    client = make_client(breaker_failures=2, tries=1)
    await origin.refuse()
    await fails(client.get(f"{origin.url}/first"))
    return client


async def fails(asked: object) -> UpstreamFailure:
    with pytest.raises(UpstreamFailure) as caught:
        await asked  # type: ignore[misc]
    return caught.value


async def ask_all(client: UpstreamClient, origin: Origin, number: int) -> list[asyncio.Task[object]]:
    """So many requests, each for something else, as far as they get by themselves."""
    tasks = [asyncio.create_task(client.get(f"{origin.url}/{n}"), name=f"{n}") for n in range(number)]
    await turns()
    return tasks  # type: ignore[return-value]


async def test_a_miss_waits_and_is_answered_when_the_upstream_is_back(
    origin: Origin, lost: UpstreamClient, clock: HandClock
) -> None:
    tasks = await ask_all(lost, origin, 30)
    assert not [task for task in tasks if task.done()]
    assert not lost.due(), "one of those who wait is the probe"
    await origin.listen()
    origin.fallback = lambda _: Script(body=JSON)
    clock.advance(1.0)
    async with asyncio.timeout(10):
        answers = await asyncio.gather(*tasks)
    assert [answer.body for answer in answers] == [JSON] * 30  # type: ignore[attr-defined]
    assert len(origin.requests) == 30
    assert not lost.breakers()


async def test_a_head_waits_too(origin: Origin, lost: UpstreamClient, clock: HandClock) -> None:
    asked = asyncio.create_task(lost.head(f"{origin.url}/x"))
    await turns()
    assert not asked.done()
    await origin.listen()
    origin.fallback = lambda _: Script(body=JSON)
    clock.advance(1.0)
    assert (await asked).status == 200


async def test_after_the_probe_four_go_first_then_all(origin: Origin, lost: UpstreamClient, clock: HandClock) -> None:
    tasks = await ask_all(lost, origin, 30)
    await origin.listen()
    gates = [asyncio.Event() for _ in range(30)]
    taken = itertools.count()

    async def answer(_: Seen) -> Script:
        await gates[next(taken)].wait()
        return Script(body=JSON)

    origin.fallback = answer
    clock.advance(1.0)
    await settle(lambda: len(origin.requests) == 1)
    gates[0].set()
    await settle(lambda: len(origin.requests) == 5)
    await turns()
    assert len(origin.requests) == 5, "the probe, then four"
    gates[1].set()
    await settle(lambda: len(origin.requests) == 30)
    for gate in gates:
        gate.set()
    await asyncio.gather(*tasks)


async def settle(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0)


async def test_it_waits_for_three_seconds_at_most(origin: Origin, lost: UpstreamClient, clock: HandClock) -> None:
    asked = asyncio.create_task(fails(lost.get(f"{origin.url}/x")))
    began = clock.monotonic()
    while not asked.done():
        await turns()
        clock.advance(0.25)
        assert clock.monotonic() - began <= LONGEST_WAIT + 0.5
    assert (await asked).reason in {Reason.REFUSED, Reason.BREAKER_OPEN}


async def test_what_has_something_to_serve_instead_does_not_wait(origin: Origin, lost: UpstreamClient) -> None:
    stale = await fails(lost.get(f"{origin.url}/x", patience=impatience()))
    assert stale.reason is Reason.BREAKER_OPEN

    async def made() -> bool:
        return True

    with spared(made):
        assert (await fails(lost.get(f"{origin.url}/x"))).reason is Reason.BREAKER_OPEN


async def test_nor_does_anybody_once_the_outage_has_lasted(
    origin: Origin, lost: UpstreamClient, clock: HandClock
) -> None:
    for _ in range(16):
        clock.advance(1.0)
        await lost.probe(origin.url)
    assert (await fails(lost.get(f"{origin.url}/x"))).reason is Reason.BREAKER_OPEN


async def test_an_outage_is_two_lines_with_its_cause_and_what_was_stale(
    origin: Origin, make_client: MakeClient, clock: HandClock
) -> None:
    client = make_client(breaker_failures=2, tries=1)
    await origin.refuse()
    with capture_logs() as logs:
        for number in range(10):
            await fails(client.get(f"{origin.url}/{number}", patience=impatience()))
            client.note_stale()
        for _ in range(5):
            clock.advance(1.0)
            await client.probe(origin.url)
        await origin.listen()
        origin.fallback = lambda _: Script(body=JSON)
        clock.advance(1.0)
        await client.probe(origin.url)
    opened, closed = logs
    assert (opened["event"], opened["log_level"], opened["reason"]) == ("breaker.opened", "warning", "refused")
    assert opened["detail"] == f"the connection was refused ({origin.url})"
    assert (closed["event"], closed["seconds"], closed["stale"]) == ("breaker.closed", 6.0, 10)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
async def test_what_runs_short_here_is_nobody_elses_fault(
    origin: Origin,
    make_client: MakeClient,
    metrics: Metrics,
    count: Count,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
) -> None:
    async def short(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", short)
    monkeypatch.setattr("aiohttp.connector.aiohappyeyeballs.start_connection", short)
    monkeypatch.setattr("nugetproxy.upstream.failures._once_a_minute", FloodGate(burst=1, every=60.0))
    client = make_client(breaker_failures=1, tries=1)
    with capture_logs() as logs:
        for _ in range(20):
            error = await fails(client.get(f"{origin.url}/x"))
            assert isinstance(error, OutOfResources)
            assert "own limit" in str(error)
    assert not client.breakers()
    assert count("upstream_failures", reason="refused") + count("upstream_failures", reason="reset") == 0
    assert [line["event"] for line in logs] == ["resources.exhausted"], "one line a minute"
    name = errno.errorcode[number]
    assert metrics.registry.get_sample_value("nugetproxy_shortages_total", {"errno": name}) == 20


async def test_the_time_to_an_answer_is_measured(origin: Origin, client: UpstreamClient, metrics: Metrics) -> None:
    origin.fallback = lambda _: Script(body=JSON)
    for _ in range(3):
        await client.get(f"{origin.url}/x")
    labels = {"upstream": "feed", "method": "GET"}
    assert metrics.registry.get_sample_value("nugetproxy_upstream_seconds_count", labels) == 3
