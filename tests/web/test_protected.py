"""A protected feed under whatever is sent to it, by whoever sends it."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.fakes.asking import PACKAGE, REGISTRATION, SEARCH, VERSIONS, ask
from tests.fakes.clock import FakeClock
from tests.fakes.feed import FakeFeed
from tests.fakes.packages import make_nupkg
from tests.fakes.proxy import Proxy
from tests.web.test_paths import PLAIN, ROUTES, WORDS
from tests.web.test_tokens import basic

CANARY = "only-for-those-who-belong"
"""Stands in everything that the upstream says."""
SHORT, LONG = 150, 10_000
AT_ONCE = 100
MEMBERS, STRANGERS = ("member",), ("nobody", "wrong", "neighbour")
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT", "BREW")
TARGETS = ("/v3/index.json", VERSIONS, REGISTRATION, SEARCH, PACKAGE, "/v3/package", "/-/token/list", "/metrics")
HEADERS = (
    "X-Forwarded-For: 127.0.0.1", "X-Forwarded-Host: evil.example", "Forwarded: for=127.0.0.1",
    "X-Original-URL: /v3/query", "X-HTTP-Method-Override: GET", "Range: bytes=0-", "If-None-Match: *",
    "Expect: 100-continue", "Transfer-Encoding: chunked", "Content-Length: 5", "Content-Length: -1", "Upgrade: h2c",
    "Connection: close", "Cookie: a=b", "Origin: https://evil.example", "X-NuGet-ApiKey: key", "Accept-Encoding: gzip",
    "Host: evil.example", "TE: trailers", "X: \x00", "Authorization: Basic",
)  # fmt: skip


@pytest.fixture
def events() -> Iterator[list[Any]]:
    with capture_logs() as logs:
        yield logs


@pytest.fixture
async def protected(tmp_path: Path, feed: FakeFeed, clock: FakeClock) -> Any:
    """A proxy of two feeds, both filled with the canary; only the first is for the member."""
    feed.add(make_nupkg("Acme.A", "1.0.0", description=CANARY))
    more = {"second": {"url": feed.index_url, "anonymous": False}}
    proxy = Proxy(
        feed.index_url,
        tmp_path / "cache",
        clock=clock,
        server={"header_timeout": "500ms", "body_timeout": "500ms"},  # some requests never end
        upstream={"anonymous": False},
        upstreams=more,
    )
    await proxy.start()
    yield proxy
    await proxy.stop()


async def tokens(proxy: Proxy) -> dict[str, dict[str, str]]:
    """What each caller shows."""
    _, member = await proxy.app.tokens.add("member", ["read"], ["up"], None)
    _, neighbour = await proxy.app.tokens.add("neighbour", ["read"], ["second"], None)
    return {"member": basic(member), "neighbour": basic(neighbour), "nobody": {}, "wrong": basic("wrong")}


def crashed(events: list[Any]) -> list[Any]:
    return [event for event in events if event["event"] == "request.crashed" or event["log_level"] == "critical"]


async def exchange(port: int, request: bytes) -> bytes:
    """All that comes back."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        with contextlib.suppress(ConnectionError):
            writer.write(request)
            async with asyncio.timeout(20):
                return await reader.read()
        return b""
    finally:
        writer.close()


