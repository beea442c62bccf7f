"""Rules say which versions exist for one feed: the first that matches a version decides."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from nugetproxy.nuget.identity import invariant_lower
from nugetproxy.nuget.licenses import Licenses
from nugetproxy.nuget.moments import moment, span_text
from nugetproxy.nuget.synthesis.ranges import is_within
from nugetproxy.nuget.version import Version

SEVERITIES: Final = ("low", "moderate", "high", "critical")
"""By number, as VulnerabilityInfo has them."""
NOT_DEPRECATED: Final = "null"


class Action(StrEnum):
    """What becomes of a version that a rule matches."""

    DENY = "deny"
    WARN = "warn"
    ALLOW = "allow"


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What rules look at of one version; None: nobody has said it."""

    source: str = ""
    """Which source it comes from; empty where nobody knows."""
    date: float | None = None
    """When it came into the world, in seconds since the epoch."""
    spared: bool = False
    """It is held, or was served before: without a date, it counts as old enough."""
    listed: bool | None = None
    deprecation: str | None = None
    """JSON as upstream has it; ``NOT_DEPRECATED`` where upstream says that there is none."""
    severity: int | None = None
    """Of the worst advisory that is known of it, as a place in ``SEVERITIES``; None: of none."""
    advisories: frozenset[str] = frozenset()
    """URLs of the advisories that VulnerabilityInfo has of it."""
    withdrawn: bool = False
    """Upstream had it, and neither lists it nor registers it any more."""
    license: str | None = None
    """SPDX expression; empty where the package states none."""

    @property
    def is_deprecated(self) -> bool:
        """Whether upstream says so."""
        return self.deprecation not in {None, NOT_DEPRECATED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule; all of its conditions must hold. Spans in seconds, moments in seconds since the epoch."""

    name: str
    action: Action = Action.DENY
    reason: str = ""
    """The sentence that people read."""
    ids: tuple[str, ...] = ()
    """Patterns, an id or a prefix before ``*``; every id where there are none."""
    versions: str = ""
    """A range as NuGet writes it; every version where it is empty."""
    sources: tuple[str, ...] = ()
    until: float | None = None
    dry_run: bool = False
    min_age: float | None = None
    """Matches what is younger."""
    advisory_bypass: bool = True
    """What fixes a known advisory is not too young."""
    max_severity: int | None = None
    """Matches what has a worse advisory."""
    withdrawn: bool = False
    deprecated: bool = False
    unlisted: bool = False
    prerelease: bool = False
    licenses: Licenses | None = None

    def is_about(self, id_: str) -> bool:
        """Whether its patterns match an id (lower case)."""
        return not self.ids or any(_matches(pattern, id_) for pattern in self.ids)

    @property
    def is_unconditional(self) -> bool:
        """Whether it decides about every version of the ids that it is about, for ever."""
        passing = self.versions or self.prerelease or self.dry_run or self.until is not None
        return not passing and not self.needs_dossier

    @property
    def needs_dossier(self) -> bool:
        """Whether id and version alone do not tell if it matches."""
        return self.needs_license or bool(
            self.sources
            or self.min_age is not None
            or self.max_severity is not None
            or self.withdrawn
            or self.deprecated
            or self.unlisted
        )

    @property
    def is_cooldown(self) -> bool:
        """Whether it looks at nothing but ids, versions, ages."""
        others = self.sources or self.withdrawn or self.deprecated or self.unlisted
        return self.min_age is not None and self.max_severity is None and not self.needs_license and not others

    @property
    def needs_advisories(self) -> bool:
        """Whether it looks at what VulnerabilityInfo says."""
        return self.max_severity is not None or (self.min_age is not None and self.advisory_bypass)

    @property
    def needs_license(self) -> bool:
        """Whether it looks into the nuspec."""
        return self.licenses is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the rules say of one version at one instant."""

    rule: Rule | None = None
    """The one that decides; None where none matches."""
    why: str = ""
    """What it has matched by, in words."""
    date: float | None = None
    """Of the version, as far as it is known."""
    passes_at: float | None = None
    """When the rule will not match any more, if nothing but time changes."""
    passed_at: float | None = None
    """When a rule has ended to match it, by time alone."""
    tried: tuple[tuple[Rule, str], ...] = ()
    """Rules on trial that would have decided, each with what it has matched by."""

    @property
    def action(self) -> Action:
        """What becomes of the version."""
        return Action.ALLOW if self.rule is None else self.rule.action

    @property
    def visible(self) -> bool:
        """Whether the version exists for the feed."""
        return self.action is not Action.DENY

    def sentence(self, feed: str, what: str) -> str:
        """For whoever asks for ``what`` (an id with its version) in a feed; empty where there is nothing to say."""
        if self.rule is None or self.rule.action is Action.ALLOW:
            return ""
        word = "denied" if self.rule.action is Action.DENY else "marked"
        passes = f" It passes at {moment(self.passes_at)}." if self.passes_at is not None else ""
        reason = self.rule.reason.strip()
        reason = f" {reason}{'' if reason[-1:] in '.!?' else '.'}" if reason else ""
        why = f": {self.why}" if self.why else ""
        return f"{what} is {word} by the rule {self.rule.name!r} of the feed {feed!r}{why}.{reason}{passes}"


ALLOWED: Final = Verdict()


@dataclass(frozen=True, slots=True)
class Instant:
    """When rules are applied, in seconds since the epoch."""

    present: float
    horizon: float | None = None
    """For a feed as it was: nothing that came into the world later exists."""

    @property
    def seen_from(self) -> float:
        """The moment that ages are counted to."""
        return self.present if self.horizon is None else min(self.present, self.horizon)


def judge_all(
    rules: Sequence[Rule], id_: str, known: Mapping[Version, Traits], at: Instant
) -> Mapping[Version, Verdict]:
    """The verdict on each version of an id (lower case); ``known`` are all that there are.

    A fix is not too young: what has not all the advisories that the newest visible version below it has. A stable
    version is compared with stable ones only, as nobody is led to a prerelease by it.
    """
    about = rules_about(rules, id_)
    found: dict[Version, Verdict] = {}
    newest: Traits | None = None
    stable: Traits | None = None
    for version in sorted(known):
        traits = known[version]
        below = newest if version.is_prerelease else stable
        verdict = judge(about, version, traits, at, fixes=below is not None and _fixes(below, traits))
        found[version] = verdict
        if verdict.visible:
            newest = traits
            stable = stable if version.is_prerelease else traits
    return MappingProxyType(found)


def rules_about(rules: Iterable[Rule], id_: str) -> tuple[Rule, ...]:
    """Those that may decide about versions of an id (lower case): none behind one that matches them all."""
    found: list[Rule] = []
    for rule in rules:
        if rule.is_about(id_):
            found.append(rule)
            if rule.is_unconditional:
                break
    return tuple(found)


def judge(rules: Iterable[Rule], version: Version, traits: Traits, at: Instant, *, fixes: bool = False) -> Verdict:
    """The verdict of rules about the version's id; ``fixes`` says that it fixes a known advisory of an older one."""
    if at.horizon is not None and (traits.date is None or traits.date > at.horizon):
        dated = f"published at {moment(traits.date)}, after" if traits.date is not None else "undated, so not known at"
        return Verdict(rule=AS_OF, why=f"{dated} {moment(at.horizon)}", date=traits.date)
    tried: list[tuple[Rule, str]] = []
    passed: list[float] = []
    for rule in rules:
        why = _why(rule, version, traits, at, fixes=fixes)
        if why is None:
            if (end := _passed(rule, version, traits, at)) is not None:
                passed.append(end)
            continue
        if rule.dry_run:
            tried.append((rule, why))
            continue
        return Verdict(
            rule=rule,
            why=why,
            date=traits.date,
            passes_at=_passes_at(rule, traits, at),
            passed_at=max(passed, default=None),
            tried=tuple(tried),
        )
    return replace(ALLOWED, date=traits.date, passed_at=max(passed, default=None), tried=tuple(tried))


AS_OF: Final = Rule(name="asof")
"""Denies what did not exist yet."""


def changes_at(rules: Iterable[Rule], verdicts: Iterable[Verdict], at: Instant) -> float:
    """The first moment (infinite: none) after ``at`` from which time alone may have changed one of the verdicts."""
    ends = [verdict.passes_at for verdict in verdicts if verdict.passes_at is not None]
    ends += [rule.until for rule in rules if rule.until is not None]
    return min((end for end in ends if end > at.present), default=math.inf)


def _fixes(below: Traits, traits: Traits) -> bool:
    return bool(below.advisories - traits.advisories)


def _matches(pattern: str, id_: str) -> bool:
    lower = invariant_lower(pattern)
    return id_.startswith(lower[:-1]) if lower.endswith("*") else id_ == lower


def _concerns(rule: Rule, version: Version, traits: Traits, at: Instant) -> bool:
    """Whether a rule is in force for a version, its conditions aside."""
    if rule.until is not None and at.present >= rule.until:
        return False
    if rule.versions and not is_within(rule.versions, version):
        return False
    # Whose version it is must not stay open to its advantage.
    unknown = not traits.source and rule.action is Action.DENY
    return not rule.sources or unknown or traits.source in rule.sources


def _why(rule: Rule, version: Version, traits: Traits, at: Instant, *, fixes: bool) -> str | None:
    """What a rule matches a version by, empty where it has no conditions; None where it does not match."""
    if not _concerns(rule, version, traits, at):
        return None
    words: list[str] = []
    if rule.min_age is not None:
        if not _is_young(rule.min_age, traits, at) or (fixes and rule.advisory_bypass):
            return None
        unknown = "nobody knows when it was published"
        published = unknown if traits.date is None else f"published at {moment(traits.date)}"
        words.append(f"younger than {span_text(rule.min_age)} ({published})")
    others = _conditions(rule, version, traits)
    if not all(holds for holds, _ in others):
        return None
    return ", ".join((*words, *(word for _, word in others)))


def _conditions(rule: Rule, version: Version, traits: Traits) -> list[tuple[bool, str]]:
    """Each condition of a rule that age has no part in: whether it holds, in words."""
    found: list[tuple[bool, str]] = []
    if rule.max_severity is not None:
        worst = traits.severity
        word = f"it has a known advisory of severity {SEVERITIES[worst]}" if worst is not None else ""
        found.append((worst is not None and worst > rule.max_severity, word))
    if rule.withdrawn:
        found.append((traits.withdrawn, "upstream has withdrawn it"))
    if rule.deprecated:
        found.append((traits.is_deprecated, "it is deprecated"))
    if rule.unlisted:
        found.append((traits.listed is False, "it is unlisted"))
    if rule.prerelease:
        found.append((version.is_prerelease, "it is a prerelease"))
    if rule.licenses is not None:
        stated = traits.license
        minded = stated is not None and rule.licenses.minds(stated)
        found.append((minded, f"its licence is {stated}" if stated else "it states no licence expression"))
    return found


def _is_young(min_age: float, traits: Traits, at: Instant) -> bool:
    if traits.date is None:
        return not traits.spared
    return at.seen_from - traits.date < min_age


def _passed(rule: Rule, version: Version, traits: Traits, at: Instant) -> float | None:
    """When a rule that does not match has ended to do so, by time alone."""
    if rule.min_age is None or traits.date is None or at.horizon is not None:
        return None
    end = traits.date + rule.min_age
    return end if end <= at.present and _concerns(rule, version, traits, at) else None


def _passes_at(rule: Rule, traits: Traits, at: Instant) -> float | None:
    ends = [rule.until] if rule.until is not None else []
    if rule.min_age is not None and traits.date is not None and at.horizon is None:
        ends.append(traits.date + rule.min_age)
    return min(ends, default=None)
