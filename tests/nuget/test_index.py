"""The service index as our clients see it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nugetproxy.nuget.documents.service_index import render_index
from nugetproxy.nuget.resources import BY_TYPE, GZ_SEMVER2, SEMVER1, Shape
from nugetproxy.nuget.routes import parse_route
from nugetproxy.nuget.services import ServiceMap, parse_service_index
from tests.nuget.indexes import (
    AZURE,
    FEEDS,
    GITHUB,
    GITHUB_URL,
    GITLAB,
    GITLAB_URL,
    NUGET,
    index_of,
    nuget_org,
    services_of,
)

HTTP = "http://127.0.0.1:5555/v3/"
HTTPS = "https://nuget.example.com/v3/"


def rendered(services: ServiceMap, base: str = HTTP) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(render_index(services, base, secure=base.startswith("https")))
    return document


def ids(services: ServiceMap, base: str = HTTP) -> dict[str, str]:
    entries = rendered(services, base)["resources"]
    types = [entry["@type"] for entry in entries]
    assert len(types) == len(set(types))
    return {entry["@type"]: entry["@id"] for entry in entries}


def test_nuget_org_over_https() -> None:
    """Edge cases 1, 5, 11: one entry per type, literal braces, signatures at our own https address."""
    web = {
        entry["@type"]: entry["@id"]
        for entry in NUGET["resources"]
        if entry["@type"].partition("/")[0]
        in ("ReportAbuseUriTemplate", "PackageDetailsUriTemplate", "OwnerDetailsUriTemplate")
    }
    assert ids(nuget_org(), HTTPS) == {
        "SearchQueryService": f"{HTTPS}query",
        "SearchQueryService/3.5.0": f"{HTTPS}query",
        "SearchAutocompleteService": f"{HTTPS}autocomplete",
        "RegistrationsBaseUrl": f"{HTTPS}registration/semver1/",
        "RegistrationsBaseUrl/3.0.0-rc": f"{HTTPS}registration/semver1/",
        "RegistrationsBaseUrl/3.0.0-beta": f"{HTTPS}registration/semver1/",
        "RegistrationsBaseUrl/3.4.0": f"{HTTPS}registration/gz-semver1/",
        "RegistrationsBaseUrl/3.6.0": f"{HTTPS}registration/gz-semver2/",
        "RegistrationsBaseUrl/Versioned": f"{HTTPS}registration/gz-semver2/",
        "PackageBaseAddress/3.0.0": f"{HTTPS}content/",
        "PackagePublish/2.0.0": f"{HTTPS}package",
        "SymbolPackagePublish/4.9.0": f"{HTTPS}symbolpackage",
        **web,
        "PackageDisplayMetadataUriTemplate/3.0.0-rc": f"{HTTPS}registration/semver1/{{id-lower}}/index.json",
        "PackageVersionDisplayMetadataUriTemplate/3.0.0-rc": (
            f"{HTTPS}registration/semver1/{{id-lower}}/{{version-lower}}.json"
        ),
        "ReadmeUriTemplate/6.13.0": f"{HTTPS}content/{{lower_id}}/{{lower_version}}/readme",
        "RepositorySignatures/4.7.0": f"{HTTPS}signatures/4.7.0/index.json",
        "RepositorySignatures/5.0.0": f"{HTTPS}signatures/5.0.0/index.json",
        "VulnerabilityInfo/6.7.0": f"{HTTPS}vulnerabilities/index.json",
        "Catalog/3.0.0": f"{HTTPS}catalog/index.json",
    }
    assert b"%7B" not in render_index(nuget_org(), HTTPS, secure=True)


def test_signatures_are_not_told_over_http() -> None:
    """Edge case 10."""
    over_https, over_http = ids(nuget_org(), HTTPS), ids(nuget_org(), HTTP)
    assert over_https.keys() - over_http.keys() == {"RepositorySignatures/4.7.0", "RepositorySignatures/5.0.0"}
    assert not over_http.keys() - over_https.keys()


def test_properties_survive() -> None:
    """Edge case 4."""
    index = {
        "$future": [1.50, 12345678901234567890123, {"a": None}],
        "version": "3.0.0-beta",
        "resources": [
            {
                "x": {"deep": True},
                "@id": "https://h/flat",
                "comment": "https://h/flat is mapped, this text is not",
                "@type": "PackageBaseAddress/3.0.0",
                "clientVersion": ["4.0.0", "5.0.0-beta"],
            },
            {"@id": "https://h/reg", "@type": ["RegistrationsBaseUrl/Versioned"], "clientVersion": "4.3.0-alpha"},
        ],
        "@context": {"@vocab": "http://schema.nuget.org/services#"},
    }
    body = json.dumps(index).replace("1.5,", "1.50,").encode()
    out = render_index(parse_service_index(body, "https://h/index.json"), HTTP, secure=False)
    expected = json.dumps(index, separators=(",", ":")).replace("1.5,", "1.50,")
    expected = expected.replace('"@id":"https://h/flat"', f'"@id":"{HTTP}content/"')
    expected = expected.replace('"@id":"https://h/reg"', f'"@id":"{HTTP}registration/gz-semver2/"')
    assert out == expected.encode()


def test_a_byte_order_mark_is_not_passed_on() -> None:
    """Edge case 9."""
    services = parse_service_index(json.dumps(NUGET).encode("utf-8-sig"), "https://h/index.json")
    assert render_index(services, HTTP, secure=False).startswith(b'{"version"')


def test_an_array_of_types_stays_one() -> None:
    """Edge case 2."""
    index = {
        "version": "3.0.0",
        "resources": [
            {"@id": "https://h/q", "@type": ["SearchQueryService", "SearchQueryService/3.0.0-beta", "Unknown/1.0"]},
            {"@id": "https://i/q", "@type": ["SearchQueryService", "SearchQueryService/3.0.0-rc"]},
            {"@id": "https://h/reg", "@type": ["RegistrationsBaseUrl", "RegistrationsBaseUrl/3.6.0"]},
        ],
    }
    assert rendered(services_of(index))["resources"] == [
        {"@id": f"{HTTP}query", "@type": ["SearchQueryService", "SearchQueryService/3.0.0-beta"]},
        {"@id": f"{HTTP}query", "@type": ["SearchQueryService/3.0.0-rc"]},
        {"@id": f"{HTTP}{SEMVER1}/", "@type": ["RegistrationsBaseUrl"]},
        {"@id": f"{HTTP}{GZ_SEMVER2}/", "@type": ["RegistrationsBaseUrl/3.6.0"]},
        {"@id": f"{HTTP}content/", "@type": "PackageBaseAddress/3.0.0"},
    ]


def test_entries_for_other_clients_are_kept_apart() -> None:
    index = {
        "version": "3.0.0",
        "resources": [
            {"@id": "https://h/a/", "@type": "RegistrationsBaseUrl/Versioned", "clientVersion": "4.3.0-alpha"},
            {"@id": "https://h/a/", "@type": "RegistrationsBaseUrl/Versioned", "clientVersion": "5.0.0"},
            {"@id": "https://i/a/", "@type": "RegistrationsBaseUrl/Versioned", "clientVersion": "5.0.0"},
        ],
    }
    found = [(entry["@type"], entry.get("clientVersion")) for entry in rendered(services_of(index))["resources"]]
    assert found == [
        ("RegistrationsBaseUrl/Versioned", "4.3.0-alpha"),
        ("RegistrationsBaseUrl/Versioned", "5.0.0"),
        ("PackageBaseAddress/3.0.0", None),
    ]


def test_a_flat_container_is_offered_wherever_there_are_registrations() -> None:
    assert ids(services_of(index_of(("RegistrationsBaseUrl", "https://h/reg")))) == {
        "RegistrationsBaseUrl": f"{HTTP}{SEMVER1}/",
        "PackageBaseAddress/3.0.0": f"{HTTP}content/",
    }
    assert ids(services_of(index_of(("SearchQueryService", "https://h/q")))) == {"SearchQueryService": f"{HTTP}query"}


def test_the_base_gets_its_slash_and_the_query_stays_upstream() -> None:
    """Edge cases 6 and 7."""
    services = services_of(
        index_of(
            ("PackageBaseAddress/3.0.0", "https://h/flat?k=secret"), ("SearchQueryService", "https://h/q/?k=secret")
        )
    )
    assert ids(services) == {"PackageBaseAddress/3.0.0": f"{HTTP}content/", "SearchQueryService": f"{HTTP}query"}


@pytest.mark.parametrize(
    "base",
    [
        "http://127.0.0.1:5555/v3/",
        "https://[2001:db8::1]:8443/v3/",
        "https://example.com/tools/nuget/myfeed/v3/",
        "http://a.example.com/v3/",
        "http://b.example.com/v3/",
    ],
)
def test_links_are_those_of_the_clients_base(base: str) -> None:
    """Edge cases 12 to 14: one stored index, and every client sees its own way here."""
    for entry in rendered(nuget_org(), base)["resources"]:
        if BY_TYPE[entry["@type"]].shape is not Shape.WEB:
            assert entry["@id"].startswith(base)


@pytest.mark.parametrize("feed", FEEDS)
@pytest.mark.parametrize("base", [HTTP, HTTPS])
def test_what_is_published_is_routed(feed: str, base: str) -> None:
    services = services_of(*FEEDS[feed])
    for kind, at in ids(services, base).items():
        row = BY_TYPE[kind]
        if row.shape is Shape.WEB:
            continue
        path = at.removeprefix(base)
        for braces in ("{lower_id}", "{id-lower}"):
            path = path.replace(braces, "foo")
        for braces in ("{lower_version}", "{version-lower}"):
            path = path.replace(braces, "1.0.0")
        route = parse_route(f"{path}foo/index.json" if row.shape is Shape.BASE else path)
        assert route is not None, at
        assert services.has(route.resource)
        urls = (
            services.publish_urls(route.resource) if route.write else services.upstream_urls(route.resource, route.rest)
        )
        assert urls


@pytest.mark.parametrize("feed", FEEDS)
def test_nothing_of_ours_is_plain_http_behind_tls(feed: str) -> None:
    """Edge case 85."""
    for at in ids(services_of(*FEEDS[feed]), HTTPS).values():
        assert at.startswith("https://")


def test_web_pages_over_http_are_not_told_to_clients_over_https() -> None:
    services = services_of(
        index_of(("PackageDetailsUriTemplate/5.1.0", "http://h/#/{id}/{version}")), "http://h/index.json"
    )
    assert ids(services, HTTPS) == {}
    assert ids(services, HTTP) == {"PackageDetailsUriTemplate/5.1.0": "http://h/#/{id}/{version}"}


def test_nothing_is_advertised_that_upstream_lacks() -> None:
    assert {kind for kind in ids(services_of(GITLAB, GITLAB_URL)) if kind.startswith("Reg")} == {
        "RegistrationsBaseUrl",
        "RegistrationsBaseUrl/3.0.0-beta",
        "RegistrationsBaseUrl/3.0.0-rc",
    }
    assert "VulnerabilityInfo/6.7.0" not in ids(services_of(GITHUB, GITHUB_URL))


def test_what_would_lead_around_us_is_dropped() -> None:
    published = {*ids(nuget_org(), HTTPS), *ids(services_of(AZURE))}
    assert not any(kind.startswith(("LegacyGallery", "SearchGallery", "Vss")) for kind in published)


def test_a_display_template_elsewhere_is_dropped() -> None:
    index = index_of(
        ("RegistrationsBaseUrl/3.6.0", "https://h/reg"),
        ("PackageDisplayMetadataUriTemplate/3.0.0-rc", "https://h/reg/{id-lower}/index.json"),
        ("PackageVersionDisplayMetadataUriTemplate/3.0.0-rc", "https://h/other/{id-lower}/{version-lower}.json"),
    )
    assert ids(services_of(index)) == {
        "RegistrationsBaseUrl/3.6.0": f"{HTTP}registration/gz-semver2/",
        "PackageDisplayMetadataUriTemplate/3.0.0-rc": f"{HTTP}registration/gz-semver2/{{id-lower}}/index.json",
        "PackageBaseAddress/3.0.0": f"{HTTP}content/",
    }
