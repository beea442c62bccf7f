"""Bounds are how much may be in one document, whatever its size in bytes."""

from __future__ import annotations

import re
from typing import Any

from msgspec import Struct

from nugetproxy.nuget.documents.exact_json import InvalidDocument

_SEPARATORS = (b",", b"[", b"{")
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)


class Bounds(Struct, frozen=True, kw_only=True):
    """The most of what costs time and memory per piece."""

    values: int = 2_000_000
    """Each is a separate thing in memory: a byte of JSON may become a hundred."""
    links: int = 50_000
    """Opaque links, and pages that an index names."""


USUAL = Bounds()


def check_values(body: bytes, bounds: Bounds) -> None:
    """Raises InvalidDocument if the JSON ``body`` has too many values; it need not be parsed for that.

    Before each value stands a comma or a bracket that opens; those in strings are told apart only where they matter.
    """
    if len(body) <= bounds.values or _separators(body) < bounds.values:
        return
    if _separators(_STRING.sub(b"", body)) >= bounds.values:
        raise InvalidDocument(f"more than {bounds.values} values (limits.document_values)")


def check_pages(document: Any, bounds: Bounds) -> None:
    """Raises InvalidDocument if ``document`` is an index that names too many pages."""
    items = document.get("items") if isinstance(document, dict) else document
    if not isinstance(items, list) or len(items) <= bounds.links:
        return
    if sum(1 for item in items if isinstance(item, dict) and not isinstance(item.get("items"), list)) > bounds.links:
        raise too_many_links(bounds.links)


def too_many_links(most: int) -> InvalidDocument:
    """More than ``most`` of them are in one document."""
    return InvalidDocument(f"more than {most} links or pages (limits.document_links)")


def _separators(body: bytes) -> int:
    return sum(map(body.count, _SEPARATORS))
