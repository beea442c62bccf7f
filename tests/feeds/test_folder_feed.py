"""A folder of packages as an upstream, over HTTP: a whole V3 feed."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from nugetproxy.nuget.resources import HIVES
from nugetproxy.sources import folder as folder_source
from tests.conftest import StartProxy
from tests.fakes.asking import PACKAGE, VERSIONS, ask
from tests.fakes.clock import FakeClock
from tests.fakes.feed import FakeFeed
from tests.fakes.packages import make_nupkg
from tests.fakes.proxy import Proxy

A1 = make_nupkg(
    "Acme.A",
    "1.0.0",
    description="Letters and numbers",
    readme="# A",
    icon=b"\x89PNG\r\n\x1a\n...",
    license_file="Do what you like.",
    size=400_000,
)
A2 = make_nupkg("Acme.A", "2.0.0-rc.1", dependencies=[("Acme.B", "[1.0.0, )")])
B1 = make_nupkg("Acme.B", "1.0.0", tags="tools")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Flat and hierarchical, with files that are no packages."""
    root = tmp_path / "my packages"
    deep = root / "acme.b" / "1.0.0"
    deep.mkdir(parents=True)
    (root / "Acme.A.1.0.0.nupkg").write_bytes(A1)
    (root / "Acme.A.2.0.0-rc.1.nupkg").write_bytes(A2)
    (deep / "acme.b.1.0.0.nupkg").write_bytes(B1)
    (root / "damaged.nupkg").write_bytes(A1[:5000])
    (root / "notes.txt").write_text("not a package")
    return root


@pytest.fixture
async def proxy(start_proxy: StartProxy, root: Path) -> Proxy:
    return await start_proxy(str(root))


@pytest.fixture
async def paged(proxy: Proxy, root: Path) -> AsyncIterator[Proxy]:
    for number in range(130):
        (root / f"many.{number}.nupkg").write_bytes(make_nupkg("Acme.Many", f"1.{number}.0"))
    yield proxy


async def document(proxy: Proxy, path: str) -> Any:
    got = await ask(proxy, path)
    assert got.status == 200, got.body
    return json.loads(got.body)


