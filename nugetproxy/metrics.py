"""Metrics are the prometheus instruments that every floor may count on."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

PREFIX = "nugetproxy"
LABELS = ("upstream", "kind", "outcome", "status")


BUCKETS = (0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0, math.inf)
UPSTREAM_BUCKETS = (0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 15.0, math.inf)


class Requests(Collector):
    """Counts of answered requests, for one event loop: plain numbers, made into samples when somebody reads them.

    Three instruments of the library, each with its lock, would cost a hit a twentieth of its time.
    """

    def __init__(self) -> None:
        self._requests: dict[tuple[str, str, str, int], int] = {}
        self._kinds: dict[str, _Kind] = {}

    def declare(self, upstream: str, kind: str, outcome: str, status: int) -> None:
        """From now on there is a number for it, 0 until one is counted: of a first one a rate sees nothing else."""
        self._requests.setdefault((upstream, kind, outcome, status), 0)

    def count(self, upstream: str, kind: str, outcome: str, status: int, *, seconds: float, size: int) -> None:
        """One more; ``upstream`` is empty where no feed is asked, ``seconds`` since its request line, ``size`` of its
        body in bytes.
        """
        key = (upstream, kind, outcome, status)
        self._requests[key] = self._requests.get(key, 0) + 1
        totals = self._kinds.get(kind)
        if totals is None:
            totals = self._kinds[kind] = _Kind()
        totals.sent += size
        totals.seconds += seconds
        totals.within[bisect_left(BUCKETS, seconds)] += 1

    def outcomes(self) -> dict[str, int]:
        """Requests of feeds by outcome."""
        found: dict[str, int] = {}
        for (upstream, _, outcome, _), count in self._requests.items():
            if upstream and count:
                found[str(outcome)] = found.get(str(outcome), 0) + count
        return found

    @property
    def sent_bytes(self) -> int:
        """Body bytes sent to clients."""
        return sum(totals.sent for totals in self._kinds.values())

    def collect(self) -> Iterator[Metric]:
        """The library's hook: everything as samples."""
        requests = CounterMetricFamily(f"{PREFIX}_requests", "Requests answered.", labels=LABELS)
        for (upstream, kind, outcome, status), count in tuple(self._requests.items()):
            requests.add_metric((upstream, kind, outcome, str(status)), count)
        sent = CounterMetricFamily(f"{PREFIX}_sent_bytes", "Body bytes sent to clients.", labels=("kind",))
        what = "Time from request line to last body byte."
        latency = HistogramMetricFamily(f"{PREFIX}_request_seconds", what, labels=("kind",))
        for kind, totals in tuple(self._kinds.items()):
            sent.add_metric((kind,), totals.sent)
            upper = zip(map(floatToGoString, BUCKETS), accumulate(totals.within), strict=True)
            latency.add_metric((kind,), list(upper), totals.seconds)
        return iter((requests, sent, latency))


class Total(Collector):
    """A counter that somebody else counts; ``read`` says how far."""

    def __init__(self, name: str, text: str) -> None:
        self._name = name
        self._text = text
        self.read: Callable[[], int] = lambda: 0

    def collect(self) -> Iterator[Metric]:
        """The library's hook."""
        yield CounterMetricFamily(f"{PREFIX}_{self._name}", self._text, value=self.read())


_C = TypeVar("_C", bound=Collector)


@dataclass(slots=True)
class _Kind:
    sent: int = 0
    seconds: float = 0.0
    within: list[int] = field(default_factory=lambda: [0] * len(BUCKETS))


class Rules:
    """What the rules of feeds did."""

    def __init__(self, counter: Callable[..., Counter]) -> None:
        self.denied = counter("rule_denied", "Requests by name that a rule of a feed denied.", "rule")
        self.dry_run = counter("rule_dry_run", "Requests by name that a rule on trial would decide.", "rule")
        self.withdrawn = counter("withdrawn", "Served versions that their upstream has withdrawn.", "upstream")


