"""VersionRange is which versions of a package a reference takes, floating ones included."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from msgspec import Struct

from nugetproxy.nuget.version import Version

MAX_TEXT: Final = 600
_HUGE: Final = 2**31 - 1
_NUMBERS: Final = 4


class Floating(Struct, frozen=True):
    """What a ``*`` stands for; ``fixed`` numbers in front of it, 4 where only the release label floats."""

    fixed: int
    prefix: str | None = None
    """How the release label must begin; None where prereleases are not meant."""

    def holds(self, lowest: Version, version: Version) -> bool:
        """Whether ``version`` is one of those that float (NuGet's ``FloatRange.Satisfies``)."""
        if _numbers(lowest)[: self.fixed] != _numbers(version)[: self.fixed]:
            return False
        if not version.is_prerelease:
            return True
        return self.prefix is not None and ".".join(version.release).lower().startswith(self.prefix.lower())


class VersionRange(Struct, frozen=True, kw_only=True):
    """Bounds, None where there is none; ``floating`` beside its lowest version."""

    lower: Version | None = None
    upper: Version | None = None
    with_lower: bool = True
    with_upper: bool = False
    floating: Floating | None = None

    @staticmethod
    def parse(text: str) -> VersionRange | None:
        """Read a range as a project spells it (NuGet's ``VersionRange.TryParse``); None for what is none."""
        return _parse(text.strip()) if 0 < len(text.strip()) <= MAX_TEXT else None

    def holds(self, version: Version) -> bool:
        """Whether ``version`` lies between the bounds."""
        above = self.lower is None or self.lower < version or (self.with_lower and self.lower == version)
        below = self.upper is None or version < self.upper or (self.with_upper and self.upper == version)
        return above and below

    def best(self, versions: Iterable[Version]) -> Version | None:
        """What a restore takes of these: the lowest, or where it floats the highest; None where nothing fits."""
        stable = not any(bound is not None and bound.is_prerelease for bound in (self.lower, self.upper))
        stable = stable and (self.floating is None or self.floating.prefix is None)
        fit = sorted(one for one in versions if self.holds(one) and not (stable and one.is_prerelease))
        if self.floating is None or self.lower is None:
            return fit[0] if fit else None
        floating = [one for one in fit if self.floating.holds(self.lower, one)]
        return floating[-1] if floating else (fit[0] if fit else None)

    def is_at_least(self, other: VersionRange) -> bool:
        """Whether its lowest version is not below that of ``other`` (NuGet's ``IsGreaterThanOrEqualTo``)."""
        if self.lower is None:
            return True
        if other.lower is None:
            return False
        if self.floating is None and other.floating is None:
            return self.lower >= other.lower
        mine, theirs = _reach(self), _reach(other)
        if mine[0] != theirs[0]:
            return mine[0] > theirs[0]
        if not mine[1] or not theirs[1]:
            return not mine[1]
        length = min(len(mine[1]), len(theirs[1]))
        return mine[1][:length].lower() >= theirs[1][:length].lower()


def _reach(range_: VersionRange) -> tuple[tuple[int, ...], str]:
    """How high a range can reach: numbers, where those that float are huge, then the release label."""
    assert range_.lower is not None, "ranges without a lower bound are told before"
    if range_.floating is None:
        return _numbers(range_.lower), ".".join(range_.lower.release)
    fixed = range_.floating.fixed
    return (*_numbers(range_.lower)[:fixed], *([_HUGE] * (_NUMBERS - fixed))), range_.floating.prefix or ""


def _numbers(version: Version) -> tuple[int, ...]:
    return version.major, version.minor, version.patch, version.revision


@lru_cache(maxsize=8192)
def _parse(text: str) -> VersionRange | None:
    if text[0] not in "[(":
        bound = _bound(text)
        return None if bound is None else VersionRange(lower=bound[0], floating=bound[1])
    if text[-1] not in "])":
        return None
    parts = text[1:-1].split(",")
    single = len(parts) == 1
    if len(parts) > 2 or not any(part.strip() for part in parts) or (single and (text[0], text[-1]) != ("[", "]")):
        return None
    low = _bound(parts[0].strip()) if parts[0].strip() else (None, None)
    high = Version.parse(parts[-1].strip()) if parts[-1].strip() else None
    if low is None or (parts[-1].strip() and high is None):
        return None
    lower, floating = low
    with_lower, with_upper = text[0] == "[", text[-1] == "]"
    if lower is not None and high is not None and (lower > high or (lower == high and with_lower != with_upper)):
        return None
    return VersionRange(lower=lower, upper=high, with_lower=with_lower, with_upper=with_upper, floating=floating)


def _bound(text: str) -> tuple[Version, Floating | None] | None:
    """The lowest version that a bound means, with what floats above it (NuGet's ``FloatRange.TryParse``)."""
    if "*" not in text:
        version = Version.parse(text)
        return None if version is None else (version, None)
    if "+" in text or not text.endswith("*"):
        return None
    numbers, dash, label = text.partition("-")
    if not dash:
        return _floating(numbers, None)
    if not label.endswith("*") or "*" in label[:-1]:
        return None
    return _floating(numbers, label[:-1])


def _floating(numbers: str, prefix: str | None) -> tuple[Version, Floating | None] | None:
    fixed = _NUMBERS
    if numbers.endswith("*"):
        fixed = numbers.count(".")
        numbers = numbers[:-1] + "0"
    if "*" in numbers:
        return None
    label = "" if prefix is None else f"-{prefix}{'0' if not prefix or prefix.endswith('.') else ''}"
    if prefix is not None and prefix.endswith("-"):
        label += "-"
    version = Version.parse(numbers + label)
    return None if version is None else (version, Floating(fixed, prefix))
