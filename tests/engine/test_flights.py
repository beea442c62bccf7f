"""One download, many readers: the first, the late, the leaving, the ranged."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import json
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from structlog.testing import capture_logs

from nugetproxy.engine import fill
from nugetproxy.engine.flight import Flight
from nugetproxy.store.fs import FsOps
from nugetproxy.upstream import bulk
from tests.conftest import StartProxy
from tests.fakes.asking import (
    LARGE,
    MEDIUM,
    PACKAGE,
    SMALL,
    UP_PACKAGE,
    UP_REGISTRATION,
    ask,
    held,
    staged,
    until,
)
from tests.fakes.clock import FakeClock
from tests.fakes.feed import FakeFeed
from tests.fakes.origin import Origin, Script, Seen
from tests.fakes.proxy import Proxy

HALF = 200_000
ETAG = ("ETag", '"one"')
ENTRY = {"id": "Acme.A", "version": "1.0.0"}


class NotingFs(FsOps):
    """Writes down what is done to which file."""

    def __init__(self) -> None:
        self.noted: list[tuple[str, str]] = []

    def call(self, op: str, path: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self.noted.append((op, path))
        return super().call(op, path, function, *args, **kwargs)

    def of_package(self, op: str) -> list[str]:
        """The names that an operation gave to the package; of a sealed one without its hash."""
        names = [Path(path).name for done, path in self.noted if done == op]
        return [name[: name.rindex("~") + 1] if "~" in name else name for name in names if _is_package(name)]


def _is_package(name: str) -> bool:
    return name.endswith(".nupkg") or name.startswith("acme.a~")


@pytest.fixture
def gate() -> asyncio.Event:
    return asyncio.Event()


@pytest.fixture
def gated(feed: FakeFeed, gate: asyncio.Event) -> Script:
    """The package, stopping half-way until the gate opens."""
    script = Script(body=LARGE, headers=[ETAG], gate=gate, gate_at=HALF, ranges=True)
    feed.origin.routes[UP_PACKAGE] = script
    return script


@pytest.mark.parametrize("nupkg", [SMALL, pytest.param(LARGE, marks=pytest.mark.slow)], ids=["small", "large"])
async def test_two_hundred_cold_requests_are_one_download(
    start_proxy: StartProxy, feed: FakeFeed, gate: asyncio.Event, nupkg: bytes
) -> None:
    proxy = await start_proxy(feed.index_url)
    await ask(proxy, "/v3/index.json")
    feed.origin.routes[UP_PACKAGE] = Script(body=nupkg, gate=gate)

    async def fetch(session: aiohttp.ClientSession) -> tuple[str, str]:
        async with session.get(proxy.url + PACKAGE) as response:
            assert response.status == 200
            return hashlib.sha256(await response.read()).hexdigest(), response.headers["Cache-Status"]

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        asked = [asyncio.create_task(fetch(session)) for _ in range(200)]
        await until(lambda: proxy.metric("collapsed_total") >= 199)
        gate.set()
        answers = await asyncio.gather(*asked)
    assert {digest for digest, _ in answers} == {hashlib.sha256(nupkg).hexdigest()}
    assert feed.count(UP_PACKAGE) == 1
    assert proxy.metric("collapsed_total") == 199
    leaders = [status for _, status in answers if "collapsed" not in status]
    assert leaders == ["nugetproxy; fwd=uri-miss; fwd-status=200; stored"]
    await until(lambda: proxy.metric("flights") == proxy.metric("pending_commits") == 0)
    assert staged(proxy) == []


async def test_two_hundred_cold_requests_for_a_document_are_one_fetch(
    start_proxy: StartProxy, feed: FakeFeed, gate: asyncio.Event
) -> None:
    proxy = await start_proxy(feed.index_url)
    await ask(proxy, "/v3/index.json")
    path = "/v3-flatcontainer/acme.a/index.json"
    feed.origin.routes[path] = Script(body=b'{"versions":["1.0.0"]}', gate=gate)

    async def fetch(session: aiohttp.ClientSession) -> bytes:
        async with session.get(proxy.url + "/v3/content/acme.a/index.json") as response:
            return await response.read()

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        asked = [asyncio.create_task(fetch(session)) for _ in range(200)]
        await until(lambda: proxy.metric("collapsed_total") == 199)
        gate.set()
        bodies = set(await asyncio.gather(*asked))
    assert bodies == {b'{"versions":["1.0.0"]}'}
    assert feed.count(path) == 1


async def test_a_late_joiner_reads_at_once_what_is_there(
    proxy: Proxy, feed: FakeFeed, gated: Script, gate: asyncio.Event
) -> None:
    async with proxy.client.get(PACKAGE) as first:
        start = await first.content.readexactly(HALF)
        async with proxy.client.get(PACKAGE) as late:
            assert await late.content.readexactly(HALF) == start == LARGE[:HALF]
            assert "collapsed" in late.headers["Cache-Status"]
            gate.set()
            assert await late.content.read() == await first.content.read() == LARGE[HALF:]
    assert feed.count(UP_PACKAGE) == 1


async def test_the_last_block_waits_for_the_commit(proxy: Proxy, feed: FakeFeed, gate: asyncio.Event) -> None:
    feed.origin.routes[UP_PACKAGE] = Script(body=LARGE, gate=gate, gate_at=len(LARGE) - 1)
    async with proxy.client.get(PACKAGE) as response:
        await response.content.readexactly(len(LARGE) - 64 * 1024)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await response.content.readexactly(1)
        gate.set()
        rest = await response.content.read()
        assert LARGE.endswith(rest)
        sealed = any(name.startswith("acme.a~1.0.0~") for name in staged(proxy))
        assert sealed or "acme.a.1.0.0.nupkg" in held(proxy), "who has it all can rely on it being stored"


async def test_a_bad_package_that_came_at_once_gets_a_proper_status(
    proxy: Proxy, feed: FakeFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "LINGER", 5.0)  # whatever the machine does meanwhile
    monkeypatch.setattr(bulk, "LONGEST", 60.0)
    feed.origin.routes[UP_PACKAGE] = [Script(body=MEDIUM[:-30_000]), Script(body=MEDIUM)]
    for got in await asyncio.gather(*(ask(proxy, PACKAGE) for _ in range(3))):
        assert got.status == 502
    assert (held(proxy), staged(proxy)) == (set(), [])
    await proxy.restart()
    good = await asyncio.gather(*(ask(proxy, PACKAGE) for _ in range(3)))
    assert [(got.status, got.body) for got in good] == [(200, MEDIUM)] * 3
    await until(lambda: "acme.a.1.0.0.nupkg.sha512" in held(proxy))
    await until(lambda: staged(proxy) == [])


async def test_a_package_that_came_with_its_head_is_written_once_under_its_sealed_name(
    start_proxy: StartProxy, feed: FakeFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fill, "HOLD", 0)  # so that one that is sure to come so is none of the small ones
    feed.origin.routes[UP_PACKAGE] = Script(body=SMALL)
    fs = NotingFs()
    proxy = await start_proxy(feed.index_url, fs=fs)
    fs.noted.clear()
    assert (await ask(proxy, PACKAGE)).body == SMALL
    await until(lambda: "acme.a.1.0.0.nupkg.sha512" in held(proxy))
    assert fs.of_package("create") == ["acme.a~1.0.0~"]
    assert fs.of_package("rename") == ["acme.a.1.0.0.nupkg"], "it goes into its folder, from where it was made"


@pytest.mark.parametrize("at", [0, 1, 1000, HALF])
async def test_the_first_client_may_leave_at_any_time(
    proxy: Proxy, feed: FakeFeed, gated: Script, gate: asyncio.Event, at: int
) -> None:
    leader = await proxy.client.get(PACKAGE)
    await leader.content.readexactly(at)
    async with proxy.client.get(PACKAGE) as other:
        await other.content.readexactly(10)
        leader.close()
        gate.set()
        assert LARGE.endswith(await other.content.read())
    assert feed.count(UP_PACKAGE) == 1
    assert (await ask(proxy, PACKAGE)).body == LARGE


async def test_the_download_goes_on_when_everybody_has_left(
    proxy: Proxy, feed: FakeFeed, gated: Script, gate: asyncio.Event
) -> None:
    for _ in range(3):
        leaving = await proxy.client.get(PACKAGE)
        await leaving.content.readexactly(1000)
        leaving.close()
    gate.set()
    await until(lambda: "acme.a.1.0.0.nupkg.sha512" in held(proxy) and proxy.metric("flights") == 0)
    again = await ask(proxy, PACKAGE)
    assert (again.body, again.cache) == (LARGE, "hit")
    assert feed.count(UP_PACKAGE) == 1


class TestAbandoned:
    """A large download that every client has left is given up, unless half of it is there."""

    async def leave_at(self, proxy: Proxy, feed: FakeFeed, at: int) -> None:
        """One client takes ``at`` bytes of the package and leaves; upstream goes on with it, byte by byte at first."""
        gone = asyncio.Event()

        async def stream() -> AsyncIterator[bytes]:
            yield LARGE[:at]
            await gone.wait()
            sent = at
            while proxy.metric("responses_aborted_total", reason="client_left") == 0:
                yield LARGE[sent : sent + 1]
                sent += 1
                await asyncio.sleep(0.001)
            yield LARGE[sent : sent + 1]
            await until(lambda: at >= HALF or proxy.metric("flights") == 0)
            yield LARGE[sent + 1 :]

        feed.origin.routes[UP_PACKAGE] = [Script(stream=stream, length=len(LARGE)), Script(body=LARGE)]
        leaving = await proxy.client.get(PACKAGE)
        await leaving.content.readexactly(at)
        leaving.close()
        gone.set()
        await until(lambda: proxy.metric("flights") == 0)

    @pytest.fixture
    async def small_limit(self, start_proxy: StartProxy, feed: FakeFeed) -> Proxy:
        return await start_proxy(feed.index_url, cache={"abandon_above": "100 KB"})

    async def test_early_on(self, small_limit: Proxy, feed: FakeFeed) -> None:
        with capture_logs() as logs:
            await self.leave_at(small_limit, feed, 1000)
        assert (held(small_limit), staged(small_limit)) == (set(), [])
        assert small_limit.metric("fills_abandoned_total") == 1
        assert [entry["total"] for entry in logs if entry["event"] == "download.abandoned"] == [len(LARGE)]
        assert not [entry for entry in logs if entry["event"] == "download.failed"]
        assert small_limit.metric("breaker_open", upstream="up", origin=feed.url) == 0
        assert (await ask(small_limit, PACKAGE)).body == LARGE
        assert feed.count(UP_PACKAGE) == 2

    async def test_not_when_half_of_it_is_there(self, small_limit: Proxy, feed: FakeFeed) -> None:
        await self.leave_at(small_limit, feed, len(LARGE) // 2 + 1)
        assert small_limit.metric("fills_abandoned_total") == 0
        assert (await ask(small_limit, PACKAGE)).cache == "hit"
        assert feed.count(UP_PACKAGE) == 1


async def test_a_client_that_leaves_before_the_first_byte_stops_nothing(
    proxy: Proxy, feed: FakeFeed, gate: asyncio.Event
) -> None:
    feed.origin.routes[UP_PACKAGE] = Script(body=SMALL, gate=gate)
    asked = asyncio.create_task(ask(proxy, PACKAGE))
    await until(lambda: feed.count(UP_PACKAGE) == 1)
    asked.cancel()
    gate.set()
    await until(lambda: "acme.a.1.0.0.nupkg.sha512" in held(proxy))
    assert (await ask(proxy, PACKAGE)).body == SMALL
    assert feed.count(UP_PACKAGE) == 1


async def test_a_failed_download_fails_all_its_readers_once(
    proxy: Proxy, feed: FakeFeed, clock: FakeClock, gate: asyncio.Event
) -> None:
    """Whoever has had bytes is cut off, never finished; the failure counts once, not once a reader."""
    cut = Script(body=LARGE, gate=gate, gate_at=HALF, cut_at=HALF + 1)
    feed.origin.routes[UP_PACKAGE] = [cut, Script(body=b"PK\x03\x04 something else"), Script(body=LARGE)]
    readers = [await proxy.client.get(PACKAGE) for _ in range(20)]
    for reader in readers:
        await reader.content.readexactly(HALF)
    gate.set()
    for reader in readers:
        with pytest.raises(aiohttp.ClientPayloadError):
            await reader.content.read()
    assert proxy.metric("upstream_failures_total", upstream="up", reason="pin") == 1
    await until(lambda: proxy.metric("flights") == 0)
    assert (held(proxy), staged(proxy)) == (set(), [])
    await until(lambda: proxy.metric("responses_aborted_total", reason="upstream") == 20)
    clock.advance(1)
    assert (await ask(proxy, PACKAGE)).body == LARGE


RANGES = [
    ("bytes=0-0", 0, 1),
    ("bytes=10-19", 10, 20),
    ("bytes=100000-", 100_000, len(LARGE)),
    ("bytes=-65536", len(LARGE) - 65_536, len(LARGE)),
    ("bytes=-1", len(LARGE) - 1, len(LARGE)),
    ("bytes=0-999999999", 0, len(LARGE)),
    (f"bytes={HALF - 5}-{HALF + 5}", HALF - 5, HALF + 6),
]


@pytest.mark.parametrize(("asked", "start", "stop"), RANGES)
async def test_a_range_of_a_held_package(proxy: Proxy, feed: FakeFeed, asked: str, start: int, stop: int) -> None:
    feed.origin.routes[UP_PACKAGE] = Script(body=LARGE)
    await ask(proxy, PACKAGE)
    part = await ask(proxy, PACKAGE, headers={"Range": asked})
    assert (part.status, part.body, part.cache) == (206, LARGE[start:stop], "hit")
    assert part.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{len(LARGE)}"
    assert part.headers["Content-Length"] == str(stop - start)


@pytest.mark.parametrize(("asked", "start", "stop"), RANGES)
async def test_a_range_of_a_package_on_its_way(
    proxy: Proxy, feed: FakeFeed, gated: Script, gate: asyncio.Event, asked: str, start: int, stop: int
) -> None:
    async with proxy.client.get(PACKAGE) as whole:
        await whole.content.readexactly(1)
        async with proxy.client.get(PACKAGE, headers={"Range": asked}) as part:
            assert part.status == 206
            assert part.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{len(LARGE)}"
            if stop <= HALF:
                assert await part.read() == LARGE[start:stop]
            gate.set()
            assert await part.read() == LARGE[start:stop]
    assert feed.count(UP_PACKAGE) == 1


async def test_a_cold_range_fetches_and_stores_the_whole(proxy: Proxy, feed: FakeFeed) -> None:
    feed.origin.routes[UP_PACKAGE] = Script(body=LARGE, ranges=True)
    part = await ask(proxy, PACKAGE, headers={"Range": "bytes=-22"})
    assert (part.status, part.body) == (206, LARGE[-22:])
    assert "Range" not in feed.requests[-1].headers
    again = await ask(proxy, PACKAGE)
    assert (again.status, again.body, again.cache) == (200, LARGE, "hit")


@pytest.mark.parametrize("asked", ["bytes=1-2,5-6", "bytes=9-1", "bytes=a-b", "chunks=1-2", "bytes 1-2", "bytes=-"])
async def test_a_range_that_is_none_is_ignored(proxy: Proxy, feed: FakeFeed, asked: str) -> None:
    feed.origin.routes[UP_PACKAGE] = Script(body=SMALL)
    for _ in range(2):
        whole = await ask(proxy, PACKAGE, headers={"Range": asked})
        assert (whole.status, whole.body) == (200, SMALL)


async def test_a_range_beyond_the_end_names_the_size(
    proxy: Proxy, feed: FakeFeed, gated: Script, gate: asyncio.Event
) -> None:
    async with proxy.client.get(PACKAGE) as whole:
        await whole.content.readexactly(1)
        flying = await ask(proxy, PACKAGE, headers={"Range": "bytes=999999999-"})
        gate.set()
        await whole.read()
    landed = await ask(proxy, PACKAGE, headers={"Range": "bytes=999999999-"})
    for refused in (flying, landed):
        assert (refused.status, refused.body) == (416, b"")
        assert refused.headers["Content-Range"] == f"bytes */{len(LARGE)}"


async def test_if_range_only_holds_for_our_own_etag(proxy: Proxy, feed: FakeFeed) -> None:
    feed.origin.routes[UP_PACKAGE] = Script(body=LARGE, headers=[ETAG])
    await ask(proxy, PACKAGE)
    first = await ask(proxy, PACKAGE)
    ours = first.headers["ETag"]
    assert ours.startswith('"sha512-')
    wanted = {"Range": "bytes=5-9"}
    resumed = await ask(proxy, PACKAGE, headers={**wanted, "If-Range": ours})
    assert (resumed.status, resumed.body) == (206, LARGE[5:10])
    dated = await ask(proxy, PACKAGE, headers={**wanted, "If-Range": first.headers["Last-Modified"]})
    assert dated.status == 206
    for other in ('"one"', f"W/{ours}", '"sha512-"', "Sat, 01 Jan 2000 00:00:00 GMT"):
        whole = await ask(proxy, PACKAGE, headers={**wanted, "If-Range": other})
        assert (whole.status, whole.body) == (200, LARGE), other


async def test_if_range_on_a_package_on_its_way_gets_the_whole(
    proxy: Proxy, feed: FakeFeed, gated: Script, gate: asyncio.Event
) -> None:
    async with proxy.client.get(PACKAGE) as whole:
        await whole.content.readexactly(1)
        async with proxy.client.get(PACKAGE, headers={"Range": "bytes=5-9", "If-Range": '"one"'}) as other:
            gate.set()
            assert (other.status, await other.read()) == (200, LARGE)


async def test_a_package_of_unknown_length_is_streamed_in_chunks(
    proxy: Proxy, feed: FakeFeed, gate: asyncio.Event
) -> None:
    feed.origin.routes[UP_PACKAGE] = Script(body=LARGE, chunked=True, gate=gate, gate_at=HALF)
    async with proxy.client.get(PACKAGE, headers={"Range": "bytes=0-9"}) as response:
        assert (response.status, response.headers["Transfer-Encoding"]) == (200, "chunked")
        gate.set()
        assert await response.read() == LARGE
    assert (await ask(proxy, PACKAGE)).headers["Content-Length"] == str(len(LARGE))


async def test_a_head_of_a_held_package_asks_nobody(proxy: Proxy, feed: FakeFeed) -> None:
    feed.origin.routes[UP_PACKAGE] = Script(body=LARGE)
    await ask(proxy, PACKAGE)
    whole = await ask(proxy, PACKAGE)
    before = len(feed.requests)
    head = await ask(proxy, PACKAGE, "HEAD")
    assert (head.status, head.body, len(feed.requests)) == (200, b"", before)
    same = {"Content-Length", "Content-Type", "ETag", "Last-Modified", "Cache-Control", "Accept-Ranges", "Cache-Status"}
    assert {name: head.headers[name] for name in same} == {name: whole.headers[name] for name in same}


async def test_a_head_of_a_cold_package_goes_upstream_as_head(proxy: Proxy, feed: FakeFeed) -> None:
    feed.origin.routes[UP_PACKAGE] = Script(body=LARGE)
    head = await ask(proxy, PACKAGE, "HEAD")
    assert (head.status, head.headers["Content-Length"], head.body) == (200, str(len(LARGE)), b"")
    assert [seen.method for seen in feed.requests if seen.path == UP_PACKAGE] == ["HEAD"]
    assert (held(proxy), staged(proxy)) == (set(), [])
    assert (await ask(proxy, PACKAGE)).body == LARGE, "the HEAD stored nothing in its place"


async def test_a_head_without_a_length_states_none(proxy: Proxy, feed: FakeFeed) -> None:
    feed.origin.routes[UP_PACKAGE] = Script(body=LARGE, length=None)
    head = await ask(proxy, PACKAGE, "HEAD")
    assert head.status == 200
    assert "Content-Length" not in head.headers


@pytest.mark.parametrize("status", [400, 401, 403, 451])
async def test_a_head_that_upstream_refuses_is_no_404(proxy: Proxy, feed: FakeFeed, status: int) -> None:
    feed.origin.routes[UP_PACKAGE] = [*[Script(status=status)] * (2 if status == 403 else 1), Script(body=SMALL)]
    assert (await ask(proxy, PACKAGE, "HEAD")).status == (403 if status == 401 else status)
    assert (await ask(proxy, PACKAGE)).status == 200


@pytest.mark.parametrize("status", [400, 401, 403, 451, 500])
@pytest.mark.parametrize("method", ["HEAD", "GET"])
async def test_what_the_first_of_two_places_refuses_is_found_in_the_second(
    start_proxy: StartProxy, origin: Origin, status: int, method: str
) -> None:
    rows = [{"@id": f"{origin.url}/{place}", "@type": "PackageBaseAddress/3.0.0"} for place in ("one", "two")]
    below = "acme.a/1.0.0/acme.a.1.0.0.nupkg"
    origin.routes |= {
        "/index.json": Script(body=json.dumps({"version": "3.0.0", "resources": rows}).encode()),
        f"/one/{below}": Script(status=status),
        f"/two/{below}": Script(body=SMALL),
    }
    proxy = await start_proxy(f"{origin.url}/index.json")
    got = await ask(proxy, PACKAGE, method)
    assert (got.status, got.headers["Content-Length"]) == (200, str(len(SMALL)))


async def test_a_head_that_is_answered_with_a_body_is_asked_as_get(proxy: Proxy, feed: FakeFeed) -> None:
    wrong = Script(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong")
    feed.origin.routes[UP_PACKAGE] = lambda seen: wrong if seen.method == "HEAD" else Script(body=SMALL)
    head = await ask(proxy, PACKAGE, "HEAD")
    assert (head.status, head.headers["Content-Length"]) == (200, str(len(SMALL)))
    assert (await ask(proxy, PACKAGE)).body == SMALL


async def test_a_head_of_no_bytes_states_no_length(proxy: Proxy, feed: FakeFeed) -> None:
    """So some answer every HEAD."""
    feed.origin.routes[UP_PACKAGE] = lambda seen: Script(body=b"" if seen.method == "HEAD" else SMALL)
    head = await ask(proxy, PACKAGE, "HEAD")
    assert (head.status, "Content-Length" in head.headers) == (200, False)
    assert (await ask(proxy, PACKAGE)).body == SMALL


@pytest.mark.parametrize("package", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("status", [302, 403, 404, 405, 410, 500, 501])
async def test_a_head_to_which_a_feed_says_no_is_answered_by_what_a_get_gets(
    proxy: Proxy, feed: FakeFeed, status: int, package: bytes
) -> None:
    """Storage addresses that are signed for GET alone; the package is downloaded once for both."""
    elsewhere, no = "/signed/acme.a.nupkg", [("Location", "/elsewhere")] if status == 302 else []

    def storage(seen: Seen) -> Script:
        return Script(status=status, headers=no) if seen.method == "HEAD" else Script(body=package)

    feed.origin.routes |= {
        UP_PACKAGE: Script(status=302, headers=[("Location", elsewhere)]),
        elsewhere: storage,
        "/elsewhere": Script(status=404),
    }
    head = await ask(proxy, PACKAGE, "HEAD")
    assert (head.status, head.headers["Content-Length"], head.body) == (200, str(len(package)), b"")
    got = await ask(proxy, PACKAGE)
    assert (got.status, got.body) == (200, package)
    assert [seen.method for seen in feed.requests if seen.path == elsewhere].count("GET") == 1


async def test_a_head_finds_what_only_the_registration_states(proxy: Proxy, feed: FakeFeed) -> None:
    """A feed with packages elsewhere: a HEAD must not leave a 404 behind for the GET after it."""
    feed.add(SMALL)
    stated = {"items": [{"items": [{"packageContent": f"{feed.url}/blobs/a.nupkg", "catalogEntry": ENTRY}]}]}
    feed.origin.routes |= {
        UP_PACKAGE: Script(status=404),
        UP_REGISTRATION: Script(body=json.dumps(stated).encode()),
        "/blobs/a.nupkg": Script(body=SMALL),
    }
    head = await ask(proxy, PACKAGE, "HEAD")
    assert (head.status, head.headers["Content-Length"]) == (200, str(len(SMALL)))
    assert (await ask(proxy, PACKAGE)).body == SMALL


async def test_a_head_of_what_does_not_exist(proxy: Proxy, feed: FakeFeed) -> None:
    for expected in ("fwd=uri-miss; fwd-status=404; stored", "hit; ttl=30"):
        head = await ask(proxy, PACKAGE, "HEAD")
        assert (head.status, head.body, head.cache) == (404, b"", expected)
    assert [seen.method for seen in feed.requests if seen.path == UP_PACKAGE] == ["HEAD", "GET"]


async def test_a_flight_shows_its_state(proxy: Proxy, feed: FakeFeed, gated: Script, gate: asyncio.Event) -> None:
    asked = asyncio.create_task(ask(proxy, PACKAGE))
    await until(lambda: proxy.metric("flights") == 1 and feed.count(UP_PACKAGE) == 1)
    (flight,) = [one for one in gc.get_objects() if type(one) is Flight and not one.over]
    assert re.fullmatch(r"<Flight of acme.a.1.0.0.nupkg: flying, \d+ of (\?|\d+) bytes, 1 readers>", repr(flight))
    gate.set()
    assert (await asked).status == 200
    assert repr(flight) == f"<Flight of acme.a.1.0.0.nupkg: landed, {len(LARGE)} of {len(LARGE)} bytes, 0 readers>"
