"""Rules say which versions exist for one feed."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from msgspec import Struct

from nugetproxy.nuget.identity import invariant_lower
from nugetproxy.nuget.licenses import Licenses
from nugetproxy.nuget.moments import moment

SEVERITIES: Final = ("low", "moderate", "high", "critical")
"""By number, as VulnerabilityInfo has them."""
NOT_DEPRECATED: Final = "null"
"""JSON, in place of a deprecation."""


def severity_place(stated: object) -> int | None:
    """A severity, as upstream wrote its number, as a place in ``SEVERITIES``; None for what is no such number."""
    text = str(stated)
    return min(int(text[:9]), len(SEVERITIES) - 1) if text.isascii() and text.isdigit() else None


class Action(StrEnum):
    """What becomes of a version that a rule matches."""

    DENY = "deny"
    WARN = "warn"
    ALLOW = "allow"


class Traits(Struct, frozen=True, kw_only=True):
    """What rules look at of one version; None: nobody has said it."""

    source: str = ""
    """Which source it comes from; empty where nobody knows."""
    date: float | None = None
    """When it came into the world, in seconds since the epoch."""
    sighted: bool = False
    """Nobody says that: the date is when this proxy first saw it."""
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


class Rule(Struct, frozen=True, kw_only=True):
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


class Verdict(Struct, frozen=True, kw_only=True):
    """What the rules say of one version at one instant."""

    rule: Rule | None = None
    """The one that decides; None where none matches."""
    why: str = ""
    """What it has matched by, in words."""
    date: float | None = None
    """Of the version, as far as it is known."""
    sighted: bool = False
    """As the date of its ``Traits``."""
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
        return self.rule is None or self.rule.action is not Action.DENY

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


class Instant(Struct, frozen=True):
    """When rules are applied, in seconds since the epoch."""

    present: float
    horizon: float | None = None
    """For a feed as it was: nothing that came into the world later exists."""

    @property
    def seen_from(self) -> float:
        """The moment that ages are counted to."""
        return self.present if self.horizon is None else min(self.present, self.horizon)


def dated(date: float, *, sighted: bool) -> str:
    """The date of a version, in words."""
    return f"{'first seen here' if sighted else 'published'} at {moment(date)}"


def _matches(pattern: str, id_: str) -> bool:
    lower = invariant_lower(pattern)
    return id_.startswith(lower[:-1]) if lower.endswith("*") else id_ == lower
