"""Feeds of several sources to which everything happens that changes what they have: a model says what they must say."""

from __future__ import annotations

import gzip
import json
import random
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Final
from unittest.mock import patch

import pytest

from tests.aggregate.fate import ALL, HIVE, Fate
from tests.aggregate.market import FEEDS, HOMES, IDS, RULED, VERSIONS, url_of
from tests.fakes.asking import Got, ask
from tests.fakes.feed import FakeFeed
from tests.fakes.feed_packages import is_prerelease
from tests.rules.conftest import ORDINARY, ago

PAGED: Final = (
    "tests.fakes.feed_registration",
    "nugetproxy.nuget.synthesis.registration",
    "nugetproxy.nuget.merging.registration",
)


class Market(Fate):
    """What customers see of it."""

    def __init__(self, folder: Path, feeds: Mapping[str, FakeFeed], chance: random.Random) -> None:
        super().__init__(folder, feeds, chance)
        self.bodies: dict[str, bytes] = {}
        self.tags: dict[str, str] = {}

    # --- asking ---

    async def get(self, path: str) -> Got:
        """What is said, the same in all its forms; equal tags mean equal bytes."""
        usual = self.chance.choice(({}, ORDINARY["headers"]))
        got = await ask(self.proxy, path, headers=usual)
        assert got.status < 500 or got.status in {502, 503}, (path, got)
        await self.settle()
        self.seen[str(got.status)] += 1
        if got.status == 200:
            tag = got.headers["ETag"]
            assert self.bodies.setdefault(tag, got.body) == got.body, path
            before, self.tags[path] = self.tags.get(path, tag), tag
            again = await ask(self.proxy, path, headers={**usual, "If-None-Match": before})
            assert again.status == (304 if before == tag else 200), (path, before, tag, again)
            packed = await ask(self.proxy, path, headers={**usual, "Accept-Encoding": "gzip"})
            coded = packed.headers.get("Content-Encoding") == "gzip"
            assert (gzip.decompress(packed.body) if coded else packed.body) == got.body, path
            head = await ask(self.proxy, path, "HEAD", headers=usual)
            assert (head.status, head.headers["ETag"], head.headers["Content-Length"]) == (200, tag, str(len(got.body)))
        return got

    async def owners(self, feed: str, id: str) -> dict[str, str]:
        merged = self.proxy.app.feeds[feed].merged
        assert merged is not None
        return {version: one.source for version, one in (await merged.owners.of(id)).items()}

    async def leaves(self, got: Got) -> list[str]:
        """Of a registration, whose counts and bounds are right."""
        found: list[str] = []
        index = json.loads(got.body) if got.status == 200 else {"items": [], "count": 0}
        assert index["count"] == len(index["items"])
        for item in index["items"]:
            page = item
            if "items" not in item:
                more = await self.get(item["@id"].removeprefix(self.proxy.url))
                assert more.status == 200, (item, more)
                page = json.loads(more.body)
            named = [url_of(leaf["catalogEntry"]["version"]) for leaf in page["items"]]
            bounds = (named[0], named[-1], len(named))
            assert all((url_of(one["lower"]), url_of(one["upper"]), one["count"]) == bounds for one in (item, page))
            found += named
        return found

    # --- looking ---

    async def look(self, feed: str, id: str) -> None:
        """At everything that a feed says of an id; whoever fails may make it say less, never something else."""
        wanted = self.merged(feed, id, await self.owners(feed, id))
        got = await self.get(f"/{feed}/v3/content/{id}/index.json")
        told = (feed, id, wanted, got.status, got.body, self.down, self.offline, self.rules, self.log[-9:])
        owned = wanted if isinstance(wanted, dict) else {}
        if got.status in {502, 503} or wanted == 503:
            assert got.status in {502, 503} and wanted == 503, told
            return
        listed = list(json.loads(got.body)["versions"]) if got.status == 200 else []
        calm = self.calm(feed)
        if calm or feed not in RULED or not self.rules:
            assert listed == (self.visible(feed, owned, id) if calm else list(owned)), told
        else:
            self.are_old_enough(feed, id, listed, owned, told)
        await self.registered(feed, id, listed, owned, told)
        for version in self.chance.sample(listed, min(2, len(listed))):
            await self.package(feed, id, version, owned[version], told)
        await self.missing(feed, id, listed, owned, told)
        if calm:
            await self.searched(feed, id, listed, owned, told)
            await self.newest(feed, id, listed, owned, told)
        await self.earlier(feed, id, owned, told)

    def are_old_enough(self, feed: str, id: str, listed: list[str], owned: Mapping[str, str], told: object) -> None:
        """What is too young stays so, whoever is down, unless it was served before."""
        assert set(listed) <= set(owned), told
        simple = {"name", "action", "ids", "min_age", "advisory_bypass", "prerelease", "versions", "until", "end"}
        if all(set(rule) <= simple and not rule.get("advisory_bypass") for rule in self.rules):
            there = {version: source for version, source in owned.items() if self.exact(source, id, version)}
            shown = {version for version in listed if version in there} - set(self.visible(feed, there, id))
            assert all((owned[version], id, version) in self.got for version in shown), (shown, told)

    async def registered(self, feed: str, id: str, listed: list[str], owned: Mapping[str, str], told: object) -> None:
        """As it is listed."""
        got = await self.get(f"/{feed}/v3/{HIVE}/{id}/index.json")
        if got.status in {502, 503}:
            assert not self.calm(feed), (got, told)
            return
        found = await self.leaves(got)
        assert found == listed if self.calm(feed) else set(found) <= set(listed) or self.down, (found, told)
        if self.calm(feed):
            plain = await self.leaves(await self.get(f"/{feed}/v3/registration/semver1/{id}/index.json"))
            held = {version: self.exact(owned[version], id, version) for version in found}
            wanted = [version for version, one in held.items() if one and not one.semver2]
            assert plain == wanted or not wanted, (plain, told)  # that there are none any more wants to be said twice
        for version in found[:2]:
            leaf = await self.get(f"/{feed}/v3/{HIVE}/{id}/{version}.json")
            assert leaf.status == 200 or (leaf.status in {403, 502, 503} and self.down), (leaf, told)

    async def package(self, feed: str, id: str, version: str, owner: str, told: object) -> None:
        """Of the owner, or nobody's."""
        got = await self.get(f"/{feed}/v3/content/{id}/{version}/{id}.{version}.nupkg")
        if got.status == 200:
            assert got.body in self.ours[owner, id, version], (version, told)
            self.note(got.body)
        elif owner in self.offline:
            assert self.known and got.status == 404 and version not in self.held(owner, id), (version, got, told)
        else:
            refused = {403} if self.down.get(owner) == "403" else {502, 503}
            assert owner in self.down and got.status in refused, (version, got, told)

    async def missing(self, feed: str, id: str, listed: list[str], owned: Mapping[str, str], told: object) -> None:
        """What is not listed is not there, however it is spelled."""
        spelled = self.chance.choice(VERSIONS)
        version, text = url_of(spelled), spelled.replace("+", "%2B")
        if version in listed:
            return
        for path in (f"content/{id}/{version}/{id}.{version}.nupkg", f"package/{id.title()}/{text}",
                     f"content/{id.upper()}/{text.upper()}/{id.upper()}.{text.upper()}.nupkg"):  # fmt: skip
            got = await ask(self.proxy, f"/{feed}/v3/{path}")
            if got.status == 200:
                owner = (await self.owners(feed, id))[version]  # that lists it no more: what is held stays
                assert not (self.calm(feed) and version in owned), (path, told)
                assert owner in self.asked(feed, id)[0], (path, told)
                assert got.body in self.ours[owner, id, version], (path, told)
            elif self.calm(feed):
                denied = feed in RULED and self.rules
                assert got.status in ({403} if version in owned else {403, 404} if denied else {404}), (path, got, told)

    async def searched(self, feed: str, id: str, listed: list[str], owned: Mapping[str, str], told: object) -> None:
        """Nothing that is hidden, all that is listed; what another source than the owner has may be named, too."""
        got = await self.get(f"/{feed}/v3/query?q=packageid:{id}&{ALL}")
        hits = json.loads(got.body)["data"]
        named = [one["version"] for hit in hits for one in hit["versions"]]
        shown = [version for version in listed if self.is_listed(owned[version], id, version)]
        assert [hit["version"] for hit in hits] == named[-1:], (hits, told)
        assert set(shown) <= set(map(url_of, named)), (named, told)
        assert not set(map(url_of, named)) & (set(owned) - set(listed)), (named, told)
        assert set(map(url_of, named)) <= {one for source in self.asked(feed, id)[0] for one in self.has(source, id)}
        completed = json.loads((await self.get(f"/{feed}/v3/autocomplete?id={id}&{ALL}")).body)
        assert [url_of(version) for version in completed["data"]] == shown, (completed, told)

    def is_listed(self, source: str, id: str, version: str) -> bool:
        one = self.exact(source, id, version)
        return one is not None and one.listed

    async def newest(self, feed: str, id: str, listed: list[str], owned: Mapping[str, str], told: object) -> None:
        """Of those that exist."""
        got = await ask(self.proxy, f"/{feed}/v3/package/{id}")
        shown = [version for version in listed if self.is_listed(owned[version], id, version)]
        best = ([version for version in shown if not is_prerelease(version)] or shown or listed)[-1:]
        assert got.status == 200 if best else got.status in {403, 404}, (got, told)
        assert all(got.body in self.ours[owned[version], id, version] for version in best), (best, told)

    async def earlier(self, feed: str, id: str, owned: Mapping[str, str], told: object) -> None:
        """As it was."""
        at = ago(self.clock, self.chance.choice((0.1, 1, 5, 10, 20))).replace(microsecond=0)
        root = f"/{feed}/asof/{at.strftime('%Y-%m-%dT%H:%M:%SZ')}/v3"
        got = await self.get(f"{root}/content/{id}/index.json")
        listed = list(json.loads(got.body)["versions"]) if got.status == 200 else []
        if self.calm(feed):
            assert listed == self.visible(feed, owned, id, at.timestamp()), (at, listed, told)
            assert await self.leaves(await self.get(f"{root}/{HIVE}/{id}/index.json")) == listed, (at, told)
        held = [self.exact(owned[version], id, version) for version in listed]
        assert all(one.instant <= at for one in held if one is not None), (at, listed, told)


