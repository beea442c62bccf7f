"""Clients of a feed that allows it are sent to the bucket for large packages."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from nugetproxy.admin.commands import carry_out
from tests.cluster.conftest import StartReplica, shared
from tests.cluster.engines import Moto
from tests.cluster.test_packages import bucket_of, forge, uploaded
from tests.fakes.asking import LARGE, PACKAGE, SMALL, ask
from tests.fakes.feed import FakeFeed
from tests.fakes.packages import make_nupkg
from tests.fakes.proxy import Proxy
from tests.web.test_tokens import basic

ALLOWED: dict[str, Any] = {"feeds": {"all": {"sources": ["up"], "default": True, "redirect_min_bytes": "100 kB"}}}


async def first_fetched(start: StartReplica, moto: Moto, **tables: Any) -> Proxy:
    proxy = await start(shared(moto, None), **tables)
    await ask(proxy, PACKAGE)
    await uploaded(proxy)
    return proxy


async def test_a_large_package_is_read_from_the_bucket(start_replica: StartReplica, feed: FakeFeed, moto: Moto) -> None:
    feed.add(LARGE)
    proxy = await first_fetched(start_replica, moto, **ALLOWED)
    sent = await ask(proxy, PACKAGE, allow_redirects=False)
    assert (sent.status, sent.headers["Cache-Control"], sent.cache) == (302, "no-store", "hit; detail=redirect")
    assert sent.headers["Location"].startswith(f"{moto.endpoint}/{moto.bucket}/")
    async with aiohttp.ClientSession() as session, session.get(sent.headers["Location"]) as answer:
        assert (answer.status, await answer.read()) == (200, LARGE)
    again = await ask(proxy, PACKAGE, allow_redirects=False)
    assert again.headers["Location"] == sent.headers["Location"]  # signed once for some minutes


async def test_nobody_is_sent_to_other_bytes_than_those_that_are_held(
    start_replica: StartReplica, feed: FakeFeed, moto: Moto
) -> None:
    """Another replica was told to purge the package, and has fetched what its feed has in its place."""
    feed.add(LARGE)
    cluster = shared(moto, None)
    proxy = await start_replica(cluster, **ALLOWED)
    assert (await ask(proxy, PACKAGE)).body == LARGE
    await uploaded(proxy)
    await forge(bucket_of(cluster, moto), "forged")
    got = await ask(proxy, PACKAGE, allow_redirects=False)
    assert (got.status, got.body) == (200, LARGE)


async def test_who_was_sent_to_the_bucket_has_got_the_package(
    start_replica: StartReplica, feed: FakeFeed, moto: Moto
) -> None:
    feed.add(LARGE)
    proxy = await first_fetched(start_replica, moto, **ALLOWED)
    _, secret = await proxy.app.tokens.add("farm", ["read"], [], None)
    assert (await ask(proxy, PACKAGE, headers=basic(secret), allow_redirects=False)).status == 302
    bill = await carry_out(proxy.app.desk, "sbom", {"token": "farm"}, by="test")
    assert [one["purl"] for one in bill["components"]] == ["pkg:nuget/Acme.A@1.0.0"]


async def test_a_range_is_of_the_same_place(start_replica: StartReplica, feed: FakeFeed, moto: Moto) -> None:
    feed.add(LARGE)
    proxy = await first_fetched(start_replica, moto, **ALLOWED)
    assert (await ask(proxy, PACKAGE, headers={"Range": "bytes=5-9"}, allow_redirects=False)).status == 302
    got = await ask(proxy, PACKAGE, "HEAD")
    assert (got.status, got.headers["Content-Length"]) == (200, str(len(LARGE)))


@pytest.mark.parametrize("why", ["small", "not allowed", "not there"])
async def test_all_else_comes_from_the_replica(
    start_replica: StartReplica, feed: FakeFeed, moto: Moto, why: str
) -> None:
    body = SMALL if why == "small" else make_nupkg("Acme.A", "1.0.0", size=400_000)
    feed.add(body)
    proxy = await first_fetched(start_replica, moto, **({} if why == "not allowed" else ALLOWED))
    if why == "not there":
        assert proxy.held.shared is not None
        await proxy.held.shared.forget((await proxy.held.pinned_versions("acme.a")).__iter__().__next__())
    got = await ask(proxy, PACKAGE, allow_redirects=False)
    assert (got.status, got.body) == (200, body)
