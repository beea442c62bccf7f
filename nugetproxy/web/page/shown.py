"""Shown is what the page asks for, as functions of the desk."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from nugetproxy.admin.desk import Desk
from nugetproxy.admin.page import audits, overview, packages, restores, trouble
from nugetproxy.admin.page.charts import chart
from nugetproxy.admin.page.overview import about
from nugetproxy.admin.page.viewer import Viewer
from nugetproxy.errors import BadRequest

__all__ = ["SHOWN", "about", "icon"]

Show = Callable[[Desk, Viewer, Mapping[str, str]], Awaitable[Mapping[str, Any]]]


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise BadRequest("The number of a restore is a whole number.")
    return int(text[:18])


def _package(query: Mapping[str, str]) -> dict[str, str]:
    return {name: query.get(name, "") for name in ("id", "version")}


async def icon(desk: Desk, viewer: Viewer, query: Mapping[str, str]) -> tuple[str, bytes]:
    """The picture of a package, with its type first."""
    return await packages.icon(desk, viewer, **_package(query))


SHOWN: Final[Mapping[str, Show]] = MappingProxyType(
    {
        "live": lambda desk, viewer, _: overview.live(desk, viewer),
        "chart": lambda desk, viewer, query: chart(desk, viewer, span=query.get("span", "hour")),
        "packages": lambda desk, viewer, _: packages.newest_and_most_used(desk, viewer),
        "search": lambda desk, viewer, query: packages.search(desk, viewer, q=query.get("q", "")),
        "package": lambda desk, viewer, query: packages.package(desk, viewer, **_package(query)),
        "restores": lambda desk, viewer, _: restores.listed(desk, viewer),
        "restore": lambda desk, viewer, query: restores.one(desk, viewer, number=_number(query.get("number", ""))),
        "audit": lambda desk, viewer, _: audits.shown(desk, viewer),
        "trouble": lambda desk, viewer, _: trouble.troubles(desk, viewer),
    }
)
"""By the last word of its path."""
