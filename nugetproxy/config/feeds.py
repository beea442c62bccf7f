"""Feeds are the tables that say which upstreams are published as one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from nugetproxy.config.fields import Expiry, Names, Networks, OrAuto, Rate, UpstreamName
from nugetproxy.config.rules import Pattern, RuleTable
from nugetproxy.config.section import Section
from nugetproxy.config.tables import SOME, Parsed
from nugetproxy.nuget.mapping import Rule, SourceMapping
from nugetproxy.nuget.moments import moment


def _mapped(value: Any) -> Any:
    return {"sources": value} if isinstance(value, str | list | tuple) else value


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapped(Section):
    """The sources that may have what a pattern matches."""

    sources: Annotated[Names, SOME]
    union: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedTable(Section):
    """One published feed, as ``[feeds.NAME]`` configures it."""

    sources: Annotated[Names, SOME]
    default: bool = False
    push: UpstreamName | Mapping[Pattern, UpstreamName] | None = None
    advisories: Names = ()
    anonymous: OrAuto = None
    anonymous_from: Networks = ()
    mapping: Mapping[Pattern, Annotated[Mapped, Parsed(_mapped)]] = field(default_factory=dict)
    asof: Expiry = None
    redirect_min_bytes: Rate = 0
    rules: tuple[RuleTable, ...] = ()

    @property
    def told(self) -> str:
        """Which versions exist, in words; empty where all do."""
        rules = ", ".join(f"{rule.name}{' (on trial)' if rule.dry_run else ''}" for rule in self.rules)
        pinned = f"shown as it was at {moment(self.asof)}" if self.asof is not None else ""
        return "; ".join(filter(None, (f"rules {rules}" if rules else "", pinned)))

    @property
    def source_mapping(self) -> SourceMapping:
        """Which of its sources may have which id."""
        return SourceMapping.of(
            Rule(pattern, tuple(name for name in self.sources if name in one.sources), one.union)
            for pattern, one in self.mapping.items()
        )

    @property
    def push_mapping(self) -> SourceMapping:
        """Which source takes the writes to which id; that of an only source where nothing is said."""
        push = self.push
        if push is None:
            push = self.sources[0] if len(self.sources) == 1 else {}
        table = {"*": push} if isinstance(push, str) else push
        return SourceMapping.of(Rule(pattern, (name,)) for pattern, name in table.items())
