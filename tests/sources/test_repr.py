"""The ``repr()`` of a source says how it is, for whoever looks at a running proxy."""

from __future__ import annotations

from pathlib import Path

from tests.conftest import StartProxy
from tests.fakes.asking import PACKAGE, SMALL, ask, held, until
from tests.fakes.feed import FakeFeed
from tests.fakes.proxy import Proxy


async def test_of_a_remote_source(proxy: Proxy, feed: FakeFeed) -> None:
    feed.add(SMALL)
    (source,) = proxy.app.sources.values()
    assert repr(source) == (
        f"<RemoteSource 'up' at {feed.index_url}: {{}}, <Packages of 'up': 0 held (0 bytes), 0 in flight>>"
    )
    assert (await ask(proxy, PACKAGE)).status == 200
    await until(lambda: held(proxy) != set() and ": 1 held (" in repr(source))
    await feed.set_mode("refused")
    await ask(proxy, PACKAGE.replace("acme.a", "acme.none"))
    assert f"{{'{feed.url}': 'open'}}" in repr(source)
    assert repr(proxy.app.feeds["up"]) == f"<Feed 'up' of [{source!r}]>"


async def test_of_an_offline_source(start_proxy: StartProxy, feed: FakeFeed) -> None:
    proxy = await start_proxy(feed.index_url, upstream={"offline": True})
    assert repr(proxy.app.sources["up"]).startswith(f"<RemoteSource 'up' at {feed.index_url}: offline, ")


async def test_of_a_folder(start_proxy: StartProxy, tmp_path: Path) -> None:
    folder = tmp_path / "shelf"
    folder.mkdir()
    (folder / "acme.a.1.0.0.nupkg").write_bytes(SMALL)
    proxy = await start_proxy(str(folder))
    source = proxy.app.sources["up"]
    await ask(proxy, PACKAGE)
    await until(lambda: ": read, " in repr(source))
    assert repr(source) == f"<FolderSource 'up' at {folder}: read, 1 packages>"
