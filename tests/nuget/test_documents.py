"""Documents as clients see them."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urljoin

import pytest

from nugetproxy.nuget.documents.registration import pages_with, registration_versions
from nugetproxy.nuget.documents.render import (
    InvalidDocument,
    Link,
    PageRef,
    Rendered,
    ServiceMap,
    View,
    check,
    listed_versions,
    locate,
    page_commit,
    registration_pages,
    render,
    stated_content,
    vulnerability_pages,
)
from nugetproxy.nuget.identity import Version
from nugetproxy.nuget.kinds import Kind
from nugetproxy.nuget.resources import GZ_SEMVER2, HIVES, SEMVER1
from nugetproxy.nuget.routes import LINK, parse_route
from tests.nuget.indexes import (
    AZURE,
    AZURE_URL,
    GITEA,
    GITEA_URL,
    GITHUB,
    GITHUB_URL,
    NUGET,
    index_of,
    nuget_org,
    services_of,
)

BASE = "http://127.0.0.1:5555/v3/"
API = "https://api.nuget.org/v3"
REG2 = f"{API}/registration5-gz-semver2/"
REG1 = f"{API}/registration5-semver1/"
FLAT = "https://api.nuget.org/v3-flatcontainer/"
CATALOG = f"{API}/catalog0/"


def rendered(
    kind: Kind,
    document: Any,
    services: ServiceMap | None = None,
    *,
    url: str = REG2 + "foo/index.json",
    base: str = BASE,
) -> tuple[Any, Rendered]:
    body = json.dumps(document).encode()
    check(kind, body)
    found = render(kind, body, View(services or nuget_org(), base, url))
    return json.loads(found.body), found


def opaque(kind: Kind, url: str, base: str = BASE) -> str:
    return f"{base}x/{Link.to(kind, url).token}"


def entry(version: str = "1.0.0") -> dict[str, Any]:
    leaf = f"{CATALOG}data/2020.01.02.03.04.05/foo.{version}.json"
    return {
        "@id": leaf,
        "@type": "PackageDetails",
        "authors": ["A", "B"],
        "dependencyGroups": [
            {
                "@id": f"{leaf}#dependencygroup/.netstandard2.0",
                "targetFramework": ".NETStandard2.0",
                "dependencies": [
                    {
                        "@id": f"{leaf}#dependencygroup/.netstandard2.0/bar",
                        "id": "Bar",
                        "range": "[1.0.0, )",
                        "registration": f"{REG2}bar/index.json",
                    }
                ],
            },
            {"targetFramework": "net8.0"},
        ],
        "deprecation": {"@id": f"{leaf}#deprecation", "reasons": ["Legacy"]},
        "description": f"see {REG2}foo/index.json",
        "iconUrl": f"{FLAT}foo/{version}/icon",
        "id": "Foo",
        "licenseUrl": "https://www.nuget.org/packages/Foo/1.0.0/license",
        "listed": True,
        "packageContent": f"{FLAT}foo/{version}/foo.{version}.nupkg",
        "projectUrl": f"{FLAT}foo/{version}/readme",
        "published": "2020-01-02T03:04:05.678+00:00",
        "tags": "",
        "version": f"{version}+build.1",
        "vulnerabilities": [
            {"@id": f"{leaf}#vulnerability/1", "advisoryUrl": "https://github.com/advisories/x", "severity": "2"}
        ],
    }


def leaf_item(version: str = "1.0.0") -> dict[str, Any]:
    return {
        "@id": f"{REG2}foo/{version}.json",
        "@type": "Package",
        "commitId": "c",
        "commitTimeStamp": "2020-01-02T03:04:05.6789012+00:00",
        "catalogEntry": entry(version),
        "packageContent": f"{FLAT}foo/{version}/foo.{version}.nupkg",
        "registration": f"{REG2}foo/index.json",
    }


def registration() -> dict[str, Any]:
    return {
        "@id": f"{REG2}foo/index.json",
        "@type": ["catalog:CatalogRoot", "PackageRegistration", "catalog:Permalink"],
        "commitId": "c",
        "commitTimeStamp": "t",
        "count": 2,
        "items": [
            {
                "@id": f"{REG2}foo/index.json#page/1.0.0/1.0.0",
                "@type": "catalog:CatalogPage",
                "commitId": "c1",
                "commitTimeStamp": "t1",
                "count": 1,
                "items": [leaf_item()],
                "parent": f"{REG2}foo/index.json",
                "lower": "1.0.0",
                "upper": "1.0.0",
            },
            {
                "@id": f"{REG2}foo/page/2.0.0/3.0.0.json",
                "@type": "catalog:CatalogPage",
                "commitId": "c2",
                "commitTimeStamp": "t2",
                "count": 64,
                "lower": "2.0.0",
                "upper": "3.0.0",
            },
        ],
        "@context": {
            "@vocab": "http://schema.nuget.org/schema#",
            "catalog": "http://schema.nuget.org/catalog#",
            "@base": REG2,
        },
    }


def test_a_registration_of_nuget_org() -> None:
    """Edge cases 43 to 45, 51: every URL of ours, every other text as it was, in the same order."""
    document = registration()
    expected = json.dumps(document, separators=(",", ":"))
    description = f'"description":"see {REG2}foo/index.json"'
    project = f'"projectUrl":"{FLAT}foo/1.0.0/readme"'
    expected = expected.replace(description, "DESCRIPTION").replace(project, "PROJECT")
    expected = expected.replace(REG2, f"{BASE}{GZ_SEMVER2}/").replace(FLAT, f"{BASE}content/")
    expected = expected.replace(CATALOG, f"{BASE}catalog/")
    expected = expected.replace("DESCRIPTION", description).replace("PROJECT", project)
    body = json.dumps(document).encode()
    found = render(Kind.REGISTRATION, body, View(nuget_org(), BASE, REG2 + "foo/index.json"))
    assert found.body.decode() == expected
    assert (found.links, found.dropped) == ((), ())


def test_a_page_names_its_index_as_parent() -> None:
    page = {**registration()["items"][0], "@id": f"{REG2}foo/page/1.0.0/1.0.0.json"}
    out, _ = rendered(Kind.REGISTRATION_PAGE, page)
    assert out["@id"] == f"{BASE}{GZ_SEMVER2}/foo/page/1.0.0/1.0.0.json"
    assert out["parent"] == f"{BASE}{GZ_SEMVER2}/foo/index.json"
    assert out["items"][0]["packageContent"] == f"{BASE}content/foo/1.0.0/foo.1.0.0.nupkg"


def test_fragments_are_for_the_client_only() -> None:
    """Edge case 44."""
    services = services_of(index_of(("RegistrationsBaseUrl", "https://h/reg/")))
    document = {"items": [{"@id": "https://cdn/p.json#page/1/2"}, {"@id": "https://h/reg/foo/index.json#page/3/4"}]}
    out, found = rendered(Kind.REGISTRATION, document, services)
    assert out["items"][0]["@id"] == opaque(Kind.REGISTRATION_PAGE, "https://cdn/p.json") + "#page/1/2"
    assert out["items"][1]["@id"] == f"{BASE}{SEMVER1}/foo/index.json#page/3/4"
    assert [link.url for link in found.links] == ["https://cdn/p.json"]


@pytest.mark.parametrize("hive", [SEMVER1, GZ_SEMVER2])
def test_links_stay_below_the_hive_that_was_asked_for(hive: str) -> None:
    document = {"@id": "https://nuget.pkg.github.com/owner/foo/index.json", "items": []}
    view = View(services_of(GITHUB, GITHUB_URL), BASE, document["@id"], hive)
    out = json.loads(render(Kind.REGISTRATION, json.dumps(document).encode(), view).body)
    assert out["@id"] == f"{BASE}{hive}/foo/index.json"


def test_hives_are_not_mixed() -> None:
    """Edge case 52: what upstream says of one hive is what its clients get."""
    out, _ = rendered(Kind.REGISTRATION, {"@id": f"{REG1}foo/index.json", "count": 0, "items": []})
    assert out == {"@id": f"{BASE}{SEMVER1}/foo/index.json", "count": 0, "items": []}


def test_a_leaf_document_of_nuget_org() -> None:
    """Edge case 47: the catalog entry is a URL here."""
    document = {
        "@id": f"{REG2}foo/1.0.0.json",
        "@type": ["Package", "http://schema.nuget.org/catalog#Permalink"],
        "catalogEntry": f"{CATALOG}data/2020.01.02.03.04.05/foo.1.0.0.json",
        "listed": True,
        "packageContent": f"{FLAT}foo/1.0.0/foo.1.0.0.nupkg",
        "published": "2020-01-02T03:04:05+00:00",
        "registration": f"{REG2}foo/index.json",
        "@context": {"@vocab": "http://schema.nuget.org/schema#", "xsd": "http://www.w3.org/2001/XMLSchema#"},
    }
    out, found = rendered(Kind.REGISTRATION_LEAF, document)
    assert out == {
        **document,
        "@id": f"{BASE}{GZ_SEMVER2}/foo/1.0.0.json",
        "catalogEntry": f"{BASE}catalog/data/2020.01.02.03.04.05/foo.1.0.0.json",
        "packageContent": f"{BASE}content/foo/1.0.0/foo.1.0.0.nupkg",
        "registration": f"{BASE}{GZ_SEMVER2}/foo/index.json",
    }
    assert found.links == ()


def test_a_catalog_entry_that_we_do_not_serve_is_still_fetched_through_us() -> None:
    url = "https://pkgs.dev.azure.com/org/_apis/packaging/feeds/1/nuget/packages/foo/versions/1.0.0"
    out, found = rendered(Kind.REGISTRATION_LEAF, {"catalogEntry": url, "listed": True}, services_of(AZURE, AZURE_URL))
    # Not as a leaf of the catalog: outside of one, nobody has promised that it never changes.
    assert out["catalogEntry"] == opaque(Kind.REGISTRATION_LEAF, url)
    assert found.links == (Link.to(Kind.REGISTRATION_LEAF, url),)


def test_a_catalog_entry_in_a_page_that_we_do_not_serve_stays() -> None:
    services = services_of(AZURE, AZURE_URL)
    url = "https://pkgs.dev.azure.com/org/_apis/packaging/feeds/1/nuget/packages/foo/versions/1.0.0"
    document = {"items": [{"@id": "", "catalogEntry": {"@id": url, "id": "Foo", "version": "1.0.0"}}]}
    out, found = rendered(Kind.REGISTRATION_PAGE, document, services)
    assert (out, found.links) == (document, ())


@pytest.mark.parametrize(
    ("leaf", "content"),
    [
        # Edge case 48: on a CDN, with a signature that expires.
        (
            {"packageContent": "https://cdn.example.com/b/1?sig=x", "catalogEntry": {"id": "Foo", "version": "1.0+b"}},
            "content/foo/1.0.0/foo.1.0.0.nupkg",
        ),
        (
            {"packageContent": f"{FLAT}Foo/1.0/Foo.1.0.nupkg", "catalogEntry": {"id": "Foo", "version": "1.0-RC"}},
            "content/Foo/1.0.0-rc/Foo.1.0.0-rc.nupkg",
        ),
        (
            {"packageContent": "https://cdn/x", "catalogEntry": {"id": "Été", "version": "1.0.0"}},
            "content/%C3%A9t%C3%A9/1.0.0/%C3%A9t%C3%A9.1.0.0.nupkg",
        ),
        # What nothing states is read from the URLs.
        (
            {"packageContent": "https://h/f/Foo/1.0/Foo.1.0.nupkg", "catalogEntry": "https://h/c"},
            "content/Foo/1.0/Foo.1.0.nupkg",
        ),
        (
            {"packageContent": "https://h/api/v2/package/Foo/1.0", "@id": f"{REG2}Foo/1.0.json"},
            "content/Foo/1.0.0/Foo.1.0.0.nupkg",
        ),
        ({"packageContent": f"{FLAT}Foo/1.0/Foo.1.0.nupkg"}, "content/Foo/1.0/Foo.1.0.nupkg"),
        # The case is upstream's, wherever the package lies: PSResourceGet looks for the version in the URL.
        (
            {
                "packageContent": f"{FLAT}AcmeModule/1.0.1-PREv001/AcmeModule.1.0.1-PREv001.nupkg",
                "catalogEntry": {"id": "AcmeModule", "version": "1.0.1-PREv001"},
            },
            "content/AcmeModule/1.0.1-PREv001/AcmeModule.1.0.1-PREv001.nupkg",
        ),
        (
            {
                "packageContent": "https://h/Download/AcmeModule/1.0.1-PREv001",
                "catalogEntry": {"id": "acmemodule", "version": "1.0.1-prev001"},
            },
            "content/AcmeModule/1.0.1-PREv001/AcmeModule.1.0.1-PREv001.nupkg",
        ),
        (
            {
                "packageContent": "https://h/blobs/7",
                "catalogEntry": {"id": "AcmeModule", "version": "1.0.1-PREv001"},
            },
            "content/acmemodule/1.0.1-prev001/acmemodule.1.0.1-prev001.nupkg",
        ),
        # An id that cannot be one is not made a path of ours.
        (
            {"packageContent": "https://h/x.nupkg", "catalogEntry": {"id": "../../etc", "version": "1.0.0"}},
            f"x/{Link.to(Kind.PACKAGE, 'https://h/x.nupkg').token}",
        ),
        (
            {"packageContent": "https://h/x.nupkg", "catalogEntry": {"id": "Foo", "version": "one"}},
            f"x/{Link.to(Kind.PACKAGE, 'https://h/x.nupkg').token}",
        ),
        (
            {"packageContent": "x.nupkg", "@id": "https://h/reg/foo.json"},
            f"x/{Link.to(Kind.PACKAGE, REG2 + 'foo/x.nupkg').token}",
        ),
    ],
)
def test_packages_are_fetched_from_us(leaf: dict[str, Any], content: str) -> None:
    """Edge case 48."""
    out, _ = rendered(Kind.REGISTRATION_PAGE, {"items": [leaf]})
    assert out["items"][0]["packageContent"] == BASE + content
    assert parse_route(content) is not None


def test_package_content_is_not_invented() -> None:
    out, _ = rendered(Kind.REGISTRATION_PAGE, {"items": [{"catalogEntry": {"id": "Foo", "version": "1.0.0"}}]})
    assert out == {"items": [{"catalogEntry": {"id": "Foo", "version": "1.0.0"}}]}


@pytest.mark.parametrize(
    ("name", "url"),
    [
        # Edge case 49.
        ("iconUrl", "https://raw.githubusercontent.com/foo/icon.png"),
        ("iconUrl", f"{FLAT}foo/1.0.0/other.png"),
        ("iconUrl", "icon.png"),
        ("iconUrl", ""),
        ("iconUrl", "not a url"),
        ("projectUrl", f"{FLAT}foo/index.json"),
        ("projectUrl", "https://api.nuget.org/"),
        ("licenseUrl", "https://licenses.nuget.org/MIT"),
        ("readmeUrl", "https://www.nuget.org/packages/foo/1.0.0#show-readme-container"),
        ("advisoryUrl", f"{FLAT}foo/index.json"),
        ("description", f"{FLAT}foo/index.json"),
        ("summary", REG2),
        ("unknownUrl", f"{REG2}foo/index.json"),
    ],
)
def test_urls_that_are_only_shown_stay_upstreams(name: str, url: str) -> None:
    document = {"items": [{"catalogEntry": {"id": "Foo", "version": "1.0.0", name: url}}]}
    out, found = rendered(Kind.REGISTRATION_PAGE, document)
    assert (out, found.links) == (document, ())
    result = {"totalHits": 1, "data": [{"id": "Foo", "version": "1.0.0", name: url}]}
    assert rendered(Kind.SEARCH, result)[0] == result


def test_types_are_left_alone() -> None:
    """Edge case 50."""
    body = (
        b'{"items":[{"catalogEntry":{"authors":"A, B","tags":["x"],"vulnerabilities":[{"severity":"2"},{"severity":2}],'
        b'"packageSize":9223372036854775807,"big":123456789012345678901234567890,"ratio":1.10,"listed":"true"},'
        b'"@id":7,"packageContent":null,"registration":{"a":1}}],"count":"1","@context":"http://h/"}'
    )
    assert render(Kind.REGISTRATION_PAGE, body, View(nuget_org(), BASE, REG2)).body == body


@pytest.mark.parametrize(
    ("reference", "local"),
    [
        ("index.json", f"{GZ_SEMVER2}/foo/index.json"),
        ("../bar/index.json", f"{GZ_SEMVER2}/bar/index.json"),
        ("/v3/registration5-semver1/foo/index.json", f"{SEMVER1}/foo/index.json"),
        ("//API.nuget.org/v3/registration5-semver1/foo/index.json", f"{SEMVER1}/foo/index.json"),
    ],
)
def test_relative_urls_are_resolved_first(reference: str, local: str) -> None:
    out, found = rendered(Kind.REGISTRATION, {"@id": reference, "items": []}, url=f"{REG2}foo/index.json")
    assert (out["@id"], found.links) == (BASE + local, ())


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data",
        "https://api.nuget.org/v3-flatcontainer/../secret",
        "https://h/reg/foo/index.json?x=1",
        f"{REG2}foo/%2e%2e/index.json",
        f"{REG2}foo/page one.json".replace(" ", "%20"),
        "https://user:secret@h/x.json",
    ],
)
def test_what_is_under_no_base_becomes_an_opaque_link(url: str) -> None:
    out, found = rendered(Kind.REGISTRATION, {"@id": url, "items": []})
    url = url.replace("user:secret@", "")
    assert out["@id"] == opaque(Kind.REGISTRATION, url)
    assert found.links == (Link.to(Kind.REGISTRATION, url),)
    route = parse_route(f"x/{found.links[0].token}")
    assert route is not None
    assert (route.resource, route.kind) == (LINK, None)


def test_an_opaque_link_is_stable_and_told_once() -> None:
    leaf = {"@id": "https://cdn/a.json", "registration": "https://cdn/i.json", "catalogEntry": {"id": "Foo"}}
    _, one = rendered(Kind.REGISTRATION_PAGE, {"items": [leaf, {**leaf}]})
    _, two = rendered(Kind.REGISTRATION_PAGE, {"items": [leaf]}, base="https://other/v3/")
    assert one.links == two.links
    assert len(one.links) == 2
    assert Link.to(Kind.PACKAGE, "https://cdn/a.json").token != Link.to(Kind.REGISTRATION, "https://cdn/a.json").token


@pytest.mark.parametrize("value", ["urn:uuid:1", "", "file:///etc/passwd", "javascript:alert(1)", "mailto:a@b"])
def test_what_is_no_http_url_is_left_alone(value: str) -> None:
    document = {"@id": value, "items": []}
    out, found = rendered(Kind.REGISTRATION, document)
    assert (out, found.links) == (document, ())


def test_a_search_result_of_nuget_org() -> None:
    """Edge case 56."""
    document = {
        "@context": {"@vocab": "http://schema.nuget.org/schema#", "@base": REG2},
        "totalHits": 1,
        "data": [
            {
                "@id": f"{REG2}foo/index.json",
                "@type": "Package",
                "registration": f"{REG2}foo/index.json",
                "id": "Foo",
                "version": "1.0.0+b",
                "description": f"{REG2}foo/index.json",
                "iconUrl": f"{FLAT}foo/1.0.0/icon",
                "licenseUrl": "https://licenses.nuget.org/MIT",
                "projectUrl": "https://github.com/foo",
                "tags": [],
                "authors": "A",
                "totalDownloads": 3,
                "verified": False,
                "packageTypes": [{"name": "Dependency"}],
                "versions": [{"version": "1.0.0+b", "downloads": 3, "@id": f"{REG2}foo/1.0.0.json"}],
                "vulnerabilities": [{"advisoryUrl": "https://github.com/a", "severity": 1}],
            }
        ],
    }
    expected = json.dumps(document).replace(f'"description": "{REG2}', "DESCRIPTION")
    expected = expected.replace(REG2, f"{BASE}{GZ_SEMVER2}/").replace(FLAT, f"{BASE}content/")
    out, found = rendered(Kind.SEARCH, document, url="https://azuresearch-usnc.nuget.org/query")
    assert json.dumps(out) == expected.replace("DESCRIPTION", f'"description": "{REG2}')
    assert found.links == ()


def test_vulnerability_indexes_stay_arrays() -> None:
    """Edge case 61."""
    url = f"{API}/vulnerabilities/index.json"
    base = "https://api.nuget.org/v3-vulnerabilities/2024.01.01/vulnerability.base.json"
    document = [
        {"@name": "base", "@id": base, "@updated": "2024-01-01T00:00:00Z", "comment": base},
        {"@name": "update", "@id": f"{API}/vulnerabilities/2024/update.json", "@updated": "2024-01-02T00:00:00Z"},
    ]
    out, found = rendered(Kind.VULNERABILITIES, document, url=url)
    assert out == [
        {**document[0], "@id": opaque(Kind.VULNERABILITY_PAGE, base)},
        {**document[1], "@id": f"{BASE}vulnerabilities/pages/2024/update.json"},
    ]
    assert found.links == (Link(Link.to(Kind.VULNERABILITY_PAGE, base).token, Kind.VULNERABILITY_PAGE, base),)
    assert vulnerability_pages(json.dumps(document).encode(), url) == (
        PageRef(base, "2024-01-01T00:00:00Z"),
        PageRef(f"{API}/vulnerabilities/2024/update.json", "2024-01-02T00:00:00Z"),
    )


@pytest.mark.parametrize("body", [b"[]", b"{}", b'[{"@id":"https://h/"}]', b"<html>"])
def test_pages_of_what_is_no_vulnerability_index(body: bytes) -> None:
    with pytest.raises(InvalidDocument):
        vulnerability_pages(body, "https://h/index.json")


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (
            Kind.VULNERABILITY_PAGE,
            b'{ "foo" : [ {"severity":2,"url":"https://api.nuget.org/v3/catalog0/index.json"} ] }',
        ),
        (Kind.VULNERABILITY_PAGE, b"[ ]"),
        (Kind.AUTOCOMPLETE, b'{"totalHits": 1, "data": ["Foo"]}'),
        (
            Kind.SIGNATURES,
            b'{"allRepositorySigned":true,"signingCertificates":[{"contentUrl":"https://api.nuget.org/v3-index/x.crt"}]}',
        ),
        (Kind.README, b"# https://api.nuget.org/v3/catalog0/index.json"),
        (Kind.NUSPEC, b"<package/>"),
    ],
)
def test_documents_without_links_keep_their_bytes(kind: Kind, body: bytes) -> None:
    """Edge case 11: contentUrl stays upstream's; edge case 9: only a byte order mark goes."""
    check(kind, body)
    view = View(nuget_org(), BASE, "https://h/")
    assert render(kind, body, view) == Rendered(body)
    if kind not in (Kind.README, Kind.NUSPEC):
        assert render(kind, b"\xef\xbb\xbf" + body, view) == Rendered(body)


