"""What is known of held packages, the documents that are made of it."""

from __future__ import annotations

import io
from typing import Any

import orjson
import pytest

from nugetproxy.nuget.documents.render import InvalidDocument, check, listed_versions, parse_service_index
from nugetproxy.nuget.kinds import Kind
from nugetproxy.nuget.nuspec import Dependency, DependencyGroup, inspect_package
from nugetproxy.nuget.resources import BY_NAME, GZ_SEMVER1, GZ_SEMVER2, HIVES
from nugetproxy.nuget.routes import parse_route
from nugetproxy.nuget.synthesis.synthesize import (
    Hit,
    PackageFacts,
    autocomplete_ids,
    autocomplete_versions,
    search_response,
    service_index,
    version_list,
)
from tests.fakes.packages import make_nupkg
from tests.nuget.held import BASE, facts

FULL = facts(
    "Straße.Core",
    "1.2.3-Beta.4+sha.5",
    title="A title",
    description='Has "quotes", ünïcode \U0001f600 and <b>',
    summary="short",
    authors="Ann, Bob",
    owners="Carol",
    tags="one two,three;four",
    project_url="https://example.org/",
    icon_url="https://example.org/icon.png",
    license_url="https://example.org/license",
    license_expression="MIT",
    language="de",
    min_client_version="2.12",
    has_icon=True,
    has_license=True,
    has_readme=True,
    require_license_acceptance=True,
    package_types=(("DotnetTool", ""), ("Custom", "1.0")),
    dependency_groups=(
        DependencyGroup(None, (Dependency("Other", "1.0"),)),
        DependencyGroup("net8.0", ()),
    ),
    listed=False,
    downloads=7,
)


@pytest.mark.parametrize("held", [facts(), FULL], ids=["plain", "full"])
def test_facts_survive_being_written(held: PackageFacts) -> None:
    assert PackageFacts.from_json(held.to_json()) == held


def test_what_is_empty_is_not_written() -> None:
    assert set(orjson.loads(facts().to_json())) == {"id", "version", "published", "size"}


@pytest.mark.parametrize(
    "stored",
    [
        b"",
        b"[]",
        b"{",
        b"{}",
        b'{"id":"a","version":"x","published":1,"size":1}',
        b'{"id":"a b","version":"1.0.0","published":1,"size":1}',
        b'{"id":"a","version":"1.0.0","size":1}',
        b'{"id":"a","version":"1.0.0","published":"then","size":1}',
        b'{"id":"a","version":"1.0.0","published":null,"size":1}',
        b'{"id":"a","version":"1.0.0","published":1,"size":"1"}',
        b'{"id":"a","version":"1.0.0","published":1,"size":1,"title":5}',
        b'{"id":"a","version":"1.0.0","published":1,"size":1,"listed":"no"}',
        b'{"id":"a","version":"1.0.0","published":1,"size":1,"dependency_groups":[["net8.0"]]}',
        b'{"id":"a","version":"1.0.0","published":1,"size":1,"package_types":[5]}',
        b'{"id":"a","version":"1.0.0","published":1,"size":1,"identity":"b"}',
        b'{"id":"a","version":"1.0.0","published":1,"size":1,"later":"field"}',
    ],
)
def test_what_is_no_facts_is_refused(stored: bytes) -> None:
    with pytest.raises(InvalidDocument):
        PackageFacts.from_json(stored)


def test_facts_of_a_package() -> None:
    nupkg = make_nupkg(
        "Some.Tool",
        "1.0.0",
        dependencies={"net8.0": [("Dep", "[1.0.0-a.b, )")]},
        readme="# hello",
        icon=b"\x89PNG",
        license_file="MIT",
        tags="a b",
        title="Title",
        package_types=["DotnetTool"],
        description="d" * 5000,
    )
    held = PackageFacts.of(inspect_package(io.BytesIO(nupkg), None), published=5.0, size=len(nupkg))
    assert (held.id, held.version, held.identity.id) == ("Some.Tool", "1.0.0", "some.tool")
    assert (held.published, held.size, held.listed, held.downloads) == (5.0, len(nupkg), True, 0)
    assert held.has_readme and held.has_icon and held.has_license
    assert held.is_semver2, "by the bound of a dependency"
    assert held.package_types == (("DotnetTool", ""),)
    assert held.dependency_groups == (DependencyGroup("net8.0", (Dependency("Dep", "[1.0.0-a.b, )"),)),)
    assert held.description == "d" * 4000
    assert PackageFacts.from_json(held.to_json()) == held


def test_a_package_without_types_is_a_dependency() -> None:
    assert facts().type_names == ("Dependency",)
    assert facts(package_types=(("", "1"),)).type_names == ("Dependency",)
    assert FULL.type_names == ("DotnetTool", "Custom")


