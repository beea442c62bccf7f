"""Headers in both directions, content codings, conditions, what every answer says of itself."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import json

import pytest

from tests.fakes.asking import (
    LARGE,
    PACKAGE,
    REGISTRATION,
    SEARCH,
    SMALL,
    UP_INDEX,
    UP_PACKAGE,
    UP_REGISTRATION,
    UP_VERSIONS,
    VERSIONS,
    ask,
    held,
)
from tests.fakes.clock import FakeClock
from tests.fakes.feed import FakeFeed
from tests.fakes.origin import Script
from tests.fakes.packages import make_nupkg
from tests.fakes.proxy import Proxy

POISON = [
    "Accept", "Accept-Charset", "Accept-Language", "Access-Control-Request-Method", "Authorization",
    "Cache-Control", "CDN-Loop", "CF-Connecting-IP", "Client-IP", "Cookie", "Content-MD5", "Content-Type", "Date",
    "DNT", "Early-Data", "ETag", "Fastly-Client-IP", "Forwarded", "From", "Front-End-Https", "If-Match",
    "If-Modified-Since", "If-None-Match", "If-Unmodified-Since", "Last-Modified", "Location", "Max-Forwards",
    "Origin", "Pragma", "Prefer", "Proxy-Authorization", "Proxy-Connection", "Range", "Referer", "Save-Data",
    "Sec-Fetch-Site", "Surrogate-Capability", "True-Client-IP", "User-Agent", "Via", "Warning", "X-ATT-DeviceId",
    "X-Api-Version", "X-Correlation-ID", "X-Forwarded", "X-Forwarded-By", "X-Forwarded-For", "X-Forwarded-Host",
    "X-Forwarded-Port", "X-Forwarded-Prefix", "X-Forwarded-Proto", "X-Forwarded-Scheme", "X-Forwarded-Server",
    "X-HTTP-Method", "X-HTTP-Method-Override", "X-Host", "X-Method-Override", "X-NuGet-ApiKey",
    "X-NuGet-Client-Version", "X-NuGet-Session-Id", "X-Original-Host", "X-Original-URL", "X-Real-IP",
    "X-Request-ID", "X-Requested-With", "X-Rewrite-URL", "X-Wap-Profile",
]  # fmt: skip
OURS = {"host", "accept", "accept-encoding", "user-agent", "connection"}
PATHS = ["/v3/index.json", VERSIONS, REGISTRATION, SEARCH, PACKAGE]
ALLOWED = {
    "age", "accept-ranges", "cache-control", "cache-status", "content-encoding", "content-length", "content-type",
    "date", "etag", "last-modified", "server", "vary", "x-content-type-options", "transfer-encoding",
}  # fmt: skip


@pytest.fixture(autouse=True)
def acme(feed: FakeFeed) -> None:
    """Packages enough for a registration worth compressing."""
    feed.add(SMALL)
    for number in range(2, 9):
        feed.add(make_nupkg("Acme.A", f"{number}.0.0"))


async def test_no_header_of_a_client_reaches_upstream_or_the_cache(proxy: Proxy, feed: FakeFeed) -> None:
    assert len(POISON) >= 60
    poison = dict.fromkeys(POISON, "canary-evil")
    for path in PATHS:
        await ask(proxy, path, headers=poison)
    for seen in feed.requests:
        assert {name.lower() for name in seen.headers} <= OURS
        assert "canary-evil" not in str(seen.headers)
    await proxy.restart()
    for path in PATHS:
        got = await ask(proxy, path)
        assert got.status == 200
        assert b"canary-evil" not in got.body
        assert "canary-evil" not in str(got.headers)


@pytest.mark.slow
async def test_no_header_of_one_client_changes_what_another_gets(proxy: Proxy) -> None:
    golden = {path: (await ask(proxy, path)).body for path in PATHS}
    for name in POISON:
        for path in PATHS:
            for value in ("canary-evil", "*", "0"):
                await ask(proxy, path, headers={name: value})
            assert (await ask(proxy, path)).body == golden[path], name


async def test_the_clients_conditions_are_not_upstreams(proxy: Proxy, feed: FakeFeed) -> None:
    for path in PATHS:
        got = await ask(proxy, path, headers={"If-Modified-Since": "Sat, 01 Jan 2050 00:00:00 GMT"})
        assert got.status in {200, 304}
    assert not [seen for seen in feed.requests if "If-Modified-Since" in seen.headers]


async def test_no_header_of_upstream_reaches_clients(proxy: Proxy, feed: FakeFeed) -> None:
    headers = [
        ("Set-Cookie", "a=b"), ("Server", "leaky/1.0"), ("X-Powered-By", "y"),
        ("Strict-Transport-Security", "max-age=1"), ("Alt-Svc", 'h3=":443"'), ("Content-Security-Policy", "x"),
        ("Access-Control-Allow-Origin", "*"), ("Cache-Control", "no-store, private"), ("Vary", "Cookie"),
        ("X-Cache", "HIT"), ("Link", "</a>"), ("ETag", '"theirs"'), ("Content-Disposition", "attachment"),
        ("Refresh", "0"), ("WWW-Authenticate", "Basic"), ("Expires", "0"),
    ]  # fmt: skip
    feed.origin.routes |= {
        UP_VERSIONS: Script(body=b'{"versions":["1.0.0"]}', headers=headers),
        UP_PACKAGE: Script(body=SMALL, headers=headers),
    }
    for path in (VERSIONS, PACKAGE):
        for _ in range(2):
            got = await ask(proxy, path)
            assert got.status == 200
            assert {name.lower() for name in got.headers} <= ALLOWED
            assert got.headers["Server"] == "nugetproxy"
            assert "theirs" not in got.headers["ETag"]


ODD = "caf\xe9 \xff"
"""As origin sends it: bytes that are no UTF-8."""


@pytest.mark.parametrize("name", ["ETag", "Last-Modified", "Content-Type", "X-NuGet-Warning"])
async def test_bytes_of_upstream_that_are_no_text_cost_nothing_that_is_stored(
    proxy: Proxy, feed: FakeFeed, clock: FakeClock, name: str
) -> None:
    for path in (VERSIONS, REGISTRATION):
        assert (await ask(proxy, path)).status == 200
    feed.add(make_nupkg("Acme.B", "1.0.0"))
    up = "/v3-flatcontainer/acme.b/"
    feed.origin.routes |= {
        f"{up}index.json": Script(body=b'{"versions":["1.0.0"]}', headers=[(name, ODD)]),
        f"{up}1.0.0/acme.b.1.0.0.nupkg": Script(body=make_nupkg("Acme.B", "1.0.0"), headers=[(name, ODD)]),
    }
    others = ["/v3/content/acme.b/index.json", "/v3/content/acme.b/1.0.0/acme.b.1.0.0.nupkg"]
    for path in others:
        assert (await ask(proxy, path)).status == 200
    clock.advance(400)
    assert (await ask(proxy, others[0])).status == 200, "what it is asked for with can be sent"
    await feed.set_mode("refused")
    clock.advance(400)
    for path in (VERSIONS, REGISTRATION, *others):
        got = await ask(proxy, path)
        assert got.status == 200, got.reason
        assert got.headers.get("X-NuGet-Warning", "").isascii()
    assert "acme.b.1.0.0.nupkg" in held(proxy)


async def test_every_answer_says_where_it_comes_from_and_how_long_it_holds(
    proxy: Proxy, feed: FakeFeed, clock: FakeClock
) -> None:
    for path in (*PATHS, *PATHS, "/v3/content/acme.x/index.json", "/nowhere", "/health/live", "/v3/package"):
        got = await ask(proxy, path)
        assert got.headers["Cache-Status"].startswith("nugetproxy; ")
        assert got.headers["Cache-Control"] in {"no-cache", "no-store", "public, max-age=31536000, immutable"}
        assert got.headers["X-Content-Type-Options"] == "nosniff"
        assert got.headers["Server"] == "nugetproxy"
    clock.advance(42)
    for path in ("/v3/index.json", VERSIONS, REGISTRATION, SEARCH):
        assert (await ask(proxy, path)).headers["Age"] == "42"
    await feed.set_mode("5xx")
    failed = await ask(proxy, "/v3/content/acme.y/index.json")
    assert (failed.status, failed.headers["Cache-Control"]) == (503, "no-store")
    assert failed.headers["Cache-Status"] == 'nugetproxy; fwd=uri-miss; detail="5xx"'


ACCEPTS = [
    ("gzip", True),
    ("gzip, deflate", True),
    ("gzip, deflate, br", True),
    ("br;q=1.0, gzip;q=0.5", True),
    ("GZIP", True),
    ("x-gzip", True),
    ("*", True),
    ("identity;q=0.5, *;q=0.1", True),
    ("*;q=0, gzip", True),
    ("deflate,gzip;q=0.001", True),
    ("gzip;q=0", False),
    ("gzip;q=0.0", False),
    ("gzip;q=0, *", False),
    ("*, gzip;q=0", False),
    ("*;q=0", False),
    ("identity", False),
    ("br, deflate", False),
    ("gzipped", False),
    ("", False),
]


class TestCoding:
    async def test_gzip_only_for_those_who_take_it(self, proxy: Proxy) -> None:
        plain = await ask(proxy, REGISTRATION, headers={"Accept-Encoding": "identity"})
        for accepts, gzipped in ACCEPTS:
            got = await ask(proxy, REGISTRATION, headers={"Accept-Encoding": accepts})
            assert got.headers.get("Content-Encoding") == ("gzip" if gzipped else None), accepts
            assert (gzip.decompress(got.body) if gzipped else got.body) == plain.body
            assert got.headers["Vary"] == "Accept-Encoding"
            assert got.headers["Content-Length"] == str(len(got.body))
            assert (got.headers["ETag"] == plain.headers["ETag"]) != gzipped

    async def test_a_package_is_never_coded(self, proxy: Proxy) -> None:
        for _ in range(2):
            got = await ask(proxy, PACKAGE, headers={"Accept-Encoding": "gzip"})
            assert got.body == SMALL
            assert not {"Content-Encoding", "Vary"} & set(got.headers)

    @pytest.mark.parametrize("coded", [True, False])
    async def test_what_upstream_compresses_is_stored_plain(self, proxy: Proxy, feed: FakeFeed, coded: bool) -> None:
        feed.origin.routes[UP_VERSIONS] = Script(body=b'{"versions":["1.0.0"]}', gzip=coded)
        got = await ask(proxy, VERSIONS)
        assert (got.body, "Content-Encoding" in got.headers) == (b'{"versions":["1.0.0"]}', False)

    @pytest.mark.parametrize("coding", ["br", "deflate", "zstd", "gzip, gzip"])
    async def test_a_coding_that_nobody_asked_for_is_refused(self, proxy: Proxy, feed: FakeFeed, coding: str) -> None:
        feed.origin.routes[UP_REGISTRATION] = Script(body=b"\x1f\x8b\x08", headers=[("Content-Encoding", coding)])
        assert (await ask(proxy, REGISTRATION)).status == 502


class TestConditions:
    @pytest.mark.parametrize("path", PATHS)
    async def test_what_the_client_has_is_not_sent_again(self, proxy: Proxy, path: str) -> None:
        for coding, method in itertools.product(("identity", "gzip"), ("GET", "HEAD")):
            await ask(proxy, path)
            first = await ask(proxy, path, headers={"Accept-Encoding": coding})
            etag = first.headers["ETag"]
            for known in (etag, f"W/{etag}", f'"other", {etag}', "*"):
                got = await ask(proxy, path, method, headers={"Accept-Encoding": coding, "If-None-Match": known})
                assert (got.status, got.body) == (304, b"")
                assert got.headers["ETag"] == etag
                assert {"Cache-Control", "Cache-Status"} <= set(got.headers)
                assert got.headers.get("Vary") == first.headers.get("Vary")
            for other in ('"other"', etag[:-1] + 'x"', "nonsense"):
                got = await ask(proxy, path, method, headers={"Accept-Encoding": coding, "If-None-Match": other})
                assert got.status == 200

    async def test_the_tag_of_another_coding_does_not_match(self, proxy: Proxy) -> None:
        packed = await ask(proxy, REGISTRATION, headers={"Accept-Encoding": "gzip"})
        got = await ask(proxy, REGISTRATION, headers={"If-None-Match": packed.headers["ETag"]})
        assert got.status == 200

    async def test_a_changed_document_is_sent(self, proxy: Proxy, feed: FakeFeed, clock: FakeClock) -> None:
        first = await ask(proxy, VERSIONS)
        feed.add(make_nupkg("Acme.A", "99.0.0"))
        clock.advance(301)
        got = await ask(proxy, VERSIONS, headers={"If-None-Match": first.headers["ETag"]})
        assert got.status == 200
        assert "99.0.0" in json.loads(got.body)["versions"]

    async def test_dates(self, proxy: Proxy) -> None:
        await ask(proxy, PACKAGE)
        modified = (await ask(proxy, PACKAGE)).headers["Last-Modified"]
        assert (await ask(proxy, PACKAGE, headers={"If-Modified-Since": modified})).status == 304
        assert (await ask(proxy, PACKAGE, headers={"If-Unmodified-Since": modified})).status == 200
        long_ago = "Sat, 01 Jan 2000 00:00:00 GMT"
        assert (await ask(proxy, PACKAGE, headers={"If-Modified-Since": long_ago})).status == 200
        assert (await ask(proxy, PACKAGE, headers={"If-Unmodified-Since": long_ago})).status == 412

    async def test_if_match(self, proxy: Proxy) -> None:
        await ask(proxy, PACKAGE)
        etag = (await ask(proxy, PACKAGE)).headers["ETag"]
        assert (await ask(proxy, PACKAGE, headers={"If-Match": etag})).status == 200
        assert (await ask(proxy, PACKAGE, headers={"If-Match": '"other"'})).status == 412

    async def test_an_error_is_an_error_whatever_the_conditions(self, proxy: Proxy) -> None:
        for headers in ({"If-None-Match": "*"}, {"If-Match": '"x"'}, {"Range": "bytes=0-1"}):
            assert (await ask(proxy, "/v3/content/acme.x/index.json", headers=headers)).status == 404


@pytest.mark.parametrize("path", [*PATHS, "/v3/content/acme.x/index.json", "/nowhere", "/health/live"])
async def test_head_is_get_without_a_body(proxy: Proxy, path: str) -> None:
    for _ in range(2):
        got = await ask(proxy, path)
    head = await ask(proxy, path, "HEAD")
    assert (head.status, head.body) == (got.status, b"")
    same = (set(got.headers) | set(head.headers)) - {"Date", "Age"}
    assert {name: head.headers.get(name) for name in same} == {name: got.headers.get(name) for name in same}


async def test_an_old_client_gets_a_package_of_unknown_length_whole_or_not_at_all(proxy: Proxy, feed: FakeFeed) -> None:
    """HTTP/1.0 has no chunks: a cut body could not be told from a whole one without a length (nginx asks like this)."""
    for body, status in ((LARGE, b"200"), (LARGE[:-1], b"502")):
        feed.origin.routes[UP_PACKAGE] = Script(body=body, chunked=True)
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.client.port)
        writer.write(f"GET {PACKAGE} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
        head, _, got = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        assert head.split(b" ")[1] == status
        if status == b"200":
            assert got == LARGE
            assert b"Content-Length: %d" % len(LARGE) in head
            await proxy.held.folder.pending.empty()
            await proxy.held.folder.delete(next(proxy.held.folder.walk())[0])


async def test_the_service_index_is_asked_for_once_by_many(proxy: Proxy, feed: FakeFeed) -> None:
    answers = await asyncio.gather(*(ask(proxy, path) for path in PATHS * 4))
    assert {got.status for got in answers} == {200}
    assert feed.count(UP_INDEX) == 1
