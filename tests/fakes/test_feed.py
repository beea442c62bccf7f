"""The fake feed answers as nuget.org does."""

from __future__ import annotations

import asyncio
import gzip
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.fakes.feed import FakeFeed, Mode
from tests.fakes.origin import Script
from tests.fakes.packages import make_nupkg

ROOT = Path(__file__).parents[2]


@pytest.fixture
async def feed() -> AsyncIterator[FakeFeed]:
    async with FakeFeed() as feed:
        yield feed


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        yield session


async def fetch(session: aiohttp.ClientSession, url: str) -> object:
    async with session.get(url) as answer:
        assert answer.status == 200, url
        body = await answer.read()
        return json.loads(gzip.decompress(body) if answer.headers.get("Content-Encoding") == "gzip" else body)


async def put(
    session: aiohttp.ClientSession, url: str, content: bytes, key: str | None
) -> tuple[int, str | None, list[str]]:
    form = aiohttp.FormData()
    form.add_field("package", content, filename="package.nupkg", content_type="application/octet-stream")
    headers = {"X-NuGet-ApiKey": key} if key is not None else {}
    async with session.put(url, data=form, headers=headers) as answer:
        return answer.status, answer.reason, answer.headers.getall("X-NuGet-Warning", [])


async def test_a_version_list_is_in_order_and_in_lower_case(feed: FakeFeed, session: aiohttp.ClientSession) -> None:
    for version in ("1.10.0", "1.9.0", "1.9.0-RC.10", "1.9.0-rc.2", "2.0.0.0+meta"):
        feed.add(make_nupkg("Acme.A", version))

    found = await fetch(session, f"{feed.url}/v3-flatcontainer/acme.a/index.json")

    assert found == {"versions": ["1.9.0-rc.2", "1.9.0-rc.10", "1.9.0", "1.10.0", "2.0.0"]}


async def test_only_the_lower_case_spelling_is_known(feed: FakeFeed, session: aiohttp.ClientSession) -> None:
    feed.add(make_nupkg("Acme.A", "1.0.0"))

    for path, status in (("acme.a/1.0.0/acme.a.1.0.0", 200), ("Acme.A/1.0.0/Acme.A.1.0.0", 404)):
        async with session.get(f"{feed.url}/v3-flatcontainer/{path}.nupkg") as answer:
            assert answer.status == status


async def test_a_range_of_a_package_is_served(feed: FakeFeed, session: aiohttp.ClientSession) -> None:
    content = make_nupkg("Acme.A", "1.0.0", size=100_000)
    held = feed.add(content)
    url = f"{feed.url}/v3-flatcontainer/acme.a/1.0.0/acme.a.1.0.0.nupkg"

    async with session.get(url, headers={"Range": "bytes=5000-", "If-Range": held.etag}) as answer:
        assert (answer.status, await answer.read()) == (206, content[5000:])
    async with session.get(url, headers={"Range": "bytes=5000-", "If-Range": '"other"'}) as answer:
        assert (answer.status, await answer.read()) == (200, content)


async def test_a_validator_answers_304_until_the_document_changes(
    feed: FakeFeed, session: aiohttp.ClientSession
) -> None:
    feed.add(make_nupkg("Acme.A", "1.0.0"))
    url = f"{feed.url}/v3/registration5-gz-semver2/acme.a/index.json"
    async with session.get(url) as answer:
        known = {"If-None-Match": answer.headers["ETag"]}
        since = {"If-Modified-Since": answer.headers["Last-Modified"]}

    for headers in (known, since):
        async with session.get(url, headers=headers) as answer:
            assert answer.status == 304
    feed.add(make_nupkg("Acme.A", "1.1.0"))
    for headers in (known, since):
        async with session.get(url, headers=headers) as answer:
            assert answer.status == 200


async def test_gz_hives_are_gzip_even_unasked(feed: FakeFeed, session: aiohttp.ClientSession) -> None:
    feed.add(make_nupkg("Acme.A", "1.0.0"))

    for hive, encoding in (("semver1", None), ("gz-semver1", "gzip"), ("gz-semver2", "gzip")):
        url = f"{feed.url}/v3/registration5-{hive}/acme.a/index.json"
        async with session.get(url, headers={"Accept-Encoding": "identity"}) as answer:
            assert (answer.status, answer.headers.get("Content-Encoding")) == (200, encoding)


