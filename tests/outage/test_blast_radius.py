"""What is wrong with one target is that target's; what is wrong with several alike is the host's."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.conftest import StartProxy
from tests.fakes.asking import SEARCH, ask, held
from tests.fakes.clock import FakeClock
from tests.fakes.feed import LOGIN_PAGE, FakeFeed
from tests.fakes.origin import Script
from tests.fakes.packages import make_nupkg
from tests.fakes.proxy import Proxy

SEVERAL = 5
"""Different targets that fail alike: the breaker's limit, as shipped."""
HTML = Script(headers=[("Content-Type", "text/html")], body=LOGIN_PAGE)
BROKEN = Script(status=500)
GOOD = "/v3/content/acme.good/1.0.0/acme.good.1.0.0.nupkg"


def package(number: int) -> str:
    """The path below a flat container of a package that the feed cannot give."""
    return f"acme.bad{number}/1.0.0/acme.bad{number}.1.0.0.nupkg"


def versions(number: int) -> str:
    """The path of a version list, likewise."""
    return f"acme.bad{number}/index.json"


@pytest.fixture
async def proxy(start_proxy: StartProxy, feed: FakeFeed) -> Proxy:
    """Its service index is known; a good package is there to be had."""
    proxy = await start_proxy(feed.index_url)
    feed.add(make_nupkg("Acme.Good", "1.0.0"))
    for number in range(20):
        feed.add(make_nupkg(f"Acme.Fine{number}", "1.0.0"))
    assert (await ask(proxy, "/v3/index.json")).status == 200
    return proxy


def is_open(proxy: Proxy, feed: FakeFeed) -> bool:
    return proxy.metric("breaker_open", upstream="up", origin=feed.url) == 1


@pytest.mark.parametrize("fault", [HTML, BROKEN], ids=["html", "500"])
@pytest.mark.parametrize("path", [package, versions], ids=["package", "list"])
async def test_several_targets_that_fail_alike_are_their_hosts_fault(
    proxy: Proxy, feed: FakeFeed, path: Callable[[int], str], fault: Script
) -> None:
    for number in range(SEVERAL):
        assert not is_open(proxy, feed)
        feed.origin.routes[f"/v3-flatcontainer/{path(number)}"] = fault
        assert (await ask(proxy, f"/v3/content/{path(number)}")).status in {502, 503}
    assert is_open(proxy, feed)


@pytest.mark.parametrize("status", [500, 501])
async def test_that_a_feed_does_not_know_head_is_nobodys_fault(proxy: Proxy, feed: FakeFeed, status: int) -> None:
    known = feed.origin.fallback
    assert known is not None
    feed.origin.fallback = lambda seen: Script(status=status) if seen.method == "HEAD" else known(seen)
    for number in range(2 * SEVERAL):
        assert (await ask(proxy, f"/v3/content/{package(number)}", "HEAD")).status == 404, "as a GET would be"
    assert not is_open(proxy, feed)
    assert (await ask(proxy, GOOD)).status == 200


async def test_a_feed_that_does_not_know_head_is_not_asked_by_one_whether_it_is_back(
    proxy: Proxy, feed: FakeFeed, clock: FakeClock
) -> None:
    known = feed.origin.fallback
    assert known is not None
    await feed.set_mode("refused")
    for number in range(SEVERAL):
        await ask(proxy, f"/v3/content/{package(number)}")
    clock.advance(20)
    await proxy.app.prober.round()
    assert (await ask(proxy, GOOD, "HEAD")).cache.endswith('detail="breaker_open"')
    await feed.set_mode("up")
    feed.origin.fallback = lambda seen: BROKEN if seen.method == "HEAD" else known(seen)
    for _ in range(3):
        clock.advance(61)
        await proxy.app.prober.round()
    assert not is_open(proxy, feed)


@pytest.mark.parametrize("fault", [HTML, BROKEN], ids=["html", "500"])
@pytest.mark.parametrize("path", [package, versions], ids=["package", "list"])
async def test_with_a_success_in_between_they_are_not(
    proxy: Proxy, feed: FakeFeed, path: Callable[[int], str], fault: Script
) -> None:
    for number in range(2 * SEVERAL):
        feed.origin.routes[f"/v3-flatcontainer/{path(number)}"] = fault
        assert (await ask(proxy, f"/v3/content/{path(number)}")).status in {502, 503}
        fine = f"/v3/content/acme.fine{number}/1.0.0/acme.fine{number}.1.0.0.nupkg"
        assert (await ask(proxy, fine)).status == 200
    assert not is_open(proxy, feed)


