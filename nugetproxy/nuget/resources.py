"""The resource registry: which NuGet resources exist with the URLs that they have here."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from msgspec import Struct, field

from nugetproxy.nuget.kinds import Kind


class Shape(StrEnum):
    """What a client does with the ``@id`` of a resource."""

    BASE = "base"
    """Appends a path; published with a trailing slash."""
    ENDPOINT = "endpoint"
    """Appends a query; published without a trailing slash."""
    DOCUMENT = "document"
    """Fetches it as it is."""
    TEMPLATE = "template"
    """Replaces ``{...}`` in it, then fetches it; the result is ours."""
    WEB = "web"
    """Replaces ``{...}`` in it, then opens a browser; it stays upstream's."""
    WRITE = "write"
    """Sends to it, with or without a path appended; published without a trailing slash."""


class Resource(Struct, frozen=True, kw_only=True):
    """One row of the registry."""

    name: str
    """Our word for it, as in ``ServiceMap.has`` or ``Route.resource``."""
    types: tuple[str, ...]
    """The ``@type`` strings that are served by this row (compared ordinally, as NuGet does)."""
    shape: Shape
    path: str = ""
    """Where it is published, below ``/v3/``; empty for what is not published by us."""
    routes: Mapping[str, Kind] = field(default_factory=dict)
    """Patterns below ``/v3/`` -> what they return. The words in braces are those of ``routes.WORDS``."""
    secure_only: bool = False
    """Published only to clients that reach us over https."""

    @property
    def root(self) -> str:
        """What ``Route.rest`` is relative to, below ``/v3/``."""
        if self.shape is Shape.DOCUMENT or self.shape is Shape.TEMPLATE:
            fixed = self.path.partition("{")[0]
            return fixed[: fixed.rfind("/") + 1]
        return self.path


SEMVER1 = "registration/semver1"
GZ_SEMVER1 = "registration/gz-semver1"
GZ_SEMVER2 = "registration/gz-semver2"
HIVES = (GZ_SEMVER2, GZ_SEMVER1, SEMVER1)
"""The registration hives, the one with the most packages first."""
VERIFY_KEY = "verifykey"
"""Where the keys are verified that ``create-verification-key`` makes."""


def _hive(name: str, *types: str) -> Resource:
    return Resource(
        name=name,
        types=types,
        shape=Shape.BASE,
        path=f"{name}/",
        routes={
            f"{name}/{{id}}/index.json": Kind.REGISTRATION,
            f"{name}/{{id}}/{{leaf}}": Kind.REGISTRATION_LEAF,
            f"{name}/{{id}}/{{page}}": Kind.REGISTRATION_PAGE,
        },
    )


def _signatures(version: str) -> Resource:
    path = f"signatures/{version}/index.json"
    return Resource(
        name=f"signatures/{version}",
        types=(f"RepositorySignatures/{version}",),
        shape=Shape.DOCUMENT,
        path=path,
        routes={path: Kind.SIGNATURES},
        # NuGet 4.9 to 6.14 fail every restore when this is advertised over http (RepositorySignatureResourceProvider).
        secure_only=True,
    )


def _write(name: str, *types: str) -> Resource:
    return Resource(name=name, types=types, shape=Shape.WRITE, path=name)


def _web(name: str, *versions: str) -> Resource:
    return Resource(name=name, types=tuple(f"{name}{version}" for version in versions), shape=Shape.WEB)


