"""Fixtures: a running proxy, built by app.py, in front of a scripted upstream feed."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

import hypothesis
import hypothesis.strategies
import pytest
import structlog
from aiohttp.test_utils import TestClient

from tests.fakes import canary, logs
from tests.fakes.clock import FakeClock
from tests.fakes.feed import FakeFeed
from tests.fakes.loop import SteadyLoop
from tests.fakes.origin import Origin
from tests.fakes.proxy import Proxy

logs.plain()

# Byte code is kept whatever the environment says: without it every process that a test starts compiles the proxy anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
os.environ.pop("COLUMNS", None)  # the workers of a test run have one; commands would break their lines for it
sys.dont_write_bytecode = False

MEMORY = Path("/dev/shm")
MEMORY_WANTED = 2 * 2**30
"""Bytes that must be free in memory for the tests' directories to lie there: every proxy syncs a dozen files."""

# The same examples every time: what chance finds is found by .ci/run, with all of them.
hypothesis.settings.register_profile("quick", max_examples=20, deadline=None, derandomize=True)
hypothesis.settings.register_profile("thorough", max_examples=100, deadline=None)
hypothesis.settings.load_profile("quick")

StartProxy = Callable[..., Awaitable[Proxy]]


def pytest_configure() -> None:
    """Prepare the process that runs the tests."""
    if os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free >= MEMORY_WANTED:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))
    # Shells start what runs in the background deaf to Ctrl-C, ``nohup`` to SIGHUP; what tests signal is not.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_asyncio_loop_factories() -> Mapping[str, type[SteadyLoop]]:
    """Every test runs on a loop that does not feel a busy machine."""
    return {"steady": SteadyLoop}


@hypothesis.given(hypothesis.strategies.none())
def _use_hypothesis(_: None) -> None:
    """The first time it looks who holds its source of randomness, and finds nobody who is frozen."""


def pytest_collection_finish() -> None:
    """What thousands of collected tests consist of is not garbage: each full collection would look at all of it."""
    _use_hypothesis()
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def log_as_before() -> Iterator[None]:
    """A proxy that is reloaded in process sets the level of the process's log."""
    before = structlog.get_config()["wrapper_class"]
    yield
    if structlog.get_config()["wrapper_class"] is not before:
        structlog.configure(wrapper_class=before)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """The canary rule: a secret that a test used and that is in its output fails it."""
    report = yield
    found = canary.sightings("\n".join(text for _, text in report.sections).encode())
    if found and report.passed:
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid}: the captured output holds the secrets {', '.join(sorted(found))}"
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what tests measured, whichever process they ran in, and whether they passed."""
    for report in (report for reports in terminalreporter.stats.values() for report in reports):
        if isinstance(report, pytest.TestReport) and report.when == "call":
            for name, value in report.user_properties:
                terminalreporter.write_line(f"{name}: {value}")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def feed() -> AsyncIterator[FakeFeed]:
    """A whole scripted V3 feed."""
    async with FakeFeed() as running:
        yield running


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    """A raw scripted upstream server."""
    async with Origin() as running:
        yield running


@pytest.fixture
async def start_proxy(tmp_path: Path, clock: FakeClock) -> AsyncIterator[StartProxy]:
    """Starts proxies: ``await start_proxy(index_url, **tables)``; they stop when the test ends."""
    running: list[Proxy] = []

    async def start(index_url: str, /, *, directory: Path | None = None, **tables: Any) -> Proxy:
        proxy = Proxy(index_url, directory or tmp_path / "cache", clock=clock, **tables)
        await proxy.start()
        running.append(proxy)
        return proxy

    yield start
    for proxy in reversed(running):
        await proxy.stop()


@pytest.fixture
async def proxy(start_proxy: StartProxy, feed: FakeFeed) -> Proxy:
    """A proxy in front of ``feed``."""
    return await start_proxy(feed.index_url)


@pytest.fixture
def client(proxy: Proxy) -> TestClient[Any, Any]:
    """An HTTP client of ``proxy``."""
    return proxy.client
