"""Shops: a feed with rules in front of packages of different ages."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.conftest import StartProxy
from tests.fakes.asking import Got, ask
from tests.fakes.clock import FakeClock
from tests.fakes.feed import FakeFeed
from tests.fakes.packages import make_nupkg
from tests.fakes.proxy import Proxy

HIVE = "/v3/registration/gz-semver2"
COOLDOWN = {"name": "cooldown", "min_age": "7d", "reason": "New versions wait a week"}

ORDINARY = {"headers": {"X-Unknown": "1"}}
"""Keeps a request out of the lane."""

StartShop = Callable[..., Awaitable["Shop"]]


@dataclass(slots=True)
class Shop:
    """A proxy of one feed, with what its clients see of it."""

    proxy: Proxy
    feed: FakeFeed
    root: str = ""
    """The path in front of ``/v3/``."""

    async def get(self, path: str, method: str = "GET", **more: Any) -> Got:
        return await ask(self.proxy, f"{self.root}{path.removeprefix(self.proxy.url + self.root)}", method, **more)

    async def read(self, path: str, **more: Any) -> Any:
        got = await self.get(path, **more)
        assert got.status == 200, (path, got.status, got.body)
        return json.loads(got.body)

    async def package(self, id: str, version: str, method: str = "GET", **more: Any) -> Got:
        return await self.get(f"/v3/content/{id}/{version}/{id}.{version}.nupkg", method, **more)

    # --- the versions of an id that each surface shows ---

    async def listed(self, id: str, **more: Any) -> list[str]:
        got = await self.get(f"/v3/content/{id}/index.json", **more)
        return [] if got.status == 404 else list(json.loads(got.body)["versions"])

    async def registered(self, id: str, hive: str = HIVE, **more: Any) -> list[str]:
        """Of the registration, whose counts and bounds are right."""
        got = await self.get(f"{hive}/{id}/index.json", **more)
        if got.status == 404:
            return []
        index = json.loads(got.body)
        assert index["count"] == len(index["items"])
        found: list[str] = []
        for item in index["items"]:
            page = item if "items" in item else await self.read(item["@id"], **more)
            versions = [leaf["catalogEntry"]["version"] for leaf in page["items"]]
            assert item["count"] == page["count"] == len(versions)
            assert (item["lower"], item["upper"]) == (page["lower"], page["upper"]) == (versions[0], versions[-1])
            found += versions
        return found

    async def searched(self, id: str) -> list[str]:
        result = await self.read(f"/v3/query?q=packageid:{id}&prerelease=true&semVerLevel=2.0.0")
        assert result["totalHits"] == len(result["data"])
        hits = [hit for hit in result["data"] if hit["id"].lower() == id]
        versions = [one["version"] for hit in hits for one in hit["versions"]]
        assert [hit["version"] for hit in hits] == versions[-1:]
        return versions

    async def completed(self, id: str) -> list[str]:
        versions = (await self.read(f"/v3/autocomplete?id={id}&prerelease=true&semVerLevel=2.0.0"))["data"]
        ids = (await self.read(f"/v3/autocomplete?q={id}&prerelease=true&semVerLevel=2.0.0"))["data"]
        assert (id in [one.lower() for one in ids]) is bool(versions)
        return list(versions)

    async def catalogued(self, id: str) -> list[str]:
        index = await self.read("/v3/catalog/index.json")
        pages = [await self.read(item["@id"]) for item in index["items"]]
        assert all(page["count"] == len(page["items"]) for page in pages)
        items = [item for page in pages for item in page["items"]]
        return [item["nuget:version"] for item in items if item["nuget:id"].lower() == id]


@pytest.fixture
def start_shop(start_proxy: StartProxy, feed: FakeFeed) -> StartShop:
    """Starts shops: ``await start_shop(rule, ...)``; ``keys`` of the feed's table, other ``tables``."""

    async def start(*rules: dict[str, Any], keys: dict[str, Any] = {}, **tables: Any) -> Shop:  # noqa: B006
        own = {"sources": ["up"], "rules": list(rules), **keys}
        return Shop(await start_proxy(feed.index_url, feeds={"up": own}, **tables), feed)

    return start


@pytest.fixture
def stock(feed: FakeFeed, clock: FakeClock) -> Callable[..., None]:
    """Publishes versions by their age in days: ``stock("Acme.A", {"1.0.0": 30})``."""

    def add(id: str, ages: dict[str, float], *, listed: bool = True, **more: Any) -> None:
        for version, days in ages.items():
            feed.add(make_nupkg(id, version, **more), listed=listed, at=ago(clock, days))

    return add


def ago(clock: FakeClock, days: float) -> datetime:
    """So many days before now."""
    return datetime.fromtimestamp(clock.now(), UTC) - timedelta(days=days)
