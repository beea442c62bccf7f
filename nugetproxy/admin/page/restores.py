"""Restores says of each restore whether the upstream, this proxy or the client was slow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any, Final

from msgspec import to_builtins

from nugetproxy.admin.desk import Desk
from nugetproxy.admin.page.viewer import Viewer
from nugetproxy.errors import NotFound
from nugetproxy.store.history.reading import Seen
from nugetproxy.store.history.restore import Restore, Step

QUICK: Final = 2.0
"""Seconds; nobody asks why such a restore was slow."""
SHOWN: Final = 100
LOOKED_AT: Final = 1000


class Slow(StrEnum):
    """Who took most of the time."""

    NOBODY = "nobody"
    UPSTREAM = "upstream"
    PROXY = "proxy"
    """Its disk, or its processor."""
    CLIENT = "client"


def shares(restore: Restore) -> Mapping[Slow, float]:
    """The seconds of a restore by who took them; together they are its duration."""
    asked = restore.upstream + restore.here + restore.client
    busy = min(restore.busy, restore.seconds)
    of = (lambda seconds: busy * seconds / asked) if asked else (lambda _: 0.0)
    idle = restore.seconds - busy if asked else restore.seconds
    return {
        Slow.UPSTREAM: of(restore.upstream),
        Slow.PROXY: of(restore.here),
        Slow.CLIENT: of(restore.client) + idle,
    }


def slow(restore: Restore) -> Slow:
    """Who took most of the time; nobody, where there was little of it."""
    parts = shares(restore)
    return Slow.NOBODY if restore.seconds < QUICK else max(parts, key=lambda who: parts[who])


def sentences(restore: Restore) -> Iterator[str]:
    """Why a restore took as long as it did, in plain words."""
    who, parts = slow(restore), shares(restore)
    spent, all_ = f"{parts.get(who, 0.0):.1f} s", f"{restore.seconds:.1f} s"
    if restore.failed:
        yield f"{restore.failed} of its requests failed; the recent trouble says why."
    if who is Slow.NOBODY:
        yield "It was quick."
    elif who is Slow.UPSTREAM:
        yield f"The upstream was slow: {spent} of {all_} went by waiting for it."
        yield from _slowest(restore)
        yield "What was fetched is here now: the same restore will not wait for it again."
    elif who is Slow.PROXY:
        yield f"This proxy was slow: {spent} of {all_} went by with its disk and processor."
        yield from _slowest(restore)
        yield "Look at the load and the disk of its machine."
    else:
        yield (
            f"The client was: for {spent} of {all_} it asked for nothing, or took what it was sent slowly. It was "
            "unpacking or compiling, or its network is slow."
        )


def _slowest(restore: Restore) -> Iterator[str]:
    step = restore.slowest_package() or next(iter(restore.slowest), None)
    if step is not None:
        yield f"The slowest was {name_of(step)}: {step.seconds:.1f} s ({step.outcome})."


def name_of(step: Step) -> str:
    """What a request was about."""
    what = f"{step.id} {step.version}".strip()
    return what if step.kind == "package" and what else f"{step.kind} {what}".strip()


def slow_step(step: Step) -> Slow:
    """Who took most of one request's time."""
    parts = {Slow.UPSTREAM: step.upstream, Slow.PROXY: step.here, Slow.CLIENT: step.client}
    return max(parts, key=lambda who: parts[who])


async def listed(desk: Desk, viewer: Viewer) -> Mapping[str, Any]:
    """The last restores that the viewer may see, the newest first."""
    found = [row(one, viewer) for one in await desk.history.restores(LOOKED_AT) if _may_see(one, viewer)]
    return {"restores": found[:SHOWN]}


async def one(desk: Desk, viewer: Viewer, *, number: int) -> Mapping[str, Any]:
    """One restore with its slowest requests; raises NotFound."""
    seen = await desk.history.restore(number)
    if seen is None or not _may_see(seen, viewer):
        raise NotFound("There is no such restore (any more).")
    steps = [
        {**to_builtins(step), "here": step.here, "name": name_of(step), "slow": slow_step(step)}
        for step in seen.restore.slowest
    ]
    return {**row(seen, viewer), "sentences": list(sentences(seen.restore)), "steps": steps}


def _may_see(seen: Seen, viewer: Viewer) -> bool:
    return viewer.admin or viewer.feeds.issuperset(seen.restore.feeds)


def row(seen: Seen, viewer: Viewer) -> Mapping[str, Any]:
    """A restore in short; whose it was is for administrators."""
    restore, slowest = seen.restore, seen.restore.slowest_package()
    whose = {"client": seen.client, "token": seen.token, "session": seen.session} if viewer.admin else {}
    return {
        "number": seen.number,
        **whose,
        "began": restore.began,
        "ended": restore.ended,
        "seconds": restore.seconds,
        "feeds": list(restore.feeds),
        "requests": restore.requests,
        "packages": restore.packages,
        "hits": restore.hits,
        "fetches": restore.fetches,
        "failed": restore.failed,
        "bytes": restore.size,
        "slow": slow(restore),
        "shares": {str(who): round(seconds, 3) for who, seconds in shares(restore).items()},
        "slowest": None if slowest is None else {"name": name_of(slowest), "seconds": slowest.seconds},
    }
