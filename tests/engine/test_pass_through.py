"""The bytes that pass the disk by are checked too."""

from __future__ import annotations

import base64
import errno
import hashlib
import json

import aiohttp
import pytest

from nugetproxy.engine.flight import HOLD
from nugetproxy.engine.pass_through import PassThrough
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.nuget.nuspec import InvalidPackage
from tests.conftest import StartProxy
from tests.fakes.asking import LARGE, PACKAGE, REGISTRATION, SMALL, UP_INDEX, UP_PACKAGE, ask
from tests.fakes.clock import FakeClock
from tests.fakes.feed import FakeFeed
from tests.fakes.origin import Origin, Script
from tests.fakes.packages import make_nupkg
from tests.fakes.proxy import Proxy
from tests.store.kit import FailingFs

IDENTITY = PackageIdentity("acme.a", "1.0.0")
OTHER = make_nupkg("Acme.A", "1.0.0", description="another build", size=1_200_000)


def sha512(content: bytes) -> str:
    return base64.b64encode(hashlib.sha512(content).digest()).decode()


def passed(content: bytes, step: int, start: int = 0, before: tuple[int, str] = (0, ""), *known: str | None) -> bytes:
    passage = PassThrough(IDENTITY, start, before)
    sent = b"".join(passage.take(content[at : at + step]) for at in range(0, len(content), step))
    assert len(sent) <= max(0, len(content) - HOLD - start), "the last block is kept back"
    return sent + passage.finish(*known)


@pytest.mark.parametrize("step", [1000, 65_536, 10**6])
@pytest.mark.parametrize("start", [0, 3, 70_000, len(LARGE) - 10, len(LARGE)])
@pytest.mark.parametrize("size", [0, 1, 5000, 65_536, len(LARGE)])
def test_what_is_right_comes_through(step: int, start: int, size: int) -> None:
    before = (size, sha512(LARGE[:size]))
    assert passed(LARGE, step, start, before, sha512(LARGE), None) == LARGE[start:]


@pytest.mark.parametrize("step", [1, 3, 4, 100])
def test_in_small_steps(step: int) -> None:
    assert passed(SMALL, step, 7, (0, ""), sha512(SMALL)) == SMALL[7:]


@pytest.mark.parametrize(
    ("content", "before", "known", "reason"),
    [
        (b"<html>log in</html>", (0, ""), [], "invalid_content"),
        (b"", (0, ""), [], "zip"),
        (b"PK", (0, ""), [], "zip"),
        (LARGE[:-30_000], (0, ""), [], "zip"),
        (OTHER, (0, ""), [sha512(LARGE)], "hash"),
        (OTHER, (0, ""), [sha512(OTHER), sha512(LARGE)], "hash"),
        (OTHER, (200_000, sha512(LARGE[:200_000])), [], "pin"),
        (SMALL, (200_000, sha512(LARGE[:200_000])), [], "pin"),
    ],
)
@pytest.mark.parametrize("step", [100, 10**6])
def test_what_is_wrong_is_never_finished(
    content: bytes, before: tuple[int, str], known: list[str], reason: str, step: int
) -> None:
    with pytest.raises(InvalidPackage) as caught:
        passed(content, step, 0, before, *known)
    assert caught.value.reason == reason


class TestWithAFullDisk:
    @pytest.fixture
    async def full(self, start_proxy: StartProxy, feed: FakeFeed) -> Proxy:
        """A proxy that knows the service index and the registration, and cannot write packages."""
        fs = FailingFs()
        proxy = await start_proxy(feed.index_url, fs=fs)
        feed.add(SMALL)
        feed.registration_extra["acme.a"] = {"1.0.0": {"packageHash": sha512(LARGE)}}
        assert (await ask(proxy, REGISTRATION)).status == 200
        fs.arm(1, errno.ENOSPC, for_ever=True, only="write")
        return proxy

    async def test_the_stated_hash_counts(self, full: Proxy, feed: FakeFeed, clock: FakeClock) -> None:
        feed.origin.routes[UP_PACKAGE] = Script(body=LARGE)
        assert (await ask(full, PACKAGE)).body == LARGE
        feed.origin.routes[UP_PACKAGE] = Script(body=SMALL)
        got = await ask(full, PACKAGE)
        assert (got.status, got.cache) == (502, 'fwd=uri-miss; detail="hash"')
        clock.advance(60)  # a small one is refused before it would need the disk, so that is remembered for a while
        feed.origin.routes[UP_PACKAGE] = Script(body=OTHER)
        with pytest.raises(aiohttp.ClientPayloadError):
            await ask(full, PACKAGE)
        assert full.metric("integrity_failures_total", reason="hash") == 2

    async def test_a_cut_that_nothing_tells_of(self, full: Proxy, feed: FakeFeed) -> None:
        """Without a length the end of the connection is the end of the body."""
        feed.origin.routes[UP_PACKAGE] = Script(body=LARGE[:200_000], length=None, end="fin")
        with pytest.raises(aiohttp.ClientPayloadError):
            await ask(full, PACKAGE)
        assert full.metric("integrity_failures_total", reason="zip") == 1

    async def test_another_package_is_no_answer(self, start_proxy: StartProxy, feed: FakeFeed) -> None:
        """Nothing is known of its hash, so its nuspec tells."""
        fs = FailingFs()
        proxy = await start_proxy(feed.index_url, fs=fs)
        assert (await ask(proxy, UP_INDEX)).status == 200
        fs.arm(1, errno.ENOSPC, for_ever=True, only="write")
        feed.origin.routes[UP_PACKAGE] = Script(body=make_nupkg("Acme.B", "1.0.0", size=1_200_000))
        with pytest.raises(aiohttp.ClientPayloadError):
            await ask(proxy, PACKAGE)
        assert proxy.metric("integrity_failures_total", reason="identity") == 1
        feed.origin.routes[UP_PACKAGE] = Script(body=LARGE)
        assert (await ask(proxy, PACKAGE)).body == LARGE

    @pytest.mark.parametrize("first", [Script(status=500), Script(status=403), Script(body=LARGE, cut_at=0, end="rst")])
    async def test_another_host_may_have_it(
        self, start_proxy: StartProxy, feed: FakeFeed, origin: Origin, first: Script
    ) -> None:
        fs = FailingFs()
        bases = [
            {"@id": f"{one}/v3-flatcontainer/", "@type": "PackageBaseAddress/3.0.0"} for one in (feed.url, origin.url)
        ]
        feed.origin.routes[UP_INDEX] = Script(body=json.dumps({"version": "3.0.0", "resources": bases}).encode())
        feed.origin.routes[UP_PACKAGE] = first
        origin.routes[UP_PACKAGE] = Script(body=LARGE)
        proxy = await start_proxy(feed.index_url, fs=fs)
        assert (await ask(proxy, UP_INDEX)).status == 200
        fs.arm(1, errno.ENOSPC, for_ever=True, only="write")
        got = await ask(proxy, PACKAGE)
        assert (got.status, got.body) == (200, LARGE)
