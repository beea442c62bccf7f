"""Purge forgets packages on an operator's word."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nugetproxy.engine.packages import Packages
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.store.documents.documents import Documents


@dataclass(frozen=True, slots=True)
class Purged:
    """What was removed from the cache of one feed."""

    feed: str
    packages: tuple[str, ...]
    size: int
    """Bytes of the packages."""


@dataclass(frozen=True, slots=True)
class Purge:
    """What was removed in all."""

    feeds: tuple[Purged, ...]
    documents: int

    @property
    def found(self) -> bool:
        """Whether there was anything to remove."""
        return bool(self.documents or any(one.packages for one in self.feeds))


async def purge(feeds: Mapping[str, Packages], documents: Documents, id: str, version: str | None) -> Purge:
    """Remove ``id`` (lower case), one ``version`` (URL form) or all that are held, with its documents.

    What the packages were pinned to is forgotten too, so that other bytes are taken next time.
    """
    done = []
    for name, packages in feeds.items():
        held = {facts.identity for facts in await packages.holdings.facts(id)}
        wanted = held if version is None else {PackageIdentity(id, version)}
        size = sum([await packages.purge(identity) for identity in sorted(wanted)])
        names = tuple(identity.nupkg_name for identity in sorted(wanted & held))
        done.append(Purged(name, names, size))
    return Purge(tuple(done), await documents.evict_tag(id))
