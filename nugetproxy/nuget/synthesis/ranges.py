"""Version ranges of dependencies in the one notation that every client can read."""

from __future__ import annotations

from functools import lru_cache

from nugetproxy.nuget.version import Version

ANY = "(, )"
"""NuGet's VersionRange.All."""
_MAX_TEXT = 600


@lru_cache(maxsize=8192)
def normalized_range(text: str) -> str:
    """``text`` in interval notation; ``ANY`` for what is no range, as NuGet's NuspecReader takes it.

    One range that cannot be parsed would make a client refuse the whole registration.
    """
    text = text.strip()
    if not text or len(text) > _MAX_TEXT:
        return ANY
    if text[0] not in "[(":
        lowest = Version.parse(text)
        return ANY if lowest is None else f"[{lowest.full}, )"
    return _interval(text) or ANY


def _interval(text: str) -> str | None:
    opening, closing, bounds = text[0], text[-1], [bound.strip() for bound in text[1:-1].split(",")]
    if closing not in "])" or len(text) < 3 or len(bounds) > 2:
        return None
    versions = [Version.parse(bound) if bound else None for bound in bounds]
    if any(bound and version is None for bound, version in zip(bounds, versions, strict=True)):
        return None
    lower, upper = versions[0], versions[-1]
    if len(bounds) == 1:
        # "[1.0]" is exactly 1.0, "(1.0)" is nothing at all.
        return f"[{lower.full}]" if lower is not None and (opening, closing) == ("[", "]") else None
    if lower is not None and upper is not None and not _holds_something(lower, upper, opening + closing):
        return None
    return f"{opening}{lower.full if lower else ''}, {upper.full if upper else ''}{closing}"


def _holds_something(lower: Version, upper: Version, brackets: str) -> bool:
    return lower < upper or (lower == upper and brackets == "[]")


def is_range(text: str) -> bool:
    """Whether NuGet reads ``text`` as a range that holds something; a version stands for itself and all above."""
    text = text.strip()
    if text[:1] in {"[", "("}:
        return _interval(text) is not None
    return Version.parse(text) is not None


def is_within(text: str, version: Version) -> bool:
    """Whether a range holds ``version``; also where it is no range, as a warning too many does less harm."""
    text = text.strip()
    if text[:1] not in {"[", "("}:
        lowest = Version.parse(text)
        return lowest is None or lowest <= version
    if (interval := _interval(text)) is None:
        return True
    bounds = [Version.parse(bound) if (bound := part.strip()) else None for part in interval[1:-1].split(",")]
    lower, upper = bounds[0], bounds[-1]
    above = lower is None or lower < version or (interval[0] == "[" and lower == version)
    below = upper is None or version < upper or (interval[-1] == "]" and version == upper)
    return above and below
