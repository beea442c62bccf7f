"""From our service index, as a client goes: every link stays with us, every link answers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from nugetproxy.nuget.resources import BY_TYPE, RESOURCES, Shape
from tests.conftest import StartProxy
from tests.fakes.asking import Got, ask
from tests.fakes.clock import FakeClock
from tests.fakes.feed import FakeFeed
from tests.fakes.origin import Script, Seen
from tests.fakes.packages import make_nupkg
from tests.fakes.proxy import Proxy

WORDS = {
    "{id}": "acme.a",
    "{version}": "1.0.0",
    "{owner}": "me",
    "{lower_id}": "acme.a",
    "{lower_version}": "1.0.0",
    "{id-lower}": "acme.a",
    "{version-lower}": "1.0.0",
}
BELOW = {"PackageBaseAddress": ("acme.a/index.json", "acme.a/1.0.0/acme.a.1.0.0.nupkg", "acme.a/1.0.0/acme.a.nuspec")}
QUERIES = {"SearchQueryService": "?q=acme&semVerLevel=2.0.0", "SearchAutocompleteService": "?q=acme"}
BROWSER = re.compile(r"(PackageDetails|OwnerDetails|ReportAbuse)UriTemplate")
MANY = 5
"""Of the links in a long list, so many from each end are followed."""
FOR_PEOPLE = {"projectUrl", "licenseUrl", "iconUrl", "url", "contentUrl", "advisoryUrl"}


@pytest.fixture
def full(feed: FakeFeed) -> FakeFeed:
    """A feed with something behind each of its resources."""
    feed.add(make_nupkg("Acme.A", "1.0.0", readme="read me", dependencies=[("Acme.Many", "1.0.0")]))
    feed.add(make_nupkg("Acme.A", "2.0.0-beta.1"))
    for minor in range(130):
        feed.add(make_nupkg("Acme.Many", f"1.{minor}.0"))
    feed.catalog_page_size = 50
    feed.vulnerabilities = {
        "base": {"acme.a": [{"severity": 1, "url": f"{feed.url}/advisories/1", "versions": "(, 2.0.0)"}]},
        "update": {},
    }
    return feed


def strings(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Every text of a document with the name of its field."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from strings(inner, key)
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner, name)
    elif isinstance(value, str):
        yield name, value


async def fetch(proxy: Proxy, url: str, base: str, **headers: str) -> Got:
    assert url.startswith(f"{base}/v3/"), f"{url} leads away"
    return await ask(proxy, url.removeprefix(base), headers={"Accept-Encoding": "identity", **headers})


def starts(base: str, index: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(type, URL) of what a client that reads ``index`` may fetch next."""
    for entry in index["resources"]:
        name, url = entry["@type"], entry["@id"]
        shape, kind = BY_TYPE[name].shape, name.partition("/")[0]
        if shape in {Shape.WRITE, Shape.WEB}:
            continue
        for word, text in WORDS.items():
            url = url.replace(word, text)
        if shape is Shape.BASE:
            hive = kind == "RegistrationsBaseUrl"
            for rest in ("acme.a/index.json", "acme.many/index.json") if hive else BELOW[kind]:
                yield name, url + rest
        else:
            yield name, url + QUERIES.get(kind, "")


async def crawl(proxy: Proxy, feed: FakeFeed, base: str, **headers: str) -> dict[str, int]:
    """Follow everything; how many documents each type of resource led to first."""
    index = json.loads((await fetch(proxy, f"{base}/v3/index.json", base, **headers)).body)
    waiting = list(starts(base, index))
    seen: set[str] = set()
    found: dict[str, int] = {}
    while waiting:
        kind, url = waiting.pop()
        url = url.partition("#")[0]
        found.setdefault(kind, 0)
        if url in seen:
            continue
        seen.add(url)
        got = await fetch(proxy, url, base, **headers)
        assert got.status == 200, f"{url} of {kind}: {got.status} {got.body[:200]!r}"
        found[kind] += 1
        if not got.headers["Content-Type"].startswith("application/json"):
            continue
        links: list[str] = []
        for field, text in strings(json.loads(got.body)):
            if text.startswith(f"{base}/v3/"):
                if not text.endswith("/"):  # as the @base of a context does
                    links.append(text)
            elif feed.url in text:
                assert field in FOR_PEOPLE, f"{field} in {url} leads to {text}"
            if base.startswith("https:"):
                assert not text.startswith(base.replace("https:", "http:")), f"{field} in {url} is plain http"
        few = links if len(links) <= 2 * MANY else [*links[:MANY], *links[-MANY:]]
        waiting += [(kind, link) for link in few]
    return found


async def test_every_resource_is_reached_from_the_index_and_nothing_leads_away(proxy: Proxy, full: FakeFeed) -> None:
    found = await crawl(proxy, full, proxy.url)
    offered = {entry for entry in found if BY_TYPE[entry].shape not in {Shape.WRITE, Shape.WEB}}
    assert {name.partition("/")[0] for name in offered} >= {
        "PackageBaseAddress",
        "RegistrationsBaseUrl",
        "SearchQueryService",
        "SearchAutocompleteService",
        "VulnerabilityInfo",
        "Catalog",
        "ReadmeUriTemplate",
        "PackageDisplayMetadataUriTemplate",
        "PackageVersionDisplayMetadataUriTemplate",
    }
    assert found["Catalog/3.0.0"] > 20
    assert found["VulnerabilityInfo/6.7.0"] == 3


