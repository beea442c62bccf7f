"""Judging finds the rule that decides about a version: the first that matches it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from msgspec.structs import replace

from nugetproxy.nuget.moments import moment, span_text
from nugetproxy.nuget.rules import ALLOWED, SEVERITIES, Action, Instant, Rule, Traits, Verdict, dated
from nugetproxy.nuget.synthesis.ranges import is_within
from nugetproxy.nuget.version import Version

AS_OF: Final = Rule(name="asof")
"""Denies what did not exist yet."""


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
        said = f"{_dated(traits)}, after" if traits.date is not None else "undated, so not known at"
        said = f"{said} {moment(at.horizon)}"
        return Verdict(rule=AS_OF, why=said, date=traits.date, sighted=traits.sighted)
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
            sighted=traits.sighted,
            passes_at=_passes_at(rule, traits, at),
            passed_at=max(passed, default=None),
            tried=tuple(tried),
        )
    known = replace(ALLOWED, date=traits.date, sighted=traits.sighted)
    return replace(known, passed_at=max(passed, default=None), tried=tuple(tried))


def changes_at(rules: Iterable[Rule], verdicts: Iterable[Verdict], at: Instant) -> float:
    """The first moment (infinite: none) after ``at`` from which time alone may have changed one of the verdicts."""
    ends = [verdict.passes_at for verdict in verdicts if verdict.passes_at is not None]
    ends += [rule.until for rule in rules if rule.until is not None]
    return min((end for end in ends if end > at.present), default=math.inf)


def _dated(traits: Traits) -> str:
    unknown = "nobody knows when it was published"
    return unknown if traits.date is None else dated(traits.date, sighted=traits.sighted)


def _fixes(below: Traits, traits: Traits) -> bool:
    return bool(below.advisories - traits.advisories)


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
        words.append(f"younger than {span_text(rule.min_age)} ({_dated(traits)})")
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
