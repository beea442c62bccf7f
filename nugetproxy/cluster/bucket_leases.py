"""BucketLeases are leases as small objects, for replicas that share nothing but a bucket."""

from __future__ import annotations

import secrets
from typing import Final

from nugetproxy.clock import Clock
from nugetproxy.cluster import keys
from nugetproxy.cluster.engines import ObjectStore, Thing

LEASE_SECONDS: Final = 10.0
"""Longer than elsewhere: each renewal is a write that somebody pays for."""
SKEW: Final = 2.0
"""Seconds by which the clocks of replicas and store may differ."""
GIVEN_BACK: Final = b"free"


class BucketLeases:
    """Created where there is none, taken over where its holder has died, each by one replica only.

    Right only where the store is honest about conditions: see ``probe``.
    """

    seconds = LEASE_SECONDS

    def __init__(self, store: ObjectStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def acquire(self, key: str) -> str | None:
        """As ``Leases.acquire``; the proof is what the object holds."""
        name, proof = keys.lease(key), secrets.token_hex(16)
        found = await self._store.read(name)  # who loses a race may wait for seconds
        if found is None:
            return proof if await self._store.create(name, proof.encode()) else None
        if not self._is_over(found):
            return None
        return proof if await self._store.replace(name, proof.encode(), found.tag) else None

    def _is_over(self, found: Thing) -> bool:
        return found.body == GIVEN_BACK or self._clock.now() - found.modified > LEASE_SECONDS + SKEW

    async def renew(self, key: str, proof: str) -> str | None:
        """As ``Leases.renew`` says it."""
        name, found = keys.lease(key), await self._store.read(keys.lease(key))
        if found is None or found.body != proof.encode():
            return None
        # Other bytes than before: where the tag is made from them, it must change.
        proof_of_next = secrets.token_hex(16)
        return proof_of_next if await self._store.replace(name, proof_of_next.encode(), found.tag) else None

    async def release(self, key: str, proof: str) -> None:
        """As ``Leases.release`` says it."""
        name = keys.lease(key)
        found = await self._store.read(name)
        if found is not None and found.body == proof.encode():
            await self._store.replace(name, GIVEN_BACK, found.tag)
            await self._store.remove(name)
