"""Measures what a registration of 18 MiB costs everybody else while it is fetched, stored and served.

``python -m tests.bench.large_document [--mib 18]`` takes some ten seconds. The proxy is a process of its own; its
event loop is looked at from inside, and a beat that comes late counts as all the beats that did not come.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles

import aiohttp
import orjson

from tests.bench.watched import BEAT
from tests.e2e.proxy import Proxy
from tests.fakes.feed import FakeFeed
from tests.fakes.origin import Script
from tests.fakes.packages import make_nupkg

GOAL_MS = 100.0
PATH = "/v3/registration/gz-semver2/acme.big/index.json"
PACKAGE = "/v3/content/acme.big/1.0.0/acme.big.1.0.0.nupkg"
UPSTREAM = "/v3/registration5-gz-semver2/acme.big/index.json"
PAGE = 64
READS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What was seen; times in milliseconds, memory in MiB."""

    fetched: float
    read_again: float
    lag_p99: float
    lag_most: float
    peak: int

    def __str__(self) -> str:
        return (
            f"fetched and served after {self.fetched:.0f} ms, read again after {self.read_again:.0f} ms; "
            f"loop lag p99 {self.lag_p99:.1f} ms (goal {GOAL_MS:g} ms), most {self.lag_most:.0f} ms; "
            f"peak {self.peak} MiB"
        )


def registration(base: str, size: int) -> bytes:
    """A registration of so many bytes, all its pages inlined, as long-lived packages with many dependencies have."""
    pages = []
    length = version = 0
    while length < size:
        items = [_leaf(base, version + number) for number in range(PAGE)]
        version += PAGE
        page = {"@id": f"{base}/acme.big/index.json#page/{version}", "count": PAGE, "items": items}
        length += len(orjson.dumps(page))
        pages.append(page)
    return orjson.dumps({"@id": f"{base}/acme.big/index.json", "count": len(pages), "items": pages})


def _leaf(base: str, number: int) -> dict[str, object]:
    needs = [
        {"id": f"Acme.Part{part}", "range": "[1.0.0, )", "registration": f"{base}/acme.part{part}/index.json"}
        for part in range(10)
    ]
    entry = {
        "@id": f"{base}/acme.big/1.{number}.0.json",
        "id": "Acme.Big",
        "version": f"1.{number}.0",
        "description": "What it is for, in many words. " * 5,
        "dependencyGroups": [{"targetFramework": "net8.0", "dependencies": needs}],
    }
    content = f"{base.rpartition('/v3/')[0]}/v3-flatcontainer/acme.big/1.{number}.0/acme.big.1.{number}.0.nupkg"
    return {"@id": entry["@id"], "catalogEntry": entry, "packageContent": content}


async def measure(folder: Path, size: int) -> Cost:
    """One cold read, then some of what is stored, by clients that take it compressed."""
    file = folder / "beats"
    async with FakeFeed() as feed, aiohttp.ClientSession(auto_decompress=False) as session:
        feed.add(make_nupkg("Acme.Big", "1.0.0"))
        feed.origin.routes[UPSTREAM] = Script(body=registration(f"{feed.url}/v3/registration5-gz-semver2", size))
        proxy = Proxy(folder / "cache", upstream=feed.index_url, program=("tests.bench.watched", str(file)))
        async with proxy:
            await _read(session, proxy.url, PACKAGE)  # what is said of held packages is looked at more closely
            began = time.monotonic()
            times = [await _read(session, proxy.url, PATH) for _ in range(1 + READS)]
            ended = time.monotonic()
            peak = proxy.peak()
    lags = sorted(_missed_beats(file, began, ended))
    return Cost(
        fetched=times[0] * 1000,
        read_again=max(times[1:]) * 1000,
        lag_p99=quantiles(lags, n=100)[98] * 1000,
        lag_most=lags[-1] * 1000,
        peak=peak,
    )


async def _read(session: aiohttp.ClientSession, url: str, path: str) -> float:
    began = time.monotonic()
    async with session.get(url + path) as answer:
        assert answer.status == 200, await answer.text()
        await answer.read()
    return time.monotonic() - began


def _missed_beats(file: Path, began: float, ended: float) -> Iterator[float]:
    for line in file.read_text(encoding="ascii").splitlines():
        at, late = map(float, line.split())
        while began <= at <= ended and late >= 0:
            yield late
            late -= BEAT


def main() -> None:
    """Measure, print."""
    parser = ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--mib", type=int, default=18)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="nugetproxy-large-") as name:
        print(asyncio.run(measure(Path(name), arguments.mib * 2**20)))


if __name__ == "__main__":
    main()
