"""Ranges of projects: bounds, floating versions, which version a restore takes."""

from __future__ import annotations

import pytest

from nugetproxy.nuget.version import Version
from nugetproxy.nuget.version_range import VersionRange

KNOWN = ("0.9.0", "1.0.0-beta.1", "1.0.0", "1.0.5", "1.2.0", "1.3.0-rc.1", "2.0.0-alpha", "2.0.0", "2.1.0.1")


def parsed(*texts: str) -> list[Version]:
    found = [Version.parse(text) for text in texts]
    return [one for one in found if one is not None]


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        ("1.0", "1.0.0"),
        ("1.0.1", "1.0.5"),
        ("[1.0.0]", "1.0.0"),
        ("[1.1]", None),
        ("(1.0,2.0)", "1.0.5"),
        ("[1.0,)", "1.0.0"),
        ("(,1.0)", "0.9.0"),
        ("(, )", "0.9.0"),
        ("[1.5,2.0)", None),
        ("1.0.0-beta", "1.0.0-beta.1"),
        ("1.2.1", "2.0.0"),
        ("1.*", "1.2.0"),
        ("1.0.*", "1.0.5"),
        ("*", "2.1.0.1"),
        ("*-*", "2.1.0.1"),
        ("1.*-*", "1.3.0-rc.1"),
        ("2.0.0-*", "2.0.0"),
        ("1.3.0-rc.*", "1.3.0-rc.1"),
        ("1.1.*", "1.2.0"),
        ("[1.*, 1.1)", "1.0.5"),
        ("3.*", None),
        ("2.1.0.*", "2.1.0.1"),
    ],
)
def test_a_restore_takes_the_lowest_version_that_fits_or_the_highest_where_it_floats(
    text: str, taken: str | None
) -> None:
    range_ = VersionRange.parse(text)
    if text == "(, )":
        assert range_ is None, "no bound at all is no range to NuGet"
        return
    assert range_ is not None
    best = range_.best(parsed(*KNOWN))
    assert (best.normalized if best else None) == taken


@pytest.mark.parametrize(
    "text", ["", " ", "x", "(1.0)", "[1.0", "1.0]", "[1,2,3]", "[2.0,1.0]", "[1.0,1.0)", "1.*.0", "**", "1.0+*", "[,]"]
)
def test_what_is_no_range_is_none(text: str) -> None:
    assert VersionRange.parse(text) is None


@pytest.mark.parametrize(
    ("near", "far", "wins"),
    [
        ("1.0", "1.0", True),
        ("1.0", "2.0", False),
        ("2.0", "1.0", True),
        ("(,2.0]", "1.0", True),
        ("1.0", "(,2.0]", False),
        ("*", "9.0", True),
        ("1.*", "1.9", True),
        ("1.*", "2.0", False),
        ("1.9", "1.*", False),
        ("1.0.0-*", "1.0.0-beta", True),
        ("1.0.0-alpha*", "1.0.0-beta*", False),
    ],
)
def test_the_nearer_reference_stays_where_it_reaches_as_high(near: str, far: str, wins: bool) -> None:
    one, other = VersionRange.parse(near), VersionRange.parse(far)
    assert one is not None
    assert other is not None
    assert one.is_at_least(other) is wins


def test_one_version_in_brackets_is_both_bounds() -> None:
    assert VersionRange.parse("[1.0.0]") == VersionRange(lower=Version(1), upper=Version(1), with_upper=True)
