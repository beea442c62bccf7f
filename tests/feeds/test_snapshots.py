"""Documents that belong together: vulnerability pages, signatures, the catalog."""

from __future__ import annotations

import json
from typing import Any

import pytest
from multidict import CIMultiDict

from tests.conftest import StartProxy
from tests.fakes.asking import Got, ask, until
from tests.fakes.clock import FakeClock
from tests.fakes.feed import FakeFeed
from tests.fakes.feed_reads import vulnerabilities
from tests.fakes.origin import Script, Seen
from tests.fakes.packages import make_nupkg
from tests.fakes.proxy import Proxy

HOUR = 3600
ADVISORY = {"severity": 2, "url": "https://gallery.example/advisories/1", "versions": "(, 2.0.0)"}
VULNERABILITIES = "/v3/vulnerabilities/index.json"
CATALOG = "/v3/catalog/index.json"
HTTPS = {"server": {"public_url": "https://nuget.example/sub"}}
SIGNATURES = tuple(f"/v3/signatures/{version}/index.json" for version in ("4.7.0", "5.0.0"))


def json_of(got: Got) -> Any:
    assert got.status == 200, got.body
    return json.loads(got.body)


async def plain(proxy: Proxy, url: str) -> Got:
    return await ask(proxy, url.removeprefix(proxy.url), headers={"Accept-Encoding": "identity"})


# --- vulnerabilities -------------------------------------------------------------------------------------------------


async def test_the_vulnerability_index_leads_to_pages_of_ours_with_their_names(proxy: Proxy, feed: FakeFeed) -> None:
    feed.vulnerabilities = {"base": {"acme.a": [ADVISORY]}, "update": {}}
    index = json_of(await plain(proxy, VULNERABILITIES))
    assert [page["@name"] for page in index] == ["base", "update"]
    assert all(page["@id"].startswith(f"{proxy.url}/v3/") for page in index)
    pages = [json_of(await plain(proxy, page["@id"])) for page in index]
    assert pages == [{"acme.a": [ADVISORY]}, {}]


async def test_the_pages_are_there_as_soon_as_their_index_is(proxy: Proxy, feed: FakeFeed) -> None:
    feed.vulnerabilities = {"base": {"acme.a": [ADVISORY]}, "update": {}}
    index = json_of(await plain(proxy, VULNERABILITIES))
    await feed.set_mode("refused")
    for page in index:
        assert json_of(await plain(proxy, page["@id"])) in ({"acme.a": [ADVISORY]}, {})


async def test_an_index_whose_pages_cannot_all_be_had_does_not_replace_the_old_one(
    proxy: Proxy, feed: FakeFeed, clock: FakeClock
) -> None:
    before = json_of(await plain(proxy, VULNERABILITIES))
    feed.vulnerabilities = {"base": {"acme.a": [ADVISORY]}, "update": {"acme.b": [ADVISORY]}}
    changed = json.loads(feed_index(feed))
    broken = changed[1]["@id"].removeprefix(feed.url)
    feed.origin.routes[broken] = Script(status=500)
    clock.advance(3 * HOUR)

    assert json_of(await plain(proxy, VULNERABILITIES)) == before
    for page in before:
        assert json_of(await plain(proxy, page["@id"])) == {}

    del feed.origin.routes[broken]
    clock.advance(HOUR)
    after = json_of(await plain(proxy, VULNERABILITIES))
    assert {page["@id"] for page in after}.isdisjoint(page["@id"] for page in before)


def feed_index(feed: FakeFeed) -> bytes:
    """The vulnerability index as the feed has it now."""
    return vulnerabilities(feed, Seen("GET", "/v3/vulnerabilities/index.json", CIMultiDict())).body


async def test_a_page_that_was_replaced_still_answers_a_day_later(
    proxy: Proxy, feed: FakeFeed, clock: FakeClock
) -> None:
    """A client keeps an index for half an hour, a build server for longer."""
    before = json_of(await plain(proxy, VULNERABILITIES))
    feed.vulnerabilities = {"base": {"acme.a": [ADVISORY]}, "update": {}}
    clock.advance(3 * HOUR)
    after = json_of(await plain(proxy, VULNERABILITIES))
    assert before[0]["@id"] != after[0]["@id"]
    clock.advance(25 * HOUR)
    assert json_of(await plain(proxy, before[0]["@id"])) == {}
    assert json_of(await plain(proxy, after[0]["@id"])) == {"acme.a": [ADVISORY]}


async def test_never_fetched_and_upstream_down_is_no_all_clear(proxy: Proxy, feed: FakeFeed) -> None:
    await ask(proxy, "/v3/index.json")
    await feed.set_mode("refused")
    assert (await plain(proxy, VULNERABILITIES)).status == 503


async def test_trimming_leaves_the_current_vulnerabilities(proxy: Proxy, feed: FakeFeed) -> None:
    feed.vulnerabilities = {"base": {"acme.a": [ADVISORY]}, "update": {}}
    names = [page["@name"] for page in json_of(await plain(proxy, VULNERABILITIES))]
    feed.add(make_nupkg("Acme.A", "1.0.0"))
    await ask(proxy, "/v3/content/acme.a/index.json")
    assert await proxy.app.documents.trim(0) > 0
    await feed.set_mode("refused")
    await proxy.restart()
    index = json_of(await plain(proxy, VULNERABILITIES))
    assert [page["@name"] for page in index] == names
    assert [json_of(await plain(proxy, page["@id"])) for page in index] == [{"acme.a": [ADVISORY]}, {}]


