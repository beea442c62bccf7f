"""A large document holds nobody up."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.large_document import GOAL_MS, measure


@pytest.mark.slow
async def test_the_loop_goes_on_while_18_mib_are_fetched_stored_and_served(tmp_path: Path) -> None:
    cost = await measure(tmp_path, 18 * 2**20)
    assert cost.lag_p99 < GOAL_MS, cost
    assert cost.peak < 500, cost
