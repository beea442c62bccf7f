"""Documents of the NuGet V3 protocol: one import for whoever reads, checks or renders them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from nugetproxy.nuget.documents.bounds import Bounds
from nugetproxy.nuget.documents.check import check
from nugetproxy.nuget.documents.exact_json import InvalidDocument, dumps, loads, loads_exact, without_bom
from nugetproxy.nuget.documents.registration import (
    CONTEXT,
    DEPENDENCY_GROUPS,
    DEPRECATION,
    INDEX,
    LEAF,
    PAGE,
    PageRef,
    fields_of,
    is_empty,
    leaf_version,
    leaves,
    newest_version,
    page_commit,
    registration_pages,
    stated_catalog_leaf,
    stated_content,
    stated_sha512,
)
from nugetproxy.nuget.documents.rewrite import (
    Field,
    Fields,
    Link,
    Rewriter,
    View,
    content,
    follows,
    locate,
    rewrite,
    shown,
)
from nugetproxy.nuget.documents.service_index import render_index
from nugetproxy.nuget.documents.version_list import listed_versions, render_versions
from nugetproxy.nuget.kinds import Kind
from nugetproxy.nuget.services import ServiceMap, parse_service_index
from nugetproxy.nuget.urls import absolute, without_fragment

__all__ = [
    "PAGES",
    "Bounds",
    "InvalidDocument",
    "Link",
    "PageRef",
    "Rendered",
    "ServiceMap",
    "View",
    "check",
    "listed_versions",
    "locate",
    "newest_version",
    "page_commit",
    "parse_service_index",
    "registration_pages",
    "render",
    "render_index",
    "stated_catalog_leaf",
    "stated_content",
    "stated_sha512",
    "stored_leaves",
    "vulnerability_pages",
]

_SHOWN = Field(shown)

_SEARCH: Fields = {
    "@context": CONTEXT,
    "data": Field(
        inner={
            "packageContent": Field(content),
            "@id": Field(follows(Kind.REGISTRATION)),
            "registration": Field(follows(Kind.REGISTRATION)),
            "iconUrl": _SHOWN,
            "licenseUrl": _SHOWN,
            "readmeUrl": _SHOWN,
            "versions": Field(inner={"@id": Field(follows(Kind.REGISTRATION_LEAF))}),
            "deprecation": DEPRECATION,
        }
    ),
}
_VULNERABILITIES: Fields = {"@id": Field(follows(Kind.VULNERABILITY_PAGE))}
_CATALOG: Fields = {
    "@context": CONTEXT,
    "@id": Field(follows(Kind.CATALOG)),
    "items": Field(inner={"@id": Field(follows(Kind.CATALOG_PAGE)), "parent": Field(follows(Kind.CATALOG))}),
}
_CATALOG_PAGE: Fields = {
    "@context": CONTEXT,
    "@id": Field(follows(Kind.CATALOG_PAGE)),
    "parent": Field(follows(Kind.CATALOG)),
    "items": Field(inner={"@id": Field(follows(Kind.CATALOG_LEAF)), "parent": Field(follows(Kind.CATALOG_PAGE))}),
}
_CATALOG_LEAF: Fields = {
    "packageContent": Field(content),
    "@context": CONTEXT,
    "@id": Field(follows(Kind.CATALOG_LEAF)),
    "parent": Field(follows(Kind.CATALOG_PAGE)),
    "iconUrl": _SHOWN,
    "licenseUrl": _SHOWN,
    "readmeUrl": _SHOWN,
    "dependencyGroups": DEPENDENCY_GROUPS,
    "packageEntries": Field(inner={"@id": _SHOWN}),
    "packageTypes": Field(inner={"@id": _SHOWN}),
    "deprecation": DEPRECATION,
    "vulnerabilities": Field(inner={"@id": _SHOWN}),
}

FIELDS: dict[Kind, Fields] = {
    Kind.REGISTRATION: INDEX,
    Kind.REGISTRATION_PAGE: PAGE,
    Kind.REGISTRATION_LEAF: LEAF,
    Kind.SEARCH: _SEARCH,
    Kind.VULNERABILITIES: _VULNERABILITIES,
    Kind.CATALOG: _CATALOG,
    Kind.CATALOG_PAGE: _CATALOG_PAGE,
    Kind.CATALOG_LEAF: _CATALOG_LEAF,
}
"""Where the URLs are, in the kinds of documents that have any; of other JSON only a byte order mark goes."""


class Rendered(Struct, frozen=True):
    """A document as one client sees it."""

    body: bytes
    links: tuple[Link, ...] = ()
    """Opaque links in ``body``; they must be kept before it is sent."""
    dropped: tuple[str, ...] = ()
    """Elements of a version list that are no versions, for the log."""
    empty: bool = False
    """A registration without any leaf: there is no such package."""


def render(kind: Kind, body: bytes, view: View) -> Rendered:
    """``body`` (which passed ``check``) as clients of ``view.base`` see it. Raises InvalidDocument.

    Only URL fields change; the types of all values, their order and unknown fields stay.
    """
    if kind is Kind.INDEX:
        return Rendered(render_index(view.services, view.base, secure=view.base[:6].lower() == "https:"))
    if kind is Kind.VERSIONS:
        listed, dropped = render_versions(body)
        return Rendered(listed, dropped=dropped)
    if kind not in FIELDS and not (kind.row.query and b"null" in body):
        return Rendered(without_bom(body) if kind.row.json else body)
    document = loads_exact(body)
    if kind.row.query:
        _fill_lists(document)
    rewriter = Rewriter(view)
    if kind in FIELDS:
        rewrite(_fields(kind, document), document, rewriter)
    empty = kind is Kind.REGISTRATION and is_empty(document)
    return Rendered(dumps(document), tuple(rewriter.links.values()), empty=empty)


def stored_leaves(kind: Kind, body: bytes, view: View) -> tuple[dict[str, dict[str, Any]], tuple[Link, ...]]:
    """The leaves of a registration index or page as clients of ``view.base`` see them, by version as URLs have it.

    Those that say everything themselves; with the links in them. Raises InvalidDocument.
    """
    rendered = render(kind, body, view)
    found = {}
    for leaf in leaves(loads_exact(rendered.body)):
        version = leaf_version(leaf)
        if version is not None and isinstance(leaf.get("catalogEntry"), dict):
            found[version.url] = leaf
    return found, rendered.links


def _fill_lists(result: Any) -> None:
    """Make ``[]`` of each null that clients want to be a list: so Go writes empty ones."""
    if not isinstance(result, dict):
        return
    if result.get("data", ()) is None:
        result["data"] = []
    for hit in result.get("data") or ():
        if isinstance(hit, dict) and hit.get("versions", ()) is None:
            hit["versions"] = []


def _fields(kind: Kind, document: Any) -> Fields:
    """Where the URLs are by what the document is: what a link leads to, only its content tells."""
    if kind.row.family == "registration":
        return fields_of(kind, document)
    if kind.row.family == "catalog" and isinstance(document, dict) and "items" not in document:
        return LEAF if "registration" in document or "catalogEntry" in document else _CATALOG_LEAF
    return FIELDS[kind]


def vulnerability_pages(body: bytes, url: str) -> tuple[PageRef, ...]:
    """The pages of the vulnerability index ``body`` (which came from ``url``), in its order; commit is ``@updated``.

    Raises InvalidDocument.
    """
    check(Kind.VULNERABILITIES, body)
    found: dict[str, PageRef] = {}
    for page in loads(body):
        target = absolute(page["@id"], url)
        updated = page.get("@updated")
        if target is not None:
            target = without_fragment(target)
            found.setdefault(target, PageRef(target, updated if isinstance(updated, str) else ""))
    return tuple(found.values())


PAGES: dict[Kind, Callable[[bytes, str], tuple[PageRef, ...]]] = {
    Kind.REGISTRATION: registration_pages,
    Kind.VULNERABILITIES: vulnerability_pages,
}
"""(an index, the URL it came from) -> the pages that it names; they raise InvalidDocument."""

if PAGES.keys() != {kind for kind in Kind if kind.row.with_pages}:  # pragma: no cover - found at import
    raise AssertionError("every Kind with pages needs what reads their names")
