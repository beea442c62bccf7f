"""Service indexes as real feeds publish them."""

from __future__ import annotations

import json
from typing import Any

from nugetproxy.nuget.services import ServiceMap, parse_service_index

NUGET_URL = "https://api.nuget.org/v3/index.json"
NUGET: dict[str, Any] = {
    "version": "3.0.0",
    "resources": [
        {"@id": "https://azuresearch-usnc.nuget.org/query", "@type": "SearchQueryService", "comment": "primary"},
        {"@id": "https://azuresearch-ussc.nuget.org/query", "@type": "SearchQueryService", "comment": "secondary"},
        {"@id": "https://azuresearch-usnc.nuget.org/query", "@type": "SearchQueryService/3.5.0"},
        {"@id": "https://azuresearch-ussc.nuget.org/query", "@type": "SearchQueryService/3.5.0"},
        {"@id": "https://azuresearch-usnc.nuget.org/autocomplete", "@type": "SearchAutocompleteService"},
        {"@id": "https://azuresearch-ussc.nuget.org/autocomplete", "@type": "SearchAutocompleteService"},
        {"@id": "https://azuresearch-usnc.nuget.org/", "@type": "SearchGalleryQueryService/3.0.0-rc"},
        {"@id": "https://api.nuget.org/v3/registration5-semver1/", "@type": "RegistrationsBaseUrl"},
        {"@id": "https://api.nuget.org/v3/registration5-semver1/", "@type": "RegistrationsBaseUrl/3.0.0-rc"},
        {"@id": "https://api.nuget.org/v3/registration5-semver1/", "@type": "RegistrationsBaseUrl/3.0.0-beta"},
        {"@id": "https://api.nuget.org/v3/registration5-gz-semver1/", "@type": "RegistrationsBaseUrl/3.4.0"},
        {"@id": "https://api.nuget.org/v3/registration5-gz-semver2/", "@type": "RegistrationsBaseUrl/3.6.0"},
        {
            "@id": "https://api.nuget.org/v3/registration5-gz-semver2/",
            "@type": "RegistrationsBaseUrl/Versioned",
            "clientVersion": "4.3.0-alpha",
            "comment": "with SemVer 2.0.0 packages",
        },
        {"@id": "https://api.nuget.org/v3-flatcontainer/", "@type": "PackageBaseAddress/3.0.0"},
        {"@id": "https://www.nuget.org/api/v2", "@type": "LegacyGallery"},
        {"@id": "https://www.nuget.org/api/v2", "@type": "LegacyGallery/2.0.0"},
        {"@id": "https://www.nuget.org/api/v2/package", "@type": "PackagePublish/2.0.0"},
        {"@id": "https://www.nuget.org/api/v2/symbolpackage", "@type": "SymbolPackagePublish/4.9.0"},
        {
            "@id": "https://www.nuget.org/packages/{id}/{version}/ReportAbuse",
            "@type": "ReportAbuseUriTemplate/3.0.0-rc",
        },
        {
            "@id": "https://www.nuget.org/packages/{id}/{version}?_src=template",
            "@type": "PackageDetailsUriTemplate/5.1.0",
        },
        {"@id": "https://www.nuget.org/profiles/{owner}?_src=template", "@type": "OwnerDetailsUriTemplate/6.11.0"},
        {
            "@id": "https://api.nuget.org/v3/registration5-semver1/{id-lower}/index.json",
            "@type": "PackageDisplayMetadataUriTemplate/3.0.0-rc",
        },
        {
            "@id": "https://api.nuget.org/v3/registration5-semver1/{id-lower}/{version-lower}.json",
            "@type": "PackageVersionDisplayMetadataUriTemplate/3.0.0-rc",
        },
        {
            "@id": "https://api.nuget.org/v3-flatcontainer/{lower_id}/{lower_version}/readme",
            "@type": "ReadmeUriTemplate/6.13.0",
        },
        {
            "@id": "https://api.nuget.org/v3-index/repository-signatures/4.7.0/index.json",
            "@type": "RepositorySignatures/4.7.0",
        },
        {
            "@id": "https://api.nuget.org/v3-index/repository-signatures/5.0.0/index.json",
            "@type": "RepositorySignatures/5.0.0",
        },
        {"@id": "https://api.nuget.org/v3/vulnerabilities/index.json", "@type": "VulnerabilityInfo/6.7.0"},
        {"@id": "https://api.nuget.org/v3/catalog0/index.json", "@type": "Catalog/3.0.0"},
    ],
    "@context": {
        "@vocab": "http://schema.nuget.org/services#",
        "comment": "http://www.w3.org/2000/01/rdf-schema#comment",
    },
}

