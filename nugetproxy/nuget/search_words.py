"""Text is cut into words in the same way when it is indexed as when it is searched for."""

from __future__ import annotations

import re

_BOUNDARY = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=[0-9])(?=[A-Za-z])|(?<=[A-Za-z])(?=[0-9])")
_SEPARATORS = re.compile(r"[\W_]+")


def split_words(text: str) -> list[str]:
    """The runs of letters and digits in ``text``, in their case."""
    return [word for word in _SEPARATORS.split(text) if word]


def camel_parts(word: str) -> tuple[str, ...]:
    """``EntityFramework6`` -> ``entity framework 6``; a word that is not made of several has no parts."""
    parts = _BOUNDARY.split(word)
    return tuple(part.lower() for part in parts) if len(parts) > 1 else ()


def id_parts(id: str) -> tuple[str, ...]:
    """What an id is also found by: the parts of its words, with all of it in one word."""
    words = split_words(id)
    parts = [part for word in words for part in camel_parts(word)]
    return (*parts, "".join(words).lower()) if len(words) > 1 else tuple(parts)
