"""What every source promises, whatever it is: the same tests for each kind."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from nugetproxy.nuget.resources import HIVES
from tests.fakes.asking import Got, ask
from tests.sources.conftest import ONE, OTHER, TWO, Stand

PACKAGES = {
    ("acme.a", "1.0.0"): ONE,
    ("acme.a", "2.0.0-rc.1"): TWO,
    ("acme.b", "1.0.0"): OTHER,
}
SEARCH = "/v3/query?q=acme&prerelease=true&semVerLevel=2.0.0"
READS = (
    "/v3/index.json",
    "/v3/content/acme.a/index.json",
    "/v3/content/acme.a/1.0.0/acme.a.nuspec",
    "/v3/content/acme.a/1.0.0/readme",
    "/v3/content/acme.a/1.0.0/icon",
    "/v3/content/acme.a/1.0.0/license",
    *(f"/v3/{hive}/acme.a/index.json" for hive in HIVES),
    f"/v3/{HIVES[-1]}/acme.a/1.0.0.json",
    SEARCH,
    "/v3/autocomplete?q=acme",
)
NEVER_SENT = {"Age", "Date", "Cache-Status", "Connection"}
"""What may differ between two answers without their being different."""


def nupkg(id: str, version: str) -> str:
    return f"/v3/content/{id}/{version}/{id}.{version}.nupkg"


async def document(stand: Stand, path: str) -> Any:
    got = await ask(stand.proxy, path.removeprefix(stand.proxy.url))
    assert got.status == 200, (path, got.body)
    return json.loads(got.body)


async def hold_all(stand: Stand) -> None:
    for (id, version), content in PACKAGES.items():
        assert (await ask(stand.proxy, nupkg(id, version))).body == content


class TestWhatIsListedCanBeHad:
    async def test_versions(self, stand: Stand) -> None:
        for id in ("acme.a", "acme.b"):
            listed = (await document(stand, f"/v3/content/{id}/index.json"))["versions"]
            assert listed == [version for known, version in PACKAGES if known == id]
            for version in listed:
                assert (await ask(stand.proxy, nupkg(id, version))).body == PACKAGES[id, version]

    @pytest.mark.parametrize("hive", HIVES)
    async def test_registrations(self, stand: Stand, hive: str) -> None:
        index = await document(stand, f"/v3/{hive}/acme.a/index.json")
        found = set()
        for page in index["items"]:
            leaves = page.get("items") or (await document(stand, page["@id"]))["items"]
            for leaf in leaves:
                version = leaf["catalogEntry"]["version"]
                got = await ask(stand.proxy, leaf["packageContent"].removeprefix(stand.proxy.url))
                assert got.body == PACKAGES["acme.a", version]
                assert (await document(stand, leaf["@id"]))["packageContent"] == leaf["packageContent"]
                found.add(version)
        assert found >= {"1.0.0"}

    async def test_searches(self, stand: Stand) -> None:
        hits = (await document(stand, SEARCH))["data"]
        assert {hit["id"] for hit in hits} == {"Acme.A", "Acme.B"}
        for hit in hits:
            assert (await document(stand, hit["registration"]))["items"]
            for version in hit["versions"]:
                path = nupkg(hit["id"].lower(), version["version"])
                assert (await ask(stand.proxy, path)).status == 200

    async def test_offered_resources(self, stand: Stand) -> None:
        offered = {row["@type"].partition("/")[0] for row in (await document(stand, "/v3/index.json"))["resources"]}
        assert offered >= {"PackageBaseAddress", "RegistrationsBaseUrl", "SearchQueryService"}


class TestWhatIsHeldIsServedWhenNothingElseAnswers:
    async def test_packages(self, stand: Stand) -> None:
        await hold_all(stand)
        await stand.lose()
        for (id, version), content in PACKAGES.items():
            assert (await ask(stand.proxy, nupkg(id, version))).body == content

    async def test_documents(self, stand: Stand) -> None:
        await hold_all(stand)
        for path in READS:
            await ask(stand.proxy, path)
        await stand.lose()
        assert (await document(stand, "/v3/content/acme.a/index.json"))["versions"] == ["1.0.0", "2.0.0-rc.1"]
        assert {hit["id"] for hit in (await document(stand, SEARCH))["data"]} == {"Acme.A", "Acme.B"}
        for path in READS:
            assert (await ask(stand.proxy, path)).status == 200, path


class TestHead:
    @pytest.mark.parametrize("path", [*READS, nupkg("acme.a", "1.0.0"), nupkg("acme.a", "2.0.0-rc.1")])
    async def test_equals_its_get(self, stand: Stand, path: str) -> None:
        await ask(stand.proxy, path)
        got = await ask(stand.proxy, path)
        head = await ask(stand.proxy, path, "HEAD")
        assert (got.status, head.status, head.body) == (200, 200, b"")
        assert _told(head) == _told(got)

    async def test_of_what_is_not_held_says_its_size(self, stand: Stand) -> None:
        for (id, version), content in PACKAGES.items():
            head = await ask(stand.proxy, nupkg(id, version), "HEAD")
            assert (head.status, head.body) == (200, b"")
            assert head.headers["Content-Length"] == str(len(content))

    async def test_of_what_is_not_there_is_404(self, stand: Stand) -> None:
        for path in (nupkg("acme.none", "1.0.0"), nupkg("acme.a", "9.9.9"), "/v3/content/acme.none/index.json"):
            assert (await ask(stand.proxy, path, "HEAD")).status == 404
            assert (await ask(stand.proxy, path)).status == 404


def _told(got: Got) -> dict[str, str]:
    return {name: value for name, value in got.headers.items() if name not in NEVER_SENT}


class TestDamage:
    @pytest.mark.parametrize("restart", [False, True], ids=["running", "restarted"])
    async def test_is_never_served(self, stand: Stand, restart: bool) -> None:
        await hold_all(stand)
        damaged = stand.damage().read_bytes()
        if restart:
            await stand.proxy.restart()
        got = await ask(stand.proxy, nupkg("acme.a", "2.0.0-rc.1"))
        assert got.body != damaged
        assert (got.status, got.body == TWO) in {(200, True), (404, False), (503, False)}
        assert (await ask(stand.proxy, nupkg("acme.a", "1.0.0"))).body == ONE

    async def test_is_never_served_when_nothing_else_answers(self, stand: Stand) -> None:
        await hold_all(stand)
        damaged = stand.damage().read_bytes()
        await stand.lose()
        await stand.proxy.restart()
        got = await ask(stand.proxy, nupkg("acme.a", "2.0.0-rc.1"))
        assert (got.status, damaged in got.body) == (503, False)


class TestSpelling:
    @pytest.mark.parametrize("id", ["acme.a", "Acme.A", "ACME.A"])
    @pytest.mark.parametrize("version", ["1.0.0", "1.0", "1.0.0.0", "1.0.0+build"])
    async def test_of_ids_and_versions_does_not_matter(self, stand: Stand, id: str, version: str) -> None:
        spelled = version.replace("+", "%2B")
        got = await ask(stand.proxy, f"/v3/content/{id}/{spelled}/{id}.{spelled}.nupkg")
        assert (got.status, got.body) == (200, ONE)
        usual = await ask(stand.proxy, nupkg("acme.a", "1.0.0"))
        assert usual.headers["ETag"] == (await ask(stand.proxy, nupkg("acme.a", "1.0.0"), "HEAD")).headers["ETag"]
        assert await document(stand, f"/v3/content/{id}/index.json") == {"versions": ["1.0.0", "2.0.0-rc.1"]}
        leaf = await document(stand, f"/v3/{HIVES[-1]}/{id}/index.json")
        assert leaf["items"]


class TestAbsence:
    ABSENT = (
        nupkg("acme.none", "1.0.0"),
        nupkg("acme.a", "9.9.9"),
        "/v3/content/acme.none/index.json",
        f"/v3/{HIVES[-1]}/acme.none/index.json",
        "/v3/content/acme.none/1.0.0/acme.none.nuspec",
    )

    async def test_is_404_while_everything_answers(self, stand: Stand) -> None:
        for path in self.ABSENT:
            assert (await ask(stand.proxy, path)).status == 404, path

    async def test_is_never_said_of_what_nobody_can_tell(self, stand: Stand) -> None:
        await hold_all(stand)
        await stand.lose()
        for path in self.ABSENT:
            got = await ask(stand.proxy, path)
            assert got.status == 503, path
            assert json.loads(got.body)["error"]

    async def test_a_link_that_was_not_handed_out_leads_nowhere(self, stand: Stand) -> None:
        assert (await ask(stand.proxy, f"/v3/x/{'0' * 32}")).status == 404


class TestState:
    async def test_is_seen_in_the_representations(self, stand: Stand) -> None:
        await hold_all(stand)
        feed = next(iter(stand.proxy.app.feeds.values()))
        shown = repr(feed)
        assert shown.startswith(f"<Feed {feed.name!r} of [<")
        assert all(repr(source) in shown for source in feed.sources)
        assert sum(int(count) for count in re.findall(r"(\d+) (?:held|packages)\b", shown)) == 3
