"""Package source mapping says which sources may have an id, as NuGet reads its patterns."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Final

from msgspec import Struct

from nugetproxy.nuget.identity import invariant_lower

MAX_PATTERN: Final = 100
"""Characters of a pattern (NuGet's PackageSourceMapping)."""
EVERYTHING: Final = "*"


class Rule(Struct, frozen=True):
    """One pattern with the sources that may have what it matches."""

    pattern: str
    """As written, trimmed; an id, a prefix before ``*``, or ``*``."""
    sources: tuple[str, ...]
    """In the order of the feed's sources."""
    union: bool = False
    """All of ``sources`` are listed together, whoever of them is private: somebody means it."""

    @property
    def key(self) -> str:
        """Equal for patterns that match the same ids."""
        return invariant_lower(self.pattern)

    @property
    def is_prefix(self) -> bool:
        """True if it ends in ``*``."""
        return self.pattern.endswith(EVERYTHING)

    @property
    def prefix(self) -> str:
        """What ids that match begin with, or are; lower case."""
        return self.key.removesuffix(EVERYTHING)


class SourceMapping(Struct, frozen=True):
    """The rules of one feed, each pattern once."""

    exact: Mapping[str, Rule]
    """Lower-case id -> its rule."""
    prefixes: Mapping[str, Rule]
    """Lower-case prefix -> its rule; the empty one is ``*``."""

    @staticmethod
    def of(rules: Iterable[Rule]) -> SourceMapping:
        """The mapping with these rules; of equal patterns the sources are united. Raises ValueError."""
        united: dict[str, Rule] = {}
        for rule in rules:
            check_pattern(rule.pattern)
            stripped = Rule(rule.pattern.strip(), rule.sources, rule.union)
            known = united.get(stripped.key, stripped)
            sources = tuple(dict.fromkeys((*known.sources, *stripped.sources)))
            united[stripped.key] = Rule(known.pattern, sources, known.union or stripped.union)
        return SourceMapping(
            {rule.prefix: rule for rule in united.values() if not rule.is_prefix},
            {rule.prefix: rule for rule in united.values() if rule.is_prefix},
        )

    @property
    def is_empty(self) -> bool:
        """True without any rule: then every source may have every id."""
        return not self.exact and not self.prefixes

    @property
    def has_default(self) -> bool:
        """True if every id has a source."""
        return self.is_empty or "" in self.prefixes

    def rule(self, id_: str) -> Rule | None:
        """The one rule that counts for an id in any spelling: its own, else the longest prefix; None for no source."""
        wanted = invariant_lower(id_)
        if wanted in self.exact:
            return self.exact[wanted]
        beginnings = (wanted[:length] for length in range(len(wanted), -1, -1))
        return next((self.prefixes[one] for one in beginnings if one in self.prefixes), None)

    def sources(self, id_: str, among: tuple[str, ...]) -> tuple[str, ...]:
        """Which of ``among`` (the feed's, in their order) may have an id."""
        if self.is_empty:
            return among
        rule = self.rule(id_)
        return tuple(source for source in among if rule is not None and source in rule.sources)

    def may_meet(self, text: str, sources: Collection[str]) -> bool:
        """True if ids that begin with ``text``, or are named in it, may be mapped to some of ``sources`` alone.

        For what somebody types into a search: "contoso" begins ids of ``Contoso.*``, "contoso.billing" is one.
        """
        words = invariant_lower(text).split()
        return any(
            rule.prefix
            and rule.sources
            and all(source in sources for source in rule.sources)
            and (word.startswith(rule.prefix) or rule.prefix.startswith(word))
            for word in words
            for rule in (*self.exact.values(), *self.prefixes.values())
        )


def check_pattern(pattern: str) -> None:
    """Raises ValueError, with a sentence for the operator, unless NuGet takes ``pattern``."""
    text, problem = pattern.strip(), ""
    if not text:
        problem = "is empty"
    elif len(text) > MAX_PATTERN:
        problem = f"is longer than {MAX_PATTERN} characters"
    elif EVERYTHING in text[:-1]:
        problem = "has a * that is not its last character"
    if problem:
        shown = pattern[: MAX_PATTERN + 1]
        raise ValueError(f"The pattern {shown!r} {problem}; write an id, or a prefix as in Contoso.*")
