"""What held packages tell when nothing else is stored: the answers to everything but what nobody can know."""

from __future__ import annotations

import json
import shutil
from datetime import datetime, timedelta

import pytest

from tests.conftest import StartProxy
from tests.fakes.asking import Got, ask
from tests.fakes.clock import FakeClock
from tests.fakes.feed import FakeFeed
from tests.fakes.packages import make_nupkg
from tests.fakes.proxy import Proxy
from tests.outage.kit import (
    HIVES,
    PICTURE,
    RICH,
    Down,
    NamedFeed,
    is_acceptable,
    lay_down,
    package_url,
    read,
    upstream,
)

SEMVER2 = make_nupkg("Acme.A", "2.0.0-beta.1", description="Newer tools")
PRE = make_nupkg("Acme.A", "1.5.0-beta", description="Newer tools")
DEPENDING = make_nupkg("Acme.B", "1.0.0", dependencies={"netstandard2.0": [("Acme.A", "[1.0.0, 2.0.0)")]}, tags="blue")
TOOL = make_nupkg("Acme.Tool", "3.1.4", package_types=["DotnetTool"])
PACKAGES = {
    "acme.a/1.0.0": RICH,
    "acme.a/1.5.0-beta": PRE,
    "acme.a/2.0.0-beta.1": SEMVER2,
    "acme.b/1.0.0": DEPENDING,
    "acme.tool/3.1.4": TOOL,
}
INDEX = "/v3/index.json"


async def restore(proxy: Proxy, *packages: str) -> None:
    """Fetch packages and nothing else of what upstream has: the service index, which every client asks for first."""
    for package in packages:
        package_id, version = package.split("/")
        assert (await ask(proxy, package_url(package_id, version))).status == 200


@pytest.fixture
async def filled(start_proxy: StartProxy, feed: FakeFeed) -> Proxy:
    """A proxy that holds the packages, whose upstream is gone, whose documents are lost."""
    for nupkg in PACKAGES.values():
        feed.add(nupkg)
    proxy = await start_proxy(feed.index_url)
    await restore(proxy, *PACKAGES)
    await proxy.held.stock.take()
    await feed.set_mode("refused")
    await proxy.stop()
    shutil.rmtree(proxy.directory / "documents")
    await proxy.start()
    return proxy


async def made(proxy: Proxy, path: str) -> Got:
    """What was synthesised for ``path``: marked as such, acceptable as if it came from upstream."""
    got = await ask(proxy, path)
    assert got.status == 200, (path, got.body)
    assert got.headers["Cache-Status"] == "nugetproxy; detail=synthesized"
    assert "Age" not in got.headers
    is_acceptable(path, got)
    return got


async def test_the_service_index(filled: Proxy) -> None:
    index = json.loads((await made(filled, INDEX)).body)
    types = {row["@type"]: row["@id"] for row in index["resources"]}
    for kind in ("PackageBaseAddress/3.0.0", "RegistrationsBaseUrl/3.6.0", "SearchQueryService/3.5.0"):
        assert types[kind].startswith(f"{filled.url}/v3/")
    assert "Catalog/3.0.0" not in types, "what cannot be made is not offered"
    assert not [kind for kind in types if kind.startswith("PackagePublish")]
    assert (await ask(filled, "/health/ready")).status == 200


async def test_an_audit_fails_where_nobody_knows_whether_there_are_advisories(filled: Proxy) -> None:
    """A client that finds no such resource audits nothing, without a word."""
    index = json.loads((await made(filled, INDEX)).body)
    (at,) = (row["@id"] for row in index["resources"] if row["@type"] == "VulnerabilityInfo/6.7.0")
    assert (await ask(filled, at.removeprefix(filled.url))).status == 503


async def test_offline_what_is_stored_is_all_that_there_is(
    filled: Proxy, start_proxy: StartProxy, feed: FakeFeed
) -> None:
    await filled.stop()
    proxy = await start_proxy(feed.index_url, directory=filled.directory, upstream={"offline": True})
    index = json.loads((await ask(proxy, INDEX)).body)
    assert "VulnerabilityInfo/6.7.0" not in {row["@type"] for row in index["resources"]}


async def test_the_version_list(filled: Proxy) -> None:
    got = await made(filled, "/v3/content/acme.a/index.json")
    assert json.loads(got.body) == {"versions": ["1.0.0", "1.5.0-beta", "2.0.0-beta.1"]}


