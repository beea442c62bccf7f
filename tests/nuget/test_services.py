"""What an upstream's service index offers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nugetproxy.nuget.documents.exact_json import InvalidDocument
from nugetproxy.nuget.kinds import Kind
from nugetproxy.nuget.resources import GZ_SEMVER1, GZ_SEMVER2, SEMVER1
from nugetproxy.nuget.routes import parse_route
from nugetproxy.nuget.services import parse_service_index
from tests.nuget.indexes import (
    AZURE,
    AZURE_URL,
    FEEDS,
    GITEA,
    GITEA_URL,
    GITHUB,
    GITHUB_URL,
    GITLAB,
    GITLAB_URL,
    NUGET_URL,
    index_of,
    nuget_org,
    services_of,
)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"   ",
        b"<!DOCTYPE html><html><body>Sign in</body></html>",
        b"null",
        b"[]",
        b'"3.0.0"',
        b"{}",
        b'{"resources":[]}',
        b'{"version":"3.0.0"}',
        b'{"version":"2.0.0","resources":[]}',
        b'{"version":"3.0","resources":[]}',
        b'{"version":"4.0.0","resources":[]}',
        b'{"version":"30.0.0","resources":[]}',
        b'{"version":3,"resources":[]}',
        b'{"version":"3.0.0","resources":{}}',
        b'{"version":"3.0.0","resources":null}',
        b'{"version":"3.0.0","resources":[]',
        b'{"version":"3.0.0","resources":[],"x":NaN}',
        b'{"version":"3.0.0","resources":[' + b"[" * 10000 + b"]" * 10000 + b"]}",
        '{"version":"3.0.0","resources":[]}'.encode("utf-16"),
        b'{"version":"3.0.0","resources":["\xff"]}',
    ],
)
def test_what_is_no_service_index_is_refused(body: bytes) -> None:
    """Edge case 8."""
    with pytest.raises(InvalidDocument):
        parse_service_index(body, NUGET_URL)


@pytest.mark.parametrize("version", ["3.0.0", "3.0.0-beta", "3.0.0-beta.1", "3.1.0+x"])
def test_versions_in_use_are_accepted(version: str) -> None:
    assert services_of({"version": version, "resources": []}).resources == frozenset()


def test_a_byte_order_mark_is_tolerated() -> None:
    """Edge case 9."""
    body = json.dumps(index_of(("PackageBaseAddress/3.0.0", "https://h/flat/"))).encode("utf-8-sig")
    assert parse_service_index(body, NUGET_URL).has("content")


def test_failover_keeps_upstreams_order() -> None:
    """Edge case 1."""
    assert nuget_org().upstream_urls("query", "", "q=a%26b&q=%2B") == (
        "https://azuresearch-usnc.nuget.org/query?q=a%26b&q=%2B",
        "https://azuresearch-ussc.nuget.org/query?q=a%26b&q=%2B",
    )


def test_a_type_may_be_an_array() -> None:
    """Edge case 2."""
    services = services_of(
        {
            "version": "3.0.0",
            "resources": [
                {"@id": "https://h/reg/", "@type": ["RegistrationsBaseUrl", "RegistrationsBaseUrl/3.6.0", 7]},
                {"@id": "https://h/flat/", "@type": ["PackageBaseAddress/3.0.0"]},
            ],
        }
    )
    assert services.resources == {SEMVER1, GZ_SEMVER2, "content"}
    assert not services.has(GZ_SEMVER1)


def test_what_is_no_http_url_is_dropped_and_what_is_relative_is_resolved() -> None:
    """Edge case 3."""
    services = services_of(
        index_of(
            ("PackageBaseAddress/3.0.0", "urn:uuid:1"),
            ("PackageBaseAddress/3.0.0", "../flat"),
            ("SearchQueryService", "file:///etc/passwd"),
            ("RegistrationsBaseUrl", "/reg/"),
        ),
        "https://h/v3/index.json",
    )
    assert services.upstream_urls("content", "a/index.json") == ("https://h/flat/a/index.json",)
    assert services.upstream_urls(SEMVER1, "a/index.json") == ("https://h/reg/a/index.json",)
    assert not services.has("query")


@pytest.mark.parametrize(
    "entry",
    [
        None,
        7,
        "x",
        [],
        {},
        {"@type": "PackageBaseAddress/3.0.0"},
        {"@id": "https://h/"},
        {"@id": 7, "@type": "PackageBaseAddress/3.0.0"},
        {"@id": "https://h/", "@type": 7},
        {"@id": "https://h/", "@type": [None]},
        {"@id": "https://h/", "@type": "packagebaseaddress/3.0.0"},
        {"@id": "", "@type": "PackageBaseAddress/3.0.0"},
    ],
)
def test_odd_entries_do_no_harm(entry: Any) -> None:
    services = services_of(
        {"version": "3.0.0", "resources": [entry, *index_of(("SearchQueryService", "/q"))["resources"]]}
    )
    assert services.resources == {"query"}


def test_credentials_in_an_address_are_not_used() -> None:
    services = services_of(index_of(("PackageBaseAddress/3.0.0", "https://user:secret@h/flat/")))
    assert services.upstream_urls("content", "a/index.json") == ("https://h/flat/a/index.json",)


def test_unknown_types_are_listed_once() -> None:
    services = services_of(AZURE, AZURE_URL)
    assert services.unknown == ("VssFeedId", "VssBaseUrl")
    assert not services_of(FEEDS["nuget.org"][0]).unknown


def test_plain_http_below_https_is_denied() -> None:
    index = index_of(
        ("PackageBaseAddress/3.0.0", "http://h/flat/"),
        ("SearchQueryService", "https://h/q"),
        ("PackagePublish/2.0.0", "http://h/push"),
    )
    services = services_of(index, "https://h/v3/index.json")
    assert services.denied == ("PackageBaseAddress/3.0.0", "PackagePublish/2.0.0")
    assert services.resources == {"query"}
    assert services.publish_urls("package") == ()
    open_services = services_of(index, "http://h/v3/index.json")
    assert open_services.denied == ()
    assert open_services.resources == {"content", "query", "package"}


@pytest.mark.parametrize("base", ["https://h/flat", "https://h/flat/"])
def test_base_and_rest_are_joined_by_one_slash(base: str) -> None:
    """Edge case 6."""
    services = services_of(index_of(("PackageBaseAddress/3.0.0", base)))
    assert services.upstream_urls("content", "a/index.json") == ("https://h/flat/a/index.json",)


def test_upstreams_own_slash_and_query_stay_upstream() -> None:
    """Edge case 7."""
    services = services_of(
        index_of(
            ("SearchQueryService/3.0.0-beta", "https://h/query2/?api-version=1&key=s"),
            ("PackageBaseAddress/3.0.0", "https://h/flat?sig=x%2F"),
            ("PackagePublish/2.0.0", "https://h/push/?sig=x"),
        )
    )
    assert services.upstream_urls("query", "", "q=x") == ("https://h/query2/?q=x&api-version=1&key=s",)
    assert services.upstream_urls("query", "", "API-VERSION=2") == ("https://h/query2/?API-VERSION=2&key=s",)
    assert services.upstream_urls("content", "a/index.json") == ("https://h/flat/a/index.json?sig=x%2F",)
    assert services.publish_urls("package", "Foo/1.0") == ("https://h/push/Foo/1.0?sig=x",)
    assert services.to_local("https://h/flat/a/index.json?sig=x%2F") == "content/a/index.json"
    assert services.to_local("https://h/flat/a/index.json?sig=y") is None


@pytest.mark.parametrize(
    ("resource", "rest", "url"),
    [
        ("index", "index.json", NUGET_URL),
        ("content", "a/index.json", "https://api.nuget.org/v3-flatcontainer/a/index.json"),
        ("readme", "a/1.0.0/readme", "https://api.nuget.org/v3-flatcontainer/a/1.0.0/readme"),
        (SEMVER1, "a/index.json", "https://api.nuget.org/v3/registration5-semver1/a/index.json"),
        (GZ_SEMVER1, "a/index.json", "https://api.nuget.org/v3/registration5-gz-semver1/a/index.json"),
        (GZ_SEMVER2, "a/1.0.0.json", "https://api.nuget.org/v3/registration5-gz-semver2/a/1.0.0.json"),
        (
            "signatures/5.0.0",
            "index.json",
            "https://api.nuget.org/v3-index/repository-signatures/5.0.0/index.json",
        ),
        ("vulnerabilities", "index.json", "https://api.nuget.org/v3/vulnerabilities/index.json"),
        ("vulnerabilities", "pages/a/b.json", "https://api.nuget.org/v3/vulnerabilities/a/b.json"),
        ("catalog", "index.json", "https://api.nuget.org/v3/catalog0/index.json"),
        ("catalog", "data/x/y.json", "https://api.nuget.org/v3/catalog0/data/x/y.json"),
    ],
)
def test_where_nuget_org_has_it(resource: str, rest: str, url: str) -> None:
    assert nuget_org().upstream_urls(resource, rest) == (url,)


def test_what_upstream_lacks_has_no_url() -> None:
    services = services_of(GITLAB, GITLAB_URL)
    for resource in (GZ_SEMVER1, GZ_SEMVER2, "autocomplete", "catalog", "vulnerabilities", "signatures/5.0.0"):
        assert services.upstream_urls(resource, "a/index.json") == ()
        assert not services.has(resource)
    assert services.upstream_urls("nonsense", "a") == ()


def test_the_readme_template_is_asked_before_the_flat_container() -> None:
    services = services_of(
        index_of(
            ("ReadmeUriTemplate/6.13.0", "https://h/readmes/{LOWER_ID}?v={lower_version}"),
            ("PackageBaseAddress/3.0.0", "https://h/flat/"),
        )
    )
    assert services.upstream_urls("readme", "a/1.0.0/readme") == (
        "https://h/readmes/a?v=1.0.0",
        "https://h/flat/a/1.0.0/readme",
    )


def test_a_flat_container_has_readmes_without_a_template() -> None:
    services = services_of(GITLAB, GITLAB_URL)
    assert services.has("readme")
    assert "readme" not in services.resources
    assert [url.rpartition("/download/")[2] for url in services.upstream_urls("readme", "a/1.0.0/readme")] == [
        "a/1.0.0/readme"
    ]
    assert not services_of(index_of(("SearchQueryService", "/q"))).has("readme")


def test_the_documents_of_an_index_without_the_usual_name() -> None:
    services = services_of(index_of(("Catalog/3.0.0", "https://h/cat/root.json?k=1")))
    assert services.upstream_urls("catalog", "index.json") == ("https://h/cat/root.json?k=1",)
    assert services.upstream_urls("catalog", "page0.json") == ("https://h/cat/page0.json?k=1",)
    assert services.to_local("https://h/cat/root.json") == "catalog/index.json"
    assert services.to_local("https://h/cat/page0.json") == "catalog/page0.json"


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("https://api.nuget.org/v3-flatcontainer/a/index.json", "content/a/index.json"),
        ("http://API.nuget.org:80/v3-flatcontainer/a/index.json", "content/a/index.json"),
        ("https://api.nuget.org:443/v3-flatcontainer/A/1.0/A.1.0.nupkg", "content/A/1.0/A.1.0.nupkg"),
        ("https://api.nuget.org/v3/registration5-gz-semver2/a/index.json", f"{GZ_SEMVER2}/a/index.json"),
        (
            "https://api.nuget.org/v3/registration5-semver1/a/index.json#page/1.0.0/2.0.0",
            f"{SEMVER1}/a/index.json#page/1.0.0/2.0.0",
        ),
        ("https://api.nuget.org/v3/registration5-semver1/a/index.json#", f"{SEMVER1}/a/index.json#"),
        ("https://api.nuget.org/v3/catalog0/page1.json", "catalog/page1.json"),
        ("https://api.nuget.org/v3/vulnerabilities/index.json", "vulnerabilities/index.json"),
        ("https://api.nuget.org/v3/vulnerabilities/2024/a.json", "vulnerabilities/pages/2024/a.json"),
        ("https://azuresearch-ussc.nuget.org/query", "query"),
        # Mapped bases, but not what our routes can answer.
        ("https://api.nuget.org/v3-flatcontainer/", None),
        ("https://api.nuget.org/v3-flatcontainer/a/index.json?x=1", None),
        ("https://api.nuget.org/v3-flatcontainer/a/../index.json", None),
        ("https://api.nuget.org/v3-flatcontainer/a%2fb/index.json", None),
        ("https://api.nuget.org/v3-flatcontainer//a/index.json", None),
        ("https://api.nuget.org/V3-flatcontainer/a/index.json", None),
        ("https://api.nuget.org:8443/v3-flatcontainer/a/index.json", None),
        # Not mapped.
        ("https://api.nuget.org/v3/registration5/a/index.json", None),
        ("https://api.nuget.org.example.com/v3-flatcontainer/a/index.json", None),
        ("https://x@api.nuget.org/v3-flatcontainer/a/index.json", None),
        ("https://api.nuget.org/v3-vulnerabilities/2024/vulnerability.base.json", None),
        ("https://www.nuget.org/api/v2/package", None),
        ("urn:uuid:1", None),
        ("", None),
    ],
)
def test_urls_of_upstream_as_paths_of_ours(url: str, local: str | None) -> None:
    assert nuget_org().to_local(url) == local


def test_the_longest_fitting_base_wins() -> None:
    services = services_of(GITHUB, GITHUB_URL)
    owner = "https://nuget.pkg.github.com/owner"
    assert services.to_local(f"{owner}/download/a/index.json") == "content/a/index.json"
    assert services.to_local(f"{owner}/a/index.json") == f"{GZ_SEMVER2}/a/index.json"
    assert services.to_local(f"{owner}/query") == "query"
    # A package may be called like a resource.
    assert services.to_local(f"{owner}/download/index.json") == f"{GZ_SEMVER2}/download/index.json"


@pytest.mark.parametrize("hive", [SEMVER1, GZ_SEMVER1, GZ_SEMVER2])
def test_of_equal_bases_the_preferred_one_wins(hive: str) -> None:
    services = services_of(GITHUB, GITHUB_URL)
    assert services.to_local("https://nuget.pkg.github.com/owner/a/1.0.0.json", prefer=hive) == f"{hive}/a/1.0.0.json"
    assert services.base_to_local("https://nuget.pkg.github.com/owner", prefer=hive) == f"{hive}/"


def test_only_the_kinds_asked_for_are_found() -> None:
    url = "https://api.nuget.org/v3/catalog0/data/x/a.json"
    assert nuget_org().to_local(url, kinds=frozenset({Kind.CATALOG_LEAF})) == "catalog/data/x/a.json"
    assert nuget_org().to_local(url, kinds=frozenset({Kind.REGISTRATION})) is None


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("https://api.nuget.org/v3/registration5-semver1/", f"{SEMVER1}/"),
        ("http://api.nuget.org/v3/registration5-semver1", f"{SEMVER1}/"),
        ("https://api.nuget.org/v3/registration5-semver1/a/", f"{SEMVER1}/a/"),
        ("https://api.nuget.org/v3/registration5-semver1/../", None),
        ("https://api.nuget.org/v3/registration5-semver1/?a", None),
        ("https://api.nuget.org/v3/", None),
        ("http://schema.nuget.org/schema#", None),
    ],
)
def test_bases_of_upstream_as_bases_of_ours(url: str, local: str | None) -> None:
    assert nuget_org().base_to_local(url) == local


@pytest.mark.parametrize(
    ("services", "resource", "rest", "urls"),
    [
        (nuget_org(), "package", "", ("https://www.nuget.org/api/v2/package/",)),
        (nuget_org(), "package", "Foo/1.0.0", ("https://www.nuget.org/api/v2/package/Foo/1.0.0",)),
        (nuget_org(), "symbolpackage", "", ("https://www.nuget.org/api/v2/symbolpackage/",)),
        (nuget_org(), "staging", "", ()),
        (services_of(AZURE, AZURE_URL), "symbolpackage", "", ()),
        (services_of(GITHUB, GITHUB_URL), "package", "", ("https://nuget.pkg.github.com/owner/",)),
        (
            services_of(index_of(("PackagePublish/2.0.0", "https://h"), ("PackagePublish/2.0.0", "https://h/"))),
            "package",
            "a/1.0",
            ("https://h/api/v2/package/a/1.0",),
        ),
    ],
)
def test_where_writes_go(services: Any, resource: str, rest: str, urls: tuple[str, ...]) -> None:
    assert services.publish_urls(resource, rest) == urls


def test_the_digest_changes_with_the_index_and_with_its_place() -> None:
    one = services_of(index_of(("SearchQueryService", "/q")), "https://h/v3/index.json")
    same = services_of(index_of(("SearchQueryService", "/q")), "https://h/v3/index.json")
    other = services_of(index_of(("SearchQueryService", "/r")), "https://h/v3/index.json")
    elsewhere = services_of(index_of(("SearchQueryService", "/q")), "https://i/v3/index.json")
    assert one.digest == same.digest
    assert len({one.digest, other.digest, elsewhere.digest}) == 3


@pytest.mark.parametrize("feed", FEEDS)
@pytest.mark.parametrize(
    "local",
    [
        "content/foo/index.json",
        "content/foo/1.0.0/foo.1.0.0.nupkg",
        f"{SEMVER1}/foo/index.json",
        f"{SEMVER1}/foo/page/1.0.0/2.0.0.json",
        f"{GZ_SEMVER2}/foo/1.0.0-rc.1.json",
        "catalog/page0.json",
        "vulnerabilities/index.json",
        "query",
    ],
)
def test_what_we_publish_leads_back_to_where_it_came_from(feed: str, local: str) -> None:
    services = services_of(*FEEDS[feed])
    route = parse_route(local)
    assert route is not None
    for url in services.upstream_urls(route.resource, route.rest):
        assert services.to_local(url, prefer=route.resource) == local


@pytest.mark.parametrize("name", ["MyPkg/index.json", "MyPkg/1.0.json", "mypkg/1.0.0.json", "MyPkg/p/1.0+x.json"])
def test_a_feeds_own_spelling_is_among_what_is_tried(name: str) -> None:
    services = services_of(GITEA, GITEA_URL)
    url = f"https://gitea.example.com/api/packages/team/nuget/registration/{name}"
    route = parse_route(services.to_local(url) or "")
    assert route is not None
    tried = [u for rest in (route.rest, *route.alternatives) for u in services.upstream_urls(route.resource, rest)]
    assert url in tried


@pytest.mark.parametrize(
    ("index", "url", "own"),
    [
        ("https://feed.example/F/team/auth/t0ken/api/v3/index.json", "https://feed.example/F/team/auth/t0ken/x", True),
        ("https://feed.example/F/team/auth/t0ken/v3/index.json", "https://feed.example/F/team/auth/t0ken/x/y", True),
        ("https://feed.example/t0ken/index.json", "HTTP://Feed.Example/t0ken/x", True),
        ("https://feed.example/t0ken/index.json", "https://other.example/t0ken/x", False),
        ("https://feed.example/t0ken/index.json", "https://feed.example/t0kens", False),
        ("https://feed.example/v3/index.json", "https://feed.example/v3/x", False),
        ("https://feed.example/index.json", "https://feed.example/x", False),
        ("https://feed.example/t0ken/index.json", "not a url", False),
    ],
)
def test_what_stands_below_a_path_that_is_the_feeds_own(index: str, url: str, own: bool) -> None:
    assert services_of(index_of(), index).is_own(url) is own