@pytest.mark.parametrize("kind", [Kind.REGISTRATION, Kind.SEARCH, Kind.VERSIONS, Kind.VULNERABILITIES, Kind.CATALOG])
def test_a_byte_order_mark_is_not_passed_on(kind: Kind) -> None:
    """Edge case 9."""
    body = b'\xef\xbb\xbf{"totalHits":0,"data":[],"items":[],"versions":[]}'
    assert render(kind, body, View(nuget_org(), BASE, "https://h/")).body == body[3:]


@pytest.mark.parametrize(
    ("kind", "document"),
    [
        (
            Kind.CATALOG,
            {
                "@id": f"{CATALOG}index.json",
                "commitId": "c",
                "count": 1,
                "items": [{"@id": f"{CATALOG}page0.json", "@type": "CatalogPage", "count": 540}],
                "@context": {"@vocab": "http://schema.nuget.org/catalog#"},
            },
        ),
        (
            Kind.CATALOG_PAGE,
            {
                "@id": f"{CATALOG}page0.json",
                "parent": f"{CATALOG}index.json",
                "items": [{"@id": f"{CATALOG}data/2015.02.01.06.22.45/a.1.0.0.json", "nuget:id": "a"}],
            },
        ),
        (
            Kind.CATALOG_LEAF,
            {
                "@id": f"{CATALOG}data/2015.02.01.06.22.45/a.1.0.0.json",
                "@type": ["PackageDetails", "catalog:Permalink"],
                "id": "a",
                "version": "1.0.0",
                "packageSize": 123456789012345,
                "dependencyGroups": [{"@id": f"{CATALOG}data/2015.02.01.06.22.45/a.1.0.0.json#dependencygroup"}],
                "packageEntries": [
                    {"@id": f"{CATALOG}data/2015.02.01.06.22.45/a.1.0.0.json#a.nuspec", "name": "a.nuspec"}
                ],
            },
        ),
    ],
)
def test_catalog_documents_of_nuget_org(kind: Kind, document: dict[str, Any]) -> None:
    out, found = rendered(kind, document, url=document["@id"])
    assert json.dumps(out) == json.dumps(document).replace(CATALOG, f"{BASE}catalog/")
    assert found.links == ()


