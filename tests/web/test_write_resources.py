"""Every write through the running proxy: once, with the caller's key, answered in upstream's words."""

from __future__ import annotations

import asyncio
import io
import json
import ssl
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiohttp import FormData
from structlog.testing import capture_logs

from tests.conftest import StartProxy
from tests.fakes.asking import VERSIONS, Got, ask, until
from tests.fakes.clock import FakeClock
from tests.fakes.feed import FakeFeed
from tests.fakes.origin import Origin, Script, Seen
from tests.fakes.packages import make_nupkg
from tests.fakes.proxy import Proxy

NUPKG = make_nupkg("Acme.A", "1.0.0")
SNUPKG = make_nupkg("Acme.A", "1.0.0", package_types=["SymbolsPackage"])
MIB = 2**20
UP_PUSH = "/api/v2/package/"


def form(content: bytes, name: str = "package") -> FormData:
    data = FormData()
    data.add_field(name, io.BytesIO(content), filename=f"{name}.nupkg", content_type="application/octet-stream")
    return data


async def write(proxy: Proxy, method: str, path: str, *, key: str | None, **more: Any) -> Got:
    headers = {**({"X-NuGet-ApiKey": key} if key else {}), **more.pop("headers", {})}
    return await ask(proxy, path, method, headers=headers, allow_redirects=False, **more)


async def push(proxy: Proxy, feed: FakeFeed, content: bytes = NUPKG, path: str = "/v3/package/") -> Got:
    return await write(proxy, "PUT", path, key=feed.api_key, data=form(content))


def told(feed: FakeFeed | Origin) -> list[tuple[str, str]]:
    """The writes that upstream saw."""
    seen = feed.requests
    return [(one.method, one.path) for one in seen if one.method not in {"GET", "HEAD"}]


async def published(proxy: Proxy, kind: str) -> str:
    """Where our service index says that a resource is, as a path."""
    index = json.loads((await ask(proxy, "/v3/index.json")).body)
    url = next(entry["@id"] for entry in index["resources"] if entry["@type"] == kind)
    assert url.startswith(f"{proxy.url}/v3/")
    return str(url.removeprefix(proxy.url))


# --- every operation -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slash", ["", "/"])
async def test_a_push_reaches_upstream_once_with_the_callers_key(proxy: Proxy, feed: FakeFeed, slash: str) -> None:
    path = await published(proxy, "PackagePublish/2.0.0")

    answer = await push(proxy, feed, path=path + slash)

    assert answer.status == 201
    assert told(feed) == [("PUT", UP_PUSH)]
    assert feed.requests[-1].headers["X-NuGet-ApiKey"] == feed.api_key
    assert feed.shelf.find("Acme.A", "1.0.0").content == NUPKG


@pytest.mark.parametrize("slash", ["", "/"])
async def test_symbols_go_to_the_symbol_resource(proxy: Proxy, feed: FakeFeed, slash: str) -> None:
    feed.add(NUPKG)
    path = await published(proxy, "SymbolPackagePublish/4.9.0")

    answer = await write(proxy, "PUT", path + slash, key=feed.api_key, data=form(SNUPKG))

    assert answer.status == 201
    assert feed.symbols == {("acme.a", "1.0.0"): SNUPKG}
    assert told(feed) == [("PUT", "/api/v2/symbolpackage/")]


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize(
    ("method", "rest", "upstream"),
    [
        ("DELETE", "package/Acme.A/1.0.0", "/api/v2/package/Acme.A/1.0.0"),
        ("POST", "package/Acme.A/1.0.0", "/api/v2/package/Acme.A/1.0.0"),
        ("PUT", "package/Acme.A/deprecations", "/api/v2/package/Acme.A/deprecations"),
        ("POST", "package/create-verification-key/Acme.A", "/api/v2/package/create-verification-key/Acme.A"),
        (
            "POST",
            "package/create-verification-key/Acme.A/1.0.0",
            "/api/v2/package/create-verification-key/Acme.A/1.0.0",
        ),
        ("GET", "verifykey/Acme.A/1.0.0", "/api/v2/verifykey/Acme.A/1.0.0"),
        ("GET", "verifykey/Acme.A", "/api/v2/verifykey/Acme.A"),
    ],
)
async def test_every_write_goes_to_its_place_in_the_callers_spelling(
    proxy: Proxy, feed: FakeFeed, method: str, rest: str, upstream: str, slash: str
) -> None:
    feed.add(NUPKG)

    answer = await write(proxy, method, f"/v3/{rest}{slash}", key=feed.api_key)

    assert answer.status == 200
    assert answer.headers["Cache-Status"] == "nugetproxy; fwd=method; fwd-status=200"
    assert (feed.requests[-1].method, feed.requests[-1].path) == (method, upstream)
    assert feed.requests[-1].headers["X-NuGet-ApiKey"] == feed.api_key
    assert feed.count(upstream) == 1


