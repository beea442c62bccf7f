"""Composition is the root: the one place that reads Config, and builds everything."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

from aiohttp.abc import AbstractResolver

from nugetproxy.app.descriptors import Descriptors, share_out
from nugetproxy.app.parts import Shared, folder_feed, remote, sites
from nugetproxy.clock import Clock
from nugetproxy.config import Config
from nugetproxy.engine.housekeeping import Housekeeping
from nugetproxy.engine.lock_watch import LockWatch
from nugetproxy.engine.loop_watch import LoopWatch
from nugetproxy.engine.prober import Prober
from nugetproxy.engine.rotation import same_since
from nugetproxy.engine.scrub import Scrub
from nugetproxy.engine.tasks import Tasks
from nugetproxy.feeds.feed import Feed
from nugetproxy.feeds.files import Site
from nugetproxy.feeds.folder_feed import FolderFeed
from nugetproxy.feeds.published import NoWrites
from nugetproxy.feeds.rendering import HotPages
from nugetproxy.feeds.symbols import Symbols
from nugetproxy.metrics import Metrics
from nugetproxy.store.documents.documents import Documents
from nugetproxy.store.fs import FsOps
from nugetproxy.store.lock import DirectoryLock
from nugetproxy.web.edge import Edge, Published
from nugetproxy.web.hosts import PublicAddresses
from nugetproxy.web.ops import Ops
from nugetproxy.web.sending import Sender
from nugetproxy.web.writes import Writes

FIRST_SYNC = 2.0
"""Seconds that the start waits for a holdings to know all that is held; a large one is completed in the background."""

NO_WRITES = NoWrites("This feed is a folder of packages; copy packages into it, or remove them there, instead.")


@dataclass(slots=True, kw_only=True)
class App:
    """Everything that runs for one configuration; an asynchronous context manager.

    Entering it locks and opens the store (raises StoreUnusable where that cannot be), leaving it stops every
    background task and closes what was opened.
    """

    config: Config
    edge: Edge
    ops: Ops
    metrics: Metrics
    feeds: Mapping[str, Feed]
    """Those with a remote upstream, by name."""
    folders: Mapping[str, FolderFeed]
    """Those that are a folder of packages, by name."""
    entries: Documents
    clock: Clock
    lock: LockWatch
    tasks: Tasks
    housekeeping: Housekeeping
    prober: Prober
    sites: Mapping[str, Site]
    """What is published beside the feeds, by the first word of its path."""
    scrub: Scrub
    descriptors: Descriptors
    loop_watch: LoopWatch

    async def __aenter__(self) -> Self:
        await self.lock.acquire()
        await self.entries.open(self.config.cache.path / "entries")
        for name, feed in self.feeds.items():
            secrets = self.config.upstreams[name].secret_values()
            since = await same_since(self.entries, feed.scope, secrets, self.clock.now())
            feed.cache.trust_absence_since(since)
        for feed in self.feeds.values():
            await feed.packages.folder.prepare()
            await feed.packages.holdings.open(self.config.cache.path / feed.name / "holdings.db")
            with suppress(TimeoutError):
                async with asyncio.timeout(FIRST_SYNC):
                    await feed.packages.sync_holdings()
        for folder in self.folders.values():
            await folder.library.open(self.config.cache.path / folder.name)
        return self

    def start_background(self) -> None:
        """Begin what a running proxy does unasked: housekeeping, fetching the service indexes."""
        self.tasks.keep(self.housekeeping.run, name="housekeeping")
        self.tasks.keep(self.prober.run, name="prober")
        self.tasks.keep(self.scrub.run, name="scrub")
        self.tasks.keep(self.loop_watch.run, name="loop_watch")
        self.tasks.keep(self.lock.run, name="lock")
        for feed in self.feeds.values():
            secure = self.config.server.public_url.startswith("https:")
            self.tasks.start(feed.begin(secure=secure), name=f"begin {feed.name}")
            self.tasks.keep(feed.packages.keep_holdings, name=f"holdings {feed.name}")
        for folder in self.folders.values():
            self.tasks.keep(folder.watch, name=f"folder {folder.name}")

    async def __aexit__(self, *_: object) -> None:
        await self.tasks.stop()
        await self.housekeeping.finish()
        await self.scrub.finish()
        for feed in self.feeds.values():
            await feed.upstream.close()
            await feed.packages.folder.close()
            await feed.packages.holdings.close()
        for folder in self.folders.values():
            await folder.library.close()
        for site in set(self.sites.values()):
            await site.close()
        await self.entries.close()
        await self.lock.release()


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
    fs, clock = fs or FsOps(), clock or Clock()
    metrics = Metrics()
    shared = Shared(
        config=config,
        clock=clock,
        fs=fs,
        resolver=resolver,
        jitter=jitter,
        metrics=metrics,
        tasks=Tasks(clock, metrics),
        entries=Documents(metrics=metrics, fs=fs),
        pages=HotPages(config.cache.hot_memory // 2),
        descriptors=share_out(config),
    )
    published_sites = sites(shared)
    symbols = published_sites.get("symbols")
    on_symbols = symbols.expect_new if isinstance(symbols, Symbols) else lambda: None
    remotes = {
        name: remote(name, one, shared, on_symbols) for name, one in config.upstreams.items() if one.folder is None
    }
    feeds = {name: one.feed for name, one in remotes.items()}
    folders = {
        name: folder_feed(name, one.folder, shared) for name, one in config.upstreams.items() if one.folder is not None
    }
    built = {name: remotes.get(name) or Published(folders[name], NO_WRITES) for name in config.upstreams}
    ops = Ops({name: one.feed for name, one in built.items()}, metrics, metrics_from=config.server.metrics_from)
    return App(
        config=config,
        edge=_edge(built, published_sites, ops, shared),
        ops=ops,
        metrics=metrics,
        feeds=feeds,
        sites=published_sites,
        folders=folders,
        entries=shared.entries,
        clock=shared.clock,
        lock=_lock(shared),
        tasks=shared.tasks,
        housekeeping=_housekeeping(feeds, shared),
        prober=Prober(tuple(feed.upstream for feed in feeds.values()), shared.clock),
        descriptors=shared.descriptors,
        loop_watch=LoopWatch(shared.clock, metrics),
        scrub=_scrub(feeds, shared),
    )


def _edge(built: Mapping[str, Published], sites: Mapping[str, Site], ops: Ops, shared: Shared) -> Edge:
    """The server side; the first feed is published at the root too."""
    config, addresses = shared.config, _addresses(shared.config)
    return Edge(
        {"/": next(iter(built.values())), **{f"/{name}/": one for name, one in built.items()}},
        addresses=addresses,
        sender=Sender(shared.metrics, write_timeout=config.server.write_timeout),
        writes=Writes(addresses, body_timeout=config.server.body_timeout),
        ops=ops,
        metrics=shared.metrics,
        sites=sites,
    )


def _lock(shared: Shared) -> LockWatch:
    cache = shared.config.cache
    return LockWatch(DirectoryLock(cache.path, forced=cache.force_network_filesystem), shared.clock)


def _housekeeping(feeds: Mapping[str, Feed], shared: Shared) -> Housekeeping:
    return Housekeeping(
        tuple(feed.packages for feed in feeds.values()),
        shared.entries,
        max_packages=shared.config.cache.max_size,
        max_documents=shared.config.cache.max_documents,
        clock=shared.clock,
    )


def _scrub(feeds: Mapping[str, Feed], shared: Shared) -> Scrub:
    return Scrub(
        tuple(feed.packages for feed in feeds.values()),
        shared.entries,
        rate=shared.config.cache.scrub_rate,
        clock=shared.clock,
        metrics=shared.metrics,
    )


def _addresses(config: Config) -> PublicAddresses:
    server = config.server
    return PublicAddresses(
        public_url=server.public_url, allowed_hosts=server.allowed_hosts, trusted_proxies=server.trusted_proxies
    )
