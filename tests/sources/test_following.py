"""A catalog is followed: what changed at the feed is asked for again, nothing else is."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp.test_utils import TestClient

from nugetproxy.errors import NotFound
from nugetproxy.nuget.documents.catalog import catalog_changes, sortable, successor
from nugetproxy.sources.following import Following
from nugetproxy.sources.remote import RemoteSource
from tests.conftest import StartProxy
from tests.fakes.feed import FakeFeed
from tests.fakes.packages import make_nupkg
from tests.fakes.proxy import Proxy

FOLLOWED: dict[str, Any] = {
    "upstream": {"follow_catalog": True},
    "policy": {"versions": {"fresh": "6h", "refresh": "0s"}},
}
CATALOG = "/v3/catalog0/"


def following(proxy: Proxy) -> Following:
    source = proxy.app.sources["up"]
    assert isinstance(source, RemoteSource)
    assert source.following is not None
    return source.following


async def versions(proxy: Proxy, id_: str) -> list[str]:
    client: TestClient[Any, Any] = proxy.client
    async with client.get(f"/v3/content/{id_}/index.json") as answer:
        found: list[str] = (await answer.json())["versions"]
        return found


def asked(feed: FakeFeed, since: int) -> list[str]:
    return [seen.path.rpartition("/")[2] for seen in feed.requests[since:] if seen.path.startswith(CATALOG)]


async def test_a_new_version_is_seen_though_the_list_is_fresh_for_hours(
    feed: FakeFeed, start_proxy: StartProxy
) -> None:
    feed.add(make_nupkg("Acme.A", "1.0.0"))
    feed.add(make_nupkg("Acme.B", "1.0.0"))
    proxy = await start_proxy(feed.index_url, **FOLLOWED)
    assert await versions(proxy, "acme.a") == await versions(proxy, "acme.b") == ["1.0.0"]
    assert await following(proxy).round() == 0, "of a catalog that is seen for the first time only the end counts"
    feed.add(make_nupkg("Acme.A", "1.1.0"))
    feed.add(make_nupkg("Acme.Unknown", "1.0.0"))
    assert await versions(proxy, "acme.a") == ["1.0.0"]

    assert await following(proxy).round() == 1, "nothing is stored of the other one"

    begun = len(feed.requests)
    assert await versions(proxy, "acme.a") == ["1.0.0", "1.1.0"]
    assert await versions(proxy, "acme.b") == ["1.0.0"]
    assert [seen.path for seen in feed.requests[begun:]] == ["/v3-flatcontainer/acme.a/index.json"]


async def test_a_minute_costs_the_newest_page_and_its_successor_until_it_is_known_how_many_fill_one(
    feed: FakeFeed, start_proxy: StartProxy, clock: Any
) -> None:
    feed.catalog_page_size = 3
    for number in range(4):
        feed.add(make_nupkg("Acme.A", f"1.{number}.0"))
    proxy = await start_proxy(feed.index_url, **FOLLOWED)
    await versions(proxy, "acme.a")
    await following(proxy).round()
    assert asked(feed, 0) == ["index.json", "page1.json", "page2.json"]
    for number in range(4, 8):
        feed.add(make_nupkg("Acme.A", f"1.{number}.0"))
    begun = len(feed.requests)
    clock.advance(60)
    assert await following(proxy).round() >= 1
    assert asked(feed, begun) == ["page1.json", "page2.json", "page2.json"], "it is full, so there is another one"
    assert len(await versions(proxy, "acme.a")) == 8
    begun = len(feed.requests)
    clock.advance(60)
    assert await following(proxy).round() == 0
    assert asked(feed, begun) == ["page2.json"], "not full: one small request"


async def test_what_changed_while_the_proxy_was_down_is_seen(feed: FakeFeed, start_proxy: StartProxy) -> None:
    feed.add(make_nupkg("Acme.A", "1.0.0"))
    proxy = await start_proxy(feed.index_url, **FOLLOWED)
    await versions(proxy, "acme.a")
    await following(proxy).round()
    await proxy.stop()
    feed.add(make_nupkg("Acme.A", "2.0.0"))
    await proxy.start()
    assert await versions(proxy, "acme.a") == ["1.0.0"]
    assert await following(proxy).round() == 1
    assert await versions(proxy, "acme.a") == ["1.0.0", "2.0.0"]


async def test_a_feed_without_a_catalog_is_named(feed: FakeFeed, start_proxy: StartProxy) -> None:
    feed.omit.add("Catalog")
    proxy = await start_proxy(feed.index_url, **FOLLOWED)
    with pytest.raises(NotFound, match="does not offer"):
        await following(proxy).round()


async def test_nobody_follows_unless_it_is_configured(feed: FakeFeed, start_proxy: StartProxy) -> None:
    proxy = await start_proxy(feed.index_url)
    source = proxy.app.sources["up"]
    assert isinstance(source, RemoteSource)
    assert source.following is None


def test_stamps_sort_whatever_zeros_a_feed_leaves_away() -> None:
    stamps = [
        "2024-01-01T00:00:00Z",
        "2024-01-01T00:00:00.1Z",
        "2024-01-01T00:00:00.12Z",
        "2024-01-01T00:00:01.0000000Z",
    ]
    assert [sortable(one) for one in stamps] == sorted(sortable(one) for one in stamps)
    assert sortable("2024-01-01T00:00:00.1Z") == sortable("2024-01-01T00:00:00.1000000Z")


@pytest.mark.parametrize(("page", "after"), [("page7.json", "page8.json"), ("page99.json", "page100.json"), ("x", "")])
def test_pages_are_numbered(page: str, after: str) -> None:
    assert successor(page) == after


def test_entries_that_are_no_packages_are_left_out() -> None:
    body = (
        b'{"items":[{"@type":"nuget:PackageDelete","nuget:id":"Acme.A","nuget:version":"1.0","commitTimeStamp":"b"},'
        b'{"nuget:id":"../x","nuget:version":"1.0","commitTimeStamp":"a"},3]}'
    )
    (change,) = catalog_changes(body)
    assert (change.id, change.deleted) == ("acme.a", True)
