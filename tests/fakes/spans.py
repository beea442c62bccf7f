"""Spans of time as the README writes them."""

from __future__ import annotations

from nugetproxy.caching.policy import DAY, FOREVER, HOUR, MINUTE, SECOND

_NAMES = (("d", DAY), ("h", HOUR), ("m", MINUTE), ("s", SECOND), ("ms", 0.001))


def span_text(seconds: float) -> str:
    """``seconds`` as people write it, and as ``parse_span`` reads it: "1h30m", "forever"."""
    if seconds == FOREVER:
        return "forever"
    rest, text = round(seconds * 1000), ""
    for name, unit in _NAMES:
        count, rest = divmod(rest, round(unit * 1000))
        if count:
            text += f"{count}{name}"
    return text or "0"
