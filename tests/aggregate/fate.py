"""Fate is what happens to a market."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from nugetproxy.admin.commands import carry_out
from tests.aggregate.market import DAY, FEEDS, HOLES, HOMES, IDS, MAPPINGS, SOURCES, VERSIONS, World
from tests.fakes.asking import ask, until
from tests.fakes.feed import FakeFeed
from tests.fakes.feed_packages import Held
from tests.fakes.origin import Script

OF_SOURCES: Final = "publish publish list drop advise deprecate lose lose lose get pass purge restart"
OF_OURS: Final = "burst evict offline lists rules rules map release"
"""Counts at once, whatever is fresh."""
ALL: Final = "prerelease=true&semVerLevel=2.0.0"
HIVE: Final = "registration/gz-semver2"


class Fate(World):
    """A world in which things happen."""

    def __init__(self, folder: Path, feeds: Mapping[str, FakeFeed], chance: random.Random) -> None:
        super().__init__(folder, feeds, chance)
        self.handled = dict.fromkeys(feeds, 0)
        self.got: set[tuple[str, str, str]] = set()
        """The packages (source, id, version) that somebody has got."""
        self.seen: Counter[str] = Counter()
        self.log: list[str] = []
        self.answers = {name: feed.origin.fallback for name, feed in feeds.items()}

    async def settle(self) -> None:
        """Nothing goes on; what sources have said is known."""
        await until(lambda: not self.proxy.app.tasks.running())
        for name, feed in self.feeds.items():
            for one in feed.requests[self.handled[name] :]:
                words = one.path.split("/")
                if len(words) == 4 and words[1] == "v3-flatcontainer" and name not in self.down:
                    self.told[name, words[2]] = (self.has(name, words[2]), self.clock.now())
            self.handled[name] = len(feed.requests)

    async def change(self) -> None:
        """Something."""
        kind = self.chance.choice(f"{OF_SOURCES} {OF_OURS}".split())
        self.seen[kind] += 1
        self.log.append(kind)
        await self.settle()
        await getattr(self, f"do_{kind}")()
        if kind in OF_SOURCES.split() or self.chance.random() < 0.3:
            self.clock.advance(3700)
        await self.settle()

    def pick(self) -> tuple[str, Held]:
        source = self.chance.choice(SOURCES)
        ids = [held for held in self.feeds[source].shelf.packages.values() if held]
        return source, self.chance.choice(self.chance.choice(ids))

    async def do_publish(self) -> None:
        id = self.chance.choice(IDS)
        source = self.chance.choice((*HOMES.get(id, SOURCES), "out"))
        days = self.chance.choice((0, 2.5, 6.9, 30))
        self.publish(source, id, self.chance.choice(VERSIONS), days, listed=self.chance.random() < 0.8)

    async def do_list(self) -> None:
        source, held = self.pick()
        self.feeds[source].shelf.publish(replace(held, listed=not held.listed), at=held.instant)

    async def do_drop(self) -> None:
        """Not the last one: that is believed only when it was said twice."""
        source, held = self.pick()
        if len(self.has(source, held.lower)) > 1:
            self.feeds[source].remove(held.id, held.version)

    async def do_advise(self) -> None:
        holes = [{"url": url, "severity": worst, "versions": where} for url, (worst, where) in HOLES.items()]
        self.feeds[self.chance.choice(SOURCES)].vulnerabilities["base"] = {
            id: self.chance.sample(holes, self.chance.choice((1, 2))) for id in self.chance.sample(IDS, 2)
        }

    async def do_deprecate(self) -> None:
        source, held = self.pick()
        extra = self.feeds[source].registration_extra.setdefault(held.lower, {})
        if extra.pop(held.url_version, None) is None:
            extra[held.url_version] = {"deprecation": {"reasons": ["Legacy"]}}

    async def do_lose(self) -> None:
        """One source, or find it again."""
        name = self.chance.choice(SOURCES)
        feed = self.feeds[name]
        feed.origin.fallback = self.answers[name]
        if self.down.pop(name, None):
            await feed.set_mode("up")
            await self.recover(name)
            return
        mode = self.down[name] = self.chance.choice(("refused", "5xx", "html", "403"))
        self.log[-1] += f" {name} {mode}"
        if mode == "403":
            feed.origin.fallback = lambda _: Script(status=403)
        else:
            await feed.set_mode("refused" if mode == "refused" else "5xx" if mode == "5xx" else "html")

    async def recover(self, name: str) -> None:
        """Until all breakers are closed."""
        for number in range(20):
            self.clock.advance(61)
            got = await ask(self.proxy, f"/{name}/v3/content/probe.{len(self.log)}.{number}/index.json")
            await self.settle()
            phases = [str(one.phase) for one in self.proxy.app.sources[name].breakers().values()]
            if got.status == 404 and "open" not in phases:
                return
        raise AssertionError(name)

    async def reload(self) -> None:
        await self.proxy.reload(**self.tables())

    async def do_offline(self) -> None:
        self.offline ^= {self.chance.choice(SOURCES)}
        await self.reload()

    async def do_lists(self) -> None:
        self.known = not self.known
        await self.reload()

    async def do_rules(self) -> None:
        self.rules = [self.some_rule(number) for number in range(self.chance.randint(0, 3))]
        await self.reload()

    async def do_map(self) -> None:
        self.mapping = self.chance.choice(MAPPINGS)
        await self.reload()

    async def do_restart(self) -> None:
        await self.proxy.restart()
        for name in SOURCES:
            if name not in self.down and name not in self.offline:
                await self.recover(name)

    async def command(self, name: str, **arguments: Any) -> None:
        await carry_out(self.proxy.app.desk, name, arguments, by="test")

    async def do_evict(self) -> None:
        await self.command("evict", to=self.chance.choice((0, 3000)))

    async def do_release(self) -> None:
        await self.command("claims/release", id=self.chance.choice(IDS))

    async def do_purge(self) -> None:
        id = self.chance.choice(IDS)
        if not self.down:
            await self.command("purge", id=id)
            self.told = {key: value for key, value in self.told.items() if key[1] != id}

    async def do_get(self) -> None:
        """By the address of a source alone."""
        source, id = self.chance.choice(SOURCES), self.chance.choice(IDS)
        for version in self.has(source, id):
            got = await ask(self.proxy, f"/{source}/v3/content/{id}/{version}/{id}.{version}.nupkg")
            self.note(got.body)

    def note(self, package: bytes) -> None:
        """Somebody has got it."""
        self.got |= {key for key, packages in self.ours.items() if package in packages}

    async def do_pass(self) -> None:
        self.clock.advance(self.chance.choice((DAY / 2, DAY, 3 * DAY, 8 * DAY)))

    async def do_burst(self) -> None:
        """Many ask at once."""
        feed, id = self.chance.choice(tuple(FEEDS)), self.chance.choice(IDS)
        for path in (f"content/{id}/index.json", f"{HIVE}/{id}/index.json", f"query?q=packageid:{id}&{ALL}"):
            got = await asyncio.gather(*(ask(self.proxy, f"/{feed}/v3/{path}") for _ in range(5)))
            assert len({(one.status, one.body) for one in got}) == 1, (path, got, self.log[-9:])