class TestTheFeed:
    async def test_its_index_names_only_what_answers(self, proxy: Proxy) -> None:
        index = await document(proxy, "/v3/index.json")

        types = {resource["@type"] for resource in index["resources"]}
        assert {"PackageBaseAddress/3.0.0", "RegistrationsBaseUrl/3.6.0", "SearchQueryService/3.5.0"} <= types
        assert not [name for name in types if "Publish" in name or "Signatures" in name]
        assert all(resource["@id"].startswith(proxy.url) for resource in index["resources"])

    async def test_version_list(self, proxy: Proxy) -> None:
        assert await document(proxy, VERSIONS) == {"versions": ["1.0.0", "2.0.0-rc.1"]}

    async def test_package(self, proxy: Proxy) -> None:
        got = await ask(proxy, PACKAGE)

        assert (got.status, got.body, got.cache) == (200, A1, "hit")
        assert got.headers["Content-Length"] == str(len(A1))
        assert got.headers["Content-Type"] == "application/octet-stream"
        assert "immutable" not in got.headers["Cache-Control"]

    async def test_package_in_the_spelling_of_its_author(self, proxy: Proxy) -> None:
        got = await ask(proxy, "/v3/content/Acme.A/1.0/Acme.A.1.0.nupkg")

        assert got.body == A1

    async def test_package_conditions_ranges_and_head(self, proxy: Proxy) -> None:
        whole = await ask(proxy, PACKAGE, "HEAD")
        assert (whole.status, whole.body, whole.headers["Content-Length"]) == (200, b"", str(len(A1)))

        part = await ask(proxy, PACKAGE, headers={"Range": "bytes=100-199"})
        assert (part.status, part.body) == (206, A1[100:200])

        same = await ask(proxy, PACKAGE, headers={"If-None-Match": whole.headers["ETag"]})
        assert (same.status, same.body) == (304, b"")

    @pytest.mark.parametrize(
        ("name", "content_type", "begins"),
        [
            ("acme.a.nuspec", "text/xml", b"<?xml"),
            ("readme", "text/markdown", b"# A"),
            ("icon", "image/png", b"\x89PNG"),
            ("license", "text/plain", b"Do what you like."),
        ],
    )
    async def test_what_lies_in_a_package(self, proxy: Proxy, name: str, content_type: str, begins: bytes) -> None:
        got = await ask(proxy, f"/v3/content/acme.a/1.0.0/{name}")

        assert (got.status, got.headers["Content-Type"].partition(";")[0]) == (200, content_type)
        assert got.body.startswith(begins)

    async def test_what_does_not_lie_in_a_package(self, proxy: Proxy) -> None:
        assert (await ask(proxy, "/v3/content/acme.b/1.0.0/readme")).status == 404

    @pytest.mark.parametrize("hive", HIVES)
    async def test_registration(self, proxy: Proxy, hive: str) -> None:
        index = await document(proxy, f"/v3/{hive}/acme.a/index.json")

        (page,) = index["items"]
        listed = [leaf["catalogEntry"]["version"] for leaf in page["items"]]
        assert listed == (["1.0.0", "2.0.0-rc.1"] if hive.endswith("semver2") else ["1.0.0"])
        package = await ask(proxy, page["items"][0]["packageContent"].removeprefix(proxy.url))
        assert package.body == A1
        leaf = await document(proxy, page["items"][0]["@id"].removeprefix(proxy.url))
        assert leaf["packageContent"] == page["items"][0]["packageContent"]

    async def test_registration_pages(self, paged: Proxy) -> None:
        index = await document(paged, "/v3/registration/gz-semver2/acme.many/index.json")

        pages = [await document(paged, page["@id"].removeprefix(paged.url)) for page in index["items"]]
        assert len(pages) > 1
        assert sum(len(page["items"]) for page in pages) == 130

    async def test_search(self, proxy: Proxy) -> None:
        found = await document(proxy, "/v3/query?q=letters&prerelease=false")

        assert [(hit["id"], hit["version"]) for hit in found["data"]] == [("Acme.A", "1.0.0")]
        assert found["totalHits"] == 1
        assert await document(proxy, "/v3/query?q=nothing+like+it") | {"@context": 0} == {
            "@context": 0,
            "totalHits": 0,
            "data": [],
        }

    async def test_autocomplete(self, proxy: Proxy) -> None:
        ids = await document(proxy, "/v3/autocomplete?q=acme")
        versions = await document(proxy, "/v3/autocomplete?id=acme.a&prerelease=true&semVerLevel=2.0.0")

        assert sorted(ids["data"]) == ["Acme.A", "Acme.B"]
        assert versions["data"] == ["1.0.0", "2.0.0-rc.1"]

    async def test_download_by_the_publish_address(self, proxy: Proxy) -> None:
        assert (await ask(proxy, "/v3/package/Acme.A")).body == A1

    async def test_documents_are_compressed_for_who_wants_it(self, proxy: Proxy) -> None:
        got = await ask(proxy, "/v3/registration/gz-semver2/acme.a/index.json", headers={"Accept-Encoding": "gzip"})

        assert got.headers["Content-Encoding"] == "gzip"
        assert json.loads(gzip.decompress(got.body))["count"] == 1

    async def test_what_it_does_not_have_is_404(self, proxy: Proxy) -> None:
        for path in (
            "/v3/content/acme.none/index.json",
            "/v3/content/acme.a/9.9.9/acme.a.9.9.9.nupkg",
            "/v3/registration/gz-semver2/acme.none/index.json",
            "/v3/vulnerabilities/index.json",
            "/v3/catalog/index.json",
            "/v3/signatures/5.0.0/index.json",
        ):
            assert (await ask(proxy, path)).status == 404, path

    @pytest.mark.parametrize("written", ["file://{}", "file://localhost{}"])
    async def test_its_place_may_be_a_url(self, start_proxy: StartProxy, root: Path, written: str) -> None:
        proxy = await start_proxy(written.format(str(root).replace(" ", "%20")))

        assert (await ask(proxy, PACKAGE)).body == A1

    async def test_an_empty_folder_is_a_feed(self, start_proxy: StartProxy, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        proxy = await start_proxy(str(tmp_path / "empty"))

        assert (await document(proxy, "/v3/index.json"))["version"] == "3.0.0"
        assert (await document(proxy, "/v3/query?q="))["totalHits"] == 0
        assert (await ask(proxy, VERSIONS)).status == 404
        assert (await ask(proxy, "/health/ready")).status == 200


class TestWrites:
    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("PUT", "/v3/package"),
            ("DELETE", "/v3/package/Acme.A/1.0.0"),
            ("POST", "/v3/package/Acme.A/1.0.0"),
            ("PUT", "/v3/symbolpackage"),
        ],
    )
    async def test_are_refused_with_a_sentence(self, proxy: Proxy, root: Path, method: str, path: str) -> None:
        before = sorted(root.rglob("*"))

        got = await ask(proxy, path, method, data=b"x" * 100_000)

        assert got.status == 405
        assert "copy packages into it" in json.loads(got.body)["error"]
        assert "copy packages into it" in got.reason
        assert sorted(root.rglob("*")) == before