async def test_semver2_packages_are_in_the_last_hive_only(feed: FakeFeed, session: aiohttp.ClientSession) -> None:
    feed.add(make_nupkg("Acme.A", "1.0.0-a.1"))
    feed.add(make_nupkg("Acme.B", "1.0.0", dependencies=[("Acme.A", "[1.0.0-a.1, )")]))

    for hive, status in (("semver1", 404), ("gz-semver1", 404), ("gz-semver2", 200)):
        for package_id in ("acme.a", "acme.b"):
            async with session.get(f"{feed.url}/v3/registration5-{hive}/{package_id}/index.json") as answer:
                assert answer.status == status


@pytest.mark.parametrize(("count", "pages", "inlined"), [(127, 2, True), (128, 2, False), (129, 3, False)])
async def test_registration_pages_are_external_from_128_versions(
    feed: FakeFeed, session: aiohttp.ClientSession, count: int, pages: int, inlined: bool
) -> None:
    for patch in range(count):
        feed.add(make_nupkg("Acme.A", f"1.0.{patch}"))

    index = await fetch(session, f"{feed.url}/v3/registration5-gz-semver2/acme.a/index.json")

    assert [("items" in page) for page in index["items"]] == [inlined] * pages
    assert sum(page["count"] for page in index["items"]) == count
    if not inlined:
        fetched = [await fetch(session, page["@id"]) for page in index["items"]]
        versions = [leaf["catalogEntry"]["version"] for page in fetched for leaf in page["items"]]
        assert versions == [f"1.0.{patch}" for patch in range(count)]


async def test_every_link_of_a_registration_leads_to_something(feed: FakeFeed, session: aiohttp.ClientSession) -> None:
    feed.add(make_nupkg("Acme.B", "1.0.0"))
    feed.add(make_nupkg("Acme.A", "1.0.0", dependencies=[("Acme.B", "1.0.0")], icon=b"\x89PNG"))

    index = await fetch(session, f"{feed.url}/v3/registration5-semver1/acme.a/index.json")

    (item,) = index["items"][0]["items"]
    entry = item["catalogEntry"]
    dependency = entry["dependencyGroups"][0]["dependencies"][0]
    leaf = await fetch(session, item["@id"])
    links = [entry["packageContent"], entry["iconUrl"], entry["@id"], dependency["registration"], leaf["catalogEntry"]]
    for link in links:
        async with session.get(link) as answer:
            assert answer.status == 200, link


async def test_search_finds_what_is_listed_and_allowed(feed: FakeFeed, session: aiohttp.ClientSession) -> None:
    feed.add(make_nupkg("Acme.Stable", "1.0.0", tags="blue"))
    feed.add(make_nupkg("Acme.Pre", "1.0.0-beta"))
    feed.add(make_nupkg("Acme.New", "1.0.0+meta"))
    feed.add(make_nupkg("Acme.Tool", "1.0.0", package_types=["DotnetTool"]))
    feed.add(make_nupkg("Acme.Hidden", "1.0.0"), listed=False)

    for query, expected in (
        ("q=acme", ["Acme.Stable", "Acme.Tool"]),
        ("q=blue", ["Acme.Stable"]),
        ("q=packageid:acme.tool", ["Acme.Tool"]),
        ("q=&prerelease=true", ["Acme.Pre", "Acme.Stable", "Acme.Tool"]),
        ("q=&semVerLevel=2.0.0", ["Acme.New", "Acme.Stable", "Acme.Tool"]),
        ("q=&packageType=dotnettool", ["Acme.Tool"]),
        ("q=&skip=1&take=1", ["Acme.Tool"]),
    ):
        found = await fetch(session, f"{feed.url}/azuresearch-ussc/query?{query}")
        assert [result["id"] for result in found["data"]] == expected, query


@pytest.mark.parametrize("query", ["take=1001", "skip=-1", "take=abc", "skip=3001"])
async def test_a_search_out_of_range_is_a_bad_request(
    feed: FakeFeed, session: aiohttp.ClientSession, query: str
) -> None:
    async with session.get(f"{feed.url}/azuresearch-usnc/query?{query}") as answer:
        assert answer.status == 400


