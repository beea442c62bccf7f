"""Documents that name each other, links without a place of their own, the bases that clients know us by."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from yarl import URL

from tests.conftest import StartProxy
from tests.fakes.asking import REGISTRATION, SMALL, UP_INDEX, UP_REGISTRATION, UP_VERSIONS, VERSIONS, ask, until
from tests.fakes.clock import FakeClock
from tests.fakes.feed import FakeFeed
from tests.fakes.feed_documents import SEARCH_HOSTS
from tests.fakes.origin import Origin, Script, Seen
from tests.fakes.packages import make_nupkg
from tests.fakes.proxy import Proxy

MANY = 130
"""Versions; from 128 on a registration has pages of its own."""


@pytest.fixture
def paged(feed: FakeFeed) -> list[str]:
    """The upstream paths of the pages of a large registration."""
    for number in range(MANY):
        feed.add(make_nupkg("Acme.A", f"1.{number}.0"))
    base = "/v3/registration5-gz-semver2/acme.a/page"
    return [f"{base}/1.0.0/1.63.0.json", f"{base}/1.64.0/1.127.0.json", f"{base}/1.128.0/1.129.0.json"]


def page_links(body: bytes) -> list[str]:
    return [page["@id"] for page in json.loads(body)["items"]]


def local(proxy: Proxy, url: str) -> str:
    """The path of a URL of ours."""
    assert url.startswith(proxy.url), url
    return str(URL(url).relative())


async def fetched(feed: FakeFeed, path: str) -> bytes:
    """What upstream says by itself."""
    async with aiohttp.ClientSession(raise_for_status=True) as session, session.get(feed.url + path) as answer:
        return await answer.read()


class TestPages:
    async def test_are_fetched_with_their_index(self, proxy: Proxy, feed: FakeFeed, paged: list[str]) -> None:
        index = await ask(proxy, REGISTRATION)
        assert index.status == 200
        assert [feed.count(path) for path in paged] == [1, 1, 1]
        await feed.set_mode("refused")
        versions = 0
        for link in page_links(index.body):
            page = await ask(proxy, local(proxy, link))
            assert (page.status, page.cache) == (200, "hit; ttl=300")
            assert feed.url.encode() not in page.body
            versions += len(json.loads(page.body)["items"])
        assert versions == MANY

    async def test_after_a_restart(self, proxy: Proxy, feed: FakeFeed, paged: list[str]) -> None:
        index = await ask(proxy, REGISTRATION)
        paths = [local(proxy, link) for link in page_links(index.body)]
        await feed.set_mode("refused")
        await proxy.restart()
        for path in paths:
            assert (await ask(proxy, path)).status == 200

    async def test_only_those_that_changed_are_fetched_again(
        self, proxy: Proxy, feed: FakeFeed, paged: list[str], clock: FakeClock
    ) -> None:
        await ask(proxy, REGISTRATION)
        feed.add(make_nupkg("Acme.A", "1.129.0", description="changed"))
        clock.advance(301)
        await ask(proxy, REGISTRATION)
        assert [feed.count(path) for path in paged] == [1, 1, 2]

    @pytest.mark.parametrize("fault", [Script(status=404), Script(status=500), Script(body=b"<html>")])
    async def test_one_that_fails_keeps_the_old_group(
        self, proxy: Proxy, feed: FakeFeed, paged: list[str], clock: FakeClock, fault: Script
    ) -> None:
        before = await ask(proxy, REGISTRATION)
        feed.add(make_nupkg("Acme.A", "1.130.0"))
        feed.origin.routes["/v3/registration5-gz-semver2/acme.a/page/1.128.0/1.130.0.json"] = fault
        clock.advance(301)
        kept = await ask(proxy, REGISTRATION)
        assert (kept.status, kept.body) == (200, before.body)
        assert kept.cache.startswith("fwd=stale; detail=")
        for link in page_links(kept.body):
            assert (await ask(proxy, local(proxy, link))).status == 200
        feed.origin.routes.clear()
        clock.advance(61)
        new = await ask(proxy, REGISTRATION)
        assert page_links(new.body)[-1].endswith("page/1.128.0/1.130.0.json")

    @pytest.mark.parametrize("stored", [True, False])
    async def test_one_with_the_content_of_another_is_not_believed(
        self, proxy: Proxy, feed: FakeFeed, paged: list[str], clock: FakeClock, stored: bool
    ) -> None:
        other = Script(body=(await fetched(feed, paged[0])))
        before = await ask(proxy, REGISTRATION) if stored else None
        feed.add(make_nupkg("Acme.A", "1.130.0"))
        feed.origin.routes["/v3/registration5-gz-semver2/acme.a/page/1.128.0/1.130.0.json"] = other
        clock.advance(301)
        got = await ask(proxy, REGISTRATION)
        if before is None:
            assert (got.status, b"none of the versions that its URL names" in got.body) == (502, True)
        else:
            assert (got.status, got.body, got.cache) == (200, before.body, "fwd=stale; detail=invalid_content")

    async def test_one_that_fails_when_nothing_is_stored(self, proxy: Proxy, feed: FakeFeed, paged: list[str]) -> None:
        feed.origin.routes[paged[1]] = Script(status=404)
        got = await ask(proxy, REGISTRATION)
        assert (got.status, got.cache) == (502, 'fwd=uri-miss; detail="gone"')

    async def test_an_old_one_still_answers_when_upstream_has_replaced_it(
        self, proxy: Proxy, feed: FakeFeed, paged: list[str], clock: FakeClock
    ) -> None:
        """A client may read the index before the replacement and the page after it."""
        index = await ask(proxy, REGISTRATION)
        last = local(proxy, page_links(index.body)[-1])
        feed.add(make_nupkg("Acme.A", "1.130.0"))
        for _ in range(3):
            clock.advance(400)
            assert (await ask(proxy, REGISTRATION)).status == 200
            assert (await ask(proxy, last)).status == 200

    async def test_the_pages_of_advisories(self, proxy: Proxy, feed: FakeFeed, clock: FakeClock) -> None:
        path = "/v3/vulnerabilities/index.json"
        feed.vulnerabilities = {"base": {"acme.a": []}, "update": {}}
        old = json.loads((await ask(proxy, path)).body)
        feed.vulnerabilities = {"base": {"acme.a": []}, "update": {"acme.b": []}}
        clock.advance(3 * 3600)
        new = json.loads((await ask(proxy, path)).body)
        for page in (*old, *new):
            assert (await ask(proxy, local(proxy, page["@id"]))).status == 200


class TestOpaqueLinks:
    """URLs that lie under no base of the feed."""

    @pytest.fixture
    async def link(self, proxy: Proxy, feed: FakeFeed) -> str:
        """The path of one."""
        elsewhere = f"{feed.url}/elsewhere/page.json?v=1"
        index = {"items": [{"@id": elsewhere, "count": 1, "lower": "1.0.0", "upper": "1.0.0"}]}
        page = {"items": [{"catalogEntry": {"id": "Acme.A", "version": "1.0.0"}}]}
        feed.origin.routes |= {
            UP_REGISTRATION: Script(body=json.dumps(index).encode()),
            "/elsewhere/page.json": Script(body=json.dumps(page).encode()),
        }
        (url,) = page_links((await ask(proxy, REGISTRATION)).body)
        return local(proxy, url)

    async def test_lead_through_us(self, proxy: Proxy, feed: FakeFeed, link: str) -> None:
        assert link.startswith("/v3/x/") and len(link) == len("/v3/x/") + 32
        page = await ask(proxy, link)
        assert (page.status, json.loads(page.body)["items"][0]["catalogEntry"]["id"]) == (200, "Acme.A")
        assert feed.requests[-1].target == "/elsewhere/page.json?v=1"

    async def test_survive_a_restart(self, proxy: Proxy, feed: FakeFeed, link: str, clock: FakeClock) -> None:
        await proxy.restart()
        clock.advance(301)
        assert (await ask(proxy, link)).cache == "fwd=stale; fwd-status=200; stored"
        await feed.set_mode("refused")
        clock.advance(301)
        assert (await ask(proxy, link)).status == 200

    @pytest.mark.parametrize("forge", [str.upper, lambda link: link[:-1], lambda link: link[:-1] + "g", lambda _: ""])
    async def test_forged_ones_lead_nowhere(self, proxy: Proxy, feed: FakeFeed, link: str, forge: Any) -> None:
        before = len(feed.requests)
        token = link.rpartition("/")[2]
        for path in (f"/v3/x/{forge(token)}", f"/v3/x/{'0' * 32}", f"/v3/x/{token}/more", f"/v3/x/?url={feed.url}/"):
            assert (await ask(proxy, path)).status == 404
        assert len(feed.requests) == before


async def test_a_package_that_upstream_keeps_under_another_path(proxy: Proxy, feed: FakeFeed) -> None:
    """A feed that keeps the author's casing: what its registration states is where the package is."""
    feed.add(SMALL)
    stated = f"{feed.url}/cdn/Acme.A.1.0.0.NUPKG?sig=a%2Fb"
    index = {"items": [{"items": [{"packageContent": stated, "catalogEntry": {"id": "Acme.A", "version": "1.0.0"}}]}]}
    feed.origin.routes |= {
        "/v3-flatcontainer/acme.a/1.0.0/acme.a.1.0.0.nupkg": Script(status=404),
        UP_REGISTRATION: Script(body=json.dumps(index).encode()),
        "/cdn/Acme.A.1.0.0.NUPKG": Script(body=SMALL),
    }
    content = json.loads((await ask(proxy, REGISTRATION)).body)["items"][0]["items"][0]["packageContent"]
    for _ in range(2):
        got = await ask(proxy, local(proxy, content))
        assert (got.status, got.body) == (200, SMALL)
    assert feed.count("/cdn/Acme.A.1.0.0.NUPKG") == 1


