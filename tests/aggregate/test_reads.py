"""What a feed of several sources answers to reads."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from nugetproxy.feeds.merged import REMEMBERED_SECONDS
from nugetproxy.nuget.resources import HIVES
from nugetproxy.sources.remote import RemoteSource
from tests.aggregate.conftest import NEWER, OURS, THEIRS, Farm
from tests.fakes.clock import FakeClock
from tests.fakes.feed import FakeFeed
from tests.fakes.packages import make_nupkg


async def test_both_are_found(farm: Farm) -> None:
    assert await farm.versions("contoso.a") == ["1.0.0"]
    assert await farm.versions("acme.a") == ["1.0.0", "2.0.0-rc.1"]
    assert (await farm.package("contoso.a", "1.0.0")).body == OURS
    assert (await farm.package("acme.a", "1.0.0")).body == THEIRS
    assert (await farm.package("acme.a", "2.0.0-rc.1")).body == NEWER


async def test_registrations(farm: Farm) -> None:
    for hive in HIVES:
        for id, count in (("contoso.a", 1), ("acme.a", 2)):
            index = await farm.read(f"/v3/{hive}/{id}/index.json")
            leaves = [leaf for page in index["items"] for leaf in page["items"]]
            assert len(leaves) == (count if hive == HIVES[0] else 1)
            for leaf in leaves:
                assert (await farm.get(leaf["packageContent"])).status == 200
                assert (await farm.read(leaf["@id"]))["registration"] == f"{farm.proxy.url}/v3/{hive}/{id}/index.json"


async def test_what_was_read_before_a_write_is_not_remembered_behind_it(
    farm: Farm, public: FakeFeed, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One source's list comes from a slow disk while another source is written to."""
    assert await farm.versions("acme.a") == ["1.0.0", "2.0.0-rc.1"]
    slow, written = farm.proxy.app.sources["up"], farm.proxy.app.sources["public"]
    assert isinstance(slow, RemoteSource)
    assert isinstance(written, RemoteSource)
    is_read, gate = asyncio.Event(), asyncio.Event()
    slowly, usual = slow._cache.get, written._cache.get

    async def behind_the_gate(*args: Any, **more: Any) -> Any:
        await gate.wait()
        return await slowly(*args, **more)

    async def told(*args: Any, **more: Any) -> Any:
        found = await usual(*args, **more)
        is_read.set()
        return found

    clock.advance(REMEMBERED_SECONDS)
    with monkeypatch.context() as patched:
        patched.setattr(slow._cache, "get", behind_the_gate)
        patched.setattr(written._cache, "get", told)
        before = asyncio.create_task(farm.versions("acme.a"))
        await is_read.wait()
        public.add(make_nupkg("Acme.A", "3.0.0"))
        written._cache.invalidate("acme.a")
        gate.set()
        await before
    for _ in range(3):
        assert await farm.versions("acme.a") == ["1.0.0", "2.0.0-rc.1", "3.0.0"]
