"""Other bytes than those that are expected: of another hash than upstream's metadata states, or than before."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import aiohttp
import pytest
from structlog.testing import capture_logs

from nugetproxy.nuget.identity import PackageIdentity
from tests.fakes.asking import LARGE, PACKAGE, SMALL, UP_PACKAGE, ask, failures, held, staged, until
from tests.fakes.clock import FakeClock
from tests.fakes.feed import FakeFeed
from tests.fakes.origin import Script
from tests.fakes.packages import make_nupkg
from tests.fakes.proxy import Proxy

OTHER = make_nupkg("Acme.A", "1.0.0", description="another build of the same version")
OTHER_LARGE = make_nupkg("Acme.A", "1.0.0", description="another build", size=1_200_000)
REGISTRATION = "/v3/registration/gz-semver2/acme.a/index.json"
LEAF = "/v3/registration/gz-semver2/acme.a/1.0.0.json"
FORGOTTEN = 60.0
"""Seconds after which the proxy asks again for a package that was wrong, at the latest."""
PAGED = "/v3/registration/gz-semver2/acme.a/page/1.0.0/1.0.63.json"


def sha512(content: bytes) -> bytes:
    return hashlib.sha512(content).digest()


async def evict(proxy: Proxy) -> None:
    """Remove every package, as a full cache does."""
    await proxy.held.folder.evict(0, lambda _: False)
    assert held(proxy) == set()


@pytest.mark.parametrize(("first", "then"), [(SMALL, OTHER), (LARGE, OTHER_LARGE)], ids=["small", "large"])
async def test_other_bytes_after_an_eviction_are_refused(
    proxy: Proxy, feed: FakeFeed, clock: FakeClock, first: bytes, then: bytes
) -> None:
    feed.origin.routes[UP_PACKAGE] = Script(body=first)
    assert (await ask(proxy, PACKAGE)).body == first
    await evict(proxy)
    await proxy.restart()
    feed.origin.routes[UP_PACKAGE] = Script(body=then)
    for tries in (1, 2):
        with capture_logs() as logs:
            await refused(proxy, then)
            await until(lambda: proxy.metric("flights") == 0)
        assert (held(proxy), staged(proxy)) == (set(), [])
        assert proxy.metric("integrity_failures_total", reason="pin") == tries
        assert failures(proxy, "pin") == tries
        assert [entry["reason"] for entry in logs if entry["event"] == "download.failed"] == ["pin"]
        clock.advance(FORGOTTEN)
    feed.origin.routes[UP_PACKAGE] = Script(body=first)
    assert (await ask(proxy, PACKAGE)).body == first, "the right bytes are welcome again"


async def refused(proxy: Proxy, body: bytes) -> None:
    """A small package gets a status, of a large one the end never comes."""
    try:
        got = await ask(proxy, PACKAGE)
    except aiohttp.ClientPayloadError:
        assert len(body) > 100_000
    else:
        assert got.status == 502
        assert body not in got.body


async def test_a_forgotten_package_is_trusted_on_first_use(proxy: Proxy, feed: FakeFeed) -> None:
    """The pin is what is remembered; without it, there is nothing to compare with."""
    feed.origin.routes[UP_PACKAGE] = Script(body=SMALL)
    await ask(proxy, PACKAGE)
    await evict(proxy)
    await proxy.app.ledger.forget("up", PackageIdentity("acme.a", "1.0.0"))
    feed.origin.routes[UP_PACKAGE] = Script(body=OTHER)
    assert (await ask(proxy, PACKAGE)).body == OTHER


class TestStated:
    """A hash that stored metadata states is checked before the commit; upstream is not asked for it."""

    @pytest.fixture(params=["index", "leaf", "page"])
    def document(self, request: pytest.FixtureRequest, feed: FakeFeed) -> str:
        """A registration document that states hashes, by its path here."""
        feed.add(SMALL)
        if request.param == "page":
            for patch in range(1, 130):
                feed.add(make_nupkg("Acme.A", f"1.0.{patch}"))
        return {"index": REGISTRATION, "leaf": LEAF, "page": PAGED}[request.param]

    def state(self, feed: FakeFeed, stated: Any, **more: Any) -> None:
        feed.registration_extra["acme.a"] = {"1.0.0": {"packageHash": stated, **more}}

    async def look_at(self, proxy: Proxy, feed: FakeFeed, document: str) -> None:
        """Have it stored; a leaf of nuget.org's form says nothing, other feeds put the entry into it."""
        if document == LEAF:
            entry = {"id": "Acme.A", "version": "1.0.0", **feed.registration_extra["acme.a"]["1.0.0"]}
            body = {"catalogEntry": entry, "packageContent": f"{feed.url}{UP_PACKAGE}"}
            path = "/v3/registration5-gz-semver2/acme.a/1.0.0.json"
            feed.origin.routes[path] = Script(body=json.dumps(body).encode())
        if document == PAGED:
            assert (await ask(proxy, REGISTRATION)).status == 200
        assert (await ask(proxy, document)).status == 200

    async def test_the_wrong_bytes_are_refused(
        self, proxy: Proxy, feed: FakeFeed, clock: FakeClock, document: str
    ) -> None:
        self.state(feed, base64.b64encode(sha512(OTHER)).decode())
        await self.look_at(proxy, feed, document)
        before = len(feed.requests)
        with capture_logs() as logs:
            got = await ask(proxy, PACKAGE)
        assert (got.status, got.cache) == (502, 'fwd=uri-miss; detail="hash"')
        await until(lambda: proxy.metric("flights") == 0)
        assert (held(proxy), staged(proxy)) == (set(), [])
        assert proxy.metric("integrity_failures_total", reason="hash") == 1
        assert [entry["reason"] for entry in logs if entry["event"] == "download.failed"] == ["hash"]
        assert [seen.path for seen in feed.requests[before:]] == [UP_PACKAGE]
        clock.advance(FORGOTTEN)
        feed.origin.routes[UP_PACKAGE] = Script(body=OTHER)
        assert (await ask(proxy, PACKAGE)).body == OTHER

    async def test_a_large_package_never_comes_to_its_end(self, proxy: Proxy, feed: FakeFeed) -> None:
        feed.add(LARGE)
        self.state(feed, base64.b64encode(sha512(SMALL)).decode())
        await ask(proxy, REGISTRATION)
        await refused(proxy, LARGE)
        await until(lambda: proxy.metric("flights") == 0)
        assert held(proxy) == set()

    @pytest.mark.parametrize("spell", [lambda digest: base64.b64encode(digest).decode(), bytes.hex], ids=["64", "hex"])
    async def test_the_right_bytes_are_stored(self, proxy: Proxy, feed: FakeFeed, document: str, spell: Any) -> None:
        self.state(feed, spell(sha512(SMALL)))
        await self.look_at(proxy, feed, document)
        assert (await ask(proxy, PACKAGE)).body == SMALL
        assert held(proxy)

    @pytest.mark.parametrize(
        "more",
        [
            {"packageHashAlgorithm": "SHA256"},
            {"packageHash": "short"},
            {"packageHash": None},
            {"packageHash": base64.b64encode(hashlib.sha256(OTHER).digest()).decode()},
            {"packageHash": 7},
        ],
        ids=repr,
    )
    async def test_what_is_no_sha512_says_nothing(self, proxy: Proxy, feed: FakeFeed, more: Any) -> None:
        feed.add(SMALL)
        feed.registration_extra["acme.a"] = {"1.0.0": {"packageHash": base64.b64encode(sha512(OTHER)).decode(), **more}}
        await ask(proxy, REGISTRATION)
        assert (await ask(proxy, PACKAGE)).body == SMALL

    async def test_another_versions_hash_says_nothing(self, proxy: Proxy, feed: FakeFeed) -> None:
        feed.add(SMALL)
        feed.add(make_nupkg("Acme.A", "2.0.0"))
        feed.registration_extra["acme.a"] = {"2.0.0": {"packageHash": base64.b64encode(sha512(OTHER)).decode()}}
        await ask(proxy, REGISTRATION)
        assert (await ask(proxy, PACKAGE)).body == SMALL

    async def test_the_catalog_leaf_that_a_registration_leaf_names(
        self, proxy: Proxy, feed: FakeFeed, clock: FakeClock
    ) -> None:
        """There nuget.org states it."""
        feed.add(SMALL)
        leaf = json.loads((await ask(proxy, LEAF)).body)
        assert (await ask(proxy, leaf["catalogEntry"].removeprefix(proxy.url))).status == 200
        feed.origin.routes[UP_PACKAGE] = Script(body=OTHER)
        got = await ask(proxy, PACKAGE)
        assert (got.status, got.cache) == (502, 'fwd=uri-miss; detail="hash"')
        feed.origin.routes.clear()
        clock.advance(FORGOTTEN)
        assert (await ask(proxy, PACKAGE)).body == SMALL

    async def test_without_metadata_there_is_nothing_to_compare_with(self, proxy: Proxy, feed: FakeFeed) -> None:
        feed.add(SMALL)
        self.state(feed, base64.b64encode(sha512(OTHER)).decode())
        assert (await ask(proxy, PACKAGE)).body == SMALL
