"""What caches in front of us may keep: packages of open feeds, once they were looked into."""

from __future__ import annotations

import pytest

from tests.conftest import StartProxy
from tests.fakes.asking import PACKAGE, SMALL, VERSIONS, ask, until
from tests.fakes.feed import FakeFeed
from tests.fakes.packages import make_nupkg
from tests.fakes.proxy import Proxy

PUBLIC = "public, max-age=31536000, immutable"
PRIVATE = "private, max-age=31536000, immutable"
CREDENTIALS = {"headers": {"X-Api-Token": "env:NUGETPROXY_TEST_SECRET"}, "anonymous": True}
LARGEST = make_nupkg("Acme.A", "1.0.0", size=2 * 2**20)
NUSPEC = "/v3/content/acme.a/1.0.0/acme.a.nuspec"


async def said(proxy: Proxy, path: str) -> str:
    return (await ask(proxy, path)).headers["Cache-Control"]


async def test_packages_of_a_public_feed_may_be_kept_by_everybody(proxy: Proxy, feed: FakeFeed) -> None:
    feed.add(SMALL)
    for _ in range(3):
        assert await said(proxy, PACKAGE) == PUBLIC
    assert await said(proxy, NUSPEC) == PUBLIC
    assert await said(proxy, VERSIONS) == "no-cache"


async def test_what_is_read_with_credentials_is_for_the_caller_alone(
    start_proxy: StartProxy, feed: FakeFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even where the operator says that all may read it: who asks the cache in front is not who asks us."""
    monkeypatch.setenv("NUGETPROXY_TEST_SECRET", "what the upstream wants")
    proxy = await start_proxy(feed.index_url, upstream=CREDENTIALS)
    feed.add(SMALL)
    for _ in range(3):
        assert await said(proxy, PACKAGE) == PRIVATE
        assert await said(proxy, VERSIONS) == "private, no-cache"


async def test_a_switch_makes_caches_ask_every_time(start_proxy: StartProxy, feed: FakeFeed) -> None:
    proxy = await start_proxy(feed.index_url, server={"shared_cache": False})
    feed.add(SMALL)
    for path in (PACKAGE, PACKAGE, NUSPEC, VERSIONS):
        assert await said(proxy, path) == "no-cache"
    etag = (await ask(proxy, PACKAGE)).headers["ETag"]
    assert (await ask(proxy, PACKAGE, headers={"If-None-Match": etag})).status == 304


async def test_a_large_package_is_kept_by_nobody_before_its_contents_were_compared(
    proxy: Proxy, feed: FakeFeed
) -> None:
    feed.add(LARGEST)
    assert await said(proxy, PACKAGE) == "no-cache"
    identity = next(iter(proxy.held.folder.walk()))[0]
    await until(lambda: (held := proxy.held.folder.peek(identity)) is not None and held.checked)
    assert await said(proxy, PACKAGE) == PUBLIC
