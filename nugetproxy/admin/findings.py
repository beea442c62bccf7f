"""Findings are what an audit has to say of one version: an advisory, a rule, a word of its upstream."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import Any, Final

from msgspec import Struct, field

from nugetproxy.nuget.documents.advisories import Advisory
from nugetproxy.nuget.rules import SEVERITIES, severity_place
from nugetproxy.store.history.reading import Use

GRAVE: Final = MappingProxyType({"withdrawn": 3, "deny": 2, "warn": 0, "dry_run": 0, "deprecated": 0, "unlisted": 0})
"""How grave a finding without a severity of its own is, as a place in ``SEVERITIES``: malware is taken down."""


class Ruled(Struct, frozen=True):
    """What a rule says of a version."""

    feed: str
    rule: str
    action: str
    """``deny``, ``warn``, or ``dry_run`` for a rule on trial."""
    why: str

    def sentence(self) -> str:
        """What the rule decides, as a terminal shows it behind the version."""
        word = {"deny": "denied by", "warn": "marked by", "dry_run": "would be decided by"}[self.action]
        return f"{word} the rule {self.rule!r} of {self.feed!r}{f' ({self.why})' if self.why else ''}"


class Finding(Struct, kw_only=True):
    """All that is to be said of one version."""

    id: str
    version: str
    upstreams: set[str] = field(default_factory=set)
    """Of which it is held."""
    last: float | None = None
    """When a client has got it last, as far as that is remembered."""
    advisories: tuple[Advisory, ...] = ()
    withdrawn: bool = False
    deprecated: bool = False
    unlisted: bool = False
    rules: list[Ruled] = field(default_factory=list)
    uses: Sequence[Use] = ()

    @property
    def is_any(self) -> bool:
        """Whether there is anything to say."""
        return bool(self.advisories or self.withdrawn or self.deprecated or self.unlisted or self.rules)

    @property
    def severity(self) -> int:
        """Of the worst, as a place in ``SEVERITIES``."""
        own = [severity_place(one.severity) or 0 for one in self.advisories]
        words = [word for word in ("withdrawn", "deprecated", "unlisted") if getattr(self, word)]
        others = [GRAVE[word] for word in (*words, *(one.action for one in self.rules))]
        return max((*own, *others), default=0)

    def sentences(self) -> list[str]:
        """For people, the gravest first."""
        found = ["withdrawn by its upstream"] if self.withdrawn else []
        found += [f"advisory {one.url}" for one in self.advisories]
        found += ["deprecated"] if self.deprecated else []
        found += ["unlisted"] if self.unlisted else []
        return found + [one.sentence() for one in self.rules]

    def json(self) -> dict[str, Any]:
        """As a command tells it; who has got it is left out where nobody may see that."""
        return {
            "id": self.id,
            "version": self.version,
            "severity": SEVERITIES[self.severity],
            "says": self.sentences(),
            "advisories": [{"url": one.url, "severity": _word(one.severity)} for one in self.advisories],
            "withdrawn": self.withdrawn,
            "deprecated": self.deprecated,
            "unlisted": self.unlisted,
            "rules": [{"feed": one.feed, "rule": one.rule, "action": one.action, "why": one.why} for one in self.rules],
            "held": sorted(self.upstreams),
            "last": self.last,
            "users": [
                {"token": one.token, "client": one.client, "feed": one.feed, "last": one.last, "times": one.times}
                for one in self.uses
            ],
        }


def _word(severity: str) -> str:
    """A severity as people call it; what nobody knows counts as the least."""
    return SEVERITIES[severity_place(severity) or 0]
