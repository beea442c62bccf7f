"""The benchmark of outages: what restores and hits cost while upstream is down, against the same while it is up.

``python -m tests.bench.outage`` takes about three minutes, ``--quick`` one. Nothing leaves 127.0.0.1, and nothing
stays behind. Restores are those of ``dotnet`` (from the PATH, or NUGETPROXY_TEST_DOTNET) with empty client caches;
without it, of a client that asks as a restore does. In the proxy that is measured nothing stays fresh, so that every
document of every restore is due to be asked for again; warm restores are measured among the others, in one run.

Hits are measured on two proxies, one with an upstream that is up, one with an upstream that is down, in turns.
"""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
import tempfile
import time
from argparse import ArgumentParser
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles

import aiohttp

from tests.bench.clients import Client
from tests.e2e.clients import Box
from tests.e2e.proxy import Proxy
from tests.fakes.feed import FakeFeed
from tests.fakes.packages import make_nupkg

HOST = "feed.test"
DOWN = ("refused", "hang", "clogged", "dns", "5xx", "html", "429")
MEANING = {
    "refused": "connections are refused",
    "hang": "accepts, never answers",
    "clogged": "connecting hangs",
    "dns": "its name is not found",
    "5xx": "answers 503",
    "html": "answers a login page",
    "429": "answers 429",
}
SILENT = ("hang", "clogged", "refused", "dns")
"""For the latency of hits."""
LIBRARIES = 24
PATHS = ("/v3/index.json", "/v3/content/acme.p0/index.json", "/v3/content/acme.p0/1.0.0/acme.p0.1.0.0.nupkg")
BATCH = 250
KINDS = ("index", "versions", "registration")
DUE = "".join(f'[policy.{kind}]\nfresh = "0s"\n' for kind in KINDS)
OVERDUE = "".join(f'[policy.{kind}]\nfresh = "0s"\nrefresh = "0s"\n' for kind in KINDS)
SOON = "".join(f'[policy.{kind}]\nfresh = "2s"\n' for kind in KINDS)

MOST_RATIO, MOST_MORE_MS, MOST_MS = 1.25, 5.0, 750.0


