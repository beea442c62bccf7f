"""The symbol server for debuggers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from nugetproxy.feeds import files as files_module
from nugetproxy.nuget.symbols import SymbolFile, parse_checksums
from tests.conftest import StartProxy
from tests.fakes.asking import Got, ask, until
from tests.fakes.clock import FakeClock
from tests.fakes.feed import FakeFeed
from tests.fakes.origin import Origin, Script, Seen
from tests.fakes.proxy import Proxy

KEY = "1b2e6bd8c0e347a09c9a9a3d8f1e5d11FFFFFFFF"
FILE = f"/symbols/acme.a.pdb/{KEY}/acme.a.pdb"
UP = f"/download{FILE}"
PDB = b"BSJB" + bytes(range(256)) * 40
SHA256, OTHER = f"SHA256:{'ab' * 32}", f"SHA256:{'cd' * 32}"


@pytest.fixture
async def second() -> AsyncIterator[Origin]:
    async with Origin() as running:
        yield running


@pytest.fixture
async def proxy(start_proxy: StartProxy, feed: FakeFeed, origin: Origin, second: Origin) -> Proxy:
    """A proxy in front of two symbol servers."""
    urls = [f"{one.url}/download/symbols" for one in (origin, second)]
    return await start_proxy(feed.index_url, symbols={"urls": urls})


# --- paths and checksums ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        f"acme.a.pdb/{KEY}/acme.a.pdb",
        "Acme.A.pdb/497B72F6390A44FC878E5A2D63B6CC4B1/Acme.A.pdb",
        "coreclr.dll/542d574213000/coreclr.dll",
        "libcoreclr.so/elf-buildid-180a373d6afbabf0eb1f09be1bc45bd796a71085/libcoreclr.so",
        "_.debug/elf-buildid-sym-180a373d6afbabf0eb1f09be1bc45bd796a71085/_.debug",
        "libcoreclr.dylib/mach-uuid-497b72f6390a44fc878e5a2d63b6cc4b/libcoreclr.dylib",
        "test.cs/sha1-497b72f6390a44fc878e5a2d63b6cc4b0c2d9984/test.cs",
        "libstdc++.so.6/elf-buildid-00/libstdc++.so.6",
    ],
)
def test_what_a_debugger_asks_for(path: str) -> None:
    symbol = SymbolFile.parse(path)
    assert symbol is not None
    assert symbol.path == path


@pytest.mark.parametrize(
    "path",
    [
        "",
        "acme.pdb",
        "acme.pdb/1A/other.pdb",
        f"acme.pdb/{KEY}/acme.pd_",
        f"acme.pdb/{KEY}/file.ptr",
        f"acme.pdb/{KEY}/acme.pdb/",
        f"/{KEY}/",
        f"../{KEY}/..",
        f"a..b/{KEY}/a..b",
        f".pdb/{KEY}/.pdb",
        f"acme.pdb./{KEY}/acme.pdb.",
        f"a%2fb/{KEY}/a%2fb",
        f"a b/{KEY}/a b",
        f"{'a' * 300}/{KEY}/{'a' * 300}",
        "acme.pdb//acme.pdb",
        "acme.pdb/xyz/acme.pdb",
        "acme.pdb/1A-/acme.pdb",
        "acme.pdb/../acme.pdb",
        f"acme.pdb/{'a' * 200}/acme.pdb",
        "acme.pdb/\uff11A/acme.pdb",
    ],
)
def test_what_is_no_symbol(path: str) -> None:
    assert SymbolFile.parse(path) is None


@pytest.mark.parametrize(
    ("values", "canonical"),
    [
        ([], ""),
        ([""], ""),
        ([SHA256], SHA256),
        ([SHA256.lower()], SHA256),
        ([f"{SHA256}; {OTHER}"], f"{SHA256};{OTHER}"),
        ([SHA256, OTHER, SHA256], f"{SHA256};{OTHER}"),
        ([f"SHA1:{'0' * 40};SHA384:{'1' * 96};SHA512:{'2' * 128}"],) * 2,
        (["SHA256:ab"], None),
        ([f"MD5:{'0' * 32}"], None),
        (["SHA256"], None),
        ([f"{SHA256};"], None),
        ([f"{SHA256}\t\x00"], None),
        ([";".join([SHA256] * 100)], None),
    ],
)
def test_checksums(values: list[str], canonical: str | list[str] | None) -> None:
    expected = canonical[0] if isinstance(canonical, list) else canonical
    assert parse_checksums(values) == expected


# --- reads -----------------------------------------------------------------------------------------------------------


async def symbol(proxy: Proxy, path: str = FILE, method: str = "GET", **headers: str) -> Got:
    return await ask(proxy, path, method, headers=headers)


async def test_a_found_file_is_fetched_once_and_kept_for_ever(
    proxy: Proxy, origin: Origin, second: Origin, clock: FakeClock
) -> None:
    origin.routes[UP] = Script(body=PDB)
    first = await symbol(proxy)
    clock.advance(10**8)
    await origin.refuse()
    again = await symbol(proxy)
    assert (first.status, again.status) == (200, 200)
    assert first.body == again.body == PDB
    assert again.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert again.headers["Content-Type"] == "application/octet-stream"
    assert (first.cache, again.cache.partition(";")[0]) == ("fwd=uri-miss; fwd-status=200; stored", "hit")
    assert (origin.count(UP), len(second.requests)) == (1, 0)
    assert origin.requests[0].headers["Accept-Encoding"] == "identity"


async def test_it_survives_a_restart(proxy: Proxy, origin: Origin) -> None:
    origin.routes[UP] = Script(body=PDB)
    await symbol(proxy)
    await proxy.restart()
    await origin.refuse()
    assert (await symbol(proxy)).body == PDB


async def test_conditions_ranges_and_head(proxy: Proxy, origin: Origin) -> None:
    origin.routes[UP] = Script(body=PDB)
    head = await symbol(proxy, method="HEAD")
    assert (head.status, head.headers["Content-Length"], head.body) == (200, str(len(PDB)), b"")
    assert [seen.method for seen in origin.requests] == ["HEAD"]
    etag = (await symbol(proxy)).headers["ETag"]
    assert (await symbol(proxy, **{"If-None-Match": etag})).status == 304
    part = await symbol(proxy, Range="bytes=4-9")
    assert (part.status, part.body) == (206, PDB[4:10])
    assert (await symbol(proxy, method="HEAD")).headers["ETag"] == etag
    assert len(origin.requests) == 2


async def test_a_missing_file_is_asked_for_once_in_a_quarter_of_an_hour(
    proxy: Proxy, origin: Origin, second: Origin, clock: FakeClock
) -> None:
    for _ in range(5):
        assert (await symbol(proxy)).status == 404
    assert (origin.count(UP), second.count(UP)) == (1, 1)
    clock.advance(15 * 60 + 1)
    second.routes[UP] = Script(body=PDB)
    assert (await symbol(proxy)).body == PDB


async def test_thousands_of_compressed_forms_never_go_upstream(proxy: Proxy, origin: Origin, second: Origin) -> None:
    for name in ("acme.a.pd_", "file.ptr"):
        assert (await symbol(proxy, f"/symbols/acme.a.pdb/{KEY}/{name}")).status == 404
    assert origin.requests == second.requests == []


async def test_the_next_server_is_asked_after_a_miss_and_after_a_failure(
    proxy: Proxy, origin: Origin, second: Origin
) -> None:
    second.routes[UP] = Script(body=PDB)
    assert (await symbol(proxy)).body == PDB
    other = FILE.replace("acme.a", "acme.b")
    second.routes[f"/download{other}"] = Script(body=b"another")
    await origin.refuse()
    assert (await symbol(proxy, other)).body == b"another"


async def test_offline_what_is_stored_of_the_next_server_is_given(
    proxy: Proxy, feed: FakeFeed, origin: Origin, second: Origin
) -> None:
    second.routes[UP] = Script(body=PDB)
    both = [f"{one.url}/download/symbols" for one in (origin, second)]
    await proxy.reload(symbols={"urls": both[1:]})
    assert (await symbol(proxy)).body == PDB
    await proxy.reload(symbols={"urls": both}, upstream={"offline": True})
    assert (await symbol(proxy)).body == PDB
    assert (await symbol(proxy, FILE.replace("acme.a", "acme.b"))).status == 404
    assert (len(origin.requests), second.count(UP)) == (0, 1)


@pytest.mark.parametrize("answer", [Script(status=500), Script(body=b"<!DOCTYPE html><p>Log in"), Script(body=b"")])
async def test_a_failure_is_no_miss(
    proxy: Proxy, origin: Origin, second: Origin, clock: FakeClock, answer: Script
) -> None:
    origin.routes[UP] = answer
    assert (await symbol(proxy)).status in {502, 503}
    clock.advance(1.001)  # a second, whatever floats make of the retries' spans
    origin.routes[UP] = Script(body=PDB)
    assert (await symbol(proxy)).body == PDB


@pytest.mark.parametrize("status", [400, 401, 403])
async def test_a_refusal_is_a_miss_of_this_very_request(proxy: Proxy, origin: Origin, status: int) -> None:
    """symbols.nuget.org refuses whoever sends no checksum."""

    def answer(seen: Seen) -> Script:
        return Script(body=PDB) if "SymbolChecksum" in seen.headers else Script(status=status)

    origin.routes[UP] = answer
    for _ in range(3):
        assert (await symbol(proxy)).status == 404
    assert origin.count(UP) == 1
    assert (await symbol(proxy, SymbolChecksum=SHA256)).body == PDB


async def test_the_checksum_goes_along_and_is_part_of_the_question(proxy: Proxy, origin: Origin) -> None:
    origin.routes[UP] = lambda seen: Script(body=seen.headers.get("SymbolChecksum", "none").encode())
    for _ in range(2):
        assert (await symbol(proxy)).body == b"none"
        assert (await symbol(proxy, SymbolChecksum=SHA256.lower())).body == SHA256.encode()
        assert (await symbol(proxy, SymbolChecksum=OTHER)).body == OTHER.encode()
    assert origin.count(UP) == 3


async def test_a_malformed_checksum_is_refused(proxy: Proxy, origin: Origin) -> None:
    assert (await symbol(proxy, SymbolChecksum="SHA256:zz")).status == 400
    assert origin.requests == []


async def test_nothing_else_of_the_client_goes_upstream(proxy: Proxy, origin: Origin) -> None:
    origin.routes[UP] = Script(body=PDB)
    await symbol(proxy, Authorization="Bearer mine", Cookie="a=b", **{"X-NuGet-ApiKey": "k", "X-Other": "o"})
    sent = origin.requests[0].headers
    assert not {"Authorization", "Cookie", "X-NuGet-ApiKey", "X-Other"} & set(sent)


async def test_a_file_too_large_to_store_is_passed_through(
    proxy: Proxy, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nugetproxy.feeds.symbols.STORED_BYTES", 1000)
    assert files_module.STORED_BYTES > 1000
    origin.routes[UP] = Script(body=PDB, headers=[("ETag", '"one"')], ranges=True)
    for _ in range(2):
        got = await symbol(proxy)
        assert (got.status, got.body, got.headers["ETag"]) == (200, PDB, '"one"')
        assert got.headers["Content-Length"] == str(len(PDB))
        assert got.cache == "fwd=bypass; fwd-status=200"
    part = await symbol(proxy, Range="bytes=5000-5009")
    assert (part.status, part.body) == (206, PDB[5000:5010])
    assert (await symbol(proxy, **{"If-None-Match": '"one"'})).status == 304


UNKNOWN_HEAD = [
    *(Script(status=status) for status in (403, 404, 405, 501)),
    Script(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong"),
    Script(body=b""),
]


@pytest.mark.parametrize("no", UNKNOWN_HEAD, ids=["403", "404", "405", "501", "with a body", "of no bytes"])
async def test_a_large_file_of_a_server_that_does_not_know_head_is_passed_through(
    proxy: Proxy, origin: Origin, monkeypatch: pytest.MonkeyPatch, no: Script
) -> None:
    monkeypatch.setattr("nugetproxy.feeds.symbols.STORED_BYTES", 1000)
    origin.routes[UP] = lambda seen: no if seen.method == "HEAD" else Script(body=PDB, ranges=True)
    head = await symbol(proxy, method="HEAD")
    assert head.status == 200
    assert head.headers.get("Content-Length") == (None if no.status == 200 and no.raw is None else str(len(PDB)))
    for _ in range(2):
        got = await symbol(proxy)
        assert (got.status, got.body) == (200, PDB)


@pytest.mark.parametrize("large", [False, True])
async def test_a_login_page_is_no_file(
    proxy: Proxy, origin: Origin, second: Origin, monkeypatch: pytest.MonkeyPatch, large: bool
) -> None:
    if large:
        monkeypatch.setattr("nugetproxy.feeds.symbols.STORED_BYTES", 1000)
    for one in (origin, second):
        one.routes[UP] = Script(headers=[("Content-Type", "text/html")], body=b"<html>" + b" " * 2000)
    for method in ("HEAD", "GET"):
        assert (await symbol(proxy, method=method)).status == 502, method


async def test_a_large_file_that_breaks_off_is_cut_off_here_too(
    proxy: Proxy, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nugetproxy.feeds.symbols.STORED_BYTES", 1000)
    origin.routes[UP] = Script(body=PDB, cut_at=5000, end="rst")
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.client.port)
    writer.write(f"GET {FILE} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    async with asyncio.timeout(10):
        with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
            await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(len(PDB))
    writer.close()


async def test_a_crowd_fetches_a_file_once(proxy: Proxy, origin: Origin) -> None:
    gate = asyncio.Event()
    origin.routes[UP] = Script(body=PDB, gate=gate)
    crowd = [asyncio.create_task(symbol(proxy)) for _ in range(20)]
    await until(lambda: bool(origin.requests))
    gate.set()
    assert {got.body for got in await asyncio.gather(*crowd)} == {PDB}
    assert origin.count(UP) == 1


@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE"])
async def test_there_is_nothing_to_write(proxy: Proxy, method: str) -> None:
    assert (await symbol(proxy, method=method)).status == 405


async def test_turned_off_it_is_not_there(start_proxy: StartProxy, feed: FakeFeed) -> None:
    proxy = await start_proxy(feed.index_url, symbols={"urls": []})
    assert (await symbol(proxy)).status == 404


# --- new symbols -----------------------------------------------------------------------------------------------------


async def test_after_symbols_were_pushed_misses_are_asked_for_again(
    proxy: Proxy, feed: FakeFeed, origin: Origin, clock: FakeClock
) -> None:
    """For a quarter of an hour, as symbol servers too take their time to show what is new."""
    feed.origin.routes["/api/v2/package/"] = Script(status=201)
    feed.origin.routes["/api/v2/symbolpackage/"] = [Script(status=403), Script(status=201)]
    origin.routes[UP] = [Script(status=404), Script(status=404), Script(body=PDB)]
    assert (await ask(proxy, FILE)).status == 404
    for resource, status, asked in (("package", 201, 1), ("symbolpackage", 403, 1), ("symbolpackage", 201, 2)):
        got = await ask(proxy, f"/v3/{resource}", "PUT", data=b"a package", headers={"X-NuGet-ApiKey": feed.api_key})
        assert got.status == status
        assert (await ask(proxy, FILE)).status == 404
        assert origin.count(UP) == asked
    clock.advance(600)
    assert (await ask(proxy, FILE)).body == PDB
    clock.advance(301)
    assert (await ask(proxy, FILE)).cache == "hit"
    assert origin.count(UP) == 3


async def test_what_was_found_before_is_not_asked_for_again_then(proxy: Proxy, feed: FakeFeed, origin: Origin) -> None:
    """The symbols of a build never change."""
    feed.origin.routes["/api/v2/symbolpackage/"] = Script(status=201)
    origin.routes[UP] = Script(body=PDB)
    assert (await ask(proxy, FILE)).body == PDB
    got = await ask(proxy, "/v3/symbolpackage", "PUT", data=b"a package", headers={"X-NuGet-ApiKey": feed.api_key})
    assert got.status == 201
    assert (await ask(proxy, FILE)).cache == "hit"
    await proxy.restart()
    assert (await ask(proxy, FILE)).cache == "hit"
    assert origin.count(UP) == 1
