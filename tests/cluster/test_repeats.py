"""What a bucket did not take is brought there when it takes it, unless it went away here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from nugetproxy.admin.commands import carry_out
from nugetproxy.cluster.engines import EngineUnavailable
from nugetproxy.engine import repeats
from nugetproxy.engine.repeats import Repeats
from nugetproxy.engine.shared_packages import Uploads
from nugetproxy.engine.tasks import Tasks
from nugetproxy.metrics import Metrics
from nugetproxy.nuget.identity import PackageIdentity
from tests.cluster.memory import MemoryStore
from tests.cluster.test_lives import BACKGROUND, SEEN, ReplicaClock, View
from tests.fakes.asking import PACKAGE, REGISTRATION, SMALL, VERSIONS, ask, until
from tests.fakes.clock import FakeClock
from tests.fakes.feed import FakeFeed
from tests.fakes.packages import make_nupkg
from tests.fakes.proxy import Proxy

KEYS = {"up/flat/acme.a/index.json", "up/flat/acme.a/1.0.0/acme.a.1.0.0.nupkg", "up/flat/acme.a/1.0.0/acme.a.nuspec"}


class Farm:
    """Replicas in front of one feed, with a bucket that each of them may lose."""

    def __init__(self, folder: Path, feed: FakeFeed, patch: pytest.MonkeyPatch) -> None:
        self._folder, self._feed, self._patch = folder, feed, patch
        self.clock = ReplicaClock(0.0)
        self.store = MemoryStore(self.clock)
        self.proxies: list[Proxy] = []

    async def start(self) -> tuple[Proxy, View]:
        view = View(self.store)
        self._patch.setattr("nugetproxy.app.replicas.engines", lambda *_: (view, None))
        folder, table = self._folder / f"replica{len(self.proxies)}", {"store": "s3://bucket/x", "region": "us-east-1"}
        proxy = Proxy(self._feed.index_url, folder, clock=self.clock, cluster=table)
        self.proxies.append(proxy)
        await proxy.start()
        return proxy, view

    async def quiet(self, proxy: Proxy) -> None:
        await until(lambda: {task.get_name().partition(" ")[0] for task in proxy.app.tasks.running()} <= BACKGROUND)

    async def fetch(self, proxy: Proxy) -> None:
        for path in (PACKAGE, VERSIONS, REGISTRATION):
            assert (await ask(proxy, path)).status == 200
        await self.quiet(proxy)

    async def pass_time(self, proxy: Proxy) -> None:
        """Until all has been tried again."""
        self.clock.advance(repeats.LONGEST_PAUSE)
        await until(lambda: "repeat" not in {task.get_name() for task in proxy.app.tasks.running()})

    @property
    def documents(self) -> list[str]:
        return [key for key in self.store.things if key.startswith("up/documents/acme.a/")]


@pytest.fixture
async def farm(tmp_path: Path, feed: FakeFeed, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Farm]:
    feed.add(SMALL)
    made = Farm(tmp_path, feed, monkeypatch)
    yield made
    for proxy in made.proxies:
        await proxy.stop()


async def test_what_a_bucket_was_not_there_for_is_there_once_it_is_back(farm: Farm, feed: FakeFeed) -> None:
    first, view = await farm.start()
    view.full = True
    await farm.fetch(first)
    farm.clock.advance(repeats.LONGEST_PAUSE)
    assert not KEYS & farm.store.things.keys()
    asked = len(feed.origin.requests)
    view.full = False
    await farm.pass_time(first)
    assert farm.store.things.keys() >= KEYS
    assert len(farm.documents) == 1
    assert len(feed.origin.requests) == asked, "nobody was asked for it"
    await feed.set_mode("refused")
    second, _ = await farm.start()
    for path in (PACKAGE, VERSIONS, REGISTRATION):
        assert (await ask(second, path)).status == 200


async def test_packages_beyond_the_room_for_uploads_come_later(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy, _ = await farm.start()
    with monkeypatch.context() as busy:
        busy.setattr(Uploads, "most", 0)
        await farm.fetch(proxy)
    await farm.pass_time(proxy)
    assert farm.store.things.keys() >= KEYS


@pytest.mark.parametrize("how", ["purge", "evict"])
async def test_what_went_away_here_is_not_brought_there(farm: Farm, how: str) -> None:
    proxy, view = await farm.start()
    view.full = True
    await farm.fetch(proxy)
    if how == "purge":
        await carry_out(proxy.app.desk, "purge", {"id": "acme.a"}, by="test")
    else:
        await proxy.held.drop(PackageIdentity("acme.a", "1.0.0"))
    view.full = False
    await farm.pass_time(proxy)
    await until(lambda: not any(one.get_name().startswith("announce") for one in proxy.app.tasks.running()))
    assert not [key for key in farm.store.things if key.endswith(".nupkg")]
    assert bool(farm.documents) is ("up/flat/acme.a/index.json" in farm.store.things) is (how == "evict")


async def test_a_purge_takes_out_what_was_on_its_way_there(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy, _ = await farm.start()
    arrived, may, write = asyncio.Event(), asyncio.Event(), farm.store.write

    async def slowly(key: str, body: bytes, meta: Mapping[str, str]) -> None:
        if key == "up/flat/acme.a/index.json":
            arrived.set()
            await may.wait()
        await write(key, body, meta)

    monkeypatch.setattr(farm.store, "write", slowly)
    assert (await ask(proxy, VERSIONS)).status == 200
    await arrived.wait()
    purge = asyncio.ensure_future(carry_out(proxy.app.desk, "purge", {"id": "acme.a"}, by="test"))
    await until(lambda: "_mark/up/acme.a" in farm.store.things)
    for _ in range(500):  # whoever does not wait for it is done by then
        await asyncio.sleep(0.0001)
    may.set()
    assert "says" not in (await purge)["upstreams"][0]
    await farm.quiet(proxy)
    assert "up/flat/acme.a/index.json" not in farm.store.things


async def test_a_list_of_before_a_push_is_not_brought_there_after_it(farm: Farm) -> None:
    """Also where the bucket does not know of the push yet."""
    proxy, view = await farm.start()
    view.full = True
    await farm.fetch(proxy)
    cache = proxy.app.sources["up"]._cache  # type: ignore[attr-defined]
    cache.invalidate("acme.a")  # as a push does
    await cache.settle_writes()
    view.full = False
    assert proxy.app.replicas is not None
    await proxy.app.replicas.repeats.once()
    assert "_mark/up/acme.a" not in farm.store.things
    assert "up/flat/acme.a/index.json" not in farm.store.things
    assert farm.documents == []


async def test_a_stop_waits_for_documents_that_are_on_their_way_there(
    farm: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy, _ = await farm.start()
    may, write = asyncio.Event(), farm.store.write

    async def slowly(key: str, body: bytes, meta: Mapping[str, str]) -> None:
        await may.wait()
        await write(key, body, meta)

    monkeypatch.setattr(farm.store, "write", slowly)
    assert (await ask(proxy, VERSIONS)).status == 200
    assert proxy.app.replicas is not None
    finish = asyncio.ensure_future(proxy.app.replicas.finish())
    await asyncio.sleep(0)
    assert not finish.done()
    may.set()
    await finish
    assert "up/flat/acme.a/index.json" in farm.store.things


async def test_a_document_that_was_long_on_its_way_does_not_take_the_place_of_a_newer_one(
    farm: Farm, feed: FakeFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy, _ = await farm.start()
    arrived, may, write = asyncio.Event(), asyncio.Event(), farm.store.write

    async def slowly(key: str, body: bytes, meta: Mapping[str, str]) -> None:
        if key == "up/flat/acme.a/index.json" and not arrived.is_set():
            arrived.set()
            await may.wait()
        await write(key, body, meta)

    monkeypatch.setattr(farm.store, "write", slowly)
    assert (await ask(proxy, VERSIONS)).status == 200
    await arrived.wait()
    feed.add(make_nupkg("Acme.A", "2.0.0"))
    farm.clock.advance(3600)
    newer = await ask(proxy, VERSIONS)
    assert b"2.0.0" in newer.body
    for _ in range(500):  # whoever does not wait for the older one is done by then
        await asyncio.sleep(0.0001)
    may.set()
    await farm.quiet(proxy)
    assert b"2.0.0" in farm.store.things["up/flat/acme.a/index.json"].body


async def test_a_stop_brings_there_what_was_not_taken_before(farm: Farm) -> None:
    proxy, view = await farm.start()
    view.full = True
    await farm.fetch(proxy)
    view.full = False
    await proxy.stop()
    assert farm.store.things.keys() >= KEYS


async def test_a_stop_tells_of_a_write_that_nobody_could_be_told_of_before(farm: Farm, feed: FakeFeed) -> None:
    (proxy, view), (other, _) = [await farm.start() for _ in range(2)]
    for one in (proxy, other):
        assert b"1.0.0" in (await ask(one, VERSIONS)).body
        await farm.quiet(one)
    view.full = True
    feed.add(make_nupkg("Acme.A", "2.0.0"))
    cache = proxy.app.sources["up"]._cache  # type: ignore[attr-defined]
    cache.invalidate("acme.a")  # as a push does
    await cache.settle_writes()
    view.full = False
    await proxy.stop()
    farm.clock.advance(SEEN)
    assert b"2.0.0" in (await ask(other, VERSIONS)).body


async def test_of_what_is_missing_not_more_is_known_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeats, "MOST", 2)
    clock, given = FakeClock(), list[str]()

    async def give(key: str) -> None:
        given.append(key)
        raise EngineUnavailable("bucket", "gone")

    tasks = Tasks(clock, Metrics())
    missing = Repeats(tasks, clock)
    for key in "abc":
        missing.note(key, lambda key=key: give(key))  # type: ignore[misc]
    assert "a" not in missing
    await until(lambda: not tasks.running())  # a day has passed
    assert {"b", "c"} == set(given)
    assert given[:4] == ["b", "c", "b", "c"], "one after the other"
    with suppress(asyncio.CancelledError):
        await tasks.stop()
