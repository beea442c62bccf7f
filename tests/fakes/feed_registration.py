"""Registration documents are built per hive as nuget.org builds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.fakes.feed_documents import (
    FLAT,
    HIVES,
    INLINED_BELOW,
    PAGE_LEAVES,
    Json,
    catalog_leaf_url,
    commit_id,
    package_url,
)
from tests.fakes.feed_packages import Group, Held

_CONTEXT: Json = {
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


@dataclass(frozen=True, slots=True)
class Registration:
    """One id in one hive; ``extra`` is merged into catalog entries, by version as URLs spell it."""

    root: str
    hive: str
    held: tuple[Held, ...]
    extra: Mapping[str, Mapping[str, Any]]

    @property
    def base(self) -> str:
        """The id's folder in the hive, without a slash at the end."""
        return f"{self.root}{HIVES[self.hive]}/{self.held[0].lower}"

    def index(self) -> Json:
        """The index; pages are inlined below 128 versions."""
        inlined = len(self.held) < INLINED_BELOW
        pages = [self._page(leaves, inlined=inlined, items=inlined) for leaves in self._cut()]
        newest = max(self.held, key=lambda package: package.commit)
        return {
            "@id": f"{self.base}/index.json",
            "@type": ["catalog:CatalogRoot", "PackageRegistration", "catalog:Permalink"],
            **_commit(newest),
            "count": len(pages),
            "items": pages,
            "@context": _CONTEXT,
        }

    def page(self, lower: str, upper: str) -> Json | None:
        """The external page of these bounds, if there is one."""
        if len(self.held) < INLINED_BELOW:
            return None
        for leaves in self._cut():
            if (leaves[0].url_version, leaves[-1].url_version) == (lower, upper):
                return {**self._page(leaves, inlined=False, items=True), "@context": _CONTEXT}
        return None

    def leaf(self, version: str) -> Json | None:
        """The document of one version."""
        package = next((package for package in self.held if package.url_version == version), None)
        if package is None:
            return None
        return {
            "@id": f"{self.base}/{package.url_version}.json",
            "@type": ["Package", "http://schema.nuget.org/catalog#Permalink"],
            "catalogEntry": catalog_leaf_url(self.root, package),
            "listed": package.listed,
            "packageContent": package_url(self.root, package),
            "published": package.published,
            "registration": f"{self.base}/index.json",
            "@context": _CONTEXT,
        }

    def _cut(self) -> list[Sequence[Held]]:
        return [self.held[start : start + PAGE_LEAVES] for start in range(0, len(self.held), PAGE_LEAVES)]

    def _page(self, leaves: Sequence[Held], *, inlined: bool, items: bool) -> Json:
        lower, upper = leaves[0].url_version, leaves[-1].url_version
        bounds = f"page/{lower}/{upper}"
        page: Json = {
            "@id": f"{self.base}/index.json#{bounds}" if inlined else f"{self.base}/{bounds}.json",
            "@type": "catalog:CatalogPage",
            **_commit(max(leaves, key=lambda package: package.commit)),
            "count": len(leaves),
        }
        if items:
            page["items"] = [self._item(package) for package in leaves]
            page["parent"] = f"{self.base}/index.json"
        return {**page, "lower": leaves[0].normalized, "upper": leaves[-1].normalized}

    def _item(self, package: Held) -> Json:
        return {
            "@id": f"{self.base}/{package.url_version}.json",
            "@type": "Package",
            **_commit(package),
            "catalogEntry": self._entry(package),
            "packageContent": package_url(self.root, package),
            "registration": f"{self.base}/index.json",
        }

    def _entry(self, package: Held) -> Json:
        fields = package.fields
        address = catalog_leaf_url(self.root, package)
        return {
            "@id": address,
            "@type": "PackageDetails",
            "authors": fields.get("authors", ""),
            "dependencyGroups": [self._group(address, group) for group in package.groups],
            "description": fields.get("description", ""),
            "iconUrl": self._icon(package),
            "id": package.id,
            "language": fields.get("language", ""),
            "licenseExpression": fields.get("license:expression", ""),
            "licenseUrl": fields.get("licenseUrl", ""),
            "listed": package.listed,
            "minClientVersion": "",
            "packageContent": package_url(self.root, package),
            "projectUrl": fields.get("projectUrl", ""),
            "published": package.published,
            "requireLicenseAcceptance": fields.get("requireLicenseAcceptance") == "true",
            "summary": fields.get("summary", ""),
            "tags": fields.get("tags", "").split() or [""],
            "title": fields.get("title", ""),
            "version": package.version,
            **self.extra.get(package.url_version, {}),
        }

    def _icon(self, package: Held) -> str:
        if "icon" in package.fields:
            return f"{self.root}{FLAT}/{package.lower}/{package.url_version}/icon"
        return package.fields.get("iconUrl", "")

    def _group(self, address: str, group: Group) -> Json:
        framework = {} if group.framework is None else {"targetFramework": group.framework}
        name = f"{address}#dependencygroup" + (f"/{group.framework.lower()}" if group.framework else "")
        value: Json = {"@id": name, "@type": "PackageDependencyGroup", **framework}
        if group.dependencies:
            value["dependencies"] = [
                {
                    "@id": f"{name}/{dependency.id.lower()}",
                    "@type": "PackageDependency",
                    "id": dependency.id,
                    "range": dependency.range if dependency.range[:1] in {"[", "("} else f"[{dependency.range}, )",
                    "registration": f"{self.root}{HIVES[self.hive]}/{dependency.id.lower()}/index.json",
                }
                for dependency in group.dependencies
            ]
        return value


def _commit(package: Held) -> Json:
    return {"commitId": commit_id(package.commit), "commitTimeStamp": package.instant.isoformat()}
