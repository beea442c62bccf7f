"""Rounds are restores with what the proxy has counted meanwhile."""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final
from urllib.request import urlopen

from msgspec import Struct

_SAMPLE: Final = re.compile(r"^nugetproxy_(\w+?)(?:\{(.*)\})? ([0-9.e+]+)$", re.MULTILINE)
_OUTCOME: Final = re.compile(r'kind="(\w+)",outcome="(\w+)"')
_OURS: Final = re.compile(r'kind="(?:health\w*|metrics)"')
FROM_CACHE: Final = ("hit", "stale", "synthesized")


class Round(Struct, frozen=True, kw_only=True):
    """One restore through the proxy."""

    name: str
    client: str
    packages: int
    requests: int
    from_cache: int
    """Answers that needed nothing of the upstream."""
    stale: int
    """How many of them had outlived their freshness."""
    asked: int
    """Requests that the proxy made to the upstream, tries that failed included."""
    size: int
    """Bytes of the bodies that the client got."""
    seconds: float


async def measured(name: str, client: str, proxy: str, restore: Callable[[], Awaitable[int]]) -> Round:
    """Run ``restore`` (which says how many packages it got) against the proxy at the URL ``proxy``."""
    before = await asyncio.to_thread(_counts, proxy)
    began = time.perf_counter()
    packages = await restore()
    seconds = time.perf_counter() - began
    after = await asyncio.to_thread(_counts, proxy)
    after.subtract(before)
    return Round(
        name=name,
        client=client,
        packages=packages,
        requests=round(after["requests"]),
        from_cache=round(sum(after[outcome] for outcome in FROM_CACHE)),
        stale=round(after["stale"]),
        asked=round(after["asked"]),
        size=round(after["size"]),
        seconds=seconds,
    )


def _counts(proxy: str) -> Counter[str]:
    """What the proxy has counted of its clients' requests so far, health checks and the like left out."""
    with urlopen(f"{proxy}/metrics", timeout=5) as answer:  # noqa: S310 - an address of our own
        text = answer.read().decode()
    counts: Counter[str] = Counter()
    for name, labels, value in _SAMPLE.findall(text):
        if _OURS.search(labels):
            continue
        number = round(float(value))
        if name == "requests_total" and (found := _OUTCOME.search(labels)):
            counts["requests"] += number
            counts[found[2]] += number
        elif name == "sent_bytes_total":
            counts["size"] += number
        elif name == "upstream_requests_total":
            counts["asked"] += number
    return counts