def test_version_list_is_ascending_lower_case_without_metadata_with_the_unlisted() -> None:
    held = [
        facts(version="1.10.0"),
        facts(version="1.9.0", listed=False),
        facts(version="1.10.0-RC.1+sha"),
        facts(version="1.0.0.5"),
    ]
    body = version_list(held)
    check(Kind.VERSIONS, body)
    assert orjson.loads(body) == {"versions": ["1.0.0.5", "1.9.0", "1.10.0-rc.1", "1.10.0"]}
    assert [raw for raw, _ in listed_versions(body)] == ["1.0.0.5", "1.9.0", "1.10.0-rc.1", "1.10.0"]


def test_version_list_of_nothing_is_empty() -> None:
    assert version_list([]) == b'{"versions":[]}'


def test_service_index_offers_what_can_be_made() -> None:
    body = service_index(BASE)
    check(Kind.INDEX, body)
    document = orjson.loads(body)
    offered = {(entry["@type"], entry["@id"]) for entry in document["resources"]}
    assert len(offered) == len(document["resources"])
    assert {("PackageBaseAddress/3.0.0", f"{BASE}content/")} < offered
    for name in (*HIVES, "query", "autocomplete", "readme"):
        assert {(kind, BASE + BY_NAME[name].path) for kind in BY_NAME[name].types} < offered
    assert not any("{" in url and "%7B" in url for _, url in offered)
    names = {kind.partition("/")[0] for kind, _ in offered}
    assert names == {
        "PackageBaseAddress",
        "RegistrationsBaseUrl",
        "SearchQueryService",
        "SearchAutocompleteService",
        "ReadmeUriTemplate",
    }


def test_service_index_is_read_as_one() -> None:
    services = parse_service_index(service_index(BASE), f"{BASE}index.json")
    assert services.upstream_urls("content", "a/index.json") == (f"{BASE}content/a/index.json",)
    assert services.unknown == ()
    assert all(services.has(name) for name in HIVES)


def test_old_clients_are_kept_off_the_semver2_hive() -> None:
    document = orjson.loads(service_index(BASE))
    (versioned,) = [row for row in document["resources"] if row["@type"] == "RegistrationsBaseUrl/Versioned"]
    assert versioned["clientVersion"] == "4.3.0-alpha"


def test_search_result_points_to_us() -> None:
    body = search_response([Hit(FULL, (("1.0.0", 3), ("1.2.3-Beta.4+sha.5", 4)))], 9, BASE, GZ_SEMVER2)
    check(Kind.SEARCH, body)
    document = orjson.loads(body)
    folder = f"{BASE}{GZ_SEMVER2}/stra%C3%9Fe.core"
    content = f"{BASE}content/stra%C3%9Fe.core/1.2.3-beta.4"
    assert document["totalHits"] == 9
    assert document["@context"]["@base"] == f"{BASE}{GZ_SEMVER2}/"
    assert document["data"] == [
        {
            "@id": f"{folder}/index.json",
            "@type": "Package",
            "registration": f"{folder}/index.json",
            "id": "Straße.Core",
            "version": "1.2.3-Beta.4+sha.5",
            "description": FULL.description,
            "summary": "short",
            "title": "A title",
            "iconUrl": f"{content}/icon",
            "licenseUrl": f"{content}/license",
            "projectUrl": "https://example.org/",
            "tags": ["one", "two", "three", "four"],
            "authors": ["Ann", "Bob"],
            "owners": ["Carol"],
            "totalDownloads": 7,
            "verified": False,
            "packageTypes": [{"name": "DotnetTool"}, {"name": "Custom"}],
            "versions": [
                {"version": "1.0.0", "downloads": 3, "@id": f"{folder}/1.0.0.json"},
                {"version": "1.2.3-Beta.4+sha.5", "downloads": 4, "@id": f"{folder}/1.2.3-beta.4.json"},
            ],
            "vulnerabilities": [],
        }
    ]
    for url in (document["data"][0]["@id"], document["data"][0]["versions"][1]["@id"], f"{content}/icon"):
        route = parse_route(url.removeprefix(BASE))
        assert route is not None
        assert route.id == "straße.core"


def test_search_result_leaves_out_urls_that_there_are_not() -> None:
    (result,) = orjson.loads(search_response([Hit(facts(), (("13.0.3", 0),))], 1, BASE, GZ_SEMVER1))["data"]
    assert not {"iconUrl", "licenseUrl", "projectUrl"} & result.keys()
    assert result["title"] == "Newtonsoft.Json"
    assert result["authors"] == []


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (autocomplete_ids(["A.B", "C"], 12), {"totalHits": 12, "data": ["A.B", "C"]}),
        (autocomplete_ids([], 0), {"totalHits": 0, "data": []}),
        (autocomplete_versions(["1.0.0", "2.0.0-b"]), {"data": ["1.0.0", "2.0.0-b"]}),
        (autocomplete_versions([]), {"data": []}),
    ],
)
def test_autocomplete(body: bytes, expected: dict[str, Any]) -> None:
    check(Kind.AUTOCOMPLETE, body)
    document = orjson.loads(body)
    assert document.pop("@context") == {"@vocab": "http://schema.nuget.org/schema#"}
    assert document == expected


def test_no_search_results() -> None:
    body = search_response([], 0, BASE, GZ_SEMVER1)
    check(Kind.SEARCH, body)
    assert orjson.loads(body)["data"] == []
