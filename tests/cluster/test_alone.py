"""Who shares nothing pays nothing for it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.bench.calls import PATHS, WAYS, count, counted
from tests.cluster.conftest import StartReplica, shared
from tests.cluster.engines import Moto, Redis
from tests.cluster.test_packages import settled, soon
from tests.fakes.asking import PACKAGE, SMALL, VERSIONS, ask
from tests.fakes.feed import FakeFeed
from tests.fakes.proxy import Proxy

ROOT = Path(__file__).parent.parent.parent
PROGRAM = """
import asyncio, sys
from pathlib import Path
from nugetproxy.app import build
from nugetproxy.config import Config
from nugetproxy.config.tables import read

async def main():
    cache = {"directory": sys.argv[1], "min_free": "0"}
    config = read(Config, {"cache": cache, "upstreams": {"up": {"url": sys.argv[2]}}})
    async with build(config) as app:
        assert app.replicas is None
        assert all(one.shared is None for one in app.packages.values())
asyncio.run(main())
shared = {"obstore", "redis", "hiredis", "nugetproxy.cluster.bucket", "nugetproxy.cluster.coordinator"}
print(sorted(shared & sys.modules.keys()))
"""


def test_without_the_table_neither_client_is_imported(tmp_path: Path) -> None:
    index = "http://127.0.0.1:9/v3/index.json"
    environ = {name: value for name, value in os.environ.items() if not name.startswith("NUGETPROXY_")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, tmp_path / "cache", index],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[]"


SECOND_LEVEL = ("cluster/", "engine/shared_", "engine/turns.py", "app/replicas.py")
"""Where the code of the second level is, but for who asks it."""


SORTS = ("version list", "small package")


def of_second_level(calls: Counter[str]) -> list[str]:
    return [function for function in calls if function.startswith(SECOND_LEVEL)]


async def miss(proxy: Proxy, path: str) -> Counter[str]:
    """Our own functions that one cold request calls, whatever is done behind it included."""

    async def ask_once() -> None:
        got = await ask(proxy, path)
        assert (got.status, got.cache.startswith("fwd=uri-miss")) == (200, True), got.cache
        await settled(proxy)

    return await counted(ask_once)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", PATHS)
async def test_without_the_table_a_hit_calls_nothing_of_it(proxy: Proxy, feed: FakeFeed, name: str, way: str) -> None:
    feed.add(SMALL)
    calls = await count(proxy, PATHS[name], WAYS[way])
    assert calls
    assert of_second_level(calls) == []


async def test_without_the_table_a_miss_calls_nothing_of_it(proxy: Proxy, feed: FakeFeed) -> None:
    feed.add(SMALL)
    for path in (VERSIONS, PACKAGE):
        calls = await miss(proxy, path)
        assert calls
        assert of_second_level(calls) == []


async def test_with_it_what_that_costs_is_reported(
    start_replica: StartReplica, feed: FakeFeed, moto: Moto, redis: Redis, record_property: Any
) -> None:
    """A hit out of a replica's own cache asks no engine, as long as others' writes are announced."""
    feed.add(SMALL)
    alone = await start_replica({})
    cold = [sum((await miss(alone, path)).values()) for path in (VERSIONS, PACKAGE)]
    warm = [sum((await count(alone, PATHS[name], {})).values()) for name in SORTS]
    await alone.stop()
    shares = await start_replica(shared(moto, redis))
    await soon(lambda: shares.metric("announcements_live") == 1)
    for path, before in zip((VERSIONS, PACKAGE), cold, strict=True):
        calls = await miss(shares, path)
        assert of_second_level(calls), "else the tests above could not fail"
        record_property(f"own calls of a miss without engines, with them: {path}", f"{before}, {sum(calls.values())}")
    asked = engine_calls(shares)
    for name, before in zip(SORTS, warm, strict=True):
        calls = await count(shares, PATHS[name], {})
        record_property(f"own calls of 100 hits, the same: {name}", f"{before}, {sum(calls.values())}")
        assert sum(calls.values()) < 1.2 * before
    assert engine_calls(shares) - asked < 20  # of 210 hits: what the misses before them do in the background


def engine_calls(proxy: Proxy) -> int:
    """Of the one that clients wait for first; the bucket is asked for decisions in the background."""
    return proxy.app.metrics.engines.of("coordination").ok
