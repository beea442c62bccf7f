"""PackageFacts is what is known of one held package without opening it."""

from __future__ import annotations

from collections.abc import Mapping
from operator import attrgetter
from types import MappingProxyType
from typing import Any, Final

import orjson
from msgspec import Struct

from nugetproxy.nuget.documents.exact_json import InvalidDocument, as_object, loads
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.nuget.nuspec import Dependency, DependencyGroup, Nuspec
from nugetproxy.nuget.version import Version

MAX_TEXT: Final = 4000
"""Characters that are kept of a text; nuget.org allows as many in a description."""
DEFAULT_TYPE: Final = "Dependency"
"""The type of a package that names none (NuGet's PackageType)."""


class PackageFacts(Struct, frozen=True, kw_only=True):
    """What registrations and searches say of one package; texts are empty where its nuspec says nothing."""

    identity: PackageIdentity
    id: str
    """In the case its author chose."""
    version: str
    """The full version: normalised, with metadata."""
    stated_version: str = ""
    """As in ``Nuspec``."""
    title: str = ""
    description: str = ""
    summary: str = ""
    authors: str = ""
    owners: str = ""
    tags: str = ""
    project_url: str = ""
    icon_url: str = ""
    license_url: str = ""
    license_expression: str = ""
    language: str = ""
    min_client_version: str = ""
    has_icon: bool = False
    """The package holds its icon, as it may hold its licence and its readme."""
    has_license: bool = False
    has_readme: bool = False
    require_license_acceptance: bool = False
    is_semver2: bool = False
    """Only clients that know SemVer 2.0.0 may see it: by its version, or by a bound of a dependency."""
    package_types: tuple[tuple[str, str], ...] = ()
    """Name and version of each; the version may be empty."""
    dependency_groups: tuple[DependencyGroup, ...] = ()
    published: float
    """Seconds since the epoch."""
    listed: bool = True
    size: int
    """Bytes of the package."""
    downloads: int = 0

    @staticmethod
    def of(nuspec: Nuspec, *, published: float, size: int, listed: bool = True, downloads: int = 0) -> PackageFacts:
        """The facts in a nuspec, with those that it cannot know; long texts are cut."""
        return PackageFacts(
            identity=nuspec.identity,
            id=nuspec.id,
            version=nuspec.version,
            **{name: getattr(nuspec, name)[:MAX_TEXT] for name in _TEXTS},
            has_icon=bool(nuspec.icon),
            has_license=bool(nuspec.license_file),
            has_readme=bool(nuspec.readme),
            require_license_acceptance=nuspec.require_license_acceptance,
            is_semver2=nuspec.is_semver2,
            package_types=nuspec.package_types,
            dependency_groups=nuspec.dependency_groups,
            published=float(published),
            listed=listed,
            size=size,
            downloads=downloads,
        )

    @staticmethod
    def from_json(body: bytes) -> PackageFacts:
        """What ``to_json`` wrote; raises InvalidDocument for anything else."""
        stored = as_object(loads(body), "what is stored of a package")
        id_, version = stored.pop("id", None), stored.pop("version", None)
        identity = PackageIdentity.parse(id_, version) if isinstance(id_, str) and isinstance(version, str) else None
        if identity is None:
            raise InvalidDocument("the facts name no package")
        try:
            values = {name: _READ[name](value) for name, value in stored.items()}
            return PackageFacts(identity=identity, id=id_, version=version, **values)
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidDocument(f"the facts of {identity} are not readable ({error!r})") from error

    def to_json(self) -> bytes:
        """A compact form, equal for equal facts; what is empty is left out."""
        stored: dict[str, Any] = {"id": self.id, "version": self.version}
        for name, value in zip(_READ, _VALUES(self), strict=True):
            if value != _DEFAULTS.get(name):
                stored[name] = _WRITE[name](value) if name in _WRITE else value
        return orjson.dumps(stored)

    @property
    def parsed(self) -> Version:
        """``version`` as a value that can be compared."""
        version = Version.parse(self.version)
        if version is None:
            raise InvalidDocument(f"{self.version!r} is no version")
        return version

    @property
    def type_names(self) -> tuple[str, ...]:
        """The names of its package types, as spelled; one that names none is a dependency."""
        return tuple(name for name, _ in self.package_types if name) or (DEFAULT_TYPE,)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(value)
    return value


def _number(value: Any) -> int:
    if not isinstance(value, int):
        raise TypeError(value)
    return value


def _read_types(value: Any) -> tuple[tuple[str, str], ...]:
    return tuple((_text(name), _text(version)) for name, version in value)


def _read_groups(value: Any) -> tuple[DependencyGroup, ...]:
    return tuple(
        DependencyGroup(
            None if framework is None else _text(framework),
            tuple(Dependency(_text(id_), _text(range_)) for id_, range_ in needs),
        )
        for framework, needs in value
    )


def _write_groups(value: tuple[DependencyGroup, ...]) -> list[Any]:
    return [(group.target_framework, [(need.id, need.range) for need in group.dependencies]) for group in value]


_TEXTS = (
    "stated_version",
    "title",
    "description",
    "summary",
    "authors",
    "owners",
    "tags",
    "project_url",
    "icon_url",
    "license_url",
    "license_expression",
    "language",
    "min_client_version",
)
_FLAGS = ("has_icon", "has_license", "has_readme", "require_license_acceptance", "is_semver2", "listed")
_READ: Mapping[str, Any] = MappingProxyType(
    {
        **dict.fromkeys(_TEXTS, _text),
        **dict.fromkeys(_FLAGS, _flag),
        "package_types": _read_types,
        "dependency_groups": _read_groups,
        "published": float,
        "size": _number,
        "downloads": _number,
    }
)
"""How each stored field is read."""
_WRITE: Mapping[str, Any] = MappingProxyType({"dependency_groups": _write_groups})
_DEFAULTS: Mapping[str, Any] = MappingProxyType(
    dict(zip(reversed(PackageFacts.__struct_fields__), reversed(PackageFacts.__struct_defaults__), strict=False))
)

_VALUES = attrgetter(*_READ)

if _READ.keys() | {"identity", "id", "version"} != {*PackageFacts.__struct_fields__}:  # pragma: no cover
    raise AssertionError("every field of PackageFacts needs a way to be read")