async def test_any_spelling_is_one_package(proxy: Proxy, feed: FakeFeed) -> None:
    feed.add(SMALL)
    for spelling in ("ACME.A", "Acme.A", "acme.a"):
        for version in ("1.0.0+meta", "1.0.0%2Bmeta", "1.00.0", "1.0.0.0", "1.0", "1.0.0"):
            path = f"/v3/content/{spelling}/{version}/{spelling}.{version}.nupkg"
            async with proxy.client.session.get(URL(proxy.url + path, encoded=True)) as response:
                assert (response.status, await response.read()) == (200, SMALL), path
    assert feed.count("/v3-flatcontainer/acme.a/1.0.0/acme.a.1.0.0.nupkg") == 1


async def test_a_list_with_garbage_is_cleaned(proxy: Proxy, feed: FakeFeed) -> None:
    raw = ["1.10.0", "1.0", "1.0.0+x", "1.0.0", "2.0.0-RC1", "garbage", "1.9.0"]
    feed.origin.routes[UP_VERSIONS] = Script(body=json.dumps({"versions": raw}).encode("utf-8-sig"))
    got = await ask(proxy, VERSIONS)
    assert json.loads(got.body) == {"versions": ["1.0.0", "1.9.0", "1.10.0", "2.0.0-rc1"]}


