"""Registration documents made of what is held, in the form that nuget.org gives them."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any, Final
from urllib.parse import quote

import orjson
from msgspec import Struct
from msgspec.structs import asdict

from nugetproxy.nuget.facts import PackageFacts
from nugetproxy.nuget.identity import PackageId, PackageIdentity, Version
from nugetproxy.nuget.moments import LAST_SECOND
from nugetproxy.nuget.nuspec import DependencyGroup
from nugetproxy.nuget.resources import GZ_SEMVER2, HIVES
from nugetproxy.nuget.synthesis.ranges import normalized_range
from nugetproxy.nuget.synthesis.version_metadata import NO_METADATA, IdMetadata, VersionMetadata, with_vulnerabilities

INLINED_BELOW: Final = 128
"""Versions from which on an index only names its pages."""
PAGE_LEAVES: Final = 64

Json = dict[str, Any]

_CONTEXT: Final[Json] = {
    "@vocab": "http://schema.nuget.org/schema#",
    "catalog": "http://schema.nuget.org/catalog#",
    "xsd": "http://www.w3.org/2001/XMLSchema#",
    "items": {"@id": "catalog:item", "@container": "@set"},
    "commitTimeStamp": {"@id": "catalog:commitTimeStamp", "@type": "xsd:dateTime"},
    "commitId": {"@id": "catalog:commitId"},
    "count": {"@id": "catalog:count"},
    "parent": {"@id": "catalog:parent", "@type": "@id"},
    "tags": {"@id": "tag", "@container": "@set"},
    "packageContent": {"@type": "@id"},
    "published": {"@type": "xsd:dateTime"},
    "registration": {"@type": "@id"},
}
_UNLISTED: Final = "1900-01-01T00:00:00+00:00"
"""What nuget.org says of the time at which an unlisted version was published."""


def registration_index(
    facts: Iterable[PackageFacts], base: str, hive: str, metadata: IdMetadata = NO_METADATA
) -> bytes | None:
    """The index of one id, with its leaves inlined below 128 versions; None if nothing of it is in ``hive``.

    ``facts`` are those of one id, in any order. ``base`` is where we are published (``http://host:5555/v3/``),
    ``hive`` one of ``resources.HIVES``. ``metadata`` is what upstream said of the versions, leaves included.
    """
    leaves = _leaves(facts, base, hive, metadata)
    if not leaves:
        return None
    inlined = len(leaves) < INLINED_BELOW
    pages = [
        _page(leaves[start : start + PAGE_LEAVES], inlined=inlined, items=inlined)
        for start in range(0, len(leaves), PAGE_LEAVES)
    ]
    document = {
        "@id": leaves[0].index_url,
        "@type": ["catalog:CatalogRoot", "PackageRegistration", "catalog:Permalink"],
        **_commit(leaves),
        "count": len(pages),
        "items": pages,
        "@context": _CONTEXT,
    }
    return orjson.dumps(document)


def registration_page(
    facts: Iterable[PackageFacts], base: str, hive: str, bounds: tuple[str, str], metadata: IdMetadata = NO_METADATA
) -> bytes | None:
    """The page with the versions from one of ``bounds`` to the other (any spelling); None if ``hive`` has none of them.

    Bounds of an index that was made when other versions were held are as good as today's: what an index named must
    be found.
    """
    first, last = map(Version.parse, bounds)
    if first is None or last is None:
        return None
    leaves = [leaf for leaf in _leaves(facts, base, hive, metadata) if first <= leaf.version <= last]
    if not leaves:
        return None
    page = _page(leaves, inlined=False, items=True)
    return orjson.dumps({**page, "@id": leaves[0].page_url(first, last), "@context": _CONTEXT})


def registration_leaf(
    facts: Iterable[PackageFacts], base: str, hive: str, version: str, metadata: IdMetadata = NO_METADATA
) -> bytes | None:
    """The document of one version (any spelling); None if ``hive`` does not have it."""
    wanted = Version.parse(version)
    leaf = next((leaf for leaf in _leaves(facts, base, hive, metadata) if leaf.version == wanted), None)
    if leaf is None:
        return None
    document = {
        # There is no catalog here, so whoever follows catalogEntry (PSResourceGet does) finds its fields right here.
        **leaf.entry(),
        "@id": leaf.url,
        "@type": ["Package", "http://schema.nuget.org/catalog#Permalink"],
        "catalogEntry": leaf.url,
        "registration": leaf.index_url,
        "@context": _CONTEXT,
    }
    return orjson.dumps(document)


def content_url(base: str, identity: PackageIdentity, name: str) -> str:
    """Where the flat container has the file ``name`` of a package."""
    return f"{base}content/{quote(identity.id)}/{identity.version}/{quote(name)}"


def hive_members(facts: Iterable[PackageFacts], hive: str) -> tuple[PackageFacts, ...]:
    """What clients of ``hive`` may see of ``facts``: ascending, each version once. Raises KeyError for no hive."""
    if hive not in HIVES:
        raise KeyError(hive)
    found = {held.parsed: held for held in facts if hive == GZ_SEMVER2 or not held.is_semver2}
    return tuple(found[version] for version in sorted(found))


def iso(seconds: float) -> str:
    """A time in UTC as ISO 8601, to the millisecond; what no calendar has becomes its nearest end."""
    return datetime.fromtimestamp(min(max(0.0, seconds), LAST_SECOND), UTC).isoformat(timespec="milliseconds")


def tag_list(tags: str) -> list[str]:
    """The tags of a nuspec, which separates them with blanks, commas or semicolons."""
    return tags.replace(",", " ").replace(";", " ").split()


def icon_of(held: PackageFacts, base: str) -> str:
    """The URL of its icon: ours if the package holds one; may be empty."""
    return content_url(base, held.identity, "icon") if held.has_icon else held.icon_url


def license_of(held: PackageFacts, base: str) -> str:
    """The URL of its licence: ours if the package holds one; may be empty."""
    return content_url(base, held.identity, "license") if held.has_license else held.license_url


class _Leaf(Struct, frozen=True):
    """One version in one hive."""

    held: PackageFacts
    version: Version
    base: str
    hive: str
    said: VersionMetadata
    commit: bytes
    """A digest of all that it says."""

    @property
    def folder(self) -> str:
        return f"{self.base}{self.hive}/{quote(self.held.identity.id)}"

    @property
    def index_url(self) -> str:
        return f"{self.folder}/index.json"

    @property
    def url(self) -> str:
        return f"{self.folder}/{self.version.url}.json"

    def page_url(self, first: Version, last: Version) -> str:
        return f"{self.folder}/page/{first.url}/{last.url}.json"

    def item(self) -> Json:
        stored = self.said.leaf or {}
        return {
            **stored,
            "@id": self.url,
            "@type": "Package",
            **_commit([self]),
            "catalogEntry": {"@id": self.url, "@type": "PackageDetails", **self.entry()},
            **self._place(),
            "registration": self.index_url,
        }

    def entry(self) -> Json:
        """What upstream says of it, else what the package does; with all vulnerabilities that are known."""
        stored = self.said.leaf.get("catalogEntry") if self.said.leaf is not None else None
        entry = self._made() if stored is None else {**stored, **self._place()}
        return with_vulnerabilities(entry, self.said.vulnerabilities)

    @property
    def published(self) -> float:
        return self.held.published if self.said.published is None else self.said.published

    def _place(self) -> Json:
        """Where it is, here."""
        return {"packageContent": content_url(self.base, self.held.identity, self.held.identity.nupkg_name)}

    def _made(self) -> Json:
        held = self.held
        listed = held.listed if self.said.listed is None else self.said.listed
        deprecation = {"deprecation": self.said.deprecation} if self.said.deprecation is not None else {}
        identity = held.identity
        readme = {"readmeUrl": content_url(self.base, identity, "readme")} if held.has_readme else {}
        return {
            "authors": held.authors,
            "dependencyGroups": [self._group(group) for group in held.dependency_groups],
            "description": held.description,
            "iconUrl": icon_of(held, self.base),
            "id": held.id,
            "language": held.language,
            "licenseExpression": held.license_expression,
            "licenseUrl": license_of(held, self.base),
            "listed": listed,
            "minClientVersion": held.min_client_version if Version.parse(held.min_client_version) else "",
            **self._place(),
            "projectUrl": held.project_url,
            "published": iso(self.published) if listed else _UNLISTED,
            **deprecation,
            **readme,
            "requireLicenseAcceptance": held.require_license_acceptance,
            "summary": held.summary,
            "tags": tag_list(held.tags) or [""],
            "title": held.title,
            # PowerShell names a module's folder after this, and imports it only if that is what its manifest says.
            "version": held.stated_version or held.version,
        }

    def _group(self, group: DependencyGroup) -> Json:
        document: Json = {"@type": "PackageDependencyGroup"}
        if group.target_framework is not None:
            document["targetFramework"] = group.target_framework
        # What cannot be a package's name would only make a client fail over a dependency that nobody can have.
        needs = [(need, parsed) for need in group.dependencies if (parsed := PackageId.parse(need.id)) is not None]
        if needs:
            document["dependencies"] = [
                {
                    "@type": "PackageDependency",
                    "id": need.id,
                    "range": normalized_range(need.range),
                    "registration": f"{self.base}{self.hive}/{quote(parsed.lower)}/index.json",
                }
                for need, parsed in needs
            ]
        return document


def _leaves(facts: Iterable[PackageFacts], base: str, hive: str, metadata: IdMetadata) -> list[_Leaf]:
    leaves = []
    for held in hive_members(facts, hive):
        said = metadata.of(held.identity.version)
        made_of = held.to_json() + orjson.dumps(asdict(said))
        leaves.append(_Leaf(held, held.parsed, base, hive, said, blake2b(made_of, digest_size=16).digest()))
    return leaves


def _page(leaves: Sequence[_Leaf], *, inlined: bool, items: bool) -> Json:
    first, last = leaves[0].version, leaves[-1].version
    bounds = f"#page/{first.url}/{last.url}"
    page: Json = {
        "@id": leaves[0].index_url + bounds if inlined else leaves[0].page_url(first, last),
        "@type": "catalog:CatalogPage",
        **_commit(leaves),
        "count": len(leaves),
    }
    if items:
        page["items"] = [leaf.item() for leaf in leaves]
        page["parent"] = leaves[0].index_url
    return {**page, "lower": first.normalized, "upper": last.normalized}


def _commit(leaves: Sequence[_Leaf]) -> Json:
    """A commit that changes exactly when the content does: its id is a digest, its time that of the newest leaf."""
    digest = blake2b(b"".join(leaf.commit for leaf in leaves), digest_size=16).digest()
    newest = max(leaf.published for leaf in leaves)
    return {"commitId": str(uuid.UUID(bytes=digest)), "commitTimeStamp": iso(newest)}
