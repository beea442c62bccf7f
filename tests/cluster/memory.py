"""MemoryStore is a bucket in memory, honest about conditions, whose clock the test moves."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Mapping

from msgspec.structs import replace

from nugetproxy.cluster.engines import Blob, Listed, Stated, Thing
from tests.fakes.clock import FakeClock


class MemoryStore:
    """See ``ObjectStore``."""

    base = ""
    problem = ""

    def __init__(self, clock: FakeClock) -> None:
        self.things: dict[str, Thing] = {}
        self._clock = clock
        self._tags = itertools.count()

    def _put(self, key: str, body: bytes, meta: Mapping[str, str]) -> None:
        self.things[key] = Thing(body=body, meta=meta, tag=f'"{next(self._tags)}"', modified=self._clock.now())

    def age(self, key: str, seconds: float) -> None:
        """As if it had been written so long ago."""
        self.things[key] = replace(self.things[key], modified=self.things[key].modified - seconds)

    async def read(self, key: str) -> Thing | None:
        return self.things.get(key)

    async def stream(self, key: str) -> Blob | None:
        found = self.things.get(key)

        async def chunks() -> AsyncIterator[bytes]:
            if found is not None:
                yield found.body

        return None if found is None else Blob(size=len(found.body), meta=found.meta, chunks=chunks())

    async def head(self, key: str) -> Stated | None:
        found = self.things.get(key)
        return None if found is None else Stated(size=len(found.body), meta=found.meta)

    async def write(self, key: str, body: bytes, meta: Mapping[str, str]) -> None:
        self._put(key, body, meta)

    async def upload(self, key: str, chunks: AsyncIterator[bytes], size: int, meta: Mapping[str, str]) -> None:
        self._put(key, b"".join([chunk async for chunk in chunks]), meta)

    async def create(self, key: str, body: bytes) -> bool:
        if key in self.things:
            return False
        self._put(key, body, {})
        return True

    async def replace(self, key: str, body: bytes, tag: str) -> bool:
        if key not in self.things or self.things[key].tag != tag:
            return False
        self._put(key, body, {})
        return True

    async def remove(self, key: str) -> None:
        self.things.pop(key, None)

    async def listing(self, prefix: str) -> tuple[Listed, ...]:
        return tuple(
            Listed(key=key, size=len(one.body), modified=one.modified)
            for key, one in sorted(self.things.items())
            if key.startswith(prefix)
        )

    async def sign(self, key: str, seconds: float) -> str:
        return f"https://bucket.example.com/{key}?for={seconds:g}"
