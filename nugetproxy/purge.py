"""Purge forgets packages on an operator's word, while the proxy is stopped."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from nugetproxy.app import build
from nugetproxy.config import Config
from nugetproxy.nuget.identity import PackageIdentity


@dataclass(frozen=True, slots=True, kw_only=True)
class Purged:
    """What was removed from the cache of one feed."""

    feed: str
    packages: tuple[str, ...]
    size: int
    """Bytes of the packages."""


def run(config: Config, id: str, version: str | None) -> tuple[tuple[Purged, ...], int]:
    """Remove ``id`` (lower case), one ``version`` (URL form) or all that are held; and how many documents of it.

    What the packages were pinned to is forgotten too, so that other bytes are taken next time. Raises StoreUnusable,
    for one where a running proxy uses the cache directory.
    """
    return asyncio.run(_purge(config, id, version))


async def _purge(config: Config, id: str, version: str | None) -> tuple[tuple[Purged, ...], int]:
    async with build(config) as app:
        done = []
        for feed in app.feeds.values():
            held = {facts.identity for facts in await feed.packages.holdings.facts(id)}
            wanted = held if version is None else {PackageIdentity(id, version)}
            size = sum([await feed.packages.purge(identity) for identity in sorted(wanted)])
            names = tuple(identity.nupkg_name for identity in sorted(wanted & held))
            done.append(Purged(feed=feed.name, packages=names, size=size))
        return tuple(done), await app.entries.evict_tag(id)