async def test_behind_an_https_front_end_no_link_is_plain_http(start_proxy: StartProxy, full: FakeFeed) -> None:
    """NuGet 7 refuses an http link below an https source."""
    proxy = await start_proxy(full.index_url, server={"trusted_proxies": ["127.0.0.1"]})
    base = "https://nuget.example/team"
    forwarded = {
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "nuget.example",
        "X-Forwarded-Prefix": "/team",
    }
    found = await crawl(proxy, full, base, **forwarded)
    assert {"RepositorySignatures/4.7.0", "RepositorySignatures/5.0.0"} <= found.keys()


async def test_every_link_still_answers_when_the_upstream_is_gone(
    proxy: Proxy, full: FakeFeed, clock: FakeClock
) -> None:
    before = await crawl(proxy, full, proxy.url)
    await full.set_mode("refused")
    clock.advance(24 * 3600)
    assert await crawl(proxy, full, proxy.url) == before


async def test_a_feed_published_under_its_name_leads_to_that_name(proxy: Proxy, full: FakeFeed) -> None:
    got = await ask(proxy, "/up/v3/index.json")
    for entry in json.loads(got.body)["resources"]:
        assert entry["@id"].startswith(f"{proxy.url}/up/v3/") or BROWSER.match(entry["@type"])


async def test_templates_keep_their_braces_and_lead_where_they_are_opened(proxy: Proxy, full: FakeFeed) -> None:
    index = json.loads((await ask(proxy, "/v3/index.json")).body)
    templates = {e["@type"]: e["@id"] for e in index["resources"] if "UriTemplate" in e["@type"]}
    hive = f"{proxy.url}/v3/registration/semver1"
    assert templates == {
        "ReportAbuseUriTemplate/3.0.0-beta": "https://gallery.example/packages/{id}/{version}/ReportAbuse",
        "ReportAbuseUriTemplate/3.0.0-rc": "https://gallery.example/packages/{id}/{version}/ReportAbuse",
        "PackageDetailsUriTemplate/5.1.0": "https://gallery.example/packages/{id}/{version}?_src=template",
        "OwnerDetailsUriTemplate/6.11.0": "https://gallery.example/profiles/{owner}?_src=template",
        "PackageDisplayMetadataUriTemplate/3.0.0-rc": f"{hive}/{{id-lower}}/index.json",
        "PackageVersionDisplayMetadataUriTemplate/3.0.0-rc": f"{hive}/{{id-lower}}/{{version-lower}}.json",
        "ReadmeUriTemplate/6.13.0": f"{proxy.url}/v3/content/{{lower_id}}/{{lower_version}}/readme",
    }


async def test_unknown_types_and_denied_ones_get_one_line_each(start_proxy: StartProxy, feed: FakeFeed) -> None:
    resources = [
        {"@type": "PackageBaseAddress/3.0.0", "@id": f"{feed.url}/v3-flatcontainer/", "mystery": {"a": [1]}},
        {"@type": "FutureResource/9.0.0", "@id": f"{feed.url}/future/"},
        {"@type": ["FutureResource/9.0.0", "VssFeedId"], "@id": "urn:uuid:1"},
        {"@type": "LegacyGallery/2.0.0", "@id": f"{feed.url}/api/v2"},
    ]
    body = json.dumps({"version": "3.0.0", "resources": resources, "future": True}).encode()
    feed.origin.routes["/v3/index.json"] = Script(body=body)
    with capture_logs() as logs:
        proxy = await start_proxy(feed.index_url)
        for _ in range(3):
            index = json.loads((await ask(proxy, "/v3/index.json")).body)
    assert [event["type"] for event in logs if event["event"] == "resource.unknown"] == [
        "FutureResource/9.0.0",
        "VssFeedId",
    ]
    # What is published keeps properties that nobody knows.
    assert index["future"] is True
    assert index["resources"] == [
        {"@type": "PackageBaseAddress/3.0.0", "@id": f"{proxy.url}/v3/content/", "mystery": {"a": [1]}}
    ]


async def test_a_forged_link_fetches_nothing(proxy: Proxy, feed: FakeFeed) -> None:
    await ask(proxy, "/v3/index.json")
    asked: list[Seen] = list(feed.requests)
    for token in ("0" * 32, "f" * 32, "x", "0" * 33, "http:%2f%2f127.0.0.1"):
        assert (await ask(proxy, f"/v3/x/{token}")).status == 404
    assert feed.requests == asked


def test_every_read_resource_is_in_the_crawl() -> None:
    kinds = {name.partition("/")[0] for row in RESOURCES for name in row.types if row.shape is Shape.BASE}
    assert kinds <= {*BELOW, "RegistrationsBaseUrl"}
    kinds = {name.partition("/")[0] for row in RESOURCES for name in row.types if row.shape is Shape.ENDPOINT}
    assert kinds == QUERIES.keys()
