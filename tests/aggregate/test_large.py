"""Large documents of several sources are merged in a child, once."""

from __future__ import annotations

import json

from nugetproxy.off_loop import CHILD, HEAVY
from tests.aggregate.conftest import StartFarm
from tests.fakes.asking import REGISTRATION, UP_REGISTRATION
from tests.fakes.feed import FakeFeed
from tests.fakes.origin import Script
from tests.fakes.packages import make_nupkg

US = "http://nuget.example.com"


async def test_they_are_merged_once(start_farm: StartFarm, public: FakeFeed) -> None:
    public.add(make_nupkg("Acme.A", "1.0.0"))
    entry = {"id": "Acme.A", "version": "1.0.0", "description": "x" * HEAVY}
    leaf = {"catalogEntry": entry, "packageContent": f"{public.url}/v3-flatcontainer/acme.a/1.0.0/acme.a.1.0.0.nupkg"}
    body = json.dumps({"items": [{"@id": f"{public.url}/#page", "items": [leaf]}]}).encode()
    public.origin.routes[UP_REGISTRATION] = Script(body=body)
    farm = await start_farm(tables={"server": {"public_url": US}})
    before = CHILD.jobs
    first = await farm.get(REGISTRATION)
    (merged,) = json.loads(first.body)["items"][0]["items"]
    assert merged["catalogEntry"]["description"] == entry["description"]
    assert merged["packageContent"] == f"{US}/v3/content/acme.a/1.0.0/acme.a.1.0.0.nupkg"
    assert CHILD.jobs - before == 5, "check, pages, render, pages of what was rendered, merge"
    await farm.proxy.restart()
    before = CHILD.jobs
    assert (await farm.get(REGISTRATION)).body == first.body
    assert CHILD.jobs == before
