"""URLs and redirects, as tables."""

from __future__ import annotations

import pytest
from yarl import URL

from nugetproxy.upstream.urls import MAX_HOPS, UrlDenied, next_hop, origin_of, parse_url, without_query


@pytest.mark.parametrize(
    "text",
    [
        "https://blob.example/c/a.nupkg?sv=2020&sig=a%2Fb%2B%3D&x=a+b&y=%20",
        "http://127.0.0.1:5000/x",
        "https://h.example/%E2%82%AC/%2b",
        "https://h.example/a;b=c,d/@e:f?q=a:b/c?d",
        "http://[::1]:81/x",
    ],
)
def test_a_url_is_kept_byte_for_byte(text: str) -> None:
    assert str(parse_url(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/relative",
        "//host/x",
        "ftp://h/x",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "http:/x",
        "http:x",
        "https://user:secret@h/x",
        "https://user@h/x",
        "https://",
        "https://h:0/",
        "https://h:99999/",
        "https://h:x/",
        "https://h/a b",
        "https://h/\r\nX: y",
        "https://h/\x00",
        "https://h/é",
        "https://h\\@evil/",
        "https:\\\\h\\",
        "https://[::1/x",
        "https://[::1]@/x",
        f"https://h/{8000 * 'a'}",
        "data:text/html,x",
    ],
)
def test_improper_urls_are_denied_without_quoting_them(text: str) -> None:
    with pytest.raises(UrlDenied) as caught:
        parse_url(text)
    assert "secret" not in caught.value.why


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("https://API.nuget.org/v3", "https://api.nuget.org"),
        ("https://api.nuget.org:443/v3", "https://api.nuget.org"),
        ("http://h:443/", "http://h:443"),
        ("https://h:80/", "https://h:80"),
        ("http://h./", "http://h"),
        ("http://[::1]:80/", "http://[::1]"),
        ("HTTP://h:8080/", "http://h:8080"),
    ],
)
def test_origin(text: str, origin: str) -> None:
    assert origin_of(parse_url(text)) == origin


def test_without_query() -> None:
    assert without_query(URL("https://h/a%2Fb?sig=x#f", encoded=True)) == "https://h/a%2Fb"


@pytest.mark.parametrize(
    ("url", "location", "target"),
    [
        ("https://h/a/b", "c", "https://h/a/c"),
        ("https://h/a/b", "/c?x=%2F", "https://h/c?x=%2F"),
        ("https://h/a/b", "//cdn.example/c", "https://cdn.example/c"),
        ("http://h/a", "https://h/a", "https://h/a"),
        ("https://h/a", "https://cdn.example/p?sig=a%2Bb+c%3D#frag", "https://cdn.example/p?sig=a%2Bb+c%3D"),
        ("https://h/a/b/c", "../d", "https://h/a/d"),
    ],
)
def test_a_redirect_leads_there(url: str, location: str, target: str) -> None:
    assert str(next_hop(parse_url(url), location, frozenset({url}))) == target


@pytest.mark.parametrize(
    ("url", "location"),
    [
        ("https://h/a", None),
        ("https://h/a", "http://h/a"),
        ("https://h/a", "http://cdn.example/"),
        ("https://h/a", "https://h/a"),
        ("https://h/a", "https://h/a#other"),
        ("https://h/a", ""),
        ("https://h/a", "\\\\evil\\x"),
        ("https://h/a", "/\\evil"),
        ("https://h/a", "http:/x"),
        ("https://h/a", "ftp://h/x"),
        ("https://h/a", "file:///etc/passwd"),
        ("https://h/a", "https://user:pw@h/x"),
        ("https://h/a", "https://[::1/x"),
        ("https://h/a", "//[::1]@/x"),
        ("https://h/a", "https://h b/x"),
        ("https://h/a", "https://"),
        ("https://h/a", "javascript:x"),
    ],
)
def test_a_redirect_is_denied(url: str, location: str | None) -> None:
    with pytest.raises(UrlDenied):
        next_hop(parse_url(url), location, frozenset({url}))


def test_five_hops_are_allowed_and_a_sixth_is_not() -> None:
    url = parse_url("https://h/x")
    visited = {str(url)} | {f"https://h/{number}" for number in range(MAX_HOPS - 1)}
    next_hop(url, "/last", frozenset(visited))
    with pytest.raises(UrlDenied):
        next_hop(url, "/one-more", frozenset(visited | {"https://h/last"}))
