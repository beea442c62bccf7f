"""Proxy commands are about the running proxy as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nugetproxy import __version__
from nugetproxy.admin.desk import Desk
from nugetproxy.admin.levels import levels
from nugetproxy.admin.times import date
from nugetproxy.engine.outcome import Outcome
from nugetproxy.errors import BadRequest
from nugetproxy.sources.folder import FolderSource
from nugetproxy.sources.inspection import Condition, health_of
from nugetproxy.sources.remote import RemoteSource

SERVED_HERE = (
    Outcome.HIT,
    Outcome.STALE,
    Outcome.SYNTHESIZED,
    Outcome.REVALIDATED,
    Outcome.COLLAPSED,
    Outcome.ABSENT,
)
"""Outcomes of requests for which nothing had to be downloaded."""


async def reload(desk: Desk) -> Mapping[str, Any]:
    """Follow the configuration as it is now; what was changed, what needs a restart, what there is to know."""
    if desk.switch.reload is None:
        raise BadRequest("No proxy runs with this cache directory; the next start reads the configuration.")
    return await desk.switch.reload()


async def backup(desk: Desk) -> Mapping[str, Any]:
    """Have a copy of the ledger made that can be carried away; its name in the cache directory."""
    return {"file": (await desk.ledger.snapshot()).name}


async def stats(desk: Desk) -> Mapping[str, Any]:
    """What is held, how requests were answered since the start, which upstreams or engines are in trouble."""
    await desk.expiry.round()
    outcomes = desk.metrics.requests.outcomes()
    asked = sum(outcomes.values())
    answered = asked - outcomes.get(Outcome.REJECTED, 0)
    return {
        "version": __version__,
        "running": desk.switch.reload is not None,
        "requests": asked,
        "outcomes": outcomes,
        "hit_ratio": sum(outcomes.get(one, 0) for one in SERVED_HERE) / answered if answered else None,
        "sent_bytes": desk.metrics.requests.sent_bytes,
        "received_bytes": _total(desk, "received_bytes"),
        "limit": desk.room.limit,
        "kept": len(desk.room.kept.wanted),
        "levels": levels(desk),
        "upstreams": [await _upstream(desk, name) for name in desk.sources],
        "problems": [one.problem for one in desk.watched if one.problem],
        "ends": [{"what": one.what, "name": one.name, "at": date(one.at)} for one in desk.expiry.endings],
    }


def _total(desk: Desk, name: str) -> float:
    return sum(
        sample.value
        for family in desk.metrics.registry.collect()
        if family.name == f"nugetproxy_{name}"
        for sample in family.samples
        if sample.name.endswith("_total")
    )


async def _upstream(desk: Desk, name: str) -> dict[str, Any]:
    source = desk.sources[name]
    packages, size, folder = None, None, None
    if isinstance(source, FolderSource):
        folder = str(source.library.root)
    if isinstance(source, RemoteSource):
        usage = source.packages.folder.usage
        if not usage.is_counted:
            await usage.count()
        packages, size = usage.packages, usage.bytes
    trouble = {
        origin: state.cause.detail if state.cause is not None else str(state.phase)
        for origin, state in source.breakers().items()
    }
    health = health_of(source)
    if health.condition in {Condition.UNUSABLE, Condition.UNREADABLE}:
        trouble[health.place] = f"{health.failure.rstrip('.')}. {health.todo}".rstrip(". ")
    return {"name": name, "packages": packages, "size": size, "folder": folder, "trouble": trouble}