async def test_a_registration_in_every_hive(filled: Proxy) -> None:
    """SemVer 2 versions are for clients that can read them."""
    for hive, expected in (("semver1", 2), ("gz-semver1", 2), ("gz-semver2", 3)):
        index = json.loads((await made(filled, f"/v3/registration/{hive}/acme.a/index.json")).body)
        items = [item for page in index["items"] for item in page["items"]]
        assert [item["catalogEntry"]["version"] for item in items] == ["1.0.0", "1.5.0-beta", "2.0.0-beta.1"][:expected]
        for item in items:
            leaf = json.loads((await made(filled, item["@id"].removeprefix(filled.url))).body)
            assert leaf["packageContent"] == item["packageContent"]
            assert (await ask(filled, item["packageContent"].removeprefix(filled.url))).cache == "hit"
            published = datetime.fromisoformat(item["catalogEntry"]["published"])
            assert published.utcoffset() == timedelta(0)
            assert published.year >= 2020


async def test_what_only_semver2_clients_may_see_is_a_failure_for_the_others(filled: Proxy) -> None:
    """Not a 404: upstream may know more than what is held."""
    assert (await ask(filled, "/v3/registration/semver1/acme.a/2.0.0-beta.1.json")).status == 503


async def test_dependencies_are_told(filled: Proxy) -> None:
    leaf = await read(filled, "/v3/registration/gz-semver2/acme.b/index.json")
    (group,) = leaf["items"][0]["items"][0]["catalogEntry"]["dependencyGroups"]
    (dependency,) = group["dependencies"]
    assert (dependency["id"], dependency["range"]) == ("Acme.A", "[1.0.0, 2.0.0)")


async def test_a_registration_of_many_versions_has_pages(start_proxy: StartProxy, feed: FakeFeed) -> None:
    proxy = await start_proxy(feed.index_url)
    await ask(proxy, INDEX)
    for patch in range(130):
        lay_down(proxy.packages, "many", f"1.0.{patch}", make_nupkg("Many", f"1.0.{patch}"))
    await proxy.held.stock.take()
    await feed.set_mode("refused")
    for hive in HIVES:
        index = json.loads((await made(proxy, f"/v3/registration/{hive}/many/index.json")).body)
        assert [page["count"] for page in index["items"]] == [64, 64, 2]
        versions: list[str] = []
        for page in index["items"]:
            assert "items" not in page
            whole = json.loads((await made(proxy, page["@id"].removeprefix(proxy.url))).body)
            versions += [item["catalogEntry"]["version"] for item in whole["items"]]
        assert versions == [f"1.0.{patch}" for patch in range(130)]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("q=acme.b", ["Acme.B"]),
        ("q=packageid:acme.b", ["Acme.B"]),
        ("q=tags:blue", ["Acme.B"]),
        ("q=&packageType=DotnetTool", ["Acme.Tool"]),
        ("q=acme&take=0", []),
    ],
)
async def test_search(filled: Proxy, query: str, expected: list[str]) -> None:
    found = json.loads((await made(filled, f"/v3/query?{query}")).body)
    assert [hit["id"] for hit in found["data"]][: max(1, len(expected))] == expected
    for hit in found["data"]:
        for version in hit["versions"]:
            assert (await ask(filled, version["@id"].removeprefix(filled.url))).status == 200


async def test_search_has_pages(filled: Proxy) -> None:
    whole = json.loads((await made(filled, "/v3/query?q=acme")).body)
    assert sorted(hit["id"] for hit in whole["data"]) == ["Acme.A", "Acme.B", "Acme.Tool"]
    for skip in range(4):
        page = json.loads((await made(filled, f"/v3/query?q=acme&skip={skip}&take=1")).body)
        assert (page["totalHits"], page["data"]) == (3, whole["data"][skip : skip + 1])


@pytest.mark.parametrize(
    ("query", "version"),
    [("", "1.0.0"), ("&prerelease=true", "1.5.0-beta"), ("&prerelease=true&semVerLevel=2.0.0", "2.0.0-beta.1")],
)
async def test_search_shows_what_the_client_can_read(filled: Proxy, query: str, version: str) -> None:
    found = json.loads((await made(filled, f"/v3/query?q=packageid:acme.a{query}")).body)
    assert [hit["version"] for hit in found["data"]] == [version]


