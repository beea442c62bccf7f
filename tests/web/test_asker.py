"""What a request says of its client counts for that request, whatever the one before it on the connection said."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest

from tests.conftest import StartProxy
from tests.fakes.asking import ask
from tests.fakes.feed import FakeFeed
from tests.fakes.packages import make_nupkg
from tests.fakes.proxy import Proxy
from tests.fakes.wire import Wire

INDEX = "/v3/index.json"
PACKAGE = "/v3/content/acme.a/1.0.0/acme.a.1.0.0.nupkg"
PLAIN = "Host: 127.0.0.1:1"
CHANGING = re.compile(rb"(?i)\r\n(?:date|age|cache-status): [^\r]*")
FIELDS = [
    (INDEX, "Host: localhost:7"),
    (INDEX, "Host: evil.example"),
    (INDEX, f"{PLAIN}\r\nX-Forwarded-Host: nuget.example"),
    (INDEX, f"{PLAIN}\r\nX-Forwarded-Proto: https"),
    (INDEX, f"{PLAIN}\r\nX-Forwarded-Prefix: /a"),
    (INDEX, f"{PLAIN}\r\nAccept-Encoding: gzip"),
    (PACKAGE, f"{PLAIN}\r\nRange: bytes=0-9"),
    (PACKAGE, f"{PLAIN}\r\nRange: bytes=3-5"),
    (PACKAGE, f'{PLAIN}\r\nIf-Match: "other"'),
    (PACKAGE, f"{PLAIN}\r\nIf-None-Match: *"),
]


@pytest.fixture
async def proxy(start_proxy: StartProxy, feed: FakeFeed) -> Proxy:
    feed.add(make_nupkg("Acme.A", "1.0.0"))
    proxy = await start_proxy(feed.index_url, server={"trusted_proxies": ["127.0.0.1"]})
    for path in (INDEX, PACKAGE):
        assert (await ask(proxy, path)).status == 200
    return proxy


@pytest.fixture
async def wires(proxy: Proxy) -> AsyncIterator[list[Wire]]:
    proxy._server.limited._lane = None
    made = [Wire(proxy._server.limited, port=1) for _ in range(2)]
    for wire in made:
        await wire.settle()
    yield made
    for wire in made:
        await wire.end()


async def said(wire: Wire, path: str, fields: str) -> bytes:
    wire.written.clear()
    await wire.feed(f"GET {path} HTTP/1.1\r\n{fields}\r\n\r\n".encode())
    return CHANGING.sub(b"", bytes(wire.written))


@pytest.mark.parametrize(("path", "fields"), FIELDS)
async def test_fields_count_for_the_request_that_has_them(wires: list[Wire], path: str, fields: str) -> None:
    used, fresh = wires
    plain = await said(used, path, PLAIN)
    assert b" 200 " in plain
    other = await said(used, path, fields)
    assert other != plain
    assert other == await said(fresh, path, fields)
    assert await said(used, path, PLAIN) == plain


async def test_the_client_behind_a_front_end_and_its_session_are_those_of_each_request(
    proxy: Proxy, wires: list[Wire]
) -> None:
    for number in range(3):
        fields = f"{PLAIN}\r\nX-Forwarded-For: 203.0.113.{number}\r\nX-NuGet-Session-Id: s{number}"
        assert b" 200 " in await said(wires[0], INDEX, fields)
    seen = [(who.client, who.session) for _, _, who, *_ in proxy.app.history.pending][-3:]
    assert seen == [(f"203.0.113.{number}", f"s{number}") for number in range(3)]


async def test_bytes_that_are_no_text_keep_nothing_from_the_history(proxy: Proxy, wires: list[Wire]) -> None:
    for odd in (b"X-NuGet-Session-Id: a\xff", b"X-NuGet-Session-Id: b\r\nX-Forwarded-For: caf\xe9"):
        await wires[0].feed(f"GET {INDEX} HTTP/1.1\r\n{PLAIN}\r\n".encode() + odd + b"\r\n\r\n")
    await proxy.app.history.flush()
    assert {(one.session, one.client) for one in await proxy.app.history.restores(10)} == {
        ("a?", "127.0.0.1"),
        ("b", "caf?"),
    }


async def test_after_a_reload_its_addresses_count_on_connections_that_were_open(
    proxy: Proxy, wires: list[Wire]
) -> None:
    before = await said(wires[0], INDEX, f"{PLAIN}\r\nX-Forwarded-Host: nuget.example")
    assert b"http://nuget.example/" in before
    await proxy.reload(server={"trusted_proxies": []})
    after = await said(wires[0], INDEX, f"{PLAIN}\r\nX-Forwarded-Host: nuget.example")
    assert b"http://nuget.example/" not in after
    assert b"http://127.0.0.1:1/" in after
