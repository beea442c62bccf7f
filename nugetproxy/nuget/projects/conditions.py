"""Conditions of MSBuild, as far as they compare texts."""

from __future__ import annotations

import re
from collections.abc import Callable

Expand = Callable[[str], str]

_WORD = re.compile(
    r"\s*(?:('[^']*')|(==|!=|>=|<=|>|<|!|\(|\))|([A-Za-z_][\w.]*)|(\$\([^)]*\))|([\d.]+)|(.))", re.DOTALL
)
_TRUTHS = {"true": True, "on": True, "yes": True, "false": False, "off": False, "no": False}


class Unknown(Exception):
    """A condition that only a build can decide."""


def is_met(condition: str, expand: Expand) -> bool | None:
    """Whether it holds with properties as ``expand`` fills them in; None where that cannot be told."""
    if not condition.strip():
        return True
    words = [next(part for part in match.groups() if part) for match in _WORD.finditer(condition) if match[0].strip()]
    reader = _Reader(words, expand)
    try:
        found = reader.either()
        return found if reader.at == len(words) else None
    except (Unknown, IndexError):
        return None


class _Reader:
    """Recursive descent: ``or`` of ``and`` of comparisons, negations, groups."""

    def __init__(self, words: list[str], expand: Expand) -> None:
        self._words = words
        self._expand = expand
        self.at = 0

    def either(self) -> bool:
        found = self._both()
        while self._next_is("or"):
            self.at += 1
            found = self._both() or found
        return found

    def _both(self) -> bool:
        found = self._one()
        while self._next_is("and"):
            self.at += 1
            found = self._one() and found
        return found

    def _one(self) -> bool:
        word = self._words[self.at]
        if word == "!":
            self.at += 1
            return not self._one()
        if word == "(":
            self.at += 1
            found = self.either()
            if self._words[self.at] != ")":
                raise Unknown
            self.at += 1
            return found
        left = self._text()
        if self._next_is("==") or self._next_is("!="):
            equal = self._words[self.at] == "=="
            self.at += 1
            return (left.lower() == self._text().lower()) is equal
        if left.lower() not in _TRUTHS:
            raise Unknown
        return _TRUTHS[left.lower()]

    def _text(self) -> str:
        word = self._words[self.at]
        self.at += 1
        if self._next_is("(") or word in {"(", ")", "<", ">", "<=", ">="}:
            raise Unknown  # a function, or an order of numbers
        text = self._expand(word[1:-1] if word[0] == "'" else word)
        if "$(" in text or "%(" in text or "@(" in text:
            raise Unknown
        return text

    def _next_is(self, word: str) -> bool:
        return self.at < len(self._words) and self._words[self.at].lower() == word
