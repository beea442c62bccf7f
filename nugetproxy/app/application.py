"""Application is everything that runs for one configuration: it opens, starts and closes it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from functools import partial
from typing import Self

from msgspec import Struct, field

from nugetproxy.admin.desk import Desk
from nugetproxy.admin.tokens import Tokens
from nugetproxy.app.descriptors import Descriptors
from nugetproxy.app.folders import name_leftovers, settle_folders, settle_ledger
from nugetproxy.app.replicas import Replicas
from nugetproxy.app.shared import Shared
from nugetproxy.clock import Clock
from nugetproxy.config import Config
from nugetproxy.engine.held_entries import enter_held, keep_entering
from nugetproxy.engine.housekeeping import Housekeeping
from nugetproxy.engine.lock_watch import LockWatch
from nugetproxy.engine.loop_watch import LoopWatch
from nugetproxy.engine.packages import Packages
from nugetproxy.engine.prober import Prober
from nugetproxy.engine.room import Room
from nugetproxy.engine.scrub import Scrub
from nugetproxy.engine.tasks import Tasks
from nugetproxy.feeds.claims import Claims
from nugetproxy.feeds.feed import Feed
from nugetproxy.feeds.files import Site
from nugetproxy.feeds.rulebook import watching
from nugetproxy.feeds.withdrawals import Withdrawals
from nugetproxy.metrics import Metrics
from nugetproxy.off_loop import CHILD
from nugetproxy.sources.remote import RemoteSource
from nugetproxy.sources.source import Source
from nugetproxy.store.documents.documents import Documents
from nugetproxy.store.file_watch import FileWatch
from nugetproxy.store.fs import FsOps
from nugetproxy.store.history.history import History
from nugetproxy.store.ledger.ledger import Ledger
from nugetproxy.store.lock import FORMAT
from nugetproxy.store.takeover import is_old, take_over
from nugetproxy.upstream.client import UpstreamClient
from nugetproxy.web import http as web
from nugetproxy.web.admission import Admission
from nugetproxy.web.edge import Edge
from nugetproxy.web.lane import Lane
from nugetproxy.web.ops import Ops

Retired = UpstreamClient | Site | Source
"""What is closed once nobody uses it any more: of a remote source its client."""


class App(Struct, kw_only=True):
    """Everything that runs for one configuration; an asynchronous context manager.

    Entering it locks and opens the store (raises StoreUnusable where that cannot be), leaving it stops every
    background task and closes what was opened.
    """

    config: Config
    shared: Shared
    edge: Edge
    lane: Lane
    ops: Ops
    admission: Admission
    tokens: Tokens
    desk: Desk
    watch: FileWatch
    metrics: Metrics
    sources: Mapping[str, Source]
    feeds: Mapping[str, Feed]
    claims: Claims
    documents: Documents
    ledger: Ledger
    history: History
    lock: LockWatch
    fs: FsOps
    clock: Clock
    tasks: Tasks
    housekeeping: Housekeeping
    room: Room
    prober: Prober
    sites: Mapping[str, Site]
    """What is published beside the feeds, by the first word of its path."""
    scrub: Scrub
    descriptors: Descriptors
    loop_watch: LoopWatch
    branches: dict[str, Tasks] = field(default_factory=dict)
    """The background tasks of each source, once they have begun."""
    resting: dict[str, Source] = field(default_factory=dict)
    """Sources that are not configured any more: one may be again, and what reads of it is not disturbed."""
    retired: list[Retired] = field(default_factory=list)
    """Belong to an earlier configuration; somebody may still be using them."""
    replicas: Replicas | None = None

    async def __aenter__(self) -> Self:
        path = self.config.cache.path
        await self.lock.acquire()
        await settle_folders(self.config)
        await self.ledger.open(path, fresh=self.lock.format < FORMAT)
        if is_old(path):
            urls = {name: one.url for name, one in self.config.upstreams.items() if one.folder is None}
            await take_over(self.fs, path, self.ledger, urls, self.clock.now())
        await settle_ledger(self.config, self.ledger)
        await self.lock.write_format()
        self.shared.provenance.begin(path)
        await self.history.open(path)
        await self.tokens.load()
        self.tokens.watchers.append(self._end_streams)  # who looks at the page may not any more
        await self.room.kept.ready()
        await self.documents.open(path / "documents")
        for source in self.sources.values():
            await source.open()
        return self

    @property
    def packages(self) -> Mapping[str, Packages]:
        """What is held of remote sources, by their names."""
        return {name: source.packages for name, source in self.sources.items() if isinstance(source, RemoteSource)}

    def start_background(self) -> None:
        """Begin what a running proxy does unasked: housekeeping, fetching the service indexes."""
        self.tasks.start(name_leftovers(self.config), name="leftovers")
        self.tasks.keep(self.housekeeping.run, name="housekeeping")
        self.tasks.keep(self.room.run, name="room")
        self.tasks.keep(self.shared.expiry.run, name="expiry")
        self.tasks.keep(self.prober.run, name="prober")
        self.tasks.keep(self.scrub.run, name="scrub")
        self.tasks.keep(self.loop_watch.run, name="loop_watch")
        self.tasks.keep(self.lock.run, name="lock")
        self.tasks.keep(self.tokens.learn, name="tokens")
        self.tasks.keep(self.watch.run, name="files")
        self.tasks.keep(self.history.run, name="history")
        self.tasks.keep(partial(keep_entering, self.shared.provenance, self.clock), name="provenance")
        if self.replicas is not None:
            self.replicas.start(self.claims, self.tokens)
        if self.config.mirror.ids:
            from nugetproxy.app.mirroring import keep_mirrored

            self.tasks.keep(partial(keep_mirrored, self.config, lambda: self.desk, self.clock), name="mirror")
        for source in self.sources.values():
            self.start_source(source)

    def start_source(self, source: Source) -> None:
        """Begin what a source does unasked."""
        branch = self.branches[source.name] = self.tasks.branch()
        source.start(branch, secure=self.config.server.is_secure)
        if isinstance(source, RemoteSource):
            entering = enter_held(source.packages, self.shared.provenance, self.clock)
            branch.start(entering, name=f"provenance {source.name}")
            if not source.offline:
                branch.keep(self.withdrawals_of(source).run, name=f"withdrawn {source.name}")

    def withdrawals_of(self, source: RemoteSource) -> Withdrawals:
        """What notices that the source has withdrawn versions, also of feeds without rules."""
        dossiers = watching(source, self.shared.pages, self.ledger, self.clock, self.metrics)
        return Withdrawals(source, dossiers, self.ledger, self.clock)

    def _end_streams(self) -> None:
        self.edge.end_streams()

    def answer(self, request: web.BaseRequest) -> Awaitable[web.StreamResponse]:
        """Answer one request by the configuration of now."""
        return self.edge(request)

    async def operate(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one that came in by a socket that only operators can reach."""
        return await self.edge.operate(request)

    async def command(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one that came in by the socket in the cache directory."""
        return await self.edge.command(request)

    async def __aexit__(self, *_: object) -> None:
        if self.replicas is not None:
            await self.replicas.finish()
        await self.tasks.stop()
        if self.replicas is not None:
            await self.replicas.close()
        await self.housekeeping.finish()
        self.scrub.finish()
        for one in (*self.sources.values(), *self.resting.values(), *set(self.sites.values()), *self.retired):
            await one.close()
        await CHILD.end()
        await self.documents.close()
        await self.history.close()
        if self.shared.tracer is not None:
            await asyncio.to_thread(self.shared.tracer.close)
        await asyncio.to_thread(self.shared.provenance.close)
        await self.ledger.close()
        await self.lock.release()
