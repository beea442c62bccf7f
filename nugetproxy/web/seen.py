"""Seen is what a header section says of its client, as far as answers depend on it."""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import NamedTuple

from msgspec import Struct

from nugetproxy import log as logs
from nugetproxy.store.history.sighting import Who
from nugetproxy.web.admission import Readable
from nugetproxy.web.head_check import Condition
from nugetproxy.web.prepared import Prepared


class Peer(Struct, frozen=True):
    """The other end of a connection, as far as answers depend on it."""

    address: str
    local: str
    """Our own address, by which it may call us."""
    tls: bool


class Seen(Struct, frozen=True, kw_only=True):
    """What a header section says, as far as answers depend on it."""

    key: Hashable
    answers: dict[bytes, Prepared]
    """By request line."""
    may: Readable
    generation: int
    over_tls: bool
    who: logs.Part
    """What the access event says of the client."""
    asker: Who
    """What the history keeps of it."""


class Asked(NamedTuple):
    """A request, as far as the lane looks at it."""

    seen: Seen
    line: bytes
    condition: Condition | None


ODD = Seen(
    key=None,
    answers={},
    may=Readable(feeds=frozenset(), until=-math.inf, is_sure=None),
    generation=0,
    over_tls=False,
    who=logs.part({}),
    asker=Who("", "", ""),
)
"""A header section that only the ordinary path understands."""
