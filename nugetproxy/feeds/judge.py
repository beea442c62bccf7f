"""Judge says which versions of an id exist for one feed now, for all that the feed answers."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Final

from cachetools import LRUCache
from msgspec import Struct, field
from msgspec.structs import replace

from nugetproxy.clock import Clock
from nugetproxy.engine.standing import Validity
from nugetproxy.feeds.dossiers import Dossier, Dossiers
from nugetproxy.feeds.kept_pages import digest_of
from nugetproxy.feeds.shown import Shown
from nugetproxy.nuget.judging import AS_OF, changes_at, judge, judge_all, rules_about
from nugetproxy.nuget.rules import Instant, Rule, Traits, Verdict
from nugetproxy.nuget.version import Version

REMEMBERED: Final = 8192
MANY: Final = 300
"""Versions that are judged in some milliseconds."""
DOCUMENTS: Final = 64
"""Documents of one id of which it is remembered that all of their versions exist."""
MOST_VERDICTS: Final = 200_000
"""That are in memory; some 40 MiB."""
MOST_RELOADS: Final = 4096
SETTLED_SECONDS: Final = 2.0
"""What was learnt so long ago may be learnt anew for what is not in it; as long as what is stored is in memory."""


class Ruling(Struct, kw_only=True):
    """The verdicts on the versions of one id."""

    id: str
    rules: tuple[Rule, ...]
    """Those that are about the id."""
    at: Instant
    verdicts: Mapping[Version, Verdict] = field(default_factory=dict)
    dossier: Dossier | None = None
    minds_licenses: bool = False
    until: float = math.inf
    """Wall time at which time alone changes one of them."""
    changed: float = -math.inf
    """The last wall time at which time alone has changed one of them."""
    digest: str = ""
    """Equal for equal rulings, whoever made them."""
    validity: Validity = field(default_factory=Validity)
    _alone: LRUCache[Version, Verdict] = field(default_factory=lambda: LRUCache(REMEMBERED))
    _whole: dict[Hashable, bool] = field(default_factory=dict)
    shown: dict[Hashable, Shown] = field(default_factory=dict)
    """What it has left of the answer to a question."""
    unmarked: set[str] = field(default_factory=set)
    """Versions in URL form that exist, with nothing to be said of them; known to be such once they were asked for."""

    @property
    def again(self) -> float:
        """Monotonic time from which it may be another."""
        return self.dossier.until if self.dossier is not None else math.inf

    def lacks_date(self, version: Version) -> bool:
        """Whether a version does not exist for being too young, or too late, while nobody says since when it does."""
        verdict, dossier = self.of(version), self.dossier
        if verdict.visible or verdict.rule is None or dossier is None:
            return False
        by_date = verdict.rule is AS_OF or verdict.rule.min_age is not None
        return by_date and (version in dossier.sighted or version not in self.verdicts)

    def remember(self, question: Hashable, shown: Shown) -> None:
        """What it has left of the answer to a question."""
        if len(self.shown) >= DOCUMENTS:
            self.shown.clear()
        self.shown[question] = shown

    def leaves_whole(self, document: Hashable) -> bool | None:
        """Whether all that a document names exists; None where that was not looked at."""
        return self._whole.get(document)

    def look_at(self, document: Hashable, named: Iterable[Version]) -> bool:
        """The same, from what it names."""
        if len(self._whole) >= DOCUMENTS:
            self._whole.clear()
        whole = self._whole[document] = all(self.of(version).visible for version in named)
        return whole

    def of(self, version: Version) -> Verdict:
        """On one version; of what nobody has said anything about, nothing speaks for it."""
        known: Verdict | None = self.verdicts.get(version) or self._alone.get(version)
        if known is None:
            known = self._alone[version] = judge(self.rules, version, Traits(), self.at)
        return known

    def looks_at_license(self, version: Version) -> bool:
        """Whether a rule about licences stands before the one that decides about a version."""
        decides = self.of(version).rule
        if decides is AS_OF:
            return False
        before = self.rules if decides is None else self.rules[: self.rules.index(decides)]
        return any(rule.needs_license for rule in before)

    def knows(self, version: Version) -> bool:
        """Whether it was made with the version in sight."""
        return self.dossier is None or version in self.verdicts


class _Rulings(LRUCache[str, Ruling]):
    """Those that count, by id; one that is pushed out does so no longer, as nobody would know when another one does."""

    def popitem(self) -> tuple[str, Ruling]:
        """Push one out."""
        id_, ruling = super().popitem()
        ruling.validity.ended = True
        return id_, ruling


class Judge:
    """The rules of one feed, applied to dossiers."""

    def __init__(
        self, feed: str, rules: Sequence[Rule], dossiers: Dossiers, clock: Clock, horizon: float | None = None
    ) -> None:
        """``horizon``: the wall time that the feed is shown as it was at."""
        self.feed = feed
        self.rules = tuple(rules)
        self.horizon = horizon
        self._dossiers = dossiers
        self._clock = clock
        self._known = _Rulings(MOST_VERDICTS, lambda one: 1 + len(one.verdicts))
        self._licenses: LRUCache[Hashable, str] = LRUCache(REMEMBERED)
        self._reloaded: LRUCache[Hashable, Dossier | None] = LRUCache(MOST_RELOADS)

    def at(self, horizon: float) -> Judge:
        """The same rules for the feed as it was at ``horizon``."""
        earlier = horizon if self.horizon is None else min(horizon, self.horizon)
        return Judge(self.feed, self.rules, self._dossiers, self._clock, earlier)

    async def ruling(self, id_: str, *, named: Iterable[Version] = (), because: Hashable = None) -> Ruling:
        """Of an id (lower case). Where it does not know one of the versions that are ``named``, what is known of the
        id is learnt anew, once for each ``because`` (what names them).
        """
        found = self.known(id_) or await self._renewed(id_) or await self._make(id_, None)
        dossier = found.dossier
        settled = dossier is not None and self._clock.monotonic() >= dossier.made + SETTLED_SECONDS
        if settled and any(not found.knows(version) for version in named) and (id_, because) not in self._reloaded:
            self._reloaded[id_, because] = None
            found = await self._make(id_, dossier)
        return found

    def known(self, id_: str) -> Ruling | None:
        """The ruling of an id (lower case), if it need not be made anew."""
        known: Ruling | None = self._known.get(id_)
        if known is None or self._clock.now() >= known.until:
            return None
        if known.dossier is not None and not self._dossiers.is_fresh(known.dossier):
            return None
        return known

    async def _renewed(self, id_: str) -> Ruling | None:
        known: Ruling | None = self._known.get(id_)
        renewed = known is not None and known.dossier is not None and await self._dossiers.renewed(known.dossier)
        return self.known(id_) if renewed else None

    def forget(self) -> None:
        """What is stored is another: learn anew what is known of each id."""
        self._dossiers.forget()

    def outdate(self, id_: str) -> None:
        """As ``Dossiers.outdate``."""
        self._dossiers.outdate(id_)

    async def _make(self, id_: str, older: Dossier | None) -> Ruling:
        """Anew, with what is known of the id now; where that is still ``older``, with what is learnt."""
        about, dossier = rules_about(self.rules, id_), None
        if self.horizon is not None or any(rule.needs_dossier for rule in about):
            dossier = await self._dossiers.of(id_, exact=self.horizon is not None, older=older)
        if dossier is not None and len(dossier.traits) > MANY:
            ruling = await asyncio.to_thread(self._made, id_, about, dossier)
        else:
            ruling = self._made(id_, about, dossier)
        self._forget(id_)
        self._known[id_] = ruling
        return ruling

    def _forget(self, id_: str) -> None:
        """What was ruled of an id counts no longer, nor what was shown by it."""
        outdated: Ruling | None = self._known.pop(id_, None)
        if outdated is not None:
            outdated.validity.ended = True

    def _made(self, id_: str, about: tuple[Rule, ...], dossier: Dossier | None) -> Ruling:
        at = Instant(self._clock.now(), self.horizon)
        traits = self._licensed(id_, about, dossier.traits) if dossier is not None else {}
        verdicts = judge_all(about, id_, traits, at)
        return Ruling(
            id=id_,
            rules=about,
            at=at,
            verdicts=verdicts,
            dossier=dossier,
            minds_licenses=any(rule.needs_license for rule in about),
            until=changes_at(about, verdicts.values(), at),
            changed=max((one.passed_at or -math.inf for one in verdicts.values()), default=-math.inf),
            digest=_digest(about, verdicts, at),
        )

    def assume(self, id_: str, traits: Mapping[Version, Traits]) -> Mapping[Version, Verdict]:
        """The verdicts on versions of an id (lower case), if this is all that there is to know of them."""
        at = Instant(self._clock.now(), self.horizon)
        return judge_all(rules_about(self.rules, id_), id_, traits, at)

    def lets_pass(self, id_: str, version: Version, at_latest: float | None) -> bool:
        """Whether a version exists for all that can be known, if only it came into the world by that time."""
        about = rules_about(self.rules, id_)
        if any(rule.needs_dossier and not rule.is_cooldown for rule in about):
            return False
        at = Instant(self._clock.now(), self.horizon)
        return judge(about, version, Traits(date=at_latest), at).visible

    # --- licences, which lie in packages ---

    def wants_license(self, ruling: Ruling, version: Version) -> bool:
        """Whether the nuspec of a version must be looked at before it is known which rule decides."""
        if not ruling.minds_licenses or not ruling.looks_at_license(version):
            return False
        known = ruling.dossier.traits.get(version, Traits()).license if ruling.dossier is not None else None
        return known is None and self._package(ruling.id, version) not in self._licenses

    def learn_license(self, id_: str, version: Version, expression: str) -> None:
        """The nuspec of a version states this one, empty for none."""
        self._licenses[self._package(id_, version)] = expression
        self._forget(id_)

    def _licensed(
        self, id_: str, about: tuple[Rule, ...], traits: Mapping[Version, Traits]
    ) -> Mapping[Version, Traits]:
        if not any(rule.needs_license for rule in about):
            return traits
        learnt = self._licenses
        return {
            version: replace(one, license=learnt.get(self._package(id_, version))) if one.license is None else one
            for version, one in traits.items()
        }

    def _package(self, id_: str, version: Version) -> Hashable:
        """Other bytes may come in its place once what is known was forgotten."""
        return (id_, version, self._dossiers.forgotten)


def _digest(rules: tuple[Rule, ...], verdicts: Mapping[Version, Verdict], at: Instant) -> str:
    in_force = tuple(rule for rule in rules if rule.until is None or at.present < rule.until)
    hidden = (version.url for version, one in verdicts.items() if not one.visible)
    return digest_of((in_force, at.horizon, len(verdicts), *hidden))
