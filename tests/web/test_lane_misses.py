"""Who asks next for what was a miss is answered by the lane, as the ordinary path would answer."""

from __future__ import annotations

import asyncio
import errno
import re
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.sources.remote import RemoteSource
from tests.conftest import StartProxy
from tests.fakes.asking import PACKAGE, REGISTRATION, SMALL, UP_PACKAGE, UP_VERSIONS, VERSIONS, until
from tests.fakes.clock import FakeClock
from tests.fakes.feed import FakeFeed
from tests.fakes.origin import Script
from tests.fakes.packages import make_nupkg
from tests.fakes.proxy import Proxy
from tests.store.kit import FailingFs
from tests.web.test_lane import get, said, steady, wires
from tests.web.test_lane_files import client_of

MIDDLE = "/v3/content/acme.b/1.0.0/acme.b.1.0.0.nupkg"
STREAMED = "/v3/content/acme.c/1.0.0/acme.c.1.0.0.nupkg"
LARGE = "/v3/content/acme.d/1.0.0/acme.d.1.0.0.nupkg"
ACME = PackageIdentity("acme.a", "1.0.0")
BIG = PackageIdentity("acme.d", "1.0.0")


@pytest.fixture(autouse=True)
def stocked(feed: FakeFeed) -> None:
    feed.add(SMALL)
    feed.add(make_nupkg("Acme.B", "1.0.0", size=20_000))
    feed.add(make_nupkg("Acme.C", "1.0.0", size=300_000))
    feed.add(make_nupkg("Acme.D", "1.0.0", size=1_500_000))


@pytest.mark.parametrize("path", [VERSIONS, REGISTRATION, PACKAGE, MIDDLE])
@pytest.mark.parametrize("coding", ["Accept-Encoding: gzip", "Accept: */*"])
async def test_the_first_request_behind_a_miss_takes_the_lane(proxy: Proxy, path: str, coding: str) -> None:
    async with wires(proxy, 2) as [first, second], wires(proxy, laned=False) as [ordinary]:
        assert b"; fwd=uri-miss" in await said(first, get(path, coding))
        before = proxy.app.lane.answered
        laned = await said(second, get(path, coding))
        assert proxy.app.lane.answered == before + 1
        assert steady(laned) == steady(await said(ordinary, get(path, coding)))
    assert b"\r\nCache-Status: nugetproxy; hit" in laned


async def test_a_package_that_was_streamed_takes_the_lane_next(proxy: Proxy) -> None:
    async with client_of(proxy) as first, client_of(proxy) as second, client_of(proxy, laned=False) as ordinary:
        assert b"; fwd=uri-miss" in await first.said(get(STREAMED))
        await until(lambda: not len(proxy.held.downloads))
        before = proxy.app.lane.answered
        laned = await second.said(get(STREAMED))
        await until(lambda: proxy.app.lane.answered == before + 1)
        assert steady(laned) == steady(await ordinary.said(get(STREAMED)))
    assert b"\r\nCache-Status: nugetproxy; hit" in laned


