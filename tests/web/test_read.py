"""Every read resource through the running proxy."""

from __future__ import annotations

import gzip

import pytest

from nugetproxy.nuget.identity import PackageIdentity
from tests.fakes.asking import PACKAGE, ask
from tests.fakes.feed import FakeFeed
from tests.fakes.packages import make_nupkg
from tests.fakes.proxy import Proxy


@pytest.fixture
def acme(feed: FakeFeed) -> bytes:
    nupkg = make_nupkg("Acme.A", "1.0.0", dependencies=[("Acme.B", "[1.0.0, )")])
    feed.add(nupkg)
    feed.add(make_nupkg("Acme.B", "1.0.0"))
    return nupkg


async def test_a_package_comes_through_unaltered_and_is_downloaded_once(
    proxy: Proxy, feed: FakeFeed, acme: bytes
) -> None:
    for expected in ("fwd=uri-miss", "hit"):
        response = await proxy.client.get("/v3/content/acme.a/1.0.0/acme.a.1.0.0.nupkg")
        assert response.status == 200
        assert await response.read() == acme
        assert expected in response.headers["Cache-Status"]
        assert response.headers["Content-Type"] == "application/octet-stream"
    downloads = [seen for seen in feed.requests if seen.path.endswith(".nupkg")]
    assert len(downloads) == 1


async def test_the_service_index_leads_to_the_proxy_only(proxy: Proxy, feed: FakeFeed, acme: bytes) -> None:
    response = await proxy.client.get("/v3/index.json")
    assert response.status == 200
    index = await response.json()
    ours = [entry for entry in index["resources"] if entry["@id"].startswith(proxy.url)]
    types = {entry["@type"] for entry in ours}
    assert {"PackageBaseAddress/3.0.0", "RegistrationsBaseUrl/3.6.0", "SearchQueryService"} <= types
    assert not [entry for entry in index["resources"] if "RepositorySignatures" in entry["@type"]]
    for entry in index["resources"]:
        assert entry in ours or "UriTemplate" in entry["@type"], entry


async def test_registration_is_rewritten_and_honours_gzip(proxy: Proxy, feed: FakeFeed, acme: bytes) -> None:
    plain = await proxy.client.get(
        "/v3/registration/gz-semver2/acme.a/index.json", headers={"Accept-Encoding": "identity"}
    )
    assert plain.status == 200
    text = await plain.text()
    assert feed.url not in text
    assert proxy.url in text
    assert "Content-Encoding" not in plain.headers
    packed = await proxy.client.get(
        "/v3/registration/gz-semver2/acme.a/index.json",
        headers={"Accept-Encoding": "gzip"},
        auto_decompress=False,
    )
    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(await packed.read()).decode() == text
    assert plain.headers["Vary"] == packed.headers["Vary"] == "Accept-Encoding"
    assert plain.headers["ETag"] != packed.headers["ETag"]


@pytest.mark.parametrize(
    "path",
    [
        "/v3/content/acme.a/index.json",
        "/v3/content/acme.a/1.0.0/acme.a.nuspec",
        "/v3/registration/semver1/acme.a/index.json",
        "/v3/registration/gz-semver1/acme.a/index.json",
        "/v3/registration/gz-semver2/acme.a/1.0.0.json",
        "/v3/query?q=acme&prerelease=false",
        "/v3/autocomplete?q=acme",
        "/v3/vulnerabilities/index.json",
        "/v3/catalog/index.json",
    ],
)
async def test_every_document_is_served_again_when_the_upstream_is_gone(
    proxy: Proxy, feed: FakeFeed, acme: bytes, path: str, clock: object
) -> None:
    first = await proxy.client.get(path)
    assert first.status == 200, await first.text()
    body = await first.read()
    await feed.set_mode("refused")
    clock.advance(3 * 3600)  # type: ignore[attr-defined]
    second = await proxy.client.get(path)
    assert second.status == 200
    assert await second.read() == body


@pytest.mark.parametrize("fields", [{}, {"X-Unknown": "1"}], ids=["as clients ask", "on the ordinary path"])
async def test_a_nuspec_is_that_of_the_package_that_is_held_now(
    proxy: Proxy, feed: FakeFeed, fields: dict[str, str]
) -> None:
    first, second = (make_nupkg("Acme.A", "1.0.0", description=text) for text in ("first bytes", "other bytes"))
    nuspec = "/v3/content/acme.a/1.0.0/acme.a.nuspec"
    for package, words, others in ((first, b"first bytes", b"other bytes"), (second, b"other bytes", b"first bytes")):
        feed.add(package)
        assert (await ask(proxy, PACKAGE)).body == package
        for _ in range(4):
            body = (await ask(proxy, nuspec, headers=fields)).body
            assert words in body
            assert others not in body
        await proxy.held.purge(PackageIdentity("acme.a", "1.0.0"))
    feed.remove("Acme.A", "1.0.0")
    assert (await ask(proxy, nuspec, headers=fields)).status == 404