class TestChanges:
    async def test_a_new_package_is_there_when_it_is_asked_for(
        self, proxy: Proxy, root: Path, clock: FakeClock
    ) -> None:
        path = "/v3/content/acme.new/1.0.0/acme.new.1.0.0.nupkg"
        assert (await ask(proxy, path)).status == 404
        new = make_nupkg("Acme.New", "1.0.0")
        (root / "Acme.New.1.0.0.nupkg").write_bytes(new)
        clock.advance(1.0)

        assert (await ask(proxy, path)).body == new
        assert await document(proxy, "/v3/content/acme.new/index.json") == {"versions": ["1.0.0"]}

    async def test_a_new_version_is_listed_after_the_next_look(self, proxy: Proxy, root: Path) -> None:
        assert (await document(proxy, VERSIONS))["versions"] == ["1.0.0", "2.0.0-rc.1"]
        (root / "Acme.A.3.0.0.nupkg").write_bytes(make_nupkg("Acme.A", "3.0.0"))

        await proxy.library.library.look()

        assert (await document(proxy, VERSIONS))["versions"] == ["1.0.0", "2.0.0-rc.1", "3.0.0"]

    async def test_the_watch_looks_by_itself(self, proxy: Proxy, root: Path, clock: FakeClock) -> None:
        watch = asyncio.create_task(proxy.library.watch())
        try:
            async with asyncio.timeout(10):
                while not clock.slept:
                    await asyncio.sleep(0)
                (root / "Acme.A.3.0.0.nupkg").write_bytes(make_nupkg("Acme.A", "3.0.0"))
                while len(proxy.library.library) < 4:
                    await asyncio.sleep(0)
        finally:
            watch.cancel()
            await asyncio.wait({watch})
        assert set(clock.slept) == {folder_source.WATCH_SECONDS}

    async def test_the_watch_outlives_a_look_that_crashes(
        self, proxy: Proxy, monkeypatch: pytest.MonkeyPatch, clock: FakeClock
    ) -> None:
        looks = 0

        async def crash() -> None:
            nonlocal looks
            looks += 1
            raise RuntimeError("unforeseen")

        folder = proxy.library
        monkeypatch.setattr(folder.library, "look", crash)
        watch = asyncio.create_task(folder.watch())
        async with asyncio.timeout(10):
            while looks < 3:
                await asyncio.sleep(0)
        watch.cancel()
        await asyncio.wait({watch})
        assert watch.cancelled()

    async def test_a_replaced_package_is_served_at_once(self, proxy: Proxy, root: Path) -> None:
        before = await ask(proxy, PACKAGE)
        other = make_nupkg("Acme.A", "1.0.0", description="another one", size=300_000)
        (root / ".part").write_bytes(other)
        (root / ".part").rename(root / "Acme.A.1.0.0.nupkg")

        after = await ask(proxy, PACKAGE, headers={"If-None-Match": before.headers["ETag"]})

        assert (after.status, after.body) == (200, other)
        leaf = await document(proxy, "/v3/registration/gz-semver2/acme.a/1.0.0.json")
        assert leaf["packageContent"].endswith("acme.a.1.0.0.nupkg")
        found = await document(proxy, "/v3/query?q=packageid:acme.a")
        assert found["data"][0]["description"] == "another one"

    async def test_a_removed_package_is_404(self, proxy: Proxy, root: Path) -> None:
        assert (await ask(proxy, PACKAGE)).status == 200
        (root / "Acme.A.1.0.0.nupkg").unlink()

        assert (await ask(proxy, PACKAGE)).status == 404
        assert (await document(proxy, VERSIONS))["versions"] == ["2.0.0-rc.1"]

    async def test_half_a_copy_is_404_until_it_is_whole(self, proxy: Proxy, root: Path, clock: FakeClock) -> None:
        new = make_nupkg("Acme.New", "1.0.0", size=100_000)
        path = "/v3/content/acme.new/1.0.0/acme.new.1.0.0.nupkg"
        with (root / "Acme.New.1.0.0.nupkg").open("wb") as copy:
            copy.write(new[:60_000])
            copy.flush()
            assert (await ask(proxy, path)).status == 404
            copy.write(new[60_000:])
        clock.advance(1.0)

        assert (await ask(proxy, path)).body == new


