"""What the fake feed knows about one package is read from its nuspec.

Version rules are written out here a second time on purpose: the fake must not agree with the proxy's own mistakes.
"""

from __future__ import annotations

import base64
import hashlib
import io
import re
import zipfile
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import cached_property, lru_cache
from typing import Any
from xml.etree.ElementTree import Element

from defusedxml import ElementTree

ID = re.compile(r"\w+([.-]\w+)*")
VERSION = re.compile(r"(\d+)(?:\.(\d+))?(?:\.(\d+))?(?:\.(\d+))?(?:-([0-9A-Za-z.-]+))?(?:\+([0-9A-Za-z.-]+))?")
MAX_ID = 100
UNLISTED = datetime(1900, 1, 1, tzinfo=UTC)


@lru_cache(maxsize=4096)
def normalize(version: str) -> str:
    """NuGet's normalised form (case kept, metadata gone); ValueError if ``version`` is not a version."""
    match = VERSION.fullmatch(version.strip())
    if match is None:
        raise ValueError(f"not a version: {version!r}")
    major, minor, patch, revision = (int(part or 0) for part in match.group(1, 2, 3, 4))
    numbers = f"{major}.{minor}.{patch}" + (f".{revision}" if revision else "")
    return numbers + (f"-{match[5]}" if match[5] else "")


@lru_cache(maxsize=4096)
def sort_key(version: str) -> tuple[Any, ...]:
    """A key that sorts versions as NuGet does."""
    match = VERSION.fullmatch(version.strip())
    if match is None:
        raise ValueError(f"not a version: {version!r}")
    numbers = tuple(int(part or 0) for part in match.group(1, 2, 3, 4))
    labels = tuple(
        (0, int(label), "") if label.isdecimal() else (1, 0, label.upper()) for label in (match[5] or "").split(".")
    )
    return (*numbers, 0 if match[5] else 1, labels)


def is_prerelease(version: str) -> bool:
    """Whether ``version`` has release labels."""
    return "-" in version.partition("+")[0]


def _needs_semver2(version: str) -> bool:
    release = version.partition("+")[0].partition("-")[2]
    return "+" in version or "." in release


def _range_needs_semver2(text: str) -> bool:
    bounds = text.strip("[]() ").split(",")
    return any(_needs_semver2(bound.strip()) for bound in bounds)


@dataclass(frozen=True, slots=True)
class Dependency:
    """One dependency as a nuspec states it."""

    id: str
    range: str


@dataclass(frozen=True, slots=True)
class Group:
    """The dependencies for one target framework (None: for any)."""

    framework: str | None
    dependencies: tuple[Dependency, ...]


@dataclass(frozen=True, kw_only=True)
class Held:
    """One package that the feed holds; ``commit`` counts the feed's changes, ``instant`` is its time."""

    id: str
    version: str
    content: bytes
    nuspec: bytes
    fields: dict[str, str]
    groups: tuple[Group, ...]
    types: tuple[str, ...]
    commit: int
    instant: datetime
    listed: bool = True

    @cached_property
    def lower(self) -> str:
        """The id as URLs spell it."""
        return self.id.lower()

    @cached_property
    def normalized(self) -> str:
        """The version without metadata."""
        return normalize(self.version)

    @cached_property
    def url_version(self) -> str:
        """The version as URLs spell it."""
        return self.normalized.lower()

    @cached_property
    def semver2(self) -> bool:
        """Whether only clients that know SemVer 2.0.0 may see it."""
        ranges = (dependency.range for group in self.groups for dependency in group.dependencies)
        return _needs_semver2(self.version) or any(map(_range_needs_semver2, ranges))

    @cached_property
    def sha512(self) -> bytes:
        """The digest of the package file."""
        return hashlib.sha512(self.content).digest()

    @property
    def hash_text(self) -> str:
        """The digest as NuGet writes it (base64)."""
        return base64.b64encode(self.sha512).decode()

    @cached_property
    def etag(self) -> str:
        """A strong entity tag of the package file."""
        return f'"0x{self.sha512[:8].hex().upper()}"'

    @property
    def last_modified(self) -> str:
        """The time of the commit as HTTP writes it."""
        return format_datetime(self.instant, usegmt=True)

    @property
    def published(self) -> str:
        """The time of publication as registrations write it; the year 1900 says unlisted."""
        return (self.instant if self.listed else UNLISTED).isoformat()

    def member(self, field: str) -> bytes | None:
        """The file inside the package that the nuspec's ``icon``, ``license`` or ``readme`` names."""
        path = self.fields.get(f"{field}:file" if field == "license" else field)
        if path is None:
            return None
        wanted = path.replace("\\", "/").lower()
        with zipfile.ZipFile(io.BytesIO(self.content)) as archive:
            for name in archive.namelist():
                if name.lower() == wanted:
                    return archive.read(name)
        return None


def _local(element: Element) -> str:
    return element.tag.rpartition("}")[2]


def _children(element: Element | None, name: str) -> list[Element]:
    return [] if element is None else [child for child in element if _local(child) == name]


def _child(element: Element | None, name: str) -> Element | None:
    return next(iter(_children(element, name)), None)


def _dependencies(parent: Element) -> tuple[Dependency, ...]:
    found = _children(parent, "dependency")
    return tuple(Dependency(child.get("id", ""), child.get("version", "")) for child in found)


def _groups(metadata: Element) -> tuple[Group, ...]:
    parent = _child(metadata, "dependencies")
    if parent is None:
        return ()
    groups = tuple(Group(child.get("targetFramework"), _dependencies(child)) for child in _children(parent, "group"))
    plain = _dependencies(parent)
    return groups or ((Group(None, plain),) if plain else ())


def _types(metadata: Element) -> tuple[str, ...]:
    names = _children(_child(metadata, "packageTypes"), "packageType")
    return tuple(child.get("name", "") for child in names) or ("Dependency",)


def _fields(metadata: Element) -> dict[str, str]:
    fields = {_local(child): (child.text or "").strip() for child in metadata}
    licence = _child(metadata, "license")
    if licence is not None:
        fields[f"license:{licence.get('type', 'file')}"] = fields["license"]
    return fields


@lru_cache(maxsize=512)
def read_package(content: bytes, *, commit: int, instant: datetime) -> Held:
    """The package in ``content``; ValueError if it is none."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = [name for name in archive.namelist() if "/" not in name and name.lower().endswith(".nuspec")]
            if len(names) != 1:
                raise ValueError(f"the package has {len(names)} nuspec files at its root")
            nuspec = archive.read(names[0])
        metadata = _child(ElementTree.fromstring(nuspec), "metadata")
    except (zipfile.BadZipFile, ElementTree.ParseError) as error:
        raise ValueError(f"not a package: {error}") from error
    if metadata is None:
        raise ValueError("the nuspec has no metadata")
    fields = _fields(metadata)
    package_id, version = fields.get("id", ""), fields.get("version", "")
    if len(package_id) > MAX_ID or ID.fullmatch(package_id) is None:
        raise ValueError(f"not a package id: {package_id!r}")
    normalize(version)
    return Held(
        id=package_id,
        version=version,
        content=content,
        nuspec=nuspec,
        fields=fields,
        groups=_groups(metadata),
        types=_types(metadata),
        commit=commit,
        instant=instant,
    )