async def test_a_large_package_takes_the_lane_once_its_contents_are_checked(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until then caches in front of us must ask again for it."""
    go_on = asyncio.Event()
    contents = proxy.held._commits.contents
    look_into = contents.look_into

    async def later(identity: PackageIdentity, sha512: str) -> bool:
        await go_on.wait()
        return await look_into(identity, sha512)

    monkeypatch.setattr(contents, "look_into", later)
    async with client_of(proxy) as first, client_of(proxy) as second:
        await first.said(get(LARGE))
        before = proxy.app.lane.answered
        assert b"\r\nCache-Control: no-cache\r\n" in await second.said(get(LARGE))
        assert proxy.app.lane.answered == before
        go_on.set()
        await until(lambda: (held := proxy.held.folder.peek(BIG)) is not None and held.checked)
        assert b", immutable\r\n" in await second.said(get(LARGE))
        assert b", immutable\r\n" in await second.said(get(LARGE))
        await until(lambda: proxy.app.lane.answered == before + 1)


async def test_a_miss_that_was_joined_prepares_the_lane_too(proxy: Proxy, feed: FakeFeed) -> None:
    gate = asyncio.Event()
    feed.origin.routes[UP_VERSIONS] = Script(body=b'{"versions":["1.0.0"]}', gate=gate)
    async with wires(proxy, 3) as [one, other, next_one]:
        asked = asyncio.gather(said(one, get(VERSIONS)), said(other, get(VERSIONS)))
        await until(lambda: proxy.metric("collapsed_total") == 1)
        gate.set()
        answers = await asked
        assert sum(b"; collapsed" in answer for answer in answers) == 1
        before = proxy.app.lane.answered
        assert b"\r\nCache-Status: nugetproxy; hit; ttl=" in await said(next_one, get(VERSIONS))
        assert proxy.app.lane.answered == before + 1


async def test_what_was_revalidated_takes_the_lane_next(proxy: Proxy, clock: FakeClock) -> None:
    async with wires(proxy) as [wire]:
        await said(wire, get(VERSIONS))
        clock.advance(301)
        assert b"; fwd=stale; fwd-status=304\r\n" in await said(wire, get(VERSIONS))
        before = proxy.app.lane.answered
        answer = await said(wire, get(VERSIONS))
        assert proxy.app.lane.answered == before + 1
    assert b"\r\nAge: 0\r\n" in answer


async def test_age_goes_on_from_the_miss(proxy: Proxy, clock: FakeClock) -> None:
    async with wires(proxy) as [wire], wires(proxy, laned=False) as [ordinary]:
        await said(wire, get(VERSIONS))
        await said(wire, get(PACKAGE))
        clock.advance(40)
        for path in (VERSIONS, PACKAGE):
            before = proxy.app.lane.answered
            laned = await said(wire, get(path))
            assert proxy.app.lane.answered == before + 1
            usual = await said(ordinary, get(path))
            assert re.findall(rb"\r\n(?:Age: |Cache-Status: )[^\r]*", laned) == re.findall(
                rb"\r\n(?:Age: |Cache-Status: )[^\r]*", usual
            )
            assert re.search(rb"\r\nAge: \d+\r\n", laned)
        assert b"\r\nAge: 40\r\n" in await said(wire, get(VERSIONS))


async def test_what_is_stale_never_takes_the_lane(proxy: Proxy, feed: FakeFeed, clock: FakeClock) -> None:
    async with wires(proxy) as [wire]:
        await said(wire, get(VERSIONS))
        feed.origin.routes[UP_VERSIONS] = Script(status=500)
        clock.advance(301)
        before = proxy.app.lane.answered
        for _ in range(3):
            assert b"\r\nCache-Status: nugetproxy; fwd=stale" in await said(wire, get(VERSIONS))
        assert proxy.app.lane.answered == before


async def test_what_is_absent_never_takes_the_lane(proxy: Proxy) -> None:
    async with wires(proxy) as [wire]:
        for _ in range(3):
            assert b" 404 " in await said(wire, get("/v3/content/acme.none/index.json"))
            assert b" 404 " in await said(wire, get("/v3/content/acme.a/9.0.0/acme.a.9.0.0.nupkg"))
        assert proxy.app.lane.answered == 0


async def test_a_write_behind_a_miss_drops_what_was_promised(proxy: Proxy, feed: FakeFeed) -> None:
    async with wires(proxy) as [wire]:
        await said(wire, get(VERSIONS))
        feed.add(make_nupkg("Acme.A", "2.0.0"))
        source = proxy.app.sources["up"]
        assert isinstance(source, RemoteSource)
        source._cache.invalidate("acme.a")
        assert b"2.0.0" in await said(wire, get(VERSIONS))
        assert proxy.app.lane.answered == 0


async def test_a_purge_behind_a_miss_drops_what_was_promised(proxy: Proxy, feed: FakeFeed) -> None:
    async with wires(proxy) as [wire]:
        await said(wire, get(PACKAGE))
        await proxy.held.purge(ACME)
        other = make_nupkg("Acme.A", "1.0.0", size=999)
        feed.origin.routes[UP_PACKAGE] = Script(body=other)
        assert (await said(wire, get(PACKAGE))).endswith(other)
        assert proxy.app.lane.answered == 0


async def test_a_reload_behind_a_miss_drops_what_was_promised(proxy: Proxy) -> None:
    async with wires(proxy) as [wire]:
        await said(wire, get(VERSIONS))
        proxy.app.lane.clear()
        await said(wire, get(VERSIONS))
        assert proxy.app.lane.answered == 0
        await said(wire, get(VERSIONS))
        assert proxy.app.lane.answered == 1


async def test_a_commit_that_fails_behind_its_answer_drops_what_was_promised(
    start_proxy: StartProxy, feed: FakeFeed
) -> None:
    fs = FailingFs()
    proxy = await start_proxy(feed.index_url, fs=fs)
    async with wires(proxy) as [wire]:
        fs.arm(1, errno.EIO, for_ever=True, only="fsync")
        assert (await said(wire, get(PACKAGE))).endswith(SMALL)
        await until(lambda: not proxy.metric("pending_commits"))
        await said(wire, get(PACKAGE))
        assert proxy.app.lane.answered == 0


async def test_the_lane_tells_of_a_hit_behind_a_miss_as_of_any(proxy: Proxy) -> None:
    labels = {"upstream": "up", "kind": "versions", "status": "200"}
    async with wires(proxy) as [wire], wires(proxy, laned=False) as [ordinary]:
        await said(wire, get(VERSIONS))
        assert proxy.metric("requests_total", outcome="miss", **labels) == 1
        with capture_logs() as events:
            await said(wire, get(VERSIONS))
            await said(ordinary, get(VERSIONS))
        assert proxy.app.lane.answered == 1
    laned, usual = [{**event, "ms": 0} for event in events]
    assert laned == usual
    assert proxy.metric("requests_total", outcome="hit", **labels) == 2


async def test_a_miss_by_one_name_prepares_nothing_for_another_one(proxy: Proxy) -> None:
    async with wires(proxy) as [wire]:
        await said(wire, get(VERSIONS))
        await said(wire, get(VERSIONS, "Accept-Encoding: gzip"))
        await said(wire, get(VERSIONS, method="HEAD"))
        assert proxy.app.lane.answered == 0


async def test_promises_that_nobody_asks_for_are_bounded(
    start_proxy: StartProxy, feed: FakeFeed, tmp_path: Path
) -> None:
    proxy = await start_proxy(feed.index_url, cache={"hot_memory": "128 KiB"})
    for number in range(40):
        feed.add(make_nupkg(f"Acme.N{number}", "1.0.0"))
    lists = [f"/v3/content/acme.n{number}/index.json" for number in range(40)]
    async with wires(proxy) as [wire]:
        for path in lists:
            await said(wire, get(path))
        assert proxy.app.lane._promises._bytes <= 8 * 1024
        await said(wire, get(lists[-1]))
        assert proxy.app.lane.answered == 1
        await said(wire, get(lists[0]))
        assert proxy.app.lane.answered == 1


async def test_a_package_behind_a_redirect_is_promised_to_nobody(start_proxy: StartProxy, feed: FakeFeed) -> None:
    proxy = await start_proxy(feed.index_url)
    proxy.app.edge._feeds["/"]._redirect_from = 1
    async with wires(proxy) as [wire]:
        await said(wire, get(PACKAGE))
        before = proxy.app.lane.answered
        await said(wire, get(PACKAGE))
        assert proxy.app.lane.answered == before
