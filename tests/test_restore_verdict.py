"""Why a restore was slow: the upstream, this proxy, or its client."""

from __future__ import annotations

import pytest

from nugetproxy.admin.page.restores import Slow, sentences, shares, slow
from nugetproxy.store.history.restore import SLOWEST, Restore
from nugetproxy.store.history.sighting import Sighting, What, Who

NOBODY = Who("10.0.0.1", "s", "")
START = 1_000_000.0


def sighting(
    end: float,
    seconds: float,
    *,
    upstream: float = 0.0,
    client: float = 0.0,
    outcome: str = "hit",
    reason: str = "",
    id: str = "acme.a",
) -> Sighting:
    """A package that was answered ``end`` seconds after the start."""
    what = What(
        feed="up",
        kind="package",
        id=id,
        version="1.0.0",
        outcome=outcome,
        status=200,
        size=10,
        reason=reason,
        pulled=True,
    )
    return (START + end, what, NOBODY, seconds, upstream, client)


def restored(*sightings: Sighting) -> Restore:
    began = min(one[0] - one[3] for one in sightings)
    restore = Restore(began=began, ended=began)
    restore.add(sightings)
    return Restore.from_json(restore.to_json())


QUICK = (sighting(0.1, 0.1), sighting(0.3, 0.1))
UPSTREAM = (sighting(0.1, 0.1), sighting(4.0, 3.8, upstream=0.2, outcome="miss", id="acme.slow"))
WAITED = (sighting(4.0, 4.0, upstream=3.9, outcome="revalidated"),)
DISK = (sighting(4.0, 3.9), sighting(4.1, 0.1, outcome="miss"))
TAKEN_SLOWLY = (sighting(4.0, 4.0, client=3.8),)
DOWNLOADED_WHILE_TAKEN_SLOWLY = (sighting(4.0, 4.0, upstream=0.1, client=3.5, outcome="miss"),)
IDLE = (sighting(0.1, 0.1, outcome="miss"), sighting(9.0, 0.1, outcome="miss"))
ONE_AFTER_THE_OTHER = tuple(sighting(n / 2, 0.45, outcome="miss") for n in range(1, 9))
AT_THE_SAME_TIME = tuple(sighting(3.0, 3.0, outcome="miss") for _ in range(50))
UPSTREAM_AWAY = (sighting(3.0, 3.0, upstream=0.5, outcome="failed", reason="connect_timeout"),)
OUR_DISK_FAILED = (sighting(3.0, 3.0, outcome="failed", reason="disk"),)


@pytest.mark.parametrize(
    ("sightings", "who"),
    [
        (QUICK, Slow.NOBODY),
        (UPSTREAM, Slow.UPSTREAM),
        (WAITED, Slow.UPSTREAM),
        (DISK, Slow.PROXY),
        (TAKEN_SLOWLY, Slow.CLIENT),
        (DOWNLOADED_WHILE_TAKEN_SLOWLY, Slow.CLIENT),
        (IDLE, Slow.CLIENT),
        (ONE_AFTER_THE_OTHER, Slow.UPSTREAM),
        (AT_THE_SAME_TIME, Slow.UPSTREAM),
        (UPSTREAM_AWAY, Slow.UPSTREAM),
        (OUR_DISK_FAILED, Slow.PROXY),
    ],
)
def test_who_was_slow(sightings: tuple[Sighting, ...], who: Slow) -> None:
    restore = restored(*sightings)
    assert slow(restore) is who
    assert sum(shares(restore).values()) == pytest.approx(restore.seconds), "all of the time is somebody's"


@pytest.mark.parametrize(
    ("sightings", "words"),
    [
        (QUICK, "It was quick."),
        (UPSTREAM, "The slowest was acme.slow 1.0.0: 3.8 s (miss)."),
        (DISK, "Look at the load and the disk of its machine."),
        (IDLE, "it asked for nothing"),
        (UPSTREAM_AWAY, "1 of its requests failed"),
    ],
)
def test_it_is_said_in_plain_words(sightings: tuple[Sighting, ...], words: str) -> None:
    assert words in " ".join(sentences(restored(*sightings)))


def test_what_goes_on_at_the_same_time_is_busy_once() -> None:
    assert restored(*AT_THE_SAME_TIME).busy == pytest.approx(3.0)
    assert restored(*IDLE).busy == pytest.approx(0.2)


def test_the_slowest_requests_are_kept_the_slowest_first() -> None:
    restore = restored(*(sighting(n, n / 100, id=f"acme.n{n}") for n in range(1, 40)))
    assert [step.id for step in restore.slowest] == [f"acme.n{n}" for n in range(39, 39 - SLOWEST, -1)]


def test_batches_in_any_size_make_the_same_restore() -> None:
    whole = restored(*ONE_AFTER_THE_OTHER)
    parts = Restore(began=START, ended=START)
    for one in ONE_AFTER_THE_OTHER:
        parts.add([one])
    assert (parts.requests, parts.packages, parts.size) == (whole.requests, whole.packages, whole.size)
    assert parts.busy == pytest.approx(whole.busy)
    assert parts.upstream == pytest.approx(whole.upstream)
