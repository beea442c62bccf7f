"""How much may be in one document: values, pages, links."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nugetproxy.nuget.documents.bounds import Bounds
from nugetproxy.nuget.documents.check import check
from nugetproxy.nuget.documents.exact_json import InvalidDocument
from nugetproxy.nuget.documents.render import View, render
from nugetproxy.nuget.kinds import Kind
from nugetproxy.nuget.services import parse_service_index

SERVICES = parse_service_index(b'{"version":"3.0.0","resources":[]}', "https://feed.test/index.json")
TEN = Bounds(values=10)


def packages(count: int, text: str) -> bytes:
    """An object and a list with so many texts in it: two values more."""
    return json.dumps({"data": [text] * count}).encode()


@pytest.mark.parametrize("text", ["a", 'a, [b], {"c": 1}' * 9, '"\\"[,' * 9, "\\\\"], ids=repr)
def test_values_are_counted_not_what_is_in_texts(text: str) -> None:
    check(Kind.AUTOCOMPLETE, packages(7, text), bounds=TEN)
    with pytest.raises(InvalidDocument, match=r"more than 10 values \(limits.document_values\)"):
        check(Kind.AUTOCOMPLETE, packages(9, text), bounds=TEN)


@pytest.mark.parametrize("value", ["1", "[]", "{}", "[[]]", '{"a":1}', "null"])
def test_every_value_counts(value: str) -> None:
    body = f'{{"items":[],"x":[{",".join([value] * 12)}]}}'.encode()
    with pytest.raises(InvalidDocument, match="document_values"):
        check(Kind.REGISTRATION, body, bounds=TEN)


def test_too_many_values_are_found_before_anything_is_parsed() -> None:
    with pytest.raises(InvalidDocument, match="document_values"):
        check(Kind.REGISTRATION, b"[," * 100, bounds=TEN)


PAGE = {"@id": "https://h/p", "@name": "base", "@updated": "2024-01-01T00:00:00Z"}


@pytest.mark.parametrize(
    ("kind", "wrap"), [(Kind.REGISTRATION, lambda found: {"items": found}), (Kind.VULNERABILITIES, list)]
)
def test_an_index_names_only_so_many_pages(kind: Kind, wrap: Any) -> None:
    check(kind, json.dumps(wrap([PAGE] * 3)).encode(), bounds=Bounds(links=3))
    with pytest.raises(InvalidDocument, match=r"more than 3 links or pages \(limits.document_links\)"):
        check(kind, json.dumps(wrap([PAGE] * 4)).encode(), bounds=Bounds(links=3))


def test_pages_that_an_index_holds_itself_do_not_count() -> None:
    held = [{**PAGE, "items": []}] * 9
    check(Kind.REGISTRATION, json.dumps({"items": held}).encode(), bounds=Bounds(links=3))
    with pytest.raises(InvalidDocument, match="more than 3 links"):
        check(Kind.REGISTRATION, json.dumps({"items": [*held, *[PAGE] * 4]}).encode(), bounds=Bounds(links=3))


def test_a_document_has_only_so_many_links() -> None:
    def links(count: int) -> int:
        pages = [{"@id": f"https://elsewhere.test/{number}"} for number in range(count)]
        view = View(SERVICES, "http://us.test/v3/", "https://feed.test/", most_links=3)
        return len(render(Kind.CATALOG, json.dumps({"items": pages * 2}).encode(), view).links)

    assert links(3) == 3, "each counts once"
    with pytest.raises(InvalidDocument, match="document_links"):
        links(4)
