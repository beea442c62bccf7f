"""The lane answers what the ordinary path would answer, byte for byte, and leaves to it whatever is not ordinary."""

from __future__ import annotations

import asyncio
import os
import re
import ssl
import time
from asyncio.sslproto import SSLProtocol
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiohttp.web_protocol import RequestHandler
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from nugetproxy.feeds import reading
from nugetproxy.feeds.rendering import page_of
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.sources.remote import RemoteSource
from nugetproxy.store.history.tally import Tally
from nugetproxy.web import lane as lanes
from nugetproxy.web.connection import Connection
from nugetproxy.web.direct_tls import DirectTls
from nugetproxy.web.head_check import parse_fields
from nugetproxy.web.lane import Lane
from nugetproxy.web.server import LimitedServer
from tests.conftest import StartProxy
from tests.fakes.asking import PACKAGE, REGISTRATION, SMALL, UP_VERSIONS, VERSIONS, ask, until
from tests.fakes.clock import FakeClock
from tests.fakes.feed import FakeFeed
from tests.fakes.packages import make_nupkg
from tests.fakes.proxy import Proxy
from tests.fakes.tls_wire import TlsWire
from tests.fakes.wire import Wire

INDEX = "/v3/index.json"
NUSPEC = "/v3/content/acme.a/1.0.0/acme.a.nuspec"
MIDDLE = "/v3/content/acme.b/1.0.0/acme.b.1.0.0.nupkg"
LARGE = "/v3/content/acme.c/1.0.0/acme.c.1.0.0.nupkg"
PATHS = [INDEX, VERSIONS, REGISTRATION, PACKAGE, MIDDLE, NUSPEC]
CHANGING = re.compile(rb"\r\n(?:Date|Age): [^\r]*")


def server_of(proxy: Proxy, lane: Lane | None) -> LimitedServer:
    return LimitedServer(
        proxy.app.edge,
        max_connections=1000,
        max_per_ip=1000,
        header_timeout=3600.0,
        write_timeout=60.0,
        metrics=proxy.app.metrics,
        lane=lane,
    )


def get(path: str, *fields: str, method: str = "GET") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: 127.0.0.1:1", *fields, "", ""]).encode()


def tag_of(answer: bytes) -> str:
    found = re.search(rb"\r\nEtag: ([^\r]*)", answer)
    assert found is not None, answer[:1000]
    return found[1].decode()


Connecting = Callable[[LimitedServer, bool], Wire]
"""Makes one end of a connection to a server, which has a lane or not."""


def plainly(server: LimitedServer, _laned: bool) -> Wire:
    return Wire(server, port=1)


@asynccontextmanager
async def wires(
    proxy: Proxy, count: int = 1, *, laned: bool = True, connect: Connecting = plainly
) -> AsyncIterator[list[Wire]]:
    server = server_of(proxy, proxy.app.lane if laned else None)
    made = [connect(server, laned) for _ in range(count)]
    for wire in made:
        await wire.settle()
    yield made
    for wire in made:
        await wire.end()


async def said(wire: Wire, data: bytes) -> bytes:
    """What is answered to ``data``."""
    wire.written.clear()
    await wire.feed(data)
    return bytes(wire.written)


def steady(answer: bytes) -> bytes:
    return CHANGING.sub(b"", answer)


@pytest.fixture(autouse=True)
async def warm(feed: FakeFeed, proxy: Proxy) -> None:
    feed.add(SMALL)
    feed.add(make_nupkg("Acme.B", "1.0.0", size=20_000))
    feed.add(make_nupkg("Acme.C", "1.0.0", size=300_000))
    for path in (*PATHS, LARGE):
        assert (await ask(proxy, path)).status == 200
        assert (await ask(proxy, path)).status == 200


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("coding", ["Accept-Encoding: gzip", "Accept: */*"])
async def test_the_second_same_request_takes_the_lane(proxy: Proxy, path: str, coding: str) -> None:
    async with wires(proxy) as [wire], wires(proxy, laned=False) as [ordinary]:
        request = get(path, coding)
        expected = steady(await said(ordinary, request))
        first, before = await said(wire, request), proxy.app.lane.answered
        second = await said(wire, request)
        assert proxy.app.lane.answered == before + 1
        assert steady(first) == steady(second) == expected
        assert re.search(rb"\r\nDate: \w{3}, [^\r]* GMT\r\n", second)


