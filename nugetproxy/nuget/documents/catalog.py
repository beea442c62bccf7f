"""A catalog's index says which of its pages will not change any more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nugetproxy.nuget.documents.exact_json import loads
from nugetproxy.nuget.urls import absolute, without_fragment


@dataclass(frozen=True, slots=True)
class CatalogListing:
    """The pages of one catalog index."""

    commits: Mapping[str, str]
    """Absolute URL of a page -> its last commit, as in ``page_commit``."""
    newest: str
    """The URL of the page that is still written to; empty where there are no pages."""

    def is_finished(self, url: str, commit: str) -> bool:
        """True when the page at ``url`` in its state ``commit`` is final: the catalog only ever grows at its end."""
        return bool(commit) and url != self.newest and self.commits.get(url) == commit


def catalog_listing(body: bytes, url: str) -> CatalogListing:
    """The pages that the catalog index ``body`` (which came from ``url``) names. Raises InvalidDocument."""
    document = loads(body)
    items = document.get("items") if isinstance(document, dict) else None
    commits: dict[str, str] = {}
    newest, latest = "", ""
    for item in items if isinstance(items, list) else ():
        stated = item.get("@id") if isinstance(item, dict) else None
        page = absolute(stated, url) if isinstance(stated, str) else None
        if page is None:
            continue
        page, stamp = without_fragment(page), str(item.get("commitTimeStamp", ""))
        commits[page] = f"{stamp}{item.get('commitId', '')}" if stamp else ""
        if stamp >= latest:
            newest, latest = page, stamp
    return CatalogListing(commits, newest)
