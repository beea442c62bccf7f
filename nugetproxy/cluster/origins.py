"""Origins keep what the bucket has of one feed from being taken for that of another one of the same name."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Final

import orjson
import structlog
from cachetools import TTLCache

from nugetproxy.clock import Clock
from nugetproxy.cluster import keys
from nugetproxy.cluster.engines import EngineUnavailable, ObjectStore

log = structlog.get_logger(__name__)

BELIEVED: Final = 3600.0
"""Seconds for which the bucket is thought to have what it had; somebody may empty it."""
MOST: Final = 10_000
"""Sources."""


class Origins:
    """Which feed each source is; the first replica says it in the bucket, all others compare."""

    def __init__(self, store: ObjectStore | None, feeds: Mapping[str, str], clock: Clock) -> None:
        """``feeds`` by the names of the sources of this replica; more may come."""
        self._store = store
        self._feeds = feeds
        self._settled: TTLCache[str, bool] = TTLCache(MOST, BELIEVED, clock.monotonic)

    async def settle(self) -> None:
        """Find out about all sources that there are; raises EngineUnavailable."""
        for source in tuple(self._feeds):
            await self.is_ours(source)

    async def is_ours(self, source: str) -> bool:
        """Whether what the bucket has of a source is of the feed that it is here; raises EngineUnavailable."""
        known: bool | None = self._settled.get(source)
        if known is None and self._store is not None:
            known = self._settled[source] = await self._compare(self._store, source, self._feeds.get(source, ""))
        return bool(known)

    async def _compare(self, store: ObjectStore, source: str, feed: str) -> bool:
        name = f"{keys.ORIGINS}{source}"
        found = await store.read(name)
        if found is None:
            with suppress(EngineUnavailable):  # a bucket that takes nothing can still be read
                if store.base:
                    await store.write(keys.service_index(source), _index(f"{store.base}{source}/flat/"), {})
                if not await store.create(name, feed.encode()):  # last: it says that the index is there
                    found = await store.read(name)  # another replica was first
        if found is None:
            return True
        theirs = found.body.decode("utf-8", "replace")
        if theirs == feed:
            return True
        log.error(
            "bucket.foreign",
            upstream=source,
            detail=f"what the bucket has under this name is of another feed ({theirs}); it is not used. "
            "Give the upstream another name, or the cluster another prefix",
        )
        return False


def _index(flat: str) -> bytes:
    row = {"@id": flat, "@type": "PackageBaseAddress/3.0.0"}
    return orjson.dumps({"version": "3.0.0", "resources": [row]})
