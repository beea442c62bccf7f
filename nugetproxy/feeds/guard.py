"""Guard says which sources of a feed may be asked for an id, so that nobody's id is served by somebody else."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Final
from urllib.parse import unquote_plus

from msgspec import Struct

from nugetproxy.feeds.claims import Claims
from nugetproxy.nuget.identity import invariant_lower
from nugetproxy.nuget.mapping import Rule, SourceMapping
from nugetproxy.sources.source import Source

_WORDS: Final = re.compile(r"[\w.-]+")
_TEXTS: Final = frozenset({"q", "id"})
"""The parameters of searches that hold what somebody has typed."""


class Candidates(Struct, frozen=True, kw_only=True):
    """The sources that may have an id."""

    mapped: tuple[Source, ...]
    """Those that the mapping leaves, in the feed's order."""
    asked: tuple[Source, ...]
    """Those of them that are asked."""
    private: tuple[Source, ...]
    """Those that are asked, and decide whether the others count; none where no others are asked."""
    rule: Rule | None
    claimed: frozenset[str]
    """The names of the sources whose claim keeps others from being asked."""

    @property
    def public(self) -> tuple[Source, ...]:
        """Those that count only where no private one knows the id."""
        return tuple(one for one in self.asked if one not in self.private) if self.private else ()

    def names(self) -> frozenset[str]:
        """Of those that are asked."""
        return frozenset(source.name for source in self.asked)


class Guard:
    """Mapping, roles and claims of one feed."""

    def __init__(
        self,
        sources: tuple[Source, ...],
        *,
        private: Mapping[str, bool],
        mapping: SourceMapping,
        claims: Claims,
    ) -> None:
        """``private`` has the role of every configured source; a claim of one that is not in it stays in force."""
        self.claims = claims
        self.mapping = mapping
        self._sources = sources
        self._names = tuple(source.name for source in sources)
        self._private = frozenset(name for name, private in private.items() if private)
        self._configured = frozenset(private)

    def is_private(self, source: Source) -> bool:
        """Whether only its owners publish there."""
        return source.name in self._private

    def candidates(self, id_: str) -> Candidates:
        """Who may be asked for an id (lower case)."""
        rule = None if self.mapping.is_empty else self.mapping.rule(id_)
        names = self.mapping.sources(id_, self._names)
        mapped = tuple(source for source in self._sources if source.name in names)
        private = tuple(source for source in mapped if source.name in self._private)
        if rule is not None and rule.union:
            return Candidates(mapped=mapped, asked=mapped, private=(), rule=rule, claimed=frozenset())
        claimed = frozenset(name for name in self.claims.of(id_) if self._counts(name, names))
        if claimed:
            return Candidates(mapped=mapped, asked=private, private=(), rule=rule, claimed=claimed)
        guarding = private if len(private) < len(mapped) else ()
        return Candidates(mapped=mapped, asked=mapped, private=guarding, rule=rule, claimed=frozenset())

    def _counts(self, name: str, mapped: Collection[str]) -> bool:
        """Whether a claim of this source is about us: it may have the id here, or is not configured any more."""
        return (name in mapped and name in self._private) or name not in self._configured

    def learn(self, source: Source, id_: str) -> None:
        """A source has said that it knows an id (lower case): a private one claims it where others could serve it."""
        candidates = self.candidates(id_)
        if source in candidates.private:
            self.claims.claim(source.name, id_)

    def speaks_of(self, source: str, id_: str) -> bool:
        """Whether what a source says of an id (lower case) counts."""
        return source in self.candidates(id_).names()

    def withholds(self, query: str) -> bool:
        """Whether the raw ``query`` of a search holds a name that public sources must not learn."""
        for part in query.split("&"):
            name, _, value = part.partition("=")
            if unquote_plus(name).lower() not in _TEXTS:
                continue
            words = [word.lstrip(".-") for word in _WORDS.findall(invariant_lower(unquote_plus(value)))]
            if any(self._is_claimed(word) or self.mapping.may_meet(word, self._private) for word in words):
                return True
        return False

    def _is_claimed(self, word: str) -> bool:
        """Whether ``word`` is, or begins, an id that public sources are not asked for, as somebody claims it."""
        return any(self.candidates(id_).claimed for id_ in self.claims.begun(word))
