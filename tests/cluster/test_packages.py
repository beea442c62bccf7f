"""A package that one replica has fetched is had by all."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.cluster.conftest import StartReplica, shared
from tests.cluster.engines import Moto
from tests.fakes.asking import PACKAGE, SMALL, VERSIONS, ask, until
from tests.fakes.feed import FakeFeed


async def uploaded(proxy: Any) -> None:
    await until(lambda: proxy.metric("shared_total", what="package", outcome="stored") == 1)


async def test_it_comes_out_of_the_bucket_while_upstream_is_dead(
    start_replica: StartReplica, feed: FakeFeed, moto: Moto
) -> None:
    feed.add(SMALL)
    cluster = shared(moto, None)
    first = await start_replica(cluster)
    got = await ask(first, VERSIONS)
    assert (await ask(first, PACKAGE)).body == SMALL
    await uploaded(first)
    await until(
        lambda: not first.app.tasks.running() or first.metric("shared_total", what="document", outcome="miss") > 0
    )
    await asyncio.sleep(0.5)
    await feed.set_mode("refused")
    second = await start_replica(cluster)
    package = await ask(second, PACKAGE)
    assert (package.status, package.body) == (200, SMALL)
    assert package.cache == "fwd=uri-miss; stored; detail=second_level"
    assert (await ask(second, VERSIONS)).body == got.body
