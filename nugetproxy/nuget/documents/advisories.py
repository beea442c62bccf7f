"""Advisories of one id, read from the pages of a VulnerabilityInfo resource."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from nugetproxy.nuget.documents.exact_json import loads
from nugetproxy.nuget.identity import Version, invariant_lower
from nugetproxy.nuget.synthesis.ranges import is_within


class Advisory(Struct, frozen=True):
    """One known vulnerability of the versions in a range."""

    url: str
    severity: str
    """From "0" (low) to "3" (critical)."""
    versions: str
    """A range, as upstream wrote it."""

    def concerns(self, version: Version) -> bool:
        """Whether a version has it; a range that nobody can read has every version."""
        return is_within(self.versions, version)

    def json(self) -> dict[str, Any]:
        """As registrations say it."""
        return {"advisoryUrl": self.url, "severity": self.severity}


Page = Mapping[str, Sequence[Advisory]]
"""By lower-case id."""


def read_page(body: bytes) -> Page:
    """A page of advisories, which passed its check. Raises InvalidDocument."""
    document = loads(body)
    if not isinstance(document, dict):  # an empty page, as NuGet's documentation writes it
        return {}
    page: dict[str, tuple[Advisory, ...]] = {}
    for id, known in document.items():  # one id may be there in several spellings
        lower = invariant_lower(id)
        page[lower] = (*page.get(lower, ()), *map(_advisory, known))
    return page


def _advisory(stated: object) -> Advisory:
    said = stated if isinstance(stated, dict) else {}
    return Advisory(str(said.get("url", "")), str(said.get("severity", 0)), str(said.get("versions", "")))
