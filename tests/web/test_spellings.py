"""Other spellings of what we publish: tools know some paths by heart, and put slashes behind others."""

from __future__ import annotations

import json

import pytest

from tests.conftest import StartProxy
from tests.fakes.asking import PACKAGE, SMALL, UP_REGISTRATION, VERSIONS, ask
from tests.fakes.feed import FakeFeed
from tests.fakes.origin import Script
from tests.fakes.packages import make_nupkg
from tests.fakes.proxy import Proxy


@pytest.mark.parametrize("path", ["/v3/query/?q=acme", "/v3/autocomplete/?q=acme&take=10"])
async def test_a_slash_behind_an_endpoint_changes_nothing(proxy: Proxy, feed: FakeFeed, path: str) -> None:
    feed.add(SMALL)
    with_slash, without = await ask(proxy, path), await ask(proxy, path.replace("/?", "?"))
    assert (with_slash.status, with_slash.body) == (200, without.body)


@pytest.mark.parametrize("path", [PACKAGE, VERSIONS])
async def test_the_flat_container_of_nuget_org_is_an_alias(proxy: Proxy, feed: FakeFeed, path: str) -> None:
    feed.add(SMALL)
    known_by_heart = path.replace("/v3/content/", "/v3-flatcontainer/")
    assert (await ask(proxy, known_by_heart)).body == (await ask(proxy, path)).body
    assert (await ask(proxy, known_by_heart.replace("acme.a", "acme.none"))).status == 404


async def test_the_alias_is_of_the_first_feed_only(start_proxy: StartProxy, feed: FakeFeed) -> None:
    feed.add(SMALL)
    proxy = await start_proxy(feed.index_url)
    assert (await ask(proxy, f"/up{PACKAGE.replace('/v3/content/', '/v3-flatcontainer/')}")).status == 404


async def test_a_registration_page_is_found_by_its_bounds_in_another_casing(proxy: Proxy, feed: FakeFeed) -> None:
    for number in range(130):
        feed.add(make_nupkg("Acme.A", f"1.{number}.0-rc"))
    base = "/v3/registration/gz-semver2/acme.a"
    index = await ask(proxy, f"{base}/index.json")
    pages = [part.split('"')[0] for part in index.body.decode().split(f"{base}/")[1:] if part.startswith("page/")]
    assert pages
    as_said = await ask(proxy, f"{base}/{pages[0]}")
    shouted = await ask(proxy, f"{base}/{pages[0].replace('rc', 'RC')}")
    assert (as_said.status, shouted.status) == (200, 200)
    assert shouted.body == as_said.body


@pytest.mark.parametrize("mode", ["up", "refused"])
async def test_a_page_whose_bounds_the_feed_spells_in_mixed_case_is_found_in_lower_case(
    proxy: Proxy, feed: FakeFeed, mode: str
) -> None:
    below = UP_REGISTRATION.removesuffix("index.json")
    page = f"{below}page/1.0.0-RC/2.0.0-Beta.json"
    leaves = [
        {"@id": f"{feed.origin.url}{below}{version}.json", "catalogEntry": {"id": "Acme.A", "version": version}}
        for version in ("1.0.0-RC", "2.0.0-Beta")
    ]
    bounds = {"@id": f"{feed.origin.url}{page}", "count": 2, "lower": "1.0.0-RC", "upper": "2.0.0-Beta"}
    feed.origin.routes |= {
        UP_REGISTRATION: Script(body=json.dumps({"count": 1, "items": [bounds]}).encode()),
        page: Script(body=json.dumps({**bounds, "items": leaves}).encode()),
    }
    base = "/v3/registration/gz-semver2/acme.a"
    assert (await ask(proxy, f"{base}/index.json")).status == 200
    as_said = await ask(proxy, f"{base}/page/1.0.0-RC/2.0.0-Beta.json")
    await feed.set_mode(mode)
    lower = await ask(proxy, f"{base}/page/1.0.0-rc/2.0.0-beta.json")
    assert (lower.status, lower.body) == (200, as_said.body)
    assert feed.count(page) == 1
