"""The feeds of products, each in its own shape: a restore, a search, a push through the proxy, and an outage."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from nugetproxy.nuget.leaks import Verdict, document_sightings
from tests.conftest import StartProxy
from tests.fakes import canary
from tests.fakes.asking import Got, ask
from tests.fakes.clock import FakeClock
from tests.fakes.feed import FakeFeed
from tests.fakes.feed_writes import first_part
from tests.fakes.packages import make_nupkg
from tests.fakes.proxy import Proxy
from tests.fakes.vendors import SIGNED, VENDORS, VendorFeed

A1 = make_nupkg("Acme.Text", "1.0.0", dependencies=[("Acme.Core", "[1.0.0, )")], size=300_000)
A2 = make_nupkg("Acme.Text", "2.0.0-rc.1+build.5", readme="# Read me")
CORE = make_nupkg("Acme.Core", "1.0.0")
FRESH = make_nupkg("Acme.Fresh", "1.0.0")
FORM = b'--b\r\nContent-Disposition: form-data; name=package; filename="p.nupkg"\r\n\r\n' + FRESH + b"\r\n--b--\r\n"
WRITE = {"Content-Type": 'multipart/form-data; boundary="b"', "X-NuGet-ApiKey": canary.API_KEY}
TEXT = "/v3/content/acme.text/1.0.0/acme.text.1.0.0.nupkg"


@pytest.fixture(params=list(VENDORS))
async def vendor(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[VendorFeed]:
    """The feed of each product, with three packages."""
    async with VendorFeed(VENDORS[request.param]) as running:
        for nupkg in (A1, A2, CORE):
            running.behind.add(nupkg)
        monkeypatch.setenv("VENDOR_SECRET", running.vendor.environment)
        yield running


@pytest.fixture
async def proxy(vendor: VendorFeed, start_proxy: StartProxy) -> Proxy:
    """A proxy in front of it."""
    upstream = {**vendor.vendor.config, "tries": 1, "hosts": ["127.0.0.1"]}
    return await start_proxy(vendor.index_url, upstream=upstream)


class Walk:
    """What a client reads, from the service index on; every answer must keep it with the proxy."""

    def __init__(self, proxy: Proxy, vendor: VendorFeed) -> None:
        self._proxy = proxy
        self._vendor = vendor
        self.resources: dict[str, str] = {}

    async def get(self, url: str) -> Got:
        assert url.startswith((self._proxy.url, "/")), f"{url} leads away"
        got = await ask(self._proxy, url.removeprefix(self._proxy.url))
        assert got.status == 200, (url, got.status, got.body[:300])
        if "json" in got.headers["Content-Type"]:
            text = got.body.decode()
            for secret in (self._vendor.store.url, SIGNED, self._vendor.vendor.secret):
                assert not secret or secret not in text, f"{secret} in {url}: {text}"
            seen = document_sightings(json.loads(text), self._proxy.url)
            assert [one for one in seen if one.verdict is Verdict.LEAK] == []
        return got

    async def read(self, url: str) -> Any:
        return json.loads((await self.get(url)).body)

    async def begin(self) -> None:
        for row in (await self.read("/v3/index.json"))["resources"]:
            self.resources.setdefault(row["@type"].partition("/")[0], row["@id"])

    async def restore(self) -> dict[str, bytes]:
        """Lists, packages, what lies in them."""
        flat, found = self.resources["PackageBaseAddress"], {}
        for id in ("acme.text", "acme.core"):
            for version in (await self.read(f"{flat}{id}/index.json"))["versions"]:
                found[f"{id}/{version}"] = (await self.get(f"{flat}{id}/{version}/{id}.{version}.nupkg")).body
                assert b"<id>" in (await self.get(f"{flat}{id}/{version}/{id}.nuspec")).body
        return found

    async def registration(self, id: str) -> dict[str, bytes]:
        """Version -> the package that the registration leads to, by index, pages, leaves."""
        found = {}
        for page in (await self.read(f"{self.resources['RegistrationsBaseUrl']}{id}/index.json"))["items"]:
            document = page if "items" in page else await self.read(page["@id"])
            for leaf in document["items"]:
                assert (await self.read(leaf["@id"]))["registration"].startswith(self._proxy.url)
                found[leaf["catalogEntry"]["version"]] = (await self.get(leaf["packageContent"])).body
        return found

    async def search(self, text: str) -> list[str]:
        """The ids that are found."""
        found = await self.read(f"{self.resources['SearchQueryService']}?q={text}&prerelease=true&semVerLevel=2.0.0")
        for hit in found["data"]:
            await self.read(hit["registration"])
        assert found["totalHits"] >= len(found["data"])
        return [hit["id"] for hit in found["data"]]


WHOLE = {"acme.text/1.0.0": A1, "acme.text/2.0.0-rc.1": A2, "acme.core/1.0.0": CORE}


async def test_a_restore_goes_through_and_again_without_it(proxy: Proxy, vendor: VendorFeed) -> None:
    walk = Walk(proxy, vendor)
    await walk.begin()
    assert await walk.restore() == WHOLE
    assert set((await walk.registration("acme.text")).values()) <= {A1, A2}
    assert sorted(await walk.search("acme")) == ["Acme.Core", "Acme.Text"]
    await vendor.origin.refuse()
    await vendor.store.refuse()
    again = Walk(proxy, vendor)
    await again.begin()
    assert again.resources == walk.resources
    assert await again.restore() == WHOLE
    assert (await again.registration("acme.text"))["1.0.0"] == A1
    assert sorted(await again.search("acme")) == ["Acme.Core", "Acme.Text"]


async def test_the_best_hive_has_every_version(proxy: Proxy, vendor: VendorFeed) -> None:
    """Clients read the highest one that is offered; some products call theirs by old names only."""
    walk = Walk(proxy, vendor)
    for row in (await walk.read("/v3/index.json"))["resources"]:
        walk.resources[row["@type"].partition("/")[0]] = row["@id"]
    registered = await walk.registration("acme.text")
    assert [version.partition("+")[0] for version in registered] == ["1.0.0", "2.0.0-rc.1"]


async def test_credentials_go_to_it_alone(proxy: Proxy, vendor: VendorFeed) -> None:
    walk = Walk(proxy, vendor)
    await walk.begin()
    assert (await walk.restore())["acme.text/1.0.0"] == A1
    wanted = vendor.vendor.wants or None
    assert {seen.headers.get("Authorization") for seen in vendor.origin.requests} == {wanted}
    stored = vendor.store.requests
    assert len(stored) == (len(WHOLE) if vendor.vendor.moved else 0)
    assert all(seen.query == SIGNED for seen in stored)
    assert not [seen for seen in stored if {"Authorization", "X-NuGet-ApiKey", "Cookie"} & set(seen.headers)]


async def test_wrong_credentials_are_the_proxys_own_matter(
    proxy: Proxy, vendor: VendorFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not vendor.vendor.wants:
        assert (await ask(proxy, "/v3/index.json", headers={"Authorization": "Basic Og=="})).status == 200
        assert not [seen for seen in vendor.origin.requests if "Authorization" in seen.headers]
        return
    await proxy.stop()
    monkeypatch.setenv("VENDOR_SECRET", "Bearer of-last-year")
    await proxy.start()
    got = await ask(proxy, "/v3/index.json")
    assert got.status == (502 if vendor.vendor.refusal.status == 302 else 403), got.body
    assert "WWW-Authenticate" not in got.headers
    assert b"'up'" in got.body
    assert b"of-last-year" not in got.body


async def test_an_unknown_id_is_not_there(proxy: Proxy, vendor: VendorFeed) -> None:
    assert (await ask(proxy, "/v3/content/acme.none/index.json")).status == 404
    assert (await ask(proxy, "/v3/content/acme.text/9.9.9/acme.text.9.9.9.nupkg")).status == 404


async def test_a_push_arrives_and_is_seen(proxy: Proxy, vendor: VendorFeed) -> None:
    assert (await ask(proxy, "/v3/content/acme.fresh/index.json")).status == 404
    for path in ("/v3/package", "/v3/package/"):
        got = await ask(proxy, path, "PUT", data=FORM, headers=WRITE)
        if vendor.vendor.name == "cloudsmith":  # it has no such resource
            assert got.status == 404
            assert b"takes no such writes" in got.body
            return
        assert got.status in {vendor.vendor.pushed, 409}, got.body
    writes = [seen for seen in vendor.origin.requests if seen.method == "PUT"]
    assert await first_part(writes[0]) == FRESH
    assert {seen.headers.get("Authorization") for seen in writes} == {vendor.vendor.wants or None}
    assert json.loads((await ask(proxy, "/v3/content/acme.fresh/index.json")).body) == {"versions": ["1.0.0"]}
    assert (await ask(proxy, "/v3/content/acme.fresh/1.0.0/acme.fresh.1.0.0.nupkg")).body == FRESH


@pytest.mark.parametrize("vendor", [name for name, one in VENDORS.items() if one.moved], indirect=True)
async def test_a_signed_address_that_has_expired_is_asked_for_again(
    proxy: Proxy, vendor: VendorFeed, clock: FakeClock
) -> None:
    await ask(proxy, "/v3/index.json")
    store, vendor.store.fallback = vendor.store.fallback, None
    assert (await ask(proxy, TEXT)).status in {404, 502, 503}
    vendor.store.fallback = store
    clock.advance(3600)
    assert (await ask(proxy, TEXT)).body == A1


async def test_beside_a_public_feed_each_is_asked_with_what_is_its_own(
    vendor: VendorFeed, feed: FakeFeed, start_proxy: StartProxy
) -> None:
    feed.add(make_nupkg("Acme.Text", "99.0.0", description="an attack"))
    feed.add(PUBLIC := make_nupkg("Open.Text", "1.0.0"))
    proxy = await start_proxy(
        vendor.index_url,
        upstream={**vendor.vendor.config, "private": True, "tries": 1, "hosts": ["127.0.0.1"]},
        upstreams={"public": {"url": feed.index_url, "private": False, "tries": 1}},
        feeds={"all": {"sources": ["up", "public"]}},
    )
    walk = Walk(proxy, vendor)
    await walk.begin()
    assert await walk.restore() == WHOLE
    assert set(await walk.registration("acme.text")) <= {"1.0.0", "2.0.0-rc.1+build.5", "2.0.0-rc.1"}
    assert (await walk.get("/v3/content/open.text/1.0.0/open.text.1.0.0.nupkg")).body == PUBLIC
    assert set(await walk.search("text")) == {"Acme.Text", "Open.Text"}
    assert not [seen for seen in feed.requests if "Authorization" in seen.headers]
    assert {seen.headers.get("Authorization") for seen in vendor.origin.requests} == {vendor.vendor.wants or None}