@pytest.mark.parametrize(
    ("request_of", "status"),
    [
        (lambda path, _: get(path, method="HEAD"), b"200"),
        (lambda path, tag: get(path, f"If-None-Match: {tag}"), b"304"),
        (lambda path, tag: get(path, f"if-none-match: W/{tag}"), b"304"),
        (lambda path, _: get(path, "If-None-Match: *"), b"304"),
        (lambda path, _: get(path, 'If-None-Match: "another"'), b"200"),
        (lambda path, tag: get(path, f"If-None-Match: {tag}", method="HEAD"), b"304"),
        (lambda path, _: get(path, "Range: bytes=3-40"), b"206"),
        (lambda path, _: get(path, "Range: bytes=9-"), b"206"),
        (lambda path, _: get(path, "range: bytes=-11"), b"206"),
        (lambda path, _: get(path, "Range: bytes=0-1,4-5"), b"200"),
        (lambda path, _: get(path, "Range: bytes=0-1", method="HEAD"), b"200"),
    ],
)
async def test_other_forms_of_an_answer_take_the_lane(
    proxy: Proxy, request_of: Callable[[str, str], bytes], status: bytes
) -> None:
    async with wires(proxy) as [wire], wires(proxy, laned=False) as [ordinary]:
        for path in PATHS:
            request = request_of(path, tag_of(await said(ordinary, get(path))))
            expected = await said(ordinary, request)
            assert expected[9:12] == status
            first, before = await said(wire, request), proxy.app.lane.answered
            second = await said(wire, request)
            assert proxy.app.lane.answered == before + 1
            assert steady(first) == steady(second) == steady(expected)


async def test_an_answer_is_prepared_whole_by_a_request_with_a_condition(proxy: Proxy) -> None:
    async with wires(proxy) as [wire], wires(proxy, laned=False) as [ordinary]:
        whole = steady(await said(ordinary, get(MIDDLE)))
        await said(wire, get(MIDDLE, "Range: bytes=7-8"))
        before = proxy.app.lane.answered
        assert b" 304 " in await said(wire, get(MIDDLE, "If-None-Match: *"))
        assert (await said(wire, get(MIDDLE, "Range: bytes=1-2"))).endswith(b"\r\n\r\nK\x03")
        assert steady(await said(wire, get(MIDDLE))) == whole
        assert proxy.app.lane.answered == before + 3


async def test_a_head_prepares_no_get(proxy: Proxy) -> None:
    """Which may be sent elsewhere."""
    async with wires(proxy) as [wire]:
        for _ in range(3):
            await said(wire, get(MIDDLE, method="HEAD"))
        before = proxy.app.lane.answered
        await said(wire, get(MIDDLE))
        assert proxy.app.lane.answered == before


@pytest.mark.parametrize(
    "fields",
    [
        ("Range: bytes=99999999-",),
        ("If-None-Match: *", "Range: bytes=0-1"),
        ("Range: bytes=0-1", "Range: bytes=0-1"),
        ("Range: bytes=0-1", 'If-Range: "x"'),
        ("If-Modified-Since: Sun, 06 Nov 2094 08:49:37 GMT",),
        ("If-None-Match:*",),
    ],
)
async def test_what_is_unusual_of_a_condition_takes_the_ordinary_path(proxy: Proxy, fields: tuple[str, ...]) -> None:
    async with wires(proxy) as [wire], wires(proxy, laned=False) as [ordinary]:
        before = proxy.app.lane.answered
        expected = steady(await said(ordinary, get(MIDDLE, *fields)))
        for _ in range(3):
            assert steady(await said(wire, get(MIDDLE, *fields))) == expected
        assert proxy.app.lane.answered == before


async def test_age_and_ttl_go_on(proxy: Proxy, clock: FakeClock) -> None:
    async with wires(proxy) as [wire]:
        request = get(VERSIONS)
        await said(wire, request)
        early = await said(wire, request)
        clock.advance(1.5)
        before = proxy.app.lane.answered
        late = await said(wire, request)
        assert proxy.app.lane.answered == before + 1
    assert b"\r\nAge: 0\r\n" in early
    assert b"\r\nAge: 1\r\n" in late
    assert b"; ttl=300\r\n" in early
    assert b"; ttl=298\r\n" in late


async def test_four_minutes_later_a_document_still_takes_the_lane(proxy: Proxy, clock: FakeClock) -> None:
    async with wires(proxy) as [wire]:
        await said(wire, get(VERSIONS))
        clock.advance(240)
        before = proxy.app.lane.answered
        late = await said(wire, get(VERSIONS))
        assert proxy.app.lane.answered == before + 1
    assert b"; ttl=60\r\n" in late


