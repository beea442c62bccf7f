"""Purge forgets packages on an operator's word."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

from msgspec import Struct

from nugetproxy.cluster.engines import EngineUnavailable
from nugetproxy.engine.packages import Packages
from nugetproxy.nuget.documents.exact_json import InvalidDocument
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.nuget.kinds import Kind
from nugetproxy.nuget.merging.search import found_ids
from nugetproxy.nuget.version import Version
from nugetproxy.off_loop import off_loop
from nugetproxy.sources.remote import RemoteSource
from nugetproxy.store.documents.documents import Documents, of_id, of_kind


class Purged(Struct, frozen=True, kw_only=True):
    """What was removed from the cache of one feed."""

    feed: str
    packages: tuple[PackageIdentity, ...]
    size: int
    """Bytes of the packages."""
    pins: tuple[PackageIdentity, ...]
    """Versions that were not held (any more), but pinned to the bytes that they had."""
    others: tuple[PackageIdentity, ...]
    """Held versions of the same id that stay."""
    says: str = ""
    """What else has the packages still, where that is so."""


class Purge(Struct, frozen=True):
    """What was removed in all."""

    feeds: tuple[Purged, ...]
    documents: int


async def similar(feeds: Mapping[str, Packages], id: str) -> str:
    """The held id that looks most like ``id``; empty where none does."""
    held = {identity.id for packages in feeds.values() for identity in await packages.holdings.recorded()}
    return next(iter(difflib.get_close_matches(id, sorted(held), n=1, cutoff=0.8)), "")


async def purge(sources: Mapping[str, RemoteSource], documents: Documents, id: str, version: str | None) -> Purge:
    """Remove ``id`` (lower case), one ``version`` (URL form) or all that are known, with its documents.

    What the packages were pinned to is forgotten too, so that other bytes are taken next time.
    """
    done = []
    for source in sources.values():
        source.begin_purge(id)
    for name, source in sources.items():
        packages = source.packages
        held = {facts.identity for facts in await packages.stock.look(id)}
        pinned = await packages.pinned_versions(id)
        wanted = held | pinned if version is None else {PackageIdentity(id, version)}
        says = await _unshare(source, id, wanted)
        size = sum([await packages.purge(identity) for identity in sorted(wanted)])
        done.append(
            Purged(
                feed=name,
                packages=tuple(sorted(wanted & held)),
                size=size,
                pins=tuple(sorted((wanted & pinned) - held)),
                others=tuple(sorted(held - wanted)),
                says=says,
            )
        )
    return Purge(tuple(done), await documents.evict_tag(of_id(id)) + await _forget_answers(documents, id))


async def _forget_answers(documents: Documents, id: str) -> int:
    """Remove the stored answers to queries that name ``id``, or may be versions of it; how many."""
    queries, removed = {of_kind(kind) for kind in Kind if kind.row.query}, 0
    for key, tag in await documents.listed():
        stored = await documents.get(key) if tag in queries else None
        if stored is not None and await off_loop(len(stored.body), _may_name, stored.body, id):
            removed += await documents.delete(key)
    return removed


def _may_name(body: bytes, id: str) -> bool:
    try:
        found = found_ids(body)
    except InvalidDocument:
        return True
    return id in found or (bool(found) and all(map(Version.parse, found)))  # versions do not say of which id


async def _unshare(source: RemoteSource, id: str, wanted: Iterable[PackageIdentity]) -> str:
    """Remove it all from what replicas share, before any can come back from there; why it may, where so."""
    try:
        await source.unshare(id, wanted)
    except EngineUnavailable as failure:
        why = f"the shared {failure.engine} gives no answer ({failure.why})"
        return f"{why}, and brings back what it has; purge again later"
    return ""
