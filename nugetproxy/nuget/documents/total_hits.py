"""What a search result says of how many hits there are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_DIGITS = 18
"""Of what is an integer for everybody."""


def total_hits(document: Mapping[str, Any]) -> int | None:
    """What ``totalHits`` says, to NuGet.Client also as text; None where that is no number, or nothing."""
    total = document.get("totalHits")
    if isinstance(total, str) and total.isascii() and total.isdigit() and len(total) <= _DIGITS:
        return int(total)
    return total if isinstance(total, int) and not isinstance(total, bool) else None
