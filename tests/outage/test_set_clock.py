"""The machine's clock is set while a real process runs, or was set before it started again.

The clock of ``test_time.py`` is our own; here libfaketime stands between the process and the system's, so that
whatever asks the system has to live with it too: diskcache with its expiry, SQLite, aiohttp.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import closing
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path

import aiohttp
import pytest

from tests.fakes.asking import (
    PACKAGE,
    REGISTRATION,
    SEARCH,
    SMALL,
    UP_INDEX,
    UP_PACKAGE,
    UP_REGISTRATION,
    UP_VERSIONS,
    VERSIONS,
    until,
)
from tests.fakes.feed import FakeFeed
from tests.fakes.process import ProxyProcess

HOUR, DAY = 3600, 86400
OFFSETS = (HOUR, 3650 * DAY, -DAY, -3650 * DAY)
"""Seconds by which the clock is wrong."""
NEAR = 30
"""Seconds that a test may take between two looks at a clock."""

NUSPEC = "/v3/content/acme.a/1.0.0/acme.a.nuspec"
PATHS = (UP_INDEX, VERSIONS, REGISTRATION, SEARCH, NUSPEC, PACKAGE)
"""The nuspec comes before the package, so that it is stored as a document."""
FILES = 3
"""Of a held package: itself, its nuspec, its hash."""
UP_SEARCH = "/azuresearch-usnc/query"
ONCE_EACH = Counter((UP_INDEX, UP_VERSIONS, UP_REGISTRATION, UP_SEARCH))
"""What a jump of an hour or more makes upstream be asked for: everything but the immutable."""

PLACES = ("usr/lib/*/faketime", "usr/lib*/faketime", "usr/local/lib*/faketime")
NAMES = ("libfaketimeMT.so.1", "libfaketime.so.1")
"""The first one is for programs with threads."""


@pytest.fixture(scope="session")
def libfaketime() -> Path:
    """The library; skips the test where there is none."""
    if named := os.environ.get("NUGETPROXY_TEST_FAKETIME"):
        if not Path(named).is_file():
            pytest.fail(f"NUGETPROXY_TEST_FAKETIME names {named}, which is no file")
        return Path(named)
    found = (path for name in NAMES for place in PLACES for path in sorted(Path("/").glob(f"{place}/{name}")))
    library = next(found, None)
    if library is None:
        pytest.skip("no libfaketime here (Debian: faketime), and NUGETPROXY_TEST_FAKETIME is not set")
    return library


class SetClock:
    """The wall clock of a process that was started with ``environ``: the true one and ``offset`` seconds."""

    def __init__(self, library: Path, folder: Path) -> None:
        self.offset = 0
        self._file = folder / "clock"
        self.environ = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",  # its name before libfaketime 0.9.9
            "NO_FAKE_STAT": "1",  # the times of files do not change with the clock
        }
        self.set(0)

    def set(self, offset: int) -> None:
        """From now on be so many seconds ahead of the truth."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{offset:+d}\n")
        new.replace(self._file)  # in one step: it is read whenever the process looks at the clock
        self.offset = offset

    def shows(self, date: str) -> bool:
        """Whether an HTTP-date that was just made is by this clock."""
        return abs(parsedate_to_datetime(date).timestamp() - time.time() - self.offset) < NEAR