class Upstream(FakeFeed):
    """A feed with a host name, in this process; ``names`` is the file in which the proxies look it up."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.names = folder / "names"
        for number in range(LIBRARIES):
            needs = [(f"Acme.P{number + step}", "1.0.0") for step in (1, 2) if number + step < LIBRARIES]
            self.add(make_nupkg(f"Acme.P{number}", "1.0.0", dependencies=needs, size=20_000))

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.origin.port}"

    async def turn(self, how: str, proxy: Proxy) -> None:
        """Begin or end an outage; ``up`` ends it, with a proxy that knows nothing of it."""
        self.names.write_text("" if how == "dns" else f"{HOST} 127.0.0.1\n")
        if how in {"dns", "up"}:
            await self.set_mode("up")
            await proxy.stop()
            await proxy.start()
        else:
            await self.set_mode(how)  # type: ignore[arg-type]

    def proxy(self, name: str, policies: str) -> Proxy:
        """A proxy of this feed, as shipped but for how long documents stay fresh."""
        self.names.write_text(f"{HOST} 127.0.0.1\n")
        config = f'[upstreams.feed]\nurl = "{self.index_url}"\ninternal = true\n[log]\nlevel = "warning"\n{policies}'
        return Proxy(self.names.with_name(name), config=config, program=("tests.e2e.named", str(self.names)))


Restore = Callable[[Proxy], Awaitable[float]]


def dotnet_restore(program: str, folder: Path) -> Restore:
    """Seconds that a real restore takes, with empty client caches."""

    async def restore(proxy: Proxy) -> float:
        root = Path(tempfile.mkdtemp(dir=folder))
        box = Box(root, proxy.index_url)
        box.project("Acme.P0/1.0.0")
        began = time.monotonic()
        (await box.run(program, "restore", "--no-cache")).ok()
        seconds = time.monotonic() - began
        assert len(box.restored()) == LIBRARIES
        await asyncio.to_thread(shutil.rmtree, root)
        return seconds

    return restore


async def plain_restore(proxy: Proxy) -> float:
    """Seconds that the requests of a restore take: the index, then lists and packages, eight at once."""
    turns = asyncio.Semaphore(8)
    async with aiohttp.ClientSession() as session:

        async def get(path: str) -> None:
            async with turns, session.get(f"{proxy.url}{path}") as answer:
                assert answer.status == 200, (path, answer.status)
                await answer.read()

        async def library(number: int) -> None:
            await get(f"/v3/content/acme.p{number}/index.json")
            await get(f"/v3/content/acme.p{number}/1.0.0/acme.p{number}.1.0.0.nupkg")

        began = time.monotonic()
        await get("/v3/index.json")
        await asyncio.gather(*map(library, range(LIBRARIES)))
        return time.monotonic() - began


@dataclass(slots=True)
class Restores:
    """Seconds by kind of outage: the warm restore just before it, the first one in it, a later one."""

    warm: dict[str, list[float]] = field(default_factory=dict)
    first: dict[str, list[float]] = field(default_factory=dict)
    later: dict[str, list[float]] = field(default_factory=dict)

    async def measure(self, folder: Path, restore: Restore, rounds: int) -> None:
        """Warm restore, outage, first and later restore; for every kind, so many times."""
        async with Upstream(folder) as feed, feed.proxy("restores", DUE) as proxy:
            await restore(proxy)
            for _ in range(rounds):
                for how in DOWN:
                    self.warm.setdefault(how, []).append(await restore(proxy))
                    await feed.turn(how, proxy)
                    self.first.setdefault(how, []).append(await restore(proxy))
                    self.later.setdefault(how, []).append(await restore(proxy))
                    await feed.turn("up", proxy)

    def table(self) -> str:
        """For people."""
        lines = [f"{'upstream':38} {'warm':>8} {'first':>8} {'later':>8} {'first':>7} {'later':>7}"]
        for how in DOWN:
            warm, first, later = self.warm[how], self.first[how], self.later[how]
            seconds = " ".join(f"{median(values):6.2f} s" for values in (warm, first, later))
            ratios = " ".join(f"{_ratio(values, warm):6.2f}x" for values in (first, later))
            lines.append(f"{f'{how}: {MEANING[how]}':38} {seconds} {ratios}")
        return "\n".join(lines)


def _ratio(values: list[float], warm: list[float]) -> float:
    """The median of each one's ratio to the warm restore just before it: the machine is not equally busy all along."""
    return median(value / base for value, base in zip(values, warm, strict=True))


async def first_stale(folder: Path) -> dict[str, float]:
    """Milliseconds of the very first answer that has to wait for upstream before what is stored may be served."""
    found: dict[str, float] = {}
    async with Upstream(folder) as feed, feed.proxy("first", OVERDUE) as proxy, aiohttp.ClientSession() as session:
        for how in DOWN:
            for path in PATHS:
                await fetch(session, proxy, path)
            await feed.turn(how, proxy)
            found[how] = await fetch(session, proxy, PATHS[1])
            await feed.turn("up", proxy)
    return found


async def fetch(session: aiohttp.ClientSession, proxy: Proxy, path: str) -> float:
    """Milliseconds of one request."""
    began = time.monotonic()
    async with session.get(f"{proxy.url}{path}") as answer:
        assert answer.status == 200, (path, answer.status)
        await answer.read()
    return (time.monotonic() - began) * 1000