async def test_what_is_no_longer_fresh_is_asked_for(proxy: Proxy, feed: FakeFeed, clock: FakeClock) -> None:
    async with wires(proxy) as [wire]:
        request = get(VERSIONS)
        await said(wire, request)
        await said(wire, request)
        asked = feed.origin.count(UP_VERSIONS)
        feed.add(make_nupkg("Acme.A", "2.0.0"))
        clock.advance(301)
        await ask(proxy, VERSIONS)
        assert feed.origin.count(UP_VERSIONS) == asked + 1
        assert b"2.0.0" in await said(wire, request)


async def test_after_a_write_nothing_of_before_is_served(proxy: Proxy, feed: FakeFeed) -> None:
    async with wires(proxy) as [wire]:
        request = get(VERSIONS)
        await said(wire, request)
        before = proxy.app.lane.answered
        await said(wire, request)
        assert proxy.app.lane.answered == before + 1
        feed.add(make_nupkg("Acme.A", "2.0.0"))
        source = proxy.app.sources["up"]
        assert isinstance(source, RemoteSource)
        source._cache.invalidate("acme.a")
        await wire.feed(request)
        await ask(proxy, VERSIONS)
        assert b"2.0.0" in await said(wire, request)
        assert proxy.app.lane.answered == before + 1


async def test_a_refreshed_document_replaces_the_prepared_one_at_once(
    proxy: Proxy, feed: FakeFeed, clock: FakeClock
) -> None:
    """Within the two seconds for which what is stored is believed."""
    async with wires(proxy, 2) as [one, other]:
        request, coded = get(VERSIONS), get(VERSIONS, "Accept-Encoding: gzip")
        for wire, what in ((one, request), (other, coded)):
            await said(wire, what)
            await said(wire, what)
        standing = [prepared.standing.ttl(clock.now()) for prepared, _ in proxy.app.lane.kept()]
        assert len(standing) >= 2
        assert None not in standing
        clock.advance(300.5)
        feed.add(make_nupkg("Acme.A", "2.0.0"))
        await ask(proxy, VERSIONS)
        assert b"2.0.0" in await said(one, request)


async def test_a_package_that_is_gone_or_changed_is_not_served_from_memory(proxy: Proxy) -> None:
    async with wires(proxy) as [wire]:
        request = get(PACKAGE)
        await said(wire, request)
        before = proxy.app.lane.answered
        await said(wire, request)
        assert proxy.app.lane.answered == before + 1
        held = next(proxy.packages.glob("acme.a/1.0.0/*.nupkg"))
        held.write_bytes(b"x" * held.stat().st_size)
        wire.written.clear()
        await wire.feed(request)
        assert proxy.app.lane.answered == before + 1


@pytest.mark.parametrize("path", [PACKAGE, NUSPEC])
async def test_a_purged_package_is_not_served_from_memory(proxy: Proxy, path: str) -> None:
    async with wires(proxy) as [wire]:
        request = get(path)
        await said(wire, request)
        await said(wire, request)
        before = proxy.app.lane.answered
        for identity, _, _ in list(proxy.held.folder.walk()):
            await proxy.held.purge(identity)
        await wire.feed(request)
        assert proxy.app.lane.answered == before


