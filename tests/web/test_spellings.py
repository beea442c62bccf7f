"""Other spellings of what we publish: tools know some paths by heart, and put slashes behind others."""

from __future__ import annotations

import json

import pytest

from tests.conftest import StartProxy
from tests.fakes.asking import PACKAGE, SMALL, UP_REGISTRATION, VERSIONS, ask
from tests.fakes.feed import FakeFeed
from tests.fakes.origin import Origin, Script
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


@pytest.mark.parametrize("others", [(), ("RegistrationsBaseUrl/3.6.0",)], ids=["alone", "registration"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_package_is_found_by_the_spelling_of_its_list(
    start_proxy: StartProxy, origin: Origin, others: tuple[str, ...], method: str
) -> None:
    """Official clients ask in that case; a registration that fails, or lacks it, is no reason not to find it."""
    package, flat = make_nupkg("Acme.A", "2.0.0-RC.1"), f"{origin.url}/flat"
    rows = [(flat, "PackageBaseAddress/3.0.0"), *((f"{origin.url}/broken", kind) for kind in others)]
    index = {"version": "3.0.0", "resources": [{"@id": at, "@type": kind} for at, kind in rows]}
    listed = json.dumps({"versions": ["1.0.0", "2.0-RC.1"]}).encode()
    origin.routes |= {
        "/index.json": Script(body=json.dumps(index).encode()),
        "/flat/acme.a/index.json": Script(body=listed),
        "/flat/acme.a/2.0.0-RC.1/acme.a.2.0.0-RC.1.nupkg": Script(body=package),
        "/broken/acme.a/index.json": Script(status=500),
    }
    proxy = await start_proxy(f"{origin.url}/index.json")
    assert json.loads((await ask(proxy, VERSIONS)).body) == {"versions": ["1.0.0", "2.0.0-rc.1"]}
    for version in ("2.0.0-rc.1", "2.0.0-RC.1"):
        got = await ask(proxy, f"/v3/content/acme.a/{version}/acme.a.{version}.nupkg", method)
        assert (got.status, int(got.headers["Content-Length"])) == (200, len(package))
        assert got.body == (package if method == "GET" else b"")


async def test_what_its_list_spells_and_is_not_there_is_absent(start_proxy: StartProxy, origin: Origin) -> None:
    index = {"version": "3.0.0", "resources": [{"@id": f"{origin.url}/flat", "@type": "PackageBaseAddress/3.0.0"}]}
    origin.routes |= {
        "/index.json": Script(body=json.dumps(index).encode()),
        "/flat/acme.a/index.json": Script(body=json.dumps({"versions": ["1.0.0-RC"]}).encode()),
    }
    proxy = await start_proxy(f"{origin.url}/index.json")
    assert (await ask(proxy, VERSIONS)).status == 200
    asked = len(origin.requests)
    for _ in range(2):
        assert (await ask(proxy, "/v3/content/acme.a/1.0.0-rc/acme.a.1.0.0-rc.nupkg")).status == 404
    assert len(origin.requests) == asked + 2, "in both spellings, once"


@pytest.mark.parametrize("listed", [True, False], ids=["listed", "not listed"])
@pytest.mark.parametrize("file", ["acme.a.nuspec", "icon", "license", "readme"])
async def test_a_file_of_a_package_is_found_by_the_spelling_of_its_list(
    start_proxy: StartProxy, origin: Origin, file: str, listed: bool
) -> None:
    content, flat = b"<package><metadata /></package>", f"{origin.url}/flat"
    template = f"{flat}/{{lower_id}}/{{lower_version}}/readme"
    rows = [(flat, "PackageBaseAddress/3.0.0"), (template, "ReadmeUriTemplate/6.13.0")]
    index = {"version": "3.0.0", "resources": [{"@id": at, "@type": kind} for at, kind in rows]}
    versions = ["1.0.0", *(["2.0-RC.1"] if listed else [])]
    origin.routes |= {
        "/index.json": Script(body=json.dumps(index).encode()),
        "/flat/acme.a/index.json": Script(body=json.dumps({"versions": versions}).encode()),
        f"/flat/acme.a/2.0.0-RC.1/{file}": Script(body=content),
    }
    proxy = await start_proxy(f"{origin.url}/index.json")
    assert (await ask(proxy, VERSIONS)).status == 200
    for _ in range(2):
        got = await ask(proxy, f"/v3/content/acme.a/2.0.0-rc.1/{file}")
        assert (got.status, got.body == content) == ((200, True) if listed else (404, False))
    assert origin.count(f"/flat/acme.a/2.0.0-RC.1/{file}") == listed
    assert origin.count(f"/flat/acme.a/2.0.0-rc.1/{file}") == 1