class TestTrouble:
    async def test_a_folder_that_is_gone_is_503_for_what_it_had_and_never_404(
        self, proxy: Proxy, root: Path, clock: FakeClock
    ) -> None:
        assert (await ask(proxy, PACKAGE)).status == 200
        root.rename(root.with_name("away"))
        clock.advance(1.0)

        for path in ("/v3/content/acme.b/1.0.0/acme.b.1.0.0.nupkg", "/v3/content/acme.none/index.json"):
            got = await ask(proxy, path)
            assert (got.status, got.headers["Retry-After"]) == (503, "1"), path
        assert (await document(proxy, VERSIONS))["versions"] == ["1.0.0", "2.0.0-rc.1"]
        ready = await ask(proxy, "/health/ready")
        assert ready.status == 503
        assert b"ENOENT" in ready.body

        root.with_name("away").rename(root)
        await proxy.library.library.look()
        assert (await ask(proxy, "/v3/content/acme.b/1.0.0/acme.b.1.0.0.nupkg")).body == B1
        assert (await ask(proxy, "/health/ready")).status == 200

    async def test_while_it_is_read_for_the_first_time_nothing_is_denied(
        self, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with proxy.library.library._looking:
            monkeypatch.setattr(folder_source, "PATIENCE_SECONDS", 0.05)
            for path in (PACKAGE, VERSIONS, "/v3/query?q=acme"):
                got = await ask(proxy, path)
                assert (got.status, "still being read" in got.body.decode()) == (503, True)
            monkeypatch.undo()

        assert (await ask(proxy, PACKAGE)).body == A1

    async def test_a_package_damaged_inside_is_404(self, proxy: Proxy, root: Path) -> None:
        damaged = bytearray(A1)
        damaged[200_000] ^= 0xFF
        (root / "Acme.A.1.0.0.nupkg").write_bytes(damaged)

        assert (await ask(proxy, PACKAGE)).status == 404
        assert (await document(proxy, VERSIONS))["versions"] == ["2.0.0-rc.1"]

    async def test_it_is_counted(self, proxy: Proxy) -> None:
        await ask(proxy, PACKAGE)

        assert proxy.metric("folder_packages", upstream="up") == 3
        assert proxy.metric("folder_skipped", upstream="up") == 1
        assert proxy.metric("requests_total", upstream="up", kind="package", outcome="hit", status="200") == 1

    async def test_a_restart_serves_the_same(self, proxy: Proxy) -> None:
        before = await ask(proxy, PACKAGE)
        await proxy.restart()

        after = await ask(proxy, PACKAGE)
        assert (after.body, after.headers["ETag"]) == (before.body, before.headers["ETag"])
        assert (await document(proxy, VERSIONS))["versions"] == ["1.0.0", "2.0.0-rc.1"]

    async def test_no_connection_is_ever_made(self, proxy: Proxy) -> None:
        await ask(proxy, "/v3/index.json")
        await ask(proxy, PACKAGE)

        assert proxy.app.packages == {}
        assert json.loads((await ask(proxy, "/health/ready")).body)["breakers"] == {"up": {}}


async def test_a_folder_beside_a_remote_feed(start_proxy: StartProxy, feed: FakeFeed, root: Path) -> None:
    """The remote one is published first, the folder under its name."""
    feed.add(make_nupkg("Acme.Remote", "1.0.0"))
    proxy = await start_proxy(feed.index_url, upstreams={"shelf": {"url": str(root)}})

    assert (await ask(proxy, "/shelf" + PACKAGE)).body == A1
    assert (await ask(proxy, "/v3/content/acme.remote/index.json")).status == 200
    assert (await ask(proxy, "/v3/content/acme.b/index.json")).status == 404
    assert set(json.loads((await ask(proxy, "/health/ready")).body)["breakers"]) == {"up", "shelf"}
