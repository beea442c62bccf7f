"""What the history counts together is what it would say of each request alone."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nugetproxy.metrics import Metrics
from nugetproxy.store.fs import FsOps
from nugetproxy.store.history.form import HISTORY
from nugetproxy.store.history.history import History
from nugetproxy.store.history.sighting import Sighting, What, Who
from nugetproxy.store.history.tally import Tally
from nugetproxy.store.history.writing import write
from nugetproxy.store.sqlite_form import open_writer
from tests.fakes.clock import FakeClock

START = 1_700_000_000.0 // 3600 * 3600
WHATS = [
    What(feed=feed, kind=kind, id="acme.a", version=version, outcome=outcome, status=200, size=size, pulled=pulled)
    for feed in ("one", "other")
    for kind, version, outcome, size, pulled in (
        ("versions", "", "hit", 30, False),
        ("package", "1.0.0", "hit", 1000, True),
        ("package", "1.0.0", "miss", 1000, True),
        ("package", "2.0.0", "stale", 2000, True),
        ("package", "2.0.0", "failed", 7, False),
    )
]
WHOS = [Who("10.0.0.1", "", ""), Who("10.0.0.2", "", ""), Who("10.0.0.1", "", "farm"), Who("10.0.0.1", "", "")]
TABLES = ("counts", "pulls", "usage", "troubles", "restores")
STEPS = st.sampled_from([0.0, 0.25, 1.0, 29.5, 59.75, 60.0, 3599.0, 86400.0, -0.5, -61.0, -7200.0])


def rows(connection: sqlite3.Connection) -> dict[str, list[tuple[Any, ...]]]:
    return {table: sorted(connection.execute(f"SELECT * FROM {table}")) for table in TABLES}


@settings(
    max_examples=2 * settings.default.max_examples,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    hits=st.lists(
        st.tuples(STEPS, st.sampled_from(WHATS), st.sampled_from(WHOS), st.sampled_from([0, 0, 0, 0, 1])), max_size=40
    )
)
def test_rows_are_those_of_one_write_for_each(
    tmp_path_factory: pytest.TempPathFactory, clock: FakeClock, hits: Sequence[tuple[float, What, Who, int]]
) -> None:
    """In any order of times (minutes, hours, days end; clocks are set back), whenever a batch is written."""
    folder = tmp_path_factory.mktemp("history")
    alone, together = open_writer(HISTORY, folder / "alone.db"), open_writer(HISTORY, folder / "together.db")
    history = History(fs=FsOps(), clock=clock, metrics=Metrics(), restores=10, usage=1e9)
    batches: list[Sequence[Sighting | Tally]] = []

    async def keep(_write: object, batch: Sequence[Sighting | Tally], **_: Any) -> None:
        batches.append(batch)

    history._file.write = keep  # type: ignore[method-assign]
    history._prune = lambda: asyncio.sleep(0)  # type: ignore[method-assign]
    at = START
    for step, what, who, ends in hits:
        at += step
        write(alone, [(at, what, who, 0.1, 0.0, 0.0)], restores=10, usage=1e9)
        assert history.count(at, what, who) is not None
        if ends:
            asyncio.run(history.flush())
    asyncio.run(history.flush())
    for batch in batches:
        write(together, batch, restores=10, usage=1e9)
    assert rows(together) == rows(alone)
    alone.close()
    together.close()


def test_a_tally_takes_what_is_of_its_minute_only() -> None:
    what, who, other = WHATS[0], WHOS[0], WHOS[3]
    tally = Tally(START + 30, what, who)
    assert tally.takes(START + 59.9, who)
    assert tally.takes(START, who)
    assert not tally.takes(START + 60, who)
    assert not tally.takes(START - 0.1, who)
    assert not tally.takes(START + 30, other), "another object, though equal"
    assert (tally.times, tally.first, tally.last) == (3, START, START + 59.9)
    tally.close()
    assert not tally.takes(START + 30, who)
