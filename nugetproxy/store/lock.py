"""DirectoryLock makes sure that one instance at a time uses a cache directory that is safe to use."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from nugetproxy.errors import StoreUnusable


class DirectoryLocked(StoreUnusable):
    """Another instance uses the directory (exit code 75); ``pid`` and ``since`` as it wrote them, 0 and ""."""

    def __init__(self, directory: str, pid: int, since: str) -> None:
        holder = f"process {pid} has used it since {since}" if pid else "another process uses it"
        super().__init__(directory, holder, "Stop that process, or give this one a directory of its own.")
        self.pid = pid
        self.since = since


class DirectoryLock:
    """SIGNATURES ONLY SO FAR; the code follows. Blocking; for the start of the process, before the loop."""

    def __init__(self, directory: Path, *, forced: bool = False) -> None:
        raise NotImplementedError

    def acquire(self) -> None:
        """Make the directory if need be, check owner, mode, file system, format; lock. Raises StoreUnusable."""
        raise NotImplementedError

    def release(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        raise NotImplementedError

    def __exit__(self, *exc: object) -> None:
        raise NotImplementedError
