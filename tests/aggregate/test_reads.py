"""What a feed of several sources answers to reads."""

from __future__ import annotations

from nugetproxy.nuget.resources import HIVES
from tests.aggregate.conftest import NEWER, OURS, THEIRS, Farm


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