AZURE_URL = "https://pkgs.dev.azure.com/org/project/_packaging/feed/nuget/v3/index.json"
_AZURE = "https://pkgs.dev.azure.com/org/1f2e3d4c-0000-4000-8000-000000000001/_packaging/9a8b7c6d-0000-4000-8000-000000000002/nuget"
AZURE: dict[str, Any] = {
    "version": "3.0.0-beta",
    "resources": [
        {"@id": f"{_AZURE}/v2/", "@type": "PackagePublish/2.0.0"},
        {"@id": f"{_AZURE}/v2/", "@type": "LegacyGallery/2.0.0"},
        {"@id": f"{_AZURE}/v3/registrations2/", "@type": "RegistrationsBaseUrl/3.0.0-beta"},
        {"@id": f"{_AZURE}/v3/registrations2-semver2/", "@type": "RegistrationsBaseUrl/3.6.0"},
        {"@id": f"{_AZURE}/v3/registrations2-semver2/", "@type": "RegistrationsBaseUrl/Versioned"},
        {"@id": f"{_AZURE}/v3/query2/", "@type": "SearchQueryService/3.0.0-beta"},
        {"@id": f"{_AZURE}/v3/flat2/", "@type": "PackageBaseAddress/3.0.0"},
        {"@id": "urn:uuid:9a8b7c6d-0000-4000-8000-000000000002", "@type": "VssFeedId", "label": "feed"},
        {"@id": "https://pkgs.dev.azure.com/org/", "@type": "VssBaseUrl"},
    ],
    "@context": {"@vocab": "http://schema.nuget.org/services#"},
}

GITHUB_URL = "https://nuget.pkg.github.com/owner/index.json"
GITHUB: dict[str, Any] = {
    "version": "3.0.0-beta.1",
    "resources": [
        {"@id": "https://nuget.pkg.github.com/owner/download", "@type": "PackageBaseAddress/3.0.0"},
        {"@id": "https://nuget.pkg.github.com/owner/query", "@type": "SearchQueryService"},
        {"@id": "https://nuget.pkg.github.com/owner/query", "@type": "SearchQueryService/3.0.0-beta"},
        {"@id": "https://nuget.pkg.github.com/owner", "@type": "PackagePublish/2.0.0"},
        {"@id": "https://nuget.pkg.github.com/owner", "@type": "RegistrationsBaseUrl"},
        {"@id": "https://nuget.pkg.github.com/owner", "@type": "RegistrationsBaseUrl/3.4.0"},
        {"@id": "https://nuget.pkg.github.com/owner", "@type": "RegistrationsBaseUrl/3.6.0"},
    ],
}

