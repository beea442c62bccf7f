"""Dependency ranges as registrations state them."""

from __future__ import annotations

import pytest

from nugetproxy.nuget.synthesis.ranges import normalized_range


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "(, )"),
        ("1.0", "[1.0.0, )"),
        (" 1.0.0-Beta+meta ", "[1.0.0-Beta+meta, )"),
        ("[1.0]", "[1.0.0]"),
        ("[1.0,2.0)", "[1.0.0, 2.0.0)"),
        ("(1.0 , )", "(1.0.0, )"),
        ("[,2.0]", "[, 2.0.0]"),
        ("(,)", "(, )"),
        ("[1.0, 1.0]", "[1.0.0, 1.0.0]"),
        ("[1.2.3.4, )", "[1.2.3.4, )"),
    ],
)
def test_ranges(text: str, expected: str) -> None:
    assert normalized_range(text) == expected
    assert normalized_range(expected) == expected


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "[",
        "[]",
        "()",
        "(1.0)",
        "[1.0",
        "1.0]",
        "[1.0,2.0,3.0]",
        "[2.0,1.0]",
        "(1.0,1.0)",
        "[1.0,x]",
        "1.*",
        "*",
        "[" + "1" * 700 + "]",
    ],
)
def test_what_is_no_range_allows_everything(text: str) -> None:
    assert normalized_range(text) == "(, )"
