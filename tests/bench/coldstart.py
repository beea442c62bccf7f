"""Measures a cold start over many packages, whose holdings was lost, with the upstream down.

``python -m tests.bench.coldstart [--packages 100000]``; making so many packages takes some minutes.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from argparse import ArgumentParser
from pathlib import Path
from statistics import quantiles

import aiohttp

from tests.e2e.proxy import Proxy
from tests.fakes.packages import make_nupkg
from tests.outage.kit import lay_down

NOBODY = "http://127.0.0.1:9/v3/index.json"
READY_SECONDS, SYNCED_SECONDS = 5.0, 60.0


async def run(count: int, folder: Path) -> None:
    """Lay the packages down, start, ask while the holdings is rebuilt."""
    config = f'[upstreams.feed]\nurl = "{NOBODY}"\n'
    for number in range(count):
        lay_down(
            folder / "cache" / "feed" / "packages", f"acme.n{number}", "1.0.0", make_nupkg(f"Acme.N{number}", "1.0.0")
        )
    (folder / "cache").chmod(0o700)
    began = time.monotonic()
    async with Proxy(folder / "cache", config=config) as proxy, aiohttp.ClientSession() as session:
        ready = time.monotonic() - began
        print(f"{count} packages: ready after {ready:.2f} s (goal {READY_SECONDS:g} s)", flush=True)
        hits: list[float] = []
        number = 0
        while True:
            number = (number + 7919) % count
            asked = time.monotonic()
            async with session.get(f"{proxy.url}/v3/content/acme.n{number}/1.0.0/acme.n{number}.1.0.0.nupkg") as answer:
                assert answer.status == 200, await answer.text()
                await answer.read()
            hits.append((time.monotonic() - asked) * 1000)
            if len(hits) % 50 == 0:
                async with session.get(f"{proxy.url}/v3/query?q=&take=1") as answer:
                    if answer.status == 200 and (await answer.json())["totalHits"] == count:
                        break
            await asyncio.sleep(0.005)
        seconds = time.monotonic() - began
        print(f"holdings complete after {seconds:.1f} s (goal {SYNCED_SECONDS:g} s for 100,000)")
        print(f"packages served meanwhile: {len(hits)}, p99 {quantiles(hits, n=100)[98]:.1f} ms, first use of each")


def main() -> None:
    """Measure, print."""
    parser = ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--packages", type=int, default=100_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="nugetproxy-coldstart-") as name:
        asyncio.run(run(arguments.packages, Path(name)))


if __name__ == "__main__":
    main()
