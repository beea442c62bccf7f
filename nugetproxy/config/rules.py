"""Rules are the tables that say which versions exist for a feed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias

from nugetproxy.config.fields import Expiry, Names, Wait
from nugetproxy.config.section import Section
from nugetproxy.config.tables import Parsed
from nugetproxy.nuget.licenses import Licenses, is_license
from nugetproxy.nuget.mapping import check_pattern
from nugetproxy.nuget.rules import SEVERITIES, Action, Rule
from nugetproxy.nuget.synthesis.ranges import is_range

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_FORMS = frozenset({"allowed", "denied"})


def _pattern(value: Any) -> Any:
    if not isinstance(value, str):
        raise ValueError("must be text in quotes")  # noqa: TRY004 - what is told to an operator
    check_pattern(value)
    return value.strip()


def _name(value: Any) -> Any:
    if not isinstance(value, str) or _NAME.fullmatch(value) is None:
        raise ValueError("must be text, 1 to 64 of A-Z a-z 0-9 . _ - that begins with a letter or digit")
    return value


def _range(value: Any) -> Any:
    if value != "" and (not isinstance(value, str) or not is_range(value)):
        raise ValueError('must be a range as NuGet writes it, such as "[1.0, 2.0)"; "1.0" is 1.0 and all above')
    return value


def _licenses(value: Any) -> Any:
    """Of a list, or of a table that says whether those are the allowed or the denied ones."""
    if value is None or isinstance(value, Licenses):
        return value
    form, named = ("denied", value) if not isinstance(value, Mapping) else next(iter(value.items()), ("", ()))
    if isinstance(value, Mapping) and (len(value) != 1 or form not in _FORMS):
        raise ValueError('must be { allowed = ["MIT"] } or { denied = ["AGPL-3.0-only"] }')
    if not isinstance(named, list | tuple) or not named or not all(isinstance(one, str) for one in named):
        raise ValueError('must be a list of SPDX identifiers, such as ["MIT", "Apache-2.0"]')
    for one in named:
        if not is_license(one):
            raise ValueError(f"{one!r} is not one SPDX identifier; an expression is taken apart by itself")
    return Licenses.of(tuple(named), others=form == "allowed")


Pattern: TypeAlias = Annotated[str, Parsed(_pattern)]


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleTable(Section):
    """One rule; the first that matches a version decides."""

    name: Annotated[str, Parsed(_name)]
    ids: tuple[Pattern, ...] = ()
    versions: Annotated[str, Parsed(_range)] = ""
    sources: Names = ()
    action: Literal["deny", "warn", "allow"] | None = None
    reason: str = ""
    until: Expiry = None
    dry_run: bool = False
    min_age: Wait | None = None
    advisory_bypass: bool = True
    max_severity: Literal["low", "moderate", "high", "critical"] | None = None
    withdrawn: bool = False
    deprecated: bool = False
    unlisted: bool = False
    prerelease: bool = False
    licenses: Annotated[Licenses | None, Parsed(_licenses)] = None

    @classmethod
    def cleaned(cls, table: Mapping[str, Any]) -> Mapping[str, Any]:
        """What is empty is as if it were not there, as everywhere in the file."""
        absent = ("action", "min_age", "max_severity")
        return {key: one for key, one in table.items() if one != "" or key not in absent}

    @property
    def rule(self) -> Rule:
        """The same for the feed."""
        usual = Action.WARN if self.withdrawn else Action.DENY
        return Rule(
            name=self.name,
            action=Action(self.action) if self.action is not None else usual,
            reason=self.reason,
            ids=self.ids,
            versions=self.versions,
            sources=self.sources,
            until=self.until,
            dry_run=self.dry_run,
            min_age=self.min_age,
            advisory_bypass=self.advisory_bypass,
            max_severity=SEVERITIES.index(self.max_severity) if self.max_severity is not None else None,
            withdrawn=self.withdrawn,
            deprecated=self.deprecated,
            unlisted=self.unlisted,
            prerelease=self.prerelease,
            licenses=self.licenses,
        )
