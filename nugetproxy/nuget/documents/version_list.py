"""The version list of a package, in the one form that every client can read."""

from __future__ import annotations

from typing import Any

from nugetproxy.nuget.documents.exact_json import InvalidDocument, dumps, loads, loads_exact
from nugetproxy.nuget.identity import Version
from nugetproxy.nuget.version import in_order, place_of


def listed_versions(body: bytes) -> tuple[tuple[str, Version], ...]:
    """(upstream's spelling, version) of the version list ``body``: ascending, each version once, no garbage.

    Of several spellings of one version the first counts. Raises InvalidDocument.
    """
    return _sorted(_strings(loads(body)))


def names_nothing(body: bytes) -> bool:
    """True for the version list of an id that has no version. Raises InvalidDocument."""
    return not _strings(loads(body))


def render_versions(body: bytes) -> tuple[bytes, tuple[str, ...]]:
    """The list normalised, lower case, ascending, each once; beside it what was dropped because nobody can parse it.

    One bad element makes the official client refuse the whole list. Raises InvalidDocument.
    """
    document = loads(body)
    listed = _strings(document)
    if len(document) > 1:  # what else it says may have numbers in it
        document = loads_exact(body)
    document["versions"], dropped = in_order(listed)
    return dumps(document), tuple(dropped)


def check_versions(document: Any) -> None:
    """Raises InvalidDocument unless ``document`` is a version list of which something can be used, or empty."""
    listed = _strings(document)
    if listed and not any(place_of(text) for text in listed):
        raise InvalidDocument("nothing in the version list is a version")


def _strings(document: Any) -> list[str]:
    listed = document.get("versions") if isinstance(document, dict) else None
    if listed is None and isinstance(document, dict) and "versions" in document:
        return []  # as Go writes an empty list
    if not isinstance(listed, list) or not {*map(type, listed)} <= {str}:
        raise InvalidDocument("not an object with a list of strings called versions")
    return listed


def _sorted(listed: list[str]) -> tuple[tuple[str, Version], ...]:
    found: dict[Version, str] = {}
    for text in listed:
        version = Version.parse(text)
        if version is not None:
            found.setdefault(version, text)
    return tuple((found[version], version) for version in sorted(found))
