"""PackageFolder keeps the packages of one upstream in a folder that is itself a NuGet feed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

from nugetproxy.clock import Clock
from nugetproxy.metrics import Metrics
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.store.fs import FsOps
from nugetproxy.store.held import HeldPackage
from nugetproxy.store.staging import Staged
from nugetproxy.store.threads import StoreThreads


class PackageFolder:
    """SIGNATURES ONLY SO FAR; the code follows."""

    def __init__(
        self,
        root: Path,
        *,
        fs: FsOps,
        metrics: Metrics,
        upstream: str,
        clock: Clock | None = None,
        threads: StoreThreads | None = None,
    ) -> None:
        raise NotImplementedError

    async def prepare(self) -> None:
        """Make the directories and clear what a crash left in staging; raises StoreUnusable."""
        raise NotImplementedError

    async def close(self) -> None:
        """Write the last uses, close all kept descriptors, end own threads."""
        raise NotImplementedError

    async def stage(self, identity: PackageIdentity) -> Staged:
        """A new file to download into; raises DiskFailure."""
        raise NotImplementedError

    def peek(self, identity: PackageIdentity) -> HeldPackage | None:
        """The package if its descriptor is kept open; never blocks. Call acquire() before the next await."""
        raise NotImplementedError

    async def open(self, identity: PackageIdentity) -> HeldPackage | None:
        """The package, verified; None if not held. Call acquire() before the next await. Raises DiskFailure."""
        raise NotImplementedError

    async def read(self, fd: int, size: int, offset: int) -> bytes:
        """pread in a thread of the store; raises DiskFailure."""
        raise NotImplementedError

    async def nuspec(self, identity: PackageIdentity) -> bytes | None:
        """The nuspec out of the held package; None if not held."""
        raise NotImplementedError

    async def member(
        self, identity: PackageIdentity, kind: Literal["readme", "icon", "license"]
    ) -> tuple[bytes, str] | None:
        """A file that the nuspec names, with its path in the package."""
        raise NotImplementedError

    async def quarantine(self, identity: PackageIdentity, reason: str) -> None:
        """Set a package aside as damaged (reason: size, hash, zip, identity, io)."""
        raise NotImplementedError

    async def delete(self, identity: PackageIdentity) -> int:
        """Remove a package; bytes removed, 0 if it was not held."""
        raise NotImplementedError

    async def held_versions(self, id: str) -> tuple[str, ...]:
        """Versions held of an id (lower case), sorted as text."""
        raise NotImplementedError

    def walk(self) -> Iterator[tuple[PackageIdentity, int, float]]:
        """(identity, size, last use) of every package; blocks: for a thread."""
        raise NotImplementedError

    def note_use(self, identity: PackageIdentity) -> None:
        """Remember in memory that a package was used now."""
        raise NotImplementedError

    async def flush_uses(self) -> int:
        """Write the remembered uses; how many."""
        raise NotImplementedError

    async def scan(self) -> None:
        """Count what is held."""
        raise NotImplementedError

    def usage(self) -> tuple[int, int]:
        """(bytes, packages) held."""
        raise NotImplementedError

    async def evict(self, max_bytes: int, keep: Callable[[PackageIdentity], bool]) -> int:
        """Delete the least recently used until 95 % of ``max_bytes``; bytes removed."""
        raise NotImplementedError
