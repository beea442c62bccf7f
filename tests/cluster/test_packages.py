"""A package that one replica has fetched is had by all."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import boto3
import pytest

from nugetproxy.admin.held_commands import purged
from nugetproxy.cluster.engines import EngineUnavailable
from nugetproxy.cluster.second_level import SecondLevel
from nugetproxy.engine.shared_packages import Uploads
from nugetproxy.metrics import Metrics
from tests.cluster.conftest import StartReplica, shared
from tests.cluster.engines import S3, Engine, Moto, Redis
from tests.fakes.asking import LARGE, PACKAGE, SMALL, UP_PACKAGE, VERSIONS, ask, held
from tests.fakes.feed import FakeFeed
from tests.fakes.packages import make_nupkg
from tests.fakes.proxy import Proxy
from tests.fakes.signing import Seal, authority, signed

KEY = "up/flat/acme.a/1.0.0/acme.a.1.0.0.nupkg"


async def soon(true: Any) -> None:
    async with asyncio.timeout(20):
        while not true():
            await asyncio.sleep(0.01)


async def uploaded(proxy: Proxy, packages: int = 1) -> None:
    await soon(lambda: proxy.metric("shared_total", engine="bucket", what="package", outcome="stored") == packages)
    await soon(lambda: proxy.metric("uploads_waiting") == 0)


async def with_package(start_replica: StartReplica, cluster: dict[str, str], body: bytes = SMALL) -> Proxy:
    """A replica that has fetched a package, which is in the bucket."""
    replica = await start_replica(cluster)
    assert (await ask(replica, PACKAGE)).body == body
    await uploaded(replica)
    return replica


async def settled(proxy: Proxy) -> None:
    """Whatever is written behind an answer is written."""
    await soon(lambda: not [one for one in proxy.app.tasks.running() if one.get_name().startswith(("share", "upload"))])


def bucket_of(cluster: dict[str, str], engine: S3) -> Any:
    """The objects of a replica's bucket, as anybody sees them who may write there."""
    client = boto3.resource(
        "s3",
        endpoint_url=engine.endpoint,
        region_name=engine.region,
        aws_access_key_id=engine.key,
        aws_secret_access_key=engine.secret,
    )
    prefix = cluster["store"].rpartition("/")[2]
    return lambda key: client.Object(engine.bucket, f"{prefix}/{key}")


async def test_with_upstream_dead_a_new_replica_serves_what_the_bucket_has(
    start_replica: StartReplica, feed: FakeFeed, moto: Moto
) -> None:
    feed.add(SMALL)
    cluster = shared(moto, None)
    first = await start_replica(cluster)
    versions = await ask(first, VERSIONS)
    assert (await ask(first, PACKAGE)).body == SMALL
    await uploaded(first)
    await settled(first)
    await feed.set_mode("refused")
    second = await start_replica(cluster)
    package = await ask(second, PACKAGE)
    assert (package.status, package.body) == (200, SMALL)
    assert package.cache == "fwd=uri-miss; stored; detail=second_level"
    assert (await ask(second, VERSIONS)).body == versions.body
    assert "acme.a.1.0.0.nupkg" in held(second)


async def test_nobody_waits_for_a_package_of_another_feed_of_the_same_name(
    start_replica: StartReplica, feed: FakeFeed, moto: Moto
) -> None:
    """Of one that is configured otherwise: what it brings is never taken."""
    cluster = shared(moto, None)
    async with FakeFeed() as other:
        for one in (feed, other):
            one.add(SMALL)
        replicas = [await start_replica(cluster), await start_replica(cluster, index_url=other.index_url)]
        for replica in replicas:
            await soon(lambda replica=replica: replica.metric("leases_kept") == 1)
            assert (await ask(replica, VERSIONS)).status == 200
        await feed.set_mode("hang")
        first = asyncio.create_task(ask(replicas[0], PACKAGE))
        await soon(lambda: feed.count(UP_PACKAGE) == 1)
        async with asyncio.timeout(10):  # it would be waited for twice as long
            assert (await ask(replicas[1], PACKAGE)).body == SMALL
        await feed.set_mode("up")
        assert (await first).body == SMALL


async def test_a_head_is_answered_out_of_the_bucket_before_upstream_is_asked(
    start_replica: StartReplica, feed: FakeFeed, moto: Moto
) -> None:
    feed.add(SMALL)
    cluster = shared(moto, None)
    await with_package(start_replica, cluster)
    second = await start_replica(cluster)
    asked = feed.count(UP_PACKAGE)
    got = await ask(second, PACKAGE, "HEAD")
    assert (got.status, got.headers["Content-Length"]) == (200, str(len(SMALL)))
    assert got.cache == "hit; detail=second_level"
    assert (feed.count(UP_PACKAGE), held(second)) == (asked, set())


