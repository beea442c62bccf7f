"""Engines that are there but refuse what they should take cost no answer; who waits for another replica is told so."""

from __future__ import annotations

import asyncio
import json

import pytest
import redis as client

from tests.cluster.conftest import StartReplica, shared
from tests.cluster.engines import Moto, Redis, SeaweedFs, running
from tests.cluster.test_packages import settled, soon, uploaded
from tests.fakes.asking import LARGE, PACKAGE, SMALL, UP_PACKAGE, VERSIONS, ask
from tests.fakes.feed import FakeFeed
from tests.fakes.origin import Script
from tests.fakes.packages import make_nupkg
from tests.fakes.proxy import Proxy

OTHER = "/v3/content/acme.b/1.0.0/acme.b.1.0.0.nupkg"


async def readiness(proxy: Proxy) -> tuple[int, list[str]]:
    got = await ask(proxy, "/health/ready")
    return got.status, json.loads(got.body)["problems"]


async def test_a_bucket_that_is_read_only_is_read(
    start_replica: StartReplica, feed: FakeFeed, seaweed: SeaweedFs, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed.add(SMALL)
    feed.add(make_nupkg("Acme.B", "1.0.0"))
    cluster = shared(seaweed, None)
    first = await start_replica(cluster)
    assert (await ask(first, PACKAGE)).status == 200
    await uploaded(first)
    monkeypatch.setenv("TEST_STORE_KEY", seaweed.reader)
    reader = await start_replica(cluster)
    asked = feed.count(UP_PACKAGE)
    got = await ask(reader, PACKAGE)
    assert (got.status, got.body, got.cache) == (200, SMALL, "fwd=uri-miss; stored; detail=second_level")
    assert feed.count(UP_PACKAGE) == asked
    assert (await ask(reader, OTHER)).status == 200  # it cannot be brought there
    await settled(reader)
    assert reader.app.metrics.engines.of("bucket_writes").failed > 0
    assert (await readiness(reader))[0] == 200


@pytest.mark.parametrize("how", ["full", "read-only"])
async def test_a_redis_that_takes_nothing_costs_no_answer(
    start_replica: StartReplica, feed: FakeFeed, moto: Moto, how: str
) -> None:
    if not Redis.is_there():
        pytest.skip("redis-server is missing: install the Debian package redis-server")
    feed.add(SMALL)
    with running(Redis()) as own:
        assert isinstance(own, Redis)
        proxy = await start_replica(shared(moto, own))
        with client.Redis(port=own.port) as connection:
            if how == "full":
                connection.config_set("maxmemory-policy", "noeviction")
                connection.config_set("maxmemory", "1")
            else:
                connection.replicaof("127.0.0.1", "9")
        for path in (VERSIONS, PACKAGE):
            assert (await ask(proxy, path)).status == 200
        await settled(proxy)
        status, _ = await readiness(proxy)
        assert status == 200
        assert proxy.app.metrics.engines.of("coordination").failed > 0


@pytest.mark.slow
async def test_one_that_is_lost_is_told_as_degraded_by_readiness(start_replica: StartReplica, feed: FakeFeed) -> None:
    proxy = await start_replica({"coordination": "redis://127.0.0.1:9/0"})
    await soon(lambda: proxy.metric("engine_open", engine="coordination") == 1)
    status, problems = await readiness(proxy)
    assert status == 200
    assert [one for one in problems if one.startswith("degraded: the shared coordination gives no answer")]


async def test_the_clients_of_the_holder_are_served_at_once_others_are_told_what_they_wait_for(
    start_replica: StartReplica, feed: FakeFeed, moto: Moto, redis: Redis
) -> None:
    feed.add(LARGE)
    cluster = shared(moto, redis)
    holder, follower = [await start_replica(cluster) for _ in range(2)]
    middle = asyncio.Event()
    body = Script(body=LARGE, headers=[("Content-Type", "application/octet-stream")], gate=middle, gate_at=200_000)
    feed.origin.routes[UP_PACKAGE] = body
    async with holder.client.get(PACKAGE) as answer:
        assert len(await answer.content.readexactly(100_000)) == 100_000  # upstream has not sent the rest
        waiting = asyncio.create_task(ask(follower, PACKAGE))
        looked = follower.app.metrics.engines.of("bucket").looked
        await soon(lambda: looked.get(("package", "miss"), 0) >= 2)
        assert not waiting.done()
        middle.set()
        rest = await answer.content.read()
    assert len(rest) == len(LARGE) - 100_000
    got = await waiting
    assert (got.status, got.body) == (200, LARGE)
    assert got.cache.endswith("detail=lease")
    assert feed.count(UP_PACKAGE) == 1
