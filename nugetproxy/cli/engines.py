"""Engines of ``[cluster]`` are tried out without a proxy."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nugetproxy.config import Config


def examined(config: Config) -> tuple[tuple[str, str], ...]:
    """Each configured engine with what is wrong with it, empty where nothing is; raises ConfigError."""
    return asyncio.run(_examined(config))


async def _examined(config: Config) -> tuple[tuple[str, str], ...]:
    from nugetproxy.admin.cluster_commands import examine
    from nugetproxy.app.replicas import engines
    from nugetproxy.clock import Clock
    from nugetproxy.cluster.second_level import SecondLevel
    from nugetproxy.metrics import Metrics

    clock, metrics = Clock(), Metrics()
    store, coordinator = engines(config.cluster, clock, metrics)
    try:
        second = SecondLevel(
            store, coordinator, origins={}, clock=clock, metrics=metrics, told=lambda _source, _id, _at: None
        )
        return await examine(second)
    finally:
        if coordinator is not None:
            await coordinator.close()
