"""Feeds are built out of the sources that the configuration makes them of."""

from __future__ import annotations

from collections.abc import Mapping

from nugetproxy.app.shared import Shared
from nugetproxy.config import FeedTable
from nugetproxy.feeds.claims import Claims
from nugetproxy.feeds.feed import Feed
from nugetproxy.feeds.guard import Guard
from nugetproxy.feeds.rulebook import Rulebook
from nugetproxy.feeds.settings import FeedSettings
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
            rulebook=_rulebook(table, shared, sources),
            settings=_settings(table, shared, sources, claims) if name in config.feeds else None,
            redirect_from=table.redirect_min_bytes if config.cluster.store else 0,
        )
        for name, table in config.published.items()
    }


def _rulebook(table: FeedTable, shared: Shared, sources: Mapping[str, Source]) -> Rulebook:
    upstreams = shared.config.upstreams
    return Rulebook(
        rules=tuple(one.rule for one in table.rules),
        horizon=table.asof,
        dated_by={name: sources[other] for name in table.sources if (other := upstreams[name].dates_from)},
        ledger=shared.ledger,
        metrics=shared.metrics,
    )


def _settings(table: FeedTable, shared: Shared, sources: Mapping[str, Source], claims: Claims) -> FeedSettings:
    config = shared.config
    guard = Guard(
        tuple(sources[name] for name in table.sources),
        private={name: bool(one.role) for name, one in config.upstreams.items()},
        mapping=table.source_mapping,
        claims=claims,
    )
    return FeedSettings(
        guard=guard,
        pushes=table.push_mapping,
        advisories=tuple(sources[name] for name in table.advisories if name not in table.sources),
        ledger=shared.ledger,
        spool=config.cache.path,
        max_push=config.limits.push,
        truth=shared.replicas.truth if shared.replicas is not None else None,
    )
