"""What the bucket has of one feed is not taken for that of another one of the same name."""

from __future__ import annotations

import asyncio

from nugetproxy.cluster.engines import Thing
from nugetproxy.cluster.origins import Origins
from tests.cluster.memory import MemoryStore
from tests.fakes.clock import FakeClock


class SlowStore(MemoryStore):
    """Whoever reads waits until all others have read, too."""

    async def read(self, key: str) -> Thing | None:
        found = await super().read(key)
        for _ in range(5):
            await asyncio.sleep(0)
        return found


async def test_of_two_feeds_of_one_name_that_start_at_the_same_moment_one_has_it() -> None:
    store = SlowStore(FakeClock())
    urls = [f"https://feed{number}.example.com/v3/index.json" for number in (1, 1, 2)]
    feeds = [Origins(store, {"up": url}, FakeClock()) for url in urls]
    first, same, other = await asyncio.gather(*(one.is_ours("up") for one in feeds))
    assert (first, same, other) == (True, True, False)