def test_a_leaf_routed_as_a_page_is_rendered_as_a_leaf() -> None:
    services = services_of(index_of(("Catalog/3.0.0", "https://h/cat/index.json")))
    leaf = {
        "@id": "https://h/cat/leaves/a.json",
        "id": "a",
        "version": "1.0.0",
        "packageEntries": [{"@id": "https://h/cat/leaves/a.json#x"}],
    }
    out, _ = rendered(Kind.CATALOG_PAGE, leaf, services)
    assert json.dumps(out) == json.dumps(leaf).replace("https://h/cat/", f"{BASE}catalog/")


@pytest.mark.parametrize(
    ("listed", "expected", "dropped"),
    [
        # Edge case 26.
        (["1.0", "1.0.0+x", "1.0.0", "2.0.0-RC1", "garbage"], ["1.0.0", "2.0.0-rc1"], ("garbage",)),
        # Edge case 27.
        (
            ["1.10.0", "1.9.0", "1.0.0-a", "1.0.0-1", "1.0.0", "1.0.0-alpha.10", "1.0.0-alpha.2", "1.0.0.1"],
            ["1.0.0-1", "1.0.0-a", "1.0.0-alpha.2", "1.0.0-alpha.10", "1.0.0", "1.0.0.1", "1.9.0", "1.10.0"],
            (),
        ),
        # Edge case 28.
        ([], [], ()),
        (["v1", "1.0.0-", " 1.0 "], ["1.0.0"], ("v1", "1.0.0-")),
    ],
)
def test_version_lists(listed: list[str], expected: list[str], dropped: tuple[str, ...]) -> None:
    body = json.dumps({"a": 1, "versions": listed, "b": [2]}).encode()
    check(Kind.VERSIONS, body)
    found = render(Kind.VERSIONS, body, View(nuget_org(), BASE, FLAT))
    assert found.body == json.dumps({"a": 1, "versions": expected, "b": [2]}, separators=(",", ":")).encode()
    assert (found.dropped, found.links) == (dropped, ())


