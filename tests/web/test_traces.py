"""Traces: a span per request at a collector, with what was waited for upstreams; nothing of it without the extra."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from nugetproxy.app.traces import tracer_of
from nugetproxy.errors import ConfigError
from tests.conftest import StartProxy
from tests.fakes.asking import PACKAGE, SMALL, ask
from tests.fakes.feed import FakeFeed
from tests.fakes.origin import Origin, Script

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def spans(origin: Origin) -> list[Any]:
    """All that the collector got."""
    wire = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2", reason="nugetproxy[otel]")
    found = []
    for seen in origin.requests:
        assert (seen.method, seen.path) == ("POST", "/v1/traces")
        for resource in wire.ExportTraceServiceRequest.FromString(seen.body).resource_spans:
            found += [span for scope in resource.scope_spans for span in scope.spans]
    return found


def said(span: Any) -> dict[str, Any]:
    return {one.key: one.value.string_value or one.value.int_value for one in span.attributes}


async def test_a_request_is_a_span_with_the_upstream_in_it(
    start_proxy: StartProxy, feed: FakeFeed, origin: Origin
) -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="nugetproxy[otel] is not installed")
    feed.add(SMALL)
    origin.routes["/v1/traces"] = Script()
    proxy = await start_proxy(feed.index_url, log={"traces": origin.url})
    await ask(proxy, PACKAGE, headers={"traceparent": PARENT})
    for _ in range(3):
        await ask(proxy, PACKAGE)
    await ask(proxy, "/health/live")
    await feed.set_mode("5xx")
    await ask(proxy, "/v3/content/acme.z/index.json")
    await proxy.stop()
    found = spans(origin)
    servers = [span for span in found if span.name != "upstream"]
    assert [said(span)["cache.outcome"] for span in servers] == ["miss", "hit", "hit", "hit", "failed"]
    miss, failed = servers[0], servers[-1]
    assert miss.name == "GET package"
    assert (miss.trace_id.hex(), miss.parent_span_id.hex()) == tuple(PARENT.split("-")[1:3])
    assert said(miss)["nuget.id"] == "acme.a"
    inner = [span for span in found if span.parent_span_id == miss.span_id]
    assert inner
    for span in inner:
        assert (
            miss.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano <= miss.end_time_unix_nano
        )
    assert failed.status.code == 2


@pytest.mark.slow
async def test_a_collector_that_is_away_holds_nobody_up(
    start_proxy: StartProxy, feed: FakeFeed, origin: Origin
) -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="nugetproxy[otel] is not installed")
    feed.add(SMALL)
    proxy = await start_proxy(feed.index_url, log={"traces": origin.url})
    await origin.refuse()
    assert (await ask(proxy, PACKAGE)).status == 200


def test_without_it_nothing_of_it_is_imported() -> None:
    code = (
        "import sys, nugetproxy.app.composition as c\nfrom nugetproxy.config import Config\nc.build(Config())\n"
        "sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=50, check=False).returncode == 0


def test_without_the_extra_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    assert tracer_of("") is None
    with pytest.raises(ConfigError, match=r"nugetproxy\[otel\]"):
        tracer_of("http://127.0.0.1:4318")