async def test_no_link_of_ours_goes_upstream(proxy: Proxy, feed: FakeFeed, paged: list[str]) -> None:
    feed.add(make_nupkg("Acme.B", "1.0.0", dependencies=[("Acme.A", "1.0.0")]))
    for path in (
        "/v3/index.json",
        REGISTRATION,
        "/v3/registration/semver1/acme.b/index.json",
        "/v3/registration/gz-semver1/acme.b/1.0.0.json",
        "/v3/query?q=acme",
        "/v3/vulnerabilities/index.json",
        "/v3/catalog/index.json",
    ):
        got = await ask(proxy, path)
        assert got.status == 200
        assert feed.url.encode() not in got.body, path
        for url in links(json.loads(got.body)):
            if "{" not in url and url.endswith(".json"):
                assert (await ask(proxy, local(proxy, url.partition("#")[0]))).status == 200, url


def links(value: Any) -> set[str]:
    """Every URL of ours in a document."""
    match value:
        case dict():
            return set().union(*map(links, value.values()))
        case list():
            return set().union(*map(links, value))
        case str() if value.startswith("http://127.0.0.1"):
            return {value}
    return set()


async def test_the_feed_by_its_name_has_its_own_links(proxy: Proxy, feed: FakeFeed) -> None:
    feed.add(SMALL)
    plain = await ask(proxy, "/v3/index.json")
    named = await ask(proxy, "/up/v3/index.json")
    assert named.body == plain.body.replace(f"{proxy.url}/v3/".encode(), f"{proxy.url}/up/v3/".encode())
    assert (await ask(proxy, "/up" + VERSIONS)).status == 200
    assert (await ask(proxy, VERSIONS)).cache == "hit; ttl=300", "both are one cache"
    for other in ("/other/v3/index.json", "/UP/v3/index.json", "/up/up/v3/index.json", "//v3/index.json"):
        async with proxy.client.session.get(URL(proxy.url + other, encoded=True)) as response:
            assert response.status == 404


