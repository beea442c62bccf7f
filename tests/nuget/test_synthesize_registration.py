"""Registrations made of held packages."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nugetproxy.nuget.documents.render import check, page_commit, registration_pages, stated_content
from nugetproxy.nuget.kinds import Kind
from nugetproxy.nuget.nuspec import Dependency, DependencyGroup, parse_nuspec
from nugetproxy.nuget.resources import GZ_SEMVER1, GZ_SEMVER2, HIVES, SEMVER1
from nugetproxy.nuget.routes import Route, parse_route
from nugetproxy.nuget.synthesis.synthesize import PackageFacts, registration_index, registration_leaf, registration_page
from tests.fakes.packages import make_nuspec
from tests.nuget.held import BASE, facts

ID = "Newtonsoft.Json"
LOWER = "newtonsoft.json"


def many(count: int) -> list[PackageFacts]:
    """Stable versions 1.0.0, 1.1.0, ..."""
    return [facts(version=f"1.{number}.0") for number in range(count)]


def index(held: Sequence[PackageFacts], hive: str = GZ_SEMVER2) -> dict[str, Any]:
    body = registration_index(held, BASE, hive)
    assert body is not None
    check(Kind.REGISTRATION, body, id=ID)
    document: dict[str, Any] = orjson.loads(body)
    return document


def versions(page: dict[str, Any]) -> list[str]:
    return [leaf["catalogEntry"]["version"] for leaf in page["items"]]


def test_index_of_one_version_has_every_field() -> None:
    held = facts(
        version="1.0.0+sha",
        title="Title",
        description="Text",
        summary="Sum",
        authors="Ann",
        tags="a b",
        language="en",
        project_url="https://example.org/",
        license_expression="MIT",
        license_url="https://licenses.nuget.org/MIT",
        min_client_version="2.12",
        has_icon=True,
        has_readme=True,
        dependency_groups=(
            DependencyGroup(".NETStandard2.0", (Dependency("Ünï.Dep", "1.0"), Dependency("Other", ""))),
            DependencyGroup(None, ()),
        ),
    )
    folder = f"{BASE}{GZ_SEMVER2}/{LOWER}"
    content = f"{BASE}content/{LOWER}/1.0.0"
    document = index([held])
    (page,) = document["items"]
    (leaf,) = page["items"]
    commit = {"commitId": leaf["commitId"], "commitTimeStamp": "2023-11-14T22:13:20.000+00:00"}
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", leaf["commitId"])
    assert leaf["catalogEntry"] == {
        "@id": f"{folder}/1.0.0.json",
        "@type": "PackageDetails",
        "authors": "Ann",
        "dependencyGroups": [
            {
                "@type": "PackageDependencyGroup",
                "targetFramework": ".NETStandard2.0",
                "dependencies": [
                    {
                        "@type": "PackageDependency",
                        "id": "Ünï.Dep",
                        "range": "[1.0.0, )",
                        "registration": f"{BASE}{GZ_SEMVER2}/%C3%BCn%C3%AF.dep/index.json",
                    },
                    {
                        "@type": "PackageDependency",
                        "id": "Other",
                        "range": "(, )",
                        "registration": f"{BASE}{GZ_SEMVER2}/other/index.json",
                    },
                ],
            },
            {"@type": "PackageDependencyGroup"},
        ],
        "description": "Text",
        "iconUrl": f"{content}/icon",
        "id": ID,
        "language": "en",
        "licenseExpression": "MIT",
        "licenseUrl": "https://licenses.nuget.org/MIT",
        "listed": True,
        "minClientVersion": "2.12",
        "packageContent": f"{content}/{LOWER}.1.0.0.nupkg",
        "projectUrl": "https://example.org/",
        "published": "2023-11-14T22:13:20.000+00:00",
        "readmeUrl": f"{content}/readme",
        "requireLicenseAcceptance": False,
        "summary": "Sum",
        "tags": ["a", "b"],
        "title": "Title",
        "version": "1.0.0+sha",
    }
    assert {**leaf, "catalogEntry": None} == {
        "@id": f"{folder}/1.0.0.json",
        "@type": "Package",
        **commit,
        "catalogEntry": None,
        "packageContent": f"{content}/{LOWER}.1.0.0.nupkg",
        "registration": f"{folder}/index.json",
    }
    assert {**page, "items": None, "commitId": None} == {
        "@id": f"{folder}/index.json#page/1.0.0/1.0.0",
        "@type": "catalog:CatalogPage",
        **commit,
        "commitId": None,
        "count": 1,
        "items": None,
        "parent": f"{folder}/index.json",
        "lower": "1.0.0",
        "upper": "1.0.0",
    }
    assert document["@id"] == f"{folder}/index.json"
    assert document["count"] == 1
    assert document["@type"] == ["catalog:CatalogRoot", "PackageRegistration", "catalog:Permalink"]


@pytest.mark.parametrize("stated", ["2.0.0.0", "2.0", "02.0.0"])
def test_the_version_is_said_as_the_nuspec_says_it(stated: str) -> None:
    """PowerShell names the folder of a module after it, and imports it only if its manifest says the same."""
    held = PackageFacts.of(parse_nuspec(make_nuspec(ID, stated).encode()), published=0.0, size=1)
    assert PackageFacts.from_json(held.to_json()) == held
    page = index([held])["items"][0]
    (leaf,) = page["items"]
    assert leaf["catalogEntry"]["version"] == stated
    assert (page["lower"], page["upper"]) == ("2.0.0", "2.0.0")
    assert leaf["@id"] == f"{BASE}{GZ_SEMVER2}/{LOWER}/2.0.0.json"
    assert leaf["packageContent"] == f"{BASE}content/{LOWER}/2.0.0/{LOWER}.2.0.0.nupkg"
    document = registration_leaf([held], BASE, GZ_SEMVER2, "2.0.0")
    assert document is not None
    assert orjson.loads(document)["version"] == stated


def test_an_unlisted_version_says_so_in_both_ways() -> None:
    entry = index([facts(listed=False)])["items"][0]["items"][0]["catalogEntry"]
    assert entry["listed"] is False
    assert entry["published"].startswith("1900-")


@pytest.mark.parametrize("published", [-1e9, 0.0, 1e300, float("inf"), float("nan")])
def test_any_time_becomes_a_date(published: float) -> None:
    entry = index([facts(published=published)])["items"][0]["items"][0]["catalogEntry"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", entry["published"])


def test_nonsense_of_a_nuspec_does_not_spoil_the_registration() -> None:
    group = DependencyGroup("net8.0", (Dependency("", "1.0"), Dependency("a b", "1.0"), Dependency("Good", "1.*]")))
    entry = index([facts(min_client_version="soon", dependency_groups=(group,))])["items"][0]["items"][0][
        "catalogEntry"
    ]
    assert [(need["id"], need["range"]) for need in entry["dependencyGroups"][0]["dependencies"]] == [("Good", "(, )")]
    assert entry["minClientVersion"] == ""


@pytest.mark.parametrize(
    ("count", "inlined", "pages"),
    [(1, True, [1]), (64, True, [64]), (65, True, [64, 1]), (127, True, [64, 63]), (128, False, [64, 64])],
)
def test_pages_have_64_leaves_inlined_below_128(count: int, inlined: bool, pages: list[int]) -> None:
    document = index(many(count))
    assert [page["count"] for page in document["items"]] == pages
    assert ["items" in page for page in document["items"]] == [inlined] * len(pages)
    assert [("#" in page["@id"]) for page in document["items"]] == [inlined] * len(pages)


def test_the_semver1_hives_hide_semver2_versions() -> None:
    held = [
        facts(version="1.0.0"),
        facts(version="1.1.0-beta"),
        facts(version="1.2.0-beta.1"),
        facts(version="1.3.0+sha"),
        facts(version="1.4.0", is_semver2=True),
        facts(version="1.5.0.1"),
    ]
    for hive in (SEMVER1, GZ_SEMVER1):
        assert versions(index(held, hive)["items"][0]) == ["1.0.0", "1.1.0-beta", "1.5.0.1"]
        assert registration_leaf(held, BASE, hive, "1.2.0-beta.1") is None
        assert registration_leaf(held, BASE, hive, "1.4.0") is None
    assert len(versions(index(held)["items"][0])) == 6
    assert registration_leaf(held, BASE, GZ_SEMVER2, "1.4.0") is not None


@pytest.mark.parametrize("hive", [SEMVER1, GZ_SEMVER1])
def test_a_hive_with_nothing_in_it_is_none(hive: str) -> None:
    held = [facts(version="1.0.0+sha")]
    assert registration_index(held, BASE, hive) is None
    assert registration_page(held, BASE, hive, ("0.0.1", "9.0.0")) is None


def test_nothing_held_is_none() -> None:
    assert registration_index([], BASE, GZ_SEMVER2) is None
    assert registration_page([], BASE, GZ_SEMVER2, ("1.0.0", "2.0.0")) is None
    assert registration_leaf([], BASE, GZ_SEMVER2, "1.0.0") is None


def test_an_unknown_hive_is_a_programming_error() -> None:
    with pytest.raises(KeyError):
        registration_index(many(1), BASE, "registration/semver3")


@pytest.mark.parametrize("spelling", ["1.2.0-RC", "1.2-rc", "1.2.0.0-Rc", "1.2.0-rc+any"])
def test_a_leaf_is_found_in_any_spelling(spelling: str) -> None:
    body = registration_leaf([facts(version="1.2.0-RC")], BASE, GZ_SEMVER2, spelling)
    assert body is not None
    check(Kind.REGISTRATION_LEAF, body, id=ID)
    document = orjson.loads(body)
    own = f"{BASE}{GZ_SEMVER2}/{LOWER}/1.2.0-rc.json"
    assert document["@id"] == own
    assert document["catalogEntry"] == own, "followed, it leads to the fields of a catalog entry"
    assert (document["id"], document["version"]) == (ID, "1.2.0-RC")
    assert document["@type"] == ["Package", "http://schema.nuget.org/catalog#Permalink"]


@pytest.mark.parametrize(("lower", "upper"), [("x", "1.0.0"), ("1.0.0", ""), ("2.0.0", "1.0.0"), ("7.0.0", "8.0.0")])
def test_no_page_for_bounds_that_hold_nothing(lower: str, upper: str) -> None:
    assert registration_page(many(130), BASE, GZ_SEMVER2, (lower, upper)) is None


def test_the_page_of_an_older_index_is_still_found() -> None:
    body = registration_page([*many(130), facts(version="1.3.1")], BASE, GZ_SEMVER2, ("1.0.0", "1.63.0"))
    assert body is not None
    page = orjson.loads(body)
    assert page["count"] == 65
    assert page["@id"] == f"{BASE}{GZ_SEMVER2}/{LOWER}/page/1.0.0/1.63.0.json"


def test_the_commit_changes_exactly_with_the_content() -> None:
    before = index(many(3))
    assert index(list(reversed(many(3)))) == before
    changed = index([*many(2), facts(version="1.2.0", listed=False)])
    assert changed["commitId"] != before["commitId"]
    assert changed["items"][0]["items"][0]["commitId"] == before["items"][0]["items"][0]["commitId"]


def test_equal_versions_are_one() -> None:
    assert versions(index([facts(version="1.0.0+a"), facts(version="1.0.0+b")])["items"][0]) == ["1.0.0+b"]


# --- whatever is held, the documents agree with each other ---

numbers = st.integers(0, 12)
labels = st.sampled_from(["", "", "", "-alpha", "-Beta", "-rc.1", "-rc.10", "-rc.9", "-1", "+sha", "-b+sha"])
spelled = st.builds(lambda a, b, c, label: f"{a}.{b}.{c}{label}", numbers, numbers, numbers, labels)


@st.composite
def held_packages(draw: st.DrawFn) -> list[PackageFacts]:
    few = draw(st.lists(spelled, min_size=1, max_size=20))
    more = [f"{number}.{draw(numbers)}.7" for number in range(20, 20 + draw(st.sampled_from([0, 0, 100, 128, 190])))]
    texts = {facts(ID, text).identity: text for text in (*few, *more)}
    return [facts(ID, text, listed=draw(st.booleans())) for text in texts.values()]


def urls_in(document: Any) -> Iterator[str]:
    for name, value in document.items() if isinstance(document, dict) else enumerate(document):
        if isinstance(value, dict | list):
            if name != "@context":
                yield from urls_in(value)
        elif isinstance(value, str) and value.startswith("http") and "schema.nuget.org" not in value:
            yield value


def route_of(url: str) -> Route:
    assert url.startswith(BASE)
    route = parse_route(url.removeprefix(BASE).partition("#")[0])
    assert route is not None, url
    return route


@settings(max_examples=settings.default.max_examples // 2)
@given(held_packages(), st.sampled_from(HIVES))
def test_index_pages_and_leaves_agree(held: list[PackageFacts], hive: str) -> None:
    expected = sorted(package.parsed for package in held if hive == GZ_SEMVER2 or not package.is_semver2)
    body = registration_index(held, BASE, hive)
    if not expected:
        assert body is None
        return
    assert body is not None
    check(Kind.REGISTRATION, body, id=ID)
    document = orjson.loads(body)
    external = {ref.url: ref for ref in registration_pages(body, document["@id"])}
    assert document["count"] == len(document["items"])
    found = []
    for page in document["items"]:
        if "items" not in page:
            *_, lower, upper = route_of(page["@id"]).rest.removesuffix(".json").split("/")
            page_body = registration_page(held, BASE, hive, (lower, upper))
            assert page_body is not None
            check(Kind.REGISTRATION_PAGE, page_body, id=ID)
            assert page_commit(page_body) == external.pop(page["@id"]).commit
            page = orjson.loads(page_body)
        assert page["parent"] == document["@id"]
        assert page["count"] == len(page["items"]) <= 64
        assert (page["lower"], page["upper"]) == (
            facts(ID, versions(page)[0]).parsed.normalized,
            facts(ID, versions(page)[-1]).parsed.normalized,
        )
        found += [facts(ID, text).parsed for text in versions(page)]
        for leaf in page["items"]:
            leaf_route = route_of(leaf["@id"])
            assert leaf_route.kind is Kind.REGISTRATION_LEAF
            leaf_body = registration_leaf(held, BASE, hive, leaf_route.version)
            assert leaf_body is not None
            check(Kind.REGISTRATION_LEAF, leaf_body, id=ID)
            version = facts(ID, leaf_route.version).parsed
            stated = stated_content(leaf_body, version, leaf["@id"])
            assert stated == leaf["packageContent"] == leaf["catalogEntry"]["packageContent"]
            package_route = route_of(leaf["packageContent"])
            assert (package_route.kind, package_route.version) == (Kind.PACKAGE, leaf_route.version)
            assert orjson.loads(leaf_body)["listed"] == leaf["catalogEntry"]["listed"]
        for url in urls_in(page):
            route_of(url)
    assert found == expected
    assert not external
