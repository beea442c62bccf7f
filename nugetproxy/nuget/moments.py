"""Moments are points in time as people write them, with the spans between them."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Final

FIRST_SECOND: Final = -62135596800
LAST_SECOND: Final = 253402300799
"""Of the years 1 to 9999, in seconds since the epoch: no calendar of Python's goes further."""
_UNITS: Final = (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1))


def moment(seconds: float) -> str:
    """A time in UTC for people, never earlier than it is; what no calendar has becomes its nearest end."""
    known = math.ceil(min(max(seconds, FIRST_SECOND), LAST_SECOND))
    return f"{datetime.fromtimestamp(known, UTC).replace(tzinfo=None).isoformat(' ')} UTC"


def instant(text: str) -> float:
    """The date (its first moment) or instant in ISO 8601, in UTC where it says nothing; raises ValueError."""
    found = datetime.fromisoformat(text)
    return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).timestamp()


def span_text(seconds: float) -> str:
    """A span of time for people, in its largest whole unit."""
    word, unit = next(((word, unit) for word, unit in _UNITS if seconds >= unit and seconds % unit == 0), ("second", 1))
    count = seconds / unit
    return f"{count:g} {word}{'' if count == 1 else 's'}"
