"""Feeds are built out of the sources that the configuration makes them of."""

from __future__ import annotations

from collections.abc import Mapping

from nugetproxy.app.parts import Shared
from nugetproxy.config import FeedTable
from nugetproxy.feeds.claims import Claims
from nugetproxy.feeds.feed import Feed
from nugetproxy.feeds.guard import Guard
from nugetproxy.feeds.together import Together
from nugetproxy.sources.source import Source


def published(shared: Shared, sources: Mapping[str, Source], claims: Claims) -> Mapping[str, Feed]:
    """Each feed by its name, the one at the root first."""
    config = shared.config
    return {
        name: Feed(
            name,
            tuple(sources[source] for source in table.sources),
            pages=shared.pages,
            clock=shared.clock,
            together=_together(table, shared, sources, claims) if name in config.feeds else None,
        )
        for name, table in config.published.items()
    }


def _together(table: FeedTable, shared: Shared, sources: Mapping[str, Source], claims: Claims) -> Together:
    config = shared.config
    guard = Guard(
        tuple(sources[name] for name in table.sources),
        private={name: bool(one.role) for name, one in config.upstreams.items()},
        mapping=table.source_mapping,
        claims=claims,
    )
    return Together(
        guard=guard,
        pushes=table.push_mapping,
        advisories=tuple(sources[name] for name in table.advisories if name not in table.sources),
        ledger=shared.ledger,
        spool=config.cache.path,
        max_push=config.limits.push,
    )
