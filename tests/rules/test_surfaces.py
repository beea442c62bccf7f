"""What a rule hides, no surface shows: lists, registrations, searches, the catalog, packages by name."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.fakes.clock import FakeClock
from tests.fakes.feed import FakeFeed
from tests.fakes.feed_documents import SEARCH_HOSTS
from tests.fakes.origin import Script
from tests.fakes.packages import make_nupkg
from tests.rules.conftest import COOLDOWN, HIVE, StartShop

Stock = Callable[..., None]
DENY = {"name": "no-beta", "ids": ["acme.*"], "versions": "[2.0.0, )", "reason": "Stay on 1"}

LISTS = ("listed", "registered", "searched", "completed", "catalogued")
FILES = ("nupkg", "nuspec", "readme", "icon", "license", "leaf", "v2")


def file_of(name: str, id: str, version: str) -> str:
    folder = f"/v3/content/{id}/{version}"
    return {
        "nupkg": f"{folder}/{id}.{version}.nupkg",
        "nuspec": f"{folder}/{id}.nuspec",
        "leaf": f"{HIVE}/{id}/{version}.json",
        "v2": f"/v3/package/{id}/{version}",
    }.get(name, f"{folder}/{name}")


@pytest.mark.parametrize("surface", LISTS)
@pytest.mark.parametrize("rule", [DENY, COOLDOWN], ids=["by version", "by age"])
async def test_a_denied_version_is_on_no_list(
    start_shop: StartShop, stock: Stock, surface: str, rule: dict[str, object]
) -> None:
    stock("Acme.A", {"1.0.0": 90, "1.1.0": 8, "2.0.0": 6, "2.1.0-rc.1": 1})
    stock("Acme.B", {"2.0.0": 1})
    shop = await start_shop(rule)
    assert await getattr(shop, surface)("acme.a") == ["1.0.0", "1.1.0"]
    assert await getattr(shop, surface)("acme.b") == []


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("file", FILES)
async def test_a_denied_version_is_refused_by_name_with_the_sentence(
    start_shop: StartShop, feed: FakeFeed, clock: FakeClock, stock: Stock, file: str, method: str
) -> None:
    stock("Acme.A", {"1.0.0": 90, "2.0.0": 6}, readme="# Acme", icon=b"\x89PNG\r\n\x1a\n", license_file="MIT")
    shop = await start_shop(COOLDOWN)
    if (file, method) != ("v2", "HEAD"):
        assert (await shop.get(file_of(file, "acme.a", "1.0.0"), method)).status == 200
        got = await shop.get(file_of(file, "acme.a", "2.0.0"), method)
        assert got.status == 403
        sentence = (
            "acme.a 2.0.0 is denied by the rule 'cooldown' of the feed 'up': younger than 7 days "
            "(published at 2027-01-09 08:00:00 UTC). New versions wait a week. It passes at 2027-01-16 08:00:00 UTC."
        )
        assert got.reason == got.headers["X-NuGet-Warning"] == sentence
        assert method == "HEAD" or json.loads(got.body) == {"error": sentence}
        assert got.headers["Cache-Control"] == "no-store"
        assert not [seen for seen in feed.requests if seen.path.endswith("2.0.0.nupkg")], "it was not even fetched"
        assert shop.proxy.metric("rule_denied_total", rule="cooldown") == 1


@pytest.mark.parametrize("path", ["/v3/content/acme.a/index.json", f"{HIVE}/acme.a/index.json"])
async def test_that_nothing_is_left_is_said_where_clients_show_it(
    start_shop: StartShop, stock: Stock, path: str
) -> None:
    stock("Acme.A", {"1.0.0": 1})
    shop = await start_shop({"name": "no", "ids": ["acme.a"], "reason": "Ask us"})
    sentence = "No version of acme.a passes the rules of the feed 'up'. acme.a 1.0.0 is denied by the rule 'no' of "
    for _ in range(3):
        got = await shop.get(path)
        assert (got.status, got.headers["X-NuGet-Warning"]) == (404, f"{sentence}the feed 'up'. Ask us.")
        assert json.loads(got.body) == {"error": got.headers["X-NuGet-Warning"]}


@pytest.mark.parametrize("rule", [DENY, COOLDOWN], ids=["by version", "by age"])
async def test_an_id_that_no_package_can_have_costs_nobody_a_search(
    start_shop: StartShop, feed: FakeFeed, stock: Stock, rule: dict[str, object]
) -> None:
    stock("Acme.A", {"1.0.0": 90})
    shop = await start_shop(rule)
    for odd in ("-1", "..", "a%20b", "a%2Fb", "'", "a" * 101):
        assert (await shop.read(f"/v3/autocomplete?id={odd}"))["data"] == []
    good, odd = [{"id": id_, "version": "1.0.0", "versions": [{"version": "1.0.0"}]} for id_ in ("Acme.A", "a/b")]
    said = {"query": [odd, good], "autocomplete": ["..", "a/b", "Acme.A"]}
    feed.origin.routes |= {
        f"{host}/{name}": Script(body=json.dumps({"totalHits": len(data), "data": data}).encode())
        for host in SEARCH_HOSTS
        for name, data in said.items()
    }
    assert "Acme.A" in [hit["id"] for hit in (await shop.read("/v3/query?q=a"))["data"]]
    assert "Acme.A" in (await shop.read("/v3/autocomplete?q=a"))["data"]


@pytest.mark.parametrize(("stated", "told"), [({}, {}), ({"totalHits": "2"}, {"totalHits": 1})], ids=["none", "text"])
async def test_hits_are_counted_as_far_as_their_feed_does(
    start_shop: StartShop, feed: FakeFeed, stock: Stock, stated: dict[str, str], told: dict[str, int]
) -> None:
    """Clients read a search result without a total, and one whose total is text."""
    stock("Acme.A", {"1.0.0": 90})
    stock("Acme.B", {"2.0.0": 6})
    shop = await start_shop(DENY)
    data = [
        {"id": id_, "version": version, "versions": [{"version": version}]}
        for id_, version in (("Acme.A", "1.0.0"), ("Acme.B", "2.0.0"))
    ]
    said = Script(body=json.dumps({**stated, "data": data}).encode())
    feed.origin.routes |= {f"{host}/query": said for host in SEARCH_HOSTS}
    found = await shop.read("/v3/query?q=a")
    assert [hit["id"] for hit in found["data"]] == ["Acme.A"]
    assert {name: value for name, value in found.items() if name == "totalHits"} == told


@pytest.mark.parametrize("again", ["id=acme.a", "ID=acme.a", "%69d=acme.a"])
async def test_an_id_that_is_named_behind_another_shows_nothing(
    start_shop: StartShop, stock: Stock, again: str
) -> None:
    """Rules would look at the one, whoever is asked at the other."""
    stock("Acme.A", {"1.0.0": 90, "2.0.0": 6})
    stock("Contoso.B", {"3.0.0": 90})
    shop = await start_shop(DENY)
    assert (await shop.read(f"/v3/autocomplete?id=contoso.b&{again}"))["data"] == ["3.0.0"]
    assert "2.0.0" not in (await shop.read(f"/v3/autocomplete?{again}&id=contoso.b"))["data"]


async def test_a_registration_of_many_pages_has_the_counts_and_bounds_of_what_is_left(
    start_shop: StartShop, stock: Stock
) -> None:
    stock("Acme.A", {f"1.0.{number}": 8 if number % 3 or number > 64 else 1 for number in range(200)})
    shop = await start_shop(COOLDOWN)
    expected = [f"1.0.{number}" for number in range(200) if number % 3 or number > 64]
    for hive in ("gz-semver2", "gz-semver1", "semver1"):
        assert await shop.registered("acme.a", f"/v3/registration/{hive}") == expected
    assert await shop.listed("acme.a") == expected


async def test_the_newest_by_the_older_protocol_is_the_newest_that_passes(start_shop: StartShop, stock: Stock) -> None:
    stock("Acme.A", {"1.0.0": 90, "2.0.0": 6})
    shop = await start_shop(COOLDOWN)
    got = await shop.get("/v3/package/acme.a")
    assert (got.status, got.body) == (200, make_nupkg("Acme.A", "1.0.0"))


@pytest.mark.parametrize("offline", [False, True])
async def test_hits_of_held_packages_are_refused_too_and_by_range(
    start_shop: StartShop, stock: Stock, offline: bool
) -> None:
    stock("Acme.A", {"1.0.0": 90, "2.0.0": 80})
    before = await start_shop()
    for version in ("1.0.0", "2.0.0"):
        assert (await before.package("acme.a", version)).status == 200
    await before.proxy.stop()
    shop = await start_shop(DENY, upstream={"offline": offline})
    assert (await shop.package("acme.a", "1.0.0", headers={"Range": "bytes=0-9"})).status == 206
    assert (await shop.package("acme.a", "2.0.0", headers={"Range": "bytes=0-9"})).status == 403
    assert await shop.listed("acme.a") == await shop.registered("acme.a") == await shop.searched("acme.a") == ["1.0.0"]


async def test_what_does_not_exist_is_absent_rather_than_denied(start_shop: StartShop, stock: Stock) -> None:
    stock("Acme.A", {"1.0.0": 90})
    shop = await start_shop(COOLDOWN)
    assert (await shop.package("acme.a", "9.0.0")).status == 404
    assert (await shop.package("acme.none", "1.0.0")).status == 404


async def test_packages_of_a_feed_with_rules_are_asked_for_again_by_caches_in_front(
    start_shop: StartShop, stock: Stock
) -> None:
    stock("Acme.A", {"1.0.0": 90})
    shop = await start_shop(COOLDOWN)
    for _ in range(3):
        assert (await shop.package("acme.a", "1.0.0")).headers["Cache-Control"] == "no-cache"
