"""Provenance commands read the first-seen log, as it is or to find out whether it is whole."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec import to_builtins

from nugetproxy.admin.desk import Desk
from nugetproxy.errors import BadRequest
from nugetproxy.nuget.first_seen import FirstSeen
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.store.fs import DiskFailure
from nugetproxy.store.packages.layout import Layout
from nugetproxy.store.packages.verify import read_marker
from nugetproxy.store.provenance.entered import Entered
from nugetproxy.store.provenance.provenance import Provenance
from nugetproxy.store.provenance.reading import examine, seen_in
from nugetproxy.store.provenance.reading import lines as lines_in

PIECE: Final = 2**20
"""Bytes of lines that are told at once."""
SHOWN: Final = 100
"""Packages that are named."""
_HASH: Final = 64

Held = Sequence[tuple[str, str, str, str]]
"""Source, id, version, SHA-512."""


async def verify(desk: Desk, *, head: str = "") -> Mapping[str, Any]:
    """Whether the chain of the first-seen log is whole, whether what is held has the hash of its line beside it;
    ``head`` is the hash of a line that was noted earlier, which must still be there."""
    if head and len(head) != _HASH:
        raise BadRequest(f"The hash of a line has {_HASH} characters.")
    held: list[tuple[str, str, str, str]] = []
    for name, packages in desk.packages().items():
        found = [identity for _, identity, _ in await packages.folder.usage.count()]
        if packages.folder.usage.unreadable:
            raise BadRequest(f"Not all that is held of {name!r} can be read: {packages.folder.usage.unreadable}")
        held += await asyncio.to_thread(_with_hashes, desk.provenance, packages.folder.layout, name, found)
    try:
        examined = await asyncio.to_thread(examine, desk.provenance.fs, desk.provenance.path, head.lower())
    except DiskFailure as failure:
        raise BadRequest(f"The first-seen log cannot be read: {failure}") from failure
    other, lacking = await asyncio.to_thread(_compare, held, examined.entered)
    return {
        "lines": examined.chain.lines,
        "head": examined.chain.head,
        "knows_head": examined.has_head,
        "broken": [to_builtins(one) for one in examined.broken],
        "breaks": examined.breaks,
        "cut": examined.cut,
        "held": len(held),
        "left_out": sorted(examined.sources.difference(desk.packages())),
        "other_bytes": [_row(one) for one in other[:SHOWN]],
        "others": len(other),
        "unknown": [_row(one) for one in lacking[:SHOWN]],
        "unknowns": len(lacking),
    }


async def lines(desk: Desk, *, after: float = 0.0, since: float = 0.0) -> Mapping[str, Any]:
    """The lines of the first-seen log behind a place in it, some at once, from the first one of a time on; ``next`` is
    the place behind them, None at the end."""
    try:
        found, end = await asyncio.to_thread(_lines, desk.provenance, int(after), since)
    except DiskFailure as failure:
        raise BadRequest(f"The first-seen log cannot be read: {failure}") from failure
    return {"lines": found, "next": end}


def _lines(provenance: Provenance, after: int, since: float) -> tuple[list[str], int | None]:
    found: list[str] = []
    size = 0
    for line in lines_in(provenance.fs, provenance.path, after):
        if since and not found and ((seen := seen_in(line.text)) is None or seen.at < since):
            continue
        found.append(line.text.decode(errors="backslashreplace"))
        size += len(line.text)
        if size >= PIECE:
            return found, line.end
    return found, None


def _with_hashes(provenance: Provenance, layout: Layout, source: str, identities: Sequence[PackageIdentity]) -> Held:
    """What is held, with its hash files; what is gone meanwhile, or has none yet, is left out."""
    found = ((one, read_marker(provenance.fs, layout.marker(one))) for one in identities)
    return [(source, one.id, one.version, sha512) for one, sha512 in found if sha512]


def _compare(held: Held, entered: Entered) -> tuple[list[FirstSeen], list[FirstSeen]]:
    """What has other bytes than any of its lines; what has no line."""
    other: list[FirstSeen] = []
    lacking: list[FirstSeen] = []
    for source, id, version, sha512 in held:
        one = FirstSeen(at=0.0, source=source, id=id, version=version, sha512=sha512)
        if not entered.has(one):
            (other if entered.has_version(source, id, version) else lacking).append(one)
    return other, lacking


def _row(one: FirstSeen) -> dict[str, str]:
    return {"upstream": one.source, "id": one.id, "version": one.version, "sha512": one.sha512}
