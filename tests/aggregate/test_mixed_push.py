"""A feed of one source that lends the proxy's credentials to whoever may push, and one that wants the client's own."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from aiohttp import FormData

from tests.aggregate.conftest import NEWER, OURS, THEIRS, Farm, StartFarm
from tests.fakes import canary
from tests.fakes.feed import FakeFeed
from tests.fakes.packages import make_nupkg
from tests.web.test_tokens import basic, token

OWN = {"X-NuGet-ApiKey": canary.API_KEY}
LENT = {"headers": {"X-NuGet-ApiKey": "env:COMPANY_KEY"}, "push_credentials": "proxy"}
BY_PATTERN = {"Contoso.*": "up", "Acme.*": "public"}
Sent = list[Mapping[str, str]]


@pytest.fixture
async def farm(start_farm: StartFarm, company: FakeFeed, public: FakeFeed, monkeypatch: pytest.MonkeyPatch) -> Farm:
    """Pushes go by pattern; both feeds take the same key, which only the company's lends."""
    monkeypatch.setenv("COMPANY_KEY", canary.API_KEY)
    company.add(OURS)
    public.add(THEIRS)
    public.add(NEWER)
    return await start_farm(upstream=LENT, push=BY_PATTERN)


async def pushed(farm: Farm, id: str, headers: Mapping[str, str]) -> int:
    form = FormData()
    form.add_field("package", make_nupkg(id, "1.0.0", size=200_000), filename="p", content_type="application/zip")
    async with farm.proxy.client.put("/v3/package", data=form, headers=headers) as response:
        return response.status


async def deleted(farm: Farm, id: str, headers: Mapping[str, str]) -> int:
    async with farm.proxy.client.delete(f"/v3/package/{id}/1.0.0", headers=headers) as response:
        return response.status


def written(feed: FakeFeed) -> Sent:
    """The headers of the writes that arrived."""
    return [seen.headers for seen in feed.requests if seen.method not in {"GET", "HEAD"}]


async def test_a_token_pushes_with_what_is_lent(farm: Farm) -> None:
    secret = await token(farm.proxy, "read,push")
    for number, shown in enumerate(({"X-NuGet-ApiKey": secret}, basic(secret), {"Authorization": f"Bearer {secret}"})):
        assert await pushed(farm, f"Contoso.N{number}", shown) == 201
    assert {one["X-NuGet-ApiKey"] for one in written(farm.company)} == {canary.API_KEY}
    assert secret not in str(written(farm.company))
    assert not written(farm.public)


async def test_a_token_lends_nothing_to_the_other_source(farm: Farm) -> None:
    secret = await token(farm.proxy, "read,push")
    assert await pushed(farm, "Acme.N", {"X-NuGet-ApiKey": secret}) == 401
    assert await pushed(farm, "Acme.N", {**basic(secret), "X-NuGet-ApiKey": "wrong"}) == 403
    assert await pushed(farm, "Acme.N", {**basic(secret), **OWN}) == 201
    assert [one.get("X-NuGet-ApiKey") for one in written(farm.public)] == [None, "wrong", canary.API_KEY]
    assert not [one for one in written(farm.public) if "Authorization" in one or secret in str(one)]
    assert not written(farm.company)


@pytest.mark.parametrize("id", ["Contoso.N", "Acme.N", "Other.N"])
async def test_without_a_token_nobody_is_asked(farm: Farm, id: str) -> None:
    reads = await token(farm.proxy, "read", name="reads")
    await token(farm.proxy, "push", name="pushes")
    assert await pushed(farm, id, {}) == 401
    assert await pushed(farm, id, OWN) == 401
    assert await pushed(farm, id, {"X-NuGet-ApiKey": reads}) == 403
    assert await pushed(farm, id, {**basic(reads), **OWN}) == 403
    assert not written(farm.company)
    assert not written(farm.public)


async def test_a_delete_is_the_owners_with_what_that_one_wants(farm: Farm) -> None:
    secret = await token(farm.proxy, "read,push")
    for id in ("contoso.a", "acme.a"):
        async with farm.proxy.client.get(f"/v3/content/{id}/index.json", headers=basic(secret)) as response:
            assert response.status == 200
    assert await deleted(farm, "contoso.a", {"X-NuGet-ApiKey": "none"}) == 401
    assert await deleted(farm, "contoso.a", {"X-NuGet-ApiKey": secret}) == 200
    assert await deleted(farm, "acme.a", {"X-NuGet-ApiKey": secret}) == 401
    assert await deleted(farm, "acme.a", {**basic(secret), **OWN}) == 200
    assert not farm.company.shelf.find("Contoso.A", "1.0.0").listed
    assert not farm.public.shelf.find("Acme.A", "1.0.0").listed
    assert secret not in str([*written(farm.company), *written(farm.public)])
