"""Opaque links belong to the source whose document they stood in."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest

from tests.conftest import StartProxy
from tests.fakes.asking import UP_PACKAGE, ask, failures
from tests.fakes.feed import FakeFeed
from tests.fakes.origin import Script
from tests.fakes.packages import make_nupkg
from tests.fakes.proxy import Proxy

SECRET = b'{"@id":"x","count":1,"items":[{"catalogEntry":{"id":"Evil","version":"1.0.0"},"secret":"of the other"}]}'
INDEX = "/v3/registration/gz-semver2/evil/index.json"
UP_INDEX = "/v3/registration5-gz-semver2/evil/index.json"


@pytest.fixture
async def other() -> AsyncIterator[FakeFeed]:
    async with FakeFeed() as running:
        yield running


@pytest.fixture
async def both(start_proxy: StartProxy, feed: FakeFeed, other: FakeFeed, monkeypatch: pytest.MonkeyPatch) -> Proxy:
    """Two feeds; the one called ``other`` is asked with credentials."""
    monkeypatch.setenv("OTHER_PASSWORD", "a password")
    other.origin.routes["/secret.json"] = Script(body=SECRET)
    page = {"@id": f"{other.url}/secret.json", "count": 1, "lower": "1.0.0", "upper": "1.0.0"}
    feed.add(make_nupkg("Evil", "1.0.0"))
    feed.origin.routes[UP_INDEX] = Script(body=json.dumps({"count": 1, "items": [page]}).encode())
    return await start_proxy(
        feed.index_url,
        upstream={"hosts": ["127.0.0.1"]},
        upstreams={"other": {"url": other.index_url, "username": "me", "password": "env:OTHER_PASSWORD"}},
    )


async def handed_out(proxy: Proxy, feed: FakeFeed) -> str:
    """An opaque link of the first feed, by its path."""
    feed.origin.routes["/deep/leaf"] = Script(body=b'{"id":"Evil","version":"1.0.0"}')
    leaf = {"@id": f"{feed.url}/leaf", "catalogEntry": f"{feed.url}/deep/leaf", "packageContent": f"{feed.url}/x"}
    feed.origin.routes["/v3/registration5-gz-semver2/evil/1.0.0.json"] = Script(body=json.dumps(leaf).encode())
    got = await ask(proxy, "/v3/registration/gz-semver2/evil/1.0.0.json")
    assert got.status == 200, got.body
    link: str = json.loads(got.body)["catalogEntry"]
    assert "/v3/x/" in link
    return link.removeprefix(proxy.url)


async def test_another_feed_says_404_and_nobody_is_asked(both: Proxy, feed: FakeFeed, other: FakeFeed) -> None:
    link = await handed_out(both, feed)
    asked = len(feed.requests), len(other.requests)
    for method in ("GET", "HEAD"):
        assert (await ask(both, f"/other{link}", method)).status == 404
    assert (len(feed.requests), len(other.requests)) == asked
    assert (await ask(both, link)).status == 200
    assert (await ask(both, f"/up{link}")).status == 200


async def test_it_still_leads_there_after_a_restart(both: Proxy, feed: FakeFeed) -> None:
    link = await handed_out(both, feed)
    await both.restart()
    assert (await ask(both, link)).status == 200
    assert (await ask(both, f"/other{link}")).status == 404


async def test_a_document_cannot_have_another_upstreams_credentials_sent(
    both: Proxy, feed: FakeFeed, other: FakeFeed
) -> None:
    (page,) = json.loads((await ask(both, INDEX)).body)["items"]
    link = page["@id"].removeprefix(both.url)
    assert (await ask(both, f"/other{link}")).status == 404
    asked = [seen for seen in other.requests if seen.path == "/secret.json"]
    assert asked, "the first feed may ask there, as itself"
    assert not [seen for seen in asked if "Authorization" in seen.headers]


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_head_of_a_package_is_counted_as_any_other(proxy: Proxy, feed: FakeFeed, status: int) -> None:
    feed.add(make_nupkg("Acme.A", "1.0.0"))
    await ask(proxy, "/v3/index.json")
    feed.origin.routes[UP_PACKAGE] = Script(status=status)
    got = await ask(proxy, "/v3/content/acme.a/1.0.0/acme.a.1.0.0.nupkg", "HEAD")
    assert got.status == 403
    assert failures(proxy, "auth") == feed.count(UP_PACKAGE)
