"""VersionMetadata is what upstream has published about one version, for documents that are made from held packages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct

from nugetproxy.nuget.documents.exact_json import objects

Json = dict[str, Any]


class VersionMetadata(Struct, frozen=True, kw_only=True):
    """None: upstream has not said it, as far as is known here."""

    leaf: Json | None = None
    """Its item in a stored registration of the same hive, with our URLs."""
    published: float | None = None
    """Seconds since the epoch."""
    listed: bool | None = None
    deprecation: Json | None = None
    is_deprecation_known: bool = False
    vulnerabilities: tuple[Json, ...] = ()
    """As registrations have them."""


NONE_KNOWN: Final = VersionMetadata()


class IdMetadata(Struct, frozen=True, kw_only=True):
    """What upstream has published about the versions of one id."""

    versions: Mapping[str, VersionMetadata]
    """By version as URLs have it."""
    are_advisories_known: bool

    def of(self, version: str) -> VersionMetadata:
        """What is known of one version; ``NONE_KNOWN`` where nothing is."""
        return self.versions.get(version, NONE_KNOWN)

    def unknown(self) -> str:
        """What is not known of one of the versions, in words; empty where all is."""
        missing = []
        if not all(said.is_deprecation_known for said in self.versions.values()):
            missing.append("deprecation")
        if not self.are_advisories_known:
            missing.append("vulnerabilities")
        return f"made from held packages, {' and '.join(missing)} unknown" if missing else ""


NO_METADATA: Final = IdMetadata(versions={}, are_advisories_known=True)


def with_vulnerabilities(entry: Json, known: tuple[Json, ...]) -> Json:
    """``entry`` of a registration with all that is known; each advisory once, by its URL."""
    found = {str(one.get("advisoryUrl")): one for one in (*known, *objects(entry.get("vulnerabilities")))}
    return {**entry, "vulnerabilities": [found[url] for url in sorted(found)]} if found else entry