async def test_a_head_of_what_the_bucket_has_other_bytes_of_is_upstreams(
    start_replica: StartReplica, feed: FakeFeed, moto: Moto
) -> None:
    feed.add(SMALL)
    cluster = shared(moto, None)
    replica = await with_package(start_replica, cluster)
    await forge(bucket_of(cluster, moto), "forged")
    await replica.stop()
    shutil.rmtree(replica.packages / "acme.a")
    await replica.start()
    got = await ask(replica, PACKAGE, "HEAD")
    assert (got.status, got.headers["Content-Length"]) == (200, str(len(SMALL)))
    assert got.cache == "fwd=bypass; fwd-status=200"


async def forge(bucket: Any, how: str) -> None:
    good = await asyncio.to_thread(lambda: bucket(KEY).get())
    body, said = good["Body"].read(), dict(good["Metadata"])
    if how == "cut":
        body = body[:-100]
    elif how == "altered":
        body = body[:50] + bytes([body[50] ^ 1]) + body[51:]
    else:
        body = make_nupkg("Acme.A", "1.0.0", description="forged")
        said["sha512"] = base64.b64encode(hashlib.sha512(body).digest()).decode()
    await asyncio.to_thread(lambda: bucket(KEY).put(Body=body, Metadata=said))


@pytest.mark.parametrize("how", ["cut", "altered", "forged"])
async def test_what_the_bucket_has_wrong_is_refused_fetched_again_and_replaced(
    start_replica: StartReplica, feed: FakeFeed, moto: Moto, capsys: pytest.CaptureFixture[str], how: str
) -> None:
    """Forged content with a forged hash beside it is known by the pin of this replica."""
    feed.add(LARGE)
    cluster = shared(moto, None)
    first = await with_package(start_replica, cluster, LARGE)
    await forge(bucket_of(cluster, moto), how)
    second = await start_replica(cluster) if how != "forged" else first
    if how == "forged":
        await first.stop()
        shutil.rmtree(first.packages / "acme.a")
        await first.start()
    asked = feed.count(UP_PACKAGE)
    got = await ask(second, PACKAGE)
    assert (got.status, got.body) == (200, LARGE)
    assert feed.count(UP_PACKAGE) == asked + 1
    assert "bucket.refused" in capsys.readouterr().out
    await uploaded(second)
    stored = await asyncio.to_thread(lambda: bucket_of(cluster, moto)(KEY).get()["Body"].read())
    assert stored == LARGE


async def purge(proxy: Proxy) -> Mapping[str, Any]:
    """What an operator is told of it."""
    (said,) = (await purged(proxy.app.desk, id="Acme.A", version="1.0.0"))["upstreams"]
    assert (said["removed"], said["size"]) == (["1.0.0"], len(SMALL))
    return dict(said)


