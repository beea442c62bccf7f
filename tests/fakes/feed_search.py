"""Search answers are built from what is held as nuget.org's service builds them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tests.fakes.feed_documents import FLAT, HIVES, Json
from tests.fakes.feed_packages import Held, is_prerelease

MAX_SKIP = 3000
MAX_TAKE = 1000

Packages = Mapping[str, Sequence[Held]]


class BadQuery(ValueError):
    """A parameter that the service answers with 400."""


def _window(query: Mapping[str, str]) -> slice:
    try:
        skip, take = int(query.get("skip") or 0), int(query.get("take") or 20)
    except ValueError:
        raise BadQuery("skip and take are integers") from None
    if not 0 <= skip <= MAX_SKIP or not 0 <= take <= MAX_TAKE:
        raise BadQuery("skip or take is out of range")
    return slice(skip, skip + take)


def _visible(held: Sequence[Held], query: Mapping[str, str]) -> list[Held]:
    prerelease = query.get("prerelease", "").lower() == "true"
    semver2 = query.get("semVerLevel", "").startswith("2")
    return [
        package
        for package in held
        if package.listed and (prerelease or not is_prerelease(package.version)) and (semver2 or not package.semver2)
    ]


def _matches(package: Held, term: str) -> bool:
    field, colon, value = term.partition(":")
    if colon and field.lower() == "packageid":
        return package.lower == value.lower()
    if colon and field.lower() == "id":
        return value.lower() in package.lower
    text = " ".join([package.id, *(package.fields.get(name, "") for name in ("title", "description", "tags"))])
    return term.lower() in text.lower()


def _found(packages: Packages, query: Mapping[str, str]) -> Iterator[list[Held]]:
    terms = query.get("q", "").split()
    package_type = query.get("packageType", "").lower()
    for _, held in sorted(packages.items()):
        visible = _visible(held, query)
        if not visible or not all(_matches(visible[-1], term) for term in terms):
            continue
        if not package_type or package_type in {name.lower() for name in visible[-1].types}:
            yield visible


def _result(root: str, base: str, visible: Sequence[Held]) -> Json:
    newest = visible[-1]
    fields = newest.fields
    folder = f"{base}/{newest.lower}"
    icon = f"{root}{FLAT}/{newest.lower}/{newest.url_version}/icon" if "icon" in fields else fields.get("iconUrl", "")
    return {
        "@id": f"{folder}/index.json",
        "@type": "Package",
        "registration": f"{folder}/index.json",
        "id": newest.id,
        "version": newest.version,
        "description": fields.get("description", ""),
        "summary": fields.get("summary", ""),
        "title": fields.get("title", newest.id),
        "iconUrl": icon,
        "licenseUrl": fields.get("licenseUrl", ""),
        "projectUrl": fields.get("projectUrl", ""),
        "tags": fields.get("tags", "").split(),
        "authors": [fields.get("authors", "")],
        "owners": [fields.get("owners", "")],
        "totalDownloads": 100 * len(visible),
        "verified": False,
        "packageTypes": [{"name": name} for name in newest.types],
        "versions": [
            {"version": package.version, "downloads": 100, "@id": f"{folder}/{package.url_version}.json"}
            for package in visible
        ],
        "vulnerabilities": [],
    }


def search(root: str, packages: Packages, query: Mapping[str, str]) -> Json:
    """The answer of SearchQueryService; BadQuery for parameters out of range."""
    window = _window(query)
    hive = "gz-semver2" if query.get("semVerLevel", "").startswith("2") else "gz-semver1"
    base = f"{root}{HIVES[hive]}"
    found = list(_found(packages, query))
    return {
        "@context": {"@vocab": "http://schema.nuget.org/schema#", "@base": f"{base}/"},
        "totalHits": len(found),
        "data": [_result(root, base, visible) for visible in found[window]],
    }


def autocomplete(packages: Packages, query: Mapping[str, str]) -> Json:
    """The answer of SearchAutocompleteService: versions of an id, or ids that contain a text."""
    context = {"@vocab": "http://schema.nuget.org/schema#"}
    if "id" in query and "q" not in query:
        visible = _visible(packages.get(query["id"].lower(), ()), query)
        return {"@context": context, "data": [package.normalized for package in visible]}
    window = _window(query)
    text = query.get("q", "").lower()
    found = [visible[-1].id for visible in _found(packages, {**query, "q": ""}) if text in visible[-1].lower]
    return {"@context": context, "totalHits": len(found), "data": found[window]}
