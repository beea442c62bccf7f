"""Two replicas of which the clocks differ, with one bucket that comes and goes: a write through one is seen by both."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from nugetproxy.admin.commands import carry_out
from nugetproxy.cluster.engines import EngineUnavailable
from nugetproxy.cluster.marks import FOLLOW_SECONDS
from nugetproxy.engine.shared_documents import LONGEST_PAUSE
from tests.cluster.memory import MemoryStore
from tests.fakes.asking import Got, ask, until
from tests.fakes.clock import FakeClock
from tests.fakes.feed import FakeFeed
from tests.fakes.packages import make_nupkg
from tests.fakes.proxy import Proxy
from tests.rules.conftest import ORDINARY, ago
from tests.web.test_push import form, sending

KINDS = "pass publish push push list purge evict restart lose cut cut full full agree damage halt halt"
BACKGROUND = frozenset({"lease", "announce", "repeat"})
"""Tasks that wait for time to pass, by the first words of their names."""
LIST, HIVE = "/v3/content/acme.a/index.json", "/v3/registration/gz-semver2/acme.a/index.json"
PATHS = (*(f"/v3/content/acme.a/{number}.0.0/acme.a.{number}.0.0.nupkg" for number in (1, 2, 3)), LIST, HIVE)
SEEN = FOLLOW_SECONDS + 2
"""Seconds after which a write is known to all, with what the memory of documents adds."""


class ReplicaClock(FakeClock):
    """Differs from others; what is done beside answers waits until time has passed."""

    def __init__(self, ahead: float) -> None:
        super().__init__()
        self._start += ahead

    async def sleep(self, seconds: float) -> None:
        task = asyncio.current_task()
        if task is None or task.get_name().partition(" ")[0] not in BACKGROUND:
            return await super().sleep(seconds)
        until = self.monotonic() + seconds
        while self.monotonic() < until:
            await asyncio.sleep(0.001)
        return None


class View:
    """The bucket as one replica reaches it, while it does."""

    base = problem = ""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self.cut = self.full = False
        self.halted = ""
        """The call of which the first one is held up when it has read."""
        self.has_read, self.goes_on = asyncio.Event(), asyncio.Event()

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        return lambda *words: self._call(name, *words)

    async def _call(self, name: str, *words: Any) -> Any:
        if self.cut or (self.full and name not in {"read", "stream", "head", "listing"}):
            raise EngineUnavailable("bucket", "it is gone")
        found = await getattr(self._store, name)(*words)
        if name == self.halted:
            self.halted = ""
            self.has_read.set()
            await self.goes_on.wait()
        return found


class Pair:
    """Two replicas in front of one feed."""

    def __init__(self, folder: Path, feed: FakeFeed, patch: pytest.MonkeyPatch, ahead: float) -> None:
        self.feed = feed
        self.patch = patch
        self.clocks = [ReplicaClock(0.0), ReplicaClock(ahead)]
        self.views = [View(store) for store in [MemoryStore(self.clocks[0])] for _ in (0, 1)]
        self.store = self.views[0]._store
        table = {"store": "s3://bucket/x", "region": "us-east-1"}
        self.proxies = [
            Proxy(feed.index_url, folder / f"replica{one}", clock=self.clocks[one], cluster=table) for one in (0, 1)
        ]
        self.number = 3
        self.ours: set[bytes] = set()
        self.pushed: set[str] = set()
        self.fetching = False
        self.seen: Counter[str] = Counter()

    def make(self, version: str) -> bytes:
        self.seen["made"] += 1
        package = make_nupkg("Acme.A", version, description=str(self.seen["made"]), size=3000)
        self.ours.add(package)
        return package

    def advance(self, seconds: float) -> None:
        for clock in self.clocks:
            clock.advance(seconds)

    async def start(self, one: int) -> None:
        self.patch.setattr("nugetproxy.app.replicas.engines", lambda *_: (self.views[one], None))
        await self.proxies[one].start()
        await self.agree(one)

    async def agree(self, one: int) -> None:
        app = self.proxies[one].app
        assert app.replicas is not None and app.replicas.truth is not None
        if not (self.views[one].cut or self.views[one].full):
            await app.replicas.second.examine()
            await app.replicas.truth.settle_claims()
            await app.replicas.truth.settle_tokens()

    @property
    def well(self) -> bool:
        return self.feed.mode == "up" and not any(view.cut or view.full for view in self.views)

    async def quiet(self) -> None:
        for proxy in self.proxies:
            await until(lambda proxy=proxy: proxy.metric("pending_commits") == 0)  # type: ignore[misc]
            await until(lambda proxy=proxy: _names(proxy) <= BACKGROUND)  # type: ignore[misc]

    async def look(self, one: int, path: str) -> Got:
        """What the lane says is what the ordinary path says."""
        proxy = self.proxies[one]
        for _ in range(3):
            await self.quiet()
            before = proxy.app.lane.answered
            got = await ask(proxy, path)
            assert got.status < 500 or got.status in {502, 503}, (path, got)
            assert got.status != 200 or not path.endswith(".nupkg") or got.body in self.ours, path
            if proxy.app.lane.answered > before:
                self.seen["laned"] += 1
                usual = await ask(proxy, path, **ORDINARY)
                assert (got.status, got.body) == (usual.status, usual.body), path
        return got

    async def check(self) -> None:
        """All see what was written through any, after a moment, where all is well."""
        if self.well:
            self.advance(LONGEST_PAUSE)  # what nobody could be told of is told now
            await until(lambda: not any(_names(proxy) & {"announce"} for proxy in self.proxies))
        self.advance(SEEN)
        if self.well:
            for proxy in self.proxies:
                got = await ask(proxy, LIST)
                assert got.status == 200, got
                assert self.pushed <= set(json.loads(got.body)["versions"])
                self.seen["checked"] += 1

    async def change(self, chance: random.Random) -> None:
        kind = chance.choice(KINDS.split())
        self.seen[kind] += 1
        await self.quiet()
        await getattr(self, f"do_{kind}")(chance, chance.choice((0, 1)))
        await self.quiet()
        await self.check()

    async def do_pass(self, chance: random.Random, _: int) -> None:
        self.advance(chance.choice((31, 301, 3601, 90_000)))

    async def do_publish(self, chance: random.Random, _: int) -> None:
        version = f"{chance.choice((1, 2, 3))}.0.0"
        self.feed.add(self.make(version), at=ago(self.clocks[0], 30))

    async def do_push(self, _: random.Random, one: int) -> None:
        self.number += 1
        version = f"{self.number}.0.0"
        got = await ask(self.proxies[one], "/v3/package", "PUT", data=form(self.make(version)), headers=sending())
        self.pushed |= {version} if got.status == 201 else set()

    async def do_list(self, chance: random.Random, one: int) -> None:
        """Unlist, or list again."""
        method = chance.choice(("DELETE", "POST"))
        got = await ask(self.proxies[one], "/v3/package/Acme.A/1.0.0", method, headers=sending())
        self.advance(SEEN)
        if got.status == 200 and self.well:
            for proxy in self.proxies:
                leaves = [leaf for page in json.loads((await ask(proxy, HIVE)).body)["items"] for leaf in page["items"]]
                listed = {leaf["catalogEntry"]["version"]: leaf["catalogEntry"]["listed"] for leaf in leaves}
                assert listed["1.0.0"] is (method == "POST")

    async def do_purge(self, _: random.Random, one: int) -> None:
        told = await carry_out(self.proxies[one].app.desk, "purge", {"id": "acme.a", "version": "1.0.0"}, by="test")
        is_there = "up/flat/acme.a/1.0.0/acme.a.1.0.0.nupkg" in self.store.things
        assert not is_there or self.fetching or told["upstreams"][0]["says"]  # what another fetches, it brings there

    async def do_evict(self, _: random.Random, one: int) -> None:
        await carry_out(self.proxies[one].app.desk, "evict", {"to": 0}, by="test")

    async def do_restart(self, _: random.Random, one: int) -> None:
        await self.proxies[one].stop()
        await self.start(one)

    async def do_lose(self, chance: random.Random, _: int) -> None:
        await self.feed.set_mode(chance.choice(("up", "up", "up", "refused")))
        self.advance(120)  # whoever has given it up asks again

    async def do_cut(self, chance: random.Random, one: int) -> None:
        self.views[one].cut = chance.random() < 0.2

    async def do_full(self, chance: random.Random, one: int) -> None:
        self.views[one].full = chance.random() < 0.2

    async def do_agree(self, _: random.Random, one: int) -> None:
        await self.agree(one)

    async def do_damage(self, chance: random.Random, _: int) -> None:
        """What lies in the bucket is not what it was."""
        for key in [key for key in self.store.things if key.startswith("up/") and chance.random() < 0.3]:
            thing = self.store.things[key]
            self.store._put(key, chance.choice((b"", b"{", thing.body[:-3], b"x" * len(thing.body))), thing.meta)

    async def do_halt(self, chance: random.Random, one: int) -> None:
        """One has read something of the bucket, and is held up before it takes it, while the other goes on."""
        async with self.halted(one, chance.choice(("read", "stream", "create", "write")), chance.choice(PATHS)):
            for _ in range(2):
                act = chance.choice((self.do_push, self.do_purge, self.do_publish))
                await act(chance, 1 - one)
                self.advance(1)

    @asynccontextmanager
    async def halted(self, one: int, call: str, path: str) -> Any:
        view = self.views[one]
        view.halted, view.has_read, view.goes_on = call, asyncio.Event(), asyncio.Event()
        reads = asyncio.ensure_future(view.has_read.wait())
        asks = asyncio.ensure_future(ask(self.proxies[one], path, **ORDINARY))
        await asyncio.wait({asks, reads}, return_when=asyncio.FIRST_COMPLETED)
        self.fetching = True
        yield
        self.fetching = False
        view.halted = ""
        view.goes_on.set()
        reads.cancel()
        await asks


def _names(proxy: Proxy) -> set[str]:
    """Of what is under way, the first word of each."""
    return {task.get_name().partition(" ")[0] for task in proxy.app.tasks.running()}


async def live(folder: Path, seed: int, steps: int) -> Counter[str]:
    """A life of so many steps; how much of what happened."""
    chance = random.Random(seed)
    with pytest.MonkeyPatch.context() as patch:
        async with FakeFeed() as feed:
            pair = Pair(folder, feed, patch, chance.choice((0.0, 300.0, -300.0)))
            for version in ("1.0.0", "2.0.0"):
                feed.add(pair.make(version), at=ago(pair.clocks[0], 30))
            for one in (0, 1):
                await pair.start(one)
            try:
                for _ in range(steps):
                    await pair.change(chance)
                    for _ in range(3):
                        await pair.look(chance.choice((0, 1)), chance.choice(PATHS))
                return pair.seen
            finally:
                pair.advance(1000)  # whoever is told later is told now, or not any more
                for proxy in pair.proxies:
                    with suppress(EngineUnavailable):
                        await proxy.stop()


async def test_whatever_happens_both_see_what_was_written(tmp_path: Path) -> None:
    seen = await live(tmp_path, 0, 25)
    assert min(seen["laned"], seen["checked"]) > 0


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(10, 13))
async def test_for_long_both_see_what_was_written(tmp_path: Path, seed: int) -> None:
    seen = await live(tmp_path, seed, 120)
    assert min(seen["laned"], seen["checked"]) > 20
