"""Stands: a published source of each kind, driven alike."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.conftest import StartProxy
from tests.fakes.clock import FakeClock
from tests.fakes.feed import FakeFeed
from tests.fakes.packages import make_nupkg
from tests.fakes.proxy import Proxy

ONE = make_nupkg(
    "Acme.A", "1.0.0", readme="# One", icon=b"\x89PNG\r\n\x1a\n...", license_file="MIT", description="Ones"
)
TWO = make_nupkg("Acme.A", "2.0.0-rc.1", dependencies=[("Acme.B", "[1.0.0, )")], size=200_000)
OTHER = make_nupkg("Acme.B", "1.0.0", tags="tools")
QUICK = {"tries": 1}


class Stand:
    """A proxy of one source that has ``ONE``, ``TWO`` and ``OTHER``."""

    proxy: Proxy

    async def lose(self) -> None:
        """From now on nothing but what the proxy itself holds can answer."""
        raise NotImplementedError

    def damage(self) -> Path:
        """Flip a byte in the middle of what is held of ``TWO``, behind the proxy's back."""
        path = self.held_file()
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 0xFF
        path.unlink()
        path.write_bytes(content)
        return path

    def held_file(self) -> Path:
        """Where ``TWO`` is held."""
        raise NotImplementedError


class RemoteStand(Stand):
    """A feed somewhere else."""

    def __init__(self, proxy: Proxy, feed: FakeFeed) -> None:
        self.proxy = proxy
        self._feed = feed

    async def lose(self) -> None:
        await self._feed.set_mode("refused")

    def held_file(self) -> Path:
        return self.proxy.packages / "acme.a" / "2.0.0-rc.1" / "acme.a.2.0.0-rc.1.nupkg"


class FolderStand(Stand):
    """A folder of packages."""

    def __init__(self, proxy: Proxy, root: Path, clock: FakeClock) -> None:
        self.proxy = proxy
        self._root = root
        self._clock = clock

    async def lose(self) -> None:
        self._root.rename(self._root.with_name("away"))
        self._clock.advance(1.0)

    def held_file(self) -> Path:
        return self._root / "Acme.A.2.0.0-rc.1.nupkg"


class AggregateStand(Stand):
    """A feed of two sources: ``OTHER`` is public, the rest is private."""

    def __init__(self, proxy: Proxy, feeds: tuple[FakeFeed, ...]) -> None:
        self.proxy = proxy
        self._feeds = feeds

    async def lose(self) -> None:
        for feed in self._feeds:
            await feed.set_mode("refused")

    def held_file(self) -> Path:
        return self.proxy.packages / "acme.a" / "2.0.0-rc.1" / "acme.a.2.0.0-rc.1.nupkg"


@pytest.fixture(params=["remote", "folder", "aggregate"])
async def stand(
    request: pytest.FixtureRequest, start_proxy: StartProxy, feed: FakeFeed, tmp_path: Path, clock: FakeClock
) -> AsyncIterator[Stand]:
    """One of each kind."""
    if request.param == "remote":
        for nupkg in (ONE, TWO, OTHER):
            feed.add(nupkg)
        yield RemoteStand(await start_proxy(feed.index_url, upstream=QUICK), feed)
        return
    if request.param == "aggregate":
        async with FakeFeed() as public:
            feed.add(ONE)
            feed.add(TWO)
            public.add(OTHER)
            proxy = await start_proxy(
                feed.index_url,
                upstream={**QUICK, "private": True},
                upstreams={"public": {"url": public.index_url, **QUICK, "private": False}},
                feeds={"all": {"sources": ["up", "public"]}},
            )
            yield AggregateStand(proxy, (feed, public))
        return
    root = tmp_path / "folder"
    root.mkdir()
    for name, nupkg in (("Acme.A.1.0.0", ONE), ("Acme.A.2.0.0-rc.1", TWO), ("Acme.B.1.0.0", OTHER)):
        (root / f"{name}.nupkg").write_bytes(nupkg)
    yield FolderStand(await start_proxy(str(root)), root, clock)