async def test_autocomplete_knows_ids_and_versions(feed: FakeFeed, session: aiohttp.ClientSession) -> None:
    feed.add(make_nupkg("Acme.A", "1.0.0"))
    feed.add(make_nupkg("Acme.A", "1.1.0"), listed=False)

    ids = await fetch(session, f"{feed.url}/azuresearch-usnc/autocomplete?q=acme")
    versions = await fetch(session, f"{feed.url}/azuresearch-usnc/autocomplete?id=ACME.A")
    unknown = await fetch(session, f"{feed.url}/azuresearch-usnc/autocomplete?id=other")

    assert (ids["data"], versions["data"], unknown["data"]) == (["Acme.A"], ["1.0.0"], [])


async def test_the_catalog_tells_the_whole_history(feed: FakeFeed, session: aiohttp.ClientSession) -> None:
    feed.catalog_page_size = 2
    feed.add(make_nupkg("Acme.A", "1.0.0"))
    feed.set_listed("Acme.A", "1.0.0", False)
    feed.remove("Acme.A", "1.0.0")

    index = await fetch(session, f"{feed.url}/v3/catalog0/index.json")
    pages = [await fetch(session, page["@id"]) for page in index["items"]]
    leaves = [await fetch(session, item["@id"]) for page in pages for item in page["items"]]

    assert [page["count"] for page in pages] == [2, 1]
    assert [leaf["@type"][0] for leaf in leaves] == ["PackageDetails", "PackageDetails", "PackageDelete"]
    assert [leaf.get("listed") for leaf in leaves] == [True, False, None]


async def test_a_vulnerability_page_has_a_new_address_for_new_content(
    feed: FakeFeed, session: aiohttp.ClientSession
) -> None:
    url = f"{feed.url}/v3/vulnerabilities/index.json"
    before = {page["@name"]: page["@id"] for page in await fetch(session, url)}
    feed.vulnerabilities["base"] = {"acme.a": [{"severity": 1, "url": "https://a.example/", "versions": "[1.0.0]"}]}
    after = {page["@name"]: page["@id"] for page in await fetch(session, url)}

    assert before["update"] == after["update"]
    assert before["base"] != after["base"]
    assert await fetch(session, after["base"]) == feed.vulnerabilities["base"]
    async with session.get(before["base"]) as answer:
        assert answer.status == 404


@pytest.mark.parametrize("slash", ["", "/"])
async def test_a_push_needs_the_key_and_a_new_version(
    feed: FakeFeed, session: aiohttp.ClientSession, slash: str
) -> None:
    url = f"{feed.url}/api/v2/package{slash}"
    content = make_nupkg("Acme.A", "1.0.0", size=200_000)
    feed.warnings = ["first", "second"]

    assert [(await put(session, url, content, key))[0] for key in (None, "", "wrong")] == [401, 401, 403]
    assert await put(session, url, content, feed.api_key) == (201, "Created", ["first", "second"])
    assert feed.shelf.find("acme.a", "1.0").content == content
    status, reason, _ = await put(session, url, content, feed.api_key)
    assert (status, reason) == (409, "The feed already contains package 'Acme.A' and version '1.0.0'.")


async def test_a_push_of_something_else_is_a_bad_request(feed: FakeFeed, session: aiohttp.ClientSession) -> None:
    url, key = f"{feed.url}/api/v2/package", {"X-NuGet-ApiKey": feed.api_key}
    whole = make_nupkg("Acme.A", "1.0.0")

    assert (await put(session, url, whole[:-30], feed.api_key))[0] == 400
    cut = b'--b\r\nContent-Disposition: form-data; name="package"\r\n\r\n' + whole
    for kind, body in (("application/octet-stream", whole), ("multipart/form-data; boundary=b", cut)):
        async with session.put(url, data=body, headers={**key, "Content-Type": kind}) as answer:
            assert answer.status == 400
    assert feed.shelf.packages == {}


