"""A catalog lists every change of a feed: its index names pages, of which only the newest one changes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from operator import itemgetter
from typing import Final

from msgspec import Struct

from nugetproxy.nuget.documents.exact_json import InvalidDocument, loads, objects
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.nuget.urls import absolute, without_fragment

_NUMBERED: Final = re.compile(r"(.*?)([0-9]{1,9})(\.json)")


class CatalogListing(Struct, frozen=True):
    """The pages of one catalog index."""

    commits: Mapping[str, str]
    """Absolute URL of a page -> its last commit, as in ``page_commit``."""
    newest: str
    """The URL of the page that is still written to; empty where there are no pages."""

    def is_finished(self, url: str, commit: str) -> bool:
        """True when the page at ``url`` in its state ``commit`` is final: the catalog only ever grows at its end."""
        return bool(commit) and url != self.newest and self.commits.get(url) == commit

    def pages_since(self, stamp: str) -> list[str]:
        """The file names of pages with anything newer than ``stamp`` (as in ``sortable``), oldest first.

        Just the newest page where there is nothing newer, or where ``stamp`` is empty.
        """
        commits = [(sortable(commit.partition("Z")[0]), url) for url, commit in self.commits.items()]
        later = [url for at, url in sorted(commits, key=itemgetter(0)) if stamp and at > stamp]
        return [url.rpartition("/")[2] for url in later or [self.newest] if url]


def catalog_listing(body: bytes, url: str) -> CatalogListing:
    """The pages that the catalog index ``body`` (which came from ``url``) names. Raises InvalidDocument."""
    document = loads(body)
    commits: dict[str, str] = {}
    newest, latest = "", ""
    for item in objects(document.get("items") if isinstance(document, dict) else None):
        stated = item.get("@id")
        page = absolute(stated, url) if isinstance(stated, str) else None
        if page is None:
            continue
        page, stamp = without_fragment(page), str(item.get("commitTimeStamp", ""))
        commits[page] = f"{stamp}{item.get('commitId', '')}" if stamp else ""
        if stamp >= latest:
            newest, latest = page, stamp
    return CatalogListing(commits, newest)


class Change(Struct, frozen=True):
    """One entry of the catalog."""

    stamp: str
    """When it was committed, in a form that sorts."""
    id: str
    """Lower case."""
    deleted: bool


def catalog_changes(body: bytes) -> tuple[Change, ...]:
    """The entries of the catalog page ``body`` that are of packages, oldest first. Raises InvalidDocument."""
    document = loads(body)
    items = document.get("items") if isinstance(document, dict) else None
    if not isinstance(items, list):
        raise InvalidDocument("not a catalog page with items")
    found = []
    for item in objects(items):
        identity = PackageIdentity.parse(str(item.get("nuget:id", "")), str(item.get("nuget:version", "")))
        if identity is not None:
            deleted = "PackageDelete" in str(item.get("@type", ""))
            found.append(Change(sortable(str(item.get("commitTimeStamp", ""))), identity.id, deleted))
    return tuple(sorted(found, key=lambda change: change.stamp))


def sortable(stamp: str) -> str:
    """A time stamp as feeds write it, in a form that sorts: some leave zeros at the end of its fraction away."""
    seconds, _, fraction = stamp.strip().rstrip("Zz").partition(".")
    return f"{seconds}.{fraction[:7]:0<7}" if seconds else ""


def successor(page: str) -> str:
    """What the page after ``page`` is called (``page7.json`` -> ``page8.json``); empty where it has no number."""
    match = _NUMBERED.fullmatch(page)
    return f"{match[1]}{int(match[2]) + 1}{match[3]}" if match is not None else ""
