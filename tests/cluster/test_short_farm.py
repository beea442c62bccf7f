"""Two replicas, each a process, that lose an engine in a storm: the short form of ``test_farm``, for every run."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.conftest import shared
from tests.cluster.engines import Redis, SeaweedFs, running
from tests.cluster.farm import Farm, Storm, after

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
REPLICAS, CLIENTS, PACKAGES = 2, 16, 12


def farm_of(folder: Path, cluster: dict[str, str]) -> Farm:
    return Farm(folder, cluster, replicas=REPLICAS, packages=PACKAGES)


async def storm_on(farm: Farm) -> Storm:
    return await farm.storm(lambda _, __: random.randrange(REPLICAS), clients=CLIENTS)


async def test_an_engine_that_is_lost_in_a_storm_costs_no_answer_and_little_time(
    tmp_path: Path, record_property: Any
) -> None:
    for engine in (SeaweedFs, Redis):
        if not engine.is_there():
            pytest.skip(f"{engine.program} is missing")
    async with farm_of(tmp_path / "alone", {}) as farm:
        alone = await storm_on(farm)
    with running(SeaweedFs()) as store, running(Redis()) as redis:
        assert isinstance(store, SeaweedFs) and isinstance(redis, Redis)
        store.make_bucket()
        # The bucket hangs first and goes on; then the Redis is gone for good.
        for name, lose in (("bucket hangs", store.hang), ("redis is killed", redis.kill)):
            farm = farm_of(tmp_path / name.partition(" ")[0], shared(store, redis))
            async with farm, after(farm.half, lose):
                storm = await storm_on(farm)
            store.go_on()
            record_property(f"{name} (alone: p99 {alone.p99:.2f} s)", str(storm))
            assert storm.errors == []
            assert storm.per_package <= REPLICAS
            # Twice as long for the load of a machine with other tests on it; two seconds are the engine's.
            assert storm.p99 <= 2 * alone.p99 + 2.0
