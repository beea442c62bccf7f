"""Searches, the service index, advisories, writes, links of a feed of several sources."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from nugetproxy.nuget.resources import GZ_SEMVER2, SEMVER1
from tests.aggregate.conftest import Farm, StartFarm
from tests.conftest import StartProxy
from tests.fakes import canary
from tests.fakes.asking import ask
from tests.fakes.clock import FakeClock
from tests.fakes.feed import FakeFeed
from tests.fakes.packages import make_nupkg

KEY = {"X-NuGet-ApiKey": canary.API_KEY}
ALL = "prerelease=true&semVerLevel=2.0.0"


def types(index: dict[str, Any]) -> set[str]:
    return {row["@type"] for row in index["resources"]}


async def test_search_interleaves_what_all_find(farm: Farm) -> None:
    farm.company.add(make_nupkg("Contoso.B", "1.0.0"))
    farm.public.add(make_nupkg("Acme.B", "1.0.0"))
    found = await farm.read(f"/v3/query?q=&{ALL}")
    assert {hit["id"] for hit in found["data"]} == {"Contoso.A", "Contoso.B", "Acme.A", "Acme.B"}
    assert [hit["id"].partition(".")[0] for hit in found["data"]] == ["Contoso", "Acme", "Contoso", "Acme"]
    assert found["totalHits"] == 4
    assert all(hit["registration"].startswith(f"{farm.proxy.url}/v3/registration/") for hit in found["data"])
    second = await farm.read(f"/v3/query?q=&skip=1&take=2&{ALL}")
    rest = await farm.read(f"/v3/query?q=&skip=1&take=1000&{ALL}")
    assert rest["data"][:2] == second["data"]
    assert [hit["id"] for hit in second["data"]] == [hit["id"] for hit in found["data"]][1:3]
    assert second["totalHits"] == 4


async def test_autocomplete(farm: Farm) -> None:
    assert set((await farm.read(f"/v3/autocomplete?q=&{ALL}"))["data"]) == {"Contoso.A", "Acme.A"}
    assert (await farm.read(f"/v3/autocomplete?id=acme.a&{ALL}"))["data"] == ["1.0.0", "2.0.0-rc.1"]
    assert (await farm.read("/v3/autocomplete?id=none.at.all"))["data"] == []


async def test_autocomplete_names_what_was_asked_for(start_farm: StartFarm, public: FakeFeed) -> None:
    public.add(make_nupkg("Acme.P", "1.0.0-rc.1"))
    public.add(make_nupkg("Acme.U", "1.0.0"), listed=False)
    farm = await start_farm()
    assert (await farm.read("/v3/autocomplete?id=acme.p"))["data"] == []
    assert (await farm.read(f"/v3/autocomplete?id=acme.u&{ALL}"))["data"] == []
    assert (await farm.read(f"/v3/autocomplete?id=acme.p&{ALL}"))["data"] == ["1.0.0-rc.1"]


async def test_autocomplete_of_a_source_without_is_by_its_list(start_farm: StartFarm, public: FakeFeed) -> None:
    for version in ("1.0.0", "2.0.0-a", "2.0.0-a.1"):
        public.add(make_nupkg("Acme.P", version))
    public.omit |= {"SearchAutocompleteService"}
    farm = await start_farm()
    assert (await farm.read("/v3/autocomplete?id=acme.p"))["data"] == ["1.0.0"]
    assert (await farm.read("/v3/autocomplete?id=acme.p&prerelease=true"))["data"] == ["1.0.0", "2.0.0-a"]
    assert (await farm.read(f"/v3/autocomplete?id=acme.p&{ALL}"))["data"] == ["1.0.0", "2.0.0-a", "2.0.0-a.1"]


async def test_a_malformed_search_is_one(farm: Farm) -> None:
    assert (await farm.get("/v3/query?q=a&skip=-1")).status == 400


async def test_the_index_has_what_one_of_them_has(start_farm: StartFarm, company: FakeFeed, public: FakeFeed) -> None:
    company.omit |= {"SearchAutocompleteService", "RegistrationsBaseUrl/3.6.0"}
    farm = await start_farm(push="up")
    got = await farm.read("/v3/index.json")
    assert {"PackageBaseAddress/3.0.0", "SearchQueryService", "SearchAutocompleteService"} <= types(got)
    assert {"RegistrationsBaseUrl/3.6.0", "VulnerabilityInfo/6.7.0", "PackagePublish/2.0.0"} <= types(got)
    assert not [kind for kind in types(got) if kind.startswith(("Catalog", "RepositorySignatures"))]
    assert all(row["@id"].startswith(farm.proxy.url) for row in got["resources"])


async def test_signatures_are_published_by_sources_alone(farm: Farm) -> None:
    secure = {"X-Forwarded-Proto": "https"}
    for path in ("/v3/signatures/5.0.0/index.json", "/v3/catalog/index.json"):
        assert (await farm.get(path, headers=secure)).status == 404
        assert (await farm.get(f"/public{path}")).status == 200


async def test_nothing_leads_around_the_proxy(farm: Farm) -> None:
    for path in (
        "index.json",
        f"{GZ_SEMVER2}/acme.a/index.json",
        f"{GZ_SEMVER2}/acme.a/1.0.0.json",
        f"query?q=&{ALL}",
        "vulnerabilities/index.json",
    ):
        body = (await farm.get(f"/v3/{path}")).body.decode()
        assert farm.company.url not in body, path
        assert farm.public.url not in body, path


async def test_the_catalog_entry_of_a_leaf_is_its_owners(farm: Farm) -> None:
    for id in ("contoso.a", "acme.a"):
        leaf = await farm.read(f"/v3/{SEMVER1}/{id}/1.0.0.json")
        assert "/from/" in leaf["catalogEntry"]
        assert (await farm.read(leaf["catalogEntry"]))["id"].lower() == id


async def test_pages_of_many_versions(start_farm: StartFarm, company: FakeFeed, public: FakeFeed) -> None:
    for number in range(0, 150, 2):
        company.add(make_nupkg("Many.A", f"1.{number}.0"))
    for number in range(150):
        public.add(make_nupkg("Many.A", f"1.{number}.0", description="everybody's"))
    farm = await start_farm(mapping={"*": {"sources": ["up", "public"], "union": True}})
    index = await farm.read(f"/v3/{GZ_SEMVER2}/many.a/index.json")
    assert [page["count"] for page in index["items"]] == [64, 64, 22]
    versions = []
    for page in index["items"]:
        assert "items" not in page
        document = await farm.read(page["@id"])
        assert (document["lower"], document["upper"]) == (page["lower"], page["upper"])
        versions += [leaf["catalogEntry"]["version"] for leaf in document["items"]]
    assert versions == [f"1.{number}.0" for number in range(150)]
    assert await farm.versions("many.a") == versions


async def test_members_are_the_owners(farm: Farm) -> None:
    assert b"# Ours" in (await farm.get("/v3/content/contoso.a/1.0.0/readme")).body
    assert b"# Theirs" in (await farm.get("/v3/content/acme.a/1.0.0/readme")).body
    for member in ("acme.a.nuspec", "icon", "license"):
        assert (await farm.get(f"/v3/content/acme.a/1.0.0/{member}")).status == 200


class TestAdvisories:
    BAD: Final = {"acme.a": [{"url": "https://example.com/1", "severity": 2, "versions": "(, 2.0.0)"}]}
    WORSE: Final = {"contoso.a": [{"url": "https://example.com/2", "severity": 3, "versions": "(, 2.0.0)"}]}

    async def pages(self, farm: Farm) -> dict[str, Any]:
        index = await farm.read("/v3/vulnerabilities/index.json")
        assert all(len(page["@name"]) <= 32 for page in index)
        return {page["@name"]: await farm.read(page["@id"]) for page in index}

    async def test_are_those_of_all(self, farm: Farm) -> None:
        farm.public.vulnerabilities["base"] = self.BAD
        farm.company.vulnerabilities["base"] = self.WORSE
        pages = await self.pages(farm)
        assert pages["public-base"] == self.BAD
        assert pages["up-base"] == self.WORSE

    async def test_of_others_too(
        self, start_proxy: StartProxy, company: FakeFeed, public: FakeFeed, clock: FakeClock
    ) -> None:
        company.omit |= {"VulnerabilityInfo"}
        public.vulnerabilities["base"] = self.BAD
        company.add(make_nupkg("Contoso.A", "1.0.0"))
        public.add(make_nupkg("Acme.A", "1.0.0"))
        proxy = await start_proxy(
            company.index_url,
            upstream={"tries": 1},
            upstreams={"audit": {"url": public.index_url, "tries": 1}},
            feeds={"all": {"sources": ["up"], "advisories": ["audit"]}},
        )
        farm = Farm(proxy, company, public)
        assert "VulnerabilityInfo/6.7.0" in types(await farm.read("/v3/index.json"))
        assert (await self.pages(farm))["audit-base"] == self.BAD
        assert (await farm.get("/v3/content/acme.a/index.json")).status == 404
        assert not [seen for seen in public.requests if "acme.a" in seen.target]
        clock.advance(30 * 86400.0)
        await public.set_mode("refused")
        assert (await self.pages(farm))["audit-base"] == self.BAD

    async def test_are_never_fewer_because_of_a_failure(self, farm: Farm) -> None:
        await farm.read("/v3/index.json")
        await farm.company.set_mode("refused")
        error = await farm.error("/v3/vulnerabilities/index.json", 503)
        assert "would look like an all-clear" in error

    @pytest.mark.parametrize("table", [{"sources": ["up", "public"]}, {"sources": ["up"], "advisories": ["public"]}])
    async def test_are_offered_while_nobody_knows_who_has_them(
        self, start_farm: StartFarm, company: FakeFeed, public: FakeFeed, table: dict[str, Any]
    ) -> None:
        """A client that finds no such resource audits nothing, without a word."""
        company.omit |= {"VulnerabilityInfo"}
        await public.set_mode("refused")
        farm = await start_farm(feeds={"farm": {**table, "default": True}})
        assert "VulnerabilityInfo/6.7.0" in types(await farm.read("/v3/index.json"))
        assert "would look like an all-clear" in await farm.error("/v3/vulnerabilities/index.json", 503)

    async def test_of_many_pages_are_merged(self, farm: Farm) -> None:
        for number in range(12):
            farm.public.vulnerabilities[f"p{number}"] = {f"acme.p{number}": self.BAD["acme.a"]}
            farm.company.vulnerabilities[f"p{number}"] = {f"acme.p{number}": self.BAD["acme.a"]}
        pages = await self.pages(farm)
        assert set(pages) == {"up", "public"}
        assert set(pages["up"]) == {f"acme.p{number}" for number in range(12)}


class TestWrites:
    @staticmethod
    async def push(farm: Farm, nupkg: bytes) -> tuple[int, str]:
        from aiohttp import FormData

        form = FormData()
        form.add_field("package", nupkg, filename="p.nupkg", content_type="application/octet-stream")
        async with farm.proxy.client.put("/v3/package", data=form, headers=KEY) as response:
            return response.status, await response.text()

    async def test_go_to_the_one_that_is_named(self, start_farm: StartFarm) -> None:
        farm = await start_farm(push="up")
        assert (await farm.get("/v3/content/contoso.n/index.json")).status == 404
        assert (await self.push(farm, make_nupkg("Contoso.N", "1.0.0")))[0] == 201
        assert await farm.versions("contoso.n") == ["1.0.0"]
        assert farm.company.shelf.find("Contoso.N", "1.0.0")

    async def test_go_nowhere_where_none_is_named(self, farm: Farm) -> None:
        status, text = await self.push(farm, make_nupkg("Contoso.N", "1.0.0"))
        assert status == 405
        assert "set feeds.all.push" in text
        assert not [kind for kind in types(await farm.read("/v3/index.json")) if "Publish" in kind]

    async def test_go_by_pattern(self, start_farm: StartFarm) -> None:
        farm = await start_farm(push={"Contoso.*": "up", "Acme.*": "public"})
        assert (await self.push(farm, make_nupkg("Contoso.N", "1.0.0", size=300_000)))[0] == 201
        assert (await self.push(farm, make_nupkg("Acme.N", "1.0.0")))[0] == 201
        assert farm.company.shelf.find("Contoso.N", "1.0.0")
        assert farm.public.shelf.find("Acme.N", "1.0.0")
        status, text = await self.push(farm, make_nupkg("Other.N", "1.0.0"))
        assert (status, "none of them takes pushes of other.n" in text) == (405, True)
        status, _ = await self.push(farm, b"no package")
        assert status == 400

    async def test_deletes_and_relists_go_to_the_owner(self, farm: Farm) -> None:
        await farm.versions("acme.a")
        await farm.versions("contoso.a")
        for id, feed in (("acme.a", farm.public), ("contoso.a", farm.company)):
            async with farm.proxy.client.delete(f"/v3/package/{id}/1.0.0", headers=KEY) as response:
                assert response.status == 200
            assert not feed.shelf.find(id, "1.0.0").listed
            async with farm.proxy.client.post(f"/v3/package/{id}/1.0.0", headers=KEY) as response:
                assert response.status == 200
            assert feed.shelf.find(id, "1.0.0").listed


@pytest.mark.parametrize("path", ["catalog/data/from/nobody/x.json", "vulnerabilities/pages/from/nobody/x.json"])
async def test_what_belongs_to_no_source_is_not_found(farm: Farm, path: str) -> None:
    assert (await farm.get(f"/v3/{path}")).status == 404


async def test_a_link_that_was_not_handed_out_asks_nobody(farm: Farm) -> None:
    await farm.read("/v3/index.json")
    for feed in (farm.company, farm.public):
        feed.requests.clear()
    assert (await farm.get(f"/v3/x/{'0' * 32}")).status == 404
    assert not farm.company.requests
    assert not farm.public.requests


async def test_credentials_of_clients_go_nowhere(farm: Farm) -> None:
    await farm.get("/v3/content/acme.a/index.json", headers={"Authorization": "Basic Y2FuYXJ5OmNhbmFyeQ=="})
    for feed in (farm.company, farm.public):
        assert not [seen for seen in feed.requests if "Authorization" in seen.headers]


async def test_a_feed_of_one_source_is_that_source(start_proxy: StartProxy, public: FakeFeed) -> None:
    public.add(make_nupkg("Acme.A", "1.0.0"))
    plain = await start_proxy(public.index_url)
    wrapped = await start_proxy(
        public.index_url, directory=plain.directory.with_name("other"), feeds={"all": {"sources": ["up"]}}
    )
    for path in ("/v3/index.json", "/v3/content/acme.a/index.json", "/v3/query?q=acme", "/v3/catalog/index.json"):
        ours, theirs = await ask(plain, path), await ask(wrapped, path)
        assert json.loads(ours.body.replace(plain.url.encode(), b"")) == json.loads(
            theirs.body.replace(wrapped.url.encode(), b"")
        )


async def test_what_is_said_of_a_version_is_its_owners(
    start_farm: StartFarm, company: FakeFeed, public: FakeFeed
) -> None:
    """Deprecations and advisories in a registration, and whether it is listed."""
    said = {
        feed: {
            "deprecation": {"reasons": ["Legacy"], "message": name},
            "vulnerabilities": [{"advisoryUrl": f"https://advisories.example/{name}", "severity": "2"}],
        }
        for feed, name in ((company, "ours"), (public, "theirs"))
    }
    for feed, extra in said.items():
        feed.add(make_nupkg("Shared.A", "1.0.0", description="both"), listed=feed is public)
        feed.registration_extra["shared.a"] = {"1.0.0": extra, "2.0.0": extra}
    public.add(make_nupkg("Shared.A", "2.0.0"))
    farm = await start_farm(mapping={"*": {"sources": ["up", "public"], "union": True}})
    index = await farm.read(f"/v3/{GZ_SEMVER2}/shared.a/index.json")
    entries = [leaf["catalogEntry"] for page in index["items"] for leaf in page["items"]]
    assert [(one["version"], one["listed"], one["deprecation"]["message"]) for one in entries] == [
        ("1.0.0", False, "ours"),
        ("2.0.0", True, "theirs"),
    ]
    assert [one["vulnerabilities"] for one in entries] == [extra["vulnerabilities"] for extra in said.values()]
