"""What may replace a good copy, and what may not."""

from __future__ import annotations

import json
from contextlib import nullcontext
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nugetproxy.nuget.documents.check import check
from nugetproxy.nuget.documents.exact_json import InvalidDocument
from nugetproxy.nuget.kinds import Kind

HTML = b"\r\n<!DOCTYPE html>\n<html><head><title>Sign in</title></head></html>"
LEAF = {"@id": "https://h/reg/foo/1.0.0.json", "catalogEntry": {"id": "Foo", "version": "1.0.0"}}

GOOD: list[tuple[Kind, Any]] = [
    (Kind.INDEX, {"version": "3.0.0", "resources": [{"@id": "q", "@type": "SearchQueryService"}]}),
    (Kind.VERSIONS, {"versions": ["1.0.0"]}),
    (Kind.VERSIONS, {"versions": ["1.0.0", "garbage"]}),
    (Kind.VERSIONS, {"versions": []}),
    (Kind.VERSIONS, {"versions": None}),  # as Go writes an empty list
    (Kind.SEARCH, {"totalHits": 0, "data": None}),
    (Kind.AUTOCOMPLETE, {"totalHits": 0, "data": None}),
    (Kind.REGISTRATION_LEAF, {"id": "Foo", "version": "1.0.0"}),  # the catalog entry itself
    (Kind.REGISTRATION, {"items": []}),
    (Kind.REGISTRATION, {"count": 1, "items": [{"@id": "https://h/p", "lower": "1.0.0", "upper": "2.0.0"}]}),
    (Kind.REGISTRATION, {"items": [{"@id": "https://h/p", "items": [LEAF]}]}),
    (Kind.REGISTRATION, {"items": [{"@id": "https://h/p", "items": None}]}),
    (Kind.REGISTRATION_PAGE, {"items": [LEAF]}),
    (Kind.REGISTRATION_LEAF, LEAF),
    (Kind.REGISTRATION_LEAF, {"catalogEntry": "https://h/catalog/x.json"}),
    (Kind.REGISTRATION_LEAF, {"packageContent": "https://h/foo.nupkg"}),
    (Kind.SEARCH, {"totalHits": 0, "data": []}),
    (Kind.SEARCH, {"data": []}),  # NuGet.Client reads both
    (Kind.SEARCH, {"totalHits": "0", "data": []}),
    (Kind.SEARCH, {"totalHits": 2**63 - 1, "data": [{"id": "Foo"}]}),
    (Kind.AUTOCOMPLETE, {"data": ["Foo"]}),
    (Kind.AUTOCOMPLETE, {"totalHits": 1, "data": []}),
    (Kind.SIGNATURES, {"allRepositorySigned": False, "signingCertificates": []}),
    (Kind.VULNERABILITIES, [{"@name": "base", "@id": "https://h/base.json", "@updated": "2024-01-01T00:00:00Z"}]),
    (Kind.VULNERABILITY_PAGE, {}),
    (Kind.VULNERABILITY_PAGE, []),
    (Kind.VULNERABILITY_PAGE, {"foo": [{"severity": 2, "url": "https://w/", "versions": "(, 1.0.0)"}]}),
    (Kind.CATALOG, {"items": []}),
    (Kind.CATALOG_PAGE, {"items": [{"@id": "https://h/x.json"}]}),
    (Kind.CATALOG_PAGE, {"@id": "https://h/x.json", "id": "Foo", "version": "1.0.0"}),
    (Kind.CATALOG_LEAF, {"@id": "https://h/x.json", "id": "Foo", "version": "1.0.0"}),
    (Kind.CATALOG_LEAF, {"nuget:id": "Foo"}),
]
JSON_KINDS = sorted({kind for kind, _ in GOOD})