GITLAB_URL = "https://gitlab.example.com/api/v4/projects/7/packages/nuget/index.json"
_GITLAB = "https://gitlab.example.com/api/v4/projects/7/packages/nuget"
GITLAB: dict[str, Any] = {
    "version": "3.0.0",
    "resources": [
        {"@id": f"{_GITLAB}/download", "@type": "PackageBaseAddress/3.0.0", "comment": "get package content"},
        {"@id": f"{_GITLAB}/query", "@type": "SearchQueryService"},
        {"@id": f"{_GITLAB}/query", "@type": "SearchQueryService/3.0.0-beta"},
        {"@id": f"{_GITLAB}/metadata", "@type": "RegistrationsBaseUrl"},
        {"@id": f"{_GITLAB}/metadata", "@type": "RegistrationsBaseUrl/3.0.0-beta"},
        {"@id": f"{_GITLAB}/metadata", "@type": "RegistrationsBaseUrl/3.0.0-rc"},
        {"@id": _GITLAB, "@type": "PackagePublish/2.0.0"},
    ],
}

GITEA_URL = "https://gitea.example.com/api/packages/team/nuget/index.json"
_GITEA = "https://gitea.example.com/api/packages/team/nuget"
GITEA: dict[str, Any] = {
    "version": "3.0.0",
    "resources": [
        {"@id": f"{_GITEA}/query", "@type": "SearchQueryService/3.0.0-beta"},
        {"@id": f"{_GITEA}/registration", "@type": "RegistrationsBaseUrl"},
        {"@id": f"{_GITEA}/registration", "@type": "RegistrationsBaseUrl/3.0.0-rc"},
        {"@id": f"{_GITEA}/package", "@type": "PackageBaseAddress/3.0.0"},
        {"@id": _GITEA, "@type": "PackagePublish/2.0.0"},
        {"@id": f"{_GITEA}/symbolpackage", "@type": "SymbolPackagePublish/4.9.0"},
    ],
}

ARTIFACTORY_URL = "https://repo.example.com/artifactory/api/nuget/v3/team/index.json"
_ARTIFACTORY = "https://repo.example.com/artifactory/api/nuget/v3/team"
ARTIFACTORY: dict[str, Any] = {
    "version": "3.0.0-beta.1",
    "resources": [
        {"@id": f"{_ARTIFACTORY}/query", "@type": "SearchQueryService"},
        {"@id": f"{_ARTIFACTORY}/query", "@type": "SearchQueryService/3.0.0-rc"},
        {"@id": f"{_ARTIFACTORY}/registration", "@type": "RegistrationsBaseUrl/3.0.0-rc"},
        {"@id": f"{_ARTIFACTORY}/registration-semver2", "@type": "RegistrationsBaseUrl/3.6.0"},
        {"@id": f"{_ARTIFACTORY}/flatcontainer", "@type": "PackageBaseAddress/3.0.0"},
        {"@id": "https://repo.example.com/artifactory/api/nuget/team", "@type": "LegacyGallery/2.0.0"},
        {"@id": "https://repo.example.com/artifactory/api/nuget/team", "@type": "PackagePublish/2.0.0"},
    ],
}

NEXUS_URL = "https://nexus.example.com/repository/team/index.json"
_NEXUS = "https://nexus.example.com/repository/team/v3"
NEXUS: dict[str, Any] = {
    "version": "3.0.0",
    "resources": [
        {"@id": f"{_NEXUS}/query/", "@type": "SearchQueryService"},
        {"@id": f"{_NEXUS}/query/", "@type": "SearchQueryService/3.0.0-rc"},
        {"@id": f"{_NEXUS}/registrations/", "@type": "RegistrationsBaseUrl"},
        {"@id": f"{_NEXUS}/registrations/", "@type": "RegistrationsBaseUrl/3.6.0"},
        {"@id": f"{_NEXUS}/content/", "@type": "PackageBaseAddress/3.0.0"},
        {"@id": "https://nexus.example.com/repository/team/", "@type": "PackagePublish/2.0.0"},
    ],
}