@pytest.mark.parametrize("when", ["later", "while it is on its way there"])
async def test_a_purge_is_one_in_the_bucket_too(
    start_replica: StartReplica, feed: FakeFeed, moto: Moto, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    feed.add(SMALL)
    cluster = shared(moto, None)
    if when == "later":
        first = await with_package(start_replica, cluster)
        assert "says" not in await purge(first)
    else:
        first, may, put = await start_replica(cluster), asyncio.Event(), SecondLevel.put_package

        async def slowly(*words: Any, **more: Any) -> None:
            await may.wait()
            await put(*words, **more)

        monkeypatch.setattr(SecondLevel, "put_package", slowly)
        assert (await ask(first, PACKAGE)).body == SMALL
        await soon(lambda: first.metric("uploads_waiting") == 1)
        assert "says" not in await purge(first)
        may.set()
        await soon(lambda: first.metric("uploads_waiting") == 0)
    second = await start_replica(cluster)
    await feed.set_mode("refused")
    assert (await ask(second, PACKAGE)).status == 503


async def test_a_purge_that_the_bucket_has_not_heard_of_says_so(
    start_replica: StartReplica, feed: FakeFeed, moto: Moto, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed.add(SMALL)
    first = await with_package(start_replica, shared(moto, None))

    async def lost(*_: object) -> None:
        raise EngineUnavailable("bucket", "no answer within 2 s")

    with monkeypatch.context() as outage:
        outage.setattr(SecondLevel, "remove_package", lost)
        told = (await purge(first))["says"]
    assert told == (
        "the shared bucket gives no answer (no answer within 2 s), and brings back what it has; purge again later"
    )
    assert held(first) == set()
    await feed.set_mode("refused")
    assert (await ask(first, PACKAGE)).cache.endswith("detail=second_level")
    assert "says" not in await purge(first)
    assert (await ask(first, PACKAGE)).status == 503


@pytest.mark.parametrize(
    ("which", "how"),
    [
        ("redis", "dead"),
        *(pytest.param("redis", how, marks=pytest.mark.slow) for how in ("hangs", "forgets")),
        *(pytest.param("bucket", how, marks=pytest.mark.slow) for how in ("dead", "hangs", "forgets")),
    ],
)
async def test_an_engine_that_fails_costs_time_but_no_answer(
    start_replica: StartReplica, feed: FakeFeed, impatient: None, which: str, how: str
) -> None:
    """Engines of their own: whatever hangs must not hang for other tests."""
    feed.add(SMALL)
    engines: dict[str, Engine] = {"bucket": Moto(), "redis": Redis()}
    if not all(one.is_there() for one in engines.values()):
        pytest.skip("moto and redis-server are needed")
    try:
        store, redis = engines["bucket"].start(), engines["redis"].start()
        assert isinstance(store, Moto) and isinstance(redis, Redis)
        store.make_bucket()
        proxy = await start_replica(shared(store, redis))
        failing = engines[which]
        if how == "hangs":
            failing.hang()
        else:
            failing.kill()
        if how == "forgets":
            failing.start()
        loop = asyncio.get_running_loop()
        began = loop.time()
        got = await ask(proxy, PACKAGE)
        assert (got.status, got.body) == (200, SMALL)
        assert loop.time() - began < 8  # one look of 1 s, one lease of 1 s; a busy machine
        assert (await ask(proxy, VERSIONS)).status == 200
        assert (await ask(proxy, "/health/ready")).status == 200
    finally:
        for one in engines.values():
            one.end()


async def test_while_a_redis_is_lost_replicas_lease_through_the_bucket(
    start_replica: StartReplica, feed: FakeFeed, moto: Moto
) -> None:
    feed.add(SMALL)
    cluster = {**shared(moto, None), "coordination": "redis://127.0.0.1:9/0"}
    replicas = [await start_replica(cluster) for _ in range(4)]
    for one in replicas:
        await soon(lambda one=one: one.metric("leases_kept") == 1)
        await soon(lambda one=one: one.metric("engine_open", engine="coordination") == 1)
    found = await asyncio.gather(*(ask(one, PACKAGE) for one in replicas))
    assert [(one.status, one.body) for one in found] == [(200, SMALL)] * 4
    assert feed.count(UP_PACKAGE) == 1


async def test_what_is_beyond_the_room_for_uploads_is_dropped() -> None:
    metrics = Metrics()
    uploads = Uploads(metrics)
    assert all(uploads.admit(1) for _ in range(uploads.most))
    assert not uploads.admit(1)
    for _ in range(uploads.most):
        uploads.done(1)
    assert uploads.admit(uploads.most_bytes * 2)  # a large one alone is let through
    assert not uploads.admit(1)


def test_who_fails_says_which_engine_and_what_becomes_of_it() -> None:
    told = str(EngineUnavailable("bucket", "no answer within 2 s"))
    assert told == "The shared bucket gives no answer (no answer within 2 s); this replica goes on without it."


@pytest.mark.parametrize("by", ["somebody trusted", "a stranger"])
async def test_what_another_replica_has_brought_is_judged_by_its_signature_before_it_goes_out(
    start_replica: StartReplica, feed: FakeFeed, moto: Moto, tmp_path: Path, by: str
) -> None:
    """The first replica does not look; the second trusts one authority."""
    trusted, other = authority("Root"), authority("Other Root")
    roots = tmp_path / "roots.pem"
    roots.write_bytes(trusted.pem)
    package = signed(SMALL, Seal(by=(trusted if by == "somebody trusted" else other).issue("Author")))
    feed.add(package)
    cluster = shared(moto, None)
    first = await start_replica(cluster)
    assert (await ask(first, PACKAGE)).body == package
    await uploaded(first)
    second = await start_replica(cluster, upstream={"signatures": "require", "signature_roots": [str(roots)]})
    for _ in range(2):
        got = await ask(second, PACKAGE)
        if by == "somebody trusted":
            assert (got.status, got.body) == (200, package)
        else:
            assert got.status == 403
            assert "its signature does not count (signer)" in got.reason
            assert held(second) == set(), "nothing of it is kept as good"
    assert feed.count(UP_PACKAGE) == 1, "it came out of the bucket"
    verdict = "counts" if by == "somebody trusted" else "signer"
    assert second.metric("signatures_total", upstream="up", verdict=verdict) == 1
