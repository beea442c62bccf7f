"""Held commands list, purge, refresh, verify the packages of the cache."""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

from nugetproxy.admin import folders
from nugetproxy.admin.desk import Desk
from nugetproxy.admin.explain import why_asked
from nugetproxy.admin.purge import purge, similar
from nugetproxy.admin.times import date
from nugetproxy.engine.kept import Kept
from nugetproxy.errors import BadRequest, NotFound, ProxyError, UpstreamFailure
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.sources.remote import RemoteSource
from nugetproxy.store.fs import DiskFailure


class _Row(NamedTuple):
    """A package that is held, or lies in a folder."""

    identity: PackageIdentity
    size: int
    """Bytes."""
    used: float | None
    """Wall time of the last use; None in a folder, where nobody writes it down."""
    upstream: str


ORDERS: Final[Mapping[str, Callable[[_Row], Any]]] = {
    "id": lambda row: (row.identity.id, row.upstream, row.identity.version),
    "size": lambda row: (-row.size, row.identity.id),
    "used": lambda row: (math.inf if row.used is None else row.used, row.identity.id),
}
BATCH: Final = 50


async def listed(
    desk: Desk, *, pattern: str = "*", upstream: str = "", order: str = "id", most: float = 100_000
) -> Mapping[str, Any]:
    """The packages that are held, or lie in a folder: size, last use, where they came from; those whose id matches a
    pattern, in an order (id, size, used: the least recently used first), at most so many. ``unread``: of what not
    all could be read, and why.
    """
    if order not in ORDERS:
        raise BadRequest(f"The order is one of {', '.join(ORDERS)}.")
    rows: list[_Row] = []
    unread: dict[str, str] = {}
    for name, packages in desk.packages(upstream).items():
        rows += (_Row(identity, size, used, name) for used, identity, size in await packages.folder.usage.count())
        if packages.folder.usage.unreadable:
            unread[name] = packages.folder.usage.unreadable
    for name, folder in desk.folders(upstream).items():
        try:
            rows += (_Row(identity, size, None, name) for identity, size in await folders.lying(folder))
        except UpstreamFailure as failure:
            unread[name] = str(failure)
    said = await asyncio.to_thread(_said, rows, pattern.lower(), ORDERS[order], int(most), desk.room.kept)
    return {**said, "unread": unread}


def _said(rows: list[_Row], pattern: str, order: Callable[[_Row], Any], most: int, kept: Kept) -> dict[str, Any]:
    """Of a hundred thousand it takes a second: for a thread."""
    chosen = sorted((row for row in rows if fnmatchcase(row.identity.id, pattern)), key=order)
    return {
        "packages": [
            {
                "id": row.identity.id,
                "version": row.identity.version,
                "size": row.size,
                "used": date(row.used),
                "upstream": row.upstream,
                "kept": row.used is not None and kept.has(row.identity),
            }
            for row in chosen[:most]
        ],
        "count": len(chosen),
        "size": sum(row.size for row in chosen),
    }


async def purged(desk: Desk, *, id: str, version: str = "", upstream: str = "") -> Mapping[str, Any]:
    """Remove a package, one version of it or all, with its documents and its pinned hash; files in folders stay."""
    identity = named(id, version)
    done = await purge(desk.remote(upstream), desk.documents, identity.id, identity.version if version else None)
    left = [
        await folders.purge(desk, one, identity.id, identity.version if version else None)
        for one in desk.folders(upstream).values()
    ]
    desk.forget()
    known = any(one.packages or one.pins or one.others for one in done.feeds) or any(one["lying"] for one in left)
    return {
        "upstreams": [
            {
                "upstream": one.feed,
                "removed": [str(held.version) for held in one.packages],
                "size": one.size,
                "forgotten": [str(pinned.version) for pinned in one.pins],
                "held": [str(other.version) for other in one.others],
                **({"says": one.says} if one.says else {}),
            }
            for one in done.feeds
        ]
        + left,
        "documents": done.documents,
        "similar": "" if known else await similar(desk.packages(upstream), identity.id),
    }


def named(id: str, version: str = "") -> PackageIdentity:
    """The package that is meant; raises BadRequest."""
    identity = PackageIdentity.parse(id, version or "1.0.0")
    if identity is None:
        meant = "a package id with a version" if version else "a package id"
        raise BadRequest(f"{f'{id} {version}'.strip()!r:.200} is not {meant}.")
    return identity


async def refresh(desk: Desk, *, id: str, upstream: str = "") -> Mapping[str, Any]:
    """Ask upstream about an id now, look into folders; what came of it, by upstream. Who is kept from an id by a feed
    is asked only where it is named.
    """
    identity = named(id)
    kept = {} if upstream else await _kept_from(desk, identity.id)
    told = await asyncio.gather(
        *(_refresh(source, identity.id, kept.get(source.name, "")) for source in desk.remote(upstream).values()),
        *(folders.refresh(source, identity.id) for source in desk.folders(upstream).values()),
    )
    desk.switch.forget()
    if not any(one["found"] for one in told):
        raise NotFound(
            f"Nothing new is known of {identity.id}: "
            + "; ".join(f"{one['upstream']}: {one['says']}" for one in told)
            + "."
        )
    return {"id": identity.id, "upstreams": told}


