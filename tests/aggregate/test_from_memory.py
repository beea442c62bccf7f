"""What a feed of several sources answers from memory ends with what it was made of."""

from __future__ import annotations

from tests.aggregate.conftest import Farm
from tests.fakes.asking import until
from tests.fakes.feed import FakeFeed
from tests.fakes.packages import make_nupkg

LIST = "/v3/content/acme.a/index.json"


async def purge(farm: Farm, id: str) -> None:
    _, secret = await farm.proxy.app.tokens.add("boss", ["admin"], (), None)
    got = await farm.get("/-/purge", "POST", json={"id": id}, headers={"Authorization": f"Bearer {secret}"})
    assert got.status == 200, got.body


async def test_a_purge_is_there_at_once(farm: Farm, public: FakeFeed) -> None:
    for _ in range(3):  # the last ones from memory
        assert await farm.versions("acme.a") == ["1.0.0", "2.0.0-rc.1"]
    await until(lambda: not farm.proxy.app.tasks.running())
    public.add(make_nupkg("Acme.A", "3.0.0"))

    await purge(farm, "Acme.A")

    assert await farm.versions("acme.a") == ["1.0.0", "2.0.0-rc.1", "3.0.0"]
    found = await farm.read("/v3/registration/gz-semver2/acme.a/index.json")
    assert found["items"][-1]["upper"] == "3.0.0"