class Bench:
    """A proxy process whose clock can be set, its upstream, and what it said at first."""

    def __init__(self, feed: FakeFeed, cache: Path, clock: SetClock) -> None:
        self.feed = feed
        self.clock = clock
        self.cache = cache
        self.before: dict[str, bytes] = {}
        # Nothing is kept in memory, so that every answer shows what is stored; upstream is asked whenever there is a
        # reason to, however often it has failed.
        self.proxy = ProxyProcess(
            *("--cache-dir", cache),
            environ=clock.environ
            | {
                "NUGETPROXY_CACHE__HOT_MEMORY": "1 B",
                "NUGETPROXY_CACHE__KEEP_REGISTRATIONS": "false",  # asks unasked, beside what is counted here
                "NUGETPROXY_UPSTREAMS__UP__URL": feed.index_url,
                "NUGETPROXY_UPSTREAMS__UP__TRIES": "1",
                "NUGETPROXY_UPSTREAMS__UP__BREAKER_FAILURES": "10000",
            },
        )

    def held(self) -> dict[Path, bytes]:
        """What lies in the folder of packages."""
        return {path: path.read_bytes() for path in (self.cache / "up" / "packages").rglob("*") if path.is_file()}

    def documents(self) -> dict[str, bool]:
        """The keys of what is stored beside packages; True for what diskcache removes when its time has come."""
        with closing(sqlite3.connect(self.cache / "documents" / "cache.db")) as connection:
            return {key: ends is not None for key, ends in connection.execute("SELECT key, expire_time FROM Cache")}

    def asked(self) -> Counter[str]:
        """What upstream was asked for so far."""
        return Counter(seen.path for seen in self.feed.requests)

    async def ask_all(self) -> None:
        """Ask for everything: it is there, as it was at first, and dated by the clock."""
        async with aiohttp.ClientSession(headers={"Accept-Encoding": "identity"}) as session:
            for path in PATHS:
                async with session.get(self.proxy.url + path) as answer:
                    body = (await answer.read()).replace(self.proxy.url.encode(), b"")
                    how = answer.headers["Cache-Status"]
                told = (self.clock.offset, path, how)
                assert answer.status == 200, (told, body)
                assert int(answer.headers.get("Age", "0")) >= 0, told
                assert self.clock.shows(answer.headers["Date"]), told
                # Search results are given up after a week; then held packages tell.
                if not (path == SEARCH and "synthesized" in how):
                    assert body == self.before.setdefault(path, body), told

    async def revalidate(self) -> None:
        """Ask for everything again and again: upstream is asked for everything that may change once."""
        asked = self.asked()
        await self.ask_all()
        await until(lambda: self.asked() - asked >= ONCE_EACH)  # some of it behind the client's back
        await self.ask_all()
        await self.ask_all()
        assert self.asked() - asked == ONCE_EACH, self.clock.offset

    def told_of(self, jump: int) -> bool:
        """Whether the log warns of a clock that was moved by so many seconds."""
        jumps = (event for event in self.proxy.events if event["event"] == "clock.jumped")
        return any(event["level"] == "warning" and abs(event["seconds"] - jump) < NEAR for event in jumps)


@pytest.fixture
async def bench(feed: FakeFeed, tmp_path: Path, libfaketime: Path) -> AsyncIterator[Bench]:
    """A process that was asked for everything."""
    feed.add(SMALL)
    bench = Bench(feed, tmp_path / "cache", SetClock(libfaketime, tmp_path))
    async with bench.proxy:
        await bench.ask_all()
        await until(lambda: len(bench.held()) == FILES)  # it is committed behind its answer
        yield bench


@pytest.mark.slow
async def test_the_clock_is_set_while_it_runs(bench: Bench) -> None:
    held, was = bench.held(), 0
    for offset in (*OFFSETS, 0):
        await bench.feed.set_mode("refused")
        bench.clock.set(offset)
        await bench.ask_all()
        await bench.ask_all()
        await bench.feed.set_mode("up")
        await bench.revalidate()
        await until(partial(bench.told_of, offset - was))
        assert bench.held() == held
        was = offset
    assert bench.feed.count(UP_PACKAGE) == 1
    assert await bench.proxy.stop() == 0


@pytest.mark.slow
async def test_it_starts_under_another_clock_without_upstream(bench: Bench) -> None:
    """What diskcache removes at the start is what the policy gives up by age: search results, after a week."""
    await bench.feed.set_mode("refused")
    assert await bench.proxy.stop() == 0  # what was still being written is there, or will never be
    held, documents = bench.held(), bench.documents()
    kept = {key for key, ends in documents.items() if not ends}
    assert len(documents) == len(kept) + 1
    for offset in OFFSETS[1::2]:
        bench.clock.set(offset)
        await bench.proxy.start()
        await bench.proxy.listening()
        await until(lambda: not any(bench.documents().values()))
        assert kept <= bench.documents().keys()
        await bench.ask_all()
        assert bench.held() == held
        assert await bench.proxy.stop() == 0
    assert bench.feed.count(UP_PACKAGE) == 1
