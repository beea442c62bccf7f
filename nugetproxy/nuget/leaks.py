"""Leaks are URLs in what we publish that lead clients elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from msgspec import Struct

from nugetproxy.nuget.resources import BY_TYPE, Shape


class Verdict(StrEnum):
    """What is to be thought of a URL."""

    LEAK = "LEAK"
    """A client may follow it, and leaves the proxy."""
    BROKEN = "BROKEN"
    """It leads to us, and we do not answer."""
    WEB = "web page"
    """A browser opens it; a restore never does."""
    INFORMATION = "information"
    """It is there to be read or compared."""
    OURS = "ours"


class Sighting(Struct, frozen=True):
    """One URL in one document."""

    verdict: Verdict
    why: str
    field: str
    """The names that lead to it, as in ``items.catalogEntry.projectUrl``."""
    url: str


_WEB: Mapping[str, str] = MappingProxyType(
    {
        "projectUrl": "the project's own page",
        "licenseUrl": "the text of a licence",
        "advisoryUrl": "the page of a security advisory",
        "url": "the page of a security advisory",
        "galleryDetailsUrl": "the package's page in the gallery",
        "reportAbuseUrl": "the page where abuse is reported",
    }
)
_INFORMATION: Mapping[str, str] = MappingProxyType(
    {
        "iconUrl": "a picture that Visual Studio shows",
        "readmeUrl": "a text that Visual Studio shows",
        "contentUrl": "where a signing certificate can be had; NuGet wants it to be https and never fetches it",
        "@type": "the name of a type",
        "@vocab": "the name of a vocabulary",
    }
)
_IDENTIFIERS = frozenset(
    {
        "catalogEntry",
        "dependencyGroups",
        "dependencies",
        "packageEntries",
        "packageTypes",
        "deprecation",
        "alternatePackage",
        "vulnerabilities",
    }
)
"""The ``@id`` of these objects is a name; nobody fetches it."""
_TEXTS = frozenset(
    {"description", "summary", "releaseNotes", "title", "copyright", "message", "tags", "authors", "owners", "comment"}
)
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{1,20}://\S+")


def index_sightings(index: Mapping[str, Any], base: str) -> Iterator[Sighting]:
    """What the resources of our service index lead to; ``base`` is our own URL, up to and with ``/v3/``."""
    for entry in index.get("resources", ()):
        url, stated = str(entry.get("@id", "")), entry.get("@type", "")
        types = stated if isinstance(stated, list) else [stated]
        for name in types:
            row = BY_TYPE.get(name)
            if url.startswith(base):
                yield Sighting(Verdict.OURS, "", name, url)
            elif row is not None and row.shape is Shape.WEB:
                yield Sighting(Verdict.WEB, "a template whose outcome a browser opens", name, url)
            else:
                yield Sighting(Verdict.LEAK, "clients ask what this resource names", name, url)


def document_sightings(document: Any, root: str) -> Iterator[Sighting]:
    """Every URL in a JSON document of ours; ``root`` is what all URLs of ours begin with."""
    for path, text in _strings(document, ()):
        if _URL.fullmatch(text) is not None:
            yield _judge(path, text, root)


def _judge(path: tuple[str, ...], url: str, root: str) -> Sighting:
    name, field = (path[-1] if path else ""), ".".join(path)
    if url.startswith(root):
        return Sighting(Verdict.OURS, "", field, url)
    if name in _TEXTS:
        return Sighting(Verdict.INFORMATION, "a text that mentions it", field, url)
    if "@context" in path and name != "@base":
        return Sighting(Verdict.INFORMATION, "the name of a vocabulary", field, url)
    if name in _INFORMATION:
        return Sighting(Verdict.INFORMATION, _INFORMATION[name], field, url)
    if name in _WEB:
        return Sighting(Verdict.WEB, _WEB[name], field, url)
    if name == "@id" and len(path) > 1 and path[-2] in _IDENTIFIERS:
        return Sighting(Verdict.INFORMATION, "the name of an object", field, url)
    return Sighting(Verdict.LEAK, "a field that clients follow, or that is not known", field, url)


def _strings(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _strings(inner, (*path, name))
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner, path)
