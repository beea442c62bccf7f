"""Where an operator wants it, one of many hits is in the log; everything else always is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from nugetproxy import log as logs
from tests.fakes.asking import PACKAGE, SMALL, ask
from tests.fakes.feed import FakeFeed
from tests.fakes.proxy import Proxy


@pytest.fixture(autouse=True)
def each_afterwards() -> Iterator[None]:
    yield
    logs.sample_hits(1)


async def requests(proxy: Proxy) -> list[tuple[str, int]]:
    """Outcome of each request that the log has, with how many it stands for: a miss, nine hits, a 404."""
    with capture_logs() as events:
        for _ in range(10):
            await ask(proxy, PACKAGE)
        await ask(proxy, "/v3/content/acme.z/1.0.0/acme.z.1.0.0.nupkg")
    return [(event["outcome"], event.get("stands_for", 1)) for event in events if event["event"] == "request"]


async def test_each_hit_is_written_unless_somebody_wants_fewer(proxy: Proxy, feed: FakeFeed) -> None:
    feed.add(SMALL)
    assert len(await requests(proxy)) == 11


async def test_one_of_so_many_hits_stands_for_all_of_them(proxy: Proxy, feed: FakeFeed) -> None:
    feed.add(SMALL)
    logs.sample_hits(4)
    (first, *hits, last) = await requests(proxy)
    assert proxy.app.lane.answered, "in the lane, too"
    assert (first, last[1]) == (("miss", 1), 1)
    assert hits == [("hit", 4), ("hit", 4)]
    assert proxy.metric("requests_total", upstream="up", kind="package", outcome="hit", status="200") == 9


async def test_no_hit_at_all(proxy: Proxy, feed: FakeFeed) -> None:
    feed.add(SMALL)
    await proxy.reload(log={"sample_hits": 0})
    assert "hit" not in dict(await requests(proxy))
