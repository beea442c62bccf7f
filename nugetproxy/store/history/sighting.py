"""A sighting is one answered request, as the history sees it."""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct

HITS = frozenset({"hit", "stale", "synthesized"})
"""Outcomes for which no upstream was waited for."""
FETCHES = frozenset({"miss", "collapsed", "revalidated"})
"""Outcomes for which one was."""
SPARED = HITS | {"collapsed", "revalidated"}
"""Outcomes whose body was not downloaded for this client."""
FAILED = "failed"
PACKAGE = "package"


class What(Struct, frozen=True, kw_only=True):
    """What an answer was, whoever got it."""

    feed: str
    kind: str
    id: str
    """Lower case; empty where it is about no package."""
    version: str
    outcome: str
    status: int
    size: int
    """Bytes of the body that were sent."""
    reason: str = ""
    detail: str = ""
    """What the client was told, where the request failed."""
    pulled: bool = False
    """Whether a client has a package by it."""


class Who(Struct, frozen=True):
    """The client that asked."""

    client: str
    """Address."""
    session: str
    """As the client calls what it does (``X-NuGet-Session-Id``): one restore."""
    token: str
    """Name of the token that was shown; empty without one."""


Sighting: TypeAlias = tuple[float, What, Who, float, float, float]
"""Wall time of the end; what; who; seconds in all, of which so many went by waiting for upstreams to answer, so many
until the client took what was sent. A plain tuple: a hit makes one.
"""
