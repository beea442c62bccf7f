"""What must hold of every feed holds of one of several sources: refusals, forged links, https, attacks."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from nugetproxy.nuget.resources import GZ_SEMVER2
from tests.aggregate.conftest import OURS, Farm, StartFarm, asked_for
from tests.aggregate.test_guard import ATTACK, LIST, SAME, STALE
from tests.fakes import canary
from tests.fakes.clock import FakeClock
from tests.fakes.feed import FakeFeed
from tests.fakes.names import Names
from tests.fakes.origin import Origin, Script
from tests.fakes.packages import make_nupkg
from tests.web.test_links import crawl

EXPIRED = Script(status=401, headers=[("WWW-Authenticate", "Basic")])
UP_LIST = "/v3-flatcontainer/contoso.a/index.json"
UP_REGISTRATION = "/v3/registration5-gz-semver2/contoso.a/index.json"


@pytest.fixture
async def elsewhere() -> AsyncIterator[Origin]:
    """A server that nobody named."""
    async with Origin() as running:
        yield running


@pytest.fixture
def attacked(farm: Farm) -> Farm:
    """Somebody has published the company's id in public."""
    farm.public.add(ATTACK)
    farm.public.add(SAME)
    return farm


# --- refusals ---


@pytest.mark.parametrize("status", [401, 403, 451])
async def test_expired_credentials_take_nothing_away_that_is_stored(
    start_farm: StartFarm, company: FakeFeed, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setenv("COMPANY_PASSWORD", canary.PASSWORD)
    company.add(OURS)
    farm = await start_farm(upstream={"username": canary.USER, "password": "env:COMPANY_PASSWORD"})
    assert await farm.versions("contoso.a") == ["1.0.0"]
    farm.company.origin.fallback = lambda _: Script(status=status, headers=EXPIRED.headers)
    clock.advance(STALE)
    assert await farm.versions("contoso.a") == ["1.0.0"]
    got = await farm.get("/v3/content/contoso.new/index.json")
    assert (got.status, "WWW-Authenticate" in got.headers) == (503, False)
    assert "'up'" in json.loads(got.body)["error"]


async def test_a_source_that_wants_patience_is_left_alone(farm: Farm, clock: FakeClock) -> None:
    assert await farm.versions("contoso.a") == ["1.0.0"]
    farm.company.retry_after = "30"
    await farm.company.set_mode("429")
    clock.advance(600.0)
    for feed in (farm.company, farm.public):
        feed.requests.clear()
    for _ in range(20):
        assert await farm.versions("contoso.a") == ["1.0.0"]
        got = await farm.get("/v3/content/contoso.new/index.json")
        assert (got.status, got.headers.get("Retry-After", "1")) == (503, "1")
    assert len(farm.company.requests) < 20, "the breaker is open"


async def test_what_clients_show_goes_nowhere_and_splits_nothing(farm: Farm) -> None:
    for secret in ("", "Basic YTpi", "Bearer something", "Negotiate abc"):
        shown = {"Authorization": secret} if secret else {}
        got = await farm.get(LIST, headers=shown)
        assert (got.status, got.body) == (200, b'{"versions":["1.0.0"]}')
    for feed in (farm.company, farm.public):
        assert feed.count(UP_LIST) == 1
        assert not [seen for seen in feed.requests if "Authorization" in seen.headers]


# --- links ---


async def test_a_page_at_a_private_address_that_nobody_named_is_not_asked_for(
    start_farm: StartFarm, company: FakeFeed, elsewhere: Origin
) -> None:
    company.add(OURS)
    farm = await start_farm(
        upstream={"url": f"http://company.example:{company.origin.port}/v3/index.json", "hosts": ["127.0.0.1"]},
        tables={"resolver": Names({"company.example": ["127.0.0.1"], "localhost": ["127.0.0.1"]})},
    )
    assert await farm.versions("contoso.a") == ["1.0.0"]
    page = {"@id": f"{elsewhere.localhost}/page.json", "count": 1, "lower": "1.0.0", "upper": "1.0.0"}
    farm.company.origin.routes[UP_REGISTRATION] = Script(body=json.dumps({"count": 1, "items": [page]}).encode())
    got = await farm.get(f"/v3/{GZ_SEMVER2}/contoso.a/index.json")
    assert got.status in {502, 503}, "it would lack a page"
    assert elsewhere.requests == []


@pytest.mark.parametrize("token", ["0" * 32, "x", "http:%2f%2f127.0.0.1:1%2f", "..%2f..%2flock"])
async def test_a_forged_link_fetches_nothing(farm: Farm, token: str) -> None:
    await farm.read("/v3/index.json")
    for feed in (farm.company, farm.public):
        feed.requests.clear()
    for front in ("", "/up", "/public"):
        assert (await farm.get(f"{front}/v3/x/{token}")).status == 404
    assert not [*farm.company.requests, *farm.public.requests]


@pytest.fixture
async def full(start_farm: StartFarm, company: FakeFeed, public: FakeFeed) -> Farm:
    """Something behind each resource, of both sources."""
    company.add(make_nupkg("Acme.A", "1.0.0", readme="read me", dependencies=[("Acme.Many", "1.0.0")]))
    for minor in range(130):
        public.add(make_nupkg("Acme.Many", f"1.{minor}.0"))
    public.vulnerabilities = {
        "base": {"acme.a": [{"severity": 1, "url": "https://advisories.example/1", "versions": "(, 2.0.0)"}]},
        "update": {},
    }
    return await start_farm(tables={"server": {"trusted_proxies": ["127.0.0.1"]}})


FRONT = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "nuget.example", "X-Forwarded-Prefix": "/team"}


