"""Whatever the feed, its rules and the instant: every surface shows the same versions, those of a ten-line model."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.fakes.clock import FakeClock
from tests.fakes.feed import FakeFeed
from tests.fakes.feed_packages import is_prerelease, sort_key
from tests.fakes.packages import make_nupkg
from tests.rules.conftest import ORDINARY, Shop, StartShop, ago
from tests.rules.test_surfaces import FILES, file_of

DAY = 86400.0
IDS = ("acme.a", "acme.b", "contoso.a")
VERSIONS = ("1.0.0", "1.0.1", "1.1.0-rc.1", "1.1.0", "2.0.0", "2.1.0-beta")
STEPS = 5
QUICK = {kind: {"fresh": "1s", "refresh": "0s"} for kind in ("search", "autocomplete", "catalog", "catalog_page")}
LISTS = {kind: {"refresh": "0s"} for kind in ("versions", "registration", "registration_page", "registration_leaf")}


@dataclass(frozen=True, slots=True)
class Known:
    """One version of the feed."""

    born: float
    listed: bool
    holes: frozenset[str]
    worst: int


@dataclass(slots=True)
class World:
    """A feed with rules, as a test's own sense tells it."""

    rules: list[dict[str, Any]]
    versions: dict[str, dict[str, Known]] = field(default_factory=dict)

    def exists(self, id: str, version: str, now: float) -> bool:
        """The model."""
        mine, one, pre = self.versions[id], self.versions[id][version], is_prerelease(version)
        lower = [v for v in mine if sort_key(v) < sort_key(version) and (pre or not is_prerelease(v))]
        base = max((v for v in lower if self.exists(id, v, now)), key=sort_key, default=None)
        fixes = base is not None and bool(mine[base].holes - one.holes)
        for r in self.rules:
            about = not r.get("ids") or any(id.startswith(p.lower().rstrip("*")) for p in r["ids"])
            young = "min_age" not in r or now - one.born < int(r["min_age"][:-1]) * DAY
            saved = "min_age" in r and fixes and r.get("advisory_bypass", True)
            bad = "max_severity" not in r or one.worst > ("low", "moderate", "high").index(r["max_severity"])
            odd = (not r.get("prerelease") or pre) and (not r.get("unlisted") or not one.listed)
            if about and young and not saved and bad and odd and not r.get("dry_run") and now < r.get("end", now + 1):
                return bool(r.get("action", "deny") != "deny")
        return True

    def visible(self, id: str, now: float) -> list[str]:
        return [version for version in sorted(self.versions[id], key=sort_key) if self.exists(id, version, now)]


FACES: dict[str, Any] = {"readme": "# Acme", "icon": b"\x89PNG\r\n\x1a\n", "license_file": "MIT"}
HOLES = {"low": ("https://example.test/low", 0, "1.0.0"), "high": ("https://example.test/high", 2, "1.1.0")}
"""Of ids of acme: what, how bad, the last version that has it."""


def some_rule(number: int, dice: random.Random, now: float) -> dict[str, Any]:
    rule: dict[str, Any] = {"name": f"rule{number}", "action": dice.choice(("deny", "deny", "deny", "allow", "warn"))}
    if dice.random() < 0.5:
        rule["ids"] = [dice.choice(("Acme.*", "acme.a", "Contoso.*"))]
    if dice.random() < 0.7:
        rule |= {"min_age": dice.choice(("3d", "7d", "20d")), "advisory_bypass": dice.random() < 0.6}
    else:
        rule |= dice.choice(({"max_severity": "moderate"}, {"prerelease": True}, {"unlisted": True}))
    if dice.random() < 0.3:
        end = now + dice.choice((-DAY, 2 * DAY, 9 * DAY))
        rule |= {"until": datetime.fromtimestamp(end, UTC).isoformat(), "end": end}
    if dice.random() < 0.15:
        rule["dry_run"] = True
    return rule


class Walk:
    """A feed that goes on while time passes."""

    def __init__(self, seed: int, feed: FakeFeed, clock: FakeClock) -> None:
        self.dice = random.Random(seed)
        self.feed = feed
        self.clock = clock
        now = clock.now()
        self.world = World([some_rule(number, self.dice, now) for number in range(self.dice.randint(1, 4))])
        feed.vulnerabilities["base"] = {
            id: [{"url": url, "severity": worst, "versions": f"(, {last}]"} for url, worst, last in HOLES.values()]
            for id in IDS[:2]
        }
        for id in IDS:
            for version in self.dice.sample(VERSIONS, self.dice.randint(1, 4)):
                self.publish(id, version, self.dice.choice((0.5, 2.5, 5, 6.9, 15, 40)))

    def publish(self, id: str, version: str, days: float = 0.0) -> None:
        listed = self.dice.random() < 0.8
        at = ago(self.clock, days)
        self.feed.add(make_nupkg(id, version, **FACES), listed=listed, at=at)
        holes = [one for one in HOLES.values() if id != "contoso.a" and sort_key(version) <= sort_key(one[2])]
        known = Known(
            at.timestamp(), listed, frozenset(one[0] for one in holes), max((o[1] for o in holes), default=-1)
        )
        self.world.versions.setdefault(id, {})[version] = known

    def tables(self) -> list[dict[str, Any]]:
        return [{key: value for key, value in rule.items() if key != "end"} for rule in self.world.rules]

    async def step(self, shop: Shop) -> None:
        """Something happens; then what was known of it has become old enough to be asked for again."""
        what = self.dice.choice(("time", "time", "publish", "restart"))
        if what == "publish":
            id = self.dice.choice(IDS)
            missing = [version for version in VERSIONS if version not in self.world.versions[id]]
            if missing:
                self.publish(id, self.dice.choice(missing), self.dice.choice((0, 10)))
        elif what == "restart":
            await shop.proxy.restart()
        self.clock.advance(self.dice.choice((301, DAY / 2, DAY, 3 * DAY, 8 * DAY)))


