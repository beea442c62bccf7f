"""Other spellings of what we publish: tools know some paths by heart, and put slashes behind others."""

from __future__ import annotations

import pytest

from tests.conftest import StartProxy
from tests.fakes.asking import PACKAGE, SMALL, VERSIONS, ask
from tests.fakes.feed import FakeFeed
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
