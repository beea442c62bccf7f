"""Documents are asked for once by all replicas; a write through one of them outdates what all have."""

from __future__ import annotations

import asyncio
import json

import pytest
from aiohttp import FormData

from nugetproxy.admin.held_commands import purged
from nugetproxy.cluster.bucket import Bucket
from nugetproxy.cluster.engines import EngineUnavailable
from nugetproxy.engine.invalidation import REVALIDATE_SECONDS
from tests.cluster.conftest import StartReplica, shared
from tests.cluster.engines import Moto, Redis, running
from tests.cluster.test_packages import bucket_of, settled, soon
from tests.fakes import canary
from tests.fakes.asking import REGISTRATION, SMALL, UP_VERSIONS, VERSIONS, ask
from tests.fakes.clock import StoppableClock
from tests.fakes.feed import FakeFeed
from tests.fakes.origin import Script
from tests.fakes.packages import make_nupkg
from tests.fakes.proxy import Proxy

NEWER = make_nupkg("Acme.A", "2.0.0")
PUSH = "/v3/package"


async def versions(proxy: Proxy) -> list[str]:
    got = await ask(proxy, VERSIONS)
    assert got.status == 200, got.body
    return list(json.loads(got.body)["versions"])


async def push(proxy: Proxy, body: bytes) -> None:
    form = FormData()
    form.add_field("package", body, filename="package.nupkg", content_type="application/octet-stream")
    got = await ask(proxy, PUSH, "PUT", data=form, headers={"X-NuGet-ApiKey": canary.API_KEY})
    assert got.status in {200, 201, 202}, got.body


async def live(proxy: Proxy) -> None:
    await soon(lambda: proxy.metric("announcements_live") == 1)


@pytest.mark.parametrize("with_bucket", [False, True], ids=["redis", "both"])
async def test_all_replicas_together_ask_once(
    start_replica: StartReplica, feed: FakeFeed, moto: Moto, redis: Redis, with_bucket: bool
) -> None:
    feed.add(SMALL)
    cluster = shared(moto if with_bucket else None, redis)
    replicas = [await start_replica(cluster) for _ in range(4)]
    found = await asyncio.gather(*(versions(one) for one in replicas for _ in range(5)))
    assert found == [["1.0.0"]] * 20
    assert feed.count(UP_VERSIONS) == 1


async def test_a_bucket_that_was_emptied_has_what_is_asked_for_within_an_hour(
    start_replica: StartReplica, feed: FakeFeed, moto: Moto, redis: Redis
) -> None:
    feed.add(SMALL)
    cluster, clock = shared(moto, redis), StoppableClock()
    replica = await start_replica(cluster, clock=clock)
    names = ("up/flat/acme.a/index.json", "up/index.json", "_truth/origins/up")
    for _ in range(2):
        assert await versions(replica) == ["1.0.0"]
        await settled(replica)
        for name in names:
            thing = bucket_of(cluster, moto)(name)
            await asyncio.to_thread(thing.load)  # it is there
            await asyncio.to_thread(thing.delete)
        clock.advance(3601)


async def test_a_push_through_one_is_announced_to_all(
    start_replica: StartReplica, feed: FakeFeed, redis: Redis
) -> None:
    """No time passes for them, so nobody learns of it by looking again."""
    feed.add(SMALL)
    cluster, clock = shared(None, redis), StoppableClock()
    replicas = [await start_replica(cluster, clock=clock) for _ in range(3)]
    for one in replicas:
        await live(one)
        assert await versions(one) == ["1.0.0"]
    clock.stop()
    await push(replicas[0], NEWER)
    for one in replicas:
        async with asyncio.timeout(20):
            while await versions(one) != ["1.0.0", "2.0.0"]:
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("with_bucket", [False, True], ids=["redis", "both"])
async def test_a_push_while_the_redis_is_away_is_seen_once_it_is_back(
    start_replica: StartReplica, feed: FakeFeed, moto: Moto, with_bucket: bool
) -> None:
    if not Redis.is_there():
        pytest.skip("redis-server is missing: install the Debian package redis-server")
    feed.add(SMALL)
    with running(Redis()) as own:
        assert isinstance(own, Redis)
        cluster = shared(moto if with_bucket else None, own)
        replicas = [await start_replica(cluster) for _ in range(2)]
        for one in replicas:
            await live(one)
            assert await versions(one) == ["1.0.0"]
        own.kill()
        await push(replicas[0], NEWER)
        assert await versions(replicas[1]) in (["1.0.0"], ["1.0.0", "2.0.0"])
        own.start()
        for one in replicas:
            async with asyncio.timeout(20):
                while await versions(one) != ["1.0.0", "2.0.0"]:
                    await asyncio.sleep(0.01)


