"""What the history keeps, whatever the clock has said."""

from __future__ import annotations

from pathlib import Path

from nugetproxy.metrics import Metrics
from nugetproxy.store.fs import FsOps
from nugetproxy.store.history.history import PRUNE_SECONDS, History
from nugetproxy.store.history.sighting import What, Who
from tests.fakes.clock import BriskClock

YEAR = 365 * 86400
FAILED = What(
    feed="up", kind="package", id="acme.a", version="1.0.0", outcome="failed", status=503, size=0, reason="tls"
)


async def test_what_was_seen_while_the_clock_was_ahead_is_not_the_newest_for_years(tmp_path: Path) -> None:
    """As at a start before the time is known."""
    clock = BriskClock()
    right = clock.now()
    history = History(fs=FsOps(), clock=clock, metrics=Metrics(), restores=3, usage=YEAR)
    await history.open(tmp_path)
    clock.set(right + 10 * YEAR)
    for number in range(5):
        history.note(FAILED, Who("10.0.0.1", f"ahead{number}", ""), seconds=1.0, upstream=0.0, client=0.0)
        clock.advance(1)
    await history.flush()
    clock.set(right)
    history.note(FAILED, Who("10.0.0.1", "since", ""), seconds=1.0, upstream=0.0, client=0.0)
    clock.advance(PRUNE_SECONDS)
    await history.flush()
    assert [one.session for one in await history.restores(10)] == ["since"]
    history.note(FAILED, Who("10.0.0.1", "", ""), seconds=1.0, upstream=0.0, client=0.0)
    await history.flush()
    (trouble,) = await history.troubles(right, {"up"})
    assert trouble.last <= clock.now()
    await history.close()


async def test_what_came_while_the_clock_was_ahead_is_not_the_last_that_came_for_years(tmp_path: Path) -> None:
    clock = BriskClock()
    right = clock.now()
    history = History(fs=FsOps(), clock=clock, metrics=Metrics(), restores=3, usage=YEAR)
    await history.open(tmp_path)
    clock.set(right + 10 * YEAR)
    history.note(came("acme.ahead"), Who("10.0.0.1", "", ""), seconds=1.0, upstream=0.0, client=0.0)
    clock.set(right)
    history.note(came("acme.since"), Who("10.0.0.1", "", ""), seconds=1.0, upstream=0.0, client=0.0)
    clock.advance(PRUNE_SECONDS)
    await history.flush()
    assert [one.id for one in await history.newest({"up"}, 10)] == ["acme.since"]
    assert len(await history.pulled(0.0, {"up"})) == 2, "it was got all the same"
    await history.close()


def came(id: str) -> What:
    return What(feed="up", kind="package", id=id, version="1.0.0", outcome="miss", status=200, size=1, pulled=True)
