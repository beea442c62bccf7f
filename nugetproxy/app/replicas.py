"""Replicas are built here: what this one shares with the others, where that is configured."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import Final

import structlog

from nugetproxy.admin.tokens import Tokens
from nugetproxy.clock import Clock
from nugetproxy.cluster.engines import Coordinator, EngineUnavailable, ObjectStore
from nugetproxy.cluster.gate import Background
from nugetproxy.cluster.second_level import SecondLevel
from nugetproxy.config import Config
from nugetproxy.config.cluster import Cluster
from nugetproxy.engine.cache import Cache
from nugetproxy.engine.repeats import Repeats
from nugetproxy.engine.shared_documents import SharedDocuments
from nugetproxy.engine.shared_packages import SharedPackages, Uploads
from nugetproxy.engine.shared_truth import SharedTruth
from nugetproxy.engine.tasks import Tasks
from nugetproxy.errors import ConfigError
from nugetproxy.feeds.claims import Claims
from nugetproxy.log import register_secret
from nugetproxy.metrics import Metrics
from nugetproxy.store.ledger.ledger import Ledger, LedgerUnavailable

log = structlog.get_logger(__name__)

AGAIN: Final = 1.0
"""Seconds until announcements are listened for again."""
LAST_SECONDS: Final = 5.0
"""How long a stop waits for what is on its way to the engines."""
ON_ITS_WAY: Final = frozenset({"share", "upload"})
"""Tasks, by the first words of their names."""


class Replicas:
    """This replica among the others."""

    def __init__(self, config: Config, ledger: Ledger, clock: Clock, metrics: Metrics, tasks: Tasks) -> None:
        """Raises ConfigError where a package is missing that the engines need, or a secret."""
        self.store, self.coordinator = engines(config.cluster, clock, metrics, partial(tasks.start, name="engine"))
        self._caches: dict[str, Cache] = {}
        """By the names of their sources; told of others' writes."""
        self._origins: dict[str, str] = {}
        self.uploads = Uploads(metrics)
        self.repeats = Repeats(tasks, clock)
        self._clock = clock
        self._metrics = metrics
        self._tasks = tasks
        self.second = SecondLevel(
            self.store,
            self.coordinator,
            origins=self._origins,
            clock=clock,
            metrics=metrics,
            told=self._told,
        )

        self.truth = SharedTruth(self.store, self.coordinator, ledger, clock) if self.store is not None else None
        """What all replicas decide together; None without a bucket."""

    def claimed(self) -> None:
        """This replica has a claim that the others must know of."""
        if self.truth is not None:
            self.truth.wanted.set()

    def join(self, source: str, feed: str, cache: Cache) -> None:
        """A source of this replica, with the feed that it is."""
        self._origins[source] = feed
        self._caches[source] = cache

    def _told(self, source: str, id_: str, at: float | None) -> None:
        cache = self._caches.get(source)
        if cache is not None:
            cache.note_other_write(id_, at)

    def documents(self, source: str) -> SharedDocuments:
        """Those of one source."""
        return SharedDocuments(self.second, source, self.repeats, tasks=self._tasks, clock=self._clock)

    def packages(self, source: str) -> SharedPackages:
        """Those of one source."""
        return SharedPackages(
            self.second,
            source,
            self.uploads,
            self.repeats,
            tasks=self._tasks,
            clock=self._clock,
            metrics=self._metrics,
        )

    def start(self, claims: Claims, tokens: Tokens) -> None:
        """Begin what a replica does unasked; no start waits for an engine."""
        if self.truth is not None:
            self._tasks.keep(self._examine, name="examine")
            self._tasks.keep(partial(self._agree, self.truth, claims, tokens), name="truth")
        if self.coordinator is not None:
            self._tasks.keep(self._listen, name="announcements")

    async def _examine(self) -> None:
        await self.second.examine()
        self.claimed()

    async def _agree(self, truth: SharedTruth, claims: Claims, tokens: Tokens) -> None:
        while True:
            try:
                await truth.settle_tokens()  # first: a bucket that takes nothing still says which are revoked
                await tokens.load()
                # Who lets two writers win would let two replicas decide differently.
                if self.second.honesty is not None and await truth.settle_claims():
                    await claims.reload()
            except (EngineUnavailable, LedgerUnavailable) as error:
                log.debug("truth.unsettled", detail=str(error))
            await truth.due()

    async def _listen(self) -> None:
        while True:
            async for said in self.second.announcements():
                if said == "truth":
                    self.claimed()
            await self._clock.sleep(AGAIN)

    async def finish(self) -> None:
        """Bring what is on its way into the bucket, a last time what it has not taken, for a limited time."""
        under_way = [task for task in self._tasks.running() if task.get_name().partition(" ")[0] in ON_ITS_WAY]
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_SECONDS):
                if under_way:
                    await asyncio.wait(under_way)
                await self.repeats.once()

    async def close(self) -> None:
        """End the connections to the engines."""
        if self.coordinator is not None:
            await self.coordinator.close()


def engines(
    cluster: Cluster, clock: Clock, metrics: Metrics, background: Background | None = None
) -> tuple[ObjectStore | None, Coordinator | None]:
    """What is configured; nothing is asked, one that was lost is tried in the ``background``. Raises ConfigError."""
    try:
        store = _bucket(cluster, clock, metrics, background) if cluster.store else None
        coordinator = _coordinator(cluster, clock, metrics, background) if cluster.coordination else None
    except ImportError as error:
        raise ConfigError(
            (f"cluster: needs the package {error.name}; install it with: pip install 'nugetproxy[cluster]'",)
        ) from error
    except ValueError as error:
        raise ConfigError((f"cluster: {error}",)) from error
    return store, coordinator


def _bucket(cluster: Cluster, clock: Clock, metrics: Metrics, background: Background | None) -> ObjectStore:
    # Imported here: whoever shares nothing needs none of it.
    from nugetproxy.cluster.bucket import Bucket, Place

    key, secret = (one.reveal() if one is not None else "" for one in (cluster.store_key, cluster.store_secret))
    if secret:
        register_secret(secret)
    place = Place(url=cluster.store, endpoint=cluster.endpoint, region=cluster.region, key_id=key, secret=secret)
    return Bucket(place, clock, metrics, background)


def _coordinator(cluster: Cluster, clock: Clock, metrics: Metrics, background: Background | None) -> Coordinator:
    from nugetproxy.cluster.coordinator import RedisCoordinator

    password = cluster.coordination_password.reveal() if cluster.coordination_password is not None else ""
    if password:
        register_secret(password)
    return RedisCoordinator(cluster.coordination, password, "nugetproxy", clock, metrics, background=background)
