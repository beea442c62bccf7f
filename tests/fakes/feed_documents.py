"""The fake feed's documents are built as nuget.org builds them.

Every function is pure: what is held goes in, a value for ``json.dumps`` comes out. ``root`` is the feed's own address
without a slash at the end.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tests.fakes.feed_packages import Held

Json = dict[str, Any]

FLAT = "/v3-flatcontainer"
HIVES: Mapping[str, str] = {
    "semver1": "/v3/registration5-semver1",
    "gz-semver1": "/v3/registration5-gz-semver1",
    "gz-semver2": "/v3/registration5-gz-semver2",
}
CATALOG = "/v3/catalog0"
SIGNATURES = "/v3-index/repository-signatures"
VULNERABILITIES = "/v3/vulnerabilities"
VULNERABILITY_PAGES = "/v3-vulnerabilities"
PUBLISH = "/api/v2/package"
SYMBOLS = "/api/v2/symbolpackage"
SEARCH_HOSTS = ("/azuresearch-usnc", "/azuresearch-ussc")
WEB = "https://gallery.example"

INLINED_BELOW = 128
PAGE_LEAVES = 64

_SEARCH_TYPES = ("", "/3.0.0-beta", "/3.0.0-rc", "/3.5.0")
_ROWS: tuple[tuple[str, str, str], ...] = (
    *(
        (f"{name}{alias}", f"{{root}}{host}/{path}", comment)
        for name, path, comment in (
            ("SearchQueryService", "query", "Query endpoint of the search service"),
            ("SearchAutocompleteService", "autocomplete", "Autocomplete endpoint of the search service"),
        )
        for alias in _SEARCH_TYPES
        for host in SEARCH_HOSTS
    ),
    ("SearchGalleryQueryService/3.0.0-rc", "{root}/azuresearch-usnc/", "For the gallery's own use"),
    ("RegistrationsBaseUrl", "{root}/v3/registration5-semver1/", "Registrations, SemVer 1.0.0 only"),
    ("RegistrationsBaseUrl/3.0.0-rc", "{root}/v3/registration5-semver1/", "Registrations, SemVer 1.0.0 only"),
    ("RegistrationsBaseUrl/3.0.0-beta", "{root}/v3/registration5-semver1/", "Registrations, SemVer 1.0.0 only"),
    ("RegistrationsBaseUrl/3.4.0", "{root}/v3/registration5-gz-semver1/", "Registrations in gzip, SemVer 1.0.0 only"),
    ("RegistrationsBaseUrl/3.6.0", "{root}/v3/registration5-gz-semver2/", "Registrations in gzip, SemVer 2.0.0 too"),
    (
        "RegistrationsBaseUrl/Versioned",
        "{root}/v3/registration5-gz-semver2/",
        "Registrations in gzip, SemVer 2.0.0 too",
    ),
    ("PackageBaseAddress/3.0.0", "{root}/v3-flatcontainer/", "Packages by id and version"),
    ("LegacyGallery", "{root}/api/v2", "The second version of the protocol"),
    ("LegacyGallery/2.0.0", "{root}/api/v2", "The second version of the protocol"),
    ("PackagePublish/2.0.0", "{root}/api/v2/package", "Push and delete"),
    ("SymbolPackagePublish/4.9.0", "{root}/api/v2/symbolpackage", "Push of symbols"),
    ("ReportAbuseUriTemplate/3.0.0-beta", WEB + "/packages/{id}/{version}/ReportAbuse", "Report abuse"),
    ("ReportAbuseUriTemplate/3.0.0-rc", WEB + "/packages/{id}/{version}/ReportAbuse", "Report abuse"),
    ("PackageDetailsUriTemplate/5.1.0", WEB + "/packages/{id}/{version}?_src=template", "Package details"),
    ("OwnerDetailsUriTemplate/6.11.0", WEB + "/profiles/{owner}?_src=template", "Owner details"),
    (
        "PackageDisplayMetadataUriTemplate/3.0.0-rc",
        "{root}/v3/registration5-semver1/{id-lower}/index.json",
        "Display metadata of a package",
    ),
    (
        "PackageVersionDisplayMetadataUriTemplate/3.0.0-rc",
        "{root}/v3/registration5-semver1/{id-lower}/{version-lower}.json",
        "Display metadata of a version",
    ),
    ("ReadmeUriTemplate/6.13.0", "{root}/v3-flatcontainer/{lower_id}/{lower_version}/readme", "Readme of a version"),
    (
        "RepositorySignatures/4.7.0",
        "{root}/v3-index/repository-signatures/4.7.0/index.json",
        "Repository signing information",
    ),
    (
        "RepositorySignatures/5.0.0",
        "{root}/v3-index/repository-signatures/5.0.0/index.json",
        "Repository signing information",
    ),
    ("VulnerabilityInfo/6.7.0", "{root}/v3/vulnerabilities/index.json", "Known vulnerabilities"),
    ("Catalog/3.0.0", "{root}/v3/catalog0/index.json", "Every change, in order"),
)
CLIENT_VERSIONS = {"RegistrationsBaseUrl/Versioned": "4.3.0-alpha"}


def commit_id(commit: int) -> str:
    """The identifier of the feed's change number ``commit``."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"commit {commit}"))


def service_index(root: str, omit: Iterable[str] = ()) -> Json:
    """The service index; ``omit`` names resources (without their version) that this feed lacks."""
    without = frozenset(omit)
    resources: list[Json] = []
    for kind, address, comment in _ROWS:
        if kind.partition("/")[0] in without:
            continue
        resource = {"@id": address.replace("{root}", root), "@type": kind, "comment": comment}
        if kind in CLIENT_VERSIONS:
            resource["clientVersion"] = CLIENT_VERSIONS[kind]
        resources.append(resource)
    context = {"@vocab": "http://schema.nuget.org/services#", "comment": "http://www.w3.org/2000/01/rdf-schema#comment"}
    return {"version": "3.0.0", "resources": resources, "@context": context}


def version_list(held: Sequence[Held]) -> Json:
    """The flat container's list of one id, in order."""
    return {"versions": [package.url_version for package in held]}


def package_url(root: str, package: Held) -> str:
    """Where the flat container has the package."""
    name = f"{package.lower}.{package.url_version}.nupkg"
    return f"{root}{FLAT}/{package.lower}/{package.url_version}/{name}"


def catalog_leaf_url(root: str, package: Held) -> str:
    """Where the catalog has the package's own document."""
    stamp = package.instant.strftime("%Y.%m.%d.%H.%M.%S")
    return f"{root}{CATALOG}/data/{stamp}/{package.lower}.{package.url_version}.json"


def signatures(version: str) -> Json:
    """The signing certificates; clients of the old resources cannot stand ``allRepositorySigned``."""
    certificate = {
        "fingerprints": {"2.16.840.1.101.3.4.2.1": "0e5f38f57dc1bcc806d8494f4f90fbcedd988b46760709cbeec6f4219aa6157d"},
        "subject": "CN=NuGet.org Repository by Microsoft, O=NuGet.org Repository by Microsoft, C=US",
        "issuer": "CN=DigiCert SHA2 Assured ID Code Signing CA, O=DigiCert Inc, C=US",
        "notBefore": "2018-04-10T00:00:00.0000000Z",
        "notAfter": "2021-04-14T12:00:00.0000000Z",
        "contentUrl": f"{WEB}/certificates/0e5f38f5.crt",
    }
    # False even at 5.0.0: the packages that tests make carry no signature.
    return {"allRepositorySigned": False, "signingCertificates": [certificate], "fake": version}
