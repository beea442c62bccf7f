"""Version is a NuGet package version: its spelling, its normal forms, its order."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache

MAX_TEXT = 256
"""Longest spelling that is looked at, in characters; galleries allow 64."""

_INT32_MAX = 2**31 - 1
_LABELS = r"[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*"
_VERSION = re.compile(rf"([0-9]+(?:\.[0-9]+){{0,3}})(?:-({_LABELS}))?(?:\+({_LABELS}))?")
_SIGNED = re.compile(r"-?[0-9]+")

_Label = tuple[int, int, str]
_Key = tuple[int, int, int, int, bool, tuple[_Label, ...]]


@dataclass(frozen=True, slots=True, eq=False)
class Version:
    """Equality, hash and order are those of NuGet's VersionComparer: case is ignored, so is metadata."""

    major: int
    minor: int = 0
    patch: int = 0
    revision: int = 0
    release: tuple[str, ...] = ()
    """The labels after ``-``, as spelled; empty for a stable version."""
    metadata: str = ""
    """What follows ``+``."""
    normalized: str = field(init=False, repr=False)
    """Three numbers, a fourth only if it is not 0, release labels as spelled, no metadata."""
    url: str = field(init=False, repr=False)
    """``normalized`` in lower case: the one spelling in paths, file names and keys."""
    _key: _Key = field(init=False, repr=False)

    def __post_init__(self) -> None:
        numbers = f"{self.major}.{self.minor}.{self.patch}" + (f".{self.revision}" if self.revision else "")
        normalized = f"{numbers}-{'.'.join(self.release)}" if self.release else numbers
        labels = tuple(map(_label_key, self.release))
        object.__setattr__(self, "normalized", normalized)
        object.__setattr__(self, "url", normalized.lower())
        object.__setattr__(self, "_key", (self.major, self.minor, self.patch, self.revision, not self.release, labels))

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


def _label_key(label: str) -> _Label:
    """Numbers come before words; what does not fit .NET's ``int.TryParse`` (which takes a sign) is a word."""
    if _SIGNED.fullmatch(label) and -_INT32_MAX - 1 <= (number := int(label)) <= _INT32_MAX:
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
