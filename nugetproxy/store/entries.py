"""DiskEntries keeps documents with their entries in diskcache."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nugetproxy.caching.entry import Entry
from nugetproxy.metrics import Metrics
from nugetproxy.nuget.policies import Kind
from nugetproxy.store.fs import FsOps


@dataclass(frozen=True, slots=True)
class Stored:
    """An entry with its body."""

    entry: Entry
    body: bytes


class DiskEntries:
    """SIGNATURES ONLY SO FAR; the code follows. Only ``open`` raises (StoreUnusable): the rest misses or drops."""

    def __init__(self, *, metrics: Metrics, fs: FsOps | None = None) -> None:
        raise NotImplementedError

    async def open(self, directory: Path) -> None:
        raise NotImplementedError

    async def get(self, key: str) -> Stored | None:
        raise NotImplementedError

    async def put(self, key: str, entry: Entry, body: bytes, *, tag: str, expire: float | None = None) -> bool:
        """False if it was dropped."""
        raise NotImplementedError

    async def delete(self, key: str) -> bool:
        raise NotImplementedError

    async def evict_tag(self, tag: str) -> int:
        raise NotImplementedError

    async def put_link(self, token: str, kind: Kind, url: str) -> bool:
        """True once it is stored; cheap when it is known already."""
        raise NotImplementedError

    async def get_link(self, token: str) -> tuple[Kind, str] | None:
        raise NotImplementedError

    async def trim(self, max_bytes: int) -> int:
        """Rows removed: expired first, then least recently stored, down to 95 %."""
        raise NotImplementedError

    def volume(self) -> int:
        """Bytes on disk as last measured (after each write)."""
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError
