"""A hit under rules costs hardly more than one without them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.bench.calls import WAYS, count
from tests.conftest import StartProxy
from tests.fakes.feed import FakeFeed
from tests.fakes.proxy import Proxy
from tests.rules.conftest import COOLDOWN

Stock = Callable[..., None]
TIMES = 25
PATHS = {
    "version list": "content/acme.a/index.json",
    "registration": "registration/gz-semver2/acme.a/index.json",
    "small package": "content/acme.a/1.0.0/acme.a.1.0.0.nupkg",
    "nuspec": "content/acme.a/1.0.0/acme.a.nuspec",
}
HOLE = {"url": "https://example.test/1", "severity": 2, "versions": "[2.0.0]"}


@pytest.mark.parametrize("young", [False, True], ids=["all is old enough", "a version is too young"])
async def test_a_hit_under_rules_takes_hardly_more_calls(
    start_proxy: StartProxy, stock: Stock, feed: FakeFeed, young: bool
) -> None:
    """In calls of our own functions, which unlike times are the same on every machine."""
    stock("Acme.A", {"1.0.0": 30, "1.1.0": 3 if young else 20})
    feed.vulnerabilities["base"] = {"acme.b": [HOLE]}
    own = {"name": "own", "action": "allow", "ids": ["Contoso.*"]}
    rules = [own, COOLDOWN, {"name": "holes", "max_severity": "high"}]
    feeds = {"ruled": {"sources": ["up"], "rules": rules}, "open": {"sources": ["up"]}}
    proxy = await start_proxy(feed.index_url, feeds=feeds)
    for name, path in PATHS.items():
        without = await calls(proxy, f"/open/v3/{path}")
        ruled = await calls(proxy, f"/ruled/v3/{path}")
        assert ruled <= 1.1 * without, (name, ruled, without)


async def calls(proxy: Proxy, path: str) -> int:
    """Of our own on the ordinary path, for some hits; what goes on behind them only adds to it."""
    return min([(await count(proxy, path, WAYS["ordinary path"], TIMES)).total() for _ in range(2)])
