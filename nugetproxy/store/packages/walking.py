"""Walking goes through what a package folder holds, batch after batch, in the order of the names."""

from __future__ import annotations

import math
import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Final

from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.store.fs import DiskFailure, FsOps
from nugetproxy.store.packages.layout import Layout

LISTED_SECONDS: Final = 60.0
"""How long the ids are remembered while somebody goes on. With 100,000 of them a list for each batch took 150 s of
every start.
"""

Unread = Callable[[DiskFailure], object]
"""Told, in a thread, of the folder of an id that cannot be listed: the walk goes on behind it."""


class Walking:
    """For any thread; several may be on their way."""

    def __init__(self, fs: FsOps, layout: Layout, now: Callable[[], float] = time.monotonic) -> None:
        self._fs = fs
        self._layout = layout
        self._now = now
        self._listed: tuple[Sequence[str], float] = ((), -math.inf)
        """The ids in their order, when that was."""

    def after(self, last: PackageIdentity | None, count: int, unread: Unread | None = None) -> list[PackageIdentity]:
        """The first ``count`` packages after ``last`` (None: of all). Blocks; raises DiskFailure, but where it is
        ``unread`` that is told of the folder of an id that cannot be listed."""
        ids = self._ids(anew=last is None)
        found: list[PackageIdentity] = []
        for at in range(bisect_left(ids, last.id) if last is not None else 0, len(ids)):
            try:
                folder = list(self._layout.identities_of(self._fs, ids[at]))
            except DiskFailure as failure:
                if unread is None:
                    raise
                unread(failure)
                continue
            found += sorted(held for held in folder if last is None or held > last)
            if len(found) >= count:
                return found[:count]
        if not found:  # whoever went through it is at the end
            self._listed = ((), -math.inf)
        return found

    def _ids(self, *, anew: bool) -> Sequence[str]:
        ids, at = self._listed
        if anew or self._now() - at > LISTED_SECONDS:
            ids = sorted(self._fs.names(self._layout.packages))
            self._listed = (ids, self._now())
        return ids
