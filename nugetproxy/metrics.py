"""Metrics are the prometheus instruments that every floor may count on."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

PREFIX = "nugetproxy"


class Metrics:
    """One registry and its instruments; labels use the words of ``Kind``, ``Outcome`` and ``Reason``.

    Sizes are bytes, durations seconds. A fresh instance per application, so tests see only their own counts.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = self._counter("requests", "Requests answered.", "kind", "outcome", "status")
        self.request_seconds = Histogram(
            "request_seconds",
            "Time from request line to last body byte.",
            ("kind",),
            namespace=PREFIX,
            registry=self.registry,
            buckets=(0.001, 0.005, 0.02, 0.1, 0.5, 2, 10, 60),
        )
        self.sent_bytes = self._counter("sent_bytes", "Body bytes sent to clients.", "kind")
        self.received_bytes = self._counter("received_bytes", "Body bytes received from upstreams.", "upstream")
        self.upstream_requests = self._counter("upstream_requests", "Requests sent to upstreams.", "upstream", "method")
        self.upstream_retries = self._counter("upstream_retries", "Upstream requests tried again.", "upstream")
        self.upstream_resumes = self._counter("upstream_resumes", "Downloads resumed after a cut.", "upstream")
        self.upstream_failures = self._counter("upstream_failures", "Upstream failures.", "upstream", "reason")
        self.breaker_open = self._gauge("breaker_open", "1 while the circuit breaker is open.", "upstream", "origin")
        self.flights = self._gauge("flights", "Downloads in progress.")
        self.collapsed = self._counter("collapsed", "Requests that joined a download in progress.")
        self.integrity_failures = self._counter("integrity_failures", "Content that was refused.", "reason")
        self.responses_aborted = self._counter("responses_aborted", "Responses cut off on purpose.", "reason")
        self.loop_lag = self._gauge("loop_lag_seconds", "How late the event loop was at the last beat.")
        self.loop_stalls = self._counter("loop_stalls", "Times that the event loop was a second late or more.")
        self.rejected = self._counter("rejected", "Requests refused at the edge.", "reason")
        self.store_bytes = self._gauge("store_bytes", "Bytes held on disk.", "part")
        self.store_packages = self._gauge("store_packages", "Packages held on disk.")
        self.folder_packages = self._gauge("folder_packages", "Packages in a folder upstream.", "upstream")
        self.folder_skipped = self._gauge("folder_skipped", "Files in a folder upstream that are skipped.", "upstream")
        self.evicted_bytes = self._counter("evicted_bytes", "Bytes removed to make room.")
        self.disk_errors = self._counter("disk_errors", "Failed disk operations.", "op", "errno")
        self.quarantined = self._counter("quarantined", "Damaged files set aside.", "reason")
        self.scrub_bytes = self._counter("scrub_bytes", "Bytes of held packages that were read to check them.")
        self.scrub_damaged = self._counter("scrub_damaged", "Damaged packages that the scrub found.")
        self.index_rebuilds = self._counter("index_rebuilds", "Times the document store was started afresh.")
        self.index_poisoned = self._counter("index_poisoned", "Rows of the document store that were refused.")
        self.index_write_timeouts = self._counter("index_write_timeouts", "Document writes dropped on a lock.")
        self.logs_dropped = self._gauge("logs_dropped", "Log lines dropped because nobody took them.")
        self.orphans_removed = self._counter("orphans_removed", "Leftovers of a crash removed at start.")

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, namespace=PREFIX, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, labels, namespace=PREFIX, registry=self.registry)

    def exposition(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self.registry)
