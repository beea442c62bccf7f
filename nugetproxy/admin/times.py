"""Times are dates as commands tell them."""

from __future__ import annotations

from datetime import UTC, datetime


def date(at: float | None) -> str | None:
    """Seconds since the epoch in the form of RFC 3339; None for None."""
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
