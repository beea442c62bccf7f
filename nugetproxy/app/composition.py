"""Composition is the root: the one place that reads Config, and builds everything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aiohttp.abc import AbstractResolver

from nugetproxy.admin.desk import Desk, Switch
from nugetproxy.admin.tokens import Tokens
from nugetproxy.app.access import tokens_of, watch_access, watch_of
from nugetproxy.app.application import App
from nugetproxy.app.expiry import looking
from nugetproxy.app.feeds import published
from nugetproxy.app.measured import declare
from nugetproxy.app.parts import all_sources, sites
from nugetproxy.app.shared import Shared, shared_of, watched
from nugetproxy.app.web import admission_of, edge_of, lane_of
from nugetproxy.clock import Clock
from nugetproxy.config import Config
from nugetproxy.engine.housekeeping import Housekeeping
from nugetproxy.engine.lock_watch import LockWatch
from nugetproxy.engine.loop_watch import LoopWatch
from nugetproxy.engine.packages import Packages
from nugetproxy.engine.prober import Prober
from nugetproxy.engine.scrub import Scrub
from nugetproxy.feeds.advisory_book import AdvisoryBook
from nugetproxy.feeds.claims import Claims
from nugetproxy.feeds.feed import Feed
from nugetproxy.feeds.reading import Reading
from nugetproxy.feeds.symbols import Symbols
from nugetproxy.sources.remote import RemoteSource
from nugetproxy.sources.source import Source
from nugetproxy.store.fs import FsOps
from nugetproxy.store.lock import DirectoryLock
from nugetproxy.web.ops import Ops


def build(
    config: Config,
    *,
    clock: Clock | None = None,
    fs: FsOps | None = None,
    resolver: AbstractResolver | None = None,
    jitter: float = 0.1,
) -> App:
    """The application for ``config``; the other arguments are seams for tests.

    ``jitter`` is the part by which freshness may be shortened, so that a crowd's documents do not expire at once.
    """
    shared = shared_of(config, clock or Clock(), fs or FsOps(), resolver, jitter)
    declare(shared.metrics, config, shared.descriptors)
    published_sites = sites(shared)
    symbols = published_sites.get("symbols")
    sources = all_sources(shared, symbols if isinstance(symbols, Symbols) else None)
    remotes = [source for source in sources.values() if isinstance(source, RemoteSource)]
    replicas = shared.replicas
    claims = Claims(shared.ledger, replicas.claimed if replicas is not None else lambda: None)
    feeds = published(shared, sources, claims)
    tokens, watch = tokens_of(feeds, shared), watch_of(sources, shared)
    watch_access(watch, config, tokens)
    admission, switch = admission_of(tokens, shared), Switch()
    ops = Ops(feeds, shared.metrics, watched(shared), admission, metrics_from=config.server.metrics_from)
    desk = desk_of(feeds, sources, tokens, switch, shared)
    packages = tuple(source.packages for source in remotes)
    lane = lane_of(ops, admission, shared)
    tokens.watchers.append(lane.clear)
    switch.forget, shared.expiry.look = lane.clear, looking(config, tokens)
    return App(
        config=config,
        shared=shared,
        edge=edge_of(published_sites, desk, shared, ops=ops, admission=admission, lane=lane),
        lane=lane,
        ops=ops,
        admission=admission,
        tokens=tokens,
        desk=desk,
        watch=watch,
        metrics=shared.metrics,
        sources=sources,
        feeds=feeds,
        claims=claims,
        sites=published_sites,
        documents=shared.documents,
        ledger=shared.ledger,
        history=shared.history,
        fs=shared.fs,
        clock=shared.clock,
        lock=_lock(shared),
        tasks=shared.tasks,
        housekeeping=_housekeeping(packages, shared),
        room=shared.room,
        prober=Prober(tuple(source.upstream for source in remotes), shared.clock),
        descriptors=shared.descriptors,
        loop_watch=LoopWatch(shared.clock, shared.metrics),
        scrub=_scrub(packages, shared),
        replicas=shared.replicas,
    )


def desk_of(
    feeds: Mapping[str, Feed], sources: Mapping[str, Source], tokens: Tokens, switch: Switch, shared: Shared
) -> Desk:
    """What commands work on."""
    return Desk(
        feeds=feeds,
        sources=sources,
        documents=shared.documents,
        ledger=shared.ledger,
        provenance=shared.provenance,
        advisories=AdvisoryBook("audit", tuple(sources.values()), _reading(shared), shared.clock),
        history=shared.history,
        tokens=tokens,
        room=shared.room,
        expiry=shared.expiry,
        metrics=shared.metrics,
        clock=shared.clock,
        watched=watched(shared),
        switch=switch,
        second=shared.replicas.second if shared.replicas is not None else None,
        truth=shared.replicas.truth if shared.replicas is not None else None,
    )


def _reading(shared: Shared) -> Reading:
    return Reading("audit", pages=shared.pages, clock=shared.clock, several=True)


def _lock(shared: Shared) -> LockWatch:
    cache = shared.config.cache
    return LockWatch(DirectoryLock(cache.path, forced=cache.force_network_filesystem), shared.clock)


def _housekeeping(packages: Sequence[Packages], shared: Shared) -> Housekeeping:
    return Housekeeping(
        packages,
        shared.documents,
        shared.ledger,
        room=shared.room,
        max_documents=shared.config.cache.max_documents,
        clock=shared.clock,
    )


def _scrub(packages: Sequence[Packages], shared: Shared) -> Scrub:
    return Scrub(
        packages,
        shared.ledger,
        rate=shared.config.cache.scrub_rate,
        clock=shared.clock,
        metrics=shared.metrics,
    )
