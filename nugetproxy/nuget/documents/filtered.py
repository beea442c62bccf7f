"""Documents without the versions that do not exist for a feed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from enum import StrEnum
from typing import Any

from msgspec import Struct

from nugetproxy.nuget.documents.exact_json import as_object, dumps, loads_exact, objects
from nugetproxy.nuget.documents.registration import entry_of, is_leaf, leaf_version, leaves
from nugetproxy.nuget.documents.total_hits import total_hits
from nugetproxy.nuget.identity import invariant_lower
from nugetproxy.nuget.merging.search import Window, data_of
from nugetproxy.nuget.urls import without_fragment
from nugetproxy.nuget.version import Version

Json = dict[str, Any]
Visible = Collection[str]
"""The versions (in URL form) of the id in question that exist."""
Exists = Callable[[str, Version], bool]
"""(id in lower case, version) -> whether it exists."""
Told = Callable[[str, Version], Json]
"""(id in lower case, version) -> the fields that say of it what search results say of their newest version."""


class Named(Struct, frozen=True):
    """A version that a document names."""

    id: str
    """Lower case; empty where the document leaves it to whoever asked."""
    version: Version
    at_latest: str = ""
    """A date by which it existed, as upstream wrote it."""


def without_versions(body: bytes, visible: Visible) -> bytes | None:
    """A version list; None where nothing of it is left. Raises InvalidDocument."""
    document = _object(body)
    listed = document.get("versions")
    kept = [text for text in listed if _shown(text, visible)] if isinstance(listed, list) else []
    return dumps({**document, "versions": kept}) if kept else None


def page_without_versions(body: bytes, visible: Visible) -> bytes | None:
    """A registration page with its count, its bounds; None where nothing of it is left. Raises InvalidDocument."""
    page = _page(_object(body), visible)
    return None if page is None else dumps(page)


def index_without_versions(body: bytes, pages: Mapping[str, bytes | None], visible: Visible) -> bytes | None:
    """A registration index; None where nothing of it is left. Raises InvalidDocument.

    ``pages`` that it does not hold itself, without those versions, by their URLs; None stands for one that is empty.
    """
    document = _object(body)
    items = []
    for item in objects(document.get("items")):
        if is_leaf(item) and not isinstance(item.get("items"), list):
            kept = item if _exists(item, visible) else None
        elif isinstance(item.get("items"), list):
            kept = _page(item, visible)
        else:
            kept = _named_page(item, pages)
        if kept is not None:
            items.append(kept)
    return dumps({**document, **_counted(document, len(items)), "items": items}) if items else None


class Form(StrEnum):
    """What a document is by its content; what a link leads to, nothing else tells."""

    LIST = "list"
    INDEX = "index"
    PAGE = "page"
    LEAF = "leaf"


class Registered(Struct, frozen=True):
    """What a document names itself."""

    form: Form
    named: tuple[Named, ...]
    """By a leaf: one at most."""


def listed(body: bytes) -> Registered:
    """What a version list, or an autocompletion of versions, names. Raises InvalidDocument."""
    document = _object(body)
    texts = document.get("versions", document.get("data"))
    found = (_parsed(text) for text in texts) if isinstance(texts, list) else ()
    return Registered(Form.LIST, tuple(Named("", version) for version in found if version is not None))


def registered(body: bytes) -> Registered:
    """Of a registration index (with its inlined pages), page or leaf. Raises InvalidDocument."""
    document = _object(body)
    found = []
    for leaf in leaves(document):
        version = leaf_version(leaf)
        id_ = entry_of(leaf).get("id")
        if version is not None:
            found.append(Named(invariant_lower(id_) if isinstance(id_, str) else "", version))
    return Registered(_form(document), tuple(found))


def _form(document: Json) -> Form:
    items = document.get("items")
    if not isinstance(items, list):
        return Form.LEAF
    pages = any(isinstance(item.get("items"), list) or "lower" in item for item in objects(items))
    return Form.INDEX if pages or not items else Form.PAGE


def hits_of(body: bytes) -> Mapping[str, tuple[Version, ...]]:
    """The ids (lower case) of a search result or an autocompletion of ids, with the versions that it names of them.

    Raises InvalidDocument.
    """
    found: dict[str, tuple[Version, ...]] = {}
    for hit in data_of(_object(body)):
        id_ = hit.get("id") if isinstance(hit, dict) else hit
        if isinstance(id_, str):
            stated = (hit, *objects(hit.get("versions"))) if isinstance(hit, dict) else ()
            versions = (_parsed(one.get("version")) for one in stated)
            found[invariant_lower(id_)] = tuple(version for version in versions if version is not None)
    return found


def search_without_versions(body: bytes, window: Window, exists: Exists, told: Told) -> bytes:
    """The part of a search result that was asked for; ``body`` has all hits before it. Raises InvalidDocument."""
    document = _object(body)
    hits = data_of(document)
    kept = [one for hit in hits if isinstance(hit, dict) and (one := _hit(hit, exists, told)) is not None]
    return _windowed(document, kept, len(hits) - len(kept), window)


def ids_without_versions(body: bytes, window: Window, has_any: Callable[[str], bool]) -> bytes:
    """The part of an autocompletion of ids that was asked for, as for a search. Raises InvalidDocument."""
    document = _object(body)
    ids = data_of(document)
    kept = [id_ for id_ in ids if isinstance(id_, str) and has_any(invariant_lower(id_))]
    return _windowed(document, kept, len(ids) - len(kept), window)


def completed_without_versions(body: bytes, visible: Visible) -> bytes:
    """An autocompletion of the versions of an id. Raises InvalidDocument."""
    document = _object(body)
    data = [text for text in data_of(document) if _shown(text, visible)]
    total = {"totalHits": len(data)} if "totalHits" in document else {}
    return dumps({**document, **total, "data": data})


def catalogued(body: bytes) -> tuple[Named, ...]:
    """The versions that a page of the catalog names, those aside that it says to be deleted. Raises InvalidDocument."""
    return tuple(named for item in objects(_object(body).get("items")) if (named := _catalogued(item)) is not None)


def catalog_without_versions(body: bytes, exists: Exists) -> bytes:
    """A page of the catalog. Raises InvalidDocument."""
    document = _object(body)
    items = document.get("items")
    kept = []
    for item in items if isinstance(items, list) else ():
        named = _catalogued(item) if isinstance(item, dict) else None
        if named is None or exists(named.id, named.version):
            kept.append(item)
    return dumps({**document, **_counted(document, len(kept)), "items": kept})


def catalog_leaf(body: bytes) -> Named | None:
    """What a leaf of the catalog is about, as far as it is one. Raises InvalidDocument."""
    document = _object(body)
    return None if _is_delete(document) else _named(document.get("id"), document.get("version"))


def _catalogued(item: Json) -> Named | None:
    return (
        None
        if _is_delete(item)
        else _named(item.get("nuget:id"), item.get("nuget:version"), item.get("commitTimeStamp"))
    )


def _is_delete(item: Json) -> bool:
    return "PackageDelete" in str(item.get("@type", ""))


def _named(id_: Any, version: Any, at_latest: Any = "") -> Named | None:
    parsed = Version.parse(version) if isinstance(version, str) else None
    if parsed is None or not isinstance(id_, str):
        return None
    return Named(invariant_lower(id_), parsed, at_latest if isinstance(at_latest, str) else "")


def _page(page: Json, visible: Visible) -> Json | None:
    items = page.get("items")
    kept = [item for item in objects(items) if _exists(item, visible)]
    versions = sorted(version for item in kept if (version := leaf_version(item)) is not None)
    if not kept:
        return None
    if len(kept) == (len(items) if isinstance(items, list) else 0):
        return page
    bounds = {"lower": versions[0].normalized, "upper": versions[-1].normalized} if versions else {}
    return {**page, **_counted(page, len(kept)), "items": kept, **bounds}


def _named_page(item: Json, pages: Mapping[str, bytes | None]) -> Json | None:
    """What an index says of a page, as the page itself says it."""
    url = item.get("@id")
    body = pages.get(without_fragment(url)) if isinstance(url, str) else None
    if body is None:
        return None
    page = _object(body)
    return {**item, **{name: page[name] for name in ("count", "lower", "upper") if name in page and name in item}}


def _counted(document: Json, count: int) -> Json:
    return {"count": count} if "count" in document else {}


def _hit(hit: Json, exists: Exists, told: Told) -> Json | None:
    """A hit with the versions that exist; its newest one is the newest of those. None where there is none."""
    id_, stated = hit.get("id"), hit.get("version")
    if not isinstance(id_, str):
        return None
    key = invariant_lower(id_)
    listed = hit.get("versions")
    kept = [
        (version, item)
        for item in objects(listed)
        if (version := _parsed(item.get("version"))) is not None and exists(key, version)
    ]
    newest = _parsed(stated)
    if newest is not None and exists(key, newest):
        return {**hit, "versions": [item for _, item in kept]} if isinstance(listed, list) else hit
    if not kept:
        return None
    version, item = max(kept, key=lambda one: one[0])
    said = {name: value for name, value in hit.items() if name not in {"deprecation", "vulnerabilities"}}
    return {**said, "version": item["version"], "versions": [one for _, one in kept], **told(key, version)}


def _windowed(document: Json, kept: Sequence[Any], hidden: int, window: Window) -> bytes:
    shown = kept[window.skip : window.skip + window.take]
    total = total_hits(document)
    least = window.skip + len(shown) if shown else 0
    counted = {} if total is None else {"totalHits": max(total - hidden, least)}
    return dumps({**document, **counted, "data": list(shown)})


def _shown(text: Any, visible: Visible) -> bool:
    version = _parsed(text)
    return version is not None and version.url in visible


def _exists(leaf: Json, visible: Visible) -> bool:
    version = leaf_version(leaf)
    return version is not None and version.url in visible


def _parsed(text: Any) -> Version | None:
    return Version.parse(text) if isinstance(text, str) else None


def _object(body: bytes) -> Json:
    return as_object(loads_exact(body), "the document")