def test_what_else_a_version_list_says_keeps_its_spelling() -> None:
    body = b'{"versions":["2.0.0","1.0.0"],"total":1.50,"at":12345678901234567890}'
    found = render(Kind.VERSIONS, body, View(nuget_org(), BASE, FLAT))
    assert found.body == b'{"versions":["1.0.0","2.0.0"],"total":1.50,"at":12345678901234567890}'


def test_listed_versions_remember_upstreams_spelling() -> None:
    found = listed_versions(b'{"versions":["2.0.0-RC1","1.0","1.0.0+x","garbage"]}')
    assert [(raw, version.url) for raw, version in found] == [("1.0", "1.0.0"), ("2.0.0-RC1", "2.0.0-rc1")]


@pytest.mark.parametrize("body", [b"{}", b"[]", b"null", b'{"versions":[1]}', b"<html>"])
def test_what_is_no_version_list(body: bytes) -> None:
    with pytest.raises(InvalidDocument):
        listed_versions(body)
    with pytest.raises(InvalidDocument):
        render(Kind.VERSIONS, body, View(nuget_org(), BASE, FLAT))


def test_only_external_pages_are_named() -> None:
    """Edge case 46: with them the caller can replace an index together with its pages."""
    url = f"{REG2}foo/index.json"
    document = registration()
    document["items"].append({"@id": "page/4.0.0/5.0.0.json#x", "commitTimeStamp": "t3"})
    document["items"].append({**document["items"][1]})
    assert registration_pages(json.dumps(document).encode(), url) == (
        PageRef(f"{REG2}foo/page/2.0.0/3.0.0.json", "t2c2"),
        PageRef(f"{REG2}foo/page/4.0.0/5.0.0.json", "t3"),
    )
    assert page_commit(json.dumps(document["items"][1]).encode()) == "t2c2"
    assert page_commit(b"{}") == ""


