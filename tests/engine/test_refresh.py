"""Stale-while-revalidate with the shipped policies: a warm restore never waits for upstream."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from nugetproxy.engine.target import Target
from nugetproxy.nuget.kinds import Kind
from nugetproxy.sources.remote import RemoteSource
from nugetproxy.store.documents.documents import Stored
from tests.conftest import StartProxy
from tests.fakes.asking import SMALL, UP_VERSIONS, ask
from tests.fakes.clock import FakeClock
from tests.fakes.feed import FakeFeed
from tests.fakes.packages import make_nupkg
from tests.fakes.proxy import Proxy

VERSIONS = "/v3/content/acme.a/index.json"
REGISTRATION = "/v3/registration/gz-semver2/acme.a/index.json"


@pytest.fixture
async def shipped(start_proxy: StartProxy, feed: FakeFeed) -> Proxy:
    feed.add(make_nupkg("Acme.A", "1.0.0"))
    return await start_proxy(feed.index_url, policy={})


async def settled(proxy: Proxy) -> None:
    """Wait for what goes on behind the clients' backs."""
    while len(proxy.app.tasks):
        await asyncio.gather(*proxy.app.tasks.running(), return_exceptions=True)


@pytest.mark.parametrize("path", [VERSIONS, REGISTRATION])
async def test_a_stale_list_is_served_at_once_while_upstream_hangs(
    shipped: Proxy, feed: FakeFeed, clock: FakeClock, path: str
) -> None:
    first = await (await shipped.client.get(path)).read()
    clock.advance(20 * 60)
    await feed.set_mode("hang")
    answer = await shipped.client.get(path)
    assert await answer.read() == first
    assert answer.headers["Cache-Status"] == "nugetproxy; hit; ttl=-900"
    feed.release()


async def test_the_next_client_gets_what_was_fetched_behind_the_first_ones_back(
    shipped: Proxy, feed: FakeFeed, clock: FakeClock
) -> None:
    await shipped.client.get(VERSIONS)
    feed.add(make_nupkg("Acme.A", "2.0.0"))
    clock.advance(20 * 60)
    assert (await (await shipped.client.get(VERSIONS)).json()) == {"versions": ["1.0.0"]}
    await settled(shipped)
    assert (await (await shipped.client.get(VERSIONS)).json()) == {"versions": ["1.0.0", "2.0.0"]}


async def test_after_the_refresh_span_clients_wait_for_upstream(
    shipped: Proxy, feed: FakeFeed, clock: FakeClock
) -> None:
    await shipped.client.get(VERSIONS)
    feed.add(make_nupkg("Acme.A", "2.0.0"))
    clock.advance(2 * 3600)
    assert (await (await shipped.client.get(VERSIONS)).json()) == {"versions": ["1.0.0", "2.0.0"]}


def test_jitter_is_drawn_from_the_key_over_the_whole_span() -> None:
    def fraction(number: int) -> float:
        path = f"content/acme.{number}/index.json"
        return Target(kind=Kind.VERSIONS, path=path, scope="http://feed/v3/index.json").fraction

    fractions: list[Any] = [fraction(number) for number in range(1000)]
    assert fractions == [fraction(number) for number in range(1000)]
    assert min(fractions) >= 0
    assert max(fractions) < 1
    assert 0.4 < sum(fractions) / len(fractions) < 0.6


async def test_who_looked_before_somebody_else_stored_does_not_ask_again(
    start_proxy: StartProxy, feed: FakeFeed, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look that found nothing may be old when its fetch begins: the fetch looks once more."""
    feed.add(SMALL)
    proxy = await start_proxy(feed.index_url)
    await ask(proxy, "/v3/index.json")
    get, looked, go_on = proxy.app.documents.get, asyncio.Event(), asyncio.Event()

    async def slow(key: str) -> Stored | None:
        found = await get(key)
        if not looked.is_set():
            looked.set()
            await go_on.wait()
        return found

    monkeypatch.setattr(proxy.app.documents, "get", slow)
    # It may be there, for all that the first one knows; the second one knows that it is not, and does not look.
    monkeypatch.setattr(proxy.app.documents, "lacks", lambda _: looked.is_set() and not go_on.is_set())
    first = asyncio.create_task(ask(proxy, VERSIONS))
    await looked.wait()
    assert (await ask(proxy, VERSIONS)).status == 200
    source = proxy.app.sources["up"]
    assert isinstance(source, RemoteSource)
    source.forget_documents()  # so that only what is stored can tell
    go_on.set()
    assert (await first).cache.startswith("hit")
    assert feed.count(UP_VERSIONS) == 1