@pytest.mark.slow
async def test_over_https_every_link_is_ours_and_none_is_plain_http(full: Farm) -> None:
    for feed in (full.company, full.public):
        found = await crawl(full.proxy, feed, "https://nuget.example/team", **FRONT)
        assert not [kind for kind in found if kind.startswith("RepositorySignatures")]
        assert found["VulnerabilityInfo/6.7.0"] > 2


@pytest.mark.slow
async def test_links_of_before_lead_on_when_the_public_url_changes(full: Farm) -> None:
    old = full.proxy.url
    await crawl(full.proxy, full.public, old)
    index = await full.read("/v3/index.json")
    registration = await full.read(f"/v3/{GZ_SEMVER2}/acme.many/index.json")
    await full.proxy.stop()
    server = full.proxy.config.server.but(public_url="https://elsewhere.example/nuget")
    full.proxy.config = full.proxy.config.but(server=server)
    await full.proxy.start()
    for page in registration["items"]:
        assert (await full.get(page["@id"].removeprefix(old))).status == 200
    flat = next(row["@id"] for row in index["resources"] if row["@type"] == "PackageBaseAddress/3.0.0")
    assert (await full.get(f"{flat.removeprefix(old)}acme.a/1.0.0/acme.a.1.0.0.nupkg")).status == 200
    now = await full.read("/v3/index.json")
    assert all(row["@id"].startswith("https://elsewhere.example/nuget/v3/") for row in now["resources"])


# --- the confusion attack, in other clothes ---


@pytest.mark.parametrize("spelled", ["Contoso.A", "CONTOSO.A", "contoso%2Ea", "contoso%2ea", "%63ontoso.a"])
async def test_no_spelling_gets_around_the_guard(attacked: Farm, spelled: str) -> None:
    for _ in range(2):  # before, then after the claim
        assert (await attacked.get(f"/v3/content/{spelled}/99.0.0/{spelled}.99.0.0.nupkg")).status == 404
        assert (await attacked.read(f"/v3/content/{spelled}/index.json"))["versions"] == ["1.0.0"]
        assert (await attacked.get(f"/v3/content/{spelled}/1.0.0/{spelled}.1.0.0.nupkg")).body == OURS
        assert b"99.0.0" not in (await attacked.get(f"/v3/{GZ_SEMVER2}/{spelled}/index.json")).body


async def test_no_other_way_leads_to_it(attacked: Farm, clock: FakeClock) -> None:
    for path, status in (
        ("/v3/package/Contoso.A/99.0.0", 404),
        (f"/v3/{GZ_SEMVER2}/contoso.a/99.0.0.json", 404),
        (f"/v3/{GZ_SEMVER2}/contoso.a/page/99.0.0/99.0.0.json", 404),
        ("/v3/content/contoso.a/99.0.0/contoso.a.nuspec", 404),
        ("/v3/content/contoso.a/99.0.0/readme", 404),
        ("/v3-flatcontainer/contoso.a/99.0.0/contoso.a.99.0.0.nupkg", 404),
    ):
        for method in ("GET", "HEAD"):
            assert (await attacked.get(path, method)).status == status, path
    newest = await attacked.get("/v3/package/Contoso.A")
    assert (newest.status, newest.body) == (200, OURS)


async def test_bytes_that_the_public_source_has_given_alone_are_no_answer(attacked: Farm) -> None:
    attack = await attacked.get("/public/v3/content/contoso.a/99.0.0/contoso.a.99.0.0.nupkg")
    assert attack.body == ATTACK
    await attacked.company.set_mode("refused")
    for path in (LIST, "/v3/content/contoso.a/99.0.0/contoso.a.99.0.0.nupkg"):
        assert "may be its own" in await attacked.error(path, 503)
    found: dict[str, Any] = await attacked.read("/v3/query?q=&prerelease=true&semVerLevel=2.0.0")
    assert found["totalHits"] >= 1


async def test_offline_a_public_copy_does_not_stand_for_a_claimed_id(attacked: Farm) -> None:
    assert await attacked.versions("contoso.a") == ["1.0.0"]
    assert (await attacked.get("/public/v3/content/contoso.a/99.0.0/contoso.a.99.0.0.nupkg")).status == 200
    await attacked.proxy.stop()
    attacked.proxy.config = attacked.proxy.config.all_offline()
    await attacked.proxy.start()
    assert (await attacked.package("contoso.a", "99.0.0")).status == 404
    hits = await attacked.read("/v3/query?q=contoso&prerelease=true&semVerLevel=2.0.0")
    assert "99.0.0" not in json.dumps(hits)
    assert not asked_for(attacked.public, "contoso.a/index")[1:]


async def test_a_private_source_that_becomes_reachable_takes_its_id(attacked: Farm, clock: FakeClock) -> None:
    """It was down when the id was asked for first, so nobody served it; now it is up."""
    await attacked.company.set_mode("refused")
    assert (await attacked.get(LIST)).status == 503
    await attacked.company.set_mode("up")
    clock.advance(120.0)
    assert await attacked.versions("contoso.a") == ["1.0.0"]
    assert (await attacked.package("contoso.a", "1.0.0")).body == OURS
