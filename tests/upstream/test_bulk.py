"""Long bodies, received past aiohttp's parser: the same bytes, the same failures, bounded memory."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest
import trustme

from nugetproxy.errors import Reason, UpstreamFailure
from nugetproxy.upstream import bulk
from nugetproxy.upstream.client import UpstreamClient
from nugetproxy.upstream.rings import MOST_LENT, RING
from nugetproxy.upstream.rings import rings as rings_of_all
from tests.fakes.clock import FakeClock
from tests.fakes.origin import Origin, Script
from tests.upstream.conftest import MakeClient, turns

BODY = os.urandom(3 * RING + 12_345)
ETAG = '"v1"'
WHOLE = Script(body=BODY, headers=[("ETag", ETAG)], ranges=True)
Count = Callable[..., float]


async def pieces(client: UpstreamClient, url: str, **more: object) -> list[bytes | memoryview]:
    """Copies of what came, each of the kind that it came as."""
    async with client.download(url, **more) as download:  # type: ignore[arg-type]
        return [
            memoryview(bytes(piece)) if isinstance(piece, memoryview) else piece async for piece in download.blocks()
        ]


async def failure(client: UpstreamClient, url: str) -> tuple[bytes, UpstreamFailure]:
    """What arrived before it failed, how it did."""
    got = b""
    with pytest.raises(UpstreamFailure) as caught:
        async with client.download(url) as download:
            async for piece in download.blocks():
                got += piece
    return got, caught.value


def past_aiohttp(came: list[bytes | memoryview]) -> int:
    """How many bytes came past it."""
    return sum(len(piece) for piece in came if isinstance(piece, memoryview))


@pytest.fixture(params=["http", "https"])
async def served(
    request: pytest.FixtureRequest, origin: Origin, make_client: MakeClient, tmp_path: Path
) -> AsyncIterator[tuple[Origin, str, UpstreamClient]]:
    """An origin, its URL, a client of it."""
    if request.param == "http":
        yield origin, origin.url, make_client()
        return
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    async with Origin(ssl=context) as secure:
        index_url = f"{secure.localhost}/index.json"
        yield secure, secure.localhost, make_client(index_url=index_url, ca_file=str(tmp_path / "ca.pem"))


async def test_a_long_body_comes_past_aiohttp_and_its_connection_is_used_again(
    served: tuple[Origin, str, UpstreamClient], count: Count
) -> None:
    origin, url, client = served
    origin.routes["/p"] = WHOLE
    for number in range(1, 4):
        came = await pieces(client, f"{url}/p")
        assert b"".join(came) == BODY
        assert past_aiohttp(came) > len(BODY) // 2
        assert count("received_bytes") == number * len(BODY)
    assert origin.connections == 1


async def test_a_document_comes_over_the_same_connection(served: tuple[Origin, str, UpstreamClient]) -> None:
    """aiohttp reads from it again, as if it had read the body itself."""
    origin, url, client = served
    origin.routes |= {"/p": WHOLE, "/q": replace(WHOLE, body=b"short")}
    assert b"".join(await pieces(client, f"{url}/p")) == BODY
    assert b"".join(await pieces(client, f"{url}/q")) == b"short"
    assert b"".join(await pieces(client, f"{url}/p")) == BODY
    assert origin.connections == 1


async def test_from_the_middle(origin: Origin, client: UpstreamClient) -> None:
    origin.routes["/p"] = WHOLE
    came = await pieces(client, f"{origin.url}/p", start=RING + 1, if_range=ETAG)
    assert b"".join(came) == BODY[RING + 1 :]
    assert past_aiohttp(came) > RING


async def test_a_body_without_length_is_left_to_aiohttp(origin: Origin, client: UpstreamClient) -> None:
    origin.routes["/p"] = replace(WHOLE, chunked=True)
    came = await pieces(client, f"{origin.url}/p")
    assert (b"".join(came), past_aiohttp(came)) == (BODY, 0)


async def test_a_slow_reader_gets_it_all_and_holds_upstream_up(origin: Origin, make_client: MakeClient) -> None:
    """While it takes nothing, upstream is not silent, whatever time passes."""
    origin.routes["/p"] = WHOLE
    client, sizes, got = make_client(read_timeout=0.5), [], b""
    async with client.download(f"{origin.url}/p") as download:
        async for piece in download.blocks():
            if not sizes:
                passed = asyncio.Event()
                asyncio.get_running_loop().call_later(1.2, passed.set)
                await passed.wait()
            sizes.append(len(piece))
            got += piece
    assert got == BODY
    assert RING in {sizes[0], sizes[0] + sizes[1]}, "the ring was full: with what came at once, or with the rest of it"


async def test_a_piece_stays_as_it_is_until_the_next_is_asked_for(origin: Origin, client: UpstreamClient) -> None:
    origin.routes["/p"] = WHOLE
    at = 0
    async with client.download(f"{origin.url}/p") as download:
        async for piece in download.blocks():
            await turns()  # more arrives meanwhile
            assert piece == BODY[at : at + len(piece)]
            at += len(piece)
    assert at == len(BODY)


async def test_what_comes_slowly_is_not_kept_back(origin: Origin, client: UpstreamClient) -> None:
    gate = asyncio.Event()
    origin.routes["/p"] = replace(WHOLE, gate=gate, gate_at=300_000)
    got = b""
    async with client.download(f"{origin.url}/p") as download:
        async for piece in download.blocks():
            got += piece
            if len(got) == 300_000:
                gate.set()
    assert got == BODY


@pytest.mark.parametrize("cut_at", [400_000, 2 * RING, len(BODY) - 1])
async def test_a_body_cut_short_is_never_complete(
    served: tuple[Origin, str, UpstreamClient], count: Count, cut_at: int
) -> None:
    origin, url, client = served
    origin.routes["/p"] = replace(WHOLE, cut_at=cut_at, end="fin")
    got, error = await failure(client, f"{url}/p")
    assert (got, error.reason) == (BODY[:cut_at], Reason.TRUNCATED)
    assert count("upstream_failures", reason="truncated") == 1


async def test_a_body_that_is_reset(origin: Origin, client: UpstreamClient) -> None:
    origin.routes["/p"] = replace(WHOLE, cut_at=2 * RING, end="rst")
    got, error = await failure(client, f"{origin.url}/p")
    assert error.reason in {Reason.RESET, Reason.TRUNCATED}
    assert BODY[: 2 * RING].startswith(got)


async def test_a_stall_ends_it(origin: Origin, make_client: MakeClient) -> None:
    origin.routes["/p"] = replace(WHOLE, stall_at=RING + 500)
    got, error = await failure(make_client(read_timeout=0.4), f"{origin.url}/p")
    assert (got, error.reason) == (BODY[: RING + 500], Reason.STALL)


async def test_a_trickle_ends_it(origin: Origin, client: UpstreamClient, clock: FakeClock) -> None:
    async def trickle() -> AsyncIterator[bytes]:
        yield BODY[:200_000]
        while True:
            clock.advance(5)
            yield b"x"
            await asyncio.sleep(0)

    origin.routes["/p"] = Script(stream=trickle, length=len(BODY))
    _, error = await failure(client, f"{origin.url}/p")
    assert error.reason is Reason.SLOW


@pytest.mark.parametrize("extra", [b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad", b"garbage" * 10, b"\r\n"])
async def test_bytes_after_the_body_are_nobodys(served: tuple[Origin, str, UpstreamClient], extra: bytes) -> None:
    origin, url, client = served
    origin.routes |= {"/p": replace(WHOLE, extra=extra), "/q": replace(WHOLE, body=b"short")}
    assert b"".join(await pieces(client, f"{url}/p")) == BODY
    assert b"".join(await pieces(client, f"{url}/q")) == b"short"


async def test_bytes_long_after_the_body_are_nobodys(origin: Origin, client: UpstreamClient, count: Count) -> None:
    gate = asyncio.Event()

    async def with_late_extra() -> AsyncIterator[bytes]:
        yield BODY
        await gate.wait()
        yield b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad"

    origin.routes["/p"] = [Script(stream=with_late_extra, length=len(BODY)), WHOLE]
    assert b"".join(await pieces(client, f"{origin.url}/p")) == BODY
    gate.set()
    while origin.active:
        await asyncio.sleep(0)
    await turns()
    assert b"".join(await pieces(client, f"{origin.url}/p")) == BODY
    assert origin.connections == 2
    assert count("upstream_failures", reason="extra_bytes") == 1


async def test_whoever_leaves_early_ends_the_connection(origin: Origin, make_client: MakeClient) -> None:
    origin.routes["/p"] = Script(body=BODY * 3)
    client = make_client(connections=1)
    for _ in range(3):
        async with client.download(f"{origin.url}/p") as download:
            blocks = download.blocks()
            await anext(blocks)
            await anext(blocks)
    assert origin.connections == 3
    assert not client.breakers()


FITS = BODY[: RING - 1000]


async def test_a_body_with_room_in_the_ring_comes_as_one_piece(
    served: tuple[Origin, str, UpstreamClient], count: Count, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "LINGER", 5.0)  # whatever the machine does meanwhile
    monkeypatch.setattr(bulk, "LONGEST", 60.0)
    origin, url, client = served
    origin.routes["/p"] = Script(body=FITS)
    came = await pieces(client, f"{url}/p")
    assert [bytes(piece) for piece in came] == [FITS]
    assert count("received_bytes") == len(FITS), "its first bytes, which came with the headers, count once"


@pytest.mark.parametrize("gate_at", [70_000, 300_000])
async def test_one_that_stops_on_its_way_is_not_kept_back(origin: Origin, client: UpstreamClient, gate_at: int) -> None:
    gate = asyncio.Event()
    origin.routes["/p"] = Script(body=FITS, gate=gate, gate_at=gate_at)
    got = b""
    async with client.download(f"{origin.url}/p") as download:
        async for piece in download.blocks():
            got += piece
            if len(got) == gate_at:
                gate.set()
    assert got == FITS


async def test_one_that_keeps_coming_is_not_kept_back_for_long(
    origin: Origin, client: UpstreamClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its reader gets what there is, though there never is a pause."""
    monkeypatch.setattr(bulk, "LINGER", 0.001)
    monkeypatch.setattr(bulk, "LONGEST", 0.0)

    async def steadily() -> AsyncIterator[bytes]:
        for at in range(0, len(FITS), 500):  # which takes many turns of the loop
            yield FITS[at : at + 500]
            await asyncio.sleep(0)

    origin.routes["/p"] = Script(stream=steadily, length=len(FITS))
    came = await pieces(client, f"{origin.url}/p")
    assert b"".join(came) == FITS
    assert len(came) > 1


