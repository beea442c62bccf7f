"""Cluster commands tell how the shared engines are, what lies in the bucket."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import to_builtins

from nugetproxy.admin.desk import Desk
from nugetproxy.cluster.engines import EngineUnavailable, ObjectStore
from nugetproxy.cluster.probe import probe
from nugetproxy.cluster.second_level import SecondLevel
from nugetproxy.cluster.upkeep import clear, usage
from nugetproxy.errors import BadRequest


async def status(desk: Desk) -> Mapping[str, Any]:
    """Each engine as it answers now."""
    return {"engines": [{"engine": engine, "problem": problem} for engine, problem in await examine(_second(desk))]}


async def examine(second: SecondLevel) -> tuple[tuple[str, str], ...]:
    """Each engine with what is wrong with it; empty where nothing is."""
    found: list[tuple[str, str]] = []
    if second.store is not None:
        try:
            found.append(("bucket", (await probe(second.store)).problem))
        except EngineUnavailable as failure:
            found.append(("bucket", failure.why))
    if second.coordinator is not None:
        try:
            await second.coordinator.ping()
            found.append(("coordination", ""))
        except EngineUnavailable as failure:
            found.append(("coordination", failure.why))
    return tuple(found)


async def du(desk: Desk) -> Mapping[str, Any]:
    """What lies in the bucket, by source."""
    return {"sources": [to_builtins(one) for one in await usage(_store(desk))]}


async def gc(desk: Desk) -> Mapping[str, Any]:
    """Clear away what nobody needs any more in the bucket."""
    return {"removed": await clear(_store(desk), desk.clock.now())}


def _second(desk: Desk) -> SecondLevel:
    if desk.second is None:
        raise BadRequest("Nothing is shared; [cluster] names neither a store nor a coordination.")
    return desk.second


def _store(desk: Desk) -> ObjectStore:
    store = _second(desk).store
    if store is None:
        raise BadRequest("There is no bucket; cluster.store names one.")
    return store