PROGET_URL = "https://proget.example.com/nuget/team/v3/index.json"
_PROGET = "https://proget.example.com/nuget/team/v3"
PROGET: dict[str, Any] = {
    "version": "3.0.0",
    "resources": [
        {"@id": f"{_PROGET}/search", "@type": "SearchQueryService/3.5.0"},
        {"@id": f"{_PROGET}/autocomplete", "@type": "SearchAutocompleteService/3.5.0"},
        {"@id": f"{_PROGET}/registrations-gz/", "@type": "RegistrationsBaseUrl/3.6.0"},
        {"@id": f"{_PROGET}/flatcontainer/", "@type": "PackageBaseAddress/3.0.0"},
        {"@id": f"{_PROGET}/vulnerabilities", "@type": "VulnerabilityInfo/6.7.0"},
        {"@id": "https://proget.example.com/nuget/team/package", "@type": "PackagePublish/2.0.0"},
        {"@id": "https://proget.example.com/nuget/team/symbols", "@type": "SymbolPackagePublish/4.9.0"},
    ],
}

BAGETTER_URL = "https://bagetter.example.com/v3/index.json"
_BAGETTER = "https://bagetter.example.com"
BAGETTER: dict[str, Any] = {
    "version": "3.0.0",
    "resources": [
        {"@id": f"{_BAGETTER}/api/v2/package", "@type": "PackagePublish/2.0.0"},
        {"@id": f"{_BAGETTER}/api/v2/symbol", "@type": "SymbolPackagePublish/4.9.0"},
        *(
            {"@id": f"{_BAGETTER}/v3/{path}", "@type": f"{kind}{version}"}
            for path, kind in (
                ("search", "SearchQueryService"),
                ("registration", "RegistrationsBaseUrl"),
                ("autocomplete", "SearchAutocompleteService"),
            )
            for version in ("", "/3.0.0-beta", "/3.0.0-rc")
        ),
        {"@id": f"{_BAGETTER}/v3/package", "@type": "PackageBaseAddress/3.0.0"},
    ],
}

CLOUDSMITH_URL = "https://nuget.cloudsmith.example.com/t0ken/team/repo/v3/index.json"
_CLOUDSMITH = "https://nuget.cloudsmith.example.com/t0ken/team/repo/v3"
CLOUDSMITH: dict[str, Any] = {
    "version": "3.0.0",
    "resources": [
        {"@id": f"{_CLOUDSMITH}/query", "@type": "SearchQueryService"},
        {"@id": f"{_CLOUDSMITH}/autocomplete", "@type": "SearchAutocompleteService"},
        {"@id": f"{_CLOUDSMITH}/registrations/", "@type": "RegistrationsBaseUrl"},
        {"@id": f"{_CLOUDSMITH}/registrations/", "@type": "RegistrationsBaseUrl/3.6.0"},
        {"@id": f"{_CLOUDSMITH}/packages/", "@type": "PackageBaseAddress/3.0.0"},
    ],
}

FEEDS = {
    "nuget.org": (NUGET, NUGET_URL),
    "azure": (AZURE, AZURE_URL),
    "github": (GITHUB, GITHUB_URL),
    "gitlab": (GITLAB, GITLAB_URL),
    "gitea": (GITEA, GITEA_URL),
    "artifactory": (ARTIFACTORY, ARTIFACTORY_URL),
    "nexus": (NEXUS, NEXUS_URL),
    "proget": (PROGET, PROGET_URL),
    "bagetter": (BAGETTER, BAGETTER_URL),
    "cloudsmith": (CLOUDSMITH, CLOUDSMITH_URL),
}


def services_of(index: object, url: str = NUGET_URL) -> ServiceMap:
    """The services of an index given as a Python value."""
    return parse_service_index(json.dumps(index).encode(), url)


def index_of(*resources: tuple[str, str]) -> dict[str, Any]:
    """An index with just these (type, @id) entries."""
    return {"version": "3.0.0", "resources": [{"@type": kind, "@id": at} for kind, at in resources]}


def nuget_org() -> ServiceMap:
    """The services of nuget.org."""
    return services_of(NUGET, NUGET_URL)