async def test_an_upstream_that_moves_is_found_again(proxy: Proxy, feed: FakeFeed, clock: FakeClock) -> None:
    """Its service index changes: what is stored is served with the new links."""
    feed.add(SMALL)
    await ask(proxy, VERSIONS)
    index = {"version": "3.0.0", "resources": [{"@type": "PackageBaseAddress/3.0.0", "@id": f"{feed.url}/moved/"}]}
    feed.origin.routes[UP_INDEX] = Script(body=json.dumps(index).encode())
    feed.origin.routes["/moved/acme.a/index.json"] = Script(body=b'{"versions":["9.0.0"]}')
    clock.advance(3601)
    await ask(proxy, VERSIONS)
    await until(lambda: len(proxy.app.tasks) == 0)
    clock.advance(301)
    assert (await ask(proxy, VERSIONS)).body == b'{"versions":["9.0.0"]}'


@pytest.mark.parametrize("pages", [[], [{"@id": "https://h/acme.a/index.json#page/1/1", "count": 0, "items": []}]])
async def test_a_registration_without_any_leaf_is_no_package(proxy: Proxy, feed: FakeFeed, pages: list[Any]) -> None:
    feed.origin.routes[UP_REGISTRATION] = Script(body=json.dumps({"count": len(pages), "items": pages}).encode())
    assert [(await ask(proxy, REGISTRATION)).status for _ in range(2)] == [404, 404]
    assert feed.count(UP_REGISTRATION) == 1


async def test_a_version_list_that_is_null_is_empty(proxy: Proxy, feed: FakeFeed) -> None:
    feed.origin.routes[UP_VERSIONS] = Script(body=b'{"versions":null}')
    assert json.loads((await ask(proxy, VERSIONS)).body) == {"versions": []}


async def test_an_id_with_combining_marks_is_asked_for(proxy: Proxy, feed: FakeFeed) -> None:
    path = "/v3-flatcontainer/re%CC%81sume%CC%81/index.json"
    feed.origin.routes[path] = Script(body=b'{"versions":["1.0.0"]}')
    async with proxy.client.session.get(
        URL(f"{proxy.url}/v3/content/Re%CC%81sume%CC%81/index.json", encoded=True)
    ) as response:
        assert (response.status, await response.read()) == (200, b'{"versions":["1.0.0"]}')


async def test_the_semver1_hive_is_not_mixed_with_the_other(start_proxy: StartProxy, feed: FakeFeed) -> None:
    feed.add(make_nupkg("Acme.A", "1.0.0-beta.1"))
    proxy = await start_proxy(feed.index_url)
    assert (await ask(proxy, REGISTRATION)).status == 200
    assert (await ask(proxy, "/v3/registration/gz-semver1/acme.a/index.json")).status == 404
    assert (await ask(proxy, "/v3/registration/semver1/acme.a/index.json")).status == 404


@pytest.mark.parametrize("memory", ["1 B", "16 B", "1 KiB", "2 KiB"])
async def test_what_does_not_fit_into_memory_is_served_all_the_same(
    start_proxy: StartProxy, feed: FakeFeed, memory: str
) -> None:
    feed.add(SMALL)
    proxy = await start_proxy(feed.index_url, cache={"hot_memory": memory})
    for path, status in ((UP_INDEX, 200), (VERSIONS, 200), ("/v3/content/acme.none/index.json", 404)):
        assert [(await ask(proxy, path)).status for _ in range(2)] == [status, status]


@pytest.mark.parametrize("newest", ["4.3.0-alpha", ["4.2.0", "4.3.0-alpha", "x"]])
@pytest.mark.parametrize("turned", [False, True])
async def test_of_two_registrations_that_of_the_newest_clients_is_read(
    start_proxy: StartProxy, origin: Origin, newest: object, turned: bool
) -> None:
    def row(at: str, since: object) -> dict[str, object]:
        return {"@id": f"{origin.url}/{at}/", "@type": "RegistrationsBaseUrl/Versioned", "clientVersion": since}

    rows = [row("reg", "3.2.0"), row("reg-semver2", newest)]
    index = {"version": "3.0.0", "resources": rows[::-1] if turned else rows}
    origin.routes["/index.json"] = Script(body=json.dumps(index).encode())
    for name, versions in (("reg", ["1.0.0"]), ("reg-semver2", ["1.0.0", "2.0.0-rc.1"])):
        leaves = [{"catalogEntry": {"id": "Acme.A", "version": version}} for version in versions]
        document = {"items": [{"lower": versions[0], "upper": versions[-1], "items": leaves}]}
        origin.routes[f"/{name}/acme.a/index.json"] = Script(body=json.dumps(document).encode())
    proxy = await start_proxy(f"{origin.url}/index.json")
    assert b"2.0.0-rc.1" in (await ask(proxy, REGISTRATION)).body
    assert json.loads((await ask(proxy, VERSIONS)).body) == {"versions": ["1.0.0", "2.0.0-rc.1"]}
    assert origin.count("/reg/acme.a/index.json") == 0


