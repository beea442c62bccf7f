"""Units reads spans of time, sizes in bytes as people write them."""

from __future__ import annotations

import math
import re
import sys
from datetime import UTC, date, datetime, time

from msgspec import Struct

from nugetproxy.caching.policy import DAY, FOREVER, HOUR, MINUTE, SECOND

KIB, MIB, GIB, TIB = 1024, 1024**2, 1024**3, 1024**4

_SPANS = {
    "ms": 0.001,
    **dict.fromkeys(("s", "sec", "second", "seconds"), SECOND),
    **dict.fromkeys(("m", "min", "minute", "minutes"), MINUTE),
    **dict.fromkeys(("h", "hour", "hours"), HOUR),
    **dict.fromkeys(("d", "day", "days"), DAY),
    **dict.fromkeys(("w", "week", "weeks"), 7 * DAY),
}
_SIZES = {
    **dict.fromkeys(("b", "byte", "bytes"), 1),
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "kib": KIB,
    "mib": MIB,
    "gib": GIB,
    "tib": TIB,
}
_SIZE_NAMES = (("TiB", TIB), ("GiB", GIB), ("MiB", MIB), ("KiB", KIB))

_PERCENT = re.compile(r"(\d{1,2}(?:\.\d{1,6})?)\s*%", re.ASCII)
_PART = re.compile(r"\s*(\d{1,12}(?:\.\d{1,6})?)\s*([a-z]+)\s*", re.ASCII)


def parse_span(text: str) -> float:
    """The seconds in ``text``: "30s", "1h 30m", "7 days", "0" or "forever" (infinity).

    Raises ValueError with a sentence for the operator.
    """
    spelled = text.strip().lower()
    if spelled == "forever":
        return FOREVER
    if spelled == "0":
        return 0.0
    parts = _parts(spelled, _SPANS)
    if not parts:
        raise ValueError(f'{text!r} is not a span of time; write a number and a unit, such as "30s", "5m", "12h", "7d"')
    return math.fsum(number * unit for number, unit in parts)


def parse_size(text: str) -> int:
    """The bytes in ``text``: "50 GiB", "1.5 GB", "0" or "4096 bytes".

    Raises ValueError with a sentence for the operator.
    """
    spelled = text.strip().lower()
    if spelled == "0":
        return 0
    parts = _parts(spelled, _SIZES)
    if len(parts) != 1:
        raise ValueError(f'{text!r} is not a size; write a number and a unit, such as "512 MiB" or "50 GiB"')
    number, unit = parts[0]
    return round(number * unit)


class MinFree(Struct, frozen=True, kw_only=True):
    """What is left free on a disk: a part of it, at most so many bytes; or so many bytes."""

    part: float
    most: int

    def of(self, capacity: int) -> int:
        """In bytes, on a disk of ``capacity`` bytes."""
        return min(int(self.part * capacity), self.most)


AUTO_FREE = MinFree(part=0.05, most=10 * GIB)


def parse_min_free(text: str) -> MinFree:
    """What ``text`` says is to be left free: "auto", "20 GiB", "10 %" or "0"; raises ValueError."""
    spelled = text.strip().lower()
    if spelled == "auto":
        return AUTO_FREE
    if (part := _PERCENT.fullmatch(spelled)) is not None and float(part[1]) < 100:
        return MinFree(part=float(part[1]) / 100, most=sys.maxsize)
    try:
        return MinFree(part=1.0, most=parse_size(text))
    except ValueError:
        raise ValueError(f'{text!r} is neither a size nor a part; write "auto", "20 GiB", "10 %" or "0"') from None


def _parts(spelled: str, units: dict[str, float] | dict[str, int]) -> list[tuple[float, float]]:
    """Every number with its unit; empty when anything else is in the text."""
    found: list[tuple[float, float]] = []
    at = 0
    while at < len(spelled):
        part = _PART.match(spelled, at)
        if part is None or part[2] not in units:
            return []
        found.append((float(part[1]), units[part[2]]))
        at = part.end()
    return found


def about_size(size: int) -> str:
    """``size`` bytes for people to read, rounded: "2.4 MiB"."""
    for name, unit in _SIZE_NAMES:
        if size >= unit:
            return f"{size / unit:.1f}".removesuffix(".0") + f" {name}"
    return f"{size} bytes"


def size_text(size: int) -> str:
    """``size`` bytes as people write it, and as ``parse_size`` reads it: "50 GiB"."""
    for name, unit in _SIZE_NAMES:
        if size and size % unit == 0:
            return f"{size // unit} {name}"
    return f"{size} bytes" if size else "0"


def day_seconds(text: str) -> float | None:
    """The begin (UTC) of a day such as ``2025-01-31``, in seconds since the epoch; None for none. Raises ValueError."""
    return datetime.combine(date.fromisoformat(text), time.min, UTC).timestamp() if text else None
