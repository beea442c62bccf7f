"""Levels tell how the engines are that replicas share behind the cache of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nugetproxy.admin.desk import Desk


def levels(desk: Desk) -> list[Mapping[str, Any]]:
    """Each engine with what came of it since the start; none where nothing is shared.

    ``refused``: calls that were not made, as its ``breaker`` is open. ``seconds`` is what a call takes on average.
    """
    return [
        {
            "engine": engine,
            "hits": one.total("hit"),
            "misses": one.total("miss"),
            "calls": one.ok,
            "errors": one.failed,
            "refused": one.refused,
            "breaker": "open" if one.is_open else "closed",
            "seconds": one.mean,
        }
        for engine, one in desk.metrics.engines.counts.items()
    ]
