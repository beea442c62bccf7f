"""Documents of odd forms under rules: pages behind opaque links, long searches, large lists, feeds without a list."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import StartProxy
from tests.fakes.asking import until
from tests.fakes.clock import FakeClock
from tests.fakes.feed import FakeFeed
from tests.fakes.origin import Origin, Script
from tests.fakes.packages import make_nupkg
from tests.rules.conftest import COOLDOWN, HIVE, Shop, StartShop, ago

Stock = Callable[..., None]
OLD, YOUNG = "2020-01-01T00:00:00Z", "2027-01-14T00:00:00Z"


def leaf(root: str, version: str, published: str) -> dict[str, Any]:
    entry = {"@id": f"{root}/e/{version}", "id": "Acme.A", "version": version, "published": published}
    return {"@id": f"{root}/odd/{version}.json", "catalogEntry": entry, "packageContent": f"{root}/p/{version}.nupkg"}


def document(body: object) -> Script:
    return Script(headers=[("Content-Type", "application/json")], body=json.dumps(body).encode())


@pytest.fixture
async def odd(start_proxy: StartProxy, origin: Origin) -> Shop:
    """A feed that keeps its registration pages and leaves where nobody knows them to be."""
    root = origin.url
    page = {"@id": f"{root}/odd/page", "count": 2, "lower": "1.0.0", "upper": "2.0.0"}
    leaves = [leaf(root, "1.0.0", OLD), leaf(root, "2.0.0", YOUNG)]
    origin.routes["/v3/index.json"] = document(
        {
            "version": "3.0.0",
            "resources": [
                {"@id": f"{root}/flat/", "@type": "PackageBaseAddress/3.0.0"},
                {"@id": f"{root}/reg/", "@type": "RegistrationsBaseUrl/3.6.0"},
            ],
        }
    )
    origin.routes["/flat/acme.a/index.json"] = document({"versions": ["1.0.0", "2.0.0"]})
    origin.routes["/reg/acme.a/index.json"] = document({"count": 1, "items": [page]})
    origin.routes["/odd/page"] = document({**page, "items": leaves})
    for one, version in zip(leaves, ("1.0.0", "2.0.0"), strict=True):
        origin.routes[f"/odd/{version}.json"] = document(one)
    table = {"sources": ["up"], "rules": [COOLDOWN]}
    return Shop(await start_proxy(f"{root}/v3/index.json", feeds={"up": table}), None)  # type: ignore[arg-type]


async def test_pages_and_leaves_behind_opaque_links_hide_what_is_denied(odd: Shop) -> None:
    index = await odd.read(f"{HIVE}/acme.a/index.json")
    (item,) = index["items"]
    assert (item["count"], item["lower"], item["upper"]) == (1, "1.0.0", "1.0.0")
    assert "/x/" in item["@id"]
    page = await odd.read(item["@id"])
    assert [one["catalogEntry"]["version"] for one in page["items"]] == ["1.0.0"]
    assert (await odd.get(page["items"][0]["@id"])).status == 200


async def test_a_leaf_behind_an_opaque_link_is_refused(odd: Shop, origin: Origin, start_proxy: StartProxy) -> None:
    await odd.proxy.stop()
    open_ = Shop(await start_proxy(f"{origin.url}/v3/index.json"), None)  # type: ignore[arg-type]
    page = await open_.read((await open_.read(f"{HIVE}/acme.a/index.json"))["items"][0]["@id"])
    links = [one["@id"].removeprefix(open_.proxy.url) for one in page["items"]]
    await open_.proxy.stop()
    await odd.proxy.start()
    assert [(await odd.get(link)).status for link in links] == [200, 403]


async def test_pages_of_a_search_are_cut_out_of_what_is_left(start_shop: StartShop, stock: Stock) -> None:
    for number in range(12):
        stock(f"Acme.N{number:02}", {"1.0.0": 1 if number % 3 == 0 else 30})
    left = [f"Acme.N{number:02}" for number in range(12) if number % 3]
    shop = await start_shop(COOLDOWN)
    found: list[str] = []
    for skip in (0, 3, 6):
        result = await shop.read(f"/v3/query?q=acme&skip={skip}&take=3")
        found += [hit["id"] for hit in result["data"]]
        completed = await shop.read(f"/v3/autocomplete?q=acme&skip={skip}&take=3")
        assert completed["data"] == [hit["id"] for hit in result["data"]]
    assert found == left
    assert (await shop.read("/v3/query?q=acme&take=100"))["totalHits"] == 8


@pytest.mark.parametrize("service", ["query", "autocomplete"])
async def test_upstream_is_asked_for_no_more_hits_than_it_gives_at_once(
    start_shop: StartShop, stock: Stock, feed: FakeFeed, service: str
) -> None:
    for number in range(5):
        stock(f"Acme.N{number}", {"1.0.0": 30})
    shop = await start_shop(COOLDOWN)
    assert len((await shop.read(f"/v3/{service}?q=acme&skip=2&take=1000"))["data"]) == 3
    assert (await shop.read(f"/v3/{service}?q=acme&skip=1500&take=20"))["data"] == []


async def test_a_hit_stands_for_the_newest_version_that_is_left(
    start_shop: StartShop, feed: FakeFeed, stock: Stock
) -> None:
    stock("Acme.A", {"1.0.0": 30, "2.0.0": 1})
    feed.registration_extra["acme.a"] = {"1.0.0": {"deprecation": {"reasons": ["Legacy"]}}}
    hole = {"url": "https://example.test/1", "severity": 2, "versions": "[1.0.0, 2.0.0]"}
    feed.vulnerabilities["base"] = {"acme.a": [hole]}
    shop = await start_shop(COOLDOWN)
    (hit,) = (await shop.read("/v3/query?q=acme&prerelease=true"))["data"]
    assert hit["version"] == "1.0.0"
    assert hit["deprecation"] == {"reasons": ["Legacy"]}
    assert hit["vulnerabilities"] == [{"advisoryUrl": "https://example.test/1", "severity": "2"}]


async def test_what_is_new_of_the_version_that_stands_for_an_id_is_told(
    start_shop: StartShop, feed: FakeFeed, stock: Stock, clock: FakeClock
) -> None:
    """Nothing that is hidden has changed, nor what upstream's search says of its newest version."""
    stock("Acme.A", {"1.0.0": 30, "2.0.0": 1})
    shop = await start_shop({**COOLDOWN, "advisory_bypass": False}, {"name": "holes", "max_severity": "high"})
    hits = [(await shop.read("/v3/query?q=acme"))["data"][0]]
    feed.vulnerabilities["base"] = {"acme.a": [{"url": "https://example.test/1", "severity": 1, "versions": "[1.0.0]"}]}
    feed.registration_extra["acme.a"] = {"1.0.0": {"deprecation": {"reasons": ["Legacy"]}}}
    clock.advance(3 * 3600)
    await until(lambda: not shop.proxy.app.tasks.running())
    hits.append((await shop.read("/v3/query?q=acme"))["data"][0])
    assert [(hit["version"], len(hit["vulnerabilities"]), "deprecation" in hit) for hit in hits] == [
        ("1.0.0", 0, False),
        ("1.0.0", 1, True),
    ]


