"""Behind a TLS front end, clients get https links and the repository signatures."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trustme

from tests.e2e.clients import Box
from tests.e2e.conftest import Built, NewBox
from tests.e2e.proxy import Proxy
from tests.fakes.feed import FakeFeed

PIECE = 65536


class Front:
    """Ends TLS and passes bytes on to ``target``, a port of this machine."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.target = 0
        self._context = context
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Front:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", ssl=self._context)
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def url(self) -> str:
        """The address for clients."""
        return f"https://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            behind_reader, behind_writer = await asyncio.open_connection("127.0.0.1", self.target)
            await asyncio.gather(_pump(reader, behind_writer), _pump(behind_reader, writer))
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while piece := await reader.read(PIECE):
            writer.write(piece)
            await writer.drain()
    finally:
        writer.close()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
async def front(feed: FakeFeed, tmp_path: Path, authority: trustme.CA) -> AsyncIterator[Front]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    async with Front(context) as front:
        config = f'[server]\npublic_url = "{front.url}"\n'
        async with Proxy(tmp_path / "cache", upstream=feed.index_url, config=config) as proxy:
            front.target = int(proxy.url.rpartition(":")[2])
            yield front


@pytest.fixture
def box(front: Front, new_box: NewBox, tmp_path: Path, authority: trustme.CA) -> Box:
    certificate = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(certificate)
    box = new_box(f"{front.url}/v3/index.json")
    box.variables["SSL_CERT_FILE"] = str(certificate)
    return box


async def test_dotnet_restores_over_https_with_signatures(dotnet: str, box: Box, feed: FakeFeed, built: Built) -> None:
    box.project("Acme.Text/1.2.3")

    (await box.run(dotnet, "restore")).ok()

    names = {"acme.text.1.2.3.nupkg", "acme.core.1.0.0.nupkg"}
    assert box.restored() == {name: built.published()[name] for name in names}
    # The client asks for them before its first package, and fails without.
    assert [seen.path for seen in feed.requests if "repository-signatures" in seen.path] != []


async def test_every_link_is_https(nuget6: str, box: Box, front: Front) -> None:
    listed = (await box.run(nuget6, "index", box.source)).ok()

    urls = {line.split(" ", 1)[1] for line in listed.output.splitlines()}
    assert [url for url in urls if not url.startswith("https://")] == []
    assert f"{front.url}/v3/signatures/5.0.0/index.json" in urls


async def test_signatures_are_read(nuget6: str, box: Box) -> None:
    read = (await box.run(nuget6, "signatures", box.source)).ok()

    assert "allRepositorySigned=False certificates=1" in read.output
