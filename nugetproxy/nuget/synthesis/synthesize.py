"""Documents made of held packages: one import for whoever answers without an upstream."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import orjson

from nugetproxy.nuget.facts import PackageFacts
from nugetproxy.nuget.resources import BY_NAME, HIVES
from nugetproxy.nuget.synthesis.registration import registration_index, registration_leaf, registration_page
from nugetproxy.nuget.synthesis.search import Hit, autocomplete_ids, autocomplete_versions, search_response

__all__ = [
    "Hit",
    "PackageFacts",
    "autocomplete_ids",
    "autocomplete_versions",
    "registration_index",
    "registration_leaf",
    "registration_page",
    "search_response",
    "service_index",
    "version_list",
]

SYNTHESIZED: Final = ("query", "autocomplete", *HIVES, "content", "readme")
"""The resources that need no upstream, as the registry calls them."""

_CLIENT_VERSIONS: Final = {"RegistrationsBaseUrl/Versioned": "4.3.0-alpha"}
"""Clients before 4.3 cannot read the versions in this hive (nuget.org says the same)."""


def version_list(facts: Iterable[PackageFacts]) -> bytes:
    """The flat container's list of one id: all versions, listed or not, ascending; empty if there are none."""
    versions = {held.parsed for held in facts}
    return orjson.dumps({"versions": [version.url for version in sorted(versions)]})


def service_index(base: str) -> bytes:
    """The index of a feed that consists of held packages only, published as ``base`` (``http://host:5555/v3/``)."""
    resources: list[dict[str, Any]] = []
    for name in SYNTHESIZED:
        row = BY_NAME[name]
        for kind in row.types:
            client = {"clientVersion": _CLIENT_VERSIONS[kind]} if kind in _CLIENT_VERSIONS else {}
            resources.append({"@id": base + row.path, "@type": kind, **client})
    context = {"@vocab": "http://schema.nuget.org/services#", "comment": "http://www.w3.org/2000/01/rdf-schema#comment"}
    return orjson.dumps({"version": "3.0.0", "resources": resources, "@context": context})
