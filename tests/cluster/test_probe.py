"""What a store is found to do when several write at once, within the time that a replica really takes for it."""

from __future__ import annotations

import asyncio

import pytest

from nugetproxy.clock import Clock
from nugetproxy.cluster.bucket import Bucket, Place
from nugetproxy.cluster.probe import Honesty, probe
from nugetproxy.metrics import Metrics
from tests.cluster.engines import SeaweedFs


@pytest.mark.slow
@pytest.mark.usefixtures("impatient")
async def test_replicas_that_start_at_once_learn_at_the_first_try_what_a_store_does_that_lets_losers_wait(
    seaweed: SeaweedFs,
) -> None:
    place = Place(
        url=f"s3://{seaweed.bucket}/probes",
        endpoint=seaweed.endpoint,
        region=seaweed.region,
        key_id=seaweed.key,
        secret=seaweed.secret,
    )
    replicas = [Bucket(place, Clock(), Metrics()) for _ in range(4)]
    found = await asyncio.gather(*(probe(one) for one in replicas))
    assert found == [Honesty(creates=True, replaces=True)] * len(replicas)
    assert [one.problem for one in replicas] == [""] * len(replicas)
