"""A market: feeds of several sources, with a model of what they must say."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from tests.aggregate.conftest import QUICK
from tests.fakes.clock import FakeClock
from tests.fakes.feed import FakeFeed
from tests.fakes.feed_packages import Held, is_prerelease, normalize, sort_key
from tests.fakes.packages import make_nupkg
from tests.fakes.proxy import Proxy
from tests.rules.conftest import ago

DAY: Final = 86400.0
SOURCES: Final = ("up", "out", "other")
"""The first is private."""
FEEDS: Final[dict[str, tuple[str, ...]]] = {
    "farm": ("up", "out"),
    "ruled": ("up", "out"),
    "open": ("out", "other"),
    "mapped": SOURCES,
}
RULED: Final = ("ruled", "mapped")
UNION: Final = {"sources": ["up", "out"], "union": True}
MAPPINGS: Final[tuple[dict[str, Any], ...]] = (
    {"Contoso.*": ["up"], "Shared.*": UNION, "*": ["up", "out", "other"]},
    {"Acme.*": ["out"], "*": ["up", "other"]},
    {},
)
IDS: Final = ("contoso.a", "acme.a", "shared.a", "new.a", "new.b")
HOMES: Final = {"contoso.a": ("up",), "acme.a": ("out", "other"), "shared.a": SOURCES}
"""Who has some versions of an id from the beginning."""
VERSIONS: Final = ("1.0.0", "1.1", "1.2.0-rc.1", "1.2.0-RC", "1.2.0+build.7", "2.0.0.0", "2.0.1.5", "3.0.0-beta")
HOLES: Final = {
    "https://example.test/low": (0, "(, 1.1.0]"),
    "https://example.test/high": (1, "[1.1.0, 1.2.0]"),
}
"""How bad, which versions."""
SHORT: Final = {"fresh": "1s", "refresh": "0s", "absent": "1s"}
WORDS: Final = "index versions registration registration_page registration_leaf search autocomplete vulnerabilities"
POLICY: Final = dict.fromkeys((*WORDS.split(), "vulnerability_page"), SHORT)
EXPIRED: Final = 7 * DAY
"""So long an absence counts while upstream fails."""

Said = frozenset[str] | str | None
"""The versions that a source says it has; None: none, surely; "stale": none, when it was asked last; "fails"."""


class World:
    """A proxy of four feeds of three sources, with what happens to them."""

    def __init__(self, folder: Path, feeds: Mapping[str, FakeFeed], chance: random.Random) -> None:
        self.clock = FakeClock()
        self.feeds = feeds
        self.chance = chance
        self.offline: frozenset[str] = frozenset()
        self.known = False
        """Whether lists of what is offline name all that was ever known."""
        self.down: dict[str, str] = {}
        """Source -> how it fails."""
        self.rules: list[dict[str, Any]] = []
        self.mapping = MAPPINGS[0]
        self.told: dict[tuple[str, str], tuple[frozenset[str], float]] = {}
        """(source, id) -> what it has said when it was asked last, when that was."""
        self.ours: dict[tuple[str, str, str], set[bytes]] = {}
        """(source, id, version) -> the packages that it ever was."""
        self.proxy = Proxy(feeds["up"].index_url, folder, clock=self.clock, **self.tables())

    def tables(self) -> dict[str, Any]:
        """The configuration."""
        lists = "known" if self.known else "held"
        own = {
            name: {**QUICK, "private": name == "up", "offline": name in self.offline, "offline_versions": lists}
            for name in SOURCES
        }
        others = {name: {"url": self.feeds[name].index_url, **own[name]} for name in SOURCES[1:]}
        tables: dict[str, dict[str, Any]] = {name: {"sources": list(sources)} for name, sources in FEEDS.items()}
        for name in RULED:
            tables[name]["rules"] = [{key: rule[key] for key in rule if key != "end"} for rule in self.rules]
        tables["mapped"]["mapping"] = self.mapping
        return {"upstream": own["up"], "upstreams": others, "feeds": tables, "policy": POLICY}

    def publish(self, source: str, id: str, version: str, days: float, *, listed: bool = True) -> None:
        """A version that this source never had, of this age."""
        mine = self.ours.setdefault((source, id, url_of(version)), set())
        if not mine:
            package = make_nupkg(id.title(), version, description=source)
            mine.add(package)
            self.feeds[source].add(package, listed=listed, at=ago(self.clock, days))

    # --- what there is ---

    def exact(self, source: str, id: str, version: str) -> Held | None:
        return self.feeds[source].shelf.exact(id, version)

    def has(self, source: str, id: str) -> frozenset[str]:
        return frozenset(one.url_version for one in self.feeds[source].shelf.packages.get(id, ()))

    def held(self, source: str, id: str) -> frozenset[str]:
        folder = self.proxy.directory / source / "packages" / id
        return frozenset(at.parent.name for at in folder.glob("*/*.sha512"))

    def calm(self, feed: str) -> bool:
        """Whether all of its sources answer."""
        return not any(one in self.down or one in self.offline for one in FEEDS[feed])

    # --- the model: who has which version ---

    def says(self, source: str, id: str) -> Said:
        """What the proxy may believe of a source now."""
        held, (known, at) = self.held(source, id), self.told.get((source, id), (frozenset[str](), -EXPIRED))
        if source in self.offline:
            return (known if self.known else None) or held or None
        if source not in self.down:
            return self.has(source, id) or None
        return known or held or ("stale" if self.clock.now() - at < EXPIRED else "fails")

    def mapped(self, feed: str, id: str) -> tuple[tuple[str, ...], bool]:
        """The sources that may have an id, and whether all of them together."""
        if feed != "mapped" or not self.mapping:
            return FEEDS[feed], False
        pattern = max((one for one in self.mapping if id.startswith(one.lower().rstrip("*"))), key=len)
        wanted = self.mapping[pattern]
        names = wanted["sources"] if isinstance(wanted, dict) else wanted
        return tuple(one for one in FEEDS[feed] if one in names), isinstance(wanted, dict)

    def asked(self, feed: str, id: str) -> tuple[tuple[str, ...], bool]:
        """Those that count, and whether the private one decides about the others."""
        mapped, union = self.mapped(feed, id)
        if union or "up" not in mapped:
            return mapped, False
        claimed = "up" in self.proxy.app.claims.of(id)
        return (("up",), False) if claimed else (mapped, len(mapped) > 1)

    def merged(self, feed: str, id: str, recorded: Mapping[str, str]) -> dict[str, str] | int:
        """Version -> its owner, else the status of the answer; ``recorded`` are the owners so far."""
        asked, guarded = self.asked(feed, id)
        said = {one: self.says(one, id) for one in asked}
        if guarded:
            first = said.pop("up")
            named_once = "up" in self.offline and bool(self.told.get(("up", id), (frozenset(), 0.0))[0])
            if isinstance(first, frozenset) or (first is None and named_once):
                asked, said = ("up",), {"up": first}
            elif first is not None and not any(one in said for one in recorded.values()):
                return 503
        if "fails" in said.values():
            return 503
        named = {source: one for source, one in said.items() if isinstance(one, frozenset)}
        found: dict[str, str] = {}
        for version in sorted(frozenset[str]().union(*named.values()), key=sort_key):
            owner = recorded.get(version, "")
            owner = owner if owner in asked else next(source for source, one in named.items() if version in one)
            if version in named.get(owner, ()):
                found[version] = owner
        return found if named else 404

    # --- the model: what rules leave of it ---

    def holes(self, feed: str, id: str, version: str) -> frozenset[str]:
        """The advisories of a version that the feed knows of."""
        pages = [self.feeds[source].vulnerabilities["base"] for source in FEEDS[feed]]
        advised = {one["url"] for page in pages for one in page.get(id, ())}
        return frozenset(url for url, (_, where) in HOLES.items() if url in advised and is_within(version, where))

    def visible(self, feed: str, owned: Mapping[str, str], id: str, horizon: float | None = None) -> list[str]:
        """The versions that exist for a feed, at another time where one is said; it has all of ``owned``, ascending."""
        left: list[str] = []
        rules = self.rules if feed in RULED else ()
        for version, source in owned.items():
            one, holes = self.exact(source, id, version), self.holes(feed, id, version)
            assert one is not None
            stable = [other for other in left if not is_prerelease(other)]
            below = (left if is_prerelease(version) else stable)[-1:]
            fixes = any(self.holes(feed, id, other) - holes for other in below)
            worst = max((HOLES[url][0] for url in holes), default=-1)
            deprecated = version in self.feeds[source].registration_extra.get(id, {})
            traits = {"unlisted": not one.listed, "deprecated": deprecated, "prerelease": is_prerelease(version)}
            born, now = one.instant.timestamp(), self.clock.now()
            age = (now if horizon is None else min(now, horizon)) - born
            rule = next((rule for rule in rules if _matches(rule, source, one, traits, worst, age, fixes, now)), {})
            if (horizon is None or born <= horizon) and rule.get("action", "allow") != "deny":
                left.append(version)
        return left

    def some_rule(self, number: int) -> dict[str, Any]:
        choice = self.chance.choice
        rule: dict[str, Any] = {"name": f"rule{number}", "action": choice(("deny", "deny", "allow", "warn"))}
        if choice((True, False)):
            rule["ids"] = [choice(("Acme.*", "shared.a", "Contoso.*", "new.*"))]
        conditions: Sequence[dict[str, Any]] = (
            {"min_age": choice(("3d", "7d", "20d")), "advisory_bypass": choice((True, False))},
            {"min_age": choice(("3d", "7d", "20d")), "advisory_bypass": False},
            {"max_severity": "low"},
            {"prerelease": True},
            {"unlisted": True},
            {"deprecated": True},
            {"sources": [choice(("up", "out"))]},
            {"versions": choice(("[1.1.0, 2.0.0)", "(, 1.2.0]", "[2.0.0, )"))},
        )
        rule |= choice(conditions)
        if self.chance.random() < 0.3:
            end = self.clock.now() + choice((-DAY, 2 * DAY, 9 * DAY))
            rule |= {"until": datetime.fromtimestamp(end, UTC).isoformat(), "end": end}
        return rule


def _matches(
    rule: Mapping[str, Any],
    source: str,
    one: Held,
    traits: Mapping[str, bool],
    worst: int,
    age: float,
    fixes: bool,
    now: float,
) -> bool:
    """Whether all conditions of a rule hold for a version."""
    conditions: Mapping[str, Callable[[Any], bool]] = {
        "ids": lambda ids: any(one.lower.startswith(pattern.lower().rstrip("*")) for pattern in ids),
        "end": lambda end: now < end,
        "min_age": lambda span: age < int(span[:-1]) * DAY and not (fixes and rule["advisory_bypass"]),
        "max_severity": lambda _: worst > 0,
        "versions": lambda where: is_within(one.url_version, where),
        "sources": lambda sources: source in sources,
        **{name: lambda _, name=name: traits[name] for name in traits},
    }
    return all(holds(rule[key]) for key, holds in conditions.items() if key in rule)


def is_within(version: str, where: str) -> bool:
    """Whether a range as NuGet writes it has a version."""
    low, high = (one.strip() for one in where[1:-1].split(","))
    key = sort_key(version)
    above = not low or key > sort_key(low) or (where[0] == "[" and key == sort_key(low))
    return above and (not high or key < sort_key(high) or (where[-1] == "]" and key == sort_key(high)))


def url_of(version: str) -> str:
    """As paths have it."""
    return normalize(version).lower()