async def test_what_is_kept_stays_as_it_is_while_others_come(origin: Origin, client: UpstreamClient) -> None:
    origin.routes |= {"/p": Script(body=FITS), "/q": Script(body=BODY[-RING + 1000 :])}
    async with client.download(f"{origin.url}/p") as download:
        async for piece in download.blocks():
            last = piece
            give_back = download.keep()
    assert give_back is not None
    for _ in range(3):
        assert b"".join(await pieces(client, f"{origin.url}/q")) == BODY[-RING + 1000 :]
        assert last == FITS[-len(last) :]
    give_back()


async def test_no_more_bodies_are_kept_than_there_is_memory_for(origin: Origin, client: UpstreamClient) -> None:
    origin.routes["/p"] = Script(body=FITS)
    kept = []
    for _ in range(MOST_LENT // RING + 1):
        async with client.download(f"{origin.url}/p") as download:
            async for _piece in download.blocks():
                pass_on = download.keep()
        kept.append(pass_on)
    ends = [give_back for give_back in kept if give_back is not None]
    assert len(ends) == MOST_LENT // RING
    assert kept[-1] is None
    for give_back in ends:
        give_back()
    async with client.download(f"{origin.url}/p") as download:
        async for _piece in download.blocks():
            again = download.keep()
    assert again is not None
    again()


async def test_what_is_still_coming_cannot_be_kept(origin: Origin, client: UpstreamClient) -> None:
    gate = asyncio.Event()
    origin.routes["/p"] = Script(body=FITS, gate=gate, gate_at=300_000)
    async with client.download(f"{origin.url}/p") as download:
        blocks = download.blocks()
        await anext(blocks)
        assert download.keep() is None
        gate.set()
        async for _piece in blocks:
            pass


async def test_a_body_that_came_with_its_head_can_be_kept_as_far_as_memory_goes(
    origin: Origin, client: UpstreamClient
) -> None:
    origin.routes["/p"] = Script(body=BODY[:1000])
    rings = [rings_of_all.lend() for _ in range(MOST_LENT // RING - 1)]
    assert all(rings)
    kept = []
    for size in (RING - 1000, 0):
        async with client.download(f"{origin.url}/p") as download:
            async for piece in download.blocks():
                assert rings_of_all.lend(size)
                kept.append(download.keep())
                assert piece == BODY[:1000]
    first, second = kept
    assert first is not None
    assert second is None, "that would be one byte more than there may be"
    first()
    assert rings_of_all.lend(1000)
    rings_of_all.lent_back(MOST_LENT)