@dataclass(slots=True)
class Hits:
    """Milliseconds of hits by what upstream does; those while it is up were measured in turns with the others."""

    up: dict[str, list[float]] = field(default_factory=dict)
    down: dict[str, list[float]] = field(default_factory=dict)

    async def measure(self, folder: Path, count: int) -> None:
        """``count`` requests on each of two proxies, for every kind of silence."""
        for name in ("a", "b"):
            (folder / name).mkdir()
        async with AsyncExitStack() as stack:
            well = await stack.enter_async_context(Upstream(folder / "a"))
            ill = await stack.enter_async_context(Upstream(folder / "b"))
            one = await stack.enter_async_context(well.proxy("cache", SOON))
            other = await stack.enter_async_context(ill.proxy("cache", SOON))
            for how in SILENT:
                for proxy in (one, other):
                    await asyncio.to_thread(hits, proxy, len(PATHS))
                await ill.turn(how, other)
                for _ in range(0, count, BATCH):
                    self.up.setdefault(how, []).extend(await asyncio.to_thread(hits, one, BATCH))
                    self.down.setdefault(how, []).extend(await asyncio.to_thread(hits, other, BATCH))
                await ill.turn("up", other)

    def table(self) -> str:
        """For people."""
        lines = [f"{'upstream':38} {'p50 up':>9} {'p50 down':>9} {'p99 up':>9} {'p99 down':>9} {'max down':>9}"]
        for how in SILENT:
            up, down = summary(self.up[how]), summary(self.down[how])
            met = down[1] <= MOST_RATIO * up[1] + MOST_MORE_MS and down[2] <= MOST_MS
            values = (up[0], down[0], up[1], down[1], down[2])
            numbers = " ".join(f"{value:6.2f} ms" for value in values)
            lines.append(f"{f'{how}: {MEANING[how]}':38} {numbers}  {'met' if met else 'MISSED'}")
        return "\n".join(lines)


def hits(proxy: Proxy, count: int) -> list[float]:
    """Milliseconds of requests one after the other, over kept connections; blocks."""
    port = int(proxy.url.rpartition(":")[2])
    clients = [Client(port, path) for path in PATHS]
    found: list[float] = []
    for number in range(count):
        client = clients[number % len(clients)]
        client.ask()
        while not client.read():
            pass
        found.append((client.done - client.asked) * 1000)
    for client in clients:
        client.close()
    return found


def summary(values: list[float]) -> tuple[float, float, float]:
    """p50, p99, the largest."""
    return median(values), quantiles(values, n=100)[98], max(values)


async def run(quick: bool) -> None:
    """Measure everything, print the tables."""
    program = shutil.which(os.environ.get("NUGETPROXY_TEST_DOTNET") or "dotnet")
    with tempfile.TemporaryDirectory(prefix="nugetproxy-outage-") as name:
        folder = Path(name)
        for part in ("restores", "first", "hits"):
            (folder / part).mkdir()
        restore = dotnet_restore(program, folder) if program else plain_restore
        restores, found = Restores(), Hits()
        print(f"cores: {os.cpu_count()}; load before: {os.getloadavg()[0]:.2f}; python: {platform.python_version()}")
        print(f"restores by: {'dotnet' if program else 'an HTTP client'}; {LIBRARIES} packages", flush=True)
        await restores.measure(folder / "restores", restore, 1 if quick else 3)
        print(f"\nRestores, every document due to be asked for again (medians)\n{restores.table()}", flush=True)
        await found.measure(folder / "hits", 1000 if quick else 3000)
        goal = f"p99 <= {MOST_RATIO:g} x up + {MOST_MORE_MS:g} ms, none over {MOST_MS:g} ms"
        print(f"\nHits, two proxies in turns ({goal})\n{found.table()}", flush=True)
        print("\nThe first answer that waits for upstream although something usable is stored (goal: 750 ms)")
        for how, spent in (await first_stale(folder / "first")).items():
            print(f"{f'{how}: {MEANING[how]}':38} {spent:6.0f} ms  {'met' if spent <= MOST_MS else 'MISSED'}")


def main() -> None:
    """Measure, print."""
    parser = ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="about a minute, for a first impression")
    asyncio.run(run(parser.parse_args().quick))


if __name__ == "__main__":
    main()