async def live(folder: Path, seed: int, steps: int) -> Counter[str]:
    """A life of so many steps; how much of what happened. Every other one has registrations of small pages."""
    async with FakeFeed() as up, FakeFeed() as out, FakeFeed() as other:
        market = Market(folder, {"up": up, "out": out, "other": other}, random.Random(seed))
        for id, source in ((id, source) for id, sources in HOMES.items() for source in sources):
            for version in market.chance.sample(VERSIONS, 3):
                market.publish(source, id, version, market.chance.choice((0.5, 2.5, 6.9, 15, 40)))
        await market.proxy.start()
        try:
            with ExitStack() as pages:
                for module in PAGED if seed % 2 else ():
                    pages.enter_context(patch.multiple(module, INLINED_BELOW=3, PAGE_LEAVES=2))
                for feed in FEEDS:
                    await market.get(f"/{feed}/v3/index.json")
                for _ in range(steps):
                    await market.change()
                    for _ in range(2):
                        await market.look(market.chance.choice(tuple(FEEDS)), market.chance.choice(IDS))
            return market.seen
        finally:
            await market.proxy.stop()


async def test_feeds_say_what_the_model_says(tmp_path: Path) -> None:
    seen = await live(tmp_path, 3, 6)
    assert seen["200"] > 50


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(10, 14))
async def test_whatever_happens_feeds_say_what_the_model_says(tmp_path: Path, seed: int) -> None:
    seen = await live(tmp_path, seed, 100)
    assert min(seen["200"], seen["404"]) > 50, seen