async def test_a_late_feed_shows_a_push_later(feed: FakeFeed, session: aiohttp.ClientSession) -> None:
    feed.late = True
    content = make_nupkg("Acme.A", "1.0.0")
    url = f"{feed.url}/v3-flatcontainer/acme.a/index.json"

    assert (await put(session, f"{feed.url}/api/v2/package", content, feed.api_key))[0] == 201
    assert (await put(session, f"{feed.url}/api/v2/package", content, feed.api_key))[0] == 409
    async with session.get(url) as answer:
        assert answer.status == 404
    feed.shelf.publish_deferred()
    assert await fetch(session, url) == {"versions": ["1.0.0"]}


async def test_symbols_need_their_package(feed: FakeFeed, session: aiohttp.ClientSession) -> None:
    url, content = f"{feed.url}/api/v2/symbolpackage/", make_nupkg("Acme.A", "1.0.0", package_types=["SymbolsPackage"])

    assert (await put(session, url, content, feed.api_key))[0] == 404
    feed.add(make_nupkg("Acme.A", "1.0.0"))
    assert (await put(session, url, content, feed.api_key))[0] == 201
    assert feed.symbols == {("acme.a", "1.0.0"): content}


async def test_delete_unlists_and_post_lists_again(feed: FakeFeed, session: aiohttp.ClientSession) -> None:
    feed.add(make_nupkg("Acme.A", "1.0.0"))
    url, key = f"{feed.url}/api/v2/package/Acme.A/1.0.0", {"X-NuGet-ApiKey": feed.api_key}

    for method, listed in (("DELETE", False), ("POST", True)):
        async with session.request(method, url, headers=key) as answer:
            assert answer.status == 200
        assert feed.shelf.find("Acme.A", "1.0.0").listed is listed
    async with session.delete(f"{feed.url}/api/v2/package/Acme.A/9.9.9", headers=key) as answer:
        assert answer.status == 404


@pytest.mark.parametrize(("mode", "status", "kind"), [("5xx", 503, "text/plain"), ("html", 200, "text/html")])
async def test_an_outage_ends(
    feed: FakeFeed, session: aiohttp.ClientSession, mode: Mode, status: int, kind: str
) -> None:
    await feed.set_mode(mode)
    async with session.get(feed.index_url) as answer:
        assert (answer.status, answer.content_type) == (status, kind)
    await feed.set_mode("up")
    assert await fetch(session, feed.index_url)


async def test_a_rate_limit_says_when_to_return(feed: FakeFeed, session: aiohttp.ClientSession) -> None:
    feed.retry_after = "30"
    await feed.set_mode("429")
    async with session.get(feed.index_url) as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (429, "30")


async def test_a_refusing_feed_comes_back_at_the_same_address(feed: FakeFeed, session: aiohttp.ClientSession) -> None:
    await feed.set_mode("refused")
    with pytest.raises(aiohttp.ClientConnectorError):
        await session.get(feed.index_url)
    await feed.set_mode("up")
    assert await fetch(session, feed.index_url)


async def test_a_hanging_feed_answers_when_released(feed: FakeFeed, session: aiohttp.ClientSession) -> None:
    await feed.set_mode("hang")
    waiting = asyncio.create_task(fetch(session, feed.index_url))
    while not feed.requests:
        await asyncio.sleep(0)
    feed.release()
    assert await waiting


async def test_a_scripted_path_wins_over_the_feed(feed: FakeFeed, session: aiohttp.ClientSession) -> None:
    feed.origin.routes["/v3/index.json"] = Script(status=418)
    async with session.get(feed.index_url) as answer:
        assert answer.status == 418


async def test_the_program_serves_a_folder(tmp_path: Path, session: aiohttp.ClientSession) -> None:
    (tmp_path / "a.nupkg").write_bytes(make_nupkg("Acme.A", "1.0.0"))
    command = [sys.executable, "-m", "tests.fakes.feed", "--packages", str(tmp_path), "--omit", "Catalog"]
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        line = (await process.stdout.readline()).decode()
        url = line.removeprefix("Listening on ").strip()
        index = await fetch(session, url)
        assert "Catalog/3.0.0" not in {resource["@type"] for resource in index["resources"]}
        (base,) = (row["@id"] for row in index["resources"] if row["@type"] == "PackageBaseAddress/3.0.0")
        assert await fetch(session, f"{base}acme.a/index.json") == {"versions": ["1.0.0"]}
    finally:
        process.terminate()
        assert await process.wait() == 0
