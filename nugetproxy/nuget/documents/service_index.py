"""The service index as our clients see it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from nugetproxy.nuget.documents.exact_json import dumps
from nugetproxy.nuget.resources import BY_NAME, HIVES, Resource, Shape
from nugetproxy.nuget.services import Offer, ServiceMap


def render_index(services: ServiceMap, base: str, *, secure: bool) -> bytes:
    """The service index for clients that know us as ``base`` (``.../v3/``), reached over https if ``secure``.

    Every ``@type`` that we serve is kept with all its other properties; entries that differ only in upstream's
    ``@id`` (its failover list) become one, because the failover happens here. A flat container is offered wherever
    there are registrations, which say the same: half of the clients cannot live without it.
    """
    seen: set[tuple[str, bytes, str]] = set()
    resources = [entry for offer in services.offers for entry in _entries(services, offer, base, secure, seen)]
    if not services.has("content") and any(services.has(hive) for hive in HIVES):
        row = BY_NAME["content"]
        resources.append({"@id": base + row.path, "@type": row.types[0]})
    return dumps({**services.index, "resources": resources})


def _entries(
    services: ServiceMap, offer: Offer, base: str, secure: bool, seen: set[tuple[str, bytes, str]]
) -> Iterator[dict[str, Any]]:
    """What becomes of one entry: one entry per resource of ours that its types belong to."""
    client = dumps(offer.properties.get("clientVersion"))
    for name, types in offer.resources.items():
        row = BY_NAME[name]
        url = _published_url(services, row, offer, base, secure)
        if url is None:
            continue
        # Only the two display templates share a row and differ in their place.
        place = url if name == "display" else ""
        fresh = [kind for kind in types if (kind, client, place) not in seen]
        if not fresh:
            continue
        seen.update((kind, client, place) for kind in fresh)
        stated: Any = fresh if isinstance(offer.properties.get("@type"), list) else fresh[0]
        yield {**offer.properties, "@id": url, "@type": stated}


def _published_url(services: ServiceMap, row: Resource, offer: Offer, base: str, secure: bool) -> str | None:
    """The ``@id`` that we publish, None for what this client must not be told."""
    if row.secure_only and not secure:
        return None
    if row.shape is Shape.WEB:
        # NuGet 7 refuses every http resource of an https source.
        return None if secure and offer.url[:6].lower() != "https:" else offer.url
    if row.name == "display":
        local = services.template_to_local(offer.url)
        return None if local is None else base + local
    return base + row.path