async def test_a_deprecation_takes_its_body_along(proxy: Proxy, feed: FakeFeed) -> None:
    feed.add(NUPKG)
    body = {"versions": ["1.0.0"], "isLegacy": True, "message": "Use another."}

    answer = await write(proxy, "PUT", "/v3/package/Acme.A/deprecations", key=feed.api_key, json=body)

    assert answer.status == 200
    assert json.loads(feed.requests[-1].body) == body
    assert feed.requests[-1].headers["Content-Type"] == "application/json"


async def test_a_verification_key_is_relayed_and_never_kept(proxy: Proxy, feed: FakeFeed) -> None:
    feed.add(NUPKG)
    for _ in range(2):
        answer = await write(proxy, "POST", "/v3/package/create-verification-key/Acme.A/1.0.0", key=feed.api_key)
        key = json.loads(answer.body)["Key"]
        assert (await write(proxy, "GET", "/v3/verifykey/Acme.A/1.0.0", key=key)).status == 200
        assert (await write(proxy, "GET", "/v3/verifykey/Acme.A/1.0.0", key="another")).status == 403
        assert answer.headers["Cache-Control"] == "no-store"
    assert feed.count("/api/v2/verifykey/Acme.A/1.0.0") == 4


async def test_a_staging_resource_takes_packages_and_symbols(start_proxy: StartProxy, feed: FakeFeed) -> None:
    index = {"version": "3.0.0", "resources": [{"@type": "PackageStaging/1.0.0", "@id": f"{feed.url}/staging"}]}
    feed.origin.routes["/v3/index.json"] = Script(body=json.dumps(index).encode())
    feed.origin.routes["/staging/package"] = feed.origin.routes["/staging/symbols"] = Script(status=202)
    proxy = await start_proxy(feed.index_url)
    path = await published(proxy, "PackageStaging/1.0.0")

    for part in ("package", "symbols"):
        answer = await write(proxy, "PUT", f"{path}/{part}", key=feed.api_key, data=form(NUPKG, part))
        assert answer.status == 202
    assert told(feed) == [("PUT", "/staging/package"), ("PUT", "/staging/symbols")]
    assert (await write(proxy, "PUT", f"{path}/other", key=feed.api_key)).status == 404
    assert (await write(proxy, "PUT", "/v3/package", key=feed.api_key, data=form(NUPKG))).status == 404


@pytest.mark.parametrize(
    ("method", "path", "status", "allowed"),
    [
        ("GET", "/v3/package", 405, "PUT"),
        ("DELETE", "/v3/package/", 405, "PUT"),
        ("POST", "/v3/symbolpackage", 405, "PUT"),
        ("PUT", "/v3/package/Acme.A/1.0.0", 405, "DELETE, POST, GET, HEAD"),
        ("PATCH", "/v3/package/Acme.A/1.0.0", 405, "DELETE, POST, GET, HEAD"),
        ("DELETE", "/v3/package/Acme.A", 405, "GET, HEAD"),
        ("PUT", "/v3/package/Acme.A/1.0.0/more", 404, None),
        ("DELETE", "/v3/package/..%2fx/1.0.0", 404, None),
        ("DELETE", "/v3/package/-x-/1.0.0", 404, None),
        ("PUT", "/v3/package//", 404, None),
        ("POST", "/v3/verifykey/Acme.A", 405, "GET"),
        ("GET", "/v3/verifykey", 404, None),
    ],
)
async def test_what_is_no_write_never_leaves(
    proxy: Proxy, feed: FakeFeed, method: str, path: str, status: int, allowed: str | None
) -> None:
    answer = await write(proxy, method, path, key=feed.api_key)
    assert answer.status == status
    assert answer.headers.get("Allow") == allowed
    assert told(feed) == []


