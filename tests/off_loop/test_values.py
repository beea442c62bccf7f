"""Plain values go to another process and come back the same; nothing else does."""

from __future__ import annotations

import json
from types import MappingProxyType
from typing import Any

import orjson
import pytest
from msgspec import Struct

from nugetproxy.caching.entry import Entry
from nugetproxy.nuget.documents.catalog import CatalogListing
from nugetproxy.nuget.documents.exact_json import dumps, loads_exact
from nugetproxy.nuget.documents.render import Link, PageRef, Rendered, View, render
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.nuget.kinds import Kind
from nugetproxy.nuget.services import parse_service_index
from nugetproxy.nuget.version import Version
from nugetproxy.off_loop.values import NoPlainValue, call, pack, pack_call, unpack

INDEX = json.dumps(
    {
        "version": "3.0.0",
        "resources": [{"@id": "https://feed.test/reg/", "@type": "RegistrationsBaseUrl/3.6.0", "n": 1}],
    }
).encode()
URL = "https://feed.test/reg/foo/index.json"
REGISTRATION = json.dumps({"@id": URL, "items": [{"@id": "https://cdn.test/page.json", "count": 1}]}).encode()
PLAIN = [
    None,
    True,
    -1,
    2.5,
    "text \ud800 \0",
    b"\0\xff",
    (b"a", [b"b", ()], {"c": b"d"}),
    {1, 2},
    tuple(range(1000)),
    {str(number): [b"x"] for number in range(300)},
    frozenset({"a"}),
    {("a", 1): "tuples as keys"},
    ["tuple", ["what looks like a form"]],
    MappingProxyType({"a": (1,)}),
    Kind.REGISTRATION,
    Version.parse("1.0.0-Beta+x"),
    PackageIdentity("acme.a", "1.0.0"),
    (PackageIdentity("acme.a", "1.0.0"), {PackageIdentity("acme.b", "1.0.0"): 1}),
    Link.to(Kind.REGISTRATION_PAGE, "https://h/\udc80"),
    PageRef("https://h/", "commit"),
    Rendered(b"{}", (Link.to(Kind.CATALOG, "https://h/"),), ("garbage",), empty=True),
    CatalogListing(MappingProxyType({"https://h/": "c"}), "https://h/"),
    Entry.of(200, b"{}", stored_at=1.5),
]


@pytest.mark.parametrize("value", PLAIN, ids=lambda value: type(value).__name__)
def test_it_comes_back_the_same(value: Any) -> None:
    found = unpack(pack(value))
    assert found == value
    assert type(found) is type(value)


def test_numbers_keep_their_spelling() -> None:
    body = b'{"a":1.10,"b":12345678901234567890123}'
    assert dumps(unpack(pack(loads_exact(body)))) == body


def test_a_call_with_a_view_is_made_as_it_would_be_here() -> None:
    view = View(parse_service_index(INDEX, "https://feed.test/index.json"), "http://us.test/v3/", URL, "", 5)
    here = render(Kind.REGISTRATION, REGISTRATION, view)
    assert call(pack_call(render, (Kind.REGISTRATION, REGISTRATION, view), {})) == here
    assert here.links, "it has something to find"


class Foreign(Struct):
    value: int = 1


@pytest.mark.parametrize(
    "value",
    [object(), iter([1]), Foreign(), bytearray(b"x"), 1j, print, Foreign],
    ids=lambda value: type(value).__name__,
)
def test_what_is_not_plain_has_no_form(value: Any) -> None:
    with pytest.raises(NoPlainValue):
        pack((value,))


@pytest.mark.parametrize(
    "work",
    [print, len, orjson.loads, json.loads, Version.parse, lambda: 1, Version],
    ids=lambda value: type(value).__name__,
)
def test_functions_from_elsewhere_are_not_called(work: Any) -> None:
    with pytest.raises(NoPlainValue):
        pack_call(work, (), {})


@pytest.mark.parametrize(
    "form",
    [
        ["object", "subprocess", "Popen", {"args": "true"}],
        ["object", "nugetproxy.nuget.services", "hashlib", {}],
        ["object", "nugetproxy.nuget.services", "InvalidDocument", {"detail": "of another module"}],
        ["object", "nugetproxy.nuget.services", "parse_service_index", {"body": "", "url": ""}],
        ["enum", "nugetproxy.nuget.version", "Version", 1],
        ["enum", "os", "system", "true"],
        ["unheard", 1],
        [],
    ],
    ids=str,
)
def test_an_answer_can_say_nothing_that_runs(form: Any) -> None:
    with pytest.raises(NoPlainValue):
        unpack((json.dumps(form).encode(),))


@pytest.mark.parametrize(("home", "name"), [("os", "system"), ("nugetproxy.nuget.services", "hashlib"), ("x", "y")])
def test_a_question_calls_nothing_else(home: str, name: str) -> None:
    with pytest.raises(NoPlainValue):
        call(pack((home, name, ("true",), {})))
