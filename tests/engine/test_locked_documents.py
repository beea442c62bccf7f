"""Somebody holds the lock of the documents' database: answers do not wait for it, and say what is true."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

from nugetproxy.engine.hot_documents import STORE_SECONDS
from nugetproxy.store.sqlite_form import LOCK_SECONDS
from tests.fakes.asking import ask, until
from tests.fakes.clock import FakeClock
from tests.fakes.feed import FakeFeed
from tests.fakes.packages import make_nupkg
from tests.fakes.proxy import Proxy

IDS = [f"acme.p{number}" for number in range(8)]


@pytest.fixture
async def warm(proxy: Proxy, feed: FakeFeed) -> Proxy:
    """A proxy that knows its service index, in front of a feed with packages that nobody has asked for."""
    for id in IDS:
        feed.add(make_nupkg(id, "1.0.0"))
    await ask(proxy, "/v3/index.json")
    return proxy


@pytest.fixture
def lock(warm: Proxy) -> Iterator[sqlite3.Connection]:
    """The write lock, held until it is committed."""
    with closing(sqlite3.connect(warm.directory / "documents" / "cache.db", isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")
        yield database


def versions(id: str) -> str:
    return f"/v3/content/{id}/index.json"


async def test_cold_documents_do_not_wait_for_it(warm: Proxy, lock: sqlite3.Connection) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    answers = [await ask(warm, versions(id)) for id in IDS]
    took = loop.time() - began
    assert {(got.status, got.body) for got in answers} == {(200, b'{"versions":["1.0.0"]}')}
    assert {got.cache for got in answers} == {"fwd=uri-miss; fwd-status=200"}, "not one of them is stored"
    assert took < LOCK_SECONDS - STORE_SECONDS, "they wait once at most, not each"


async def test_they_are_stored_behind_when_it_is_free_again(
    warm: Proxy, feed: FakeFeed, clock: FakeClock, lock: sqlite3.Connection
) -> None:
    for id in IDS[:3]:
        await ask(warm, versions(id))
    lock.execute("COMMIT")
    await until(lambda: not any(task.get_name().startswith("store ") for task in warm.app.tasks.running()))
    await feed.set_mode("refused")
    clock.advance(5)
    for id in IDS[:3]:
        assert (await ask(warm, versions(id))).cache == "hit; ttl=295"
    await feed.set_mode("up")
    assert (await ask(warm, versions(IDS[3]))).cache.endswith("; stored"), "it waits, and says it, as before"