# --- downloads by way of the publish address -------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/v3/package/Acme.A/1.0.0", "/v3/package/acme.a/1.0/", "/v3/package/ACME.A/1.0.0.0"])
async def test_a_download_by_the_publish_address_is_the_package_itself(proxy: Proxy, feed: FakeFeed, path: str) -> None:
    feed.add(NUPKG)
    answers = [await write(proxy, "GET", path, key=None) for _ in range(2)]
    assert [answer.status for answer in answers] == [200, 200]
    assert [answer.body for answer in answers] == [NUPKG, NUPKG]
    assert [answer.cache.partition(";")[0] for answer in answers] == ["fwd=uri-miss", "hit"]
    ranged = await write(proxy, "GET", path, key=None, headers={"Range": "bytes=0-3"})
    assert (ranged.status, ranged.body) == (206, NUPKG[:4])
    head = await write(proxy, "HEAD", path, key=None)
    assert (head.status, head.headers["Content-Length"]) == (200, str(len(NUPKG)))


async def test_a_download_by_id_alone_is_the_newest_listed_release(proxy: Proxy, feed: FakeFeed) -> None:
    older, newer = make_nupkg("Acme.A", "1.9.0"), make_nupkg("Acme.A", "1.10.0")
    for nupkg in (older, newer, make_nupkg("Acme.A", "2.0.0-beta")):
        feed.add(nupkg)
    feed.add(make_nupkg("Acme.A", "3.0.0"), listed=False)
    assert (await write(proxy, "GET", "/v3/package/Acme.A", key=None)).body == newer
    feed.add(make_nupkg("Acme.B", "1.0.0-beta"))
    assert (await write(proxy, "GET", "/v3/package/acme.b/", key=None)).status == 200
    assert (await write(proxy, "GET", "/v3/package/Acme.Nothing", key=None)).status == 404


async def test_the_newest_of_many_versions_stands_on_a_page_of_its_own(proxy: Proxy, feed: FakeFeed) -> None:
    for minor in range(130):
        feed.add(make_nupkg("Acme.A", f"1.{minor}.0"))
    answer = await write(proxy, "GET", "/v3/package/Acme.A", key=None)
    assert answer.body == feed.shelf.find("Acme.A", "1.129.0").content


# --- upstream's own words --------------------------------------------------------------------------------------------


async def test_a_refusal_keeps_status_reason_body_and_every_warning(proxy: Proxy, feed: FakeFeed) -> None:
    feed.warnings = ["One thing.", "Another thing."]
    assert (await push(proxy, feed)).headers.getall("X-NuGet-Warning") == feed.warnings

    again = await push(proxy, feed)

    assert again.status == 409
    assert again.reason == "The feed already contains package 'Acme.A' and version '1.0.0'."
    assert again.body.decode() == again.reason
    assert again.headers.getall("X-NuGet-Warning") == feed.warnings


async def test_a_missing_key_is_challenged_as_upstream_does(proxy: Proxy, feed: FakeFeed) -> None:
    answer = await write(proxy, "PUT", "/v3/package", key=None, data=form(NUPKG))
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"].startswith("ApiKey ")


