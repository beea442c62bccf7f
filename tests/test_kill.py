"""The real process is killed over and over under load: nothing wrong is served, nothing complete is lost."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import random
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import pytest

from tests.fakes.feed import FakeFeed
from tests.fakes.origin import Script
from tests.fakes.packages import make_nupkg
from tests.fakes.process import ProxyProcess

KILLS = int(os.environ.get("NUGETPROXY_TEST_KILLS", "12"))
SEED = int(os.environ.get("NUGETPROXY_TEST_SEED", "0")) or time.time_ns() % 2**32
CLIENTS = 8
SMALLEST, LARGEST = 3_000, 1_500_000
HALTED = 3_000_000
"""Bytes of a package that comes half: a client has a part of it when the process is killed."""
READY_SECONDS = 2.0
SECONDS_PER_KILL = 10
"""Far more than one takes, for slow machines."""


class Library:
    """Packages without end, each made when a client first wants it; what they are is known independently."""

    def __init__(self, feed: FakeFeed, chance: random.Random) -> None:
        self._feed = feed
        self._chance = chance
        self._number = 0
        self.digests: dict[str, bytes] = {}
        """SHA-256 by the package's path below the flat container."""
        self.complete: set[str] = set()
        """Those that a client got whole."""

    def choose(self) -> str:
        """One that nobody may have asked for yet, one that is being fetched, or one that was served before."""
        if not self.digests or self._chance.random() < 0.5:
            return self._make()
        recent = list(self.digests)[-CLIENTS:]
        return self._chance.choice(recent if self._chance.random() < 0.4 else list(self.digests))

    def _make(self) -> str:
        size = int(SMALLEST * (LARGEST / SMALLEST) ** (self._chance.random() ** 2))
        path, content = self._publish(size)
        self.digests[path] = hashlib.sha256(content).digest()
        return path

    def _publish(self, size: int) -> tuple[str, bytes]:
        self._number += 1
        held = self._feed.add(make_nupkg(f"Acme.P{self._number}", "1.0.0", size=size))
        return f"{held.lower}/1.0.0/{held.lower}.1.0.0.nupkg", held.content

    @contextmanager
    def halted(self) -> Iterator[str]:
        """A package that upstream gives a half of until the end; from then on it is one of those to choose."""
        path, content = self._publish(HALTED)
        gate, routes = asyncio.Event(), self._feed.origin.routes
        routes[f"/v3-flatcontainer/{path}"] = Script(body=content, gate=gate, gate_at=len(content) // 2)
        yield path
        del routes[f"/v3-flatcontainer/{path}"]
        gate.set()
        self.digests[path] = hashlib.sha256(content).digest()

    def right(self, path: str, content: bytes) -> bool:
        """Whether these are a package's bytes."""
        return hashlib.sha256(content).digest() == self.digests[path]


class Load:
    """Clients that fetch and verify until they are told to stop; a connection that breaks is no fault, a body is."""

    def __init__(self, proxy: ProxyProcess, library: Library) -> None:
        self._proxy = proxy
        self._library = library
        self._tasks: list[asyncio.Task[None]] = []
        self.good = 0
        self.cut = 0
        """Responses that had begun when the process was killed; each was noticed."""
        self.wrong: list[str] = []

    def start(self) -> None:
        """Begin, on connections of a new process."""
        self._tasks = [asyncio.create_task(self._client()) for _ in range(CLIENTS)]
        self._tasks.append(asyncio.create_task(self._wait_for_half()))

    async def stop(self) -> None:
        """Wait for the end of every client, all of which end with the process."""
        async with asyncio.timeout(30):
            await asyncio.gather(*self._tasks)

    async def _client(self) -> None:
        async with aiohttp.ClientSession() as session:
            while await self._fetch(session, self._library.choose()):
                pass

    async def _fetch(self, session: aiohttp.ClientSession, path: str) -> bool:
        """Fetch a package, then what lists its versions; False when the process is gone."""
        package_id = path.partition("/")[0]
        try:
            async with session.get(f"{self._proxy.url}/v3/content/{path}") as answer:
                content = await answer.read()
            self._judge(path, answer.status, self._library.right(path, content))
            self._library.complete.add(path)
            async with session.get(f"{self._proxy.url}/v3/content/{package_id}/index.json") as answer:
                listed = await answer.read()
            self._judge(f"{package_id}/index.json", answer.status, listed == b'{"versions":["1.0.0"]}')
        except aiohttp.ClientPayloadError:
            self.cut += 1
            return False
        except aiohttp.ClientConnectionError:
            return False
        return True

    async def _wait_for_half(self) -> None:
        """Ask for a package that does not come to its end before the process does."""
        with self._library.halted() as path:
            async with aiohttp.ClientSession() as session:
                try:
                    async with session.get(f"{self._proxy.url}/v3/content/{path}") as answer:
                        content = await answer.read()
                    self.wrong.append(f"{path}: status {answer.status}, {len(content)} bytes for a half")
                except aiohttp.ClientPayloadError:
                    self.cut += 1
                except aiohttp.ClientConnectionError:
                    pass  # it was killed before the answer began

    def _judge(self, path: str, status: int, right: bool) -> None:
        if status == 200 and right:
            self.good += 1
        else:
            self.wrong.append(f"{path}: status {status}, {'right' if right else 'wrong'} bytes")


class Inspection:
    """Looks at every file under a final name once for each state that it is in."""

    def __init__(self, cache: Path, feed: FakeFeed, library: Library) -> None:
        self._cache = cache
        self._feed = feed
        self._library = library
        self._seen: set[tuple[Path, int, int]] = set()

    def faults(self) -> Iterator[str]:
        """The files with wrong content."""
        for path in self._cache.glob("*/packages/**/*"):
            state = path.stat()
            key = (path, state.st_ino, state.st_mtime_ns)
            if path.is_dir() or key in self._seen:
                continue
            self._seen.add(key)
            if not self._right(path):
                yield f"{path.name}: {state.st_size} bytes"

    def _right(self, path: Path) -> bool:
        version = path.parent
        held = self._feed.shelf.find(version.parent.name, version.name)
        match path.suffix:
            case ".nupkg":
                return self._library.right("/".join(path.parts[-3:]), path.read_bytes())
            case ".nuspec":
                return path.read_bytes() == held.nuspec
            case ".sha512":
                return path.read_bytes() == base64.b64encode(hashlib.sha512(held.content).digest())
            case _:
                return False


@pytest.mark.slow
@pytest.mark.kill
@pytest.mark.timeout(60 + SECONDS_PER_KILL * KILLS)
async def test_kill_9_under_load_costs_nothing(
    feed: FakeFeed, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    record_property("kill loop", f"{KILLS} kills, NUGETPROXY_TEST_SEED={SEED}")
    chance = random.Random(SEED)
    cache = tmp_path / "cache"
    library = Library(feed, chance)
    proxy = ProxyProcess("--upstream", feed.index_url, "--cache-dir", cache)
    load = Load(proxy, library)
    inspection = Inspection(cache, feed, library)
    starts: list[float] = []
    try:
        for _ in range(KILLS):
            await proxy.start()
            await proxy.listening()
            await proxy.ready()
            starts.append(proxy.ready_after)
            load.start()
            await asyncio.sleep(chance.uniform(0.02, 0.6))
            await proxy.kill()
            await load.stop()
            assert load.wrong == []
            assert list(inspection.faults()) == []
            assert mishaps(proxy) == []
        record_property(
            "kill loop",
            f"{load.good} good, {load.cut} cut in the middle, {len(library.complete)} packages whole; "
            f"ready after {statistics.median(starts):.2f} s (median), {max(starts):.2f} s (most)",
        )
        assert load.good > KILLS
        assert load.cut > KILLS // 10

        await feed.set_mode("refused")
        await proxy.start()
        await proxy.listening()
        await proxy.ready()
        assert await lost(proxy, library) == []
        assert list(inspection.faults()) == []
        assert await proxy.stop() == 0
        assert list(cache.glob("*/staging/*")) == []
        assert list(cache.glob("*/quarantine/*")) == []
    finally:
        await proxy.kill()
    assert statistics.median(starts[1:]) < READY_SECONDS


def mishaps(proxy: ProxyProcess) -> list[object]:
    """What the process said that a kill must not lead to; its last line may be cut."""
    lines = [line for line in proxy.output[:-1] if line.startswith("{")]
    serious = [event for event in map(json.loads, lines) if event["level"] == "error"]
    return [*serious, *proxy.errors]


async def lost(proxy: ProxyProcess, library: Library) -> list[str]:
    """The packages that a client once got whole, but that are not served without the upstream."""
    missing: list[str] = []
    waiting = sorted(library.complete)

    async def client() -> None:
        async with aiohttp.ClientSession() as session:
            while waiting:
                path = waiting.pop()
                async with session.get(f"{proxy.url}/v3/content/{path}") as answer:
                    if answer.status != 200 or not library.right(path, await answer.read()):
                        missing.append(path)

    async with asyncio.TaskGroup() as clients:
        for _ in range(CLIENTS):
            clients.create_task(client())
    return missing