@pytest.mark.parametrize("hive", HIVES)
@pytest.mark.parametrize("page", ["https://nuget.pkg.github.com/owner/foo/p/1.json", "https://cdn/p.json"])
def test_a_page_is_fetched_ahead_under_the_link_that_is_rendered(hive: str, page: str) -> None:
    services = services_of(GITHUB, GITHUB_URL)
    document = {"items": [{"@id": f"{page}#x", "lower": "1.0.0", "upper": "1.0.0"}]}
    found = render(Kind.REGISTRATION, json.dumps(document).encode(), View(services, BASE, "", hive))
    link = json.loads(found.body)["items"][0]["@id"].removeprefix(BASE).partition("#")[0]
    place = locate(Kind.REGISTRATION_PAGE, f"{page}#x", services, hive)
    assert link == (f"x/{place.token}" if isinstance(place, Link) else f"{place.resource}/{place.rest}")


def test_a_page_that_is_its_index_is_not_fetched_again() -> None:
    url = "https://gitea.example.com/api/packages/team/nuget/registration/Foo/index.json"
    page = {"@id": url, "count": 1, "items": [leaf_item()], "lower": "1.0.0", "upper": "1.0.0"}
    assert registration_pages(json.dumps({"@id": url, "items": [page]}).encode(), url) == ()
    bare = {"@id": f"{url}#page", "lower": "1.0.0", "upper": "1.0.0"}
    assert registration_pages(json.dumps({"@id": url, "items": [bare]}).encode(), url) == ()
    out, _ = rendered(Kind.REGISTRATION, {"@id": url, "items": [page]}, services_of(GITEA, GITEA_URL), url=url)
    assert out["@id"] == out["items"][0]["@id"] == f"{BASE}{SEMVER1}/Foo/index.json"


