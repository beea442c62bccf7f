"""The bytes of a version are its owner's, those of the first time: also of a package that is still on its way."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator

import aiohttp
import pytest

from nugetproxy.admin.held_commands import purged
from nugetproxy.store.ledger.ledger import Owner
from tests.aggregate.conftest import Farm, StartFarm
from tests.fakes.feed import FakeFeed
from tests.fakes.packages import make_nupkg
from tests.store.kit import FailingFs

SMALL, LARGE = 10, 1_200_000


def first(size: int) -> bytes:
    return make_nupkg("Acme.A", "1.0.0", description="the first", size=size)


def other(size: int) -> bytes:
    return make_nupkg("Acme.A", "1.0.0", description="the other", size=size)


@pytest.fixture
async def moved() -> AsyncIterator[FakeFeed]:
    """What the public source is later."""
    async with FakeFeed() as running:
        yield running


async def owner(farm: Farm) -> Owner:
    return (await farm.proxy.app.ledger.owners("all", "acme.a"))["1.0.0"]


async def move(farm: Farm, to: FakeFeed) -> None:
    """The public source has another address from now on: its pins do not hold there."""
    await farm.proxy.stop()
    upstreams = dict(farm.proxy.config.upstreams)
    upstreams["public"] = upstreams["public"].but(url=to.index_url)
    farm.proxy.config = farm.proxy.config.but(upstreams=upstreams)
    await farm.proxy.start()


async def fetched(farm: Farm) -> bytes | int:
    """The whole package, or the status of an error; an answer that is cut is a status of 0."""
    try:
        got = await farm.package("acme.a", "1.0.0")
    except (aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError):
        return 0
    return got.body if got.status == 200 else got.status


@pytest.mark.parametrize("size", [SMALL, LARGE])
async def test_are_recorded_when_they_land(start_farm: StartFarm, public: FakeFeed, size: int) -> None:
    public.add(first(size))
    farm = await start_farm()
    etag = (await farm.get("/v3/content/acme.a/1.0.0/acme.a.1.0.0.nupkg")).headers.get("ETag")
    found = await owner(farm)
    assert (found.source, len(found.sha512)) == ("public", 88)
    assert etag in {None, f'"sha512-{found.sha512}"'}


@pytest.mark.parametrize("size", [SMALL, LARGE])
async def test_do_not_change_with_the_address_of_their_owner(
    start_farm: StartFarm, public: FakeFeed, moved: FakeFeed, size: int
) -> None:
    public.add(first(size))
    farm = await start_farm()
    assert await fetched(farm) == first(size)
    moved.add(other(size))
    await move(farm, moved)
    assert await fetched(farm) in {0, 502}, "in flight"
    assert moved.count("/v3-flatcontainer/acme.a/1.0.0/acme.a.1.0.0.nupkg") == 1
    said = await farm.error("/v3/content/acme.a/1.0.0/acme.a.1.0.0.nupkg", 502)
    assert "these are not the bytes that acme.a.1.0.0.nupkg had before" in said
    assert "'nugetproxy purge' forgets them" in said


@pytest.mark.parametrize("size", [SMALL, LARGE])
async def test_do_not_change_past_a_full_disk_either(
    start_farm: StartFarm, public: FakeFeed, moved: FakeFeed, size: int
) -> None:
    public.add(first(size))
    fs = FailingFs()
    farm = await start_farm(tables={"fs": fs})
    assert await fetched(farm) == first(size)
    moved.add(other(size))
    await move(farm, moved)
    await farm.read("/v3/index.json")
    fs.arm(1, errno.ENOSPC, for_ever=True, only="write")
    assert await fetched(farm) in {0, 502}


async def test_may_come_from_another_address(start_farm: StartFarm, public: FakeFeed, moved: FakeFeed) -> None:
    for feed in (public, moved):
        feed.add(first(LARGE))
    farm = await start_farm()
    assert await fetched(farm) == first(LARGE)
    await move(farm, moved)
    assert await fetched(farm) == first(LARGE)


@pytest.mark.parametrize("size", [SMALL, LARGE])
async def test_are_forgotten_by_a_purge(start_farm: StartFarm, public: FakeFeed, moved: FakeFeed, size: int) -> None:
    public.add(first(size))
    farm = await start_farm()
    assert await fetched(farm) == first(size)
    moved.add(other(size))
    await move(farm, moved)
    assert await fetched(farm) in {0, 502}
    await purged(farm.proxy.app.desk, id="Acme.A", version="1.0.0")
    assert await fetched(farm) == other(size), "in flight, though it was known to have other bytes"
    assert (await owner(farm)).sha512
