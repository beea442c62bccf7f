"""Charts are the counts of the last hour, day or month."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from msgspec import to_builtins

from nugetproxy.admin.desk import Desk
from nugetproxy.admin.page.viewer import Viewer
from nugetproxy.errors import BadRequest
from nugetproxy.store.history.reading import Count

SPANS: Final[Mapping[str, tuple[int, int]]] = MappingProxyType(
    {"hour": (60, 60), "day": (3600, 24), "month": (86400, 30)}
)
"""Name -> seconds that are one point, number of points."""


async def chart(desk: Desk, viewer: Viewer, *, span: str) -> Mapping[str, Any]:
    """The points of a span, oldest first, without gaps; their sums. Raises BadRequest, HistoryUnavailable."""
    if span not in SPANS:
        raise BadRequest(f"The span is one of {', '.join(SPANS)}.")
    seconds, points = SPANS[span]
    last = int(desk.clock.now()) // seconds * seconds
    starts = range(last - (points - 1) * seconds, last + seconds, seconds)
    found = {one.start: one for one in await desk.history.counts(seconds, starts[0], viewer.feeds)}
    rows = [to_builtins(found.get(start) or empty(start)) for start in starts]
    return {"span": span, "seconds": seconds, "points": rows, "sums": sums(rows)}


def empty(start: int) -> Count:
    """Of a span in which nobody asked for anything."""
    return Count(start=start, requests=0, hits=0, fetches=0, failed=0, bytes=0, saved=0, packages=0)


def sums(rows: Sequence[Mapping[str, int]]) -> Mapping[str, Any]:
    """All points together; ``ratio`` of hits to all that upstreams could have been asked for, None of nothing."""
    total = {name: sum(row[name] for row in rows) for name in rows[0] if name != "start"}
    asked = total["hits"] + total["fetches"]
    return {**total, "ratio": total["hits"] / asked if asked else None}
