"""Measures what a crowd that follows one download costs the proxy in memory.

``python -m tests.bench.herd``; 1,000 clients of one cold package of 5 MB, then 500 that read another one slowly.
"""

from __future__ import annotations

import asyncio
import resource
import tempfile
from argparse import ArgumentParser
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path

from tests.fakes.feed import FakeFeed
from tests.fakes.origin import Script
from tests.fakes.packages import make_nupkg
from tests.fakes.process import ProxyProcess

RATE = 5_000_000
"""Bytes per second that the upstream sends."""
STEP = 65536
JOINERS, SLOW = 1000, 500
JOINER_GOAL, SLOW_GOAL = 150, 256
"""MiB by which the process may grow."""


def memory(pid: int, key: str) -> float:
    """MiB of a process: ``VmRSS`` now, ``VmHWM`` at most."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(key))


def paced(content: bytes) -> Script:
    """The upstream's answer, at its rate."""

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(content), STEP):
            yield content[at : at + STEP]
            await asyncio.sleep(STEP / RATE)

    return Script(stream=pieces, length=len(content))


async def client(port: int, path: str, pause: float) -> str:
    """Read the package, a pause after each piece; its digest."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=STEP)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode())
    await reader.readuntil(b"\r\n\r\n")
    digest = sha256()
    while piece := await reader.read(STEP // 4 if pause else STEP):
        digest.update(piece)
        if pause:
            await asyncio.sleep(pause)
    writer.close()
    return digest.hexdigest()


async def crowd(
    feed: FakeFeed, proxy: ProxyProcess, size: int, clients: int, *, pause: float = 0.0, seconds: float = 120.0
) -> tuple[float, int]:
    """MiB that the process grew by at most, how many clients got the right bytes within ``seconds``."""
    package = feed.add(make_nupkg(f"Herd{clients}", "1.0.0", size=size))
    name = f"{package.lower}/1.0.0/{package.lower}.1.0.0.nupkg"
    feed.origin.routes[f"/v3-flatcontainer/{name}"] = paced(package.content)
    before = memory(proxy.pid, "VmRSS")
    right = sha256(package.content).hexdigest()
    going = [asyncio.create_task(client(proxy.port, f"/v3/content/{name}", pause)) for _ in range(clients)]
    done, waiting = await asyncio.wait(going, timeout=seconds)
    grown = memory(proxy.pid, "VmHWM") - before
    for task in waiting:
        task.cancel()
    await asyncio.gather(*going, return_exceptions=True)
    return grown, sum(task.exception() is None and task.result() == right for task in done)


async def run(folder: Path) -> None:
    """Measure, print."""
    async with FakeFeed() as feed:
        for number, (size, clients, pause, seconds, goal) in enumerate(
            ((5_000_000, JOINERS, 0.0, 120.0, JOINER_GOAL), (50_000_000, SLOW, 0.5, 15.0, SLOW_GOAL))
        ):
            cache = folder / str(number)
            async with ProxyProcess("--upstream", feed.index_url, "--cache-dir", cache) as proxy:
                await proxy.ready()
                grown, right = await crowd(feed, proxy, size, clients, pause=pause, seconds=seconds)
                whole = f"{right} of {clients} have it whole" if not pause else f"{clients} read slowly"
                print(f"{size // 10**6} MB, {whole}: the process grew by {grown:.0f} MiB (goal {goal})", flush=True)
                await proxy.kill()


def main() -> None:
    """Measure, print."""
    ArgumentParser(description=(__doc__ or "").partition("\n")[0]).parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(Path(folder)))


if __name__ == "__main__":
    main()
