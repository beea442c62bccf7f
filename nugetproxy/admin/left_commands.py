"""Left commands tell what could be restored if no upstream answered any more; nobody is asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from nugetproxy.admin.desk import Desk
from nugetproxy.errors import BadRequest
from nugetproxy.feeds.without_upstreams import WithoutUpstreams
from nugetproxy.nuget.identity import PackageId, PackageIdentity

MOST: Final = 1000
"""Packages in one question."""


async def versions(desk: Desk, *, ids: tuple[str, ...], feed: str = "") -> Mapping[str, Any]:
    """The versions of ids in a feed (the first, where none is named): null for what nobody could tell."""
    without, found = _feed(desk, feed, ids), {}
    for id_ in ids:
        package = PackageId.parse(id_)
        listed = await without.versions(package.lower) if package is not None else ()
        found[id_] = None if listed is None else [version.url for version in listed]
    return {"versions": found}


async def packages(desk: Desk, *, packages: tuple[str, ...], feed: str = "") -> Mapping[str, Any]:
    """What packages (``id/version``) depend on, by framework: null for what could not be delivered."""
    without, found = _feed(desk, feed, packages), {}
    for name in packages:
        identity = PackageIdentity.parse(*name.partition("/")[::2])
        groups = await without.needs(identity) if identity is not None else None
        found[name] = (
            None
            if groups is None
            else [
                {"framework": group.target_framework, "needs": [[need.id, need.range] for need in group.dependencies]}
                for group in groups
            ]
        )
    return {"packages": found}


async def denied(desk: Desk, *, ids: tuple[str, ...], feed: str = "") -> Mapping[str, Any]:
    """The versions of ids that the rules of a feed deny now, each with the sentence that clients read."""
    without, found = _feed(desk, feed, ids), {}
    for id_ in ids:
        package = PackageId.parse(id_)
        sentences = await without.denied(package.lower) if package is not None else {}
        found[id_] = {version.url: sentence for version, sentence in sentences.items()}
    return {"denied": found}


def _feed(desk: Desk, feed: str, asked: tuple[str, ...]) -> WithoutUpstreams:
    if len(asked) > MOST:
        raise BadRequest(f"Ask for at most {MOST} packages at once.")
    return WithoutUpstreams(desk.feed(feed))