# --- signatures ------------------------------------------------------------------------------------------------------


async def test_over_http_there_are_no_signatures(proxy: Proxy, feed: FakeFeed) -> None:
    index = json_of(await plain(proxy, "/v3/index.json"))
    assert not [entry for entry in index["resources"] if entry["@type"].startswith("RepositorySignatures")]


async def test_over_https_they_are_ours_and_their_certificates_stay_where_they_are(
    start_proxy: StartProxy, feed: FakeFeed
) -> None:
    proxy = await start_proxy(feed.index_url, **HTTPS)
    index = json_of(await plain(proxy, "/v3/index.json"))
    signed = {e["@type"]: e["@id"] for e in index["resources"] if e["@type"].startswith("RepositorySignatures")}
    assert signed == {
        f"RepositorySignatures/{version}": f"https://nuget.example/sub/v3/signatures/{version}/index.json"
        for version in ("4.7.0", "5.0.0")
    }
    for path in SIGNATURES:
        document = json_of(await plain(proxy, path))
        assert [one["contentUrl"] for one in document["signingCertificates"]] == [
            "https://gallery.example/certificates/0e5f38f5.crt"
        ]


async def test_an_outage_right_after_the_index_leaves_an_https_client_its_signatures(
    start_proxy: StartProxy, feed: FakeFeed, clock: FakeClock
) -> None:
    proxy = await start_proxy(feed.index_url, **HTTPS)
    await plain(proxy, "/v3/index.json")
    await until(lambda: len(proxy.app.tasks) == 0)
    await feed.set_mode("refused")
    clock.advance(90 * 24 * HOUR)
    for path in SIGNATURES:
        assert json_of(await plain(proxy, path))["fake"] == path.split("/")[3]


async def test_signatures_that_could_not_be_had_are_tried_again_and_hold_up_nothing(
    start_proxy: StartProxy, feed: FakeFeed, clock: FakeClock
) -> None:
    proxy = await start_proxy(feed.index_url, **HTTPS)
    upstream = "/v3-index/repository-signatures/5.0.0/index.json"
    feed.origin.routes[upstream] = Script(status=500)
    assert (await plain(proxy, "/v3/index.json")).status == 200
    await until(lambda: len(proxy.app.tasks) == 0)
    del feed.origin.routes[upstream]
    asked = feed.count(upstream)
    await plain(proxy, "/v3/index.json")
    assert feed.count(upstream) == asked
    clock.advance(61)
    await plain(proxy, "/v3/index.json")
    await until(lambda: feed.count(upstream) > asked)


async def test_an_http_client_costs_no_signatures(proxy: Proxy, feed: FakeFeed) -> None:
    await plain(proxy, "/v3/index.json")
    await until(lambda: len(proxy.app.tasks) == 0)
    assert not [seen for seen in feed.requests if "signatures" in seen.path]


# --- the catalog -----------------------------------------------------------------------------------------------------


@pytest.fixture
async def catalog(proxy: Proxy, feed: FakeFeed) -> list[str]:
    """The pages of a catalog with two full pages and one that is still written to."""
    feed.catalog_page_size = 2
    for number in range(5):
        feed.add(make_nupkg("Acme.A", f"1.{number}.0"))
    index = json_of(await plain(proxy, CATALOG))
    return [page["@id"] for page in index["items"]]


async def test_every_link_of_the_catalog_stays_with_us(proxy: Proxy, feed: FakeFeed, catalog: list[str]) -> None:
    assert all(url.startswith(f"{proxy.url}/v3/catalog/") for url in catalog)
    page = json_of(await plain(proxy, catalog[0]))
    assert (page["@id"], page["parent"]) == (catalog[0], f"{proxy.url}{CATALOG}")
    leaf = json_of(await plain(proxy, page["items"][0]["@id"]))
    assert leaf["@id"] == page["items"][0]["@id"]
    assert leaf["id"] == "Acme.A"
    assert leaf["packageHash"]


async def test_full_pages_and_leaves_are_not_asked_for_again_but_the_newest_page_is(
    proxy: Proxy, feed: FakeFeed, clock: FakeClock, catalog: list[str]
) -> None:
    pages = [json_of(await plain(proxy, url)) for url in catalog]
    leaf = pages[0]["items"][0]["@id"]
    await plain(proxy, leaf)
    clock.advance(30 * 24 * HOUR)
    # The index a client reads first says what is full.
    asked = len(feed.requests)
    await plain(proxy, CATALOG)
    for url in (*catalog, leaf):
        await plain(proxy, url)
    new = [seen.path.rpartition("/")[2] for seen in feed.requests[asked:] if "/catalog0/" in seen.path]
    assert new == ["index.json", "page2.json"]


async def test_a_page_that_was_read_half_full_is_asked_for_again_once_it_is_full(
    proxy: Proxy, feed: FakeFeed, clock: FakeClock, catalog: list[str]
) -> None:
    half = json_of(await plain(proxy, catalog[2]))
    assert half["count"] == 1
    for number in (5, 6):
        feed.add(make_nupkg("Acme.A", f"1.{number}.0"))
    clock.advance(HOUR)
    index = json_of(await plain(proxy, CATALOG))
    assert len(index["items"]) == 4
    assert json_of(await plain(proxy, catalog[2]))["count"] == 2
    clock.advance(HOUR)
    asked = feed.count("/v3/catalog0/page2.json")
    assert json_of(await plain(proxy, catalog[2]))["count"] == 2
    assert feed.count("/v3/catalog0/page2.json") == asked
