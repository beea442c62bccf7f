"""Metrics are the prometheus instruments that every floor may count on."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import TypeVar

from msgspec import Struct, field
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

PREFIX = "nugetproxy"
LABELS = ("upstream", "kind", "outcome", "status")


BUCKETS = (0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0, math.inf)
ENGINE_BUCKETS = (0.002, 0.01, 0.05, 0.2, 0.5, 1.0, 2.0, 10.0, math.inf)
UPSTREAM_BUCKETS = (0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 15.0, math.inf)


class _Kind(Struct):
    sent: int = 0
    seconds: float = 0.0
    within: list[int] = field(default_factory=lambda: [0] * len(BUCKETS))


class Alike:
    """Counts answered requests that have their labels in common."""

    __slots__ = ("_kind", "requests")

    def __init__(self, kind: _Kind) -> None:
        self.requests = 0
        self._kind = kind

    def count(self, seconds: float, size: int) -> None:
        """One more: ``seconds`` since its request line, ``size`` of its body in bytes."""
        self.requests += 1
        kind = self._kind
        kind.sent += size
        kind.seconds += seconds
        kind.within[0 if seconds <= BUCKETS[0] else bisect_left(BUCKETS, seconds)] += 1


class Requests(Collector):
    """Counts of answered requests, for one event loop: plain numbers, made into samples when somebody reads them.

    Three instruments of the library, each with its lock, would cost a hit a twentieth of its time.
    """

    def __init__(self) -> None:
        self._requests: dict[tuple[str, str, str, int], Alike] = {}
        self._kinds: dict[str, _Kind] = {}

    def declare(self, upstream: str, kind: str, outcome: str, status: int) -> None:
        """From now on there is a number for it, 0 until one is counted: of a first one a rate sees nothing else."""
        self.alike(upstream, kind, outcome, status)

    def count(self, upstream: str, kind: str, outcome: str, status: int, *, seconds: float, size: int) -> None:
        """One more; ``upstream`` is empty where no feed is asked, ``seconds`` since its request line, ``size`` of its
        body in bytes.
        """
        self.alike(upstream, kind, outcome, status).count(seconds, size)

    def alike(self, upstream: str, kind: str, outcome: str, status: int) -> Alike:
        """What counts those with these labels."""
        key = (upstream, kind, outcome, status)
        found = self._requests.get(key)
        if found is None:
            found = self._requests[key] = Alike(self._kinds.setdefault(kind, _Kind()))
        return found

    def outcomes(self) -> dict[str, int]:
        """Requests of feeds by outcome."""
        found: dict[str, int] = {}
        for (upstream, _, outcome, _), one in self._requests.items():
            if upstream and one.requests:
                found[str(outcome)] = found.get(str(outcome), 0) + one.requests
        return found

    @property
    def sent_bytes(self) -> int:
        """Body bytes sent to clients."""
        return sum(totals.sent for totals in self._kinds.values())

    def collect(self) -> Iterator[Metric]:
        """The library's hook: everything as samples."""
        requests = CounterMetricFamily(f"{PREFIX}_requests", "Requests answered.", labels=LABELS)
        for (upstream, kind, outcome, status), one in tuple(self._requests.items()):
            requests.add_metric((upstream, kind, outcome, str(status)), one.requests)
        sent = CounterMetricFamily(f"{PREFIX}_sent_bytes", "Body bytes sent to clients.", labels=("kind",))
        what = "Time from request line to last body byte."
        latency = HistogramMetricFamily(f"{PREFIX}_request_seconds", what, labels=("kind",))
        for kind, totals in tuple(self._kinds.items()):
            if not any(totals.within):  # only declared
                continue
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
        """The counter as it is now; the Prometheus client calls it for each scrape."""
        yield CounterMetricFamily(f"{PREFIX}_{self._name}", self._text, value=self.read())


_C = TypeVar("_C", bound=Collector)


class EngineCounts:
    """What became of the calls to one engine that replicas share."""

    def __init__(self) -> None:
        self.ok = self.failed = self.refused = 0
        """Answered; failed or too late; not made, since it is left alone."""
        self.is_open = False
        """Whether it is left alone."""
        self.seconds = 0.0
        """Of all calls together."""
        self.looked: dict[tuple[str, str], int] = {}
        """By what ("package", "document") with what came of it ("hit", "miss", "stored", "dropped", "refused")."""
        self.within = [0] * len(ENGINE_BUCKETS)

    def took(self, seconds: float) -> None:
        """A call has ended."""
        self.seconds += seconds
        self.within[bisect_left(ENGINE_BUCKETS, seconds)] += 1

    def note(self, what: str, outcome: str) -> None:
        """Something was looked for in it, or brought there."""
        self.looked[what, outcome] = self.looked.get((what, outcome), 0) + 1

    def total(self, outcome: str) -> int:
        """Of packages and documents."""
        return sum(count for (_, one), count in self.looked.items() if one == outcome)

    @property
    def mean(self) -> float | None:
        """Seconds of a call; None before the first one."""
        calls = sum(self.within)
        return self.seconds / calls if calls else None


class Engines(Collector):
    """The engines that replicas share, by name; none where nothing is shared."""

    def __init__(self) -> None:
        self.counts: dict[str, EngineCounts] = {}

    def of(self, engine: str) -> EngineCounts:
        """Those of one engine."""
        return self.counts.setdefault(engine, EngineCounts())

    def collect(self) -> Iterator[Metric]:
        """The library's hook: everything as samples."""
        calls = CounterMetricFamily(f"{PREFIX}_engine_calls", "Calls to shared engines.", labels=("engine", "outcome"))
        looked = ("engine", "what", "outcome")
        shared = CounterMetricFamily(f"{PREFIX}_shared", "What was looked for on the second level.", labels=looked)
        what = "1 while a shared engine is left alone as it fails."
        is_open = GaugeMetricFamily(f"{PREFIX}_engine_open", what, labels=("engine",))
        what = "Time of a call to a shared engine."
        latency = HistogramMetricFamily(f"{PREFIX}_engine_seconds", what, labels=("engine",))
        for engine, one in tuple(self.counts.items()):
            for outcome, count in (("ok", one.ok), ("failed", one.failed), ("refused", one.refused)):
                calls.add_metric((engine, outcome), count)
            for (kind, outcome), count in tuple(one.looked.items()):
                shared.add_metric((engine, kind, outcome), count)
            is_open.add_metric((engine,), one.is_open)
            upper = zip(map(floatToGoString, ENGINE_BUCKETS), accumulate(one.within), strict=True)
            latency.add_metric((engine,), list(upper), one.seconds)
        return iter((calls, shared, is_open, latency))


class Rules:
    """What the rules of feeds and the signatures of packages did."""

    def __init__(self, counter: Callable[..., Counter]) -> None:
        self.denied = counter("rule_denied", "Requests by name that a rule of a feed denied.", "rule")
        self.dry_run = counter("rule_dry_run", "Requests by name that a rule on trial would decide.", "rule")
        self.withdrawn = counter("withdrawn", "Served versions that their upstream has withdrawn.", "upstream")
        self.signatures = counter("signatures", "Verdicts over signatures of packages.", "upstream", "verdict")


class Metrics:
    """One registry and its instruments; labels use the words of ``Kind``, ``Outcome`` and ``Reason``.

    Sizes are bytes, durations seconds. A fresh instance per application, so tests see only their own counts.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = self._registered(Requests())
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
        self.unusable = self._gauge("upstream_unusable", "1 while its index or folder is of no use.", "upstream")
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
        self.engines = self._registered(Engines())
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