async def _kept_from(desk: Desk, id_: str) -> Mapping[str, str]:
    """The sources that some feed of several does not ask for an id (lower case), as it is somebody else's; with why."""
    found: dict[str, str] = {}
    for feed in desk.feeds.values():
        if feed.merged is not None and len(feed.sources) > 1:
            await feed.merged.guard.claims.ready()
            candidates = feed.merged.guard.candidates(id_)
            found |= {one.name: why_asked(one, candidates) for one in feed.sources if one not in candidates.asked}
    return found


async def _refresh(source: RemoteSource, id: str, kept: str) -> dict[str, Any]:
    if kept:
        return {"upstream": source.name, "found": False, "says": f"{kept}; to ask it all the same, name it"}
    if source.offline:
        return {"upstream": source.name, "found": False, "says": "it is offline, so it is not asked"}
    try:
        done = await source.refresh(id)
    except ProxyError as error:
        return {"upstream": source.name, "found": False, "says": str(error).rstrip(".")}
    stale = next((status.detail for status in done.values() if status.detail), "")
    absent = all(status.forward_status in {404, 410} or status.outcome == "absent" for status in done.values())
    says = f"it could not be asked ({stale}); what is stored stays" if stale else "it has no such package"
    if not stale and not absent:
        says = ", ".join(f"{what} {_word(status.forward_status)}" for what, status in done.items())
    return {"upstream": source.name, "found": bool(done) and not stale and not absent, "says": says}


def _word(status: int | None) -> str:
    return {304: "unchanged", 200: "fetched", None: "not asked"}.get(status, f"status {status}")


async def verify(desk: Desk, *, upstream: str = "", after: str = "", seconds: float = 1e9) -> Mapping[str, Any]:
    """Read every held package again; what is damaged is set aside, then fetched again; ``flawed`` are signatures.

    Goes on behind ``after`` ("upstream/id/version") for about so many seconds; ``next`` is where to go on, empty at the
    end. Of a folder nothing is held: its packages are checked when they are opened.
    """
    sources, began = desk.remote(upstream), desk.clock.monotonic()
    if upstream and not sources:
        root = desk.folders(upstream)[upstream].library.root
        raise BadRequest(f"Nothing is held of {upstream!r}: what lies in {root} is checked when it is opened.")
    name, _, rest = after.partition("/")
    last = PackageIdentity.parse(*rest.split("/", 1)) if "/" in rest else None
    checked, size, damaged, flawed = 0, 0, list[dict[str, Any]](), list[dict[str, Any]]()
    for source in sources.values():
        if name and source.name != name:
            continue
        name = ""
        unread = partial(_note_unread, damaged, source.name)
        while batch := await source.packages.folder.inventory.after(last, BATCH, unread):
            for last in batch:
                read, damage = await _verify(source, last)
                checked, size = checked + 1, size + read
                damaged += [damage] if damage else []
                flawed += await _flaws(source, last) if source.signatures.on else []
                if desk.clock.monotonic() - began >= seconds:
                    place = f"{source.name}/{last.id}/{last.version}"
                    return {"checked": checked, "size": size, "damaged": damaged, "flawed": flawed, "next": place}
        last = None
    return {"checked": checked, "size": size, "damaged": damaged, "flawed": flawed, "next": ""}


def _note_unread(damaged: list[dict[str, Any]], upstream: str, failure: DiskFailure) -> None:
    """All versions of an id, whose folder cannot be listed."""
    row = {"upstream": upstream, "id": Path(failure.path).name, "version": "*", "repaired": False}
    damaged.append({**row, "says": f"it cannot be read: {failure}"})


async def _flaws(source: RemoteSource, identity: PackageIdentity) -> list[dict[str, Any]]:
    """What is wrong with the signature of a held package, as its source wants it; nothing where it counts."""
    row = {"upstream": source.name, "id": identity.id, "version": identity.version}
    try:
        held = await source.packages.open(identity)
    except ProxyError as error:
        return [{**row, "says": str(error).rstrip(".")}]
    return [{**row, "says": held.signed.notice.rstrip(".")}] if held and held.signed and held.signed.notice else []


async def _verify(source: RemoteSource, identity: PackageIdentity) -> tuple[int, dict[str, Any] | None]:
    """Bytes that were read; what was wrong."""
    packages, read = source.packages, 0

    async def count(size: int) -> None:
        nonlocal read
        read += size

    row = {"upstream": source.name, "id": identity.id, "version": identity.version, "repaired": False}
    try:
        if await packages.folder.scrub(identity, count):
            return read, None
    except DiskFailure as failure:
        return read, {**row, "says": f"it cannot be read: {failure}"}
    await packages.holdings.remove(identity)
    stays = await asyncio.to_thread(os.path.lexists, packages.folder.layout.nupkg(identity))
    aside = "not set aside, as the disk refused" if stays else "set aside"
    try:
        await source.fetch(identity)
    except ProxyError as error:
        return read, {**row, "says": f"{aside}; it could not be fetched again: {error}"}
    if unkept := await packages.folder.pending.settle(identity):
        return read, {**row, "says": f"{aside}; it was fetched again, and cannot be kept: {unkept}"}
    if await packages.held(identity) is None:
        return read, {**row, "says": f"{aside}; the upstream has it no more"}
    return read, {**row, "repaired": True, "says": f"{aside}, fetched again"}
