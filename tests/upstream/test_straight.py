"""The short way of a request without a body ends as aiohttp's session would end it, whatever upstream answers."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from aiohttp.client_proto import ResponseHandler
from structlog.testing import capture_logs

from nugetproxy.caching.entry import Validators
from nugetproxy.errors import UpstreamFailure
from nugetproxy.upstream import lines, straight
from nugetproxy.upstream.client import UpstreamClient
from tests.fakes.origin import Origin, Script
from tests.upstream.conftest import MakeClient, turns

JSON = b'{"version":"3.0.0"}'
ZIP = b"PK\x03\x04" + bytes(300_000)
LONG = "x" * 33_000


def raw(*lines: str, body: bytes = b"", **more: Any) -> Script:
    """What is sent, line by line."""
    return Script(raw="\r\n".join((*lines, "", "")).encode("latin-1") + body, **more)


ODD = {
    "plain": Script(body=JSON, headers=[("ETag", '"a"'), ("Content-Type", "application/json")]),
    "empty": Script(body=b""),
    "chunked": Script(body=JSON, chunked=True),
    "chunked with trailers": raw(
        "HTTP/1.1 200 OK", "Transfer-Encoding: chunked", body=b"3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n"
    ),
    "chunk of no size": raw("HTTP/1.1 200 OK", "Transfer-Encoding: chunked", body=b"zz\r\nabc\r\n"),
    "chunk without its end": raw("HTTP/1.1 200 OK", "Transfer-Encoding: chunked", body=b"3\r\nabcdef\r\n0\r\n\r\n"),
    "chunked, cut": Script(body=JSON, chunked=True, cut_at=5),
    "chunked, reset": Script(body=JSON, chunked=True, cut_at=5, end="rst"),
    "ends too early": Script(body=JSON, length=100, cut_at=len(JSON)),
    "is reset within": Script(body=JSON, length=100, cut_at=len(JSON), end="rst"),
    "says more than it should": Script(body=JSON, extra=b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"),
    "says nonsense behind": Script(body=JSON, extra=b"and then?\r\n\r\n"),
    "ends with the connection": Script(body=JSON, length=None),
    "HTTP/1.0": raw("HTTP/1.0 200 OK", "Content-Length: 3", body=b"abc"),
    "HTTP/1.0 kept alive": raw("HTTP/1.0 200 OK", "Connection: keep-alive", "Content-Length: 3", body=b"abc"),
    "HTTP/1.0 until the end": raw("HTTP/1.0 200 OK", body=b"abc", end="fin"),
    "asks to close": Script(body=JSON, headers=[("Connection", "close")]),
    "continue": raw("HTTP/1.1 100 Continue", "", "HTTP/1.1 200 OK", "Content-Length: 3", body=b"abc"),
    "early hints": raw(
        "HTTP/1.1 103 Early Hints", "Link: <x>", "", "HTTP/1.1 102 Hm", "", "HTTP/1.1 404 No", "Content-Length: 0"
    ),
    "nothing but continue": raw("HTTP/1.1 100 Continue", end="fin"),
    "another protocol": raw("HTTP/1.1 101 Switching Protocols", "Connection: upgrade", "Upgrade: h2c", body=b"PRI"),
    "no content": Script(status=204),
    "not modified": Script(status=304, headers=[("ETag", '"a"')]),
    "odd status": Script(status=299, body=b"abc"),
    "status of four digits": raw("HTTP/1.1 2000 OK", "Content-Length: 0"),
    "no status": raw("HTTP/1.1 OK", "Content-Length: 0"),
    "no reason": raw("HTTP/1.1 200", "Content-Length: 3", body=b"abc"),
    "a reason beyond ASCII": raw("HTTP/1.1 404 d\xe9j\xe0 vu", "Content-Length: 0"),
    "not HTTP": raw("SSH-2.0-OpenSSH_9.2", end="fin"),
    "HTTP/2": raw("HTTP/2.0 200 OK", "Content-Length: 0"),
    "closes at once": raw(end="fin"),
    "nothing": Script(raw=b"", end="fin"),
    "nothing, reset": Script(raw=b"", end="rst"),
    "half of the headers": Script(raw=b"HTTP/1.1 200 OK\r\nContent-Le", end="fin"),
    "headers of two lengths": raw("HTTP/1.1 200 OK", "Content-Length: 3", "Content-Length: 4", body=b"abcd"),
    "the same length twice": raw("HTTP/1.1 200 OK", "Content-Length: 3", "Content-Length: 3", body=b"abc"),
    "a length below nothing": raw("HTTP/1.1 200 OK", "Content-Length: -3", body=b"abc"),
    "a length in words": raw("HTTP/1.1 200 OK", "Content-Length: three", body=b"abc"),
    "length with chunks": raw(
        "HTTP/1.1 200 OK", "Content-Length: 3", "Transfer-Encoding: chunked", body=b"3\r\nabc\r\n0\r\n\r\n"
    ),
    "a long line": raw("HTTP/1.1 200 OK", f"X-Long: {LONG}", "Content-Length: 3", body=b"abc"),
    "a long line that is allowed": raw("HTTP/1.1 200 OK", f"X: {LONG[:30_000]}", "Content-Length: 3", body=b"abc"),
    "many lines": raw("HTTP/1.1 200 OK", *(f"X-{number}: 1" for number in range(120)), "Content-Length: 0"),
    "a folded line": raw("HTTP/1.1 200 OK", "X-Folded: a", "  b", "Content-Length: 3", body=b"abc"),
    "a line without colon": raw("HTTP/1.1 200 OK", "Nonsense", "Content-Length: 3", body=b"abc"),
    "a name with a space": raw("HTTP/1.1 200 OK", "Content-Length : 3", body=b"abc"),
    "headers beyond ASCII": raw("HTTP/1.1 200 OK", 'ETag: "\xe9"', "Content-Length: 3", body=b"abc"),
    "warnings": Script(body=JSON, headers=[("X-NuGet-Warning", "one"), ("X-NuGet-Warning", "two")]),
    "cookies": Script(body=JSON, headers=[("Set-Cookie", "a=b"), ("Set-Cookie", "c=d; Secure")]),
    "packed": Script(body=JSON, gzip=True),
    "packed badly": Script(body=JSON, headers=[("Content-Encoding", "gzip")]),
    "packed, cut": Script(body=gzip.compress(JSON)[:-4], headers=[("Content-Encoding", "gzip")]),
    "packed otherwise": Script(body=JSON, headers=[("Content-Encoding", "br")]),
    "refused": Script(status=401, body=b"who are you?", headers=[("WWW-Authenticate", "Basic")]),
    "not found": Script(status=404, body=b"x" * 100_000),
    "busy": Script(status=503, body=b"later", headers=[("Retry-After", "3")]),
    "too many": Script(status=429),
    "moved": Script(status=302, headers=[("Location", "/good")], body=b"there"),
    "moved in a circle": Script(status=301, headers=[("Location", "/odd")]),
    "moved nowhere": Script(status=308),
    "long": Script(body=ZIP),
    "long, in chunks": Script(body=ZIP, chunked=True),
    "long, cut": Script(body=ZIP, cut_at=200_000),
    "long, reset": Script(body=ZIP, cut_at=200_000, end="rst"),
    "long, with more behind": Script(body=ZIP, extra=b"more"),
}


async def said(asking: Awaitable[Any]) -> Any:
    """What it comes to, with all that a failure says."""
    try:
        return await asking
    except UpstreamFailure as failure:
        return type(failure), failure.reason, failure.detail, failure.retry_after


async def package(client: UpstreamClient, url: str) -> Any:
    async with client.download(url) as download:
        body = b"".join([bytes(piece) async for piece in download.blocks()])
        return download.status, download.length, download.validators, body


async def outcome(origin: Origin, client: UpstreamClient) -> list[Any]:
    """What three sorts of requests say, each with a good one behind it on what is left of the connection."""
    known = Validators('"a"', None)
    asks: list[Callable[[str], Awaitable[Any]]] = [
        lambda url: client.get(url, validators=known),
        client.head,
        lambda url: package(client, url),
    ]
    told: list[Any] = []
    for ask in asks:
        for path in ("/odd", "/good"):
            told.append(await said(ask(origin.url + path)))
            await turns()
    told += [(seen.method, seen.target, list(seen.headers.items())) for seen in origin.requests]
    told.append(origin.connections)
    return told


@pytest.mark.parametrize("name", ODD)
async def test_an_odd_answer_comes_to_the_same(name: str, make_client: MakeClient, monkeypatch: Any) -> None:
    outcomes = []
    for usable in (True, False):
        monkeypatch.setattr(lines, "is_usable", lambda _, usable=usable: usable)
        async with Origin() as origin:
            origin.routes = {"/odd": ODD[name], "/good": Script(body=JSON)}
            client = make_client(tries=1, index_url=f"{origin.url}/v3/index.json", read_timeout=5.0)
            told = await outcome(origin, client)
            outcomes.append(repr(told).replace(str(origin.port), "PORT"))
            await client.close()
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("limit", ["read_timeout", "document_deadline"])
@pytest.mark.parametrize("at", [None, 0, 5])
async def test_silence_comes_to_the_same(
    at: int | None, limit: str, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes = []
    for usable in (True, False):
        monkeypatch.setattr(lines, "is_usable", lambda _, usable=usable: usable)
        async with Origin() as origin:
            gate = asyncio.Event()
            origin.routes["/x"] = Script(body=JSON, gate=gate, gate_at=at)
            limits = {"read_timeout": 5.0, "document_deadline": 5.0, limit: 0.05}
            client = make_client(tries=1, index_url=f"{origin.url}/v3/index.json", **limits)
            told = [await said(client.get(f"{origin.url}/x"))]
            if limit == "read_timeout" or at is None:  # nothing but silence ends a package
                told.append(await said(package(client, f"{origin.url}/x")))
            outcomes.append(repr(told).replace(str(origin.port), "PORT"))
            gate.set()
            await client.close()
    assert outcomes[0] == outcomes[1]


async def test_it_is_what_requests_without_a_body_take(
    origin: Origin, client: UpstreamClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a request went through aiohttp's session")

    monkeypatch.setattr(aiohttp.ClientSession, "_request", refuse)
    origin.routes["/x"] = Script(body=JSON)
    assert (await client.get(f"{origin.url}/x")).body == JSON
    assert (await client.head(f"{origin.url}/x")).status == 200
    assert origin.connections == 1


async def test_a_caller_that_leaves_ends_the_connection(origin: Origin, client: UpstreamClient) -> None:
    gate = asyncio.Event()
    origin.routes["/x"] = Script(body=JSON, gate=gate)
    asking = asyncio.create_task(client.get(f"{origin.url}/x"))
    while not origin.active:
        await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    gate.set()
    origin.routes["/y"] = Script(body=b"{}")
    assert (await client.get(f"{origin.url}/y")).body == b"{}"
    assert origin.connections == 2


async def test_many_origins_are_forgotten_without_harm(
    origin: Origin, client: UpstreamClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(straight, "MOST_WAYS", 1)
    origin.fallback = lambda seen: Script(body=seen.headers["Host"].encode())
    for _ in range(2):
        for url in (origin.url, origin.localhost):
            assert (await client.get(f"{url}/x")).body.decode() == url.removeprefix("http://")
    assert origin.connections == 2


async def test_what_is_called_of_aiohttp_is_there() -> None:
    with capture_logs() as events:
        assert straight.is_usable(aiohttp.TCPConnector())
    assert events == []


@pytest.mark.parametrize("name", ["should_close", "set_response_params"])
async def test_another_aiohttp_is_used_through_its_session_with_a_warning(
    name: str, origin: Origin, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def renamed(self: ResponseHandler, skip: bool) -> None: ...

    if name in straight.PROPERTIES:
        monkeypatch.setattr(straight, "PROPERTIES", (*straight.PROPERTIES, "renamed"))
    else:
        parameters = straight.SIGNATURES[f"ResponseHandler.{name}"][1]
        monkeypatch.setattr(straight, "SIGNATURES", {f"ResponseHandler.{name}": (renamed, parameters)})
    asked: list[str] = []
    through = aiohttp.ClientSession._request

    async def watched(self: aiohttp.ClientSession, method: str, *args: Any, **more: Any) -> aiohttp.ClientResponse:
        asked.append(method)
        return await through(self, method, *args, **more)

    monkeypatch.setattr(aiohttp.ClientSession, "_request", watched)
    origin.routes["/x"] = Script(body=JSON)
    with capture_logs() as events:
        assert (await make_client().get(f"{origin.url}/x")).body == JSON
    assert [event["event"] for event in events] == ["straight.closed"]
    assert asked == ["GET"]
