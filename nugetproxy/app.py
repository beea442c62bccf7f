"""App builds everything from the configuration."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import structlog
from aiohttp.abc import AbstractResolver

from nugetproxy.clock import Clock
from nugetproxy.config import Config, Upstream
from nugetproxy.engine.cache import Cache
from nugetproxy.engine.housekeeping import Housekeeping
from nugetproxy.engine.packages import Packages
from nugetproxy.engine.pins import Pins
from nugetproxy.engine.prober import Prober
from nugetproxy.engine.pulse import Pulse
from nugetproxy.engine.scrub import Scrub
from nugetproxy.engine.tasks import Tasks
from nugetproxy.feeds.feed import Feed
from nugetproxy.feeds.files import Files, Site
from nugetproxy.feeds.folder_feed import FolderFeed
from nugetproxy.feeds.push import Push, PushSettings
from nugetproxy.feeds.rendering import HotPages
from nugetproxy.feeds.sides import NoWrites
from nugetproxy.feeds.symbols import Symbols, SymbolSource
from nugetproxy.feeds.synthesis import Synthesis
from nugetproxy.feeds.tools import Tools
from nugetproxy.log import register_secret
from nugetproxy.metrics import Metrics
from nugetproxy.store.catalog import Catalog
from nugetproxy.store.entries import DiskEntries
from nugetproxy.store.folder import PackageFolder
from nugetproxy.store.fs import FsOps
from nugetproxy.store.library import Library
from nugetproxy.store.lock import DirectoryLock
from nugetproxy.upstream.client import UpstreamClient
from nugetproxy.upstream.settings import UpstreamSettings
from nugetproxy.web.edge import Edge, Published
from nugetproxy.web.ops import Ops
from nugetproxy.web.public import PublicAddresses
from nugetproxy.web.sending import Sender
from nugetproxy.web.writes import Writes

log = structlog.get_logger(__name__)

FIRST_SYNC = 2.0
"""Seconds that the start waits for a catalog to know all that is held; a large one is completed in the background."""

SITE_MEMORY = 4 * 2**20
"""Of what a site answered last, so many bytes are kept in memory."""

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
    entries: DiskEntries
    lock: DirectoryLock
    tasks: Tasks
    housekeeping: Housekeeping
    prober: Prober
    sites: Mapping[str, Site]
    """What is published beside the feeds, by the first word of its path."""
    scrub: Scrub
    pulse: Pulse

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self.lock.acquire)
        await self.entries.open(self.config.cache.path / "entries")
        for feed in self.feeds.values():
            await feed.packages.folder.prepare()
            await feed.packages.catalog.open(self.config.cache.path / feed.name / "catalog.db")
            with suppress(TimeoutError):
                async with asyncio.timeout(FIRST_SYNC):
                    await feed.packages.sync_catalog()
        for folder in self.folders.values():
            await folder.library.open(self.config.cache.path / folder.name)
        return self

    def start_background(self) -> None:
        """Begin what a running proxy does unasked: housekeeping, fetching the service indexes."""
        self.tasks.start(self.housekeeping.run(), name="housekeeping")
        self.tasks.start(self.prober.run(), name="prober")
        self.tasks.start(self.scrub.run(), name="scrub")
        self.tasks.start(self.pulse.run(), name="pulse")
        for feed in self.feeds.values():
            secure = self.config.server.public_url.startswith("https:")
            self.tasks.start(feed.begin(secure=secure), name=f"service index of {feed.name}")
            self.tasks.start(feed.packages.keep_catalog(), name=f"catalog of {feed.name}")
        for folder in self.folders.values():
            self.tasks.start(folder.watch(), name=f"folder {folder.name}")

    async def __aexit__(self, *_: object) -> None:
        await self.tasks.stop()
        await self.housekeeping.finish()
        await self.scrub.finish()
        for feed in self.feeds.values():
            await feed.upstream.close()
            await feed.packages.folder.close()
            await feed.packages.catalog.close()
        for folder in self.folders.values():
            await folder.library.close()
        for site in set(self.sites.values()):
            await site.close()
        await self.entries.close()
        await asyncio.to_thread(self.lock.release)


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
    fs = fs or FsOps()
    metrics = Metrics()
    shared = _Shared(
        config=config,
        clock=clock or Clock(),
        fs=fs,
        resolver=resolver,
        jitter=jitter,
        metrics=metrics,
        tasks=Tasks(),
        entries=DiskEntries(metrics=metrics, fs=fs),
        pages=HotPages(config.cache.hot_memory // 2),
    )
    remote = {name: _remote(name, one, shared) for name, one in config.upstreams.items() if one.folder is None}
    feeds = {name: one.feed for name, one in remote.items()}
    folders = {
        name: _folder_feed(name, one.folder, shared) for name, one in config.upstreams.items() if one.folder is not None
    }
    built = {name: remote.get(name) or Published(folders[name], NO_WRITES) for name in config.upstreams}
    ops = Ops({name: one.feed for name, one in built.items()}, metrics, metrics_from=config.server.metrics_from)
    sites = _sites(shared)
    return App(
        config=config,
        edge=_edge(built, sites, ops, shared),
        ops=ops,
        metrics=metrics,
        feeds=feeds,
        sites=sites,
        folders=folders,
        entries=shared.entries,
        lock=DirectoryLock(config.cache.path, forced=config.cache.force_network_filesystem),
        tasks=shared.tasks,
        housekeeping=_housekeeping(feeds, shared),
        prober=Prober(tuple(feed.upstream for feed in feeds.values()), shared.clock),
        pulse=Pulse(shared.clock, metrics),
        scrub=Scrub(
            tuple(feed.packages for feed in feeds.values()),
            shared.entries,
            rate=config.cache.scrub_rate,
            clock=shared.clock,
            metrics=metrics,
        ),
    )


def _edge(built: Mapping[str, Published], sites: Mapping[str, Site], ops: Ops, shared: _Shared) -> Edge:
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


def _sites(shared: _Shared) -> Mapping[str, Site]:
    """The symbol server and the tools, where they are configured."""
    config = shared.config
    sites: dict[str, Site] = {}
    sources = [SymbolSource(url, _files(url, shared)) for url in config.symbols.urls]
    if sources:
        sites["symbols"] = Symbols(sources)
    if config.tools.url:
        sites["tools"] = sites["tools.json"] = Tools(config.tools.url, _files(config.tools.url, shared), shared.clock)
    return sites


def _files(url: str, shared: _Shared) -> Files:
    """The files of an upstream that is no feed; it is called as its host."""
    config = shared.config
    settings = UpstreamSettings(
        name=urlsplit(url).netloc,
        index_url=url,
        max_document=config.limits.document,
        max_package=config.limits.package,
    )
    client = UpstreamClient(settings, clock=shared.clock, metrics=shared.metrics, resolver=shared.resolver)
    cache = Cache(
        client,
        shared.entries,
        policies=config.policies(),
        clock=shared.clock,
        metrics=shared.metrics,
        tasks=shared.tasks,
        hot_bytes=SITE_MEMORY,
    )
    return Files(client, cache, shared.clock)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shared:
    """What all upstreams have in common."""

    config: Config
    clock: Clock
    fs: FsOps
    resolver: AbstractResolver | None
    jitter: float
    metrics: Metrics
    tasks: Tasks
    entries: DiskEntries
    pages: HotPages


def _housekeeping(feeds: Mapping[str, Feed], shared: _Shared) -> Housekeeping:
    return Housekeeping(
        tuple(feed.packages for feed in feeds.values()),
        shared.entries,
        max_packages=shared.config.cache.max_size,
        max_documents=shared.config.cache.max_documents,
        clock=shared.clock,
    )


@dataclass(frozen=True, slots=True)
class _Remote(Published):
    """The feed of a remote upstream, with its write side."""

    feed: Feed
    push: Push


def _folder_feed(name: str, root: Path, shared: _Shared) -> FolderFeed:
    """The feed of a folder of packages."""
    clock = shared.clock
    catalog = Catalog(fs=shared.fs, clock=clock)
    library = Library(name, root, catalog, fs=shared.fs, metrics=shared.metrics, clock=clock)
    return FolderFeed(name, library=library, synthesis=Synthesis(name, catalog), clock=clock)


def _remote(name: str, upstream: Upstream, shared: _Shared) -> _Remote:
    """The feed of one remote upstream, with its write side."""
    config, clock, metrics, tasks = shared.config, shared.clock, shared.metrics, shared.tasks
    root = config.cache.path / name
    client = UpstreamClient(_settings(name, upstream, config), clock=clock, metrics=metrics, resolver=shared.resolver)
    cache = Cache(
        client,
        shared.entries,
        policies=config.policies(),
        clock=clock,
        metrics=metrics,
        tasks=tasks,
        offline=upstream.offline,
        jitter=shared.jitter,
        hot_bytes=config.cache.hot_memory // (2 * len(config.upstreams)),
    )
    folder = PackageFolder(root, fs=shared.fs, metrics=metrics, upstream=name)
    pins = Pins(shared.entries, name, clock)
    catalog = Catalog(fs=shared.fs, clock=clock)
    feed = Feed(
        name,
        upstream=client,
        index_url=upstream.url,
        cache=cache,
        packages=Packages(client, folder, pins, catalog, clock=clock, metrics=metrics, tasks=tasks),
        entries=shared.entries,
        pages=shared.pages,
        synthesis=Synthesis(name, catalog),
        clock=clock,
        offline=upstream.offline,
        held_only=upstream.offline_versions == "held",
    )
    settings = PushSettings(
        push=upstream.push, delete=upstream.delete, offline=upstream.offline, max_bytes=config.limits.push
    )
    return _Remote(feed, Push(client, cache, feed.services, settings=settings, spool=root / "staging"))


def _addresses(config: Config) -> PublicAddresses:
    server = config.server
    return PublicAddresses(
        public_url=server.public_url, allowed_hosts=server.allowed_hosts, trusted_proxies=server.trusted_proxies
    )


def _settings(name: str, upstream: Upstream, config: Config) -> UpstreamSettings:
    for secret in upstream.secret_values():
        register_secret(secret)
    return UpstreamSettings(
        name=name,
        index_url=upstream.url,
        headers=upstream.request_headers(),
        hosts=frozenset(upstream.hosts),
        credential_origins=frozenset(upstream.credential_origins),
        internal=upstream.internal,
        offline=upstream.offline,
        tries=upstream.tries,
        connect_timeout=upstream.connect_timeout,
        read_timeout=upstream.read_timeout,
        document_deadline=upstream.document_deadline,
        max_document=config.limits.document,
        max_package=config.limits.package,
        connections=upstream.connections,
        breaker_failures=upstream.breaker_failures,
        breaker_open=upstream.breaker_open,
        breaker_max=upstream.breaker_max,
        ca_file=str(Path(upstream.ca_file).expanduser()) if upstream.ca_file else None,
    )
