"""Folders of packages are somebody else's: what an operator's words mean for them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from nugetproxy.admin.desk import Desk
from nugetproxy.errors import ProxyError, UpstreamFailure
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.sources.folder import FolderSource


async def lying(source: FolderSource) -> list[tuple[PackageIdentity, int]]:
    """What lies in a folder, each with its bytes; raises UpstreamFailure where it cannot be read."""
    await source.ready()
    return [(identity, size) for identity, (size, _) in (await source.holdings.recorded()).items()]


async def refresh(source: FolderSource, id: str) -> dict[str, Any]:
    """Look into the folder now; which versions of an id (lower case) lie there."""
    try:
        versions = await _lying(source, id)
    except ProxyError as error:
        return {"upstream": source.name, "found": False, "says": str(error).rstrip(".")}
    root = source.library.root
    says = f"{root} has {', '.join(versions)}" if versions else f"{root} has no such package"
    return {"upstream": source.name, "found": bool(versions), "says": says}


async def purge(desk: Desk, source: FolderSource, id: str, version: str | None) -> dict[str, Any]:
    """Forget which bytes the versions of an id (or one of them) had, as far as feeds recorded that; which those are,
    and which files stay where they lie.
    """
    known = set[str]()
    for feed in desk.feeds.values():
        if feed.merged is not None:
            owners = await desk.ledger.owners(feed.name, id)
            known |= {one for one, owner in owners.items() if owner.source == source.name and owner.sha512}
    forgotten = sorted(one for one in known if version in {None, one})
    for one in forgotten:
        await desk.ledger.forget(source.name, PackageIdentity(id, one))
    try:
        lying, says = await _lying(source, id), ""
    except ProxyError as error:
        lying, says = [], str(error)
    return {
        "upstream": source.name,
        "removed": [],
        "size": 0,
        "forgotten": forgotten,
        "held": [],
        "folder": str(source.library.root),
        "lying": [one for one in lying if version in {None, one}],
        "says": says,
    }


async def holding(desk: Desk, id: str) -> Mapping[PackageIdentity, str]:
    """The versions of an id (lower case) that lie in folders, each with its source; those that can be read now."""
    for source in desk.folders().values():
        with suppress(UpstreamFailure):
            await source.ready()
    return {
        PackageIdentity(id, facts.identity.version): source.name
        for source in desk.folders().values()
        for facts in await source.holdings.facts(id)
    }


async def _lying(source: FolderSource, id: str) -> list[str]:
    await source.look()
    return [facts.identity.version for facts in await source.holdings.facts(id)]
