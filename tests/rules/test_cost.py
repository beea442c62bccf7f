"""A hit under rules costs hardly more than one without them."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import product

import pytest

from tests.bench.calls import WAYS, count
from tests.conftest import StartProxy
from tests.fakes.asking import ask
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
OF_SEVERAL = {
    "registration with pages of its own": "registration/gz-semver2/acme.many/index.json",
    "search": "query?q=acme&prerelease=true&semVerLevel=2.0.0",
    "search of an id": "query?q=packageid:acme.a",
    "completed id": "autocomplete?q=acme&prerelease=true&semVerLevel=2.0.0",
    "completed version": "autocomplete?id=acme.many&prerelease=true&semVerLevel=2.0.0",
}
"""What is made of several documents, or of what is known of several ids."""
HOLE = {"url": "https://example.test/1", "severity": 2, "versions": "[2.0.0]"}


@pytest.mark.slow
@pytest.mark.parametrize("young", [False, True], ids=["all is old enough", "a version is too young"])
async def test_a_hit_under_rules_takes_hardly_more_calls(
    start_proxy: StartProxy, stock: Stock, feed: FakeFeed, young: bool
) -> None:
    """In calls of our own functions, which unlike times are the same on every machine."""
    stock("Acme.A", {"1.0.0": 30, "1.1.0": 3 if young else 20})
    stock("Acme.Many", {f"1.{number}.0": 200.0 - number for number in range(150)} | {"2.0.0": 3 if young else 20})
    feed.vulnerabilities["base"] = {"acme.b": [HOLE]}
    own = {"name": "own", "action": "allow", "ids": ["Contoso.*"]}
    rules = [own, COOLDOWN, {"name": "holes", "max_severity": "high"}]
    feeds = {"ruled": {"sources": ["up"], "rules": rules}, "open": {"sources": ["up"]}}
    proxy = await start_proxy(feed.index_url, feeds=feeds)
    index = await ask(proxy, "/open/v3/registration/gz-semver2/acme.many/index.json")
    page = json.loads(index.body)["items"][-1]["@id"].partition("/open/v3/")[2]
    for (name, path), way in [
        *product({**PATHS, "page of a registration": page}.items(), WAYS),
        *product(OF_SEVERAL.items(), ["as clients ask"]),
    ]:
        without = await calls(proxy, f"/open/v3/{path}", way)
        ruled = await calls(proxy, f"/ruled/v3/{path}", way)
        assert ruled <= 1.1 * without, (name, way, ruled, without)


async def calls(proxy: Proxy, path: str, way: str) -> int:
    """Of our own for some hits; what goes on behind them only adds to it."""
    return min([(await count(proxy, path, WAYS[way], TIMES)).total() for _ in range(2)])
