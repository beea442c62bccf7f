"""The grammar of searches."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nugetproxy.errors import BadRequest
from nugetproxy.nuget.synthesis.search_query import (
    DEFAULT_TAKE,
    MAX_TERMS,
    MAX_WORDS,
    BadParameter,
    Field,
    SearchQuery,
    Term,
    Word,
    camel_parts,
    id_parts,
    split_words,
)


def parse(q: str, **parameters: str) -> SearchQuery:
    return SearchQuery.parse(urlencode({"q": q, **parameters}))


def term(*words: str, phrase: bool = False) -> Term:
    return Term(tuple(map(Word, words)), phrase)


@pytest.mark.parametrize(
    ("q", "expected"),
    [
        ("", {}),
        ("   ", {}),
        ("*", {}),
        ('""', {}),
        ("newton", {"terms": (term("newton"),), "name": "newton"}),
        ("Newtonsoft.Json", {"terms": (term("newtonsoft", "json"),), "name": "newtonsoft.json"}),
        ("a-b_c", {"terms": (term("a", "b", "c"),), "name": "a-b_c"}),
        ("json net", {"terms": (term("json"), term("net"))}),
        ('"hello world"', {"terms": (term("hello", "world", phrase=True),), "name": "hello world"}),
        ('"hello world', {"terms": (term("hello", "world", phrase=True),), "name": "hello world"}),
        ('foo"bar baz"', {"terms": (term("foo"), term("bar", "baz", phrase=True))}),
        (
            "JsonNet",
            {"terms": (Term((Word("jsonnet", ("json", "net")),)),), "name": "jsonnet"},
        ),
        ("packageid:Foo.Bar", {"ids": ("foo.bar",), "name": "foo.bar"}),
        ("PackageId:Foo packageid:bar", {"ids": ("foo", "bar")}),
        ("id:Foo", {"scoped": ((Field.ID, (term("foo"),)),), "name": "foo"}),
        ("id:foo ID:bar", {"scoped": ((Field.ID, (term("foo"), term("bar"))),)}),
        ('id:"foo bar"', {"scoped": ((Field.ID, (term("foo", "bar", phrase=True),)),), "name": "foo bar"}),
        ("title:x tags:y", {"scoped": ((Field.TITLE, (term("x"),)), (Field.TAGS, (term("y"),)))}),
        ("tag:a,b;c", {"scoped": ((Field.TAGS, (term("a"), term("b"), term("c"))),)}),
        ("author:ann authors:bob", {"scoped": ((Field.AUTHORS, (term("ann"), term("bob"))),)}),
        ("owner:ann owners:bob", {"scoped": ((Field.OWNERS, (term("ann"), term("bob"))),)}),
        ("description:x summary:y", {"scoped": ((Field.DESCRIPTION, (term("x"),)), (Field.SUMMARY, (term("y"),)))}),
        ("version:1.0", {"versions": ("1.0.0",)}),
        ("version:1.0.0-RC+x version:nonsense", {"versions": ("1.0.0-rc", "nonsense")}),
        ('"id:foo"', {"terms": (term("id", "foo", phrase=True),), "name": "id:foo"}),
        ("unknown:foo", {"terms": (term("unknown", "foo"),), "name": "unknown:foo"}),
        ("http://x.y", {"terms": (term("http", "x", "y"),), "name": "http://x.y"}),
        ("id:", {"terms": (term("id"),), "name": "id"}),
        (":", {"terms": (Term(()),)}),
        ("???", {"terms": (Term(()),)}),
        ("newtonsoft.", {"terms": (term("newtonsoft"),), "name": "newtonsoft"}),
        ("json*", {"terms": (term("json"),), "name": "json"}),
        ("Größe", {"terms": (term("größe"),), "name": "größe"}),
        ("日本語", {"terms": (term("日本語"),), "name": "日本語"}),
    ],
)
def test_grammar(q: str, expected: dict[str, Any]) -> None:
    assert parse(q) == SearchQuery(**expected)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", {}),
        ("skip=40&take=10", {"skip": 40, "take": 10}),
        ("skip=3000&take=1000", {"skip": 3000, "take": 1000}),
        ("take=0", {"take": 0}),
        ("skip=&take=", {}),
        ("take=%2007%20", {"take": 7}),
        ("TAKE=3&take=4", {"take": 3}),
        ("prerelease=true", {"prerelease": True}),
        ("prerelease=True", {"prerelease": True}),
        ("prerelease=false", {}),
        ("prerelease=1", {}),
        ("prerelease", {}),
        ("semVerLevel=2.0.0", {"semver2": True}),
        ("semverlevel=2.1", {"semver2": True}),
        ("semVerLevel=1.0.0", {}),
        ("semVerLevel=2.0.0-rc", {}),
        ("semVerLevel=nonsense", {}),
        ("packageType=DotnetTool", {"package_type": "dotnettool"}),
        ("packageType=", {}),
        ("id=Foo.Bar", {"id": "foo.bar"}),
        ("id=Foo&q=", {"id": "foo"}),
        ("id=", {}),
        ("q=x&id=Foo", {"terms": (term("x"),), "name": "x"}),
        ("includeDelisted=true&supportedFramework=a&supportedFramework=b", {}),
        ("q=a%00b", {"terms": (term("a"), term("b"))}),
        ("q=%ff%fe", {"terms": (Term(()),)}),
        ("q=a+b", {"terms": (term("a"), term("b"))}),
    ],
)
def test_parameters(query: str, expected: dict[str, Any]) -> None:
    assert SearchQuery.parse(query) == SearchQuery(**expected)


@pytest.mark.parametrize("name", ["skip", "take"])
@pytest.mark.parametrize("value", ["-1", "abc", "1.5", "1e3", "+5", "999999999999999999999", "\uff13", "0x10", "3001"])
def test_bad_numbers_are_named(name: str, value: str) -> None:
    with pytest.raises(BadParameter) as caught:
        SearchQuery.parse(urlencode({"q": "x", name: value}))
    error = caught.value
    assert (error.parameter, error.value) == (name, value)
    assert isinstance(error, ValueError)
    assert isinstance(error, BadRequest)
    assert name in str(error)
    assert "from 0 to" in str(error)


def test_too_many_parameters_are_refused() -> None:
    with pytest.raises(BadParameter) as caught:
        SearchQuery.parse("&".join(["supportedFramework=x"] * 101))
    assert caught.value.parameter == "query"


def test_the_work_that_a_query_can_ask_for_is_bounded() -> None:
    assert len(parse("a " * 2000).terms) == MAX_TERMS
    assert sum(len(term.words) for term in parse(" ".join(["a.b.c.d"] * 50)).terms) == MAX_WORDS
    (_, tags) = parse("tags:" + ",".join("abcdefgh" * 100)).scoped[0]
    assert len(tags) == MAX_WORDS
    assert len(parse("." * 4096 + " x").terms) == 1


def test_default_take() -> None:
    assert SearchQuery().take == DEFAULT_TAKE == 20


@given(st.text(max_size=300))
def test_any_text_is_a_query(text: str) -> None:
    query = parse(text.encode(errors="replace").decode())
    for found in (*query.terms, *(term for _, terms in query.scoped for term in terms)):
        for word in found.words:
            assert word.text.isalnum() or not word.text.isascii()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Newtonsoft.Json", ["Newtonsoft", "Json"]),
        ("a_b-c d", ["a", "b", "c", "d"]),
        ('x"OR"y', ["x", "OR", "y"]),
        ("...", []),
        ("", []),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert split_words(text) == words


@pytest.mark.parametrize(
    ("word", "parts"),
    [
        ("json", ()),
        ("JSON", ()),
        ("EntityFramework", ("entity", "framework")),
        ("EntityFrameworkCore7", ("entity", "framework", "core", "7")),
        ("IOException", ("io", "exception")),
        ("log4net", ("log", "4", "net")),
        ("gRPC", ("g", "rpc")),
        ("größe", ()),
    ],
)
def test_camel_parts(word: str, parts: tuple[str, ...]) -> None:
    assert camel_parts(word) == parts


def test_an_id_is_also_found_without_its_dots() -> None:
    assert id_parts("Newtonsoft.Json") == ("newtonsoftjson",)
    assert id_parts("Microsoft.EntityFramework") == ("entity", "framework", "microsoftentityframework")
    assert id_parts("Serilog") == ()


def test_parts_of_one_letter_are_not_searched_for() -> None:
    assert parse("gRPC").terms == (term("grpc"),)
