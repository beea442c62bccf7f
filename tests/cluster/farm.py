"""Farm is four replicas, each a process with a cache directory of its own, with clients that restore through them."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from nugetproxy.config import Config
from nugetproxy.config.tables import read
from tests.cluster.engines import HOST, S3
from tests.fakes.feed import FakeFeed
from tests.fakes.origin import Script, Seen
from tests.fakes.packages import make_nupkg
from tests.fakes.process import FREE_PORT, ProxyProcess

REPLICAS = 4
PACKAGES = 24
CLIENTS = 48
SIZE = 120_000
SLOWNESS = 0.5
"""Seconds that upstream takes for a package."""
ENVIRON = {"TEST_STORE_KEY": S3.key, "TEST_STORE_SECRET": S3.secret}

Choose = Callable[[str, int], int]
"""The replica that a client (a number) is sent to for a package id."""


def any_replica(_: str, __: int) -> int:
    """As a balancer does that knows nothing."""
    return random.randrange(REPLICAS)


def by_hash(id_: str, _: int) -> int:
    """As a balancer does that hashes on the package id."""
    return hashlib.blake2b(id_.encode()).digest()[0] % REPLICAS


@dataclass(slots=True)
class Storm:
    """What came of it."""

    packages: int
    seconds: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    fetches: Counter[str] = field(default_factory=Counter)

    @property
    def per_package(self) -> float:
        """Upstream fetches."""
        return sum(self.fetches.values()) / self.packages

    @property
    def p99(self) -> float:
        return sorted(self.seconds)[int(len(self.seconds) * 0.99)]

    def __str__(self) -> str:
        return f"{self.per_package:.2f} fetches per package, p99 {self.p99:.2f} s, {len(self.errors)} errors"


class Farm:
    """``async with Farm(folder, cluster)``: the feed and all replicas run."""

    def __init__(
        self,
        folder: Path,
        cluster: Mapping[str, str],
        *,
        replicas: int = REPLICAS,
        packages: int = PACKAGES,
        ports: Sequence[int] = (),
        **tables: Any,
    ) -> None:
        """``ports``: where the replicas listen; by itself each takes a free one."""
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.cluster = dict(cluster)
        self.feed = FakeFeed()
        self.half = asyncio.Event()
        """Upstream has been asked for half as many packages as there are."""
        self.replicas: list[ProxyProcess] = []
        self._count = replicas
        self._tables = tables
        self._ports = ports
        self.packages = {f"acme.p{n}": make_nupkg(f"Acme.P{n}", "1.0.0", size=SIZE) for n in range(packages)}
        self._sums = {id_: hashlib.sha256(body).digest() for id_, body in self.packages.items()}

    async def __aenter__(self) -> Farm:
        await self.feed.__aenter__()
        answer = self.feed.origin.fallback
        assert answer is not None

        async def slowly(seen: Seen) -> Script:
            if seen.path.endswith(".nupkg"):
                if self.fetches().total() >= len(self.packages) / 2:
                    self.half.set()
                await asyncio.sleep(SLOWNESS)
            script = answer(seen)
            return script if isinstance(script, Script) else await script

        self.feed.origin.fallback = slowly
        for body in self.packages.values():
            self.feed.add(body)
        self.replicas = [self.replica(n) for n in range(self._count)]
        try:
            await asyncio.gather(*(one.__aenter__() for one in self.replicas))
            await asyncio.gather(*(one.ready() for one in self.replicas))
            await self.settled()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*(one.kill() for one in self.replicas))
        await self.feed.__aexit__()

    def replica(self, number: int, directory: str = "cache") -> ProxyProcess:
        """One that is not started yet."""
        config = self.folder / f"replica{number}-{directory}.toml"
        config.write_text(toml(self.tables(self.folder / f"{directory}{number}")))
        listen = f"{HOST}:{self._ports[number]}" if self._ports else FREE_PORT
        return ProxyProcess("--config", config, environ=ENVIRON, listen=listen, survives=False)

    def tables(self, directory: Path) -> dict[str, Any]:
        tables = {
            "cache": {"directory": str(directory), "min_free": "0"},
            "server": {"drain": "5s"},
            "log": {"format": "json"},
            "symbols": {"urls": []},
            "tools": {"url": ""},
            "upstreams": {"up": {"url": self.feed.index_url}},
            "cluster": self.cluster,
            **self._tables,
        }
        read(Config, {**tables, "cluster": {}})  # says what is wrong with them
        return tables

    async def settled(self) -> None:
        """Wait until each replica knows its engines."""
        if self.cluster.get("store"):
            await self.every(lambda metrics: "\nnugetproxy_leases_kept 1.0\n" in metrics)
        if self.cluster.get("coordination"):
            await self.every(lambda metrics: "\nnugetproxy_announcements_live 1.0\n" in metrics)

    async def every(self, true: Callable[[str], bool]) -> None:
        """Wait until something is true of the metrics of each running replica."""
        async with asyncio.timeout(30), aiohttp.ClientSession() as session:
            for one in self.replicas:
                while not true(await self._metrics(session, one)):
                    await asyncio.sleep(0.1)

    async def _metrics(self, session: aiohttp.ClientSession, replica: ProxyProcess) -> str:
        async with session.get(f"{replica.url}/metrics") as answer:
            return await answer.text()

    async def metrics(self, number: int) -> str:
        """What one replica has counted."""
        async with aiohttp.ClientSession() as session:
            return await self._metrics(session, self.replicas[number])

    async def uploaded(self) -> None:
        """Wait until all that was fetched is in the bucket."""
        await self.every(lambda metrics: "\nnugetproxy_uploads_waiting 0.0\n" in metrics)

    async def push(self, number: int, body: bytes) -> None:
        """Push a package through one replica."""
        form = aiohttp.FormData()
        form.add_field("package", body, filename="package.nupkg", content_type="application/octet-stream")
        headers = {"X-NuGet-ApiKey": self.feed.api_key}
        url = f"{self.replicas[number].url}/v3/package"
        async with aiohttp.ClientSession() as session, session.put(url, data=form, headers=headers) as answer:
            assert answer.status in {200, 201, 202}, await answer.text()

    async def size(self, number: int, path: str) -> int:
        """How many bytes one replica sends."""
        total = 0
        async with aiohttp.ClientSession() as session, session.get(f"{self.replicas[number].url}{path}") as answer:
            assert answer.status == 200
            async for chunk in answer.content.iter_chunked(2**20):
                total += len(chunk)
        return total

    async def replace_disks(self) -> None:
        """Every replica is gone with its disk, new ones come."""
        await asyncio.gather(*(one.stop() for one in self.replicas))
        self.replicas = [self.replica(n, f"new{time.monotonic_ns()}-") for n in range(self._count)]
        await asyncio.gather(*(one.__aenter__() for one in self.replicas))

    async def storm(self, choose: Choose = any_replica, *, clients: int = CLIENTS) -> Storm:
        """Every client wants every package, each in an order of its own."""
        storm = Storm(len(self.packages))
        before = self.fetches()
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=100)) as session:
            await asyncio.gather(*(self._client(session, storm, choose, n) for n in range(clients)))
        storm.fetches = self.fetches() - before
        return storm

    async def restore_until(self, done: asyncio.Event, url: str, *, clients: int = 8) -> Storm:
        """Clients ask for one package after the other at ``url``, again and again, until it is done."""
        storm = Storm(len(self.packages))

        async def client(session: aiohttp.ClientSession, number: int) -> None:
            ids = list(self.packages)
            random.Random(number).shuffle(ids)
            while not done.is_set():
                for id_ in ids:
                    path = f"{url}/v3/content/{id_}/1.0.0/{id_}.1.0.0.nupkg"
                    if problem := await self._get(session, path, self._sums[id_]):
                        storm.errors.append(f"{path}: {problem}")
                    storm.seconds.append(0.0)

        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=100)) as session:
            await asyncio.gather(*(client(session, number) for number in range(clients)))
        return storm

    async def _client(self, session: aiohttp.ClientSession, storm: Storm, choose: Choose, number: int) -> None:
        ids = list(self.packages)
        random.Random(number).shuffle(ids)
        for id_ in ids:
            began = time.monotonic()
            url = f"{self.replicas[choose(id_, number)].url}/v3/content/{id_}/1.0.0/{id_}.1.0.0.nupkg"
            problem = await self._get(session, url, self._sums[id_])
            storm.seconds.append(time.monotonic() - began)
            if problem:
                storm.errors.append(f"{url}: {problem}")

    async def _get(self, session: aiohttp.ClientSession, url: str, wanted: bytes) -> str:
        try:
            async with session.get(url) as answer:
                body = await answer.read()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            return repr(error)
        if answer.status != 200:
            return f"{answer.status}: {body[:200]!r}"
        return "" if hashlib.sha256(body).digest() == wanted else "WRONG BYTES"

    def fetches(self) -> Counter[str]:
        """Of packages, at the upstream."""
        return Counter(seen.path for seen in self.feed.requests if seen.path.endswith(".nupkg"))

    async def json(self, number: int, path: str) -> Any:
        """What one replica says."""
        async with aiohttp.ClientSession() as session, session.get(f"{self.replicas[number].url}{path}") as answer:
            assert answer.status == 200, await answer.text()
            return json.loads(await answer.read())


def toml(tables: Mapping[str, Any], name: str = "") -> str:
    """As a configuration file; only what these tests need."""
    lines = [f"{key} = {json.dumps(value)}" for key, value in tables.items() if not isinstance(value, Mapping)]
    head = [f"[{name}]"] if name and lines else []
    inner = [
        toml(value, f"{name}.{json.dumps(key)}" if name else json.dumps(key))
        for key, value in tables.items()
        if isinstance(value, Mapping)
    ]
    return "\n".join((*head, *lines, *inner))


@contextlib.asynccontextmanager
async def after(event: asyncio.Event, act: Callable[[], Any]) -> AsyncIterator[None]:
    """In the middle of the block, ``act``: once the event has come."""

    async def later() -> None:
        await event.wait()
        result = await asyncio.to_thread(act)
        if asyncio.iscoroutine(result):
            await result

    task = asyncio.create_task(later())
    try:
        yield
        await task
    finally:
        task.cancel()
