"""Checks that a body is the document which it was asked for as."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import unquote

from nugetproxy.nuget.documents.bounds import USUAL, Bounds, check_pages, check_values
from nugetproxy.nuget.documents.exact_json import InvalidDocument, as_object, dumps, loads, without_bom
from nugetproxy.nuget.documents.registration import entry_of, is_empty, leaf_version, leaves
from nugetproxy.nuget.documents.tools import check_tools
from nugetproxy.nuget.documents.total_hits import total_hits
from nugetproxy.nuget.documents.version_list import check_versions
from nugetproxy.nuget.identity import invariant_lower
from nugetproxy.nuget.kinds import Kind
from nugetproxy.nuget.services import check_service_index, offers_anything
from nugetproxy.nuget.version import Version


def check(kind: Kind, body: bytes, *, id: str = "", path: str = "", bounds: Bounds = USUAL) -> None:
    """Raises InvalidDocument unless ``body`` may replace a good copy of ``kind`` (about package ``id``, if given).

    ``path`` is where it was asked for, as a ``Target`` has it.
    """
    if not kind.row.json:
        CHECKS[kind](body, id)
        return
    check_values(body, bounds)
    document = loads(body)
    CHECKS[kind](document, id)
    if kind is Kind.REGISTRATION_PAGE:
        _same_page(document, path)
    if kind.row.with_pages:
        check_pages(document, bounds)
    dumps(document)  # what is nested too deeply to be written again must not be kept either


def _list(document: Any, name: str, what: str, of: type = dict, *, nullable: bool = False) -> list[Any]:
    found = as_object(document, what).get(name)
    if nullable and found is None and name in document:  # as Go writes an empty list
        return []
    if not isinstance(found, list):
        raise InvalidDocument(f"{what} has no list called {name}")
    if not all(isinstance(item, of) for item in found):
        raise InvalidDocument(f"{what} has something else than {_JSON_WORD[of]} in {name}")
    return found


_PAGE: Final = re.compile(r"/page/([^/]+)/([^/]+)\.json$")
_JSON_WORD: Mapping[type, str] = {dict: "objects", str: "strings", list: "arrays"}


def _same_id(document: dict[str, Any], id_: str) -> None:
    """A registration about another package is a mix-up on the way (a cache's, a CDN's)."""
    if not id_:
        return
    wanted = invariant_lower(id_)
    for leaf in leaves(document):
        stated = entry_of(leaf).get("id")
        if isinstance(stated, str) and stated != wanted and invariant_lower(stated) != wanted:
            raise InvalidDocument(f"the registration is about {stated!r}, not {id_!r}")


def _same_page(document: dict[str, Any], path: str) -> None:
    """Raises InvalidDocument for another page of the same package: a mix-up, too."""
    named = _PAGE.search(path)
    lower, upper = (Version.parse(unquote(text)) for text in named.groups()) if named else (None, None)
    found = [leaf_version(leaf) for leaf in leaves(document)]
    if lower is None or upper is None or None in found:
        return
    if not any(lower <= version <= upper for version in found if version is not None):
        raise InvalidDocument("the registration page has none of the versions that its URL names")


def _index(document: Any, _: str) -> None:
    check_service_index(document)
    if not offers_anything(document):  # by which all that was there would not exist any more
        raise InvalidDocument("the service index offers nothing that we know")


def _versions(document: Any, _: str) -> None:
    check_versions(document)


def _registration(document: Any, id_: str) -> None:
    for page in _list(document, "items", "the registration index"):
        if "items" in page and page["items"] is not None:
            _list(page, "items", "a registration page")
        elif not isinstance(page.get("@id"), str):
            raise InvalidDocument("a registration page has neither items nor @id")
    _same_id(document, id_)


def _registration_page(document: Any, id_: str) -> None:
    _list(document, "items", "the registration page")
    if is_empty(document):  # its index has it for its versions
        raise InvalidDocument("the registration page has no version")
    _same_id(document, id_)


def _registration_leaf(document: Any, id_: str) -> None:
    leaf = as_object(document, "the registration leaf")
    named = all(isinstance(leaf.get(name), str) for name in ("id", "version"))
    if not named and not any(isinstance(leaf.get(name), str | dict) for name in ("packageContent", "catalogEntry")):
        raise InvalidDocument("the registration leaf has neither packageContent nor catalogEntry, nor id with version")
    _same_id(leaf, id_)


def _search(document: Any, _: str) -> None:
    _list(document, "data", "the search result", nullable=True)
    if "totalHits" in document and total_hits(document) is None:  # clients read what lacks it
        raise InvalidDocument("the search result has a totalHits that is no integer")


def _autocomplete(document: Any, _: str) -> None:
    _list(document, "data", "the autocomplete result", str, nullable=True)


def _signatures(document: Any, _: str) -> None:
    _list(document, "signingCertificates", "the repository signatures document")
    if not isinstance(document.get("allRepositorySigned"), bool):
        raise InvalidDocument("the repository signatures document has no boolean called allRepositorySigned")


def _vulnerabilities(document: Any, _: str) -> None:
    if not isinstance(document, list) or not document:
        raise InvalidDocument("the vulnerability index is not a JSON array with something in it")
    for page in document:
        if not isinstance(page, dict) or not all(isinstance(page.get(name), str) for name in ("@name", "@id")):
            raise InvalidDocument("a page of the vulnerability index has no @name or no @id")


def _vulnerability_page(document: Any, _: str) -> None:
    if document == []:  # as NuGet's documentation writes an empty page
        return
    page = as_object(document, "the vulnerability page")
    _list({"values": list(page.values())}, "values", "the vulnerability page", list)


def _catalog(document: Any, _: str) -> None:
    _list(document, "items", "the catalog index")


def _catalog_page(document: Any, _: str) -> None:
    # Only the path tells a page from a leaf before it is read, and not every catalog has nuget.org's paths.
    if "items" in as_object(document, "the catalog page"):
        _list(document, "items", "the catalog page")
    else:
        _catalog_leaf(document, "")


def _catalog_leaf(document: Any, _: str) -> None:
    leaf = as_object(document, "the catalog leaf")
    if not any(isinstance(leaf.get(name), str) for name in ("id", "nuget:id")):
        raise InvalidDocument("the catalog leaf names no package")


def _package(body: bytes, _: str) -> None:
    if not body.startswith(b"PK\x03\x04"):
        raise InvalidDocument("the package is no zip archive")


def _nuspec(body: bytes, _: str) -> None:
    head = without_bom(body)[:4096]
    wide = body.startswith((b"\xff\xfe", b"\xfe\xff"))  # UTF-16, which XML allows
    if not wide and (not head.lstrip().startswith(b"<") or b"<package" not in head):
        raise InvalidDocument("the nuspec has no package element")


def _not_html(body: bytes, _: str = "") -> None:
    head = without_bom(body)[:256].lstrip().lower()
    if head.startswith((b"<!doctype html", b"<html")):
        raise InvalidDocument("an HTML page")


def _file(body: bytes, _: str) -> None:
    if not body:
        raise InvalidDocument("an empty file")
    _not_html(body)


Check = Callable[[Any, str], None]
"""(the JSON document, or the bytes of what is none; the package id or "") -> raises InvalidDocument."""

CHECKS: dict[Kind, Check] = {
    Kind.INDEX: _index,
    Kind.VERSIONS: _versions,
    Kind.REGISTRATION: _registration,
    Kind.REGISTRATION_PAGE: _registration_page,
    Kind.REGISTRATION_LEAF: _registration_leaf,
    Kind.SEARCH: _search,
    Kind.AUTOCOMPLETE: _autocomplete,
    Kind.SIGNATURES: _signatures,
    Kind.VULNERABILITIES: _vulnerabilities,
    Kind.VULNERABILITY_PAGE: _vulnerability_page,
    Kind.CATALOG: _catalog,
    Kind.CATALOG_PAGE: _catalog_page,
    Kind.CATALOG_LEAF: _catalog_leaf,
    Kind.TOOLS: lambda document, _: check_tools(document),
    Kind.PACKAGE: _package,
    Kind.NUSPEC: _nuspec,
    Kind.README: _file,  # NuGet packs neither readme nor icon that is empty
    Kind.ICON: _file,
    Kind.LICENSE: _not_html,
    Kind.SYMBOL: _file,
    Kind.TOOL: _file,
    Kind.TOOL_LATEST: _file,
}

if CHECKS.keys() != set(Kind):  # pragma: no cover - a programming error, found at import
    raise AssertionError("every Kind needs a check")
