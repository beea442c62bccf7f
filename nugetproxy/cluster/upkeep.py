"""Upkeep counts what lies in the bucket, and clears away what nobody needs any more."""

from __future__ import annotations

from collections import defaultdict
from typing import Final

from msgspec import Struct

from nugetproxy.cluster import keys
from nugetproxy.cluster.engines import Listed, ObjectStore

DAY: Final = 86400.0
PASSING: Final = (keys.LEASES, keys.PROBES, keys.MARKS)
"""What is of no use a day after it was written."""


class Usage(Struct):
    """What lies in the bucket of one source; ``_`` stands for what belongs to none."""

    source: str
    packages: int = 0
    package_bytes: int = 0
    documents: int = 0
    document_bytes: int = 0


async def usage(store: ObjectStore) -> tuple[Usage, ...]:
    """By source; raises EngineUnavailable."""
    found: dict[str, Usage] = {}
    for one in await store.listing(""):
        source = "_" if one.key.startswith("_") else one.key.partition("/")[0]
        counted = found.setdefault(source, Usage(source))
        if one.key.endswith(".nupkg"):
            counted.packages += 1
            counted.package_bytes += one.size
        else:
            counted.documents += 1
            counted.document_bytes += one.size
    return tuple(found[source] for source in sorted(found))


async def clear(store: ObjectStore, now: float) -> int:
    """Remove what is left of leases, probes, old writes and uploads that never ended; how many objects.

    ``now`` is wall time. Raises EngineUnavailable.
    """
    listed = await store.listing("")
    doomed = [one.key for one in listed if one.key.startswith(PASSING) and now - one.modified > DAY]
    doomed += _half(listed, now)
    for key in doomed:
        await store.remove(key)
    return len(doomed)


def _half(listed: tuple[Listed, ...], now: float) -> list[str]:
    """Nuspecs whose package never came."""
    folders: defaultdict[str, list[Listed]] = defaultdict(list)
    for one in listed:
        if one.key.endswith((".nupkg", ".nuspec")):
            folders[one.key.rpartition("/")[0]].append(one)
    return [
        one.key
        for beside in folders.values()
        if not any(other.key.endswith(".nupkg") for other in beside)
        for one in beside
        if now - one.modified > DAY
    ]
