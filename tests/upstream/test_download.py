"""Packages: ranges, cuts, stalls, slow bodies."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest

from nugetproxy.errors import Reason, UpstreamFailure
from nugetproxy.upstream.answers import Download
from nugetproxy.upstream.breaker import Phase
from nugetproxy.upstream.client import UpstreamClient
from tests.fakes.clock import FakeClock
from tests.fakes.origin import Origin, Script
from tests.upstream.conftest import MakeClient, turns

BODY = os.urandom(200_000)
ETAG = '"v1"'
WHOLE = Script(body=BODY, headers=[("ETag", ETAG), ("Content-Type", "application/octet-stream")], ranges=True)
Count = Callable[..., float]


async def fetch(client: UpstreamClient, url: str, **more: object) -> tuple[Download, bytes]:
    async with client.download(url, **more) as download:  # type: ignore[arg-type]
        return download, b"".join([piece async for piece in download.chunks()])


async def failure(client: UpstreamClient, url: str, **more: object) -> tuple[bytes, UpstreamFailure]:
    """What arrived before it failed, how it did."""
    got = b""
    with pytest.raises(UpstreamFailure) as caught:
        async with client.download(url, **more) as download:  # type: ignore[arg-type]
            async for piece in download.chunks():
                got += piece
    return got, caught.value


async def test_a_whole_package(origin: Origin, client: UpstreamClient, count: Count) -> None:
    origin.routes["/p"] = WHOLE
    download, body = await fetch(client, f"{origin.url}/p?sig=x")
    assert body == BODY
    assert (download.status, download.length, download.total) == (200, len(BODY), len(BODY))
    assert (download.validators.etag, download.content_type) == (ETAG, "application/octet-stream")
    assert download.url == f"{origin.url}/p"
    assert origin.requests[0].headers["Accept-Encoding"] == "identity"
    assert "Range" not in origin.requests[0].headers
    assert count("received_bytes") == len(BODY)


async def test_the_connection_is_used_again(origin: Origin, client: UpstreamClient) -> None:
    origin.routes["/p"] = WHOLE
    for _ in range(3):
        await fetch(client, f"{origin.url}/p")
    assert origin.connections == 1


async def test_a_body_without_length(origin: Origin, client: UpstreamClient) -> None:
    origin.routes["/p"] = replace(WHOLE, chunked=True)
    download, body = await fetch(client, f"{origin.url}/p")
    assert (download.length, download.total, body) == (None, None, BODY)


@pytest.mark.parametrize("start", [1, 100_000, len(BODY) - 1])
async def test_from_the_middle(origin: Origin, client: UpstreamClient, start: int) -> None:
    origin.routes["/p"] = WHOLE
    download, body = await fetch(client, f"{origin.url}/p", start=start, if_range=ETAG)
    assert (download.status, download.length, download.total) == (206, len(BODY) - start, len(BODY))
    assert body == BODY[start:]
    assert origin.requests[0].headers["If-Range"] == ETAG


async def test_another_file_comes_whole(origin: Origin, client: UpstreamClient) -> None:
    origin.routes["/p"] = WHOLE
    download, body = await fetch(client, f"{origin.url}/p", start=100, if_range='"v0"')
    assert (download.status, download.length, body) == (200, len(BODY), BODY)


@pytest.mark.parametrize(
    "content_range",
    [
        "",
        "bytes 0-99/200",
        "bytes 101-199/200",
        "bytes 100-99/200",
        "bytes 100-198/200",
        "bytes 100-199/150",
        "items 100-199/200",
        "bytes 100-199",
        "bytes */200",
        "bytes 100-299/300",
        "bytes -100-199/200",
    ],
)
async def test_a_range_that_was_not_asked_for_is_refused(
    origin: Origin, client: UpstreamClient, content_range: str
) -> None:
    origin.routes["/p"] = Script(status=206, body=b"x" * 100, headers=[("Content-Range", content_range)])
    got, error = await failure(client, f"{origin.url}/p", start=100)
    assert (got, error.reason) == (b"", Reason.PROTOCOL)


async def test_a_range_without_total(origin: Origin, client: UpstreamClient) -> None:
    origin.routes["/p"] = Script(status=206, body=b"x" * 100, headers=[("Content-Range", "bytes 100-199/*")])
    download, _ = await fetch(client, f"{origin.url}/p", start=100)
    assert (download.length, download.total) == (100, None)


async def test_a_start_beyond_the_end(origin: Origin, client: UpstreamClient) -> None:
    origin.routes["/p"] = WHOLE
    download, body = await fetch(client, f"{origin.url}/p", start=len(BODY))
    assert (download.status, body) == (416, b"")


async def test_a_416_to_who_asks_for_the_whole(origin: Origin, client: UpstreamClient) -> None:
    origin.routes["/p"] = Script(status=416)
    _, error = await failure(client, f"{origin.url}/p")
    assert error.reason is Reason.STATUS


@pytest.mark.parametrize("status", [404, 410])
async def test_absent(origin: Origin, client: UpstreamClient, status: int) -> None:
    origin.routes["/p"] = Script(status=status, body=b"<Error/>")
    download, body = await fetch(client, f"{origin.url}/p")
    assert (download.status, download.length, body) == (status, None, b"")


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (Script(status=401), Reason.AUTH),
        (Script(status=403), Reason.AUTH),
        (Script(status=400), Reason.STATUS),
        (Script(status=204), Reason.STATUS),
        (Script(status=304), Reason.STATUS),
        (Script(status=206, body=b"x", headers=[("Content-Range", "bytes 0-0/1")]), Reason.STATUS),
        (Script(body=BODY, gzip=True), Reason.PROTOCOL),
        (Script(body=BODY, headers=[("Content-Encoding", "br")]), Reason.PROTOCOL),
        (Script(body=BODY, headers=[("Content-Encoding", "aws-chunked, gzip")]), Reason.PROTOCOL),
    ],
)
async def test_what_is_no_package_is_refused(
    origin: Origin, client: UpstreamClient, script: Script, reason: Reason
) -> None:
    origin.routes["/p"] = script
    got, error = await failure(client, f"{origin.url}/p")
    assert (got, error.reason) == (b"", reason)
    assert origin.count("/p") == 1


@pytest.mark.parametrize(
    "coding", ["aws-chunked", "binary", "none", "aws-chunked,utf-8", "gzip, aws-chunked", "br,None,"]
)
async def test_a_word_that_is_no_coding_costs_nobody_a_package(
    origin: Origin, client: UpstreamClient, coding: str
) -> None:
    """S3-compatible stores replay the header of the upload; .NET passes over it, and over all but the last word."""
    origin.routes["/p"] = Script(body=BODY, headers=[("Content-Encoding", coding)])
    assert (await fetch(client, f"{origin.url}/p"))[1] == BODY


@pytest.mark.parametrize("end", ["fin", "rst"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99, 0.9999])
async def test_a_body_cut_short_never_looks_complete(
    origin: Origin, client: UpstreamClient, count: Count, share: float, end: str
) -> None:
    cut_at = int(len(BODY) * share)
    origin.routes["/p"] = replace(WHOLE, cut_at=cut_at, end=end)  # type: ignore[arg-type]
    got, error = await failure(client, f"{origin.url}/p")
    # A reset before anything was read takes the headers with it, so that it is tried again.
    assert error.reason in {Reason.RESET, Reason.TRUNCATED} if end == "rst" else error.reason is Reason.TRUNCATED
    assert BODY.startswith(got)
    assert len(got) <= cut_at
    assert count("upstream_failures", reason=error.reason) >= 1


@pytest.mark.parametrize("end", ["fin", "rst"])
async def test_a_chunked_body_cut_short(origin: Origin, client: UpstreamClient, end: str) -> None:
    origin.routes["/p"] = replace(WHOLE, cut_at=1000, end=end, chunked=True)  # type: ignore[arg-type]
    got, error = await failure(client, f"{origin.url}/p")
    assert error.reason in {Reason.RESET, Reason.TRUNCATED}
    assert len(got) <= 1000


async def test_a_body_without_length_that_is_reset_is_not_whole(origin: Origin, client: UpstreamClient) -> None:
    """Only a connection that is closed ends it; a truncated icon or readme looks like a whole one."""
    came = asyncio.Event()
    origin.routes["/p"] = Script(body=BODY, length=None, gate=came, gate_at=1000, cut_at=1000, end="rst")
    got = b""
    with pytest.raises(UpstreamFailure) as caught:
        async with client.download(f"{origin.url}/p") as download:
            async for piece in download.chunks():
                got += piece
                came.set()
    assert (BODY[:1000].startswith(got), caught.value.reason) == (True, Reason.RESET)
    with pytest.raises(UpstreamFailure) as caught:
        await client.get(f"{origin.url}/p")
    assert caught.value.reason is Reason.RESET


async def test_an_idle_connection_that_is_reset_is_nothing_to_tell_of(origin: Origin, client: UpstreamClient) -> None:
    told: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    origin.routes["/p"] = WHOLE
    await fetch(client, f"{origin.url}/p")
    origin.drop(reset=True)
    await turns()
    gc.collect()
    assert told == []


async def test_a_body_that_broke_is_not_tried_again_by_itself(origin: Origin, client: UpstreamClient) -> None:
    origin.routes["/p"] = [replace(WHOLE, cut_at=1000), WHOLE]
    got, _ = await failure(client, f"{origin.url}/p")
    assert origin.count("/p") == 1
    _, rest = await fetch(client, f"{origin.url}/p", start=len(got), if_range=ETAG)
    assert got + rest == BODY


async def test_what_fails_before_the_body_is_tried_again(
    origin: Origin, client: UpstreamClient, clock: FakeClock
) -> None:
    origin.routes["/p"] = [Script(raw=b"", end="rst"), Script(status=503), WHOLE]
    assert (await fetch(client, f"{origin.url}/p"))[1] == BODY
    assert len(clock.slept) == 2


async def test_a_stall_ends_it(origin: Origin, make_client: MakeClient) -> None:
    origin.routes["/p"] = replace(WHOLE, stall_at=1000)
    got, error = await failure(make_client(read_timeout=0.05), f"{origin.url}/p")
    assert (got, error.reason) == (BODY[:1000], Reason.STALL)


async def test_no_answer_at_all(origin: Origin, make_client: MakeClient) -> None:
    origin.routes["/p"] = replace(WHOLE, gate=asyncio.Event())
    _, error = await failure(make_client(read_timeout=0.05, tries=1), f"{origin.url}/p")
    assert error.reason is Reason.READ_TIMEOUT


async def test_the_document_deadline_does_not_cut_a_long_body(origin: Origin, make_client: MakeClient) -> None:
    gate = asyncio.Event()
    origin.routes["/p"] = replace(WHOLE, gate=gate, gate_at=1000)
    client = make_client(document_deadline=0.05)
    async with client.download(f"{origin.url}/p") as download:
        pieces = download.chunks()
        got = await anext(pieces)
        asyncio.get_running_loop().call_later(0.08, gate.set)
        got += b"".join([piece async for piece in pieces])
    assert got == BODY


async def test_a_trickle_ends_it(origin: Origin, client: UpstreamClient, clock: FakeClock) -> None:
    async def trickle() -> AsyncIterator[bytes]:
        while True:
            clock.advance(5)
            yield b"x"
            await asyncio.sleep(0)

    origin.routes["/p"] = Script(stream=trickle, length=100_000)
    got, error = await failure(client, f"{origin.url}/p")
    assert error.reason is Reason.SLOW
    assert 0 < len(got) < 1000


async def test_a_slow_reader_is_not_a_slow_upstream(origin: Origin, client: UpstreamClient, clock: FakeClock) -> None:
    body = BODY * 5
    origin.routes["/p"] = Script(body=body)
    size = 0
    async with client.download(f"{origin.url}/p") as download:
        async for piece in download.chunks():
            clock.advance(10_000)
            size += len(piece)
    assert size == len(body)


@pytest.mark.parametrize("script", [Script(body=b"x" * 1001), Script(body=b"x" * 1001, chunked=True)])
async def test_too_large(origin: Origin, make_client: MakeClient, script: Script) -> None:
    origin.routes["/p"] = script
    got, error = await failure(make_client(max_package=1000), f"{origin.url}/p")
    assert error.reason is Reason.TOO_LARGE
    assert len(got) <= 1000


async def test_a_resumed_package_is_measured_as_a_whole(origin: Origin, make_client: MakeClient) -> None:
    origin.routes["/p"] = WHOLE
    _, error = await failure(make_client(max_package=len(BODY) - 1), f"{origin.url}/p", start=100)
    assert error.reason is Reason.TOO_LARGE


async def test_leaving_early_gives_the_slot_back(origin: Origin, make_client: MakeClient) -> None:
    origin.routes["/p"] = Script(body=BODY * 50)
    client = make_client(connections=1)
    for _ in range(3):
        async with client.download(f"{origin.url}/p") as download:
            await anext(download.chunks())
    assert origin.connections == 3
    assert not client.breakers()


async def test_packages_that_are_cut_one_after_the_other_open_the_breaker(
    origin: Origin, make_client: MakeClient
) -> None:
    """One alone may be broken; a way on which all of them are is."""
    origin.fallback = lambda _: replace(WHOLE, cut_at=1000)
    client = make_client(breaker_failures=3)
    for path in ("/p", "/p", "/p", "/p", "/q", "/r"):
        assert (await failure(client, f"{origin.url}{path}"))[1].reason is Reason.TRUNCATED
    assert client.breakers()[origin.url].phase is Phase.OPEN


async def test_a_probe_has_shown_enough_when_its_headers_are_here(
    origin: Origin, make_client: MakeClient, clock: FakeClock
) -> None:
    client = make_client(breaker_failures=1, tries=1)
    gate = asyncio.Event()
    origin.routes["/p"] = [Script(status=503), replace(WHOLE, gate=gate, gate_at=1000)]
    origin.routes["/d"] = Script(body=b"{}")
    await failure(client, f"{origin.url}/p")
    clock.advance(5)
    async with client.download(f"{origin.url}/p") as download:
        assert (await client.get(f"{origin.url}/d")).status == 200
        gate.set()
        assert b"".join([piece async for piece in download.chunks()]) == BODY


@pytest.mark.parametrize("extra", [b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad", b"garbage" * 10, b"\r\n"])
async def test_bytes_after_the_body_are_not_part_of_it(origin: Origin, client: UpstreamClient, extra: bytes) -> None:
    """Nor do they become the answer to the next request."""
    origin.routes["/p"] = replace(WHOLE, extra=extra)
    origin.routes["/d"] = WHOLE
    assert (await fetch(client, f"{origin.url}/p"))[1] == BODY
    assert (await fetch(client, f"{origin.url}/d"))[1] == BODY


async def test_a_response_nobody_asked_for_is_never_given_to_the_next_request(
    origin: Origin, client: UpstreamClient, count: Count
) -> None:
    gate = asyncio.Event()
    response = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"

    async def with_late_extra() -> AsyncIterator[bytes]:
        yield b"one"
        await gate.wait()
        yield response + b"bad"

    origin.routes["/p"] = [Script(stream=with_late_extra, length=3), Script(body=b"two")]
    assert (await fetch(client, f"{origin.url}/p"))[1] == b"one"
    gate.set()
    while origin.active:
        await asyncio.sleep(0)
    await turns()
    assert (await fetch(client, f"{origin.url}/p"))[1] == b"two"
    assert origin.connections == 2
    assert count("upstream_failures", reason="extra_bytes") == 1


@pytest.mark.parametrize("status", [401, 400, 302])
async def test_a_useless_answer_shows_that_upstream_is_back(
    origin: Origin, make_client: MakeClient, clock: FakeClock, status: int
) -> None:
    client = make_client(breaker_failures=1, tries=1)
    origin.routes["/p"] = [Script(status=503), Script(status=status)]
    await failure(client, f"{origin.url}/p")
    clock.advance(5)
    await failure(client, f"{origin.url}/p")
    assert not client.breakers()
