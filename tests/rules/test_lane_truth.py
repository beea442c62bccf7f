"""Whatever changes the truth, the lane says what the ordinary path says, in every kind of feed."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nugetproxy.sources.remote import RemoteSource
from tests.fakes.asking import Got, ask, until
from tests.fakes.clock import FakeClock
from tests.fakes.feed import FakeFeed, Mode
from tests.fakes.packages import make_nupkg
from tests.fakes.proxy import Proxy
from tests.rules.conftest import COOLDOWN, ORDINARY, ago

PATHS = (
    "/v3/index.json",
    "/v3/content/acme.a/index.json",
    "/v3/content/acme.a/1.0.0/acme.a.1.0.0.nupkg",
    "/v3/content/acme.a/2.0.0/acme.a.2.0.0.nupkg",
    "/v3/content/acme.a/2.0.0/acme.a.nuspec",
    "/v3/content/acme.b/1.0.0/acme.b.1.0.0.nupkg",
    "/v3/registration/gz-semver2/acme.a/index.json",
    "/v3/query?q=acme&prerelease=true&semVerLevel=2.0.0",
    "/v3/autocomplete?id=acme.a&prerelease=true&semVerLevel=2.0.0",
)
PAST = "/asof/2027-01-10"
"""Five days before the lives begin."""
FEEDS = ("", "/ruled", "/farm", "/ruled-farm", PAST, f"/ruled-farm{PAST}")
MODES: tuple[Mode, ...] = ("up", "up", "refused")
HOLE = {"url": "https://example.test/1", "severity": 3, "versions": "[2.0.0]"}


_COUNTED = re.compile(r"; ttl=(\d+)")


class House:
    """A proxy of four feeds, now and in the past, with two upstreams: anything may change at any time."""

    def __init__(self, folder: Path, up: FakeFeed, second: FakeFeed, clock: FakeClock | None = None) -> None:
        self.clock = clock or FakeClock()
        self.up = up
        self.second = second
        self.end = ago(self.clock, -0.5).isoformat()
        self.proxy = Proxy(up.index_url, folder, clock=self.clock, **self.tables(unlisted=True))
        self.number = 2
        self.listed = True
        self.seen: Counter[str] = Counter()

    def tables(self, *, unlisted: bool) -> dict[str, Any]:
        """The configuration: whether rules mind what is unlisted."""
        exception = {"name": "urgent", "action": "allow", "ids": ["acme.b"], "until": self.end}
        rules = [exception, COOLDOWN, {"name": "holes", "max_severity": "high"}]
        rules += [{"name": "no", "unlisted": True}] if unlisted else []
        return {
            "upstream": {"private": True},
            "upstreams": {"second": {"url": self.second.index_url, "private": False}},
            "feeds": {
                "up": {"sources": ["up"]},
                "ruled": {"sources": ["up"], "rules": rules},
                "farm": {"sources": ["up", "second"]},
                "ruled-farm": {"sources": ["up", "second"], "rules": rules},
            },
        }

    async def look(self, path: str, headers: Mapping[str, str]) -> None:
        """What the lane says is what the ordinary path says, asked at once behind it.

        Nothing goes on behind earlier answers then: what a registration says of a package's date, for one, changes it.
        """
        for _ in range(3):
            await until(lambda: not self.proxy.app.tasks.running())
            before = self.proxy.app.lane.answered
            laned = await ask(self.proxy, path, headers=headers)
            self.judge(path, laned)
            if self.proxy.app.lane.answered > before:
                self.seen["laned"] += 1
                usual = await ask(self.proxy, path, headers={**headers, **ORDINARY["headers"]})
                assert _said(laned) == _said(usual), path
                for one, other in zip(_counted(laned), _counted(usual), strict=True):
                    assert abs(one - other) <= 1, path

    def judge(self, path: str, got: Got) -> None:
        """No trouble of our own, no bytes that are nobody's."""
        assert got.status < 500 or got.status in {502, 503}, (path, got.status, got.body)
        if got.status == 200 and path.endswith(".nupkg"):
            ids = (*self.up.shelf.packages.values(), *self.second.shelf.packages.values())
            assert got.body in {held.content for versions in ids for held in versions}, path

    async def change(self, chance: random.Random) -> None:
        """Something happens."""
        kind = chance.choice(("pass", "push", "list", "advise", "purge", "damage", "lose", "reload", "restart"))
        self.seen[kind] += 1
        source = self.proxy.app.sources["up"]
        assert isinstance(source, RemoteSource)
        if kind == "pass":
            self.clock.advance(chance.choice((1, 31, 301, 3601, 43_200, 90_000)))
        elif kind == "push":
            self.number += 1
            self.up.add(make_nupkg("Acme.A", f"{self.number}.0.0"), at=ago(self.clock, chance.choice((1, 6.999, 30))))
            source._cache.invalidate("acme.a")
        elif kind == "list":
            self.listed = not self.listed
            self.up.set_listed("Acme.A", "2.0.0", self.listed)
            source._cache.invalidate("acme.a")
        elif kind == "advise":
            self.up.vulnerabilities["base"] = chance.choice(({}, {"acme.a": [HOLE]}))
        elif kind == "purge":
            for identity, _, _ in list(self.proxy.held.folder.walk()):
                await self.proxy.held.purge(identity)
        elif kind == "damage":
            for held in self.proxy.packages.glob("acme.a/*/*.nupkg"):
                held.write_bytes(b"x" * held.stat().st_size)
        elif kind == "lose":
            await self.up.set_mode(chance.choice(MODES))
        elif kind == "reload":
            await self.proxy.reload(**self.tables(unlisted=chance.choice((True, False))))
        elif kind == "restart":
            await self.proxy.restart()


def _said(got: Got) -> tuple[object, ...]:
    fields = {name: _COUNTED.sub("", value) for name, value in got.headers.items() if name not in {"Date", "Age"}}
    return got.status, got.body, "Age" in got.headers, fields


def _counted(got: Got) -> tuple[int, int]:
    """Seconds of age, seconds that are left; -1 for what is not said."""
    left = _COUNTED.search(got.headers["Cache-Status"])
    return int(got.headers.get("Age", "-1")), int(left[1]) if left is not None else -1


async def live(folder: Path, seed: int, steps: int) -> Counter[str]:
    """A life of so many steps; how much of what happened."""
    async with FakeFeed() as up, FakeFeed() as second:
        house = House(folder, up, second)
        for number, days in ((1, 30), (2, 6.9)):
            up.add(make_nupkg("Acme.A", f"{number}.0.0", size=3000), at=ago(house.clock, days))
        up.add(make_nupkg("Acme.B", "1.0.0"), at=ago(house.clock, 1))
        second.add(make_nupkg("Acme.C", "1.0.0"), at=ago(house.clock, 30))
        await house.proxy.start()
        try:
            chance = random.Random(seed)
            for _ in range(steps):
                await house.change(chance)
                for _ in range(4):
                    coding = chance.choice(("gzip", "identity"))
                    await house.look(chance.choice(FEEDS) + chance.choice(PATHS), {"Accept-Encoding": coding})
            return house.seen
        finally:
            await house.proxy.stop()


@settings(max_examples=2, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
async def test_the_lane_says_what_the_ordinary_path_says(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    seen = await live(tmp_path_factory.mktemp("truth") / "cache", seed, 20)
    assert seen["laned"] > 0


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(3))
async def test_the_lane_says_for_long_what_the_ordinary_path_says(tmp_path: Path, seed: int) -> None:
    seen = await live(tmp_path / "cache", seed, 150)
    assert seen["laned"] > 100