async def test_a_nuspec_of_before_does_not_stand_for_a_package_that_came_meanwhile(
    proxy: Proxy, feed: FakeFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its package is purged, another one of that version is fetched, while its nuspec is on its way to the client."""
    package, nuspec = "/v3/content/acme.d/1.0.0/acme.d.1.0.0.nupkg", "/v3/content/acme.d/1.0.0/acme.d.nuspec"
    feed.add(make_nupkg("Acme.D", "1.0.0", description="the old one"))
    assert (await ask(proxy, package)).status == 200
    usual = reading.off_loop

    async def late(size: int, work: Callable[..., Any], *args: Any) -> Any:
        made = await usual(size, work, *args)
        if work is page_of:
            monkeypatch.setattr(reading, "off_loop", usual)
            await proxy.held.purge(PackageIdentity("acme.d", "1.0.0"))
            feed.remove("Acme.D", "1.0.0")
            feed.add(make_nupkg("Acme.D", "1.0.0", description="the new one"))
            assert (await ask(proxy, package)).status == 200
        return made

    async with wires(proxy) as [wire]:
        monkeypatch.setattr(reading, "off_loop", late)
        assert b"the old one" in await said(wire, get(nuspec))
        await until(lambda: b"the old one" in wire.written)
        for _ in range(3):
            assert b"the new one" in await said(wire, get(nuspec))


async def test_hits_in_one_turn_of_the_loop_look_at_the_file_once(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = []
    fs = proxy.held.folder.kept._calls.fs
    monkeypatch.setattr(fs, "fstat", lambda fd: (looks.append(fd), os.fstat(fd))[1])
    async with wires(proxy, count=5) as several:
        for wire in several:
            await said(wire, get(PACKAGE))
        looks.clear()
        before = proxy.app.lane.answered
        for wire in several:
            wire.written.clear()
        await asyncio.gather(*(wire.feed(get(PACKAGE)) for wire in several))
        assert proxy.app.lane.answered == before + 5
        assert all(bytes(wire.written).endswith(SMALL) for wire in several)
        assert len(looks) == 1
        await said(several[0], get(PACKAGE))
        assert len(looks) == 2


async def test_a_hit_in_the_lane_keeps_a_connection(proxy: Proxy) -> None:
    async with wires(proxy) as [wire]:
        connection = wire._connection
        await said(wire, get(PACKAGE))
        before = proxy.app.lane.answered
        await said(wire, get(PACKAGE))
        assert proxy.app.lane.answered == before + 1
        connection._next_keepalive_close_time = 0.0
        connection._process_keepalive()
        assert not wire.closed
        connection._used_at -= 3600.0
        connection._next_keepalive_close_time = 0.0
        connection._process_keepalive()
        assert wire.closed


async def test_a_hit_counts_as_a_use(proxy: Proxy) -> None:
    async with wires(proxy) as [wire]:
        await said(wire, get(PACKAGE))
        await proxy.held.folder.usage.write()
        await said(wire, get(PACKAGE))
        assert await proxy.held.folder.usage.write() == 1


@pytest.mark.parametrize(
    ("path", "kind", "method", "field", "status"),
    [
        (VERSIONS, "versions", "GET", "Accept: */*", "200"),
        (VERSIONS, "versions", "GET", "If-None-Match: *", "304"),
        (VERSIONS, "versions", "HEAD", "Accept: */*", "200"),
        (PACKAGE, "package", "GET", "Accept: */*", "200"),
        (PACKAGE, "package", "GET", "Range: bytes=2-5", "206"),
        (PACKAGE, "package", "GET", "Range: bytes=2-", "206"),
        (PACKAGE, "package", "GET", "If-None-Match: *", "304"),
        (PACKAGE, "package", "HEAD", "Accept: */*", "200"),
        (NUSPEC, "nuspec", "GET", "Accept: */*", "200"),
    ],
)
async def test_events_history_and_metrics_are_those_of_the_ordinary_path(
    proxy: Proxy, path: str, kind: str, method: str, field: str, status: str
) -> None:
    labels = {"upstream": "up", "kind": kind, "outcome": "hit", "status": status}
    request = get(path, "X-NuGet-Session-Id: " + "5" * 80, field, method=method)
    async with wires(proxy) as [wire], wires(proxy, laned=False) as [ordinary]:
        await said(wire, request)
        counted, sent = proxy.metric("requests_total", **labels), proxy.metric("sent_bytes_total", kind=kind)
        seen = len(proxy.app.history.pending)
        with capture_logs() as events:
            await said(ordinary, request)
            each = proxy.metric("sent_bytes_total", kind=kind) - sent
            before = proxy.app.lane.answered
            await said(wire, request)
            assert proxy.app.lane.answered == before + 1
    usual, laned = [{**event, "ms": 0} for event in events]
    assert usual == laned
    assert laned["session"] == "5" * 64
    assert proxy.metric("requests_total", **labels) == counted + 2
    assert proxy.metric("sent_bytes_total", kind=kind) == sent + 2 * each
    sightings = [one for one in proxy.app.history.pending[seen:] if not isinstance(one, Tally)]
    one, other = [(what, who) for _, what, who, *_ in sightings]
    assert one == other
    whole = status == "200" or field == "Range: bytes=2-"  # of what comes in parts, the last one
    assert one[0].pulled == (path == PACKAGE and method == "GET" and whole)


async def test_a_stopping_proxy_answers_without_it(proxy: Proxy) -> None:
    async with wires(proxy) as [wire]:
        await said(wire, get(VERSIONS))
        await said(wire, get(VERSIONS))
        before = proxy.app.lane.answered
        proxy.app.ops.draining = True
        assert b"\r\nConnection: close\r\n" in await said(wire, get(VERSIONS))
        assert proxy.app.lane.answered == before


def impatient(proxy: Proxy) -> LimitedServer:
    return LimitedServer(
        proxy.app.edge,
        max_connections=10,
        max_per_ip=10,
        header_timeout=3600.0,
        write_timeout=0.05,
        metrics=proxy.app.metrics,
        lane=proxy.app.lane,
    )


async def test_a_client_that_takes_nothing_is_cut_off(proxy: Proxy) -> None:
    wire = Wire(impatient(proxy), port=1)
    await wire.settle()
    await said(wire, get(MIDDLE))
    before = proxy.app.lane.answered
    wire.takes = 1000
    await wire.feed(get(MIDDLE))
    assert proxy.app.lane.answered == before + 1
    aborted = proxy.metric("responses_aborted_total", reason="client_stall")
    await until(lambda: wire.closed)
    assert proxy.metric("responses_aborted_total", reason="client_stall") == aborted + 1
    await wire.end()


async def test_one_that_asks_on_and_takes_nothing_is_counted_once(proxy: Proxy) -> None:
    wire = Wire(impatient(proxy), port=1)
    await wire.settle()
    await said(wire, get(MIDDLE))
    wire.takes = 1000
    await wire.feed(get(MIDDLE))
    aborted = proxy.metric("responses_aborted_total", reason="client_stall")
    asking = asyncio.create_task(wire.feed(get(MIDDLE)))  # which waits on the ordinary path
    for _ in range(20):
        await asyncio.sleep(0)
    time.sleep(0.2)  # both have waited for too long in the same turn of the loop
    await asking
    assert proxy.metric("responses_aborted_total", reason="client_stall") == aborted + 1
    await wire.end()


async def test_forgetting_everything_reaches_connections_that_are_open(proxy: Proxy) -> None:
    async with wires(proxy) as [wire]:
        await said(wire, get(VERSIONS))
        before = proxy.app.lane.answered
        await said(wire, get(VERSIONS))
        proxy.app.lane.clear()
        await said(wire, get(VERSIONS))
        assert proxy.app.lane.answered == before + 1
        await said(wire, get(VERSIONS))
        assert proxy.app.lane.answered == before + 2


async def test_the_table_is_bounded_in_bytes(start_proxy: StartProxy, feed: FakeFeed, tmp_path: Path) -> None:
    small = await start_proxy(feed.index_url, directory=tmp_path / "small", cache={"hot_memory": "128 KiB"})
    for number in range(30):
        feed.add(make_nupkg(f"Many.{number}", "1.0.0"))
    async with wires(small) as [wire]:
        for number in range(30):
            path = f"/v3/content/many.{number}/index.json"
            for _ in range(3):
                await ask(small, path)
                await wire.feed(get(path))
    kept = small.app.lane.kept()
    assert 2 < len(kept) < 30
    assert sum(prepared.weight for prepared, _ in kept) <= 32 * 1024


async def test_made_up_hosts_fill_nothing(proxy: Proxy) -> None:
    async with wires(proxy) as [wire]:
        for number in range(600):
            wire.closed = False
            await wire.feed(get(VERSIONS).replace(b"127.0.0.1:1", b"h%d.example" % number))
    assert len(proxy.app.lane.kept()) < 10
    assert len(proxy.app.lane._views) <= lanes.MAX_VIEWS


async def test_a_protected_feed_takes_the_lane_for_its_readers_alone(proxy: Proxy, clock: FakeClock) -> None:
    _, secret = await proxy.app.tokens.add("reader", ["read"], ["up"], 1000.0)
    _, other = await proxy.app.tokens.add("pusher", ["push"], ["up"], None)
    reader, pusher = f"Authorization: Bearer {secret}", f"Authorization: Bearer {other}"

    async def status(wire: Wire, *fields: str) -> tuple[bytes, bool]:
        before = proxy.app.lane.answered
        answer = await said(wire, get(PACKAGE, *fields))
        assert b" 200 " not in answer or b"\r\nCache-Control: private, " in answer
        return answer[9:12], proxy.app.lane.answered > before

    async with wires(proxy, 2) as [wire, stranger]:
        for _ in range(3):
            await status(wire, reader)
        assert await status(wire, reader) == (b"200", True)
        for _ in range(3):
            assert await status(stranger) == (b"401", False)
            assert await status(stranger, pusher) == (b"403", False)
            assert await status(stranger, f"{reader}x") == (b"401", False)
        assert await status(wire, reader) == (b"200", True)
        clock.advance(1000.0)
        assert await status(wire, reader) == (b"401", False)


async def test_a_revoked_token_ends_at_once(proxy: Proxy) -> None:
    _, secret = await proxy.app.tokens.add("one", ["read"], [], None)
    await proxy.app.tokens.add("two", ["read"], [], None)
    request = get(PACKAGE, f"Authorization: Bearer {secret}")
    async with wires(proxy) as [wire]:
        for _ in range(3):
            await said(wire, request)
        before = proxy.app.lane.answered
        assert b" 200 " in await said(wire, request)
        assert proxy.app.lane.answered == before + 1
        await proxy.app.tokens.revoke("one")
        assert b" 401 " in await said(wire, request)


def test_private_attributes_of_aiohttp_are_there() -> None:
    slots = {name for cls in RequestHandler.__mro__ for name in getattr(cls, "__slots__", ())}
    assert slots >= lanes.PRIVATE
    modules = [Path(lanes.__file__).with_name(name) for name in ("connection.py", "one_task.py")]
    source = "".join(module.read_text(encoding="utf-8") for module in modules)
    used = set(re.findall(r"self\.(_\w+)", source)) & slots
    assert used - {"_request_in_progress"} <= lanes.PRIVATE


async def test_another_aiohttp_closes_the_lane_with_a_warning(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "PRIVATE", lanes.PRIVATE | {"_renamed"})
    with capture_logs() as events:
        server = server_of(proxy, proxy.app.lane)
    assert [event["event"] for event in events] == ["lane.closed"]
    wire = Wire(server, port=1)
    await wire.settle()
    before = proxy.app.lane.answered
    for _ in range(3):
        assert b" 200 OK" in await said(wire, get(VERSIONS))
    assert proxy.app.lane.answered == before
    await wire.end()


@pytest.mark.parametrize(
    "block",
    [
        "If-Range: bytes=0-1",
        "If-Match: *",
        "Expect: 100-continue",
        "Content-Length: 0",
        "Transfer-Encoding: chunked",
        "Connection: close",
        "Connection: keep-alive, upgrade",
        "Cookie: a=b",
        "Host: second.example",
        "Accept:  two spaces",
        "Accept : before",
        "Accept: behind ",
        "Accept:none",
        "Accept: ",
        " folded",
        "Accept: \tx",
        "Accept: caf\xe9",
        "",
    ],
)
def test_anything_odd_is_refused(block: str) -> None:
    assert parse_fields(f"\r\nHost: a\r\n{block}\r\n\r\n".encode("latin-1")) is None


def test_the_fields_of_real_clients_are_understood() -> None:
    block = (
        b"\r\nHost: a:1\r\nAccept-Encoding: gzip, deflate\r\nUser-Agent: NuGet .NET Core MSBuild Task/7.0.0 (.NET)\r\n"
    )
    assert parse_fields(block + b"X-NuGet-Session-Id: 1-2\r\n\r\n") is not None


async def test_nothing_is_answered_behind_a_request_that_the_parser_paused_on(proxy: Proxy) -> None:
    """aiohttp's parser says what is wrong with an HTTP/2 preface behind a good request when more comes in."""
    good = get(INDEX)
    for laned in (True, False):
        async with wires(proxy, laned=laned) as [wire]:
            assert (await said(wire, good + b"PRI * HTTP/2.0\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
            assert not (await said(wire, good)).startswith(b"HTTP/1.1 200 ")
            assert wire.closed


@pytest.mark.parametrize("behind", [b"PRI * HTTP/2.0\r\n\r\n", b"GE", b"G", b"GET /v3/nothing HTTP/1.1\r\n"])
@pytest.mark.parametrize("late", [1, 2, 3, 4])
async def test_nothing_is_answered_out_of_turn_behind_a_head_that_comes_in_two_pieces(
    proxy: Proxy, late: int, behind: bytes
) -> None:
    """What follows the end of a head is not seen by where the last bytes of a piece are an end."""
    good = get(INDEX)
    pieces = [good[:-late], good[-late:] + behind, good, good]
    async with wires(proxy) as [wire]:
        await said(wire, good)
    answers = []
    for laned in (True, False):
        async with wires(proxy, laned=laned) as [wire]:
            answers.append(([steady(await said(wire, piece)) for piece in pieces], wire.closed))
    assert answers[0] == answers[1]


# --- both ways, thousands of times ---

LONG = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(900)]

ODD_PATHS = [
    INDEX,
    VERSIONS,
    PACKAGE,
    MIDDLE,
    REGISTRATION,
    NUSPEC,
    f"{VERSIONS}?a=b%20%c",
    "/v3/content/ACME.A/index.json",
    "/up/v3/index.json",
    "//v3/index.json",
    "/v3/content/%61cme.a/index.json",
    "/v3/nothing",
    "/health/live",
    "*",
    "http://127.0.0.1/v3/index.json",
    "/v3/index.json#x",
    "/v3/index.json\x7f",
    "/v3/a b",
]
FIELDS = [
    "Accept-Encoding: gzip",
    "Accept-Encoding: gzip, deflate",
    "Accept-Encoding: gzip;q=0",
    "accept-encoding: identity",
    "ACCEPT-ENCODING: *",
    "Accept: */*",
    "User-Agent: x (y; z) %s",
    "X-NuGet-Session-Id: 123",
    "X-Forwarded-For: 1.2.3.4, 5.6.7.8",
    "X-Forwarded-Proto: https",
    "X-Forwarded-Host: example.com",
    "Connection: keep-alive",
    "Connection: Keep-Alive",
    "Connection: close",
    "Connection: upgrade",
    "Host: 127.0.0.1:1",
    "Host: localhost",
    "Host: evil.example",
    "Expect: 100-continue",
    "Content-Length: 0",
    "Content-Length: 4",
    "Transfer-Encoding: chunked",
    "Upgrade: h2c",
    "Cookie: a=b",
    "Accept-Encoding : gzip",
    "Accept-Encoding:gzip",
    "Accept:",
    "X\x00: y",
    "no colon",
    " folded: x",
]
CONDITIONS = [
    "If-None-Match: ~tag~",
    "if-none-match: W/~tag~",
    "If-None-Match: ~tag-gz~",
    "If-None-Match: *",
    'If-None-Match: "other"',
    'If-None-Match: "other", ~tag~',
    "If-None-Match: ~tag",
    "If-None-Match:  ~tag~",
    "Range: bytes=0-3",
    "Range: bytes=5-",
    "rAnGe: Bytes=-3",
    "Range: bytes=0-99999999",
    "Range: bytes=99999999-",
    "Range: bytes=0-0,2-3",
    "Range: bytes=3-1",
    "Range: bytes=-0",
    "Range: bytes= 0-1 ",
    "Range: items=0-1",
    "If-Range: ~tag~",
    "If-Match: ~tag~",
    "If-Modified-Since: Sun, 06 Nov 2094 08:49:37 GMT",
    "If-Unmodified-Since: Sun, 06 Nov 1994 08:49:37 GMT",
]
"""Of what a client has already; ``~tag~`` is the entity tag of what it asks for, ``~tag-gz~`` of its gzip coding."""
FIELDS += CONDITIONS
LINES = st.builds(
    lambda method, path, version: f"{method} {path} {version}",
    st.sampled_from(["GET"] * 6 + ["HEAD", "get", "POST", "DELETE", "OPTIONS", "PRI", " GET", "GET  "]),
    st.sampled_from(ODD_PATHS[:5] * 3 + ODD_PATHS),
    st.sampled_from(["HTTP/1.1"] * 8 + ["HTTP/1.0", "HTTP/2.0", "http/1.1", "HTTP/1.1 ", ""]),
)
HEADS = st.builds(
    lambda line, host, fields, ends, body: (ends.join([line, *host, *fields, "", ""]) + body).encode("latin-1"),
    LINES,
    st.sampled_from([["Host: 127.0.0.1:1"]] * 8 + [[], ["host: 127.0.0.1:1"], ["Host: 127.0.0.1:1 "]]),
    st.lists(st.one_of(st.sampled_from(FIELDS[:9]), st.sampled_from(FIELDS)), max_size=4),
    st.sampled_from(["\r\n"] * 8 + ["\n"]),
    st.sampled_from([""] * 8 + ["\r\n", "body", "0\r\n\r\n", "PRI * HTTP/2.0\r\n\r\n"]),
)
CLEAN = st.builds(
    lambda method, path, coding, condition: get(path, *coding, *condition, method=method),
    st.sampled_from(["GET"] * 3 + ["HEAD"]),
    st.sampled_from(PATHS),
    st.sampled_from([[], [FIELDS[0]], [FIELDS[7]]]),
    st.one_of(st.just([]), st.sampled_from(CONDITIONS).map(lambda one: [one])),
)


@st.composite
def conversations(draw: st.DrawFn) -> list[bytes]:
    """What a client sends, in the pieces in which it arrives."""
    pieces: list[bytes] = []
    for head in draw(st.lists(st.one_of(CLEAN, CLEAN, HEADS), min_size=1, max_size=5)):
        how = draw(st.sampled_from(["whole"] * 6 + ["cut", "glued", "seam"]))
        if how == "seam" and pieces:  # the end of a head comes with the beginning of the next one
            late, at = draw(st.integers(1, 4)), draw(st.integers(0, len(head)))
            pieces[-1], seam = pieces[-1][:-late], pieces[-1][-late:]
            pieces += [seam + head[:at], head[at:]]
        elif how == "cut":
            at = draw(st.integers(0, len(head)))
            pieces += [head[:at], head[at:]]
        elif how == "glued" and pieces:
            pieces[-1] += head
        else:
            pieces.append(head)
    return [piece for piece in pieces if piece]


@dataclass(frozen=True, slots=True)
class Running:
    """What examples share."""

    runner: asyncio.Runner
    proxy: Proxy
    tags: dict[tuple[bytes, bytes], bytes]
    """By path and placeholder."""

    def tagged(self, piece: bytes) -> bytes:
        """With the entity tags of what it asks for."""
        for (path, name), tag in self.tags.items():
            if path + b" " in piece:
                piece = piece.replace(name, tag)
        return piece


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A warm proxy on a loop of its own, which examples share."""
    with asyncio.Runner() as runner:
        feed = FakeFeed()
        runner.run(feed.__aenter__())
        proxy = Proxy(feed.index_url, tmp_path_factory.mktemp("lane") / "cache", clock=FakeClock())
        runner.run(proxy.start())
        feed.add(SMALL)
        feed.add(make_nupkg("Acme.B", "1.0.0", size=20_000))
        tags = {}
        for path in PATHS:
            for name, coding in ((b"~tag~", "identity"), (b"~tag-gz~", "gzip")):
                answer = runner.run(ask(proxy, path, headers={"Accept-Encoding": coding}))
                tags[path.encode(), name] = answer.headers["ETag"].encode()
        yield Running(runner, proxy, tags)
        runner.run(proxy.stop())
        runner.run(feed.__aexit__(None, None, None))


async def heard(
    proxy: Proxy, pieces: list[bytes], *, laned: bool, connect: Connecting = plainly
) -> tuple[bytes, bool, list[Any]]:
    """What is answered to all pieces, whether the connection is closed then, the events of it.

    Which piece the refusal of a malformed request behind a good one falls to is a matter of turns of the loop.
    """
    with capture_logs() as events:
        async with wires(proxy, laned=laned, connect=connect) as [wire]:
            answers = b"".join([steady(await said(wire, piece)) for piece in pieces])
            closed = wire.closed
    return answers, closed, [{**event, "ms": 0} for event in events if event["event"] == "request"]


def compare_both_ways(running: Running, examples: int, connect: Connecting) -> None:
    runner, proxy = running.runner, running.proxy
    before = proxy.app.lane.answered

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(conversations())
    def compare(made: list[bytes]) -> None:
        pieces = 2 * [running.tagged(piece) for piece in made]  # what the first round prepares, the second one meets
        usual = runner.run(heard(proxy, pieces, laned=False, connect=connect))
        assert runner.run(heard(proxy, pieces, laned=True, connect=connect)) == usual

    compare()
    assert proxy.app.lane.answered - before > examples / 4, "most of it must not have gone the ordinary way"


@pytest.mark.parametrize("examples", [50, pytest.param(2000, marks=LONG)])
def test_both_ways_answer_alike(running: Running, examples: int) -> None:
    compare_both_ways(running, examples, plainly)


@pytest.mark.parametrize("examples", [20, pytest.param(1000, marks=LONG)])
def test_both_ways_answer_alike_over_tls(running: Running, examples: int) -> None:
    """The lane over our short way through TLS, the ordinary path over asyncio's own."""
    authority = trustme.CA()
    ours, theirs = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(ours)
    authority.configure_trust(theirs)

    def direct(connection: Connection) -> SSLProtocol:
        return DirectTls(asyncio.get_running_loop(), connection, ours)

    def usual(connection: Connection) -> SSLProtocol:
        return SSLProtocol(asyncio.get_running_loop(), connection, ours, None, server_side=True)  # type: ignore[arg-type]

    def over_tls(server: LimitedServer, laned: bool) -> Wire:
        return TlsWire(server, port=1, theirs=theirs, make_tls=direct if laned else usual)

    compare_both_ways(running, examples, over_tls)
