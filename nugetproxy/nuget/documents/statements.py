"""Statements are what documents say of versions beside what lies in the packages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from msgspec import Struct

from nugetproxy.nuget.documents.exact_json import as_object, dumps, loads, objects
from nugetproxy.nuget.documents.registration import entry_of, is_leaf, leaf_version, leaves
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.nuget.kinds import Kind
from nugetproxy.nuget.rules import NOT_DEPRECATED

Json = dict[str, Any]

_FIRST_YEAR: Final = 1980
"""nuget.org says 1900 of what is unlisted, other feeds the year 1 of what they do not know."""


class Statement(Struct, frozen=True, kw_only=True):
    """What one document says of one version; None: it does not say."""

    identity: PackageIdentity
    published: str | None = None
    """As upstream wrote it, where it is a date."""
    listed: bool | None = None
    deprecation: str | None = None
    """JSON, ``NOT_DEPRECATED`` where the document would say it and does not."""
    vulnerabilities: tuple[Json, ...] = ()
    """As registrations have them."""
    license: str = ""
    """Its SPDX expression; empty where there is none, or none is said."""
    created: str | None = None
    """When it came into the world: the catalog knows it of what is unlisted, too."""
    committed: str | None = None
    """A time by which it was there."""
    details: str = ""
    """The URL of its leaf in the catalog."""


def statements(kind: Kind, body: bytes, id: str = "") -> tuple[Statement, ...]:
    """What a registration, a search result or a leaf of the catalog says, for the id it was asked for, if any.

    Raises InvalidDocument.
    """
    document = as_object(loads(body), "the document")
    if kind is Kind.SEARCH:
        return tuple(_of_search(document))
    if kind.row.family == "catalog":
        return tuple(_of_catalog(document))
    return tuple(_of_registration(document, id))


def statements_about(kind: Kind, body: bytes, id: str, wanted: frozenset[PackageIdentity]) -> tuple[Statement, ...]:
    """Those of ``statements`` that are about what is ``wanted``. Raises InvalidDocument."""
    return tuple(one for one in statements(kind, body, id) if one.identity in wanted)


def seconds(published: str | None) -> float | None:
    """A date in seconds since the epoch; None for what is none, as nuget.org's 1900."""
    try:
        date = datetime.fromisoformat(published) if published else None
    except ValueError:
        return None
    if date is None or date.year < _FIRST_YEAR:
        return None
    return (date if date.tzinfo is not None else date.replace(tzinfo=UTC)).timestamp()


def _of_registration(document: Json, id: str) -> Iterator[Statement]:
    for leaf in leaves(document):
        if not is_leaf(leaf):
            continue
        inner, entry = leaf.get("catalogEntry"), entry_of(leaf)
        version = leaf_version(leaf)
        identity = _identity(entry.get("id") or id, version.normalized if version is not None else "")
        if identity is None:
            continue
        # A leaf that names its catalog entry by URL leaves most of it to that.
        whole = isinstance(inner, dict) or "id" in leaf
        said = {**leaf, **entry}
        yield Statement(
            identity=identity,
            published=_date(said),
            listed=_listed(said, whole=whole),
            deprecation=_deprecation(said, NOT_DEPRECATED if whole else None),
            vulnerabilities=tuple(objects(said.get("vulnerabilities"))),
            license=_text(said.get("licenseExpression")),
            committed=_dated(leaf.get("commitTimeStamp")),
            details=_text(entry.get("@id") if isinstance(inner, dict) else inner),
        )


def _of_catalog(leaf: Json) -> Iterator[Statement]:
    """A leaf of the catalog is of its time: whether a version is listed may have changed since."""
    identity = _identity(leaf.get("id"), leaf.get("version"))
    if identity is not None:
        created = _dated(leaf.get("created"))
        yield Statement(identity=identity, published=_date(leaf), deprecation=_deprecation(leaf, None), created=created)


def _of_search(document: Json) -> Iterator[Statement]:
    for hit in objects(document.get("data")):
        identity = _identity(hit.get("id"), hit.get("version"))
        if identity is not None and (deprecation := _deprecation(hit, None)) is not None:
            yield Statement(identity=identity, deprecation=deprecation)


def _identity(id: object, version: object) -> PackageIdentity | None:
    return PackageIdentity.parse(id, version) if isinstance(id, str) and isinstance(version, str) else None


def _date(said: Mapping[str, Any]) -> str | None:
    return _dated(said.get("published"))


def _dated(stated: object) -> str | None:
    return stated if isinstance(stated, str) and seconds(stated) is not None else None


def _text(stated: object) -> str:
    return stated if isinstance(stated, str) else ""


def _listed(said: Mapping[str, Any], *, whole: bool) -> bool | None:
    """As NuGet does it: what does not say so is listed unless it was published in 1900."""
    stated, published = said.get("listed"), said.get("published")
    if isinstance(stated, bool):
        return stated
    if isinstance(published, str) and published.startswith("1900-"):
        return False
    return True if whole else None


def _deprecation(said: Mapping[str, Any], otherwise: str | None) -> str | None:
    stated = said.get("deprecation")
    return dumps(stated).decode() if isinstance(stated, dict) else otherwise
