"""LibraryIndex knows which file of a folder feed stands for which package."""

from __future__ import annotations

from collections.abc import Iterator

import structlog
from msgspec import Struct

from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.store.packages.held import Stamp

log = structlog.get_logger(__name__)


class _Refused(Struct):
    """A file that is no package, or not yet: it may still be being copied."""

    stamp: Stamp
    why: str
    told: bool = False
    again: bool = False
    """The disk failed, which says nothing of the file."""
    stated: str = ""
    """The hash beside it that it does not have: it may be another one soon."""


class LibraryIndex:
    """Files by path (relative to the root), packages by identity; for the event loop only.

    Of several files for one package, the one with the fewest folders in its path counts, then the first by name.
    """

    def __init__(self, upstream: str) -> None:
        self._log = log.bind(upstream=upstream)
        self._stamps: dict[str, Stamp] = {}
        self._identities: dict[str, PackageIdentity] = {}
        self._paths: dict[PackageIdentity, tuple[str, ...]] = {}
        self._refused: dict[str, _Refused] = {}

    def __len__(self) -> int:
        return len(self._paths)

    @property
    def refused(self) -> int:
        """How many files are skipped."""
        return len(self._refused)

    def find(self, identity: PackageIdentity) -> tuple[str, Stamp] | None:
        """The file of a package, as it was when it was read."""
        paths = self._paths.get(identity)
        return (paths[0], self._stamps[paths[0]]) if paths else None

    def packages(self) -> Iterator[tuple[PackageIdentity, str, Stamp]]:
        """Every package with its file."""
        for identity, paths in tuple(self._paths.items()):
            yield identity, paths[0], self._stamps[paths[0]]

    def put(self, path: str, at: Stamp, identity: PackageIdentity) -> None:
        """``path`` is this package; there must be nothing else known of it (``drop``)."""
        self._refused.pop(path, None)
        self._stamps[path] = at
        self._identities[path] = identity
        paths = (*self._paths.get(identity, ()), path)
        self._paths[identity] = tuple(sorted(paths, key=lambda one: (one.count("/"), one)))
        if len(paths) > 1:
            kept, *others = self._paths[identity]
            self._log.warning("library.duplicate", package=str(identity), served=kept, ignored=others)

    def refuse(
        self, path: str, at: Stamp, why: str, *, told: bool = False, again: bool = False, stated: str = ""
    ) -> None:
        """``path`` cannot be served; logged by ``tell`` unless it was ``told`` already. ``again``: it may be read
        again, unchanged as it is. ``stated``: the hash beside it, where that is why.
        """
        before = self._refused.get(path)
        told = told or (before is not None and before.told and before.stamp == at)
        self._refused[path] = _Refused(at, why, told, again, stated)

    def failed(self) -> dict[str, Stamp]:
        """Refused files that the disk did not give."""
        return {path: refused.stamp for path, refused in self._refused.items() if refused.again}

    def contradicted(self) -> list[tuple[str, Stamp, str]]:
        """Refused files whose hash is not the one that was stated beside them."""
        return [(path, one.stamp, one.stated) for path, one in self._refused.items() if one.stated]

    def drop(self, path: str) -> PackageIdentity | None:
        """Forget a file; the package that it was."""
        self._refused.pop(path, None)
        self._stamps.pop(path, None)
        identity = self._identities.pop(path, None)
        if identity is not None:
            rest = tuple(one for one in self._paths[identity] if one != path)
            if rest:
                self._paths[identity] = rest
            else:
                del self._paths[identity]
        return identity

    def unsettled(self, now: float, young: float) -> list[str]:
        """Refused files that may still become packages: not logged yet, or changed in the last ``young`` seconds."""
        return [
            path
            for path, refused in self._refused.items()
            if not refused.told or abs(now - refused.stamp.mtime_ns / 1e9) < young
        ]

    def tell(self, since: set[str]) -> None:
        """Log the files among ``since`` that are still refused with the stamp they had then; once each."""
        for path in sorted(since & self._refused.keys()):
            refused = self._refused[path]
            if not refused.told:
                refused.told = True
                self._log.warning("library.skipped", file=path, detail=refused.why)
