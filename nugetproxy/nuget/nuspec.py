"""What a package says of itself, in the .nuspec at its root."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring
from msgspec import Struct

from nugetproxy.errors import Reason
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.nuget.package import (
    Archive,
    Content,
    InvalidPackage,
    check_contents,
    nuspec_entry,
    open_archive,
    read_entry,
    read_member,
)
from nugetproxy.nuget.version import Version
from nugetproxy.nuget.zip_archive import Entry

__all__ = [
    "Dependency",
    "DependencyGroup",
    "InvalidPackage",
    "Nuspec",
    "inspect_package",
    "parse_nuspec",
    "read_member",
]

_USUAL: Final = re.compile(
    rb'(?:\xef\xbb\xbf)?(?:<\?xml version="1\.0"(?: encoding="utf-8")?(?: standalone="(?:yes|no)")? ?\?>\s*)?<[a-z]',
    re.IGNORECASE,
)
"""How a document begins that is in UTF-8 for certain: in other encodings a DOCTYPE may have other bytes."""
MAX_NUSPEC: Final = 4 * 2**20
"""Bytes of .nuspec that are read."""


class Dependency(Struct, frozen=True):
    """Another package that this one needs; ``range`` as spelled, empty for any version."""

    id: str
    range: str


class DependencyGroup(Struct, frozen=True):
    """Dependencies for one target framework, None for all of them."""

    target_framework: str | None
    dependencies: tuple[Dependency, ...]


class Nuspec(Struct, frozen=True, kw_only=True):
    """The metadata of one package; text is trimmed, and empty where the nuspec says nothing."""

    identity: PackageIdentity
    id: str
    """In the case its author chose."""
    version: str
    """The full version: normalised, with metadata."""
    stated_version: str
    """As the nuspec spells it, where that is something else (``2.0.0.0``); else empty."""
    xml: bytes
    """The whole file, as it lies in the package."""
    title: str
    description: str
    summary: str
    authors: str
    owners: str
    tags: str
    project_url: str
    icon_url: str
    icon: str
    """Path within the package, as are ``license_file`` and ``readme``."""
    license_file: str
    license_expression: str
    license_url: str
    readme: str
    language: str
    min_client_version: str
    require_license_acceptance: bool
    package_types: tuple[tuple[str, str], ...]
    """Name and version of each; the version may be empty."""
    dependency_groups: tuple[DependencyGroup, ...]

    @property
    def is_semver2(self) -> bool:
        """True if only clients that know SemVer 2.0.0 may see it: by its version, or by a bound of a dependency."""
        ranges = (need.range for group in self.dependency_groups for need in group.dependencies)
        return _is_semver2(self.version) or any(map(has_semver2_bound, ranges))


def inspect_package(
    content: Content, expected: PackageIdentity | None, *, checksum: bool = True, contents: bool = False
) -> Nuspec:
    """Check a whole .nupkg, read its nuspec. Blocking; a file is left open anywhere.

    Only the central directory and the nuspec are read, both bounded; with ``contents`` everything, as ``checking``
    does. With ``expected`` None any identity will do, with ``checksum`` False any checksum of the nuspec, as NuGet
    does. Raises InvalidPackage: ZIP if it is no sound package, IDENTITY if it is another one; OSError where the disk
    fails.
    """
    archive = open_archive(content)
    return inspect_archive(archive, nuspec_entry(archive), expected, checksum=checksum, contents=contents)


def inspect_archive(
    archive: Archive,
    entry: Entry,
    expected: PackageIdentity | None,
    *,
    checksum: bool = True,
    contents: bool = False,
) -> Nuspec:
    """The same of one that is open, whose nuspec is ``entry``."""
    nuspec = parse_nuspec(read_entry(archive, entry, MAX_NUSPEC, checksum=checksum))
    if expected is not None and nuspec.identity != expected:
        raise InvalidPackage(Reason.IDENTITY, f"it holds {nuspec.identity} instead of {expected}")
    if contents:
        check_contents(archive, entry if checksum else None)
    return nuspec


def parse_nuspec(xml: bytes) -> Nuspec:
    """Read a .nuspec of any schema version; raises InvalidPackage."""
    metadata = _metadata(xml)
    named = [(_local(child), child) for child in metadata]
    texts = {name: (child.text or "").strip() for name, child in reversed(named)}
    identity, version = _identity(texts.get("id", ""), texts.get("version", ""))
    kind = next((child.get("type", "") for name, child in named if name == "license"), "").lower()
    licence = texts.get("license", "")
    return Nuspec(
        identity=identity,
        id=texts["id"],
        version=version.full,
        stated_version=texts["version"] if texts["version"] != version.full else "",
        xml=xml,
        title=texts.get("title", ""),
        description=texts.get("description", ""),
        summary=texts.get("summary", ""),
        authors=texts.get("authors", ""),
        owners=texts.get("owners", ""),
        tags=texts.get("tags", ""),
        project_url=texts.get("projectUrl", ""),
        icon_url=texts.get("iconUrl", ""),
        icon=texts.get("icon", ""),
        license_file=licence if kind == "file" else "",
        license_expression=licence if kind == "expression" else "",
        license_url=texts.get("licenseUrl", ""),
        readme=texts.get("readme", ""),
        language=texts.get("language", ""),
        min_client_version=metadata.get("minClientVersion", "").strip(),
        require_license_acceptance=texts.get("requireLicenseAcceptance", "").lower() in {"true", "1"},
        package_types=_package_types([child for name, child in named if name == "packageTypes"]),
        dependency_groups=_dependency_groups([child for name, child in named if name == "dependencies"]),
    )


def _metadata(xml: bytes) -> Element:
    try:
        root = _root(xml)
    except (ParseError, DefusedXmlException, ValueError, LookupError) as error:
        raise InvalidPackage(Reason.ZIP, f"its nuspec is not readable XML ({error})") from error
    found = _children(root, "metadata")
    if _local(root) != "package" or not found:
        raise InvalidPackage(Reason.ZIP, "its nuspec has no package metadata")
    return found[0]


def _root(xml: bytes) -> Element:
    """The parsed document. Entities could be a bomb, or a file of ours; NuGet refuses every DOCTYPE, too.

    What has none for certain needs no parser that looks for it, which is written in Python: most of what it costs.
    """
    if _USUAL.match(xml) and b"<!DOCTYPE" not in xml:
        return ElementTree.fromstring(xml)  # noqa: S314 - nothing is declared in it
    root: Element = fromstring(xml, forbid_dtd=True)
    return root


def _identity(id_text: str, version_text: str) -> tuple[PackageIdentity, Version]:
    identity, version = PackageIdentity.parse(id_text, version_text), Version.parse(version_text)
    if identity is None or version is None:
        detail = f"no package can have id {id_text[:100]!r} and version {version_text[:100]!r}"
        raise InvalidPackage(Reason.IDENTITY, detail)
    return identity, version


def _package_types(lists: Sequence[Element]) -> tuple[tuple[str, str], ...]:
    return tuple(
        (item.get("name", "").strip(), item.get("version", "").strip())
        for types in lists
        for item in _children(types, "packageType")
    )


def _dependency_groups(lists: Sequence[Element]) -> tuple[DependencyGroup, ...]:
    """Groups as written; dependencies outside any group (the older schema) make one for all frameworks."""
    groups: list[DependencyGroup] = []
    for parent in lists:
        if loose := _dependencies(parent):
            groups.append(DependencyGroup(None, loose))
        for group in _children(parent, "group"):
            framework = group.get("targetFramework", "").strip() or None
            groups.append(DependencyGroup(framework, _dependencies(group)))
    return tuple(groups)


def _dependencies(parent: Element) -> tuple[Dependency, ...]:
    return tuple(
        Dependency(item.get("id", "").strip(), item.get("version", "").strip())
        for item in _children(parent, "dependency")
    )


def _children(parent: Element, name: str) -> list[Element]:
    return [child for child in parent if _local(child) == name]


def _local(element: Element) -> str:
    """The name without its namespace: nuspecs come in half a dozen of them, and with none."""
    return element.tag.rpartition("}")[2]


def has_semver2_bound(range_text: str) -> bool:
    """True if only clients that know SemVer 2.0.0 can read a bound of the range."""
    if "-" not in range_text and "+" not in range_text:  # as of nearly all, which is seen sooner than parsed
        return False
    return any(map(_is_semver2, range_text.strip("[]() ").split(",")))


def _is_semver2(version_text: str) -> bool:
    version = Version.parse(version_text)
    return version is not None and version.is_semver2
