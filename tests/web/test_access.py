"""The event of a request says who asked, for what, how many bytes went out."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from nugetproxy.errors import Reason
from nugetproxy.log import redact as redaction
from nugetproxy.log import register_secret
from nugetproxy.web import access
from tests.conftest import StartProxy
from tests.fakes.asking import PACKAGE, REGISTRATION, SMALL, VERSIONS, ask, until
from tests.fakes.clock import FakeClock
from tests.fakes.feed import FakeFeed
from tests.fakes.packages import make_nupkg
from tests.fakes.proxy import Proxy

FRONT = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "127.0.0.1"}


@pytest.fixture
def events() -> Iterator[list[Any]]:
    with capture_logs() as logs:
        yield logs


def last(events: list[Any], event: str = "request") -> Any:
    return [entry for entry in events if entry["event"] == event][-1]


def levels(events: list[Any]) -> list[str]:
    return [entry["log_level"] for entry in events if entry["event"] == "request"]


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("198.51.100.9, 203.0.113.7, 127.0.0.1", "203.0.113.7"),
        ("", "127.0.0.1"),
    ],
    ids=["one hop", "what the client itself claims counts for nothing", "a front end that does not say"],
)
async def test_behind_a_trusted_front_end_the_client_is_named(
    start_proxy: StartProxy, feed: FakeFeed, events: list[Any], forwarded: str, client: str
) -> None:
    proxy = await start_proxy(feed.index_url, server={"trusted_proxies": ["127.0.0.0/8"]})
    headers = {**FRONT, "X-Forwarded-For": forwarded}
    await ask(proxy, VERSIONS, headers=headers)
    assert last(events)["client"] == client
    await ask(proxy, "/v3/package/acme.a/1.0.0", "DELETE", headers=headers)
    assert last(events)["client"] == last(events, "write.audit")["client"] == client


@pytest.mark.parametrize("ordinary", [True, False])
async def test_an_event_like_one_before_hides_a_secret_that_is_known_since(
    proxy: Proxy, feed: FakeFeed, events: list[Any], monkeypatch: pytest.MonkeyPatch, *, ordinary: bool
) -> None:
    monkeypatch.setattr(redaction, "_secrets", set())
    monkeypatch.setattr(redaction, "_secret_pattern", None)
    access._told.cache_clear()  # by how many secrets are known, of which there were as many in another test
    access._client_part.cache_clear()
    feed.add(SMALL)
    part = {"X-Unknown": "1"} if ordinary else {}
    for _ in range(3):
        await ask(proxy, PACKAGE, headers=part)
    assert (last(events)["outcome"], last(events)["path"]) == ("hit", PACKAGE)
    register_secret("acme.a.1.0.0")
    await ask(proxy, PACKAGE, headers=part)
    assert (last(events)["outcome"], last(events)["path"]) == ("hit", PACKAGE.replace("acme.a.1.0.0", redaction.HIDDEN))


async def test_a_stranger_does_not_say_who_it_is(proxy: Proxy, events: list[Any]) -> None:
    await ask(proxy, VERSIONS, headers={"X-Forwarded-For": "203.0.113.7"})
    assert last(events)["client"] == "127.0.0.1"


@pytest.mark.parametrize(
    ("path", "kind"), [(VERSIONS, "versions"), (REGISTRATION, "registration"), (PACKAGE, "package")]
)
@pytest.mark.parametrize("coding", ["identity", "gzip"])
async def test_bytes_are_those_of_the_body_that_was_sent(
    proxy: Proxy, feed: FakeFeed, events: list[Any], path: str, kind: str, coding: str
) -> None:
    feed.add(SMALL)
    for minor in range(60):
        feed.add(make_nupkg("Acme.A", f"2.{minor}.0"))
    sent = 0
    for method, more in (("GET", {}), ("GET", {}), ("HEAD", {}), ("GET", {"If-None-Match": "*"})):
        got = await ask(proxy, path, method, headers={"Accept-Encoding": coding, **more})
        sent += len(got.body)
        assert (last(events)["kind"], last(events)["bytes"]) == (kind, len(got.body))
    assert got.status == 304
    assert sent > 200
    assert proxy.metric("sent_bytes_total", kind=kind) == sent


async def test_reason_is_one_vocabulary_and_detail_the_text(
    proxy: Proxy, feed: FakeFeed, clock: FakeClock, events: list[Any]
) -> None:
    feed.add(SMALL)
    await ask(proxy, PACKAGE)
    await ask(proxy, "/v3/content/acme.a/index.json", headers={"Host": "evil.example"})
    assert "reason" not in last(events)
    assert "server.allowed_hosts" in last(events)["detail"]
    await feed.set_mode("5xx")
    await ask(proxy, "/v3/content/acme.b/index.json")
    assert (last(events)["status"], last(events)["reason"]) == (503, "5xx")
    assert "gave no usable answer" in last(events)["detail"]
    await ask(proxy, VERSIONS)
    assert (last(events)["outcome"], last(events)["detail"]) == ("synthesized", "synthesized")
    reasons = {entry["reason"] for entry in events if "reason" in entry}
    assert reasons <= set(Reason)
    assert not {"error", "problem", "why"} & {name for entry in events for name in entry}


async def test_it_is_told_which_package_and_how_long_the_upstream_took(
    proxy: Proxy, feed: FakeFeed, events: list[Any]
) -> None:
    feed.add(SMALL)
    await ask(proxy, PACKAGE)
    missed = last(events)
    assert (missed["id"], missed["version"], missed["outcome"]) == ("acme.a", "1.0.0", "miss")
    assert 0 < missed["upstream_ms"] < missed["ms"]
    await ask(proxy, PACKAGE)
    assert "upstream_ms" not in last(events)


async def test_a_failed_request_keeps_its_kind(proxy: Proxy, feed: FakeFeed, events: list[Any]) -> None:
    await feed.set_mode("5xx")
    for path, kind in ((VERSIONS, "versions"), (PACKAGE, "package"), (REGISTRATION, "registration")):
        assert (await ask(proxy, path)).status == 503
        assert (last(events)["kind"], last(events)["id"]) == (kind, "acme.a")
        assert proxy.metric("requests_total", upstream="up", kind=kind, outcome="failed", status="503") == 1
    assert not proxy.metric("requests_total", upstream="up", kind="other", outcome="failed", status="503")


async def test_a_write_has_a_kind_of_its_own_and_names_its_package(
    proxy: Proxy, feed: FakeFeed, events: list[Any]
) -> None:
    for key, outcome, status in ((feed.api_key, "bypass", 201), ("wrong", "bypass", 403)):
        headers = {"X-NuGet-ApiKey": key, "Content-Type": "multipart/form-data; boundary=b"}
        body = b"--b\r\nContent-Disposition: form-data\r\n\r\n" + SMALL + b"\r\n--b--\r\n"
        assert (await ask(proxy, "/v3/package", "PUT", data=body, headers=headers)).status == status
        told = last(events)
        assert (told["kind"], told["id"], told["version"]) == ("push", "acme.a", "1.0.0")
        assert proxy.metric("requests_total", upstream="up", kind="push", outcome=outcome, status=str(status)) == 1
    await feed.set_mode("refused")
    await ask(proxy, "/v3/package/Acme.A/1.0.0", "DELETE", headers={"X-NuGet-ApiKey": feed.api_key})
    assert (last(events)["kind"], last(events)["outcome"], last(events)["status"]) == ("unlist", "failed", 503)
    assert (await ask(proxy, "/v3/package/Acme.A/1.0.0/x", "PUT")).status == 404
    assert last(events)["kind"] == "write"


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/metrics"])
async def test_what_machines_ask_all_the_time_is_logged_for_debugging_only(
    proxy: Proxy, events: list[Any], path: str
) -> None:
    assert (await ask(proxy, path)).status == 200
    await until(lambda: levels(events) == ["debug"])  # the answer is out before its event
    await ask(proxy, "/v3/index.json")
    await until(lambda: levels(events) == ["debug", "info"])


async def test_counters_are_there_before_anything_is_counted(start_proxy: StartProxy, feed: FakeFeed) -> None:
    proxy = await start_proxy(feed.index_url, upstream={"signatures": "warn"}, feeds={"farm": {"sources": ["up"]}})

    def value(name: str, **labels: str) -> float | None:
        return proxy.app.metrics.registry.get_sample_value(name, labels)

    usual = (("hit", "200"), ("miss", "200"), ("failed", "503"))
    for name, (outcome, status) in itertools.product(("up", "farm"), usual):
        labels = {"upstream": name, "kind": "package", "outcome": outcome, "status": status}
        assert value("nugetproxy_requests_total", **labels) == 0
    assert value("nugetproxy_upstream_failures_total", upstream="up", reason="refused") == 0
    for reason in ("malformed", "token_wrong", "token_scope", "token_slowed"):
        assert value("nugetproxy_rejected_total", reason=reason) == 0
    assert value("nugetproxy_withdrawn_total", upstream="up") == 0
    assert value("nugetproxy_signatures_total", upstream="up", verdict="unsigned") == 0
    assert value("nugetproxy_shortages_total", errno="EMFILE") == 0
    assert value("nugetproxy_responses_aborted_total", reason="client_stall") == 0
    assert value("nugetproxy_integrity_failures_total", reason="hash") == 0
    for op, errno in (("write", "ENOSPC"), ("fsync", "EIO"), ("read", "EIO"), ("documents_set", "SQLITE_FULL")):
        assert value("nugetproxy_disk_errors_total", op=op, errno=errno) == 0


async def test_the_process_its_build_its_limits_and_its_room_are_measured(proxy: Proxy) -> None:
    text = (await ask(proxy, "/metrics")).body.decode()
    samples = {
        name: float(number) for name, number in (line.rsplit(" ", 1) for line in text.splitlines() if line[0] != "#")
    }
    assert samples["process_open_fds"] > 0
    assert samples["process_resident_memory_bytes"] > 10_000_000
    assert any(name.startswith('nugetproxy_build_info{aiohttp="3.') for name in samples)
    assert samples["nugetproxy_store_free_bytes"] > 0
    assert samples['nugetproxy_store_limit_bytes{part="packages"}'] == 50 * 2**30
    assert samples['nugetproxy_descriptors_limit{use="clients"}'] == proxy.app.descriptors.clients
    assert samples["nugetproxy_connections"] >= 1
