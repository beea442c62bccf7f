"""What documents say of versions beside what lies in the packages."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nugetproxy.nuget.documents.advisories import Advisory
from nugetproxy.nuget.documents.statements import Statement, seconds, statements
from nugetproxy.nuget.identity import PackageIdentity, Version
from nugetproxy.nuget.kinds import Kind
from nugetproxy.nuget.rules import NOT_DEPRECATED
from nugetproxy.nuget.synthesis.ranges import is_within

A = PackageIdentity("acme.a", "1.0.0")
DATE = "2021-03-04T05:06:07Z"
CONTENT = "http://h/acme.a/1.0.0/acme.a.1.0.0.nupkg"
REASON = {"reasons": ["Legacy"]}


def index(**entry: Any) -> dict[str, Any]:
    return {"items": [{"items": [{"catalogEntry": {"id": "Acme.A", "version": "1.0.0+sha", **entry}}]}]}


@pytest.mark.parametrize(
    ("kind", "document", "expected"),
    [
        (Kind.REGISTRATION, index(), Statement(identity=A, listed=True, deprecation=NOT_DEPRECATED)),
        (
            Kind.REGISTRATION,
            index(published="1900-01-01T00:00:00+00:00"),
            Statement(identity=A, listed=False, deprecation=NOT_DEPRECATED),
        ),
        (
            Kind.REGISTRATION,
            index(published=DATE, listed=False, deprecation=REASON, vulnerabilities=[{"severity": "1"}]),
            Statement(
                identity=A,
                published=DATE,
                listed=False,
                deprecation='{"reasons":["Legacy"]}',
                vulnerabilities=({"severity": "1"},),
            ),
        ),
        (
            Kind.REGISTRATION_LEAF,
            {"catalogEntry": "http://h/leaf", "packageContent": CONTENT, "published": DATE},
            Statement(identity=A, published=DATE, details="http://h/leaf"),
        ),
        (
            Kind.REGISTRATION_LEAF,
            {"id": "Acme.A", "version": "1.0.0", "published": DATE},
            Statement(identity=A, published=DATE, listed=True, deprecation=NOT_DEPRECATED),
        ),
        (
            Kind.CATALOG_LEAF,
            {"id": "Acme.A", "version": "1.0.0", "published": DATE, "listed": False},
            Statement(identity=A, published=DATE),
        ),
        (
            Kind.SEARCH,
            {"totalHits": 2, "data": [{"id": "Acme.A", "version": "1.0", "deprecation": REASON}, {"id": "B"}]},
            Statement(identity=A, deprecation='{"reasons":["Legacy"]}'),
        ),
    ],
)
def test_each_kind_of_document(kind: Kind, document: Any, expected: Statement) -> None:
    assert statements(kind, json.dumps(document).encode(), "acme.a") == (expected,)


@pytest.mark.parametrize("odd", [{}, {"items": None}, {"items": [{"items": [{"catalogEntry": {"id": 1}}]}]}])
def test_what_names_no_version_says_nothing(odd: Any) -> None:
    assert statements(Kind.REGISTRATION, json.dumps(odd).encode(), "acme.a") == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (DATE, 1614834367.0),
        ("2021-03-04T05:06:07", 1614834367.0),
        ("2021-03-04T07:06:07.1234567+02:00", 1614834367.123456),
        ("1900-01-01T00:00:00+00:00", None),
        ("0001-01-01T00:00:00", None),
        ("yesterday", None),
        ("", None),
        (None, None),
    ],
)
def test_dates(text: str | None, expected: float | None) -> None:
    assert seconds(text) == (None if expected is None else pytest.approx(expected, abs=1e-5))


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("(, 2.0.0)", ["0.1.0", "2.0.0-beta", "1.9.9"], ["2.0.0", "3.0.0"]),
        ("[1.0.0, 2.0.0]", ["1.0.0", "2.0.0"], ["1.0.0-rc", "2.0.1"]),
        ("(1.0.0, 2.0.0)", ["1.0.1"], ["1.0.0", "2.0.0"]),
        ("[1.0.0]", ["1.0.0", "1.0.0+sha"], ["1.0.1"]),
        ("1.0", ["1.0.0", "9.0.0"], ["0.9.0"]),
        ("[1.0, )", ["1.0.0", "9.0.0"], ["0.9.0"]),
        ("all of them", ["0.0.1", "9.0.0"], []),
        ("", ["1.0.0"], []),
        ("[", ["1.0.0"], []),
        ("(1.0)", ["1.0.0"], []),
    ],
)
def test_which_versions_an_advisory_concerns(text: str, inside: list[str], outside: list[str]) -> None:
    """What cannot be read concerns every version: a warning too many does less harm than one too few."""
    advisory = Advisory("https://example.org/A-1", "2", text)
    for expected, versions in ((True, inside), (False, outside)):
        for version in versions:
            parsed = Version.parse(version)
            assert parsed is not None
            assert advisory.concerns(parsed) is is_within(text, parsed) is expected, version
