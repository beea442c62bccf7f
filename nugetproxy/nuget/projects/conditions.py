"""Conditions of MSBuild, as far as they compare texts."""

from __future__ import annotations

import re
from collections.abc import Callable

Expand = Callable[[str], str]

_WORD = re.compile(
    r"\s*(?:('[^']*')|(==|!=|>=|<=|>|<|!|\(|\))|([A-Za-z_][\w.]*)"
    r"|(\$\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\))|([\d.]+)|(.))",
    re.DOTALL,
)
_TRUTHS = {"true": True, "on": True, "yes": True, "false": False, "off": False, "no": False}


_ORDERS = frozenset({"<", ">", "<=", ">="})


class Unreadable(Exception):
    """It is no condition."""


def is_met(condition: str, expand: Expand) -> bool | None:
    """Whether it holds with properties as ``expand`` fills them in; None where that cannot be told."""
    if not condition.strip():
        return True
    words = [next(part for part in match.groups() if part) for match in _WORD.finditer(condition) if match[0].strip()]
    reader = _Reader(words, expand)
    try:
        found = reader.either()
        return found if reader.at == len(words) else None
    except (Unreadable, IndexError, RecursionError):
        return None


class _Reader:
    """Recursive descent: ``or`` of ``and`` of comparisons, negations, groups; None is what cannot be told."""

    def __init__(self, words: list[str], expand: Expand) -> None:
        self._words = words
        self._expand = expand
        self.at = 0

    def either(self) -> bool | None:
        found = self._both()
        while self._next_is("or"):
            self.at += 1
            found = _decided(found, self._both(), by=True)
        return found

    def _both(self) -> bool | None:
        found = self._one()
        while self._next_is("and"):
            self.at += 1
            found = _decided(found, self._one(), by=False)
        return found

    def _one(self) -> bool | None:
        word = self._words[self.at]
        if word == "!":
            self.at += 1
            found = self._one()
            return None if found is None else not found
        if word == "(":
            self.at += 1
            found = self.either()
            self._close()
            return found
        left = self._text()
        if self._next_is("==") or self._next_is("!="):
            equal = self._words[self.at] == "=="
            self.at += 1
            right = self._text()
            return None if left is None or right is None else (left.lower() == right.lower()) is equal
        if self.at < len(self._words) and self._words[self.at] in _ORDERS:
            self.at += 1
            self._text()
            return None
        return _TRUTHS.get(left.lower()) if left is not None else None

    def _text(self) -> str | None:
        """None for what a function says, or with what is not known."""
        word = self._words[self.at]
        self.at += 1
        if word in _ORDERS or word in {"(", ")", "==", "!="}:
            raise Unreadable
        if self._next_is("("):
            self.at += 1
            while not self._next_is(")"):
                self._text()
                self.at += self._next_is(",")
            self._close()
            return None
        text = self._expand(word[1:-1] if word[0] == "'" else word)
        return None if "$(" in text or "%(" in text or "@(" in text else text

    def _close(self) -> None:
        if self._words[self.at] != ")":
            raise Unreadable
        self.at += 1

    def _next_is(self, word: str) -> bool:
        return self.at < len(self._words) and self._words[self.at].lower() == word


def _decided(one: bool | None, other: bool | None, *, by: bool) -> bool | None:
    """Of two, ``by`` which one is enough."""
    if by in {one, other}:
        return by
    return None if None in {one, other} else not by