_ROWS: tuple[Resource, ...] = (
    Resource(
        name="index",
        types=(),
        shape=Shape.DOCUMENT,
        path="index.json",
        routes={"index.json": Kind.INDEX},
    ),
    Resource(
        name="content",
        types=("PackageBaseAddress/3.0.0", "PackageBaseAddress/Versioned"),
        shape=Shape.BASE,
        path="content/",
        routes={
            "content/{id}/index.json": Kind.VERSIONS,
            "content/{id}/{version}/{nupkg}": Kind.PACKAGE,
            "content/{id}/{version}/{nuspec}": Kind.NUSPEC,
            "content/{id}/{version}/icon": Kind.ICON,
            "content/{id}/{version}/license": Kind.LICENSE,
        },
    ),
    Resource(
        name="readme",
        types=("ReadmeUriTemplate/6.13.0", "ReadmeUriTemplate/Versioned"),
        shape=Shape.TEMPLATE,
        path="content/{lower_id}/{lower_version}/readme",
        routes={"content/{id}/{version}/readme": Kind.README},
    ),
    _hive(GZ_SEMVER2, "RegistrationsBaseUrl/3.6.0", "RegistrationsBaseUrl/Versioned"),
    _hive(GZ_SEMVER1, "RegistrationsBaseUrl/3.4.0"),
    _hive(SEMVER1, "RegistrationsBaseUrl", "RegistrationsBaseUrl/3.0.0-beta", "RegistrationsBaseUrl/3.0.0-rc"),
    # The display templates are the paths below a hive, so they are mapped as paths below a hive (see services.py).
    Resource(
        name="display",
        types=("PackageDisplayMetadataUriTemplate/3.0.0-rc", "PackageVersionDisplayMetadataUriTemplate/3.0.0-rc"),
        shape=Shape.TEMPLATE,
    ),
    Resource(
        name="query",
        types=(
            "SearchQueryService",
            "SearchQueryService/3.0.0-beta",
            "SearchQueryService/3.0.0-rc",
            "SearchQueryService/3.4.0",
            "SearchQueryService/3.5.0",
            "SearchQueryService/Versioned",
        ),
        shape=Shape.ENDPOINT,
        path="query",
        routes={"query": Kind.SEARCH},
    ),
    Resource(
        name="autocomplete",
        types=(
            "SearchAutocompleteService",
            "SearchAutocompleteService/3.0.0-beta",
            "SearchAutocompleteService/3.0.0-rc",
            "SearchAutocompleteService/3.5.0",
            "SearchAutocompleteService/Versioned",
        ),
        shape=Shape.ENDPOINT,
        path="autocomplete",
        routes={"autocomplete": Kind.AUTOCOMPLETE},
    ),
    _signatures("4.7.0"),
    _signatures("4.9.0"),
    _signatures("5.0.0"),
    Resource(
        name="vulnerabilities",
        types=("VulnerabilityInfo/6.7.0",),
        shape=Shape.DOCUMENT,
        path="vulnerabilities/index.json",
        routes={
            "vulnerabilities/index.json": Kind.VULNERABILITIES,
            "vulnerabilities/pages/{path}": Kind.VULNERABILITY_PAGE,
        },
    ),
    Resource(
        name="catalog",
        types=("Catalog/3.0.0",),
        shape=Shape.DOCUMENT,
        path="catalog/index.json",
        routes={
            "catalog/index.json": Kind.CATALOG,
            # Only what surely is a leaf may be kept for ever.
            "catalog/data/{path}": Kind.CATALOG_LEAF,
            "catalog/{path}": Kind.CATALOG_PAGE,
        },
    ),
    _write("package", "PackagePublish/2.0.0", "PackagePublish/Versioned"),
    # Not in any index: the gallery has it beside PackagePublish, where tools expect it (see services.py).
    _write(VERIFY_KEY),
    _write("symbolpackage", "SymbolPackagePublish/4.9.0", "SymbolPackagePublish/Versioned"),
    _write("staging", "PackageStaging/1.0.0"),
    _web("PackageDetailsUriTemplate", "/5.1.0", "/Versioned"),
    _web("OwnerDetailsUriTemplate", "/6.11.0", "/Versioned"),
    _web("ReportAbuseUriTemplate", "/3.0.0-beta", "/3.0.0-rc", "/3.0.0", "/Versioned"),
)

RESOURCES: list[Resource] = []
BY_NAME: dict[str, Resource] = {}
BY_TYPE: dict[str, Resource] = {}
BY_WORD: dict[str, list[str]] = {}
"""The names of the rows by the first word of their routes."""


def add(row: Resource) -> None:
    """Publish ``row``: the index, the router and the map of upstream's services know it from now on."""
    RESOURCES.append(row)
    BY_NAME[row.name] = row
    BY_TYPE.update(dict.fromkeys(row.types, row))
    for word in dict.fromkeys(route.partition("/")[0] for route in row.routes):
        BY_WORD.setdefault(word, []).append(row.name)


for _row in _ROWS:
    add(_row)

DROPPED_TYPES = frozenset(
    {
        "LegacyGallery",
        "LegacyGallery/2.0.0",
        "LegacyGallery/Versioned",
        "SearchGalleryQueryService/3.0.0-rc",
    }
)
"""Known, never published: clients would leave the proxy (OData) or do not use them (gallery internal)."""