@pytest.mark.parametrize(("kind", "document"), GOOD)
def test_good_documents_pass(kind: Kind, document: Any) -> None:
    body = json.dumps(document).encode()
    check(kind, body)
    check(kind, body, id="foo")
    with pytest.raises(InvalidDocument):
        check(kind, body[: len(body) // 2])
    check(kind, b"\xef\xbb\xbf" + body, id="FOO")


@pytest.mark.parametrize(
    ("kind", "document"),
    [
        (Kind.INDEX, {"version": "2.0.0", "resources": [{"@id": "q", "@type": "SearchQueryService"}]}),
        (Kind.INDEX, {"version": "3.0.0", "resources": []}),
        (Kind.INDEX, {"version": "3.0.0", "resources": [{"@id": "urn:uuid:1", "@type": "VssFeedId"}, 5, {"@type": 5}]}),
        (Kind.VERSIONS, ["1.0.0"]),
        (Kind.VERSIONS, {"versions": "1.0.0"}),
        (Kind.VERSIONS, {"versions": [1]}),
        (Kind.VERSIONS, {"versions": ["1.0.0", None]}),
        (Kind.VERSIONS, {"versions": ["garbage", ""]}),
        (Kind.VERSIONS, {"error": "x"}),
        (Kind.REGISTRATION, {"items": {}}),
        (Kind.REGISTRATION, {"items": [1]}),
        (Kind.REGISTRATION, {"items": [{}]}),
        (Kind.REGISTRATION, {"items": [{"@id": 1}]}),
        (Kind.REGISTRATION, {"items": [{"items": {}}]}),
        (Kind.REGISTRATION, {"items": [{"items": ["x"]}]}),
        (Kind.REGISTRATION_PAGE, {"count": 0}),
        (Kind.REGISTRATION_PAGE, {"count": 0, "items": []}),
        (Kind.REGISTRATION_PAGE, {"items": [[]]}),
        (Kind.REGISTRATION_LEAF, {"@id": "x"}),
        (Kind.REGISTRATION_LEAF, {"catalogEntry": 1}),
        (Kind.SEARCH, {"totalHits": "1.0", "data": []}),
        (Kind.SEARCH, {"totalHits": "", "data": []}),
        (Kind.SEARCH, {"totalHits": None, "data": []}),
        (Kind.SEARCH, {"totalHits": 1.0, "data": []}),
        (Kind.SEARCH, {"totalHits": True, "data": []}),
        (Kind.SEARCH, {"totalHits": 0}),
        (Kind.SEARCH, {"totalHits": 0, "data": ["Foo"]}),
        (Kind.AUTOCOMPLETE, {"totalHits": 0}),
        (Kind.AUTOCOMPLETE, {"data": [{"id": "Foo"}]}),
        (Kind.SIGNATURES, {"signingCertificates": []}),
        (Kind.SIGNATURES, {"allRepositorySigned": "true", "signingCertificates": []}),
        (Kind.SIGNATURES, {"allRepositorySigned": True}),
        (Kind.VULNERABILITIES, []),
        (Kind.VULNERABILITIES, {"@name": "base", "@id": "https://h/"}),
        (Kind.VULNERABILITIES, [{"@id": "https://h/"}]),
        (Kind.VULNERABILITIES, [{"@name": "base"}]),
        (Kind.VULNERABILITIES, ["https://h/"]),
        (Kind.VULNERABILITY_PAGE, [{"@name": "base"}]),
        (Kind.VULNERABILITY_PAGE, {"error": "x"}),
        (Kind.CATALOG, {"count": 0}),
        (Kind.CATALOG_PAGE, {"items": None}),
        (Kind.CATALOG_PAGE, {"error": "x"}),
        (Kind.CATALOG_LEAF, {"error": "x"}),
    ],
)
def test_other_documents_are_refused(kind: Kind, document: Any) -> None:
    with pytest.raises(InvalidDocument):
        check(kind, json.dumps(document).encode())


@pytest.mark.parametrize("kind", JSON_KINDS)
@pytest.mark.parametrize(
    "body",
    [HTML, b"", b" ", b"null", b"true", b"1", b'"x"', b'{"a":', b"[NaN]", b"PK\x03\x04", b"[" * 2000 + b"]" * 2000],
)
def test_no_kind_takes_just_anything(kind: Kind, body: bytes) -> None:
    with pytest.raises(InvalidDocument):
        check(kind, body)


@pytest.mark.parametrize(
    ("kind", "document"),
    [(kind, document) for kind, document in GOOD if isinstance(document, dict) and kind is not Kind.VULNERABILITY_PAGE],
)
def test_what_could_not_be_written_again_is_refused(kind: Kind, document: Any) -> None:
    deep = json.dumps({**document, "deep": None}).replace('"deep": null', f'"deep": {"[" * 300}{"]" * 300}')
    with pytest.raises(InvalidDocument, match="nested too deeply"):
        check(kind, deep.encode())


@pytest.mark.parametrize(
    ("kind", "document"),
    [
        (Kind.REGISTRATION, {"items": [{"items": [LEAF]}]}),
        (Kind.REGISTRATION, {"items": [{"items": []}, {"@id": "https://h/p"}, {"items": [LEAF]}]}),
        (Kind.REGISTRATION_PAGE, {"items": [LEAF]}),
        (Kind.REGISTRATION_LEAF, LEAF),
    ],
)
def test_a_document_about_another_package_is_refused(kind: Kind, document: Any) -> None:
    body = json.dumps(document).encode()
    check(kind, body, id="foo")
    with pytest.raises(InvalidDocument, match="'Foo', not 'bar'"):
        check(kind, body, id="bar")


@pytest.mark.parametrize(
    ("path", "good"),
    [
        ("registration/semver1/foo/page/1.0.0/2.0.0.json", True),
        ("registration/semver1/foo/page/1.5.0-beta/1.5.0.json", True),
        ("registration/semver1/foo/page/1.6.0/2.0.0.json", False),
        ("registration/semver1/foo/page/0.1.0/1.5.0-beta.json", False),
        ("registration/semver1/foo/page/a/b.json", True),
        ("x/0123", True),
        ("", True),
    ],
)
def test_another_page_of_the_same_package_is_refused(path: str, good: bool) -> None:
    body = json.dumps({"items": [{"catalogEntry": {"id": "Foo", "version": "1.5.0"}}]}).encode()
    with nullcontext() if good else pytest.raises(InvalidDocument, match="none of the versions that its URL names"):
        check(Kind.REGISTRATION_PAGE, body, id="foo", path=path)


@pytest.mark.parametrize(
    ("kind", "body", "good"),
    [
        (Kind.PACKAGE, b"PK\x03\x04...", True),
        (Kind.PACKAGE, HTML, False),
        (Kind.PACKAGE, b"", False),
        (Kind.NUSPEC, b'\xef\xbb\xbf<?xml version="1.0"?>\n<package xmlns="x"><metadata/></package>', True),
        (Kind.NUSPEC, '<?xml version="1.0" encoding="utf-16"?><package/>'.encode("utf-16"), True),
        (Kind.NUSPEC, HTML, False),
        (Kind.NUSPEC, b"", False),
        (Kind.NUSPEC, b'{"package":1}', False),
        (Kind.README, b"# Title", True),
        (Kind.README, b"<h1 align='center'>Title</h1>", True),
        (Kind.README, b"", False),
        (Kind.README, HTML, False),
        (Kind.LICENSE, b"MIT", True),
        (Kind.LICENSE, b"<HTML lang='en'>", False),
        (Kind.ICON, b"\x89PNG\r\n\x1a\n", True),
        (Kind.ICON, HTML, False),
        (Kind.ICON, b"", False),
    ],
)
def test_what_is_not_json(kind: Kind, body: bytes, good: bool) -> None:
    if good:
        check(kind, body)
    else:
        with pytest.raises(InvalidDocument):
            check(kind, body)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["items", "data", "versions", "@id", "catalogEntry", "id", "version", "totalHits"]), inner
        )
    ),
    max_leaves=15,
)


@given(st.sampled_from(JSON_KINDS), _JSON)
def test_a_check_passes_or_refuses_but_never_breaks(kind: Kind, document: Any) -> None:
    try:
        check(kind, json.dumps(document).encode(), id="foo")
    except InvalidDocument as error:
        assert error.detail
