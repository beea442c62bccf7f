"""Real processes: a second one on the same directory, one that was stopped for a while."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import aiohttp
import pytest

from tests.e2e.proxy import ROOT, Proxy
from tests.fakes.asking import SMALL
from tests.fakes.feed import FakeFeed

PACKAGE = "/v3/content/acme.a/1.0.0/acme.a.1.0.0.nupkg"


@pytest.mark.slow
async def test_a_second_process_leaves_the_first_alone_and_a_stopped_one_goes_on(
    feed: FakeFeed, tmp_path: Path
) -> None:
    feed.add(SMALL)
    cache = tmp_path / "cache"
    async with Proxy(cache, upstream=feed.index_url) as first, aiohttp.ClientSession() as session:

        async def get() -> bytes:
            async with session.get(first.url + PACKAGE) as answer:
                assert answer.status == 200
                return await answer.read()

        assert await get() == SMALL
        assert first._process is not None
        pid = first._process.pid
        second = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "nugetproxy", "serve", "--cache-dir", str(cache), "--listen", "127.0.0.1:0"),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await asyncio.wait_for(second.communicate(), 30)
        assert (second.returncode, str(pid) in said.decode()) == (75, True), said.decode()
        assert await get() == SMALL

        await feed.set_mode("hang")
        os.kill(pid, signal.SIGSTOP)
        try:
            waiting = asyncio.create_task(get())
            done, _ = await asyncio.wait({waiting}, timeout=0.3)
            assert not done
        finally:
            os.kill(pid, signal.SIGCONT)
        async with asyncio.timeout(10):
            assert await waiting == SMALL
            assert await get() == SMALL
        assert await first.stop() == 0
