"""Traces sends a span per request to a collector of OpenTelemetry, with the optional extra ``nugetproxy[otel]``."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from nugetproxy import __version__
from nugetproxy.errors import ConfigError
from nugetproxy.upstream.asking import Asking
from nugetproxy.web.access import AccessEvent, Tracer

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

SECOND: Final = 1_000_000_000
"""In the unit of spans."""
END_SECONDS: Final = 2.0
"""What is still to be sent at a stop gets so long."""
MISSING: Final = "log.traces: the libraries for it are missing; install nugetproxy[otel], or leave it empty"


def tracer_of(endpoint: str) -> Tracer | None:
    """What spans are given to; None without an ``endpoint`` (an OTLP collector's URL). Raises ConfigError."""
    if not endpoint:
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError as error:
        raise ConfigError((MISSING,)) from error
    return Traces(OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces"))


class Traces:
    """Makes spans of what access events say; a thread of the library sends them, in batches."""

    def __init__(self, exporter: SpanExporter) -> None:
        from opentelemetry import trace
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        resource = Resource.create({"service.name": "nugetproxy", "service.version": __version__})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("nugetproxy", __version__)
        self._parent = TraceContextTextMapPropagator()
        self._trace = trace

    def note(self, event: AccessEvent, size: int, asked: Asking) -> None:
        """A request was answered just now; its parent is what it named itself (``traceparent``)."""
        end, now = time.time_ns(), time.perf_counter()  # one moment, so that what lies in it stays in it
        trace = self._trace
        span = self._tracer.start_span(
            f"{event.method} {event.kind}",
            context=self._parent.extract({"traceparent": event.traceparent}) if event.traceparent else None,
            kind=trace.SpanKind.SERVER,
            start_time=end - int((now - asked.began) * SECOND),
            attributes=_attributes(event, size),
        )
        if event.status >= 500:
            span.set_status(trace.Status(trace.StatusCode.ERROR, event.detail))
        for began, ended in asked.waits:
            inner = self._tracer.start_span(
                "upstream",
                context=trace.set_span_in_context(span),
                kind=trace.SpanKind.CLIENT,
                start_time=end - int((now - began) * SECOND),
            )
            inner.end(end_time=end - int((now - ended) * SECOND))
        span.end(end_time=end)

    def close(self) -> None:
        """Send what is still to be sent, for a short while; blocks."""
        self._provider.force_flush(int(END_SECONDS * 1000))
        self._provider.shutdown()


def _attributes(event: AccessEvent, size: int) -> dict[str, Any]:
    said = {
        "http.request.method": event.method,
        "http.response.status_code": event.status,
        "http.response.body.size": size,
        "url.path": event.path,
        "client.address": event.client,
        "nuget.feed": event.feed,
        "nuget.id": event.id,
        "nuget.version": event.version,
        "nuget.session": event.session[:64],
        "cache.outcome": event.outcome,
        "error.type": event.reason,
    }
    return {name: value for name, value in said.items() if value != ""}