@pytest.mark.parametrize("body", [b"", b"[]", b"<html>", b'{"items":'])
def test_what_is_no_registration_has_no_pages(body: bytes) -> None:
    for read in (
        lambda: registration_pages(body, REG2),
        lambda: page_commit(body),
        lambda: stated_content(body, V1, REG2),
    ):
        with pytest.raises(InvalidDocument):
            read()


V1 = Version(1)


@pytest.mark.parametrize(
    ("document", "url"),
    [
        (registration(), f"{FLAT}foo/1.0.0/foo.1.0.0.nupkg"),
        (registration()["items"][0], f"{FLAT}foo/1.0.0/foo.1.0.0.nupkg"),
        ({"items": [leaf_item("2.0.0"), leaf_item()]}, f"{FLAT}foo/1.0.0/foo.1.0.0.nupkg"),
        (leaf_item(), f"{FLAT}foo/1.0.0/foo.1.0.0.nupkg"),
        ({"packageContent": "https://h/d/MyPkg/1.0/MyPkg.1.0.nupkg"}, "https://h/d/MyPkg/1.0/MyPkg.1.0.nupkg"),
        ({"packageContent": "https://cdn/x?sig=1#y", "catalogEntry": "https://h/"}, "https://cdn/x?sig=1"),
        ({"packageContent": "../f.nupkg"}, urljoin(f"{REG2}foo/1.json", "../f.nupkg")),
        ({"items": [{"catalogEntry": {"version": "1.0", "packageContent": "https://h/x"}}]}, "https://h/x"),
        ({"items": [{"packageContent": "https://h/d/a/1.0/a.1.0.nupkg"}]}, "https://h/d/a/1.0/a.1.0.nupkg"),
        ({"items": [{"packageContent": "https://h/x"}]}, None),
        ({"items": [leaf_item("1.0.1")]}, None),
        ({"items": [{"catalogEntry": {"version": "1.0.0"}}]}, None),
        ({"items": [{"catalogEntry": {"version": "1.0.0"}, "packageContent": "file:///etc/passwd"}]}, None),
        ({"items": [{"@id": "https://h/page.json"}]}, None),
        ({"packageContent": "https://h/x", "version": "2.0.0"}, None),
        ({}, None),
    ],
)
def test_the_package_url_that_upstream_states(document: Any, url: str | None) -> None:
    assert stated_content(json.dumps(document).encode(), V1, f"{REG2}foo/1.json") == url


