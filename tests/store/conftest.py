"""Fixtures of the store's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from nugetproxy.metrics import Metrics
from nugetproxy.store.fs import FsOps
from nugetproxy.store.ledger.ledger import Ledger
from nugetproxy.store.packages.folder import PackageFolder
from tests.fakes.clock import FakeClock
from tests.store.kit import FailingFs

Maker = Callable[..., PackageFolder]
MakeLedger = Callable[[], Ledger]


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def fs() -> FailingFs:
    """Works until it is armed."""
    return FailingFs()


@pytest.fixture
async def make_folder(tmp_path: Path, metrics: Metrics, clock: FakeClock) -> AsyncIterator[Maker]:
    """Makes folders over the same directory, as a restart does; all are closed in the end."""
    made: list[PackageFolder] = []

    def make(fs: FsOps | None = None, root: Path | None = None) -> PackageFolder:
        folder = PackageFolder(
            root or tmp_path / "nuget.org", fs=fs or FsOps(), metrics=metrics, upstream="nuget.org", clock=clock
        )
        made.append(folder)
        return folder

    yield make
    for folder in made:
        await folder.close()


@pytest.fixture
async def folder(make_folder: Maker, fs: FailingFs) -> PackageFolder:
    folder = make_folder(fs)
    await folder.prepare()
    return folder


@pytest.fixture
async def make_ledger(clock: FakeClock) -> AsyncIterator[MakeLedger]:
    """Makes ledgers; all are closed in the end."""
    made: list[Ledger] = []

    def make() -> Ledger:
        made.append(Ledger(clock=clock))
        return made[-1]

    yield make
    for ledger in made:
        await ledger.close()
