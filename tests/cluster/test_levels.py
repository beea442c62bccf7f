"""Operators see how the engines are, whatever they look at."""

from __future__ import annotations

import json
from typing import Any

from nugetproxy.cli import stats
from tests.cluster.conftest import StartReplica, shared
from tests.cluster.engines import Moto, Redis
from tests.cluster.test_packages import settled, uploaded
from tests.fakes.asking import PACKAGE, SMALL, VERSIONS, ask
from tests.fakes.feed import FakeFeed
from tests.fakes.proxy import Proxy


async def levels(proxy: Proxy) -> dict[str, dict[str, Any]]:
    """By engine, as ``/-/stats`` tells an administrator."""
    _, secret = await proxy.app.tokens.add(f"boss{id(object())}", ["admin"], [], None)
    got = await ask(proxy, "/-/stats", headers={"Authorization": f"Bearer {secret}"})
    return {one["engine"]: one for one in json.loads(got.body)["levels"]}


async def test_who_shares_nothing_has_no_second_level(start_replica: StartReplica, feed: FakeFeed) -> None:
    proxy = await start_replica({})
    assert await levels(proxy) == {}
    assert json.loads((await ask(proxy, "/page/live")).body)["levels"] == []


async def test_each_engine_tells_of_its_hits_misses_errors_and_time(
    start_replica: StartReplica, feed: FakeFeed, moto: Moto, redis: Redis
) -> None:
    feed.add(SMALL)
    cluster = shared(moto, redis)
    first = await start_replica(cluster)
    for path in (VERSIONS, PACKAGE):
        assert (await ask(first, path)).status == 200
    await uploaded(first)
    await settled(first)
    seen = await levels(first)
    assert seen.keys() == {"bucket", "bucket_writes", "coordination"}
    assert seen["bucket"]["hits"] == 0 < seen["bucket"]["misses"]
    second = await start_replica(cluster)
    for path in (VERSIONS, PACKAGE):
        assert (await ask(second, path)).status == 200
    await settled(second)
    seen = await levels(second)
    assert (seen["bucket"]["hits"], seen["coordination"]["hits"] >= 2) == (1, True)  # the package; the documents
    for one in seen.values():
        assert (one["errors"], one["breaker"]) == (0, "closed")
        assert one["calls"] == 0 or one["seconds"] > 0
    told = {one["engine"]: one for one in json.loads((await ask(second, "/page/live")).body)["levels"]}
    assert told.keys() == seen.keys()
    assert {name: one["hits"] for name, one in told.items()} == {name: one["hits"] for name, one in seen.items()}


async def test_one_that_is_lost_is_said_to_be(start_replica: StartReplica, feed: FakeFeed) -> None:
    feed.add(SMALL)
    proxy = await start_replica({"coordination": "redis://127.0.0.1:9/0"})
    for _ in range(3):
        await proxy.app.replicas.second.follow("up", "acme.a")  # type: ignore[union-attr]
    assert (await ask(proxy, VERSIONS)).status == 200
    one = (await levels(proxy))["coordination"]
    assert (one["breaker"], one["errors"] >= 3, one["refused"] >= 1) == ("open", True, True)
    assert (await ask(proxy, "/health/ready")).status == 200


def test_the_command_line_has_a_table_of_them(monkeypatch: Any, capsys: Any) -> None:
    said = {"version": "1", "running": True, "limit": 1, "kept": 0, "requests": 0, "hit_ratio": None}
    said |= {"problems": [], "upstreams": []}
    row = {"engine": "bucket", "hits": 7, "misses": 2, "errors": 3, "breaker": "open", "seconds": 0.0123}
    monkeypatch.setattr(stats, "tell", lambda *_: {**said, "levels": [row, {**row, "engine": "x", "seconds": None}]})
    monkeypatch.setenv("COLUMNS", "200")
    stats.stats()
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    lost = ["lost;", "this", "replica", "goes", "on", "without", "it"]
    assert ["bucket", "7", "2", "3", "12.3", "ms", *lost] in lines
    assert ["x", "7", "2", "3", "-", *lost] in lines
