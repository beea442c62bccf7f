"""Absolute URLs as text."""

from __future__ import annotations

import pytest

from nugetproxy.nuget.urls import (
    SplitUrl,
    absolute,
    each_once,
    join_url,
    sendable_query,
    split_url,
    with_query,
    without_fragment,
)


@pytest.mark.parametrize(
    ("url", "pieces"),
    [
        ("https://Host/a?b=1#c#d", SplitUrl("https", "host", "/a", "b=1", "c#d")),
        ("HTTPS://HOST:443/A", SplitUrl("https", "host", "/A", "", "")),
        ("http://host:80", SplitUrl("http", "host", "", "", "")),
        ("http://host:443/", SplitUrl("http", "host:443", "/", "", "")),
        ("https://[2001:DB8::1]:8443/x", SplitUrl("https", "[2001:db8::1]:8443", "/x", "", "")),
        ("https://host/{id}/%7B?x={y}", SplitUrl("https", "host", "/{id}/%7B", "x={y}", "")),
        ("https://user:secret@host/", None),
        ("https:///path", None),
        ("https://ho st/", None),
        ("https://host/a b", None),
        ("urn:uuid:1", None),
        ("file:///etc/passwd", None),
        ("/relative", None),
        ("", None),
    ],
)
def test_split(url: str, pieces: SplitUrl | None) -> None:
    assert split_url(url) == pieces


@pytest.mark.parametrize(
    ("reference", "url"),
    [
        ("https://other/x", "https://other/x"),
        ("foo/index.json", "https://host/v3/foo/index.json"),
        ("../flat/", "https://host/flat/"),
        ("/flat/", "https://host/flat/"),
        ("//cdn/x", "https://cdn/x"),
        ("#page/1/2", "https://host/v3/index.json#page/1/2"),
        ("{id}/{version}", "https://host/v3/{id}/{version}"),
        ("https://user:pass@word@other/x@y", "https://other/x@y"),
        ("//user@cdn/x", "https://cdn/x"),
        ("https://other/x?y=://z@", "https://other/x?y=://z@"),
        ("/my feed/{id}?q=a b", "https://host/my%20feed/{id}?q=a%20b"),
        ("https://other/größe/%2Bx/€#é", "https://other/gr%C3%B6%C3%9Fe/%2Bx/%E2%82%AC#%C3%A9"),
        (" https://other/x ", "https://other/x"),
        ("https://h/a\tb", None),
        ("https://h h/x", None),
        ("urn:uuid:1", None),
        ("file:///etc/passwd", None),
        ("javascript:alert(1)", None),
        ("", None),
        ("//[bad", None),
    ],
)
def test_references_are_resolved(reference: str, url: str | None) -> None:
    assert absolute(reference, "https://host/v3/index.json") == url


def test_a_reference_without_a_base_stays_unresolved() -> None:
    assert absolute("foo/index.json", "") is None


@pytest.mark.parametrize(
    ("own", "query", "merged"),
    [
        ("", "", "https://h/q"),
        ("", "q=a%26b&q=%2B", "https://h/q?q=a%26b&q=%2B"),
        ("api-version=1", "", "https://h/q?api-version=1"),
        ("api-version=1&key=k", "q=x", "https://h/q?q=x&api-version=1&key=k"),
        ("api-version=1&key=k", "API-Version=2&q", "https://h/q?API-Version=2&q&key=k"),
        ("a=1", "a=2", "https://h/q?a=2"),
    ],
)
def test_the_clients_parameters_win(own: str, query: str, merged: str) -> None:
    assert with_query("https://h/q", own, query) == merged


def test_one_slash_joins() -> None:
    assert join_url("https://h/a", "b") == join_url("https://h/a/", "b") == "https://h/a/b"


def test_fragments_are_not_sent() -> None:
    assert without_fragment("https://h/a?b#c") == "https://h/a?b"


@pytest.mark.parametrize(
    ("typed", "sent"),
    [
        ("", ""),
        ("q=json&skip=0&prerelease=true", "q=json&skip=0&prerelease=true"),
        ("q=a%2Bb%20c+d", "q=a%2Bb%20c+d"),
        ("q=tags:x,y;(z)!*'$@/?", "q=tags:x,y;(z)!*'$@/?"),
        ("q=\\", "q=%5C"),
        ("q=100%", "q=100%25"),
        ("q=%zz%4", "q=%25zz%254"),
        ('q=<a>"{b}|^`[c]', "q=%3Ca%3E%22%7Bb%7D%7C%5E%60%5Bc%5D"),
        ("q=\u00e9", "q=%C3%A9"),
        ("q=\udcff", "q=%FF"),
    ],
)
def test_what_a_client_typed_can_be_sent_on(typed: str, sent: str) -> None:
    assert sendable_query(typed) == sent
    assert sendable_query(sent) == sent


@pytest.mark.parametrize(
    ("query", "once"),
    [
        ("q=a&take=5", "q=a&take=5"),
        ("q=a&q=b", "q=a"),
        ("q=&Q=b&%71=c", "q="),
        ("id=1&q=a+b&ID=2", "id=1&q=a+b"),
        ("packageTypeFilter=a&q=a&packageTypeFilter=b", "packageTypeFilter=a&q=a&packageTypeFilter=b"),
    ],
)
def test_of_repeated_parameters_the_first_is_left(query: str, once: str) -> None:
    assert each_once(query, {"q", "id"}) == once
