"""A write that was answered is known to the next start, however this process ends."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.fakes.asking import SMALL
from tests.fakes.feed import FakeFeed
from tests.fakes.packages import make_nupkg
from tests.fakes.process import ProxyProcess

LATER = make_nupkg("Acme.A", "2.0.0")
ANSWER_SECONDS = 2.0
"""Much more than an answer takes that waits for nothing."""


async def versions(proxy: ProxyProcess) -> list[str]:
    async with aiohttp.ClientSession() as session, session.get(f"{proxy.url}/v3/content/acme.a/index.json") as got:
        return list(json.loads(await got.read())["versions"])


async def push(proxy: ProxyProcess, nupkg: bytes, key: str) -> int:
    form = aiohttp.FormData()
    form.add_field("package", nupkg, filename="package.nupkg", content_type="application/octet-stream")
    headers = {"X-NuGet-ApiKey": key}
    async with (
        aiohttp.ClientSession() as session,
        session.put(f"{proxy.url}/v3/package", data=form, headers=headers) as got,
    ):
        return got.status


@contextlib.contextmanager
def locked(database: Path) -> Iterator[None]:
    """Nobody else writes to it meanwhile."""
    with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


@pytest.mark.slow
async def test_a_kill_right_after_the_201_of_a_push_forgets_nothing(feed: FakeFeed, tmp_path: Path) -> None:
    feed.add(SMALL)
    async with ProxyProcess("--upstream", feed.index_url, "--cache-dir", tmp_path / "cache") as proxy:
        assert await versions(proxy) == ["1.0.0"]
        with locked(tmp_path / "cache" / "ledger.db"):
            pushing = asyncio.create_task(push(proxy, LATER, feed.api_key))
            await asyncio.wait({pushing}, timeout=ANSWER_SECONDS)
            assert not pushing.done(), "it was answered before the ledger knew of it"
            assert feed.shelf.find("Acme.A", "2.0.0").content == LATER
        assert await pushing == 201
        await proxy.kill()
        await proxy.start()
        await proxy.listening()
        assert await versions(proxy) == ["1.0.0", "2.0.0"]