@pytest.mark.parametrize("fault", [HTML, BROKEN], ids=["html", "500"])
@pytest.mark.parametrize("path", [package, versions], ids=["package", "list"])
async def test_one_target_however_often_it_fails_is_not_either(
    proxy: Proxy, feed: FakeFeed, clock: FakeClock, path: Callable[[int], str], fault: Script
) -> None:
    feed.origin.routes[f"/v3-flatcontainer/{path(0)}"] = fault
    for _ in range(3 * SEVERAL):
        assert (await ask(proxy, f"/v3/content/{path(0)}")).status in {502, 503}
        clock.advance(120)
    assert not is_open(proxy, feed)
    assert (await ask(proxy, GOOD)).status == 200


async def test_a_captive_portal_never_becomes_an_answer(
    start_proxy: StartProxy, feed: FakeFeed, clock: FakeClock
) -> None:
    """It says 200 to everything, with a page."""
    feed.add(make_nupkg("Acme.Good", "1.0.0"))
    await feed.set_mode("html")
    proxy = await start_proxy(feed.index_url)
    paths = (
        "/v3/index.json",
        "/v3/content/acme.good/index.json",
        GOOD,
        "/v3/content/acme.good/1.0.0/acme.good.nuspec",
        "/v3/registration/gz-semver2/acme.good/index.json",
        "/v3/vulnerabilities/index.json",
        SEARCH,
    )
    for path in paths * 2:
        got = await ask(proxy, path)
        assert got.status in {502, 503}, path
        assert b"log in" not in got.body
    ready = await ask(proxy, "/health/ready")
    assert ready.status == 503
    (reason,) = json.loads(ready.body)["reasons"]
    assert "markup (an HTML page?)" in reason
    assert held(proxy) == set()

    await feed.set_mode("up")
    clock.advance(3600)
    assert (await ask(proxy, "/health/ready")).status == 200
    for path in paths:
        assert (await ask(proxy, path)).status == 200, f"nothing is left of it: {path}"


async def test_a_page_that_a_head_comes_to_is_no_package(proxy: Proxy, feed: FakeFeed) -> None:
    """Only a GET can tell."""
    page = Script(headers=[("Content-Type", "Text/HTML; charset=utf-8")], body=b"<html>")
    package = make_nupkg("Acme.Other", "1.0.0")
    path = "acme.other/1.0.0/acme.other.1.0.0.nupkg"
    feed.origin.routes[f"/v3-flatcontainer/{path}"] = lambda seen: (
        page if seen.method == "HEAD" else Script(body=package)
    )
    head = await ask(proxy, f"/v3/content/{path}", "HEAD")
    assert (head.status, head.headers["Content-Length"]) == (200, str(len(package)))


@pytest.mark.parametrize("resources", [[], [{"@id": "urn:uuid:1", "@type": "VssFeedId"}]])
async def test_an_index_that_offers_nothing_takes_nothing_away(
    start_proxy: StartProxy, feed: FakeFeed, clock: FakeClock, resources: list[dict[str, str]]
) -> None:
    """Else every package would be said not to exist."""
    feed.add(make_nupkg("Acme.Good", "1.0.0"))
    proxy, lists = await start_proxy(feed.index_url), "/v3/content/acme.good/index.json"
    nothing = Script(body=json.dumps({"version": "3.0.0", "resources": resources}).encode())
    feed.origin.routes["/v3/index.json"] = nothing
    for path in ("/v3/index.json", lists, GOOD):
        assert (await ask(proxy, path)).status == 502, path
    del feed.origin.routes["/v3/index.json"]
    clock.advance(120)
    index, known = await ask(proxy, "/v3/index.json"), await ask(proxy, lists)
    feed.origin.routes["/v3/index.json"] = nothing
    clock.advance(3 * 86400)
    assert (await ask(proxy, "/v3/index.json")).body == index.body
    assert (await ask(proxy, lists)).body == known.body
    assert (await ask(proxy, GOOD)).status == 200


async def test_behind_a_captive_portal_what_is_stored_is_served(proxy: Proxy, feed: FakeFeed, clock: FakeClock) -> None:
    before = [await ask(proxy, path) for path in (GOOD, "/v3/content/acme.good/index.json")]
    await feed.set_mode("html")
    clock.advance(7 * 86400)
    after = [await ask(proxy, path) for path in (GOOD, "/v3/content/acme.good/index.json")]
    assert [(got.status, got.body) for got in after] == [(got.status, got.body) for got in before]
    missing = await ask(proxy, "/v3/content/acme.cold/1.0.0/acme.cold.1.0.0.nupkg", "HEAD")
    assert missing.status == 502, "the page is not said to be a package of its length"
    assert (await ask(proxy, "/health/ready")).status == 200
