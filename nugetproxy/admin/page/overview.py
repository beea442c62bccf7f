"""The overview is what everybody sees first: feeds, health, what is downloading now, how many were served."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from msgspec import to_builtins

from nugetproxy import __version__
from nugetproxy.admin.desk import Desk
from nugetproxy.admin.levels import levels
from nugetproxy.admin.page.charts import chart
from nugetproxy.admin.page.viewer import Viewer
from nugetproxy.admin.tokens import Scope
from nugetproxy.nuget.client_config import nuget_config
from nugetproxy.sources.inspection import downloads_of, health_of
from nugetproxy.store.history.history import HistoryUnavailable

DATE: Final = "YYYY-MM-DD"


def about(desk: Desk, viewer: Viewer, *, base: str, closed: frozenset[str]) -> Mapping[str, Any]:
    """What does not change while one looks: the feeds with what to paste; ``closed`` ones want a token."""
    first = next(iter(desk.feeds))
    roots = {name: base if name == first else f"{base}/{name}" for name in desk.feeds}
    urls = {name: f"{root}/v3/index.json" for name, root in roots.items()}
    return {
        "version": __version__,
        "admin": viewer.admin,
        "tokens": any(desk.tokens.any_for(Scope.ADMIN, name) for name in desk.feeds),
        "feeds": [
            {
                "name": name,
                "url": urls[name],
                "asof": f"{roots[name]}/asof/{DATE}/v3/index.json",
                "config": nuget_config(name, urls[name], token=name in closed),
                "token": name in closed,
                "sources": [source.name for source in feed.sources],
            }
            for name, feed in desk.feeds.items()
            if name in viewer.feeds
        ],
    }


async def live(desk: Desk, viewer: Viewer) -> Mapping[str, Any]:
    """What changes while one looks; cheap enough for once a second."""
    sources = viewer.sources(desk).values()
    return {
        "at": desk.clock.now(),
        "health": [to_builtins(health_of(source)) for source in sources],
        "downloads": [to_builtins(one) for source in sources for one in downloads_of(source)],
        "levels": levels(desk),
        "hour": await _sums(desk, viewer),
    }


async def _sums(desk: Desk, viewer: Viewer) -> Mapping[str, Any] | None:
    try:
        found: Mapping[str, Any] = (await chart(desk, viewer, span="hour"))["sums"]
    except HistoryUnavailable:
        return None
    return found
