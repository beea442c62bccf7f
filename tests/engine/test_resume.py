"""Downloads that break, lie or come back changed: what the client sees, what is stored."""

from __future__ import annotations

import asyncio
import io
import zipfile
from collections.abc import AsyncIterator

import aiohttp
import pytest
from structlog.testing import capture_logs

from nugetproxy.upstream.pace import PACE_SPAN
from tests.conftest import StartProxy
from tests.fakes.asking import LARGE, PACKAGE, SMALL, UP_PACKAGE, ask, failures, held, staged, until
from tests.fakes.clock import FakeClock
from tests.fakes.feed import FakeFeed
from tests.fakes.origin import Origin, Script
from tests.fakes.packages import make_nupkg, make_zip
from tests.fakes.proxy import Proxy

STRONG = ("ETag", '"one"')
WEAK = ("ETag", 'W/"one"')
SMALL_ONE = make_nupkg("Acme.A", "1.0.0", size=20_000)
POINTS = [4, 1000, 100_000, len(LARGE) // 2, len(LARGE) - 65_536, len(LARGE) - 1000, len(LARGE) - 1]


def broken(body: bytes, at: int, end: str = "fin", **more: object) -> Script:
    """A body that ends ``at`` bytes in."""
    return Script(body=body, cut_at=at, end=end, headers=[STRONG], **more)  # type: ignore[arg-type]


async def cut_off(proxy: Proxy) -> int:
    """Ask for the package, whose response must be cut off; how many bytes came before that."""
    size = 0
    response = await proxy.client.get(PACKAGE)
    assert response.status == 200
    with pytest.raises(aiohttp.ClientPayloadError):
        async for chunk in response.content.iter_any():
            size += len(chunk)
    return size


async def nothing_stored(proxy: Proxy) -> bool:
    """Whether nothing is left of a download, once it has cleaned up after itself."""
    await until(lambda: proxy.metric("flights") == 0)
    return held(proxy) == set() and staged(proxy) == []


@pytest.mark.parametrize("end", ["fin", "rst"])
@pytest.mark.parametrize("at", POINTS)
async def test_a_break_is_resumed_where_it_happened(proxy: Proxy, feed: FakeFeed, at: int, end: str) -> None:
    feed.origin.routes[UP_PACKAGE] = [broken(LARGE, at, end), Script(body=LARGE, headers=[STRONG], ranges=True)]
    got = await ask(proxy, PACKAGE)
    assert (got.status, got.body) == (200, LARGE)
    first, second = (seen for seen in feed.requests if seen.path == UP_PACKAGE)
    assert "Range" not in first.headers
    # What arrives together with the end of the connection may be lost.
    assert 0 < int(second.headers["Range"].removeprefix("bytes=").removesuffix("-")) <= at
    assert second.headers["If-Range"] == '"one"'
    assert proxy.metric("upstream_resumes_total", upstream="up") == 1
    assert (await ask(proxy, PACKAGE)).cache == "hit"


async def test_a_reset_of_a_body_without_length_is_resumed(proxy: Proxy, feed: FakeFeed) -> None:
    came = asyncio.Event()
    first = broken(LARGE, 200_000, "rst", length=None, gate=came, gate_at=200_000)
    feed.origin.routes[UP_PACKAGE] = [first, Script(body=LARGE, headers=[STRONG], ranges=True)]
    asked = asyncio.create_task(ask(proxy, PACKAGE))
    await until(lambda: any(flight.size == 200_000 for flight in proxy.held.downloads.under_way()))
    came.set()
    got = await asked
    assert (got.status, got.body) == (200, LARGE)
    assert proxy.metric("upstream_resumes_total", upstream="up") == 1


async def test_a_reset_behind_all_of_a_body_without_length(proxy: Proxy, feed: FakeFeed) -> None:
    """There is nothing behind what came: upstream says 416 to who asks for that."""
    came = asyncio.Event()
    first = broken(LARGE, len(LARGE), "rst", length=None, gate=came, gate_at=len(LARGE))
    feed.origin.routes[UP_PACKAGE] = [first, Script(body=LARGE, headers=[STRONG], ranges=True)]
    asked = asyncio.create_task(ask(proxy, PACKAGE))
    await until(lambda: any(flight.size == len(LARGE) for flight in proxy.held.downloads.under_way()))
    came.set()
    got = await asked
    assert (got.status, got.body) == (200, LARGE)
    assert [seen.headers.get("Range") for seen in feed.requests if seen.path == UP_PACKAGE] == [
        None,
        f"bytes={len(LARGE)}-",
        None,
    ]


@pytest.mark.parametrize("body", [SMALL_ONE, LARGE], ids=["small", "large"])
async def test_a_body_that_was_slow_is_taken_once_it_is_here(
    proxy: Proxy, feed: FakeFeed, clock: FakeClock, body: bytes
) -> None:
    """Its pace tells whether to wait for more: there is none."""

    async def slowly() -> AsyncIterator[bytes]:
        most = proxy.metric("received_bytes_total", upstream="up") + len(body) - 100
        yield body[:-100]
        await until(lambda: proxy.metric("received_bytes_total", upstream="up") == most)
        clock.advance(PACE_SPAN + len(body))
        yield body[-100:]

    feed.origin.routes[UP_PACKAGE] = [
        Script(stream=slowly, length=len(body), headers=[STRONG]),
        Script(body=body, headers=[STRONG], ranges=True),
    ]
    got = await ask(proxy, PACKAGE)
    assert (got.status, got.body) == (200, body)
    assert feed.count(UP_PACKAGE) == 1


@pytest.mark.parametrize("etag", [WEAK, None], ids=["weak", "none"])
async def test_without_a_strong_etag_the_whole_is_fetched_and_compared(
    proxy: Proxy, feed: FakeFeed, etag: tuple[str, str] | None
) -> None:
    headers = [etag] if etag else []
    cut = Script(body=LARGE, cut_at=100_000, headers=headers)
    feed.origin.routes[UP_PACKAGE] = [cut, Script(body=LARGE, headers=headers, ranges=True)]
    assert (await ask(proxy, PACKAGE)).body == LARGE
    assert not [seen for seen in feed.requests if "Range" in seen.headers]
    assert feed.count(UP_PACKAGE) == 2


async def test_an_upstream_without_ranges_is_compared(proxy: Proxy, feed: FakeFeed) -> None:
    feed.origin.routes[UP_PACKAGE] = [broken(LARGE, 100_000), Script(body=LARGE, headers=[STRONG])]
    assert (await ask(proxy, PACKAGE)).body == LARGE


async def test_it_is_resumed_as_often_as_it_gets_further(proxy: Proxy, feed: FakeFeed) -> None:
    cuts = [Script(body=LARGE, headers=[STRONG], cut_at=at, ranges=True) for at in (100_000, 90_000, 80_000, 70_000)]
    feed.origin.routes[UP_PACKAGE] = [*cuts, Script(body=LARGE, headers=[STRONG], ranges=True)]
    assert (await ask(proxy, PACKAGE)).body == LARGE
    assert proxy.metric("upstream_resumes_total", upstream="up") == 4


async def test_it_is_given_up_when_it_gets_no_further(proxy: Proxy, feed: FakeFeed, clock: FakeClock) -> None:
    gone = Script(body=LARGE, headers=[STRONG], cut_at=0, ranges=True)
    feed.origin.routes[UP_PACKAGE] = [broken(LARGE, 200_000), gone]
    assert await cut_off(proxy) <= 200_000
    assert await nothing_stored(proxy)
    assert feed.count(UP_PACKAGE) == 4
    assert (await ask(proxy, PACKAGE)).status == 503
    assert feed.count(UP_PACKAGE) == 4, "for a second it is left alone"
    clock.advance(1)
    feed.origin.routes[UP_PACKAGE] = Script(body=LARGE)
    assert (await ask(proxy, PACKAGE)).body == LARGE, "the next request starts afresh"


@pytest.mark.parametrize("longer", [0, 500])
@pytest.mark.parametrize(
    ("etag", "ranges"), [('"two"', True), (None, True), ('"one"', False), ('"two"', False), (None, False)]
)
async def test_other_bytes_after_a_break_are_never_joined_to_the_first(
    proxy: Proxy, feed: FakeFeed, etag: str | None, ranges: bool, longer: int
) -> None:
    other = LARGE[:1000] + bytes(byte ^ 0xFF for byte in LARGE[1000:90_000]) + LARGE[90_000:] + b"x" * longer
    headers = [("ETag", etag)] if etag else []
    feed.origin.routes[UP_PACKAGE] = [broken(LARGE, 100_000), Script(body=other, headers=headers, ranges=ranges)]
    assert await cut_off(proxy) <= 100_000
    assert await nothing_stored(proxy)
    assert proxy.metric("integrity_failures_total", reason="pin") + failures(proxy, "protocol") >= 1


@pytest.mark.parametrize("etag", ['"two"', 'W/"one"'])
async def test_a_range_of_another_file_is_not_joined(proxy: Proxy, feed: FakeFeed, etag: str) -> None:
    """An upstream that ignores If-Range; its 206 names another file (RFC 9110 section 15.3.7)."""
    rest = Script(
        status=206,
        headers=[("ETag", etag), ("Content-Range", f"bytes 100000-{len(LARGE) - 1}/{len(LARGE)}")],
        body=LARGE[100_000:],
    )
    feed.origin.routes[UP_PACKAGE] = [broken(LARGE, 100_000), rest]
    assert await cut_off(proxy) <= 100_000
    assert await nothing_stored(proxy)
    assert failures(proxy, "pin") == 1


async def test_a_package_that_vanishes_meanwhile_is_no_404(proxy: Proxy, feed: FakeFeed) -> None:
    feed.origin.routes[UP_PACKAGE] = [broken(SMALL, 300), Script(status=404)]
    got = await ask(proxy, PACKAGE)
    assert (got.status, got.cache) == (502, 'fwd=uri-miss; detail="gone"')
    assert await nothing_stored(proxy)


@pytest.mark.parametrize(("end", "reason"), [("fin", "truncated"), ("rst", "reset")])
@pytest.mark.parametrize("at", [0, 1, 3, 4, len(SMALL) // 2, len(SMALL) - 1])
async def test_a_small_package_cut_for_good_is_an_error(
    proxy: Proxy, feed: FakeFeed, clock: FakeClock, at: int, end: str, reason: str
) -> None:
    feed.origin.routes[UP_PACKAGE] = broken(SMALL, at, end)
    with capture_logs() as logs:
        got = await ask(proxy, PACKAGE)
    assert got.status == 503
    assert got.headers["Retry-After"] == "1"
    assert await nothing_stored(proxy)
    assert failures(proxy, reason) + (failures(proxy, "reset") if at == 0 else 0) >= 1
    assert len([entry for entry in logs if entry["event"] == "download.failed"]) == 1
    clock.advance(1)
    feed.origin.routes[UP_PACKAGE] = Script(body=SMALL)
    assert (await ask(proxy, PACKAGE)).body == SMALL


@pytest.mark.parametrize("end", ["fin", "rst"])
@pytest.mark.parametrize("percent", [20, 50, 99])
async def test_a_large_package_cut_for_good_is_cut_for_the_client(
    proxy: Proxy, feed: FakeFeed, percent: int, end: str
) -> None:
    at = len(LARGE) * percent // 100
    feed.origin.routes[UP_PACKAGE] = broken(LARGE, at, end)
    assert await cut_off(proxy) <= at
    assert await nothing_stored(proxy)
    assert proxy.metric("responses_aborted_total", reason="upstream") == 1


@pytest.mark.parametrize("nupkg", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("missing", [1, 22, 300])
async def test_truncated_without_a_length(proxy: Proxy, feed: FakeFeed, nupkg: bytes, missing: int) -> None:
    feed.origin.routes[UP_PACKAGE] = Script(body=nupkg[:-missing], length=None)
    if nupkg is SMALL:
        got = await ask(proxy, PACKAGE)
        assert (got.status, got.cache) == (502, 'fwd=uri-miss; detail="zip"')
    else:
        await cut_off(proxy)
    assert await nothing_stored(proxy)
    assert proxy.metric("integrity_failures_total", reason="zip") == 1


async def test_whole_without_a_length(proxy: Proxy, feed: FakeFeed) -> None:
    feed.origin.routes[UP_PACKAGE] = Script(body=LARGE, length=None)
    assert (await ask(proxy, PACKAGE)).body == LARGE
    assert (await ask(proxy, PACKAGE)).cache == "hit"


async def test_bytes_after_the_body_are_not_part_of_it(proxy: Proxy, feed: FakeFeed) -> None:
    feed.origin.routes[UP_PACKAGE] = [Script(body=LARGE, extra=b"HTTP/1.1 200 OK\r\n\r\n"), Script(status=500)]
    assert (await ask(proxy, PACKAGE)).body == LARGE
    again = await ask(proxy, PACKAGE)
    assert (again.body, again.cache) == (LARGE, "hit")


async def test_a_stall_is_resumed_then_given_up(start_proxy: StartProxy, feed: FakeFeed) -> None:
    proxy = await start_proxy(feed.index_url, upstream={"read_timeout": "60ms"})
    stalled = Script(body=LARGE, headers=[STRONG], stall_at=200_000)
    feed.origin.routes[UP_PACKAGE] = [stalled, Script(body=LARGE, headers=[STRONG], ranges=True)]
    assert (await ask(proxy, PACKAGE)).body == LARGE
    assert failures(proxy, "stall") == 1


async def test_a_stall_for_good_cuts_the_client(start_proxy: StartProxy, feed: FakeFeed) -> None:
    proxy = await start_proxy(feed.index_url, upstream={"read_timeout": "60ms"})
    feed.origin.routes[UP_PACKAGE] = Script(body=LARGE, headers=[STRONG], stall_at=200_000)
    assert await cut_off(proxy) <= 200_000
    assert failures(proxy, "stall") >= 1
    assert await nothing_stored(proxy)


async def test_a_resume_that_stalls_again_ends_sooner(
    start_proxy: StartProxy, feed: FakeFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clients wait for 60 s: three read time-outs one after the other are 90."""
    monkeypatch.setattr("nugetproxy.engine.fill.RESUME_SECONDS", 0.0)
    proxy = await start_proxy(feed.index_url, upstream={"read_timeout": "600ms"})
    again = Script(body=LARGE, headers=[STRONG], stall_at=0, ranges=True)
    feed.origin.routes[UP_PACKAGE] = [Script(body=LARGE, headers=[STRONG], stall_at=200_000), again]
    with capture_logs() as logs:
        assert await cut_off(proxy) <= 200_000
    (failed,) = [entry for entry in logs if entry["event"] == "download.failed"]
    assert "in 0.9 s" in failed["detail"], "one and a half time-outs, not the second one in full"
    assert feed.count(UP_PACKAGE) == 2
    assert await nothing_stored(proxy)


async def test_a_trickle_is_given_up(proxy: Proxy, feed: FakeFeed, clock: FakeClock) -> None:
    async def trickle() -> AsyncIterator[bytes]:
        yield b"PK\x03\x04"
        while True:
            await asyncio.sleep(0.001)  # until the proxy waits for the next byte; if it does not yet, one more is due
            clock.advance(20)
            yield b"x"

    feed.origin.routes[UP_PACKAGE] = Script(stream=trickle, length=50_000)
    got = await ask(proxy, PACKAGE)
    assert (got.status, got.cache) == (503, 'fwd=uri-miss; detail="slow"')
    assert failures(proxy, "slow") == feed.count(UP_PACKAGE) == 3, "however much further each attempt got"
    assert await nothing_stored(proxy)


HTML = b"<!DOCTYPE html><html><body>Please log in</body></html>"


async def test_a_package_behind_a_stub_is_a_package(proxy: Proxy, feed: FakeFeed, held_back: bytes) -> None:
    """.NET, so NuGet, opens an archive with something before it whose positions are right."""
    feed.origin.routes[UP_PACKAGE] = Script(body=held_back)
    got = await ask(proxy, PACKAGE)
    assert (got.status, got.body) == (200, held_back)
    assert (await ask(proxy, PACKAGE)).cache == "hit"


@pytest.fixture(params=[1_000, 400_000], ids=["small", "large"])
def held_back(request: pytest.FixtureRequest) -> bytes:
    """A package with a stub before it, its positions as they are then."""
    file = io.BytesIO(b"MZ a program that unpacks itself")
    file.seek(0, io.SEEK_END)
    plain = io.BytesIO(make_nupkg("Acme.A", "1.0.0", size=request.param))
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(file, "a") as archive:
        for name in source.namelist():
            archive.writestr(name, source.read(name))
    return file.getvalue()


@pytest.mark.parametrize("size", [5_000, 500_000])
async def test_nothing_of_what_is_no_package_is_sent_however_long_it_is(
    proxy: Proxy, feed: FakeFeed, size: int
) -> None:
    feed.origin.routes[UP_PACKAGE] = Script(body=b"MZ" + b"?" * size)
    got = await ask(proxy, PACKAGE)
    assert (got.status, got.cache) == (502, 'fwd=uri-miss; detail="invalid_content"')
    assert await nothing_stored(proxy)


@pytest.mark.parametrize("kind", ["text/html", "application/octet-stream"])
@pytest.mark.parametrize(
    "body",
    [HTML, HTML + b" " * 500_000, b"", b"P", b"PK\x03", b"PK\x05\x06" + b"\0" * 18, b"\x1f\x8b" + SMALL],
    ids=["page", "long-page", "empty", "one", "three", "empty-zip", "gzip"],
)
async def test_what_is_no_package_is_refused_before_a_byte_is_sent(
    proxy: Proxy, feed: FakeFeed, body: bytes, kind: str
) -> None:
    feed.origin.routes[UP_PACKAGE] = Script(body=body, headers=[("Content-Type", kind)])
    with capture_logs() as logs:
        got = await ask(proxy, PACKAGE)
    assert (got.status, got.cache) == (502, 'fwd=uri-miss; detail="invalid_content"')
    assert b"log in" not in got.body
    assert await nothing_stored(proxy)
    assert failures(proxy, "invalid_content") == 1
    assert proxy.metric("integrity_failures_total", reason="invalid_content") == 1
    assert [entry["reason"] for entry in logs if entry["event"] == "download.failed"] == ["invalid_content"]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"PK\x03\x04" + b"x" * 500, "zip"),
        (make_zip({"readme.txt": "no nuspec"}), "zip"),
        (make_nupkg("Acme.B", "1.0.0"), "identity"),
        (make_nupkg("Acme.A", "1.0.1"), "identity"),
    ],
    ids=["garbage", "no-nuspec", "other-id", "other-version"],
)
async def test_a_wrong_package_is_refused(
    proxy: Proxy, feed: FakeFeed, clock: FakeClock, body: bytes, reason: str
) -> None:
    feed.origin.routes[UP_PACKAGE] = Script(body=body)
    with capture_logs() as logs:
        got = await ask(proxy, PACKAGE)
    assert (got.status, got.cache) == (502, f'fwd=uri-miss; detail="{reason}"')
    assert await nothing_stored(proxy)
    assert proxy.metric("integrity_failures_total", reason=reason) == 1
    assert [entry["reason"] for entry in logs if entry["event"] == "download.failed"] == [reason]
    with capture_logs() as logs:
        again = await ask(proxy, PACKAGE)
    assert (again.status, again.body, feed.count(UP_PACKAGE)) == (502, got.body, 1), "said at once, not asked again"
    assert not [entry for entry in logs if entry["event"] == "download.failed"]
    clock.advance(1)
    feed.origin.routes[UP_PACKAGE] = Script(body=SMALL)
    assert (await ask(proxy, PACKAGE)).body == SMALL


async def test_a_large_wrong_package_never_ends_as_a_whole_response(proxy: Proxy, feed: FakeFeed) -> None:
    wrong = make_nupkg("Acme.B", "1.0.0", size=1_200_000)
    feed.origin.routes[UP_PACKAGE] = Script(body=wrong)
    assert await cut_off(proxy) <= len(wrong) - 65_536
    assert await nothing_stored(proxy)


async def test_a_connection_that_was_cut_carries_no_second_response(proxy: Proxy, feed: FakeFeed) -> None:
    """Two requests in one write: the second answer must not appear within the first body."""
    feed.origin.routes[UP_PACKAGE] = broken(LARGE, 200_000)
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.client.port)
    head = f" HTTP/1.1\r\nHost: 127.0.0.1:{proxy.client.port}\r\n\r\n"
    writer.write(f"GET {PACKAGE}{head}GET /health/live{head}".encode())
    received = b""
    try:
        while chunk := await reader.read(65_536):
            received += chunk
    except ConnectionResetError:
        pass
    writer.close()
    assert received.startswith(b"HTTP/1.1 200 OK\r\n")
    assert received.count(b"HTTP/1.1") == 1
    assert b"alive" not in received


class TestRedirects:
    async def test_to_another_origin_without_credentials(
        self, start_proxy: StartProxy, feed: FakeFeed, origin: Origin, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("FEED_TOKEN", "canary-17")
        proxy = await start_proxy(feed.index_url, upstream={"headers": {"X-Feed-Token": "env:FEED_TOKEN"}})
        signed = f"{origin.url}/blob/a.nupkg?sig=a%2Fb%3D&se=2027"
        feed.origin.routes[UP_PACKAGE] = Script(status=302, headers=[("Location", signed)])
        origin.routes["/blob/a.nupkg"] = Script(body=LARGE)
        got = await ask(proxy, PACKAGE)
        assert (got.status, got.body) == (200, LARGE)
        assert "Location" not in got.headers
        assert feed.requests[-1].headers["X-Feed-Token"] == "canary-17"
        (hop,) = origin.requests
        assert "X-Feed-Token" not in hop.headers
        assert hop.query == "sig=a%2Fb%3D&se=2027"
        assert (await ask(proxy, PACKAGE)).cache == "hit"

    async def test_a_break_after_a_redirect_is_resumed_through_it(
        self, proxy: Proxy, feed: FakeFeed, origin: Origin
    ) -> None:
        feed.origin.routes[UP_PACKAGE] = Script(status=302, headers=[("Location", f"{origin.url}/a.nupkg")])
        origin.routes["/a.nupkg"] = [broken(LARGE, 100_000), Script(body=LARGE, headers=[STRONG], ranges=True)]
        assert (await ask(proxy, PACKAGE)).body == LARGE
        assert [seen.headers.get("Range") for seen in origin.requests] == [None, "bytes=100000-"]

    @pytest.mark.parametrize("location", ["file:///etc/passwd", "//user@evil/", "\\\\evil", UP_PACKAGE, "gopher://x/"])
    async def test_to_where_none_may_lead(self, proxy: Proxy, location: str, feed: FakeFeed) -> None:
        feed.origin.routes[UP_PACKAGE] = Script(status=302, headers=[("Location", location)])
        got = await ask(proxy, PACKAGE)
        assert (got.status, got.cache) == (502, 'fwd=uri-miss; detail="redirect_denied"')
        assert failures(proxy, "redirect_denied") == 1
        assert await nothing_stored(proxy)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
async def test_a_status_that_may_pass_is_tried_again(proxy: Proxy, feed: FakeFeed, status: int) -> None:
    feed.origin.routes[UP_PACKAGE] = [Script(status=status), Script(status=status), Script(body=SMALL)]
    assert (await ask(proxy, PACKAGE)).body == SMALL
    assert proxy.metric("upstream_retries_total", upstream="up") == 2


@pytest.mark.parametrize("end", ["fin", "rst"])
async def test_a_connection_that_ends_before_the_headers_is_tried_again(proxy: Proxy, feed: FakeFeed, end: str) -> None:
    feed.origin.routes[UP_PACKAGE] = [Script(raw=b"", end=end), Script(body=SMALL)]  # type: ignore[arg-type]
    await ask(proxy, "/v3/index.json")
    assert (await ask(proxy, PACKAGE)).body == SMALL
    assert proxy.metric("upstream_retries_total", upstream="up") == 1


async def test_a_package_that_upstream_compresses_is_refused(proxy: Proxy, feed: FakeFeed) -> None:
    feed.origin.routes[UP_PACKAGE] = Script(body=SMALL, gzip=True)
    got = await ask(proxy, PACKAGE)
    assert (got.status, got.cache) == (502, 'fwd=uri-miss; detail="protocol"')
    assert feed.requests[-1].headers["Accept-Encoding"] == "identity"
    assert await nothing_stored(proxy)


@pytest.mark.parametrize("status", [206, 204, 203, 226])
async def test_another_success_than_200_is_not_stored_as_the_package(proxy: Proxy, feed: FakeFeed, status: int) -> None:
    feed.origin.routes[UP_PACKAGE] = Script(status=status, body=SMALL)
    assert (await ask(proxy, PACKAGE)).status == 502
    assert await nothing_stored(proxy)


async def test_a_package_beyond_the_limit(start_proxy: StartProxy, feed: FakeFeed) -> None:
    proxy = await start_proxy(feed.index_url, limits={"package": "100 KiB"})
    for length in ("auto", None):
        feed.origin.routes[UP_PACKAGE] = Script(body=LARGE, length=length)  # type: ignore[arg-type]
        try:
            got = await ask(proxy, PACKAGE)
        except aiohttp.ClientPayloadError:
            assert length is None
        else:
            assert (got.status, got.cache) == (502, 'fwd=uri-miss; detail="too_large"')
        assert await nothing_stored(proxy)
