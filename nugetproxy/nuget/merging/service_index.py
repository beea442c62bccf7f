"""The service index of a feed with several sources."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nugetproxy.nuget.documents.exact_json import dumps, loads_exact
from nugetproxy.nuget.resources import BY_NAME, HIVES, RESOURCES, Resource, Shape
from nugetproxy.nuget.services import ServiceMap

Json = dict[str, Any]


def merged_resources(sources: Sequence[ServiceMap], advisories: Sequence[ServiceMap] = ()) -> frozenset[str]:
    """The registry rows that a feed of these sources can answer for reads.

    A row that one source has; never repository signatures (packages of another source need not have any), the catalog
    (several have no common order) or web pages (a browser would ask one registry for another one's packages). What has
    registrations has a version list. ``advisories`` are asked for vulnerabilities only.
    """
    names = {name for services in sources for name in services.resources if _is_merged(BY_NAME[name])}
    if any(services.has("vulnerabilities") for services in advisories):
        names.add("vulnerabilities")
    if names & set(HIVES):
        names.add("content")
    if "content" in names:
        names.add("readme")
    return frozenset(names)


def render_merged_index(
    sources: Sequence[ServiceMap],
    base: str,
    *,
    advisories: Sequence[ServiceMap] = (),
    writes: ServiceMap | None = None,
) -> bytes:
    """The service index for clients that know the feed as ``base`` (``.../v3/``).

    ``writes`` are the services of the one source that takes pushes, if there is one; ``advisories`` those that are
    asked for vulnerabilities only. Each type is there once, as the first source that has it spells its properties.
    """
    offered = merged_resources(sources, advisories)
    stated = _properties([*sources, *advisories])
    written = _properties([writes] if writes is not None else [])
    resources: list[Json] = []
    for row in RESOURCES:
        if row.name in offered:
            types = [kind for kind in row.types if kind in stated] or list(row.types[:1])
            resources.extend(_entry(row, kind, stated.get(kind, {}), base) for kind in types)
        elif row.shape is Shape.WRITE:
            resources.extend(_entry(row, kind, written[kind], base) for kind in row.types if kind in written)
    return dumps({"version": "3.0.0", "resources": resources})


def with_advisories(index: bytes, base: str) -> bytes:
    """The rendered ``index`` of a feed that has advisories of others beside its own."""
    document, row = loads_exact(index), BY_NAME["vulnerabilities"]
    if not any(entry.get("@type") in row.types for entry in document["resources"]):
        document["resources"].append(_entry(row, row.types[0], {}, base))
    return dumps(document)


def _is_merged(row: Resource) -> bool:
    read = row.shape in {Shape.BASE, Shape.ENDPOINT, Shape.DOCUMENT}
    return read and not any(kind.row.unmerged for kind in row.routes.values())


def _properties(sources: Sequence[ServiceMap]) -> Mapping[str, Mapping[str, Any]]:
    """Type -> the entry of the first source that has it."""
    found: dict[str, Mapping[str, Any]] = {}
    for kind, properties in _offers(sources):
        found.setdefault(kind, properties)
    return found


def _offers(sources: Sequence[ServiceMap]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for services in sources:
        for offer in services.offers:
            for types in offer.resources.values():
                yield from ((kind, offer.properties) for kind in types)


def _entry(row: Resource, kind: str, stated: Mapping[str, Any], base: str) -> Json:
    client = {"clientVersion": stated["clientVersion"]} if "clientVersion" in stated else {}
    return {"@id": base + row.path, "@type": kind, **client}
