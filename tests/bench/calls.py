"""Counts what a hit costs in calls of our own functions, a cold list too, a cold package in jobs for threads.

``python -m tests.bench.calls``. Each sort of hit is counted as clients ask, so in the lane, then on the ordinary path
with all its checks.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import product
from pathlib import Path
from types import FrameType
from typing import Any
from unittest.mock import patch

import structlog

import nugetproxy
from nugetproxy.clock import Clock
from nugetproxy.errors import ProxyError
from tests.fakes.feed import FakeFeed
from tests.fakes.packages import make_nupkg
from tests.fakes.proxy import Proxy

OURS = str(Path(nugetproxy.__file__).parent)
TIMES = 100
WAYS: dict[str, dict[str, str]] = {"as clients ask": {}, "ordinary path": {"X-Unknown": "1"}}
"""Header fields; with one that it does not know, a request does not take the lane."""
PATHS = {
    "service index": "/v3/index.json",
    "version list": "/v3/content/acme.a/index.json",
    "registration": "/v3/registration/gz-semver2/acme.a/index.json",
    "small package": "/v3/content/acme.a/1.0.0/acme.a.1.0.0.nupkg",
    "nuspec": "/v3/content/acme.a/1.0.0/acme.a.nuspec",
}


async def count(proxy: Proxy, path: str, headers: dict[str, str], times: int = TIMES) -> Counter[str]:
    """Calls by function for so many warm hits; coroutines count once for each time they are entered."""

    async def ask(times: int) -> None:
        for _ in range(times):
            assert await (await proxy.client.get(path, headers=headers)).read()

    await ask(5)
    return await counted(lambda: ask(times))


async def counted(ask: Callable[[], Awaitable[None]]) -> Counter[str]:
    """Calls by function while ``ask`` runs."""
    calls: Counter[str] = Counter()

    def profile(frame: FrameType, event: str, _argument: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(OURS):
            calls[f"{code.co_filename.removeprefix(OURS)[1:]}:{code.co_qualname}"] += 1

    sys.setprofile(profile)
    try:
        await ask()
    finally:
        sys.setprofile(None)
    return calls


async def count_cold(proxy: Proxy, feed: FakeFeed) -> Counter[str]:
    """Calls by function for ``TIMES`` version lists that nobody has asked for before."""
    for number in range(TIMES + 5):
        feed.add(make_nupkg(f"List.P{number}", "1.0.0"))

    async def ask(numbers: range) -> None:
        for number in numbers:
            assert await (await proxy.client.get(f"/v3/content/list.p{number}/index.json")).read()

    await ask(range(5))
    return await counted(lambda: ask(range(5, 5 + TIMES)))


async def count_jobs(proxy: Proxy, feed: FakeFeed) -> Counter[str]:
    """Jobs for threads by their pool for ``TIMES`` cold small packages, each asked for behind its registration."""
    jobs: Counter[str] = Counter()
    submit = ThreadPoolExecutor.submit

    def counted(pool: ThreadPoolExecutor, *args: Any, **kwargs: Any) -> Future[Any]:
        jobs[pool._thread_name_prefix] += 1
        return submit(pool, *args, **kwargs)

    for number in range(TIMES):
        feed.add(make_nupkg(f"Cold.P{number}", "1.0.0"))
    for number in range(TIMES):
        await (await proxy.client.get(f"/v3/registration/gz-semver2/cold.p{number}/index.json")).read()
    with patch.object(ThreadPoolExecutor, "submit", counted):
        for number in range(TIMES):
            path = f"/v3/content/cold.p{number}/1.0.0/cold.p{number}.1.0.0.nupkg"
            assert (await (await proxy.client.get(path)).read()).startswith(b"PK")
            while proxy.metric("pending_commits"):
                await asyncio.sleep(0.001)
    return jobs


async def main() -> None:
    """Print the calls for one hit of each sort; with ``-v``, each function too."""
    structlog.configure(processors=[_drop])
    with tempfile.TemporaryDirectory() as directory:
        async with FakeFeed() as feed:
            feed.add(make_nupkg("Acme.A", "1.0.0"))
            proxy = Proxy(feed.index_url, Path(directory), clock=Clock())
            await proxy.start()
            try:
                for (name, path), way in product(PATHS.items(), WAYS):
                    calls = await count(proxy, path, WAYS[way])
                    print(f"{name}, {way}: {sum(calls.values()) / TIMES:g}")
                    for function, number in calls.most_common() if "-v" in sys.argv else ():
                        print(f"    {number / TIMES:g} {function}")
                calls = await count_cold(proxy, feed)
                print(f"cold version list: {sum(calls.values()) / TIMES:g}")
                for function, number in calls.most_common() if "-v" in sys.argv else ():
                    print(f"    {number / TIMES:g} {function}")
                jobs = await count_jobs(proxy, feed)
                print(f"cold small package: {sum(jobs.values()) / TIMES:g} jobs for threads")
                for pool, number in jobs.most_common() if "-v" in sys.argv else ():
                    print(f"    {number / TIMES:g} {pool}")
            except ProxyError as error:
                sys.exit(str(error))
            finally:
                await proxy.stop()


def _drop(_logger: object, _method: str, _event: object) -> str:
    raise structlog.DropEvent


if __name__ == "__main__":
    asyncio.run(main())