async def test_what_came_from_another_replica_is_a_hit_like_any_from_then_on(
    start_replica: StartReplica, feed: FakeFeed, redis: Redis
) -> None:
    feed.add(SMALL)
    cluster, clock = shared(None, redis), StoppableClock()
    first, second = [await start_replica(cluster, clock=clock) for _ in range(2)]
    assert await versions(first) == ["1.0.0"]
    clock.stop()
    assert "detail=second_level" in (await ask(second, VERSIONS)).cache
    before = second.app.lane.answered
    assert "detail" not in (await ask(second, VERSIONS)).cache
    assert second.app.lane.answered == before + 1


async def test_what_a_bucket_has_missed_is_brought_there_when_it_is_back(
    start_replica: StartReplica, feed: FakeFeed, moto: Moto, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed.add(SMALL)
    cluster, clock = shared(moto, redis), StoppableClock()
    replicas = [await start_replica(cluster, clock=clock) for _ in range(2)]

    async def lost(*_: object) -> None:
        raise EngineUnavailable("bucket", "gone")

    with monkeypatch.context() as outage:
        outage.setattr(Bucket, "write", lost)
        for one in replicas:
            assert await versions(one) == ["1.0.0"]
            await settled(one)
    for one in replicas:
        clock.advance(3600.0)
        asked = feed.count(UP_VERSIONS)
        assert await versions(one) == ["1.0.0"]
        assert feed.count(UP_VERSIONS) == asked + 1  # it is as it was
        await settled(one)
    await feed.set_mode("refused")
    new = await start_replica(shared(moto, None, prefix=cluster["store"].rpartition("/")[2]))
    assert await versions(new) == ["1.0.0"]


@pytest.mark.slow
async def test_without_a_redis_it_is_seen_within_the_time_that_memory_holds(
    start_replica: StartReplica, feed: FakeFeed, moto: Moto
) -> None:
    feed.add(SMALL)
    cluster, clock = shared(moto, None), StoppableClock()
    replicas = [await start_replica(cluster, clock=clock) for _ in range(2)]
    for one in replicas:
        assert await versions(one) == ["1.0.0"]
    await push(replicas[0], NEWER)
    clock.advance(5.0)  # FOLLOW_SECONDS, and what the memory of documents adds
    assert [await versions(one) for one in replicas] == [["1.0.0", "2.0.0"]] * 2


@pytest.mark.parametrize("with_bucket", [False, True], ids=["redis", "bucket"])
async def test_a_push_is_seen_also_where_the_clock_of_an_earlier_one_was_ahead(
    start_replica: StartReplica, feed: FakeFeed, moto: Moto, redis: Redis, with_bucket: bool
) -> None:
    feed.add(SMALL)
    cluster = shared(moto, None) if with_bucket else shared(None, redis)
    clocks = [StoppableClock() for _ in range(3)]
    clocks[0].advance(3600.0)
    ahead, right, _ = replicas = [await start_replica(cluster, clock=clock) for clock in clocks]
    if not with_bucket:
        for one in replicas:
            await live(one)
    for pusher, version in ((ahead, "2.0.0"), (right, "3.0.0")):
        await push(pusher, make_nupkg("Acme.A", version))
        for clock in clocks:
            clock.advance(5.0)
        for one in replicas:
            async with asyncio.timeout(20):
                while version not in await versions(one):
                    await asyncio.sleep(0.01)
        for clock in clocks:
            clock.advance(REVALIDATE_SECONDS)  # until then all is asked for again in any case
        assert [version in await versions(one) for one in replicas] == [True] * 3


@pytest.mark.parametrize("at", ["nan", "inf", "-inf", "-1.0", "1e300"])
async def test_a_document_of_no_time_is_none(
    start_replica: StartReplica, feed: FakeFeed, redis: Redis, at: str
) -> None:
    import redis as client

    feed.add(SMALL)
    cluster = shared(None, redis)
    first = await start_replica(cluster)
    assert await versions(first) == ["1.0.0"]
    await settled(first)
    with client.Redis(port=redis.port) as connection:
        (name,) = list(connection.keys("*:document:versions:*"))
        connection.hset(name, "fetchedat", at)
    await feed.set_mode("refused")
    second = await start_replica(cluster)
    assert (await ask(second, VERSIONS)).status == 503


@pytest.mark.parametrize("said", [b"zzz", b"", b"999", b"\xff"])
async def test_a_damaged_mark_keeps_no_push_from_being_seen(
    start_replica: StartReplica, feed: FakeFeed, moto: Moto, said: bytes
) -> None:
    feed.add(SMALL)
    cluster, clock = shared(moto, None), StoppableClock()
    await asyncio.to_thread(bucket_of(cluster, moto)("_mark/up/acme.a").put, Body=said)
    replicas = [await start_replica(cluster, clock=clock) for _ in range(2)]
    for one in replicas:
        assert await versions(one) == ["1.0.0"]
    await push(replicas[0], NEWER)
    clock.advance(5.0)
    assert [await versions(one) for one in replicas] == [["1.0.0", "2.0.0"]] * 2


@pytest.mark.slow
@pytest.mark.parametrize("with_bucket", [False, True], ids=["redis", "bucket"])
async def test_a_slow_refresh_begun_before_a_push_never_comes_back(
    start_replica: StartReplica, feed: FakeFeed, moto: Moto, redis: Redis, with_bucket: bool
) -> None:
    feed.add(SMALL)
    cluster, clock = shared(moto, None) if with_bucket else shared(None, redis), StoppableClock()
    slow, quick, third = [await start_replica(cluster, clock=clock) for _ in range(3)]
    if not with_bucket:
        for one in (slow, quick, third):
            await live(one)
    gate = asyncio.Event()
    old = json.dumps({"versions": ["1.0.0"]}).encode()
    feed.origin.routes[UP_VERSIONS] = Script(body=old, headers=[("Content-Type", "application/json")], gate=gate)
    refresh = asyncio.create_task(ask(slow, VERSIONS))
    await soon(lambda: feed.count(UP_VERSIONS) == 1)
    del feed.origin.routes[UP_VERSIONS]
    await push(quick, NEWER)
    assert await versions(quick) == ["1.0.0", "2.0.0"]
    gate.set()
    await refresh
    await settled(slow)
    assert await versions(third) == ["1.0.0", "2.0.0"]
    assert await versions(quick) == ["1.0.0", "2.0.0"]
    if with_bucket:
        clock.advance(5.0)
    assert await versions(slow) == ["1.0.0", "2.0.0"]


async def test_what_upstream_would_never_say_is_not_believed_of_the_bucket_either(
    start_replica: StartReplica, feed: FakeFeed, redis: Redis
) -> None:
    import hashlib

    import redis as client

    feed.add(SMALL)
    cluster = shared(None, redis)
    first = await start_replica(cluster)
    assert await versions(first) == ["1.0.0"]
    await settled(first)
    page = b"<html>please log in</html>"
    with client.Redis(port=redis.port) as connection:
        (name,) = list(connection.keys("*:document:versions:*"))
        connection.hset(name, mapping={"body": page, "digest": hashlib.sha256(page).hexdigest()})
    second = await start_replica(cluster)
    assert await versions(second) == ["1.0.0"]


@pytest.mark.parametrize("engines", ["bucket", "redis", "both"])
async def test_what_was_purged_does_not_come_back_out_of_what_is_shared(
    start_replica: StartReplica, feed: FakeFeed, moto: Moto, redis: Redis, engines: str
) -> None:
    feed.add(SMALL)
    feed.add(make_nupkg("Acme.B", "1.0.0"))
    cluster = shared(moto if engines != "redis" else None, redis if engines != "bucket" else None)
    first = await start_replica(cluster)
    paths = (VERSIONS, REGISTRATION, "/v3/content/acme.b/index.json")
    for path in paths:
        assert (await ask(first, path)).status == 200
    await settled(first)
    (said,) = (await purged(first.app.desk, id="Acme.A"))["upstreams"]
    assert "says" not in said
    await feed.set_mode("refused")
    second = await start_replica(cluster)
    got = await asyncio.gather(*(ask(proxy, path) for proxy in (first, second) for path in paths))
    assert [one.status for one in got] == [503, 503, 200] * 2


async def test_a_push_of_which_only_the_redis_heard_is_known_after_it_has_forgotten(
    start_replica: StartReplica, feed: FakeFeed, moto: Moto, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    import redis as client

    feed.add(SMALL)
    cluster, policy = shared(moto, redis), {"versions": {"fresh": "1d"}}
    first = await start_replica(cluster, policy=policy)
    await live(first)
    assert await versions(first) == ["1.0.0"]
    await settled(first)

    async def lost(*_: object) -> None:
        raise EngineUnavailable("bucket", "gone")

    with monkeypatch.context() as outage:
        outage.setattr(Bucket, "write", lost)
        await push(first, NEWER)
        await soon(lambda: not [one for one in first.app.tasks.running() if one.get_name().startswith("announce ")])
    await soon(lambda: "repeat" not in {one.get_name() for one in first.app.tasks.running()})
    with client.Redis(port=redis.port) as connection:
        connection.flushall()
    second = await start_replica(cluster, policy=policy)
    assert await versions(second) == ["1.0.0", "2.0.0"]
