"""Two feeds, a third of both, four callers, restarts: in whatever order, nobody reads what is not theirs."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fakes.asking import ask
from tests.fakes.clock import FakeClock
from tests.fakes.feed import FakeFeed
from tests.fakes.packages import make_nupkg
from tests.fakes.proxy import Proxy
from tests.web.test_tokens import basic

UPSTREAMS = ("up", "second")
FEEDS = {"up": {"up"}, "second": {"second"}, "farm": {"up", "second"}}
"""Whose words each one is made of."""
CALLERS = {"left": ("up",), "right": ("second",), "agent": ("farm",), "stranger": ()}
"""Which feeds each one's token is for, while there is one."""
PATHS = (
    "/v3/index.json",
    "/v3/content/acme.a/index.json",
    "/v3/content/acme.a/1.0.0/acme.a.1.0.0.nupkg",
    "/v3/content/acme.a/1.0.0/acme.a.nuspec",
    "/v3/registration/gz-semver2/acme.a/index.json",
    "/v3/query?q=acme",
    "/v3/autocomplete?q=acme",
    "/v3/content/only.up/index.json",
    "/v3/content/only.up/1.0.0/only.up.1.0.0.nupkg",
    "/v3/registration/gz-semver2/only.second/index.json",
    "/v3/content/only.second/1.0.0/only.second.nuspec",
    "/v3/query?q=only",
    "/v3/vulnerabilities/index.json",
)
STEPS = 2000


def said_by(feed: str) -> str:
    """What only the upstream of this feed says."""
    return f"canary-of-{feed}"


class House:
    """A proxy in front of two upstreams that both have one id, and what its callers may do by now."""

    def __init__(self, folder: Path, upstreams: dict[str, FakeFeed]) -> None:
        self.clock = FakeClock()
        closed = {"anonymous": False}
        self.proxy = Proxy(
            upstreams["up"].index_url,
            folder,
            clock=self.clock,
            upstream={**closed, "private": True},
            upstreams={"second": {**closed, "url": upstreams["second"].index_url, "private": False}},
            feeds={"farm": {"sources": UPSTREAMS}},
        )
        self.upstreams = upstreams
        self.shown = {name: basic("nothing that was ever given out") for name in CALLERS}
        self.let_in: dict[str, bool] = dict.fromkeys(CALLERS, False)
        self.seen: Counter[str] = Counter()

    async def read(self, caller: str, feed: str, path: str) -> None:
        """Ask for something: it is all of this feed or nothing of any."""
        before = {name: len(upstream.requests) for name, upstream in self.upstreams.items()}
        self.clock.advance(2)  # nobody is slowed down
        got = await ask(self.proxy, f"/{feed}{path}", headers=self.shown[caller])
        if self.let_in[caller] and feed in CALLERS[caller]:
            there = not any(f"only.{other}/" in path for other in UPSTREAMS if other not in FEEDS[feed])
            assert got.status == (200 if there else 404), (caller, feed, path, got.body)
            assert got.headers["Cache-Control"].startswith(("private", "no-store")), got.headers
            self.seen["read"] += 1
        else:
            assert got.status in {401, 403}
            assert {name: len(upstream.requests) for name, upstream in self.upstreams.items()} == before
            self.seen["refused"] += 1
        for other in UPSTREAMS:
            if got.status != 200 or other not in FEEDS[feed]:
                assert said_by(other).encode() not in got.body

    async def let(self, caller: str) -> None:
        """Give a caller a token, or take it away."""
        if self.let_in[caller]:
            await self.proxy.app.tokens.revoke(caller)
        else:
            scopes = ["read"] if CALLERS[caller] else ["push"]
            _, secret = await self.proxy.app.tokens.add(caller, scopes, CALLERS[caller], None)
            self.shown[caller] = basic(secret)
        self.let_in[caller] = not self.let_in[caller]

    async def step(self, chance: random.Random) -> None:
        """Something happens."""
        kind = chance.choices(("read", "let", "restart", "later"), (90, 6, 1, 3))[0]
        if kind == "read":
            await self.read(chance.choice(sorted(CALLERS)), chance.choice(sorted(FEEDS)), chance.choice(PATHS))
        elif kind == "let":
            await self.let(chance.choice(sorted(CALLERS)))
        elif kind == "restart":
            await self.proxy.restart()
        else:
            self.clock.advance(chance.choice((1, 30, 400, 90_000)))
        self.seen[kind] += 1


async def live(folder: Path, seed: int, steps: int) -> Counter[str]:
    """A life of so many steps; how much of what happened."""
    async with FakeFeed() as first, FakeFeed() as second:
        house = House(folder, {"up": first, "second": second})
        for name, upstream in house.upstreams.items():
            upstream.add(make_nupkg("Acme.A", "1.0.0", description=said_by(name)))
            upstream.add(make_nupkg(f"Only.{name}", "1.0.0", description=said_by(name)))
        await house.proxy.start()
        try:
            chance = random.Random(seed)
            for _ in range(steps):
                await house.step(chance)
            return house.seen
        finally:
            await house.proxy.stop()


@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
async def test_nobody_reads_what_is_not_theirs(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    seen = await live(tmp_path_factory.mktemp("life") / "cache", seed, 60)
    assert seen["refused"] > 0


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_nobody_ever_reads_what_is_not_theirs(tmp_path: Path) -> None:
    seen = await live(tmp_path / "cache", 11, STEPS)
    assert min(seen["read"], seen["refused"]) > 300
    assert seen["restart"] > 5
