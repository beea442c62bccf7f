"""An inventory names packages as other tools read it: a CycloneDX bill of materials, package URLs."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

from msgspec import Struct

SPEC: Final = "1.6"
MAX_DESCRIPTION: Final = 1000


class Component(Struct, frozen=True, kw_only=True):
    """One package; what is not known is empty."""

    id: str
    version: str
    sha512: str = ""
    """In hexadecimal digits."""
    license: str = ""
    """An SPDX expression."""
    authors: str = ""
    description: str = ""


def purl(id_: str, version: str) -> str:
    """The package URL of a NuGet package (purl-spec, type nuget)."""
    return f"pkg:nuget/{quote(id_, safe='')}@{quote(version, safe='')}"


def bill(components: Iterable[Component], *, subject: str, serial: str, now: float, version: str) -> dict[str, Any]:
    """A CycloneDX document of what ``subject`` has got; ``serial`` is a UUID, ``version`` the proxy's own."""
    return {
        "$schema": f"http://cyclonedx.org/schema/bom-{SPEC}.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": SPEC,
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": {
            "timestamp": datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "tools": {"components": [{"type": "application", "name": "nugetproxy", "version": version}]},
            "component": {"type": "application", "bom-ref": f"client:{subject}", "name": subject},
        },
        "components": [_entry(one) for one in components],
    }


def _entry(one: Component) -> dict[str, Any]:
    url = purl(one.id, one.version)
    entry: dict[str, Any] = {
        "type": "library",
        "bom-ref": url,
        "name": one.id,
        "version": one.version,
        "purl": url,
    }
    if one.authors:
        entry["authors"] = [{"name": one.authors}]
    if one.description:
        entry["description"] = one.description[:MAX_DESCRIPTION]
    if one.sha512:
        entry["hashes"] = [{"alg": "SHA-512", "content": one.sha512}]
    if one.license:
        entry["licenses"] = [{"expression": one.license}]
    return entry