class Metrics:
    """One registry and its instruments; labels use the words of ``Kind``, ``Outcome`` and ``Reason``.

    Sizes are bytes, durations seconds. A fresh instance per application, so tests see only their own counts.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Requests()
        self.registry.register(self.requests)
        self.received_bytes = self._counter("received_bytes", "Body bytes received from upstreams.", "upstream")
        self.upstream_requests = self._counter("upstream_requests", "Requests sent to upstreams.", "upstream", "method")
        self.upstream_retries = self._counter("upstream_retries", "Upstream requests tried again.", "upstream")
        self.upstream_resumes = self._counter("upstream_resumes", "Downloads resumed after a cut.", "upstream")
        self.upstream_failures = self._counter("upstream_failures", "Upstream failures.", "upstream", "reason")
        self.upstream_seconds = Histogram(
            "upstream_seconds",
            "Time from a request to an upstream to the headers of its answer.",
            ("upstream", "method"),
            namespace=PREFIX,
            registry=self.registry,
            buckets=UPSTREAM_BUCKETS,
        )
        self.shortages = self._counter("shortages", "Upstream requests that failed for want of our own.", "errno")
        self.breaker_open = self._gauge("breaker_open", "1 while the circuit breaker is open.", "upstream", "origin")
        self.flights = self._gauge("flights", "Downloads in progress.")
        self.pending_commits = self._gauge("pending_commits", "Verified packages that are not yet in their folder.")
        self.fills_abandoned = self._counter("fills_abandoned", "Downloads given up as every client had left.")
        self.collapsed = self._counter("collapsed", "Requests that joined a download or a fetch in progress.")
        self.integrity_failures = self._counter("integrity_failures", "Content that was refused.", "reason")
        self.responses_aborted = self._counter("responses_aborted", "Responses cut off on purpose.", "reason")
        self.task_failures = self._counter("task_failures", "Background tasks that ended unexpectedly.", "task")
        self.loop_lag = self._gauge("loop_lag_seconds", "How late the event loop was at the last beat.")
        self.loop_stalls = self._counter("loop_stalls", "Times that the event loop was a second late or more.")
        self.build_info = self._gauge("build_info", "1; what is running.", "version", "python", "aiohttp")
        self.descriptors = self._gauge("descriptors_limit", "Files that may be open, for each use of them.", "use")
        self.store_limit = self._gauge("store_limit_bytes", "Bytes that may be held on disk.", "part")
        self.store_free = self._gauge("store_free_bytes", "Bytes free on the file system of the cache.")
        self.connections = self._gauge("connections", "Connections of clients that are open.")
        self.rejected = self._counter("rejected", "Requests refused at the edge.", "reason")
        self.store_bytes = self._gauge("store_bytes", "Bytes held on disk.", "part")
        self.store_packages = self._gauge("store_packages", "Packages held on disk.")
        self.folder_packages = self._gauge("folder_packages", "Packages in a folder upstream.", "upstream")
        self.folder_skipped = self._gauge("folder_skipped", "Files in a folder upstream that are skipped.", "upstream")
        self.evicted_bytes = self._counter("evicted_bytes", "Bytes removed to make room.")
        self.max_size_beyond_disk = self._gauge(
            "max_size_beyond_disk_bytes", "By how much cache.max_size exceeds what the disk can give."
        )
        self.rules = Rules(self._counter)
        self.disk_errors = self._counter("disk_errors", "Failed disk operations.", "op", "errno")
        self.quarantined = self._counter("quarantined", "Damaged files set aside.", "reason")
        self.scrub_bytes = self._counter("scrub_bytes", "Bytes of held packages that were read to check them.")
        self.scrub_damaged = self._counter("scrub_damaged", "Damaged packages that the scrub found.")
        self.documents_rebuilds = self._counter("documents_rebuilds", "Times the document store was started afresh.")
        self.documents_poisoned = self._counter("documents_poisoned", "Rows of the document store that were refused.")
        self.documents_write_timeouts = self._counter("documents_write_timeouts", "Document writes dropped on a lock.")
        self.expires = self._gauge("expires_timestamp_seconds", "When it ends, as Unix time.", "what", "name")
        self.logs_dropped = self._registered(Total("logs_dropped", "Log lines dropped because nobody took them."))
        self.history_dropped = self._counter("history_dropped", "Requests that the history does not know of.")
        self.engine_open = self._gauge("engine_open", "1 while a shared engine is left alone as it fails.", "engine")
        self.engine_calls = self._counter("engine_calls", "Calls to shared engines.", "engine", "outcome")
        self.shared = self._counter("shared", "What was looked for on the second level.", "what", "outcome")
        self.announcements_live = self._gauge("announcements_live", "1 while other replicas can announce writes to us.")
        self.leases_kept = self._gauge("leases_kept", "1 while one replica at a time fetches a package.")
        self.uploads_waiting = self._gauge("uploads_waiting", "Packages that wait to be put into the bucket.")
        self.orphans_removed = self._counter("orphans_removed", "Leftovers of a crash removed at start.")

    def _registered(self, collector: _C) -> _C:
        self.registry.register(collector)
        return collector

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, namespace=PREFIX, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, labels, namespace=PREFIX, registry=self.registry)

    def exposition(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self.registry)