async def test_a_hostile_reason_phrase_becomes_one_plain_line(proxy: Proxy, feed: FakeFeed) -> None:
    raw = "HTTP/1.1 400 Schön\twrong \x1b[31m" + "x" * 2000 + "\r\nContent-Length: 0\r\n\r\n"
    feed.origin.routes[UP_PUSH] = Script(raw=raw.encode("latin-1"))
    answer = await push(proxy, feed)
    assert answer.status in {400, 502}
    assert answer.reason.isascii() and answer.reason.isprintable()
    assert len(answer.reason) <= 512


# --- what an operator allows -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "method", "path", "word"),
    [
        ({"push": False}, "PUT", "/v3/package", "Pushing"),
        ({"push": False}, "PUT", "/v3/symbolpackage/", "Pushing"),
        ({"delete": False}, "DELETE", "/v3/package/Acme.A/1.0.0", "Deleting"),
        ({"delete": False}, "POST", "/v3/package/Acme.A/1.0.0", "Deleting"),
        ({"offline": True}, "PUT", "/v3/package", "offline"),
    ],
)
async def test_what_is_turned_off_is_refused_aloud_before_anything_leaves(
    start_proxy: StartProxy, feed: FakeFeed, settings: dict[str, bool], method: str, path: str, word: str
) -> None:
    proxy = await start_proxy(feed.index_url, upstream=settings)
    answer = await write(proxy, method, path, key=feed.api_key, data=form(NUPKG) if method == "PUT" else None)
    assert answer.status == 405
    # The reason phrase is all that NuGet shows its user.
    assert word in answer.reason
    assert told(feed) == []


async def test_what_is_allowed_still_works_when_the_other_is_turned_off(
    start_proxy: StartProxy, feed: FakeFeed
) -> None:
    proxy = await start_proxy(feed.index_url, upstream={"delete": False})
    assert (await push(proxy, feed)).status == 201
    answer = await write(proxy, "POST", "/v3/package/create-verification-key/Acme.A", key=feed.api_key)
    assert answer.status == 200


async def test_a_body_beyond_the_limit_is_read_and_refused(start_proxy: StartProxy, feed: FakeFeed) -> None:
    proxy = await start_proxy(feed.index_url, limits={"push": "1 MiB"})
    known = await push(proxy, feed, b"x" * (2 * MIB))
    unknown = await write(proxy, "PUT", "/v3/package", key=feed.api_key, data=pieces(2 * MIB))
    assert (known.status, unknown.status) == (413, 413)
    assert "larger than the limit" in known.reason
    assert not feed.shelf.packages
    assert (await push(proxy, feed)).status == 201


async def test_a_body_with_a_content_coding_is_not_taken(proxy: Proxy, feed: FakeFeed) -> None:
    answer = await write(proxy, "PUT", "/v3/package", key=feed.api_key, data=b"x", headers={"Content-Encoding": "gzip"})
    assert answer.status == 400
    assert told(feed) == []


# --- addresses that must not get a key -------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_of_a_push_is_refused_and_the_key_stays(proxy: Proxy, feed: FakeFeed, status: int) -> None:
    async with Origin() as elsewhere:
        location = [("Location", f"{elsewhere.url}/stolen")]
        feed.origin.routes[UP_PUSH] = Script(status=status, headers=location)
        answer = await push(proxy, feed)
        assert answer.status == 502
        assert "Location" not in answer.headers
        assert elsewhere.requests == []
    assert told(feed) == [("PUT", UP_PUSH)]


@pytest.fixture
def authority(tmp_path: Path) -> trustme.CA:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return ca


