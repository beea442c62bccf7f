"""Search answers made of what is held, in the form that nuget.org gives them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import quote

import orjson
from msgspec import Struct

from nugetproxy.nuget.facts import PackageFacts
from nugetproxy.nuget.identity import Version
from nugetproxy.nuget.synthesis.registration import icon_of, license_of, tag_list
from nugetproxy.nuget.synthesis.version_metadata import NO_METADATA, IdMetadata

_VOCABULARY: Final = "http://schema.nuget.org/schema#"


class Hit(Struct, frozen=True):
    """One id that a search has found."""

    newest: PackageFacts
    """Of the version that stands for it: the newest that the searcher may see."""
    versions: tuple[tuple[str, int], ...]
    """(full version, downloads) of every version that the searcher may see, ascending."""


def search_response(
    hits: Iterable[Hit], total: int, base: str, hive: str, metadata: Mapping[str, IdMetadata] = MappingProxyType({})
) -> bytes:
    """One page of a search; ``total`` counts the ids on all pages. ``base`` and ``hive`` as for registrations.

    ``metadata`` by id (lower case): what upstream said of its newest version.
    """
    document = {
        "@context": {"@vocab": _VOCABULARY, "@base": f"{base}{hive}/"},
        "totalHits": total,
        "data": [_result(hit, base, hive, metadata.get(hit.newest.identity.id, NO_METADATA)) for hit in hits],
    }
    return orjson.dumps(document)


def autocomplete_ids(ids: Iterable[str], total: int) -> bytes:
    """One page of ids in their author's spelling; ``total`` counts those on all pages."""
    return orjson.dumps({"@context": {"@vocab": _VOCABULARY}, "totalHits": total, "data": list(ids)})


def autocomplete_versions(versions: Iterable[str]) -> bytes:
    """The versions of one id, none for an unknown one."""
    return orjson.dumps({"@context": {"@vocab": _VOCABULARY}, "data": list(versions)})


def _result(hit: Hit, base: str, hive: str, metadata: IdMetadata) -> dict[str, Any]:
    held = hit.newest
    said = metadata.of(held.identity.version)
    deprecation = {"deprecation": said.deprecation} if said.deprecation is not None else {}
    folder = f"{base}{hive}/{quote(held.identity.id)}"
    urls = {"iconUrl": icon_of(held, base), "licenseUrl": license_of(held, base), "projectUrl": held.project_url}
    return {
        "@id": f"{folder}/index.json",
        "@type": "Package",
        "registration": f"{folder}/index.json",
        "id": held.id,
        "version": held.version,
        "description": held.description,
        "summary": held.summary,
        "title": held.title or held.id,
        **{name: url for name, url in urls.items() if url},
        "tags": tag_list(held.tags),
        "authors": _names(held.authors),
        "owners": _names(held.owners),
        "totalDownloads": sum(downloads for _, downloads in hit.versions),
        "verified": False,
        "packageTypes": [{"name": name} for name in held.type_names],
        "versions": [
            {"version": version, "downloads": downloads, "@id": f"{folder}/{_url_form(version)}.json"}
            for version, downloads in hit.versions
        ],
        "vulnerabilities": list(said.vulnerabilities),
        **deprecation,
    }


def _names(text: str) -> list[str]:
    return [name for part in text.split(",") if (name := part.strip())]


def _url_form(version: str) -> str:
    parsed = Version.parse(version)
    return version.lower() if parsed is None else parsed.url
