"""Fixtures of the end-to-end tests: real clients, packages that dotnet built, a feed and a proxy in front of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from tests.e2e.building import build_packages
from tests.e2e.clients import Box, find_client
from tests.e2e.proxy import Proxy
from tests.fakes.feed import FakeFeed

HERE = Path(__file__).parent
FRESH = "Acme.Fresh"
"""The id that is built, but not on the feed: the tests push it."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here needs a real client and the time that one takes."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.e2e)
            item.add_marker(pytest.mark.timeout(400))


@pytest.fixture(scope="session")
def dotnet() -> str:
    """The .NET SDK's program."""
    return find_client("NUGETPROXY_TEST_DOTNET", "dotnet")


@pytest.fixture(scope="session")
def nuget_exe() -> str:
    """nuget.exe under a launcher for this machine."""
    return find_client("NUGETPROXY_TEST_NUGET", "nuget")


@pytest.fixture(scope="session")
def nuget6() -> str:
    """The thin command line over NuGet.Protocol 6."""
    return find_client("NUGETPROXY_TEST_NUGET6", "nuget6")


@dataclass(frozen=True, slots=True)
class Built:
    """The folder of built packages."""

    folder: Path

    def nupkg(self, package_id: str, version: str) -> Path:
        """The file of a package."""
        return self.folder / f"{package_id}.{version}.nupkg"

    def published(self) -> dict[str, bytes]:
        """What the feed holds from the start, by file name."""
        files = sorted(self.folder.glob("*.nupkg"))
        return {path.name.lower(): path.read_bytes() for path in files if not path.name.startswith(FRESH)}


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def built(dotnet: str, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The packages, built once."""
    root = tmp_path_factory.mktemp("build")
    return Built(await build_packages(dotnet, Box(root, str(root / "no-feed"))))


@pytest.fixture
async def feed(built: Built) -> AsyncIterator[FakeFeed]:
    """The upstream: everything that was built except what the tests push."""
    async with FakeFeed() as feed:
        for content in built.published().values():
            feed.add(content)
        yield feed


@pytest.fixture
async def proxy(feed: FakeFeed, tmp_path: Path) -> AsyncIterator[Proxy]:
    """The proxy of that feed, with an empty cache."""
    async with Proxy(tmp_path / "cache", upstream=feed.index_url) as proxy:
        yield proxy


NewBox = Callable[[str], Box]


@pytest.fixture
def new_box(tmp_path: Path) -> NewBox:
    """Makes a box with empty caches for a source."""
    count = 0

    def make(source: str) -> Box:
        nonlocal count
        count += 1
        return Box(tmp_path / f"box{count}", source)

    return make
