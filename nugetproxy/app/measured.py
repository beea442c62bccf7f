"""Measured is what the metrics say from the start: limits, versions, the process, counters at 0."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterable
from contextlib import suppress
from errno import errorcode
from itertools import product

import aiohttp
from prometheus_client import ProcessCollector

from nugetproxy import __version__
from nugetproxy import log as logs
from nugetproxy.app.descriptors import Descriptors
from nugetproxy.config import Config
from nugetproxy.engine.outcome import Outcome
from nugetproxy.errors import Reason
from nugetproxy.metrics import Metrics
from nugetproxy.nuget.kinds import Kind
from nugetproxy.nuget.signatures.flaw import Flaw
from nugetproxy.upstream.failures import OURS

USUAL = ((Outcome.HIT, 200), (Outcome.MISS, 200), (Outcome.FAILED, 502), (Outcome.FAILED, 503))
"""What rates are made of."""
DISK_ERRORS = (
    *((op, errno) for op in ("create", "write", "fsync") for errno in ("ENOSPC", "EIO")),
    ("read", "EIO"),
    ("documents_set", "SQLITE_FULL"),
)
"""A full disk, a broken one."""
CUT = ("client_left", "client_stall", "upstream")
REFUSED = ("connections", "connections_per_ip", "malformed", "token_scope", "token_slowed", "token_wrong")
INTEGRITY = (Reason.INVALID_CONTENT, Reason.IDENTITY, Reason.ZIP, Reason.HASH, Reason.PIN)


class Process(ProcessCollector):
    """What it says of the process also where /proc shows processes alone, as in a sandbox (ProcSubset=pid)."""

    def _boot_time(self) -> float:
        return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)


def declare(metrics: Metrics, config: Config, descriptors: Descriptors) -> None:
    """Fill in what does not change, what is read when somebody asks, a 0 for all that may be counted."""
    declare_limits(metrics, config, descriptors)
    metrics.build_info.labels(__version__, platform.python_version(), aiohttp.__version__).set(1)
    Process(registry=metrics.registry)
    metrics.logs_dropped.read = logs.dropped
    metrics.store_free.set_function(lambda: _free(config.cache.path))
    for reason in CUT:
        metrics.responses_aborted.labels(reason)
    for reason in REFUSED:
        metrics.rejected.labels(reason)
    for op, errno in DISK_ERRORS:
        metrics.disk_errors.labels(op, errno)
    for kind_of_damage in INTEGRITY:
        metrics.integrity_failures.labels(kind_of_damage)
    for number in OURS:
        metrics.shortages.labels(errorcode[number])
    declare_upstreams(metrics, config)


def declare_upstreams(metrics: Metrics, config: Config) -> None:
    """The part of it that is about upstreams and feeds; may be done again."""
    for rule in (rule for feed in config.feeds.values() for rule in feed.rules):
        (metrics.rules.dry_run if rule.dry_run else metrics.rules.denied).labels(rule.name)
    for name, upstream in config.upstreams.items():
        if upstream.folder is None:
            _declare_upstream(metrics, name)
        for verdict in ("counts", *Flaw) if upstream.signatures != "off" else ():
            metrics.rules.signatures.labels(name, verdict)
    for name, kind in product(config.published, Kind):
        for outcome, status in USUAL:
            metrics.requests.declare(name, kind, outcome, status)


def forget_folders(metrics: Metrics, names: Iterable[str]) -> None:
    """Nobody looks into these any more, so there is nothing to say of what lies in them."""
    for name in names:
        for gauge in (metrics.folder_packages, metrics.folder_skipped, metrics.unusable):
            with suppress(KeyError):
                gauge.remove(name)


def declare_limits(metrics: Metrics, config: Config, descriptors: Descriptors) -> None:
    """The part of it that is about limits; may be done again."""
    for use, most in (("all", descriptors.limit), ("clients", descriptors.clients), ("held", descriptors.held)):
        metrics.descriptors.labels(use).set(most)
    metrics.store_limit.labels("packages").set(config.cache.max_size)
    metrics.store_limit.labels("documents").set(config.cache.max_documents)


def _declare_upstream(metrics: Metrics, name: str) -> None:
    for counter in (
        metrics.received_bytes,
        metrics.upstream_retries,
        metrics.upstream_resumes,
        metrics.rules.withdrawn,
    ):
        counter.labels(name)
    for reason in Reason:
        metrics.upstream_failures.labels(name, reason)
    for method in ("GET", "HEAD", "PUT", "POST", "DELETE"):
        metrics.upstream_requests.labels(name, method)


def _free(path: os.PathLike[str]) -> float:
    with suppress(OSError):
        state = os.statvfs(path)
        return float(state.f_bavail * state.f_frsize)
    return float("nan")