async def test_autocomplete(filled: Proxy) -> None:
    ids = json.loads((await made(filled, "/v3/autocomplete?q=acme.t")).body)
    assert ids["data"] == ["Acme.Tool"]
    versions = json.loads((await made(filled, "/v3/autocomplete?id=acme.a&prerelease=true&semVerLevel=2.0.0")).body)
    assert versions["data"] == ["1.0.0", "1.5.0-beta", "2.0.0-beta.1"]


async def test_files_from_within_a_package(filled: Proxy) -> None:
    contents = {"readme": b"# Read me", "icon": PICTURE, "license": b"MIT"}
    for name, content in contents.items():
        got = await ask(filled, package_url("acme.a", file=name))
        assert (got.status, got.body) == (200, content)
    nuspec = await ask(filled, package_url("acme.a", file="acme.a.nuspec"))
    assert b"<id>Acme.A</id>" in nuspec.body


UNTOLD = [
    "/v3/content/acme.unknown/index.json",
    "/v3/registration/gz-semver2/acme.unknown/index.json",
    "/v3/registration/gz-semver2/acme.a/9.9.9.json",
    "/v3/query?q=nothingofthekind",
    "/v3/autocomplete?q=nothingofthekind",
    "/v3/autocomplete?id=acme.unknown",
    package_url("acme.b", file="readme"),
    package_url("acme.unknown", file="acme.unknown.nuspec"),
    "/v3/vulnerabilities/index.json",
    "/v3/catalog/index.json",
]


async def test_what_held_packages_do_not_tell_stays_a_failure(filled: Proxy) -> None:
    for path in UNTOLD:
        got = await ask(filled, path)
        assert got.status == 503, (path, got.body)
        assert "synthesized" not in got.headers["Cache-Status"]


async def test_what_is_stored_is_better(filled: Proxy, feed: FakeFeed, clock: FakeClock) -> None:
    await feed.set_mode("up")
    feed.add(make_nupkg("Acme.A", "9.0.0"))
    paths = ("/v3/content/acme.a/index.json", "/v3/registration/gz-semver2/acme.a/index.json", "/v3/query?q=acme")
    clock.advance(61)
    stored = [(await ask(filled, path)).body for path in paths]
    assert all(b"9.0.0" in body for body in stored)
    await feed.set_mode("refused")
    clock.advance(86400)
    for path, body in zip(paths, stored, strict=True):
        got = await ask(filled, path)
        assert got.body == body
        assert got.cache.startswith("fwd=stale")


async def test_nothing_made_is_stored(filled: Proxy, feed: FakeFeed, clock: FakeClock) -> None:
    """When upstream is back, its own documents are asked for at once."""
    paths = ("/v3/content/acme.a/index.json", "/v3/registration/gz-semver2/acme.a/index.json", INDEX)
    for path in paths:
        await made(filled, path)
    await feed.set_mode("up")
    clock.advance(61)
    for path in paths:
        assert (await ask(filled, path)).cache == "fwd=uri-miss; fwd-status=200; stored" or path != paths[0]


@pytest.mark.parametrize("how", ["hang", "dns", "html"])
async def test_in_every_kind_of_outage(start_proxy: StartProxy, named: NamedFeed, clock: FakeClock, how: Down) -> None:
    """A cache that was filled by plain restores answers search boxes, ``list --outdated`` and ``add package`` too."""
    proxy = await start_proxy(named.index_url, upstream=upstream(how), resolver=named.names)
    await restore(proxy, "acme.a/1.0.0")
    await named.fail(how, proxy)
    clock.advance(30 * 86400)
    await proxy.held.stock.take()
    for path in (
        "/v3/content/acme.a/index.json",
        "/v3/registration/gz-semver2/acme.a/index.json",
        "/v3/registration/gz-semver2/acme.a/1.0.0.json",
        "/v3/query?q=acme",
        "/v3/autocomplete?q=acme",
    ):
        await made(proxy, path)
    assert (await ask(proxy, package_url("acme.a", file="readme"))).body == b"# Read me"
    assert (await ask(proxy, INDEX)).status == 200


async def test_a_client_that_takes_gzip_gets_it(filled: Proxy) -> None:
    got = await ask(filled, "/v3/registration/gz-semver2/acme.a/index.json", headers={"Accept-Encoding": "gzip"})
    assert got.headers["Content-Encoding"] == "gzip"
    plain = await ask(filled, "/v3/registration/gz-semver2/acme.a/index.json")
    again = await ask(
        filled, "/v3/registration/gz-semver2/acme.a/index.json", headers={"If-None-Match": plain.headers["ETag"]}
    )
    assert (again.status, again.body) == (304, b"")
