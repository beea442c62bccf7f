"""The catalog lists every change of the fake feed in order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.fakes.feed_documents import CATALOG, Json, catalog_leaf_url, commit_id
from tests.fakes.feed_packages import Held, is_prerelease

_CONTEXT: Json = {
    "@vocab": "http://schema.nuget.org/catalog#",
    "nuget": "http://schema.nuget.org/schema#",
    "items": {"@id": "item", "@container": "@set"},
    "parent": {"@type": "@id"},
}


@dataclass(frozen=True, slots=True)
class Change:
    """One entry of the catalog: a package as it was published or unlisted, or as it was deleted."""

    package: Held
    deleted: bool = False

    @property
    def kind(self) -> str:
        """The entry's ``@type``."""
        return "nuget:PackageDelete" if self.deleted else "nuget:PackageDetails"


def _stamps(package: Held, prefix: str = "") -> Json:
    return {
        f"{prefix}commitId": commit_id(package.commit),
        f"{prefix}commitTimeStamp": package.instant.strftime("%Y-%m-%dT%H:%M:%S.0000000Z"),
    }


def _cut(changes: Sequence[Change], size: int) -> list[Sequence[Change]]:
    return [changes[start : start + size] for start in range(0, len(changes), size)]


def catalog_index(root: str, changes: Sequence[Change], size: int) -> Json:
    """The index of all pages of ``size`` changes each."""
    pages = [
        {
            "@id": f"{root}{CATALOG}/page{number}.json",
            "@type": "CatalogPage",
            **_stamps(cut[-1].package),
            "count": len(cut),
        }
        for number, cut in enumerate(_cut(changes, size))
    ]
    newest = _stamps(changes[-1].package) if changes else {}
    return {
        "@id": f"{root}{CATALOG}/index.json",
        "@type": ["CatalogRoot", "AppendOnlyCatalog", "Permalink"],
        **newest,
        "count": len(pages),
        "items": pages,
        "@context": _CONTEXT,
    }


def catalog_page(root: str, changes: Sequence[Change], size: int, number: int) -> Json | None:
    """One page, if there is one of this number."""
    cuts = _cut(changes, size)
    if number >= len(cuts):
        return None
    return {
        "@id": f"{root}{CATALOG}/page{number}.json",
        "@type": "CatalogPage",
        **_stamps(cuts[number][-1].package),
        "count": len(cuts[number]),
        "items": [
            {
                "@id": catalog_leaf_url(root, change.package),
                "@type": change.kind,
                **_stamps(change.package),
                "nuget:id": change.package.id,
                "nuget:version": change.package.version,
            }
            for change in cuts[number]
        ],
        "parent": f"{root}{CATALOG}/index.json",
        "@context": _CONTEXT,
    }


def catalog_leaf(root: str, change: Change) -> Json:
    """The document of one change."""
    package = change.package
    kind = ["PackageDelete", "catalog:Permalink"] if change.deleted else ["PackageDetails", "catalog:Permalink"]
    leaf: dict[str, Any] = {
        "@id": catalog_leaf_url(root, package),
        "@type": kind,
        **_stamps(package, "catalog:"),
        "id": package.id,
        "version": package.normalized,
        "published": package.published,
    }
    if change.deleted:
        return leaf
    return {
        **leaf,
        "authors": package.fields.get("authors", ""),
        "created": package.instant.isoformat(),
        "description": package.fields.get("description", ""),
        "isPrerelease": is_prerelease(package.version),
        "listed": package.listed,
        "packageHash": package.hash_text,
        "packageHashAlgorithm": "SHA512",
        "packageSize": len(package.content),
        "verbatimVersion": package.version,
    }
