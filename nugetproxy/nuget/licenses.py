"""Licences of packages, as SPDX expressions combine them."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from msgspec import Struct

_TOKEN: Final = re.compile(r"\s*([()]|[A-Za-z0-9.+:-]+)")
_WORDS: Final = frozenset({"and", "or", "with", "(", ")"})
MAX_TEXT: Final = 500
"""Characters of an expression that are looked at; NuGet allows as many."""
MAX_DEPTH: Final = 20

_Accepts = Callable[[str, str], bool]
"""(licence, exception) in lower case -> whether a package may come under it."""


class Licenses(Struct, frozen=True):
    """Which licences somebody minds: those that are ``named``, or with ``others`` all but those."""

    named: frozenset[str]
    """SPDX identifiers, lower case; with an exception as in ``gpl-2.0-only with classpath-exception-2.0``."""
    others: bool = False

    @staticmethod
    def of(named: tuple[str, ...], *, others: bool = False) -> Licenses:
        """The same from identifiers in any case."""
        return Licenses(frozenset(" ".join(one.lower().split()) for one in named), others)

    def minds(self, expression: str) -> bool:
        """Whether no choice that an SPDX expression leaves avoids them.

        An empty one is none of the named licences; of one that nobody can read the worst is assumed.
        """
        return not _accepted(expression, self)

    def accepts(self, license_: str, exception: str) -> bool:
        """Whether a package may come under one licence, perhaps with an exception (lower case)."""
        full = f"{license_} with {exception}" if exception else license_
        known = full in self.named or license_ in self.named
        return known if self.others else not known


def is_license(text: str) -> bool:
    """Whether ``text`` names one licence, perhaps with an exception: nothing that combines several."""
    words = text.lower().split()
    plain = bool(words) and all(_TOKEN.fullmatch(word) and word not in _WORDS for word in words[::2])
    return plain and (len(words) == 1 or (len(words) == 3 and words[1] == "with"))


@lru_cache(maxsize=4096)
def _accepted(expression: str, licenses: Licenses) -> bool:
    if not expression.strip():
        return licenses.accepts("", "")
    reader = _Reader(_tokens(expression), licenses.accepts)
    try:
        return reader.either() and reader.ended
    except _Unreadable:
        return False


def _tokens(expression: str) -> tuple[str, ...]:
    text = expression.strip().lower()[: MAX_TEXT + 1]
    found = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None or len(text) > MAX_TEXT:
            return ()
        found.append(match[1])
        at = match.end()
    return tuple(found)


class _Unreadable(Exception):
    """No SPDX expression."""


class _Reader:
    """Reads tokens from left to right (SPDX specification, annex D)."""

    def __init__(self, tokens: tuple[str, ...], accepts: _Accepts) -> None:
        self._tokens = tokens
        self._accepts = accepts
        self._at = 0
        self._depth = 0

    @property
    def ended(self) -> bool:
        return self._at == len(self._tokens)

    def either(self) -> bool:
        accepted = self._both()
        while self._takes("or"):
            accepted = self._both() or accepted
        return accepted

    def _both(self) -> bool:
        accepted = self._one()
        while self._takes("and"):
            accepted = self._one() and accepted
        return accepted

    def _one(self) -> bool:
        if self._takes("("):
            self._depth += 1
            if self._depth > MAX_DEPTH:
                raise _Unreadable
            accepted = self.either()
            self._depth -= 1
            if not self._takes(")"):
                raise _Unreadable
            return accepted
        license_ = self._word()
        return self._accepts(license_, self._word() if self._takes("with") else "")

    def _takes(self, word: str) -> bool:
        if not self.ended and self._tokens[self._at] == word:
            self._at += 1
            return True
        return False

    def _word(self) -> str:
        if self.ended or self._tokens[self._at] in _WORDS:
            raise _Unreadable
        self._at += 1
        return self._tokens[self._at - 1]
