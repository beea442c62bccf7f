"""Who may read a feed of several sources: said of the feed, of its sources, by tokens, by addresses."""

from __future__ import annotations

from typing import Any

import pytest

from tests.aggregate.conftest import OURS, THEIRS, Farm, StartFarm
from tests.fakes.asking import ask
from tests.fakes.feed import FakeFeed
from tests.web.test_tokens import CREDENTIALS, basic, token

PACKAGE = "/v3/content/contoso.a/1.0.0/contoso.a.1.0.0.nupkg"
PATHS = (
    "/v3/index.json",
    "/v3/content/contoso.a/index.json",
    PACKAGE,
    "/v3/query?q=a",
    "/v3/vulnerabilities/index.json",
)


@pytest.fixture(autouse=True)
def filled(company: FakeFeed, public: FakeFeed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUGETPROXY_TEST_SECRET", "what the upstream wants")
    company.add(OURS)
    public.add(THEIRS)


async def status(farm: Farm, path: str, feed: str = "", **more: Any) -> int:
    return (await ask(farm.proxy, f"/{feed}{path}" if feed else path, **more)).status


def refused(farm: Farm) -> list[str]:
    """The keys for which a start at an address for everybody is refused."""
    farm.proxy.listens(local=False)
    return [line.partition(":")[0] for line in farm.proxy.app.admission.refusals()]


async def test_credentials_of_one_source_close_the_feed(start_farm: StartFarm) -> None:
    farm = await start_farm(upstream=CREDENTIALS)
    assert await status(farm, PATHS[0]) == 200, "this machine only"
    assert refused(farm) == ["feeds.all.anonymous", "upstreams.up.anonymous"]
    for path in PATHS:
        assert await status(farm, path) == 401
        assert await status(farm, path, "up") == 401
    assert await status(farm, PATHS[0], "public") == 200


@pytest.mark.parametrize(
    ("said", "of_source", "opened", "closed"),
    [
        ({"anonymous": True}, {}, ["all"], ["up"]),
        ({}, {"anonymous": True}, ["up"], []),
        ({"anonymous": False}, {"anonymous": True}, ["up"], ["all"]),
        ({"anonymous": True}, {"anonymous": False}, ["all"], ["up"]),
        ({}, {"anonymous": False}, [], ["all", "up"]),
    ],
)
async def test_what_is_said_of_a_feed_beats_what_is_said_of_its_sources(
    start_farm: StartFarm, said: Any, of_source: Any, opened: list[str], closed: list[str]
) -> None:
    farm = await start_farm(upstream={**CREDENTIALS, **of_source}, **said)
    farm.proxy.listens(local=False)
    for name in opened:
        assert await status(farm, PATHS[0], name) == 200, name
    for name in closed:
        assert await status(farm, PATHS[0], name) == 401, name
    assert await status(farm, PATHS[0], "public") == 200


async def test_a_token_for_the_feed_is_none_for_its_sources(start_farm: StartFarm) -> None:
    farm = await start_farm(upstream=CREDENTIALS)
    farm.proxy.listens(local=False)
    farms = basic(await token(farm.proxy, "read", "all", name="farm"))
    ups = basic(await token(farm.proxy, "read", "up", name="up"))
    for path in PATHS:
        assert await status(farm, path, headers=farms) == 200, path
        assert await status(farm, path, headers=ups) == 403, path
        assert await status(farm, path, "up", headers=farms) == 403, path
    assert await status(farm, PACKAGE, "up", headers=ups) == 200


async def test_everything_of_a_closed_feed_is_for_its_caller_alone(start_farm: StartFarm) -> None:
    farm = await start_farm(anonymous=False)
    shown = basic(await token(farm.proxy, "read", "all"))
    for _ in range(2):
        for path in PATHS:
            got = await ask(farm.proxy, path, headers=shown)
            assert (got.status, got.headers["Cache-Control"].startswith("private")) == (200, True), path
            etag = {"If-None-Match": got.headers.get("ETag", "*")}
            assert await status(farm, path, headers=etag) == 401, "a validator is no token"
    assert (await ask(farm.proxy, f"/public{PATHS[0]}")).headers["Cache-Control"] == "no-cache"


async def test_who_asks_without_a_token_learns_of_no_claim(start_farm: StartFarm) -> None:
    farm = await start_farm(anonymous=False)
    shown = basic(await token(farm.proxy, "read", "all"))
    await ask(farm.proxy, "/v3/content/contoso.a/index.json", headers=shown)
    for feed in (farm.company, farm.public):
        feed.requests.clear()
    said = {(await ask(farm.proxy, f"/v3/content/{id}/index.json")).body for id in ("contoso.a", "acme.a", "none")}
    assert len(said) == 1, "the same for whatever there is, and for what there is not"
    assert not [*farm.company.requests, *farm.public.requests]


async def test_agents_come_in_by_their_addresses_to_this_feed_alone(start_farm: StartFarm) -> None:
    server = {"trusted_proxies": ["127.0.0.0/8"]}
    farm = await start_farm(upstream={"anonymous": False}, anonymous_from=["10.20.0.0/16"], tables={"server": server})
    agent = {"X-Forwarded-For": "10.20.3.4"}
    assert await status(farm, PACKAGE, headers=agent) == 200
    assert await status(farm, PACKAGE, "up", headers=agent) == 401
    assert await status(farm, PACKAGE, headers={"X-Forwarded-For": "10.21.3.4"}) == 401
