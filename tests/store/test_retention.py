"""Which packages go although there is room."""

from __future__ import annotations

import math

import pytest

from nugetproxy.caching.policy import DAY
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.store.packages.retention import Counted, Retention, Why, overdue

NOW = 1_000 * DAY


def held(name: str, days: float) -> Counted:
    """A package that was used so many days ago."""
    id, version = name.split("@")
    return NOW - days * DAY, PackageIdentity(id, version), 10


ALL = (held("a@1.0.0", 100), held("a@2.0.0", 3), held("a@10.0.0", 50), held("a@11.0.0-rc.1", 0.5), held("b@1.0.0", 50))


@pytest.mark.parametrize(
    ("retention", "expected"),
    [
        (Retention(), []),
        (Retention(unused_for=90 * DAY), [("a@1.0.0", Why.UNUSED)]),
        (
            Retention(unused_for=20 * DAY),
            [("a@1.0.0", Why.UNUSED), ("a@10.0.0", Why.UNUSED), ("b@1.0.0", Why.UNUSED)],
        ),
        (Retention(keep_last=2), [("a@1.0.0", Why.SUPERSEDED), ("a@2.0.0", Why.SUPERSEDED)]),
        (Retention(keep_last=4), []),
        (Retention(keep_last=3, unused_for=200 * DAY), [("a@1.0.0", Why.SUPERSEDED)]),
        (
            Retention(keep_last=1, unused_for=90 * DAY),
            [("a@1.0.0", Why.UNUSED), ("a@10.0.0", Why.SUPERSEDED), ("a@2.0.0", Why.SUPERSEDED)],
        ),
    ],
)
def test_what_goes_and_why(retention: Retention, expected: list[tuple[str, Why]]) -> None:
    gone = [(f"{one[1].id}@{one[1].version}", why) for one, why in overdue(ALL, retention, NOW)]
    assert gone == expected


def test_a_version_of_today_stays_however_old_it_is() -> None:
    used_today = [held(f"a@{number}.0.0", 0.9) for number in range(5)]
    assert list(overdue(used_today, Retention(keep_last=1), NOW)) == []


def test_what_never_ends_is_known() -> None:
    assert Retention().is_endless
    assert not Retention(keep_last=1).is_endless
    assert not Retention(unused_for=1.0).is_endless
    assert Retention(unused_for=math.inf).is_endless
