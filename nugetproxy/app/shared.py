"""Shared is what all upstreams of one configuration have in common."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Final, TypedDict

from aiohttp.abc import AbstractResolver
from msgspec import Struct

from nugetproxy.admin.desk import Watched
from nugetproxy.app.descriptors import Descriptors, share_out
from nugetproxy.app.replicas import Replicas
from nugetproxy.app.traces import tracer_of
from nugetproxy.clock import Clock
from nugetproxy.config import Config
from nugetproxy.engine.expiry import Expiry
from nugetproxy.engine.kept import Kept
from nugetproxy.engine.room import Room
from nugetproxy.engine.tasks import Tasks
from nugetproxy.feeds.kept_pages import KeptPages
from nugetproxy.feeds.rendering import HotPages
from nugetproxy.metrics import Metrics
from nugetproxy.store.documents.documents import Documents
from nugetproxy.store.fs import FsOps
from nugetproxy.store.history.history import History
from nugetproxy.store.ledger.ledger import Ledger
from nugetproxy.store.packages.retention import Retention
from nugetproxy.store.provenance.provenance import Provenance
from nugetproxy.web.access import Tracer


class Shared(Struct, frozen=True, kw_only=True):
    """What all upstreams have in common."""

    config: Config
    clock: Clock
    fs: FsOps
    resolver: AbstractResolver | None
    jitter: float
    metrics: Metrics
    tasks: Tasks
    documents: Documents
    ledger: Ledger
    provenance: Provenance
    history: History
    tracer: Tracer | None
    pages: HotPages
    descriptors: Descriptors
    room: Room
    expiry: Expiry
    replicas: Replicas | None = None


class Hot(StrEnum):
    """What is kept in memory because it was used a short while ago."""

    PAGES = "finished documents"
    LANE = "answers that are sent as they are"
    DOCUMENTS = "stored documents"
    PACKAGES = "small packages"


_EIGHTHS: Final = {Hot.PAGES: 3, Hot.LANE: 2, Hot.DOCUMENTS: 2, Hot.PACKAGES: 1}
"""Of ``cache.hot_memory``, which is what all of them take together."""


def hot_bytes(config: Config, what: Hot) -> int:
    """The part of ``cache.hot_memory`` that is for ``what``."""
    return config.cache.hot_memory * _EIGHTHS[what] // 8


class _Limits(TypedDict):
    max_size: int
    min_free: Callable[[int], int]
    retention: Retention


def room_limits(config: Config) -> _Limits:
    """What may be held."""
    cache = config.cache
    retention = Retention(unused_for=cache.unused_for, keep_last=cache.keep_last)
    return {"max_size": cache.max_size, "min_free": cache.min_free.of, "retention": retention}


def shared_of(config: Config, clock: Clock, fs: FsOps, resolver: AbstractResolver | None, jitter: float) -> Shared:
    """What all parts have in common."""
    metrics = Metrics()
    cache, documents = config.cache, Documents(metrics=metrics, fs=fs)
    large, ledger = KeptPages(documents, clock), Ledger(fs=fs, clock=clock)
    tasks = Tasks(clock, metrics)
    return Shared(
        config=config,
        clock=clock,
        fs=fs,
        resolver=resolver,
        jitter=jitter,
        metrics=metrics,
        tasks=tasks,
        replicas=Replicas(config, ledger, clock, metrics, tasks) if config.cluster.is_used else None,
        documents=documents,
        ledger=ledger,
        provenance=Provenance(fs=fs, clock=clock),
        history=_history(config, clock, fs, metrics),
        tracer=tracer_of(config.log.traces),
        pages=HotPages(hot_bytes(config, Hot.PAGES), large, most_links=config.limits.document_links),
        descriptors=share_out(config),
        expiry=Expiry(clock, metrics),
        room=Room(cache.path, **room_limits(config), metrics=metrics, kept=Kept(ledger, clock), clock=clock),
    )


def _history(config: Config, clock: Clock, fs: FsOps, metrics: Metrics) -> History:
    kept = config.history
    return History(fs=fs, clock=clock, metrics=metrics, restores=kept.restores, usage=kept.usage)


def watched(shared: Shared) -> tuple[Watched, ...]:
    """What may have problems that operators must know of."""
    second = (shared.replicas.second,) if shared.replicas is not None else ()
    return (shared.ledger, shared.provenance, shared.room, shared.expiry, *second)