def test_the_index_is_rendered_by_its_services() -> None:
    """Edge cases 10 and 11 by the scheme of the base."""
    body = json.dumps(NUGET).encode()
    plain = render(Kind.INDEX, body, View(nuget_org(), BASE, "https://h/"))
    secure = render(Kind.INDEX, body, View(nuget_org(), "https://h/v3/", "https://h/"))
    assert b"RepositorySignatures" not in plain.body
    assert b"https://h/v3/signatures/5.0.0/index.json" in secure.body


@pytest.mark.parametrize(
    "base", ["https://a.example.com/v3/", "https://[::1]:8443/p/v3/", "https://a.example.com/feed/v3/"]
)
def test_nothing_in_a_document_leads_to_plain_http_or_around_us(base: str) -> None:
    """Edge cases 13, 14, 85: walk every string of a rendered document."""
    allowed = {"description", "projectUrl", "licenseUrl", "advisoryUrl", "@vocab", "catalog"}

    def walk(name: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                walk(key, inner)
        elif isinstance(value, list):
            for inner in value:
                walk(name, inner)
        elif isinstance(value, str) and "://" in value and name not in allowed:
            assert value.startswith(base), name

    walk("", rendered(Kind.REGISTRATION, registration(), base=base)[0])
    walk("", rendered(Kind.REGISTRATION_PAGE, registration()["items"][0], base=base)[0])
    walk("", rendered(Kind.REGISTRATION_LEAF, leaf_item(), base=base)[0])


# --- every document is rewritten by what it is ---

INNER = "http://farm:5555/v3/"
"""Another proxy, whose leaves are their own catalog entries."""
BEHIND = services_of(
    index_of(
        ("PackageBaseAddress/3.0.0", f"{INNER}content/"),
        ("RegistrationsBaseUrl/3.6.0", f"{INNER}registration/gz-semver2/"),
    ),
    f"{INNER}index.json",
)
ENTRY: dict[str, Any] = {
    "id": "Foo",
    "version": "1.0.0",
    "packageContent": f"{INNER}content/foo/1.0.0/foo.1.0.0.nupkg",
    "iconUrl": f"{INNER}content/foo/1.0.0/icon",
    "dependencyGroups": [
        {"dependencies": [{"id": "Bar", "registration": f"{INNER}registration/gz-semver2/bar/index.json"}]}
    ],
}
OWN_LEAF = {
    **ENTRY,
    "@id": f"{INNER}registration/gz-semver2/foo/1.0.0.json",
    "catalogEntry": f"{INNER}registration/gz-semver2/foo/1.0.0.json",
    "registration": f"{INNER}registration/gz-semver2/foo/index.json",
}


@pytest.mark.parametrize("kind", [Kind.REGISTRATION_LEAF, Kind.CATALOG_LEAF])
def test_a_leaf_that_is_its_own_catalog_entry_names_no_url_of_the_feed_behind(kind: Kind) -> None:
    out, found = rendered(kind, OWN_LEAF, BEHIND, url=OWN_LEAF["@id"])
    assert INNER not in json.dumps(out)
    assert out["catalogEntry"] == out["@id"] == f"{BASE}registration/gz-semver2/foo/1.0.0.json"
    assert found.links == ()


def test_a_leaf_without_catalog_entry_is_a_leaf_in_a_page_too() -> None:
    bare = {key: value for key, value in ENTRY.items() if key != "packageContent"}
    document = {"items": [{**bare, "@id": OWN_LEAF["@id"]}]}
    for kind in (Kind.REGISTRATION, Kind.REGISTRATION_PAGE):
        out, _ = rendered(kind, document, BEHIND, url=f"{INNER}registration/gz-semver2/foo/index.json")
        assert INNER not in json.dumps(out)
    body = json.dumps(document).encode()
    assert registration_pages(body, f"{INNER}registration/gz-semver2/foo/index.json") == ()
    check(Kind.REGISTRATION_PAGE, body, id="foo")
    with pytest.raises(InvalidDocument):
        check(Kind.REGISTRATION_PAGE, body, id="bar")


def test_what_a_link_to_a_page_leads_to_may_be_the_index() -> None:
    index = {"items": [{"@id": f"{INNER}registration/gz-semver2/foo/index.json#page/1/2", "items": [OWN_LEAF]}]}
    for kind in (Kind.REGISTRATION_PAGE, Kind.REGISTRATION):
        out, _ = rendered(kind, index, BEHIND, url="https://elsewhere/x")
        assert INNER not in json.dumps(out)


@pytest.mark.parametrize(
    ("page", "kind"),
    [
        ({"@id": "https://cdn/foo/index.json#page/1.0.0/2.0.0", "items": []}, Kind.REGISTRATION),
        ({"@id": "https://cdn/foo/index.json", "items": []}, Kind.REGISTRATION),
        ({"@id": "https://old/foo.json", "items": [], "parent": "https://old/foo.json"}, Kind.REGISTRATION),
        ({"@id": "https://cdn/foo/page1.json", "items": []}, Kind.REGISTRATION_PAGE),
        ({"@id": "https://cdn/foo/index.json#page/1.0.0/2.0.0"}, Kind.REGISTRATION_PAGE),
    ],
)
def test_an_inlined_page_below_no_base_of_ours_leads_to_the_index(page: dict[str, Any], kind: Kind) -> None:
    out, found = rendered(Kind.REGISTRATION, {"items": [page]}, url="https://cdn/foo/index.json")
    url, hash_, fragment = page["@id"].partition("#")
    assert out["items"][0]["@id"] == opaque(kind, url) + hash_ + fragment
    assert Link.to(kind, url) in found.links


@pytest.mark.parametrize(
    ("document", "empty"),
    [
        ({"count": 0, "items": []}, True),
        ({"count": 1, "items": [{"@id": f"{REG2}foo/index.json#page/1/2", "items": []}]}, True),
        ({"count": 1, "items": [{"@id": f"{REG2}foo/page/1/2.json"}]}, False),
        ({"count": 1, "items": [{"@id": f"{REG2}foo/page/1/2.json", "items": None}]}, False),
        ({"count": 1, "items": [{"items": [ENTRY]}]}, False),
        ({"count": 1, "items": [{**ENTRY, "@id": OWN_LEAF["@id"]}]}, False),
    ],
)
def test_a_registration_without_any_leaf_is_empty(document: dict[str, Any], empty: bool) -> None:
    assert rendered(Kind.REGISTRATION, document)[1].empty is empty


def test_lists_that_are_null_are_empty_lists() -> None:
    assert rendered(Kind.VERSIONS, {"versions": None})[0] == {"versions": []}
    assert rendered(Kind.AUTOCOMPLETE, {"totalHits": 0, "data": None})[0] == {"totalHits": 0, "data": []}
    assert rendered(Kind.SEARCH, {"totalHits": 0, "data": None})[0] == {"totalHits": 0, "data": []}
    hit = {"id": "Foo", "version": "1.0.0", "versions": None, "title": None}
    out, _ = rendered(Kind.SEARCH, {"totalHits": 1, "data": [hit]})
    assert out["data"] == [{**hit, "versions": []}]


# --- feeds without a flat container ---


def test_the_versions_of_a_registration_make_a_list() -> None:
    def leaf(version: str, **more: Any) -> dict[str, Any]:
        return {"catalogEntry": {"id": "Foo", "version": version, **more}}

    nameless = {"packageContent": "https://h/foo/3.0.0/foo.3.0.0.nupkg", "catalogEntry": {"id": "Foo"}}
    index = {"items": [{"@id": "https://h/p1"}, {"items": [leaf("1.10.0"), leaf("1.9.0-RC+x", listed=False)]}]}
    page = {"items": [leaf("1.10.0"), leaf("nonsense"), nameless]}
    bodies = [json.dumps(document).encode() for document in (index, page)]
    assert [version.url for version in registration_versions(bodies)] == ["1.9.0-rc", "1.10.0", "3.0.0"]


def test_pages_that_may_have_a_version() -> None:
    pages = [
        {"@id": "https://h/foo/1", "lower": "1.0.0", "upper": "1.9.9"},
        {"@id": "https://h/foo/2", "lower": "2.0.0", "upper": "2.9.9"},
        {"@id": "https://h/foo/3"},
        {"@id": "https://h/foo/4", "lower": "2.0.0", "upper": "2.9.9", "items": []},
        {"@id": "page5", "lower": "2.5.0", "upper": "odd"},
    ]
    body = json.dumps({"items": pages}).encode()
    version = Version.parse("2.5.0")
    assert version is not None
    found = [page.url for page in pages_with(body, version, "https://h/foo/index.json")]
    assert found == ["https://h/foo/2", "https://h/foo/3", "https://h/foo/page5"]
