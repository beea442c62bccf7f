"""Routes: grammar first, then the registry."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nugetproxy.nuget.kinds import Kind
from nugetproxy.nuget.resources import GZ_SEMVER1, GZ_SEMVER2, SEMVER1
from nugetproxy.nuget.routes import LINK, MAX_PATH, Route, parse_route


def route(path: str) -> Route:
    found = parse_route(path)
    assert found is not None, path
    return found


@pytest.mark.parametrize(
    ("path", "kind", "rest"),
    [
        ("index.json", Kind.INDEX, "index.json"),
        ("content/newtonsoft.json/index.json", Kind.VERSIONS, "newtonsoft.json/index.json"),
        # Edge case 17: mixed case is the same thing.
        ("content/Newtonsoft.Json/index.json", Kind.VERSIONS, "newtonsoft.json/index.json"),
        ("content/a/1.0.0/a.1.0.0.nupkg", Kind.PACKAGE, "a/1.0.0/a.1.0.0.nupkg"),
        # Edge case 18: other spellings of the version.
        ("content/A/13.0.1.0/A.13.0.1.0.nupkg", Kind.PACKAGE, "a/13.0.1/a.13.0.1.nupkg"),
        ("content/a/13.0.01/a.13.0.01.nupkg", Kind.PACKAGE, "a/13.0.1/a.13.0.1.nupkg"),
        ("content/a/1.0.0-RC1/a.1.0.0-rc1.NUPKG", Kind.PACKAGE, "a/1.0.0-rc1/a.1.0.0-rc1.nupkg"),
        ("content/a/1.0/a.1.0.0.nupkg", Kind.PACKAGE, "a/1.0.0/a.1.0.0.nupkg"),
        # Edge case 19: metadata, encoded or not, means nothing.
        ("content/a/1.0.0+x/a.1.0.0+x.nupkg", Kind.PACKAGE, "a/1.0.0/a.1.0.0.nupkg"),
        ("content/a/1.0.0%2Bx/a.1.0.0%2bx.nupkg", Kind.PACKAGE, "a/1.0.0/a.1.0.0.nupkg"),
        # An id may end in what looks like a version.
        ("content/a.1/2.0.0/a.1.2.0.0.nupkg", Kind.PACKAGE, "a.1/2.0.0/a.1.2.0.0.nupkg"),
        ("content/Foo/1.0/Foo.nuspec", Kind.NUSPEC, "foo/1.0.0/foo.nuspec"),
        ("content/Foo/1.0/readme", Kind.README, "foo/1.0.0/readme"),
        ("content/Foo/1.0/icon", Kind.ICON, "foo/1.0.0/icon"),
        ("content/Foo/1.0/license", Kind.LICENSE, "foo/1.0.0/license"),
        ("content/%C3%89t%c3%a9/index.json", Kind.VERSIONS, "%C3%A9t%C3%A9/index.json"),
        # .NET's \w has combining marks, Python's has not.
        ("content/re%CC%81sume%CC%81/index.json", Kind.VERSIONS, "re%CC%81sume%CC%81/index.json"),
        ("registration/semver1/Foo/index.json", Kind.REGISTRATION, "foo/index.json"),
        ("registration/gz-semver1/foo/index.json", Kind.REGISTRATION, "foo/index.json"),
        # Edge case 53: PSResourceGet builds leaf URLs in the user's casing.
        ("registration/gz-semver2/Newtonsoft.Json/13.0.1.json", Kind.REGISTRATION_LEAF, "newtonsoft.json/13.0.1.json"),
        ("registration/gz-semver2/foo/1.0.json", Kind.REGISTRATION_LEAF, "foo/1.0.0.json"),
        ("registration/gz-semver2/foo/page/1.0.0/2.0.0.json", Kind.REGISTRATION_PAGE, "foo/page/1.0.0/2.0.0.json"),
        ("registration/gz-semver2/Foo/Page-1.json", Kind.REGISTRATION_PAGE, "Foo/Page-1.json"),
        ("query", Kind.SEARCH, ""),
        ("autocomplete", Kind.AUTOCOMPLETE, ""),
        # Paket puts a slash behind every resource.
        ("query/", Kind.SEARCH, ""),
        ("autocomplete/", Kind.AUTOCOMPLETE, ""),
        ("signatures/5.0.0/index.json", Kind.SIGNATURES, "index.json"),
        ("vulnerabilities/index.json", Kind.VULNERABILITIES, "index.json"),
        ("vulnerabilities/pages/2024/base.json", Kind.VULNERABILITY_PAGE, "pages/2024/base.json"),
        ("catalog/index.json", Kind.CATALOG, "index.json"),
        ("catalog/page0.json", Kind.CATALOG_PAGE, "page0.json"),
        ("catalog/data/2015.02.01.06.22.45/Foo.1.0.json", Kind.CATALOG_LEAF, "data/2015.02.01.06.22.45/Foo.1.0.json"),
        # Not surely a leaf, so not kept for ever.
        ("catalog/leaves/foo.json", Kind.CATALOG_PAGE, "leaves/foo.json"),
    ],
)
def test_a_path_is_understood(path: str, kind: Kind, rest: str) -> None:
    found = route(path)
    assert (found.kind, found.rest, found.write) == (kind, rest, False)


def test_names_come_normalised() -> None:
    found = route("content/Newtonsoft.Json/13.0.01-Beta+x/Newtonsoft.Json.13.0.1-BETA.nupkg")
    assert (found.id, found.version, found.resource) == ("newtonsoft.json", "13.0.1-beta", "content")
    assert route("content/%C3%89/index.json").id == "é"
    assert (route("query").id, route("query").version) == ("", "")


@pytest.mark.parametrize("hive", [SEMVER1, GZ_SEMVER1, GZ_SEMVER2])
def test_hives_are_kept_apart(hive: str) -> None:
    assert {route(f"{hive}/foo/{rest}").resource for rest in ("index.json", "1.0.0.json", "p/1.json")} == {hive}


@pytest.mark.parametrize(
    ("path", "alternatives"),
    [
        ("registration/semver1/MyPkg/index.json", ("MyPkg/index.json",)),
        ("registration/semver1/MyPkg/1.0.json", ("MyPkg/1.0.json",)),
        ("registration/semver1/mypkg/1.0.json", ("mypkg/1.0.json",)),
        ("registration/semver1/MyPkg/Page/1.json", ("mypkg/Page/1.json", "mypkg/page/1.json")),
        ("registration/semver1/mypkg/1.0.0.json", ()),
        ("registration/semver1/mypkg/index.json", ()),
        ("registration/semver1/mypkg/page/1.json", ()),
        ("content/MyPkg/index.json", ()),
    ],
)
def test_the_spelling_of_a_registration_url_is_not_lost(path: str, alternatives: tuple[str, ...]) -> None:
    assert route(path).alternatives == alternatives


@pytest.mark.parametrize(
    ("path", "rest", "id_", "version"),
    [
        ("package", "", "", ""),
        ("package/", "", "", ""),
        ("package/Foo.Bar/1.0.0-RC", "Foo.Bar/1.0.0-RC", "foo.bar", "1.0.0-rc"),
        ("package/Foo/deprecations", "Foo/deprecations", "foo", ""),
        ("package/create-verification-key/Foo/1.0", "create-verification-key/Foo/1.0", "foo", "1.0.0"),
        ("package/create-verification-key/Foo", "create-verification-key/Foo", "foo", ""),
        ("symbolpackage/", "", "", ""),
        ("staging/package", "package", "", ""),
        ("staging/symbols", "symbols", "", ""),
    ],
)
def test_writes_keep_the_callers_spelling(path: str, rest: str, id_: str, version: str) -> None:
    found = route(path)
    assert (found.kind, found.rest, found.id, found.version, found.write) == (None, rest, id_, version, True)


def test_an_opaque_link_is_its_token() -> None:
    token = "0123456789abcdef" * 2
    assert route(f"x/{token}") == Route(kind=None, resource=LINK, rest=token)


@pytest.mark.parametrize(
    "token", ["", "0" * 31, "0" * 33, "g" * 32, "A" * 32, "0" * 32 + "/", "https:/example.com", "0" * 32 + "/a"]
)
def test_a_malformed_token_is_no_link(token: str) -> None:
    assert parse_route(f"x/{token}") is None


@pytest.mark.parametrize(
    "path",
    [
        # Edge case 20: the file name must be that of the folder.
        "content/a/1.0.0/b.1.0.0.nupkg",
        "content/a/1.0.0/a.1.0.1.nupkg",
        "content/a/1.0.0/a.1.0.0.1.nupkg",
        "content/a/1.0.0/a1.0.0.nupkg",
        "content/a/1.0.0/a-1.0.0.nupkg",
        "content/a/1.0.0/.1.0.0.nupkg",
        "content/a/1.0.0/nupkg",
        "content/a/1.0.0/.nupkg",
        "content/a/1.0.0/b.nuspec",
        "content/a/1.0.0/nuspec",
        "content/a/1.0.0/a.1.0.0.snupkg",
        "content/a/1.0.0/a.1.0.0.nupkg.sha512",
        # No such version.
        "content/a/1.0.0-01/a.1.0.0-01.nupkg",
        "content/a/v1.0.0/a.v1.0.0.nupkg",
        "content/a/1.2.3.4.5/readme",
        "content/a/2147483648.0/readme",
        # No such id.
        "content/-a/index.json",
        "content/a..b/index.json",
        "content/a-/index.json",
        "content/.a/index.json",
        "content/a~b/index.json",
        f"content/{'a' * 101}/index.json",
        f"content/{'a' * 300}/index.json",
        "content/con/index.json",
        "content/LPT1/index.json",
        f"content/{'a' * 100}/1.0.0-{'b' * 200}/readme",
        # No such route.
        "",
        "/",
        "index.json/",
        "Index.json",
        "content",
        "content/",
        "content/a",
        "content/a/",
        "content/a/1.0.0/",
        "content/a/1.0.0/other",
        "content/a/1.0.0/readme/x",
        "query/a",
        "query.css",
        "registration/foo/index.json",
        "registration/semver2/foo/index.json",
        "registration/semver1/index.json",
        "registration/semver1/foo/1.0.0",
        "registration/semver1/foo/index.html",
        "signatures/1.0.0/index.json",
        "signatures/5.0.0/",
        "vulnerabilities/",
        "vulnerabilities/pages/",
        "vulnerabilities/pages/a.js",
        "catalog/",
        "catalog/page0.json/",
        # Web cache deception: nothing after the end of a route.
        "index.json/a.css",
        "content/a/index.json/a.css",
        "content/a/index.json;a.css",
        "registration/semver1/a/index.json/a.css",
        "registration/semver1/a/index.json/a.json",
        "catalog/index.json/a.json",
        # Edge case 78 with its relatives: traversal in any clothing.
        "content/../index.json",
        "content/./a/index.json",
        "content/..%2f..%2fetc/index.json",
        "content/%2e%2e/index.json",
        "content/%252e%252e/index.json",
        "content/..%5c/index.json",
        "content/a\\b/index.json",
        "content//a/index.json",
        "content/a%00/index.json",
        "content/a%00b/index.json",
        "content/a%0d%0ab/index.json",
        "content/a b/index.json",
        "content/a%20b/index.json",
        "content/%u002e/index.json",
        "content/\x00/index.json",
        "content/é/index.json",
        "content/%41/index.json",
        "content/%/index.json",
        "content/%c3/index.json",
        "content/%c0%ae%c0%ae/index.json",
        "content/%ed%a0%80/index.json",
        "content/%ef%bc%8e%ef%bc%8e/index.json",
        "content/%e2%80%ae/index.json",
        "content/a?b/index.json",
        "content/a#b/index.json",
        "content/a:b/index.json",
        "registration/semver1/a/../../../x.json",
        "registration/semver1/a/%2e%2e/x.json",
        "registration/semver1/a/.x.json",
        "registration/semver1/a/x./y.json",
        "catalog/../index.json",
        "catalog/data/..%2fx.json",
        "package/../x",
        "package//x",
        "package/Foo//1.0.0",
        "package/Foo/1.0.0%2f..",
        "http://example.com/index.json",
        "//example.com/index.json",
    ],
)
def test_what_is_not_in_the_grammar_is_404(path: str) -> None:
    assert parse_route(path) is None


def test_a_path_may_not_be_endless() -> None:
    def path(length: int) -> str:
        return "catalog/".ljust(length - 5, "a") + ".json"

    assert parse_route(path(MAX_PATH)) is not None
    assert parse_route(path(MAX_PATH + 1)) is None
    assert parse_route("content/" + "%80" * 5000) is None


_HOSTILE = st.text(
    alphabet=st.sampled_from([*string.ascii_letters[:6], *"019./%25eEfF+-_~\\:;?#@& \x00é\uff0e"]), max_size=40
)


@given(_HOSTILE, st.sampled_from(["", "content/", "registration/semver1/a/", "catalog/", "package/", "x/"]))
def test_whatever_is_let_through_is_a_plain_relative_path(tail: str, head: str) -> None:
    found = parse_route(head + tail)
    for rest in (found.rest, *found.alternatives) if found is not None else ():
        assert set(rest) <= set(string.ascii_letters + string.digits + "._~+-/%")
        assert not any(part in ("", ".", "..") for part in rest.split("/")) or rest == ""
        assert not any(bad in rest.lower() for bad in ("%2f", "%5c", "%00", "%25", "%2e"))


def test_a_page_is_asked_for_in_the_casing_of_its_feed() -> None:
    """As it was asked for, with the id in lower case, all in lower case."""
    asked = route("registration/gz-semver2/Foo/page/1.0.0-Beta/2.0.0.json")
    assert (asked.rest, asked.alternatives) == (
        "Foo/page/1.0.0-Beta/2.0.0.json",
        ("foo/page/1.0.0-Beta/2.0.0.json", "foo/page/1.0.0-beta/2.0.0.json"),
    )
    assert route("registration/gz-semver2/foo/page/1.0.0-beta/2.0.0.json").alternatives == ()


ids = st.from_regex(r"[a-z0-9_]{1,4}([.-][a-z0-9_]{1,40}){0,3}", fullmatch=True) | st.sampled_from(
    ["con", "com1", "a" * 101]
)
numbers = st.lists(st.integers(0, 10**10), min_size=2, max_size=4).map(lambda parts: ".".join(map(str, parts)))


@given(ids, numbers)
def test_the_usual_spelling_is_understood_as_any_other(id_: str, version: str) -> None:
    """It has a way of its own; an id in capitals has not."""
    for usual, other in (
        (f"content/{id_}/index.json", f"content/{id_.upper()}/index.json"),
        (f"content/{id_}/{version}/{id_}.{version}.nupkg", f"content/{id_.upper()}/{version}/{id_}.{version}.nupkg"),
    ):
        if usual != other:
            assert parse_route(usual) == parse_route(other)