async def assert_as_modelled(shop: Shop, walk: Walk) -> None:
    """Every surface with the model."""
    now = walk.clock.now()
    for id in IDS:
        versions = walk.world.versions[id]
        there = walk.world.visible(id, now)
        listed = [version for version in there if versions[version].listed]
        assert await shop.listed(id) == there, (id, walk.world)
        assert await shop.registered(id) == there, (id, walk.world)
        assert await shop.searched(id) == listed, (id, walk.world)
        assert await shop.completed(id) == listed, (id, walk.world)
        assert sorted(set(await shop.catalogued(id)), key=sort_key) == there, (id, walk.world)
        for again in ({}, ORDINARY):  # what is remembered of both
            assert await shop.listed(id, **again) == there, (id, walk.world)
            assert await shop.registered(id, **again) == there, (id, walk.world)
        for version in versions:
            await assert_all_files(shop, id, version, exists=version in there)


async def assert_as_modelled_offline(shop: Shop, walk: Walk) -> None:
    """Every surface that is made of what is held: all of it was got before there were rules."""
    for id, versions in walk.world.versions.items():
        there = walk.world.visible(id, walk.clock.now())
        listed = [version for version in there if versions[version].listed]
        for again in ({}, ORDINARY):
            assert await shop.listed(id, **again) == there, (id, walk.world)
            assert await shop.registered(id, **again) == there, (id, walk.world)
        assert await shop.searched(id) == await shop.completed(id) == listed, (id, walk.world)
        for version in versions:
            await assert_all_files(shop, id, version, exists=version in there)


async def assert_all_files(shop: Shop, id: str, version: str, *, exists: bool) -> None:
    """Whatever is asked for by id and version: there, or refused with a reason."""
    for file in FILES:
        for method in ("HEAD", "GET"):
            got = await shop.get(file_of(file, id, version), method)
            assert got.status == (200 if exists else 403), (file, method, id, version)
    part = await shop.package(id, version, headers={"Range": "bytes=0-9"})
    assert part.status == (206 if exists else 403)


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 6))])
async def test_every_surface_agrees_with_the_model_while_time_passes(
    start_shop: StartShop, feed: FakeFeed, clock: FakeClock, seed: int
) -> None:
    walk = Walk(seed, feed, clock)
    shop = await start_shop(*walk.tables(), policy=LISTS | QUICK)
    await assert_as_modelled(shop, walk)
    for _ in range(STEPS):
        await walk.step(shop)
        await assert_as_modelled(shop, walk)


@pytest.mark.parametrize("seed", [6, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (7, 8))])
async def test_every_surface_agrees_with_the_model_of_the_past(
    start_shop: StartShop, feed: FakeFeed, clock: FakeClock, seed: int
) -> None:
    walk = Walk(seed, feed, clock)
    walk.world.rules = []
    shop = await start_shop()
    for days in (0, 1, 4, 6, 10, 39, 41):
        at = ago(clock, days) + timedelta(seconds=1) if days else ago(clock, 0)
        then = Shop(shop.proxy, feed, f"/asof/{at.strftime('%Y-%m-%dT%H:%M:%SZ')}")
        for id, versions in walk.world.versions.items():
            there = [v for v in sorted(versions, key=sort_key) if versions[v].born <= at.timestamp()]
            listed = [version for version in there if versions[version].listed]
            assert await then.listed(id) == await then.registered(id) == there, (id, days, walk.world)
            assert await then.searched(id) == await then.completed(id) == listed, (id, days, walk.world)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [9, 10, 11])
async def test_every_surface_of_what_is_held_agrees_with_the_model_offline(
    start_shop: StartShop, feed: FakeFeed, clock: FakeClock, seed: int
) -> None:
    walk = Walk(seed, feed, clock)
    before = await start_shop()
    for id, versions in walk.world.versions.items():
        await before.registered(id)
        for version in versions:
            assert (await before.package(id, version)).status == 200
    index = await before.read("/v3/vulnerabilities/index.json")
    for page in index:
        await before.read(page["@id"])
    await before.proxy.stop()
    shop = await start_shop(*walk.tables(), upstream={"offline": True})
    asked = len(feed.requests)
    for days in (0, 1, 3, 8):
        clock.advance(days * DAY)
        await assert_as_modelled_offline(shop, walk)
    assert len(feed.requests) == asked, "nobody is asked"
