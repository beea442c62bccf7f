"""Retention says which packages a folder need not hold any longer, however much room there is; pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from enum import StrEnum
from itertools import groupby
from typing import Final

from msgspec import Struct

from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.nuget.version import Version

RECENT: Final = 86400.0
"""Seconds within which a version that was used is not superseded: a build still wants it."""


class Why(StrEnum):
    """Why a package goes."""

    UNUSED = "unused"
    SUPERSEDED = "superseded"
    ROOM = "room"


class Retention(Struct, frozen=True, kw_only=True):
    """How long packages are held."""

    unused_for: float = math.inf
    """Seconds since its last use after which a package goes."""
    keep_last: int = 0
    """So many of the highest versions of an id are held, besides those that were used within a day; 0: all."""

    @property
    def is_endless(self) -> bool:
        """Whether nothing ever goes for this."""
        return math.isinf(self.unused_for) and not self.keep_last


Counted = tuple[float, PackageIdentity, int]
"""Last use (wall time), identity, bytes."""


def overdue(found: Iterable[Counted], retention: Retention, now: float) -> Iterator[tuple[Counted, Why]]:
    """What goes, the least recently used first."""
    held = sorted(found)
    beyond = _beyond(held, retention.keep_last) if retention.keep_last else frozenset()
    for one in held:
        used, identity, _ = one
        if now - used > retention.unused_for:
            yield one, Why.UNUSED
        elif identity in beyond and now - used > RECENT:
            yield one, Why.SUPERSEDED


def _beyond(held: Iterable[Counted], most: int) -> frozenset[PackageIdentity]:
    """The versions that are not among the ``most`` highest of their ids."""
    known = [
        (identity.id, version, identity) for _, identity, _ in held if (version := Version.parse(identity.version))
    ]
    known.sort(key=lambda one: one[:2])
    return frozenset(
        identity for _, group in groupby(known, key=lambda one: one[0]) for _, _, identity in list(group)[:-most]
    )
