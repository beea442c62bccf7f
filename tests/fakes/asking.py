"""Asking a proxy: what came back, what it holds now, waiting for what must happen."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from multidict import CIMultiDictProxy

from tests.fakes.clock import FakeClock
from tests.fakes.packages import make_nupkg
from tests.fakes.proxy import Proxy

PACKAGE = "/v3/content/acme.a/1.0.0/acme.a.1.0.0.nupkg"
VERSIONS = "/v3/content/acme.a/index.json"
REGISTRATION = "/v3/registration/gz-semver2/acme.a/index.json"
SEARCH = "/v3/query?q=acme"
UP_INDEX = "/v3/index.json"
UP_PACKAGE = "/v3-flatcontainer/acme.a/1.0.0/acme.a.1.0.0.nupkg"
UP_VERSIONS = "/v3-flatcontainer/acme.a/index.json"
UP_REGISTRATION = "/v3/registration5-gz-semver2/acme.a/index.json"
UP_PUSH = "/api/v2/package"

SMALL = make_nupkg("Acme.A", "1.0.0")
"""Smaller than what a flight holds back: a failure becomes a proper status."""
MEDIUM = make_nupkg("Acme.A", "1.0.0", size=400_000)
"""Larger than what a flight holds back; taken as a whole where all of it comes at once."""
LARGE = make_nupkg("Acme.A", "1.0.0", size=1_200_000)
"""Streamed while it is downloaded: a failure becomes a cut connection."""


@dataclass(frozen=True, slots=True)
class Got:
    """A whole response."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes
    reason: str

    @property
    def cache(self) -> str:
        """Its ``Cache-Status`` without our name."""
        name, _, rest = self.headers["Cache-Status"].partition("; ")
        assert name == "nugetproxy"
        return rest


async def ask(proxy: Proxy, path: str, method: str = "GET", **more: Any) -> Got:
    """As ``ask_only``; of a package the result comes when it is in its folder."""
    got = await ask_only(proxy, path, method, **more)
    if got.status == 200 and path.endswith(".nupkg"):
        await until(lambda: proxy.metric("pending_commits") == 0)
    return got


async def ask_only(proxy: Proxy, path: str, method: str = "GET", **more: Any) -> Got:
    """One request, its body read to the end (not compressed, unless ``headers`` ask for that)."""
    headers = {"Accept-Encoding": "identity", **more.pop("headers", {})}
    async with proxy.client.request(method, path, auto_decompress=False, headers=headers, **more) as response:
        return Got(response.status, response.headers, await response.read(), response.reason or "")


async def ask_again(proxy: Proxy, clock: FakeClock, path: str) -> Got:
    """What is answered when upstream is well again, one probe of a minute after the other.

    With the short time-outs of an outage a busy machine may spoil one.
    """
    for _ in range(3):
        clock.advance(61)
        if (got := await ask(proxy, path)).status != 503:
            break
    return got


def held(proxy: Proxy) -> set[str]:
    """The package files in the folder, without their directories."""
    return {name for _, _, names in os.walk(proxy.packages) for name in names}  # directories may go meanwhile


def staged(proxy: Proxy) -> list[str]:
    """The downloads that lie around."""
    return [path.name for path in (proxy.packages.parent / "staging").iterdir()]


def failures(proxy: Proxy, reason: str) -> float:
    """How often upstream failed for ``reason``."""
    return proxy.metric("upstream_failures_total", upstream="up", reason=reason)


async def until(true: Callable[[], bool]) -> None:
    """Let everything else run until something is true."""
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.001)
