"""Descriptors are shared out: so many for clients, so many for downloads, so many for held files."""

from __future__ import annotations

import resource
from contextlib import suppress

from msgspec import Struct

from nugetproxy.config import Config

CLIENT = 1.25
"""A client costs its socket; some read a file of their own that is not kept open."""
FLIGHT = 2
"""A download costs its connection with its staging file."""
REQUESTS = 2
"""Documents and writes have their connections beside those of downloads, as many each."""
RESERVE = 96
RESERVE_PART = 6
"""For the databases, the log, the loop, threads that look up names or read folders: so many, or one in six."""
UPSTREAM_PART = 4
"""At most one in four is for upstreams."""
MOST_CLIENTS = 4000
MOST_HELD = 512
"""Held files that one upstream keeps open, so that a hit needs no open."""
HELD_PART = 16
"""One descriptor in so many is for held files, where there are few."""
LEAST_CLIENTS = 8
LEAST_HELD = 8
UNLIMITED = 1_000_000
"""Taken for no limit at all: more than we ever share out."""


class Descriptors(Struct, frozen=True, kw_only=True):
    """What may be open at once; no part can starve another."""

    limit: int
    """Of the process."""
    clients: int
    """Connections of clients."""
    held: int
    """Held files kept open, for each upstream."""
    upstream_share: float
    """The part of each upstream's configured ``connections`` that there is room for."""


def raise_descriptor_limit() -> None:
    """Raise this process' own soft limit to the hard one: most shells set a soft limit that is meant for others."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(OSError, ValueError):  # a sandbox may forbid it; then what is there is shared out
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def share_out(config: Config) -> Descriptors:
    """How what this process may open is shared out; ``server.max_connections`` counts where it is set."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = UNLIMITED if soft < 0 else min(soft, UNLIMITED)
    left = limit - min(RESERVE, limit // RESERVE_PART)
    held = max(LEAST_HELD, min(MOST_HELD, left // (HELD_PART * len(config.upstreams))))
    left -= held * len(config.upstreams)
    asked = sum((FLIGHT + REQUESTS) * one.connections for one in config.upstreams.values() if one.folder is None)
    share = min(1.0, left / UPSTREAM_PART / asked) if asked else 1.0
    room = max(LEAST_CLIENTS, int((left - asked * share) / CLIENT))
    clients = config.server.max_connections or min(MOST_CLIENTS, room)
    return Descriptors(limit=limit, clients=clients, held=held, upstream_share=share)
