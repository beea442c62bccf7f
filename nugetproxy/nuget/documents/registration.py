"""Registrations: where their URLs are, which pages they have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from msgspec import Struct

from nugetproxy.nuget.documents.exact_json import as_object, loads, objects
from nugetproxy.nuget.documents.rewrite import (
    Field,
    Fields,
    Rewriter,
    base,
    content,
    content_identity,
    follows,
    shown,
)
from nugetproxy.nuget.identity import Version
from nugetproxy.nuget.kinds import Kind
from nugetproxy.nuget.urls import absolute, without_fragment

_INDEX = Field(follows(Kind.REGISTRATION))
_SHOWN = Field(shown)

CONTEXT = Field(inner={"@base": Field(base)})
DEPENDENCY_GROUPS = Field(inner={"@id": _SHOWN, "dependencies": Field(inner={"@id": _SHOWN, "registration": _INDEX})})
DEPRECATION = Field(inner={"@id": _SHOWN, "alternatePackage": Field(inner={"@id": _SHOWN})})


def _page_id(rewriter: Rewriter, page: dict[str, Any], url: str) -> str:
    """The rule for the ``@id`` of a page in an index: one that is inlined mostly names a place in the index."""
    target, _, fragment = url.partition("#")
    target = absolute(target, rewriter.view.url) or target
    parent = page.get("parent")
    indexes = (rewriter.view.url, absolute(parent, rewriter.view.url) if isinstance(parent, str) else None)
    here = bool(fragment) or any(target == without_fragment(index) for index in indexes if index)
    inlined = isinstance(page.get("items"), list)
    return rewriter.follow(Kind.REGISTRATION if inlined and here else Kind.REGISTRATION_PAGE, url)


_ENTRY: Fields = {
    "packageContent": Field(content),
    "@id": _SHOWN,
    "iconUrl": _SHOWN,
    "licenseUrl": _SHOWN,
    "readmeUrl": _SHOWN,
    "dependencyGroups": DEPENDENCY_GROUPS,
    "deprecation": DEPRECATION,
    "vulnerabilities": Field(inner={"@id": _SHOWN}),
}
LEAF: Fields = {
    # A leaf may be its own catalog entry; ours are, when they are made here.
    **_ENTRY,
    "@context": CONTEXT,
    "@id": Field(follows(Kind.REGISTRATION_LEAF)),
    "registration": _INDEX,
    # An object in pages; in a leaf document the URL of the catalog's leaf, which PSResourceGet fetches.
    "catalogEntry": Field(follows(Kind.REGISTRATION_LEAF), _ENTRY),
}
PAGE: Fields = {
    "@context": CONTEXT,
    "@id": Field(follows(Kind.REGISTRATION_PAGE)),
    "parent": _INDEX,
    "items": Field(inner=LEAF),
}
INDEX: Fields = {
    "@context": CONTEXT,
    "@id": _INDEX,
    "items": Field(inner={**PAGE, "@id": Field(_page_id)}),
}


def fields_of(kind: Kind, document: Any) -> Fields:
    """Where the URLs are in a registration document by what it is, whatever it was asked for as."""
    if not isinstance(document, dict):
        return LEAF
    items = document.get("items")
    if not isinstance(items, list) and (kind is Kind.REGISTRATION_LEAF or is_leaf(document)):
        return LEAF
    found = list(objects(items))
    if any(isinstance(item.get("items"), list) or "lower" in item for item in found):
        return INDEX
    if found and all(is_leaf(item) for item in found):
        return PAGE
    return PAGE if kind is Kind.REGISTRATION_PAGE else INDEX


def is_leaf(item: dict[str, Any]) -> bool:
    """True for what says something of a package; a leaf may be the catalog entry itself."""
    return "catalogEntry" in item or "packageContent" in item or ("id" in item and "version" in item)


def is_empty(document: Any) -> bool:
    """True when a registration index (or page) neither has a leaf nor names a page that may have one."""
    items = document.get("items") if isinstance(document, dict) else None
    if not isinstance(items, list):
        return False
    return not any(is_leaf(item) or _may_have_leaves(item) for item in objects(items))


def _may_have_leaves(page: dict[str, Any]) -> bool:
    items = page.get("items")
    return bool(items) if isinstance(items, list) else "@id" in page


class PageRef(Struct, frozen=True):
    """A page that a document names without holding it."""

    url: str
    """Absolute, without fragment."""
    commit: str
    """What identifies the state that the page should be in; empty if that is not said."""


def registration_pages(body: bytes, url: str) -> tuple[PageRef, ...]:
    """The pages of the registration index ``body`` (which came from ``url``) that it does not hold itself.

    Raises InvalidDocument.
    """
    here = without_fragment(url)
    found: dict[str, PageRef] = {}
    for page in objects(_index(body).get("items")):
        stated = page.get("@id")
        held = isinstance(page.get("items"), list) or is_leaf(page)
        target = absolute(stated, url) if isinstance(stated, str) and not held else None
        if target is not None and (target := without_fragment(target)) != here:
            found.setdefault(target, PageRef(target, _commit(page)))
    return tuple(found.values())


def page_commit(body: bytes) -> str:
    """What identifies the state of the registration page ``body``, as in ``PageRef.commit``. Raises InvalidDocument."""
    return _commit(_index(body))


def stated_content(body: bytes, version: Version, url: str) -> str | None:
    """The absolute ``packageContent`` URL that a registration index, page or leaf states for ``version``.

    ``url`` is where the document came from. Raises InvalidDocument.
    """
    document = _index(body)
    for leaf in leaves(document):
        entry = entry_of(leaf)
        stated = leaf.get("packageContent") or entry.get("packageContent")
        target = absolute(stated, url) if isinstance(stated, str) else None
        if target is None:
            continue
        target = without_fragment(target)
        named = _version(entry.get("version") or leaf.get("version"), target)
        # A leaf document need not name its version: whoever asked for it knows.
        if named == version or (named is None and leaf is document):
            return target
    return None


def stated_sha512(body: bytes, version: Version) -> str | None:
    """The base64 SHA-512 (``packageHash``) that a registration index, page or leaf states for ``version``.

    nuget.org states it in catalog leaves only, other feeds in the registration. Raises InvalidDocument.
    """
    for leaf in leaves(_index(body)):
        entry = entry_of(leaf)
        stated, algorithm = entry.get("packageHash"), entry.get("packageHashAlgorithm", "SHA512")
        if isinstance(stated, str) and algorithm == "SHA512" and _version(entry.get("version"), "") == version:
            return stated
    return None


def stated_catalog_leaf(body: bytes, version: Version, url: str) -> str | None:
    """The absolute URL of the catalog leaf that the registration leaf ``body`` (of ``version``) names.

    ``url`` is where the document came from. Raises InvalidDocument.
    """
    for leaf in leaves(_index(body)):
        entry = leaf.get("catalogEntry")
        stated = entry.get("@id") if isinstance(entry, dict) else entry
        named = _version(entry.get("version"), "") if isinstance(entry, dict) else version
        if isinstance(stated, str) and named == version:
            return absolute(stated, url)
    return None


def newest_version(documents: Iterable[bytes]) -> str:
    """The newest version in registration indexes and pages, in URL form; empty where they have none.

    A listed one wins over an unlisted, then a release over a prerelease, as in the gallery's download by id. Raises
    InvalidDocument.
    """
    found: list[tuple[bool, bool, Version]] = []
    for leaf in (leaf for body in documents for leaf in leaves(_index(body))):
        version = leaf_version(leaf)
        if version is not None:
            found.append((entry_of(leaf).get("listed", True) is not False, not version.is_prerelease, version))
    return max(found)[2].url if found else ""


def leaves(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The leaves in an index (of its inlined pages) or in a page; a leaf document is its own only leaf."""
    if not isinstance(document.get("items"), list):
        yield document
        return
    for item in objects(document["items"]):
        if isinstance(item.get("items"), list):
            yield from objects(item["items"])
        elif is_leaf(item):
            yield item


