"""Room commands say what is kept whatever happens, what else would go, let it go."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from nugetproxy.admin import folders
from nugetproxy.admin.desk import Desk
from nugetproxy.admin.held_commands import named
from nugetproxy.admin.times import date
from nugetproxy.engine.room import Plan
from nugetproxy.errors import BadRequest, NotFound
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.store.packages.retention import Retention


async def keep(desk: Desk, *, packages: tuple[str, ...], by: str = "") -> Mapping[str, Any]:
    """Never evict these ("id" or "id@version"); ``by`` is the lock file that wants them, instead of those that it
    wanted before.
    """
    wanted = _pairs(packages)
    if not wanted:
        raise BadRequest("Name what is to be kept.")
    await desk.room.kept.keep(wanted, by)
    missing = await _missing(desk, wanted)
    lying = {name: source for name in missing if (source := await _folder(desk, name))}
    return {"kept": len(wanted), "missing": [name for name in missing if name not in lying], "in_folders": lying}


async def unkeep(desk: Desk, *, packages: tuple[str, ...] = (), by: str = "") -> Mapping[str, Any]:
    """Let these go again, or all that a lock file wants."""
    wanted = _pairs(packages)
    if not wanted and not by:
        raise BadRequest("Name what need not be kept any longer.")
    done = await desk.room.kept.unkeep(wanted, by)
    if not done:
        raise NotFound(f"{', '.join(packages) or by} was not kept; 'nugetproxy keep' lists what is.")
    ids = {id for id, _ in wanted}
    still = sorted({one.by for one in desk.room.kept.wanted if one.id in ids and one.by})
    return {"released": done, "still_kept_by": still}


async def kept(desk: Desk) -> Mapping[str, Any]:
    """What is never evicted, with what wants it."""
    await desk.room.kept.load()
    return {
        "kept": [
            {"id": one.id, "version": one.version or None, "by": one.by or None, "since": date(one.at)}
            for one in desk.room.kept.wanted
        ]
    }


async def evict(
    desk: Desk,
    *,
    to: float | None = None,
    unused_for: float | None = None,
    keep_last: float = 0,
    simulate: bool = False,
) -> Mapping[str, Any]:
    """Let packages go, as housekeeping would now, or under other rules: ``to`` so many bytes, what was not used for so
    many seconds, but for so many of the highest versions. ``simulate`` only says which.
    """
    if min(to or 0.0, unused_for or 0.0, keep_last) < 0:
        raise BadRequest("None of the numbers 'to', 'unused_for', 'keep_last' may be negative.")
    rules = None
    if unused_for is not None or keep_last > 0:
        rules = Retention(unused_for=math.inf if unused_for is None else unused_for, keep_last=int(keep_last))
    plan = await desk.room.plan(None if to is None else int(to), rules)
    removed = 0 if simulate else await desk.room.carry_out(plan)
    going = {one.identity for one in plan.going}
    lists = desk.room.kept.lists
    size = sum(one.size for one in plan.going)
    return {
        "packages": _rows(plan),
        "size": size,
        "removed": removed,
        "held": plan.held,
        "limit": plan.limit if to is None else min(int(to), plan.limit),
        "kept_lock_files": len(lists),
        "broken_lock_files": sorted(by for by, wanted in lists.items() if wanted & going),
    }


def _rows(plan: Plan) -> list[dict[str, Any]]:
    return [
        {
            "upstream": one.packages.name,
            "id": one.identity.id,
            "version": one.identity.version,
            "size": one.size,
            "used": date(one.used),
            "why": one.why.value,
        }
        for one in plan.going
    ]


def _pairs(packages: tuple[str, ...]) -> list[tuple[str, str]]:
    """(id, version or nothing), as they are written in file names; raises BadRequest."""
    found = []
    for text in packages:
        id, at, version = text.partition("@")
        if at and not version:
            raise BadRequest(f"{text!r:.200} lacks its version; write id@version, or the id alone for all of them.")
        identity = named(id, version)
        found.append((identity.id, identity.version if version else ""))
    return found


async def _folder(desk: Desk, name: str) -> str:
    """The folder in which a package ("id" or "id@version") lies; empty for none."""
    id, _, version = name.partition("@")
    lying = await folders.holding(desk, id)
    return next((source for one, source in lying.items() if version in {"", one.version}), "")


async def _missing(desk: Desk, wanted: list[tuple[str, str]]) -> list[str]:
    """What of it is not held yet."""
    held: set[PackageIdentity] = set()
    for packages in desk.packages().values():
        for id in {id for id, _ in wanted}:
            held.update(facts.identity for facts in await packages.stock.facts(id))
    ids = {identity.id for identity in held}
    return [
        f"{id}@{version}" if version else id
        for id, version in wanted
        if (PackageIdentity(id, version) not in held if version else id not in ids)
    ]