@pytest.mark.parametrize("folder", ["", "/my feed", "/größe"])
@pytest.mark.parametrize("id", ["acme.a", "größe.a"])
async def test_addresses_written_for_people_are_asked_for_as_they_are_meant(
    start_proxy: StartProxy, origin: Origin, folder: str, id: str
) -> None:
    """Blanks, letters beyond ASCII: .NET encodes them; to take them for no addresses hides whole feeds."""
    root, below, package = f"{origin.url}{folder}", quote(folder), make_nupkg(id, "1.0.0")
    kinds = {"flat/": "PackageBaseAddress/3.0.0", "reg/": "RegistrationsBaseUrl/3.6.0", "query": "SearchQueryService"}
    index = {"version": "3.0.0", "resources": [{"@id": f"{root}/{at}", "@type": kind} for at, kind in kinds.items()]}
    page = {"@id": f"{root}/pages of {id}/1.json", "lower": "1.0.0", "upper": "1.0.0"}
    entry = {"catalogEntry": {"id": id, "version": "1.0.0"}, "packageContent": f"{root}/all files/{id}.nupkg"}
    leaf = {"@id": f"{root}/reg/{id}/1.0.0.json", "registration": f"{root}/reg/{id}/index.json", **entry}
    hit = {"id": id, "version": "1.0.0", "registration": leaf["registration"], "versions": []}
    documents = {
        "/index.json": index,
        f"/flat/{id}/index.json": {"versions": ["1.0.0"]},
        f"/reg/{id}/index.json": {"items": [page]},
        f"/pages of {id}/1.json": {**page, "items": [leaf]},
        "/query": {"totalHits": 1, "data": [hit]},
    }
    for path, value in documents.items():
        body = json.dumps(value, ensure_ascii=False).encode()
        origin.routes[quote(f"{folder}{path}")] = Script(body=body)
    origin.routes[f"{below}{quote(f'/all files/{id}.nupkg')}"] = Script(body=package)
    proxy = await start_proxy(f"{origin.url}{below}/index.json")
    reg = f"/v3/registration/gz-semver2/{quote(id)}/index.json"
    for path in (f"/v3/content/{quote(id)}/index.json", "/v3/query?q=a", reg):
        got = await ask(proxy, path)
        assert (got.status, origin.url.encode() in got.body) == (200, False), got.body
    (link,) = page_links((await ask(proxy, reg)).body)
    (item,) = json.loads((await ask(proxy, local(proxy, link))).body)["items"]
    assert (await ask(proxy, local(proxy, item["packageContent"]))).body == package


@pytest.mark.parametrize(
    "table", [{"sources": ["up", "two"]}, {"sources": ["up"], "rules": [{"name": "none", "ids": ["X"]}]}]
)
@pytest.mark.parametrize("kind", ["query", "autocomplete"])
async def test_no_search_asks_for_more_than_there_is_to_be_had_at_once(
    start_proxy: StartProxy, feed: FakeFeed, table: dict[str, Any], kind: str
) -> None:
    """nuget.org gives 1,000 hits; to whoever wants more, 20."""

    def found(seen: Seen) -> Script:
        words = dict(part.split("=") for part in seen.query.split("&"))
        take, skip = int(words["take"]), int(words["skip"])
        ids = [f"Acme.A{number}" for number in range(2000)][skip : skip + (take if take <= 1000 else 20)]
        hits = [{"id": id, "version": "1.0.0", "versions": [{"version": "1.0.0"}]} for id in ids]
        return Script(body=json.dumps({"totalHits": 2000, "data": hits if kind == "query" else ids}).encode())

    async with FakeFeed() as two:
        for host in SEARCH_HOSTS:
            feed.origin.routes[f"{host}/{kind}"] = found
        proxy = await start_proxy(feed.index_url, upstreams={"two": {"url": two.index_url}}, feeds={"all": table})
        for skip, shown in ((980, 20), (990, 10), (1000, 0), (2500, 0)):
            got = await ask(proxy, f"/all/v3/{kind}?q=acme&skip={skip}&take=20")
            assert (got.status, len(json.loads(got.body)["data"])) == (200, shown), got.body
