"""A proxy whose upstream leads back to it, directly or through another one, says so at once."""

from __future__ import annotations

import asyncio

import pytest

from nugetproxy.upstream.asking import OWN
from tests.conftest import StartProxy
from tests.fakes import canary
from tests.fakes.asking import ask
from tests.fakes.clock import FakeClock
from tests.fakes.feed import FakeFeed
from tests.fakes.origin import Origin, Script, Seen
from tests.fakes.packages import make_nupkg
from tests.fakes.proxy import Proxy

VERSIONS = "/v3/content/acme.a/index.json"
OTHER = "nugetproxy-0123456789abcdef"


@pytest.mark.parametrize(
    "path", ["/v3/index.json", VERSIONS, "/v3/query?q=a", "/v3/content/acme.a/1.0.0/acme.a.nuspec"]
)
async def test_what_this_process_has_sent_goes_no_further(proxy: Proxy, feed: FakeFeed, path: str) -> None:
    before = len(feed.requests)
    for loop in (OWN, f"{OTHER}, {OWN}", f"cdn.example, {OWN};x=1"):
        got = await ask(proxy, path, headers={"CDN-Loop": loop})
        assert got.status == 508
        assert b"leads back to it" in got.body
    assert len(feed.requests) == before
    assert (await ask(proxy, path, headers={"CDN-Loop": f"{OTHER}, {OWN}0"})).status != 508


async def test_nor_does_a_push(proxy: Proxy, feed: FakeFeed) -> None:
    headers = {"CDN-Loop": OWN, "X-NuGet-ApiKey": canary.API_KEY}
    async with proxy.client.put("/v3/package", data=b"x", headers=headers) as answer:
        assert answer.status == 508
    assert not [seen for seen in feed.requests if seen.method == "PUT"]


async def test_proxies_that_were_passed_are_named_to_the_upstream_and_nobody_else(proxy: Proxy, feed: FakeFeed) -> None:
    feed.add(make_nupkg("Acme.A", "1.0.0"))
    await ask(proxy, VERSIONS, headers={"CDN-Loop": f"cloudflare; loops=9, {OTHER}, caf\xe9"})
    (seen,) = [one for one in feed.requests if one.path.endswith("/acme.a/index.json")]
    assert seen.headers.getall("CDN-Loop") == [f"{OTHER}, {OWN}"]


async def test_a_hit_is_one_whoever_asks(proxy: Proxy, feed: FakeFeed) -> None:
    feed.add(make_nupkg("Acme.A", "1.0.0"))
    answered = proxy.app.lane.answered
    for _ in range(3):
        assert (await ask(proxy, VERSIONS, headers={"CDN-Loop": OTHER})).status == 200
    assert proxy.app.lane.answered == answered + 2


async def test_proxies_that_are_each_others_upstream_do_not_wait_for_each_other(
    start_proxy: StartProxy, origin: Origin
) -> None:
    proxy = await start_proxy(f"{origin.url}/v3/index.json")

    async def other(seen: Seen) -> Script:
        """The other proxy: it asks us before it can answer, and knows what it has sent."""
        if OTHER in seen.headers["CDN-Loop"]:
            return Script(status=508)
        got = await ask(proxy, "/v3/index.json", headers={"CDN-Loop": OTHER})
        return Script(status=got.status)

    origin.fallback = other
    got = await asyncio.wait_for(ask(proxy, "/v3/index.json"), 5)
    assert got.status == 503
    assert {seen.headers["CDN-Loop"] for seen in origin.requests} == {OWN, f"{OTHER}, {OWN}"}


async def test_the_one_at_the_beginning_says_why(start_proxy: StartProxy, origin: Origin, clock: FakeClock) -> None:
    proxy = await start_proxy(f"{origin.url}/v3/index.json")
    origin.fallback = lambda seen: Script(status=508)
    got = await ask(proxy, "/v3/index.json")
    assert got.status == 502
    assert b"came back to a proxy that it had passed" in got.body
    assert origin.count("/v3/index.json") == 1, "asking again leads there again"
