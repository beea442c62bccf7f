"""Moments are points in time as people write them, with the spans between them."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Final

_FIRST: Final = datetime.min.replace(tzinfo=UTC).timestamp()
_LAST: Final = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp()
_UNITS: Final = (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1))


def moment(seconds: float) -> str:
    """A time in UTC for people, never earlier than it is; what no calendar has becomes its nearest end."""
    return datetime.fromtimestamp(math.ceil(min(max(seconds, _FIRST), _LAST)), UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def instant(text: str) -> float:
    """The date (its first moment) or instant in ISO 8601, in UTC where it says nothing; raises ValueError."""
    found = datetime.fromisoformat(text)
    return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).timestamp()


def span_text(seconds: float) -> str:
    """A span of time for people, in its largest whole unit."""
    word, unit = next(((word, unit) for word, unit in _UNITS if seconds >= unit and seconds % unit == 0), ("second", 1))
    count = seconds / unit
    return f"{count:g} {word}{'' if count == 1 else 's'}"
