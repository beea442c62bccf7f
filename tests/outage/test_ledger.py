"""What must not be lost outlives trimming, purging and restarts; a damaged ledger is told, not forgotten."""

from __future__ import annotations

import json

import aiohttp
import pytest

from nugetproxy.errors import StoreUnusable
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.store.documents.documents import of_id
from tests.conftest import StartProxy
from tests.fakes.asking import PACKAGE, SMALL, UP_PACKAGE, UP_PUSH, ask
from tests.fakes.clock import FakeClock
from tests.fakes.feed import FakeFeed
from tests.fakes.origin import Script
from tests.fakes.packages import make_nupkg
from tests.fakes.proxy import Proxy

VERSIONS = "/v3/content/acme.a/index.json"
OTHER = make_nupkg("Acme.A", "1.0.0", description="another build of the same version")


async def versions(proxy: Proxy) -> list[str]:
    got = await ask(proxy, VERSIONS)
    assert got.status == 200, got.body
    return list(json.loads(got.body)["versions"])


async def push_next(proxy: Proxy, feed: FakeFeed) -> None:
    """Version 2.0.0 is pushed through the proxy."""
    nupkg = make_nupkg("Acme.A", "2.0.0")
    feed.origin.routes[f"{UP_PUSH}/"] = Script(status=201)
    form = aiohttp.FormData()
    form.add_field("package", nupkg, filename="package.nupkg", content_type="application/octet-stream")
    got = await ask(proxy, "/v3/package", "PUT", data=form, headers={"X-NuGet-ApiKey": "key"})
    assert got.status == 201, got.body
    feed.add(nupkg)


async def pinned_and_evicted(proxy: Proxy, feed: FakeFeed) -> None:
    """Upstream offers other bytes for a version that was held before."""
    feed.origin.routes[UP_PACKAGE] = Script(body=SMALL)
    assert (await ask(proxy, PACKAGE)).body == SMALL
    await proxy.held.folder.evict(0, lambda _: False)
    feed.origin.routes[UP_PACKAGE] = Script(body=OTHER)


async def test_a_pin_outlives_the_trimming_of_documents(proxy: Proxy, feed: FakeFeed) -> None:
    await pinned_and_evicted(proxy, feed)
    await proxy.app.documents.trim(0)
    await proxy.restart()
    got = await ask(proxy, PACKAGE)
    assert (got.status, got.cache) == (502, 'fwd=uri-miss; detail="pin"')


@pytest.mark.parametrize("name", ["pin", "acme.a"])
async def test_purging_the_documents_of_any_id_takes_no_pin(proxy: Proxy, feed: FakeFeed, name: str) -> None:
    """The documents of a package called "pin" had the tag of all pins."""
    await pinned_and_evicted(proxy, feed)
    await proxy.app.documents.evict_tag(of_id(name))
    assert (await ask(proxy, PACKAGE)).status == 502


async def test_a_push_is_known_after_a_restart(proxy: Proxy, feed: FakeFeed) -> None:
    feed.add(SMALL)
    assert await versions(proxy) == ["1.0.0"]
    await push_next(proxy, feed)
    await proxy.restart()
    assert await versions(proxy) == ["1.0.0", "2.0.0"]


async def test_a_list_from_before_a_push_is_not_fresh_again_when_revalidation_has_ended(
    start_proxy: StartProxy, feed: FakeFeed, clock: FakeClock
) -> None:
    proxy = await start_proxy(feed.index_url, policy={"versions": {"fresh": "1d"}})
    feed.add(SMALL)
    assert await versions(proxy) == ["1.0.0"]
    clock.advance(1)
    await push_next(proxy, feed)
    await proxy.restart()
    clock.advance(3600)
    assert await versions(proxy) == ["1.0.0", "2.0.0"]
    before = len(feed.requests)
    assert (await ask(proxy, VERSIONS)).cache == "hit; ttl=86400"
    assert len(feed.requests) == before


async def test_a_list_from_before_a_push_still_serves_an_outage_after_a_restart(proxy: Proxy, feed: FakeFeed) -> None:
    feed.add(SMALL)
    await versions(proxy)
    await push_next(proxy, feed)
    await feed.set_mode("refused")
    await proxy.restart()
    assert await versions(proxy) == ["1.0.0"]


async def test_a_start_without_its_ledger_is_refused(proxy: Proxy, feed: FakeFeed) -> None:
    feed.add(SMALL)
    await ask(proxy, PACKAGE)
    await proxy.stop()
    (proxy.directory / "ledger.db").unlink()
    with pytest.raises(StoreUnusable, match="nugetproxy ledger begin-afresh"):
        await proxy.start()
    await proxy.app.__aexit__(None, None, None)


async def test_a_restored_ledger_is_told(proxy: Proxy, feed: FakeFeed) -> None:
    feed.add(SMALL)
    await ask(proxy, PACKAGE)
    assert json.loads((await ask(proxy, "/health/ready")).body)["problems"] == []
    await proxy.app.ledger.tidy()
    await proxy.stop()
    (proxy.directory / "ledger.db").write_bytes(b"?" * 5000)
    await proxy.start()
    got = await ask(proxy, "/health/ready")
    assert got.status == 200
    (problem,) = json.loads(got.body)["problems"]
    assert "ledger was damaged" in problem
    assert "Tokens that were revoked since that was made are good again" in problem
    assert await proxy.app.ledger.pinned("up", PackageIdentity("acme.a", "1.0.0")) is not None


async def test_a_pin_of_another_feed_does_not_hold_until_that_is_back(
    start_proxy: StartProxy, proxy: Proxy, feed: FakeFeed
) -> None:
    """An upstream's URL changes: the new feed may have other bytes of the version, the old one still may not."""
    feed.origin.routes[UP_PACKAGE] = Script(body=SMALL)
    assert (await ask(proxy, PACKAGE)).body == SMALL
    await proxy.stop()
    async with FakeFeed() as another:
        another.origin.routes[UP_PACKAGE] = Script(body=OTHER)
        changed = await start_proxy(another.index_url)
        assert (await ask(changed, PACKAGE)).body == OTHER
        await changed.stop()
    feed.origin.routes[UP_PACKAGE] = Script(body=OTHER)
    await proxy.start()
    assert (await ask(proxy, PACKAGE)).body == SMALL  # its packages are back
    await proxy.held.folder.evict(0, lambda _: False)
    assert (await ask(proxy, PACKAGE)).cache == 'fwd=uri-miss; detail="pin"'
