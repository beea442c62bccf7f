"""A feed without flat container: its registrations say what clients want to read there."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest

from nugetproxy.admin.explain import explain
from tests.conftest import StartProxy
from tests.fakes.asking import PACKAGE, REGISTRATION, SMALL, UP_REGISTRATION, VERSIONS, ask, until
from tests.fakes.clock import FakeClock
from tests.fakes.feed import FakeFeed, Mode
from tests.fakes.origin import Script
from tests.fakes.packages import make_nupkg
from tests.fakes.proxy import Proxy

MANY = 130
"""Versions; from 128 on a registration has pages of its own."""
PAGE = "/v3/registration5-gz-semver2/acme.a/page/1.64.0/1.127.0.json"
FLAT = "/v3-flatcontainer/acme.a"


@pytest.fixture
async def bare() -> AsyncIterator[FakeFeed]:
    """A feed that offers no flat container; its packages lie under addresses that only its registrations know."""
    async with FakeFeed(omit={"PackageBaseAddress", "ReadmeUriTemplate"}) as running:
        yield running


@pytest.fixture
async def proxy(start_proxy: StartProxy, bare: FakeFeed) -> Proxy:
    return await start_proxy(bare.index_url)


async def test_a_flat_container_is_offered_all_the_same(proxy: Proxy) -> None:
    index = json.loads((await ask(proxy, "/v3/index.json")).body)
    rows = {row["@type"]: row["@id"] for row in index["resources"]}
    assert rows["PackageBaseAddress/3.0.0"] == f"{proxy.url}/v3/content/"


async def test_the_version_list_is_made_of_the_registration(proxy: Proxy, bare: FakeFeed) -> None:
    for version in ("1.10.0", "1.9.0", "2.0.0-RC.1"):
        bare.add(make_nupkg("Acme.A", version))
    got = await ask(proxy, VERSIONS)
    assert (got.status, json.loads(got.body)) == (200, {"versions": ["1.9.0", "1.10.0", "2.0.0-rc.1"]})
    assert (await ask(proxy, VERSIONS)).body == got.body
    assert bare.count(f"{FLAT}/index.json") == 0
    assert (await ask(proxy, "/v3/content/acme.none/index.json")).status == 404


async def test_a_registration_that_becomes_empty_is_believed_when_it_is_so_a_minute_later(
    proxy: Proxy, bare: FakeFeed, clock: FakeClock
) -> None:
    """As a version list is."""
    bare.add(make_nupkg("Acme.A", "1.0.0"))
    before = [await ask(proxy, path) for path in (VERSIONS, REGISTRATION)]
    bare.origin.routes[UP_REGISTRATION] = Script(body=b'{"count":0,"items":[]}')
    clock.advance(301)
    for wait in (0, 30, 29):
        clock.advance(wait)
        after = [await ask(proxy, path) for path in (VERSIONS, REGISTRATION)]
        assert [(got.status, got.body) for got in after] == [(200, got.body) for got in before]
    assert after[1].cache == "fwd=stale; detail=shrunk_index"
    clock.advance(2)
    assert [(await ask(proxy, path)).status for path in (VERSIONS, REGISTRATION)] == [404, 404]


async def test_packages_and_what_lies_in_them_are_had(proxy: Proxy, bare: FakeFeed) -> None:
    bare.add(make_nupkg("Acme.A", "1.0.0", readme="read me"))
    readme = await ask(proxy, "/v3/content/acme.a/1.0.0/readme")
    assert (readme.status, readme.body) == (200, b"read me")
    nuspec = await ask(proxy, "/v3/content/acme.a/1.0.0/acme.a.nuspec")
    assert nuspec.status == 200
    assert b"<id>Acme.A</id>" in nuspec.body
    assert (await ask(proxy, "/v3/content/acme.a/1.0.0/acme.a.1.0.0.nupkg")).status == 200
    assert bare.count(f"{FLAT}/1.0.0/acme.a.1.0.0.nupkg") == 1
    for name in ("acme.a.9.9.9.nupkg", "acme.a.nuspec", "readme"):
        assert (await ask(proxy, f"/v3/content/acme.a/9.9.9/{name}")).status == 404


async def test_pages_that_are_not_inlined_are_followed(proxy: Proxy, bare: FakeFeed) -> None:
    for number in range(MANY):
        bare.add(make_nupkg("Acme.A", f"1.{number}.0"))
    listed = json.loads((await ask(proxy, VERSIONS)).body)["versions"]
    assert listed == [f"1.{number}.0" for number in range(MANY)]
    got = await ask(proxy, "/v3/content/acme.a/1.100.0/acme.a.1.100.0.nupkg")
    assert (got.status, got.body) == (200, make_nupkg("Acme.A", "1.100.0"))


async def test_a_package_is_found_by_a_page_that_nobody_asked_for(proxy: Proxy, bare: FakeFeed) -> None:
    for number in range(MANY):
        bare.add(make_nupkg("Acme.A", f"1.{number}.0"))
    got = await ask(proxy, "/v3/content/acme.a/1.100.0/acme.a.1.100.0.nupkg")
    assert (got.status, got.body) == (200, make_nupkg("Acme.A", "1.100.0"))
    assert bare.count(PAGE) == 1
    assert (await ask(proxy, "/v3/content/acme.a/1.500.0/acme.a.1.500.0.nupkg")).status == 404


async def test_a_page_that_fails_is_no_absence(proxy: Proxy, bare: FakeFeed, clock: FakeClock) -> None:
    for number in range(MANY):
        bare.add(make_nupkg("Acme.A", f"1.{number}.0"))
    bare.origin.routes[PAGE] = Script(status=500)
    path = "/v3/content/acme.a/1.100.0/acme.a.1.100.0.nupkg"
    assert (await ask(proxy, path)).status in {502, 503}
    del bare.origin.routes[PAGE]
    clock.advance(3600)
    assert (await ask(proxy, path)).status == 200


@pytest.mark.parametrize("fault", [Script(status=500), Script(status=404), Script(body=b'{"count":0,"items":[]}')])
async def test_a_list_is_never_shorter_by_a_page(proxy: Proxy, bare: FakeFeed, clock: FakeClock, fault: Script) -> None:
    for number in range(MANY):
        bare.add(make_nupkg("Acme.A", f"1.{number}.0"))
    bare.origin.routes[PAGE] = fault
    assert (await ask(proxy, VERSIONS)).status in {502, 503}
    del bare.origin.routes[PAGE]
    clock.advance(3600)
    await until(lambda: len(proxy.app.tasks) == 0)
    got = await ask(proxy, VERSIONS)
    assert (got.status, len(json.loads(got.body)["versions"])) == (200, MANY)


async def test_the_list_follows_the_registration(proxy: Proxy, bare: FakeFeed, clock: FakeClock) -> None:
    bare.add(SMALL)
    assert json.loads((await ask(proxy, VERSIONS)).body)["versions"] == ["1.0.0"]
    bare.add(make_nupkg("Acme.A", "2.0.0"))
    clock.advance(3601)
    await ask(proxy, VERSIONS)
    await until(lambda: len(proxy.app.tasks) == 0)
    assert json.loads((await ask(proxy, VERSIONS)).body)["versions"] == ["1.0.0", "2.0.0"]


async def test_the_list_outlives_the_upstream(proxy: Proxy, bare: FakeFeed, clock: FakeClock) -> None:
    bare.add(SMALL)
    before = await ask(proxy, VERSIONS)
    await bare.set_mode("5xx")
    clock.advance(7 * 86400)
    after = await ask(proxy, VERSIONS)
    assert (after.status, after.body) == (200, before.body)


async def test_what_is_stored_is_told_of_with_the_upstream_gone(proxy: Proxy, bare: FakeFeed) -> None:
    """As it is of a version list: to whoever asks for an explanation, or whether a restore needs nobody."""
    source, app = proxy.app.sources["up"], proxy.app
    assert await source.versions_without_upstream("acme.a") is None
    for number in range(MANY):
        bare.add(make_nupkg("Acme.A", f"1.{number}.0"))
    assert (await ask(proxy, VERSIONS)).status == 200
    await bare.set_mode("refused")
    known = await source.versions_without_upstream("acme.a")
    assert known is not None
    assert [str(version) for version in known] == [f"1.{number}.0" for number in range(MANY)]
    told = (await explain(app.desk.feed(""), app.clock.now(), id_="Acme.A", version="1.9.0")).sources[0]
    assert (told.knows, told.stored) == (True, f"its list of {MANY} versions was stored 0 seconds ago, with 1.9.0")
    assert not (await explain(app.desk.feed(""), app.clock.now(), id_="Acme.A", version="7.0.0")).sources[0].knows


async def test_a_list_that_is_not_stored_as_a_whole_is_none(proxy: Proxy, bare: FakeFeed) -> None:
    for number in range(MANY):
        bare.add(make_nupkg("Acme.A", f"1.{number}.0"))
    bare.origin.routes[PAGE] = Script(status=500)
    assert (await ask(proxy, VERSIONS)).status in {502, 503}
    assert await proxy.app.sources["up"].versions_without_upstream("acme.a") is None


async def test_what_is_listed_since_is_not_absent_in_an_outage(proxy: Proxy, bare: FakeFeed, clock: FakeClock) -> None:
    bare.add(SMALL)
    later = "/v3/content/acme.a/2.0.0/acme.a.2.0.0.nupkg"
    assert (await ask(proxy, later)).status == 404
    bare.add(make_nupkg("Acme.A", "2.0.0"))
    clock.advance(3 * 3600)
    assert json.loads((await ask(proxy, VERSIONS)).body)["versions"] == ["1.0.0", "2.0.0"]
    await bare.set_mode("refused")
    assert (await ask(proxy, later)).status == 503


@pytest.mark.parametrize("mode", ["refused", "hang", "5xx"])
async def test_an_old_registration_is_no_proof_that_a_package_is_not_there(
    proxy: Proxy, bare: FakeFeed, clock: FakeClock, mode: Mode
) -> None:
    for number in range(MANY):
        bare.add(make_nupkg("Acme.A", f"1.{number}.0"))
    before = await ask(proxy, VERSIONS)
    bare.add(make_nupkg("Acme.A", "1.70.1"))
    clock.advance(3 * 3600)
    await bare.set_mode(mode)
    got = await ask(proxy, VERSIONS)
    assert (got.status, got.body) == (200, before.body)
    for version in ("1.70.1", "2.0.0"):
        got = await ask(proxy, f"/v3/content/acme.a/{version}/acme.a.{version}.nupkg")
        assert got.status == 503


async def test_what_is_taken_away_there_is_withdrawn(proxy: Proxy, bare: FakeFeed, clock: FakeClock) -> None:
    source = proxy.app.sources["up"]
    watching = proxy.app.withdrawals_of(source)  # type: ignore[arg-type]
    for version in ("1.0.0", "2.0.0"):
        bare.add(make_nupkg("Acme.A", version))
    assert (await ask(proxy, "/v3/content/acme.a/2.0.0/acme.a.2.0.0.nupkg")).status == 200
    await until(lambda: proxy.metric("pending_commits") == 0)
    assert (await ask(proxy, VERSIONS)).status == 200
    bare.remove("Acme.A", "2.0.0")
    for _ in range(2):
        clock.advance(400)
        assert (await ask(proxy, VERSIONS)).status == 200
        await until(lambda: len(proxy.app.tasks) == 0)
    assert (await ask(proxy, VERSIONS)).status == 200
    await watching.round()
    clock.advance(3700)
    await watching.round()
    assert proxy.metric("withdrawn_total", upstream="up") == 1


async def test_what_is_not_held_offline_is_not_said_to_be_absent_upstream(proxy: Proxy, bare: FakeFeed) -> None:
    bare.add(SMALL)
    assert (await ask(proxy, PACKAGE)).status == 200
    await until(lambda: proxy.metric("pending_commits") == 0)
    await proxy.stop()
    proxy.config = proxy.config.all_offline()
    await proxy.start()
    got = await ask(proxy, PACKAGE.replace("1.0.0", "9.0.0"))
    said = "The feed 'up' is offline, and this is not in its cache."
    assert (got.status, json.loads(got.body)["error"], got.cache) == (404, said, "fwd=bypass; detail=NotFound")
