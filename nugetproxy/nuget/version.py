"""Version is a NuGet package version: its spelling, its normal forms, its order."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from operator import lt

import orjson
from msgspec import Struct
from msgspec.structs import force_setattr

MAX_TEXT = 256
"""Longest spelling that is looked at, in characters; galleries allow 64."""

_INT32_MAX = 2**31 - 1
_LABELS = r"[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*"
_VERSION = re.compile(rf"([0-9]+(?:\.[0-9]+){{0,3}})(?:-({_LABELS}))?(?:\+({_LABELS}))?")
_NUMBER = r"(0|[1-9][0-9]{0,8})"
_LABEL = r"(?:0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
_NORMAL = re.compile(rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:\.([1-9][0-9]{{0,8}}))?(?:-({_LABEL}(?:\.{_LABEL})*))?")
"""A normalised spelling, whose numbers fit."""
_TRIPLE = r"(?:0|[1-9][0-9]{0,8})" + r"\.(?:0|[1-9][0-9]{0,8})" * 2
_TRIPLES = re.compile(rf"(?:{_TRIPLE}\n)*+{_TRIPLE}")
_COMMAS = bytes.maketrans(b"\n.", b",,")

_Label = tuple[int, int, str]
Sortable = tuple[int, int, int, int, bool, tuple[_Label, ...]]


class Version(Struct, frozen=True, eq=False):
    """Equality, hash and order are those of NuGet's VersionComparer: case is ignored, so is metadata."""

    major: int
    minor: int = 0
    patch: int = 0
    revision: int = 0
    release: tuple[str, ...] = ()
    """The labels after ``-``, as spelled; empty for a stable version."""
    metadata: str = ""
    """What follows ``+``."""
    normalized: str = ""
    """Three numbers, a fourth only if it is not 0, release labels as spelled, no metadata.

    Follows from the fields above, as all below does.
    """
    url: str = ""
    """``normalized`` in lower case: the one spelling in paths, file names and keys."""
    _key: Sortable = (0, 0, 0, 0, False, ())

    def __post_init__(self) -> None:
        numbers = f"{self.major}.{self.minor}.{self.patch}" + (f".{self.revision}" if self.revision else "")
        normalized = f"{numbers}-{'.'.join(self.release)}" if self.release else numbers
        labels = tuple(map(_label_key, self.release))
        force_setattr(self, "normalized", normalized)
        force_setattr(self, "url", normalized.lower())
        force_setattr(self, "_key", (self.major, self.minor, self.patch, self.revision, not self.release, labels))

    @staticmethod
    def parse(text: str) -> Version | None:
        """Read any spelling that NuGetVersion accepts, None for everything else."""
        return _parse(text) if len(text) <= MAX_TEXT else None

    @property
    def full(self) -> str:
        """``normalized`` with the metadata."""
        return f"{self.normalized}+{self.metadata}" if self.metadata else self.normalized

    @property
    def is_prerelease(self) -> bool:
        """True if there are release labels."""
        return bool(self.release)

    @property
    def is_semver2(self) -> bool:
        """True if only clients that know SemVer 2.0.0 (NuGet 4.3) can read it."""
        return len(self.release) > 1 or bool(self.metadata)

    def __str__(self) -> str:
        return self.full

    def __hash__(self) -> int:
        return hash(self._key)

    def __eq__(self, other: object) -> bool:
        return self._key == other._key if isinstance(other, Version) else NotImplemented

    def __lt__(self, other: Version) -> bool:
        return self._key < other._key

    def __le__(self, other: Version) -> bool:
        return self._key <= other._key

    def __gt__(self, other: Version) -> bool:
        return self._key > other._key

    def __ge__(self, other: Version) -> bool:
        return self._key >= other._key


def in_order(texts: Sequence[str]) -> tuple[list[str], list[str]]:
    """As URLs have them the versions that ``texts`` spell, ascending, each once; beside them what spells none."""
    joined = "\n".join(texts)
    if _TRIPLES.fullmatch(joined) and joined.count("\n") < len(texts):  # the usual list, which costs a tenth so
        numbers = orjson.loads(b"[%b]" % joined.encode().translate(_COMMAS))  # in a sixth of what int takes for each
        keys = [*zip(numbers[::3], numbers[1::3], numbers[2::3], strict=True)]
        if all(map(lt, keys, keys[1:])):  # as most feeds have it
            return list(texts), []
        triples = dict(zip(keys, texts, strict=True))
        return [triples[key] for key in sorted(triples)], []
    places: dict[Sortable, str] = {}
    garbage = []
    for text in texts:
        place = place_of(text)
        if place is None:
            garbage.append(text)
        else:
            places.setdefault(*place)
    return [places[key] for key in sorted(places)], garbage


def place_of(text: str) -> tuple[Sortable, str] | None:
    """Where the version that ``text`` spells stands among others, and how URLs write it; None where it is none.

    Versions are equal where the first is. As ``Version.parse`` tells it, without an object for each of a long list.
    """
    found = _NORMAL.fullmatch(text)
    if found is None or len(text) > MAX_TEXT:
        version = Version.parse(text)
        return None if version is None else (version._key, version.url)
    major, minor, patch, revision, labels = found.groups()
    numbers = (int(major), int(minor), int(patch), int(revision or 0))
    if labels is None:
        return (*numbers, True, ()), text
    return (*numbers, False, tuple(map(_label_key, labels.split(".")))), text.lower()


def _label_key(label: str) -> _Label:
    """Numbers come before words; what does not fit .NET's ``int.TryParse`` (which takes a sign) is a word."""
    if label.removeprefix("-").isdigit() and -_INT32_MAX - 1 <= (number := int(label)) <= _INT32_MAX:
        return (0, number, "")
    return (1, 0, label.upper())


def _zero_led(label: str) -> bool:
    return len(label) > 1 and label[0] == "0" and label.isdigit()


@lru_cache(maxsize=8192)
def _parse(text: str) -> Version | None:
    found = _VERSION.fullmatch(text.strip())
    if found is None:
        return None
    numbers = [int(part) for part in found[1].split(".")]
    release = tuple(found[2].split(".")) if found[2] else ()
    if max(numbers) > _INT32_MAX or any(map(_zero_led, release)):
        return None
    major, minor, patch, revision = (*numbers, 0, 0, 0)[:4]
    return Version(major, minor, patch, revision, release, found[3] or "")