def garbled(chance: random.Random, shown: list[str]) -> bytes:
    """A request that begins as one, with something of everything in it."""
    target = chance.choice((*TARGETS, *(route.format(chance.choice((*WORDS, *PLAIN))) for route in ROUTES)))
    lines = [f"{chance.choice(METHODS)} {target} HTTP/1.{chance.choice('0119')}"]
    lines += ["Host: 127.0.0.1"] * chance.choice((1, 1, 1, 1, 0, 2))
    lines += (
        ["Connection: close"] * (chance.random() < 0.8)
        + chance.sample(HEADERS, chance.randrange(4))
        + ([chance.choice(shown)] if chance.random() < 0.3 else [])
    )
    end = chance.choice(("\r\n", "\r\n", "\r\n", "\n", "\r"))
    request = bytearray((end.join(lines) + end + end).encode("utf-8", "surrogateescape"))
    request += chance.choice(
        (b"", b"", b"hello", b"0\r\n\r\n", b"GET /v3/index.json HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    )
    for _ in range(chance.choice((0, 0, 0, 1, 3))):
        request[chance.randrange(len(request))] = chance.randrange(256)
    return bytes(request)


async def assert_raw_requests_get_nothing(proxy: Proxy, feed: FakeFeed, events: list[Any], count: int) -> None:
    callers = await tokens(proxy)
    assert CANARY.encode() in (await ask(proxy, REGISTRATION, headers=callers["member"])).body
    asked = len(feed.requests)
    chance = random.Random(11)
    shown = [f"Authorization: {callers[name].get('Authorization', '')}" for name in STRANGERS]
    codes: Counter[bytes] = Counter()
    for _ in range(count // AT_ONCE):
        requests = [garbled(chance, shown) for _ in range(AT_ONCE)]
        answers = await asyncio.gather(*(exchange(proxy.client.port, request) for request in requests))
        for answer in answers:
            assert CANARY.encode() not in answer
            assert not any(part.startswith(b"5") for part in statuses(answer)), answer[:400]
            codes.update(statuses(answer))
    assert crashed(events) == []
    assert min(codes[b"400"], codes[b"401"]) > count / 50, codes
    assert len(feed.requests) == asked, "nobody who may not read makes us ask"


def statuses(answer: bytes) -> list[bytes]:
    """The codes of all the answers that came back."""
    return [part[:3] for part in answer.split(b"HTTP/1.1 ")[1:] if not part.startswith(b"505")]


async def assert_generated_requests_get_theirs(proxy: Proxy, feed: FakeFeed, events: list[Any], count: int) -> None:
    callers = await tokens(proxy)
    chance = random.Random(12)
    hosts = {f"127.0.0.1:{feed.origin.port}"}
    paths = ("/v3/index.json", VERSIONS, REGISTRATION, SEARCH, PACKAGE, "/v3/content/acme.b/index.json")
    for _ in range(count // 10):
        await asyncio.gather(*(assert_one_gets_its_own(proxy, feed, chance, callers, paths) for _ in range(10)))
    assert {seen.headers["Host"] for seen in feed.requests} <= hosts
    assert crashed(events) == []


async def assert_one_gets_its_own(
    proxy: Proxy, feed: FakeFeed, chance: random.Random, callers: dict[str, dict[str, str]], paths: tuple[str, ...]
) -> None:
    who, front = chance.choice(sorted(callers)), chance.choice(("", "/up", "/second"))
    path = chance.choice((*paths, chance.choice(ROUTES).format(chance.choice(PLAIN))))
    method = chance.choice(("GET", "GET", "GET", "HEAD", "POST", "PUT", "DELETE"))
    body = {"data": b"x" * chance.randrange(50)} if method in {"PUT", "POST"} else {}
    got = await ask(proxy, front + path, method, headers={**callers[who], "Connection": "close"}, **body)
    may = {"member": {"", "/up"}, "neighbour": {"/second"}}.get(who, set())
    assert got.status < 500, (who, method, front + path, got.body)
    if front not in may:
        assert CANARY.encode() not in got.body
        assert got.status >= 400, (who, method, front + path)


async def test_raw_requests_get_nothing_of_it(protected: Proxy, feed: FakeFeed, events: list[Any]) -> None:
    await assert_raw_requests_get_nothing(protected, feed, events, SHORT)


async def test_generated_requests_get_what_is_theirs(protected: Proxy, feed: FakeFeed, events: list[Any]) -> None:
    await assert_generated_requests_get_theirs(protected, feed, events, SHORT)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(900)
async def test_ten_thousand_raw_requests(protected: Proxy, feed: FakeFeed, events: list[Any]) -> None:
    await assert_raw_requests_get_nothing(protected, feed, events, LONG)


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_ten_thousand_generated_requests(protected: Proxy, feed: FakeFeed, events: list[Any]) -> None:
    await assert_generated_requests_get_theirs(protected, feed, events, LONG)
