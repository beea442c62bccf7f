"""The advisories of several sources."""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, Final

from msgspec import Struct

from nugetproxy.nuget.documents.exact_json import InvalidDocument, as_object, dumps, loads
from nugetproxy.nuget.identity import invariant_lower
from nugetproxy.nuget.merging.versions import SourceDocument

MAX_PAGES: Final = 16
"""Of an index; NuGet reads no more (VulnerabilityInfo's documentation)."""
MAX_NAME: Final = 32
MERGED_PAGES: Final = "vulnerabilities/pages/merged/"
"""Below ``/v3/``."""

_ODD = re.compile(r"[^A-Za-z0-9_-]")


class AdvisoryPage(Struct, frozen=True):
    """One page of one source's index."""

    source: str
    name: str
    url: str
    """Ours, as rendered for the merged feed."""
    updated: str
    entry: dict[str, Any]


class AdvisoryGroup(Struct, frozen=True):
    """One page of the merged index: one page of a source as it is, or several that are to be merged."""

    name: str
    """Clients keep pages under it, so it must be stable: unique, 1 to 32 characters of ``[A-Za-z0-9_-]``."""
    pages: tuple[AdvisoryPage, ...]

    @property
    def updated(self) -> str:
        """When the newest of its pages changed."""
        return max(page.updated for page in self.pages)


def advisory_groups(indexes: Sequence[SourceDocument]) -> tuple[AdvisoryGroup, ...]:
    """The pages of the merged index; ``indexes`` are rendered for the merged feed, in its order.

    Up to 16 pages stay as they are; of more, those of one source are merged, and of more than 16 sources the last.
    Raises InvalidDocument.
    """
    pages = [page for index in indexes for page in _pages(index)]
    groups = [AdvisoryGroup(_name(f"{page.source}-{page.name}"), (page,)) for page in pages]
    if len(groups) > MAX_PAGES:
        sources = dict.fromkeys(page.source for page in pages)
        groups = [
            AdvisoryGroup(_name(source), tuple(page for page in pages if page.source == source)) for source in sources
        ]
    if len(groups) > MAX_PAGES:
        rest = tuple(page for group in groups[MAX_PAGES - 1 :] for page in group.pages)
        groups = [*groups[: MAX_PAGES - 1], AdvisoryGroup("others", rest)]
    return tuple(groups)


def merged_advisory_index(groups: Sequence[AdvisoryGroup], base: str) -> bytes:
    """The index of ``groups`` (at least one) for clients of ``base``; see ``merged_page_path`` for those of several."""
    entries = []
    for group in groups:
        if len(group.pages) == 1:
            entries.append({**group.pages[0].entry, "@name": group.name})
        else:
            url = base + merged_page_path(group.name)
            entries.append({"@name": group.name, "@id": url, "@updated": group.updated})
    return dumps(entries)


def merged_page_path(name: str) -> str:
    """Where a page that is merged of several is, below ``/v3/``."""
    return f"{MERGED_PAGES}{name}.json"


def merge_advisory_pages(bodies: Sequence[bytes]) -> bytes:
    """One page of several: the advisories of each id one after the other, each once. Raises InvalidDocument."""
    merged: dict[str, list[Any]] = {}
    for body in bodies:
        page = loads(body)
        if page == []:  # as NuGet's documentation writes an empty page
            continue
        for id_, advisories in as_object(page, "a vulnerability page").items():
            known = merged.setdefault(invariant_lower(id_), [])
            known.extend(one for one in advisories if one not in known)
    return dumps(merged)


def _pages(index: SourceDocument) -> list[AdvisoryPage]:
    entries = loads(index.body)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise InvalidDocument("a vulnerability index is not a JSON array of objects")
    return [
        AdvisoryPage(index.source, str(e.get("@name", "")), str(e.get("@id", "")), str(e.get("@updated", "")), e)
        for e in entries
    ]


def _name(text: str) -> str:
    """``text`` in the characters and the length that a name may have, still telling it apart."""
    name = _ODD.sub("_", text)
    if name == text and len(name) <= MAX_NAME:
        return name
    digest = blake2b(text.encode(), digest_size=4).hexdigest()
    return f"{name[: MAX_NAME - 9]}-{digest}"