async def test_a_feed_without_a_version_list_has_rules_too(start_proxy: StartProxy, clock: FakeClock) -> None:
    async with FakeFeed(omit={"PackageBaseAddress", "ReadmeUriTemplate"}) as bare:
        for version, days in (("1.0.0", 30), ("2.0.0", 1)):
            bare.add(make_nupkg("Acme.A", version), at=ago(clock, days))
        table = {"sources": ["up"], "rules": [COOLDOWN]}
        shop = Shop(await start_proxy(bare.index_url, feeds={"up": table}), bare)
        assert await shop.listed("acme.a") == await shop.registered("acme.a") == ["1.0.0"]


async def test_deletions_stay_in_the_catalog_and_leaves_of_what_is_denied_do_not(
    start_shop: StartShop, stock: Stock, feed: FakeFeed
) -> None:
    stock("Acme.A", {"1.0.0": 30, "1.1.0": 1})
    feed.remove("Acme.A", "1.1.0")
    stock("Acme.A", {"2.0.0": 1})
    shop = await start_shop({**COOLDOWN, "ids": ["acme.a"]}, policy={})
    index = await shop.read("/v3/catalog/index.json")
    items = [item for page in index["items"] for item in (await shop.read(page["@id"]))["items"]]
    assert [(item["nuget:version"], item["@type"]) for item in items] == [
        ("1.0.0", "nuget:PackageDetails"),
        ("1.1.0", "nuget:PackageDelete"),
    ]
    assert [(await shop.get(item["@id"])).status for item in items] == [200, 200]


@pytest.mark.slow
async def test_a_list_of_thousands_of_versions(start_shop: StartShop, feed: FakeFeed, clock: FakeClock) -> None:
    for number in range(700):
        feed.add(make_nupkg("Acme.A", f"1.{number}.0"), at=ago(clock, 10 - number / 100))
    shop = await start_shop(COOLDOWN)
    expected = [f"1.{number}.0" for number in range(301)]
    assert await shop.listed("acme.a") == await shop.registered("acme.a") == expected


@pytest.mark.parametrize("severity", ["4", 9, "9" * 5000], ids=["text", "number", "long"])
async def test_a_severity_above_the_worst_is_the_worst(
    start_shop: StartShop, stock: Stock, feed: FakeFeed, severity: object
) -> None:
    stock("Acme.A", {"1.0.0": 30, "2.0.0": 30})
    feed.registration_extra["acme.a"] = {"2.0.0": {"vulnerabilities": [{"severity": severity}]}}
    feed.vulnerabilities["base"] = {"acme.a": [{"url": "u", "severity": severity, "versions": "[1.0.0]"}]}
    shop = await start_shop({"name": "holes", "max_severity": "high"})
    assert await shop.listed("acme.a") == []
    assert "severity critical" in (await shop.package("acme.a", "2.0.0")).reason


@pytest.mark.parametrize("severity", ["\u00b2", "high", None, -1, [], 1.5])
async def test_a_severity_that_is_none_denies_nothing(
    start_shop: StartShop, stock: Stock, feed: FakeFeed, severity: object
) -> None:
    stock("Acme.A", {"1.0.0": 30, "2.0.0": 30})
    feed.registration_extra["acme.a"] = {"2.0.0": {"vulnerabilities": [{"severity": severity}]}}
    feed.vulnerabilities["base"] = {"acme.a": [{"url": "u", "severity": severity, "versions": "[1.0.0]"}]}
    shop = await start_shop({"name": "holes", "max_severity": "low"})
    assert await shop.listed("acme.a") == ["1.0.0", "2.0.0"]