@pytest.fixture
async def tls_feed(authority: trustme.CA) -> AsyncIterator[FakeFeed]:
    """A feed that is reached over https."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    async with FakeFeed(ssl=context) as running:
        yield running


async def test_an_https_upstream_that_names_an_http_address_for_pushes_is_refused(
    start_proxy: StartProxy, feed: FakeFeed, tls_feed: FakeFeed, tmp_path: Path
) -> None:
    index = {
        "version": "3.0.0",
        "resources": [{"@type": "PackagePublish/2.0.0", "@id": f"{feed.url}/api/v2/package"}],
    }
    tls_feed.origin.routes["/v3/index.json"] = Script(body=json.dumps(index).encode())
    with capture_logs() as logs:
        proxy = await start_proxy(tls_feed.index_url, upstream={"ca_file": str(tmp_path / "ca.pem")})
        answer = await push(proxy, feed)
    assert answer.status == 502
    assert "plain http" in answer.reason
    assert feed.requests == []
    denied = [event for event in logs if event["event"] == "resource.denied"]
    assert [event["type"] for event in denied] == ["PackagePublish/2.0.0"]


# --- streaming -------------------------------------------------------------------------------------------------------


async def pieces(size: int, piece: int = 64 * 1024) -> AsyncIterator[bytes]:
    """So many bytes, one piece at a time."""
    block = b"x" * piece
    for at in range(0, size, piece):
        yield block[: size - at]


class Sink:
    """A publish address that counts what it gets and keeps nothing of it."""

    def __init__(self) -> None:
        self.size = 0
        self.done = False

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if b"chunked" in head:
            while size := int(await reader.readuntil(b"\r\n"), 16):
                left = size + 2
                while left:
                    left -= len(await reader.read(min(left, 65536)))
                self.size += size
            await reader.readuntil(b"\r\n")
        self.done = True
        writer.write(b"HTTP/1.1 201 Made\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()


@pytest.fixture
async def sink(feed: FakeFeed) -> AsyncIterator[Sink]:
    """The feed's publish address, on a server of its own."""
    taker = Sink()
    server = await asyncio.start_server(taker, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    index = {
        "version": "3.0.0",
        "resources": [{"@type": "PackagePublish/2.0.0", "@id": f"http://127.0.0.1:{port}/push"}],
    }
    feed.origin.routes["/v3/index.json"] = Script(body=json.dumps(index).encode())
    yield taker
    server.close()
    await server.wait_closed()


async def test_a_large_push_takes_little_memory(proxy: Proxy, feed: FakeFeed, sink: Sink) -> None:
    await ask(proxy, "/v3/index.json")
    tracemalloc.start()
    try:
        answer = await write(proxy, "PUT", "/v3/package", key=feed.api_key, data=pieces(60 * MIB))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (answer.status, sink.size) == (201, 60 * MIB)
    # Client, proxy and server together, in one process.
    assert peak < 12 * MIB


@pytest.mark.parametrize("status", [401, 403, 409, 413])
async def test_an_early_refusal_reaches_a_client_that_is_still_sending(
    proxy: Proxy, feed: FakeFeed, status: int
) -> None:
    early = Script(status=status, reason="Not like this.", body=b"no", read_body=1000)
    feed.origin.routes[UP_PUSH] = early
    answer = await write(proxy, "PUT", "/v3/package", key=feed.api_key, data=pieces(20 * MIB))
    assert (answer.status, answer.reason, answer.body) == (status, "Not like this.", b"no")
    assert told(feed) == [("PUT", UP_PUSH)]


async def raw(proxy: Proxy, text: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.client.port)
    writer.write(text.replace("\n", "\r\n").encode())
    await writer.drain()
    return reader, writer


@pytest.mark.parametrize(
    ("settings", "expected"),
    [({}, b"HTTP/1.1 100 "), ({"push": False}, b"HTTP/1.1 405 "), ({"offline": True}, b"HTTP/1.1 405 ")],
)
async def test_a_client_that_asks_first_is_told_before_its_body(
    start_proxy: StartProxy, feed: FakeFeed, settings: dict[str, bool], expected: bytes
) -> None:
    proxy = await start_proxy(feed.index_url, upstream=settings)
    head = "PUT /v3/package HTTP/1.1\nHost: localhost\nExpect: 100-continue\nContent-Length: 4\n\n"
    reader, writer = await raw(proxy, head)
    async with asyncio.timeout(5):
        assert (await reader.readline()).startswith(expected)
    writer.close()
    await writer.wait_closed()


async def test_a_client_that_leaves_in_the_midst_of_a_push_leaves_upstream_with_half_a_body(
    proxy: Proxy, feed: FakeFeed
) -> None:
    await ask(proxy, VERSIONS)
    head = f"PUT /v3/package HTTP/1.1\nHost: localhost\nX-NuGet-ApiKey: {feed.api_key}\nContent-Length: 9000\n\nhalf"
    _, writer = await raw(proxy, head)
    await until(lambda: bool(told(feed)))
    writer.transport.abort()
    await until(lambda: feed.origin.active == 0)
    assert not feed.shelf.packages
    assert (await push(proxy, feed)).status == 201


# --- an upstream that dies -------------------------------------------------------------------------------------------


async def test_an_upstream_that_is_gone_is_said_to_be_unavailable(proxy: Proxy, feed: FakeFeed) -> None:
    await ask(proxy, "/v3/index.json")
    await feed.set_mode("refused")
    answer = await push(proxy, feed)
    assert answer.status == 503
    assert "unknown" not in answer.body.decode()
    assert "Retry-After" in answer.headers


@pytest.mark.parametrize("half", [True, False], ids=["during", "after"])
async def test_an_upstream_that_dies_once_it_has_something_leaves_the_outcome_unknown(
    proxy: Proxy, feed: FakeFeed, half: bool
) -> None:
    dying = Script(raw=b"", end="rst", read_body=100_000 if half else True)
    feed.origin.routes[UP_PUSH] = dying
    answer = await push(proxy, feed, make_nupkg("Acme.A", "1.0.0", size=4 * MIB if half else 0))
    assert answer.status == 502
    assert "is unknown" in answer.reason
    assert told(feed) == [("PUT", UP_PUSH)]


# --- what is stored afterwards ---------------------------------------------------------------------------------------

HIVES = tuple(f"/v3/registration/{hive}/acme.a/index.json" for hive in ("semver1", "gz-semver1", "gz-semver2"))
QUERIES = ("/v3/query?q=acme", "/v3/autocomplete?q=acme")
NEWER = make_nupkg("Acme.A", "2.0.0")
NEWER_PATH = "/v3/content/acme.a/2.0.0/acme.a.2.0.0.nupkg"


async def test_after_a_push_nothing_about_the_package_is_believed_unasked(proxy: Proxy, feed: FakeFeed) -> None:
    feed.add(NUPKG)
    for path in (VERSIONS, *HIVES, *QUERIES):
        assert b"2.0.0" not in (await ask(proxy, path)).body
    assert (await ask(proxy, NEWER_PATH)).status == 404

    assert (await push(proxy, feed, NEWER)).status == 201

    for path in (VERSIONS, *HIVES, QUERIES[0]):
        assert b"2.0.0" in (await ask(proxy, path, headers={"Accept-Encoding": "identity"})).body, path
    assert (await ask(proxy, NEWER_PATH)).body == NEWER


async def test_a_push_that_upstream_indexes_late_is_found_as_soon_as_it_is_there(
    proxy: Proxy, feed: FakeFeed, clock: FakeClock
) -> None:
    feed.add(NUPKG)
    feed.late = True
    await ask(proxy, VERSIONS)
    assert (await push(proxy, feed, NEWER)).status == 201

    for _ in range(3):
        clock.advance(240)
        assert b"2.0.0" not in (await ask(proxy, VERSIONS)).body
        assert (await ask(proxy, NEWER_PATH)).status == 404
    feed.shelf.publish_deferred()

    assert b"2.0.0" in (await ask(proxy, VERSIONS)).body
    assert (await ask(proxy, NEWER_PATH)).body == NEWER


async def test_revalidation_ends_after_a_quarter_of_an_hour(proxy: Proxy, feed: FakeFeed, clock: FakeClock) -> None:
    assert (await push(proxy, feed)).status == 201
    for _ in range(2):
        assert "fwd=" in (await ask(proxy, VERSIONS)).cache
    clock.advance(15 * 60 + 1)
    await ask(proxy, VERSIONS)
    assert (await ask(proxy, VERSIONS)).cache.startswith("hit; ttl=")


async def test_revalidation_is_that_of_the_one_package(proxy: Proxy, feed: FakeFeed) -> None:
    feed.add(make_nupkg("Acme.B", "1.0.0"))
    await ask(proxy, "/v3/content/acme.b/index.json")
    assert (await push(proxy, feed)).status == 201
    assert (await ask(proxy, "/v3/content/acme.b/index.json")).cache.startswith("hit")


@pytest.mark.parametrize(("method", "status"), [("DELETE", 200), ("POST", 200)])
async def test_unlisting_and_relisting_outdate_what_is_stored(
    proxy: Proxy, feed: FakeFeed, method: str, status: int
) -> None:
    feed.add(NUPKG, listed=method == "POST")
    await ask(proxy, HIVES[2])
    answer = await write(proxy, method, "/v3/package/Acme.A/1.0.0", key=feed.api_key)
    assert answer.status == status
    text = (await ask(proxy, HIVES[2], headers={"Accept-Encoding": "identity"})).body
    assert (b'"listed":true' in text) == (method == "POST")


@pytest.mark.parametrize("key", ["a wrong one", None])
async def test_a_refused_write_outdates_nothing(proxy: Proxy, feed: FakeFeed, key: str | None) -> None:
    """Else anybody could make every restore slow."""
    feed.add(NUPKG)
    await ask(proxy, VERSIONS)
    assert (await write(proxy, "PUT", "/v3/package", key=key, data=form(b"junk"))).status in {401, 403}
    assert (await write(proxy, "DELETE", "/v3/package/Acme.A/1.0.0", key=key)).status in {401, 403}
    assert (await ask(proxy, VERSIONS)).cache.startswith("hit")


@pytest.mark.parametrize("answer", [Script(raw=b"", end="fin"), Script(status=504), Script(status=409)])
async def test_a_push_that_may_have_happened_outdates_what_is_stored(
    proxy: Proxy, feed: FakeFeed, answer: Script
) -> None:
    feed.add(NUPKG)
    await ask(proxy, VERSIONS)

    def accept(seen: Seen) -> Script:
        feed.add(NEWER)
        return answer

    feed.origin.routes[UP_PUSH] = accept
    assert (await push(proxy, feed, NEWER)).status in {502, 504, 409}
    assert b"2.0.0" in (await ask(proxy, VERSIONS)).body


# --- the audit -------------------------------------------------------------------------------------------------------


async def test_every_write_leaves_one_line_of_who_did_what_without_the_key(proxy: Proxy, feed: FakeFeed) -> None:
    with capture_logs() as logs:
        await push(proxy, feed)
        await write(proxy, "DELETE", "/v3/package/Acme.A/1.0.0", key="a-wrong-key", headers={"User-Agent": "me/1"})
        await feed.set_mode("refused")
        await push(proxy, feed, NEWER)
    audit = [event for event in logs if event["event"] == "write.audit"]
    assert [(event["operation"], event["method"], event["status"]) for event in audit] == [
        ("push", "PUT", 201),
        ("unlist", "DELETE", 403),
        ("push", "PUT", 0),
    ]
    assert audit[1]["package"] == "acme.a"
    assert audit[1]["version"] == "1.0.0"
    assert audit[1]["client"] == "127.0.0.1"
    assert audit[1]["agent"] == "me/1"
    assert audit[2]["result"].startswith("Upstream 'up' gave no usable answer (refused")
    assert {event["feed"] for event in audit} == {"up"}
    assert feed.api_key not in str(logs)
    assert "a-wrong-key" not in str(logs)


async def test_the_copy_of_a_push_leaves_no_file(proxy: Proxy, feed: FakeFeed, tmp_path: Path) -> None:
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert (await push(proxy, feed)).status == 201
    left = {path for path in tmp_path.rglob("*") if path.is_file()} - before
    assert not [path for path in left if "staging" in path.parts]
    assert not [path for path in left if feed.api_key.encode() in path.read_bytes()]