def entry_of(leaf: dict[str, Any]) -> dict[str, Any]:
    """What a leaf says of its package: its catalog entry, or itself where that is named by its URL or not at all."""
    entry = leaf.get("catalogEntry")
    return entry if isinstance(entry, dict) else leaf


def leaf_version(leaf: dict[str, Any]) -> Version | None:
    """The version that a leaf is about; None where it does not say."""
    entry = entry_of(leaf)
    content_url = leaf.get("packageContent") or entry.get("packageContent")
    return _version(entry.get("version"), content_url if isinstance(content_url, str) else "")


def registration_versions(documents: Iterable[bytes]) -> tuple[Version, ...]:
    """All versions in a registration's index and pages, listed or not, ascending, each once. Raises InvalidDocument.

    For the version list of a feed that has no flat container.
    """
    found = (leaf_version(leaf) for body in documents for leaf in leaves(_index(body)))
    return tuple(sorted({version for version in found if version is not None}))


def pages_with(body: bytes, version: Version, url: str) -> tuple[PageRef, ...]:
    """The pages that the index ``body`` (which came from ``url``) does not hold itself and that may have ``version``.

    By their bounds; a page that states none may have everything. Raises InvalidDocument.
    """
    bounds: dict[str, tuple[Version | None, Version | None]] = {}
    for page in objects(_index(body).get("items")):
        target = absolute(page["@id"], url) if isinstance(page.get("@id"), str) else None
        if target is not None:
            bounds.setdefault(without_fragment(target), (_bound(page, "lower"), _bound(page, "upper")))
    return tuple(page for page in registration_pages(body, url) if _is_within(version, *bounds[page.url]))


def _bound(page: dict[str, Any], name: str) -> Version | None:
    stated = page.get(name)
    return Version.parse(stated) if isinstance(stated, str) else None


def _is_within(version: Version, lower: Version | None, upper: Version | None) -> bool:
    return (lower is None or lower <= version) and (upper is None or version <= upper)


def _version(stated: object, content_url: str) -> Version | None:
    if isinstance(stated, str):
        return Version.parse(stated)
    identity = content_identity(content_url)
    return Version.parse(identity.version) if identity is not None else None


def _index(body: bytes) -> dict[str, Any]:
    return as_object(loads(body), "the registration")


def _commit(document: dict[str, Any]) -> str:
    words = (document.get("commitTimeStamp"), document.get("commitId"))
    return "".join(word for word in words if isinstance(word, str))
