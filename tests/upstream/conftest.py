"""Real clients of a scripted origin, over loopback, with a clock that never waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from nugetproxy.metrics import Metrics
from nugetproxy.upstream.client import UpstreamClient
from nugetproxy.upstream.settings import UpstreamSettings
from tests.fakes.clock import FakeClock
from tests.fakes.origin import Origin


async def turns() -> None:
    """Let the loop turn until what is on its way over loopback has arrived."""
    for _ in range(50):
        await asyncio.sleep(0)


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    async with Origin() as origin:
        yield origin


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


MakeClient = Callable[..., UpstreamClient]


@pytest.fixture
async def make_client(origin: Origin, clock: FakeClock, metrics: Metrics) -> AsyncIterator[MakeClient]:
    """``make_client(read_timeout=..., resolver=...)``: any setting; the index is the origin's unless told."""
    clients: list[UpstreamClient] = []

    def make(*, resolver: Any = None, **settings: Any) -> UpstreamClient:
        given = {"name": "feed", "index_url": f"{origin.url}/v3/index.json", "breaker_failures": 100, **settings}
        client = UpstreamClient(UpstreamSettings(**given), clock=clock, metrics=metrics, resolver=resolver)
        clients.append(client)
        return client

    yield make
    for client in clients:
        await client.close()
    # Connections end in the next turns of the loop; a test that leaks one would warn after it.
    await asyncio.sleep(0)


@pytest.fixture
def client(make_client: MakeClient) -> UpstreamClient:
    return make_client()


@pytest.fixture
def count(metrics: Metrics) -> Callable[..., float]:
    """``count("upstream_retries")`` or ``count("upstream_failures", reason="reset")`` of upstream ``feed``."""

    def value(name: str, **labels: str) -> float:
        labels = {"upstream": "feed", **labels}
        return metrics.registry.get_sample_value(f"nugetproxy_{name}_total", labels) or 0.0

    return value
