"""Every read of the fake feed is a function of the feed, the request and the words of its path."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from email.utils import format_datetime, parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from tests.fakes import feed_documents as documents
from tests.fakes.feed_catalog import catalog_index, catalog_leaf, catalog_page
from tests.fakes.feed_packages import Held
from tests.fakes.feed_registration import Registration
from tests.fakes.feed_search import BadQuery, autocomplete, search
from tests.fakes.feed_shelf import START
from tests.fakes.origin import Script, Seen

if TYPE_CHECKING:
    from tests.fakes.feed import FakeFeed

JSON = "application/json"
MEMBER_TYPES = {"readme": "text/markdown", "license": "text/plain; charset=utf-8"}
ICON_TYPES = {b"\x89PN": "image/png", b"\xff\xd8\xff": "image/jpeg"}
NOT_FOUND = b'\xef\xbb\xbf<?xml version="1.0" encoding="utf-8"?><Error><Code>BlobNotFound</Code></Error>'
MISSING = Script(status=404, headers=[("Content-Type", "application/xml")], body=NOT_FOUND)


def index(feed: FakeFeed, seen: Seen) -> Script:
    """The service index."""
    return _document(seen, documents.service_index(feed.url, feed.omit))


def versions(feed: FakeFeed, seen: Seen, lower: str) -> Script:
    """The flat container's list of an id."""
    held = feed.shelf.packages.get(lower)
    return _document(seen, documents.version_list(held), _newest(held)) if held else MISSING


def package(feed: FakeFeed, seen: Seen, lower: str, version: str, name: str) -> Script:
    """The package itself."""
    held = feed.shelf.exact(lower, version)
    if held is None or name != f"{lower}.{version}.nupkg":
        return MISSING
    headers = [("Content-Type", "application/octet-stream"), ("Accept-Ranges", "bytes")]
    return _conditional(seen, held.content, held.etag, held.instant, headers, ranges=True)


def nuspec(feed: FakeFeed, seen: Seen, lower: str, version: str, name: str) -> Script:
    """The package's nuspec."""
    held = feed.shelf.exact(lower, version)
    if held is None or name != f"{lower}.nuspec":
        return MISSING
    return _plain(seen, held.nuspec, "application/xml", held.instant)


def member(feed: FakeFeed, seen: Seen, lower: str, version: str, field: str) -> Script:
    """The icon, licence or readme from within the package."""
    held = feed.shelf.exact(lower, version)
    content = held.member(field) if held is not None else None
    if held is None or content is None:
        return MISSING
    kind = MEMBER_TYPES.get(field) or ICON_TYPES.get(content[:3], "application/octet-stream")
    return _plain(seen, content, kind, held.instant)


def registration(feed: FakeFeed, seen: Seen, hive: str, lower: str, rest: str) -> Script:
    """The index, a page or a leaf of a registration."""
    semver2 = hive == "gz-semver2"
    held = [package for package in feed.shelf.packages.get(lower, ()) if semver2 or not package.semver2]
    if not held:
        return MISSING
    extra = feed.registration_extra.get(lower, {}) if semver2 else {}
    value = _part(Registration(feed.url, hive, tuple(held), extra), rest)
    if value is None:
        return MISSING
    return _document(seen, value, _newest(held), zipped=hive.startswith("gz-"))


def _part(registration: Registration, rest: str) -> documents.Json | None:
    if rest == "index":
        return registration.index()
    if page := re.fullmatch(r"page/([^/]+)/([^/]+)", rest):
        return registration.page(page[1], page[2])
    return registration.leaf(rest)


def query(feed: FakeFeed, seen: Seen) -> Script:
    """The search service."""
    return _found(seen, lambda words: search(feed.url, feed.shelf.packages, words))


def complete(feed: FakeFeed, seen: Seen) -> Script:
    """The autocomplete service."""
    return _found(seen, lambda words: autocomplete(feed.shelf.packages, words))


def signatures(_feed: FakeFeed, seen: Seen, version: str) -> Script:
    """The signing certificates."""
    return _document(seen, documents.signatures(version))


def vulnerabilities(feed: FakeFeed, seen: Seen) -> Script:
    """The index of the vulnerability pages."""
    pages = [
        {"@name": name, "@id": _vulnerability_url(feed, name), "@updated": "2024-01-01T00:00:00Z", "comment": ""}
        for name in feed.vulnerabilities
    ]
    return _document(seen, pages)


def vulnerability_page(feed: FakeFeed, seen: Seen, name: str) -> Script:
    """One vulnerability page; one that was replaced is gone at once."""
    if name not in feed.vulnerabilities or _vulnerability_url(feed, name) != feed.url + seen.path:
        return MISSING
    return _document(seen, feed.vulnerabilities[name])


def catalog(feed: FakeFeed, seen: Seen, rest: str) -> Script:
    """The index, a page or a leaf of the catalog."""
    changes, size = feed.shelf.changes, feed.catalog_page_size
    changed = changes[-1].package.instant if changes else START
    if rest == "index":
        return _document(seen, catalog_index(feed.url, changes, size), changed)
    if number := re.fullmatch(r"page(\d+)", rest):
        page = catalog_page(feed.url, changes, size, int(number[1]))
        return MISSING if page is None else _document(seen, page, changed)
    for change in changes:
        if documents.catalog_leaf_url(feed.url, change.package) == f"{feed.url}{documents.CATALOG}/{rest}.json":
            return _document(seen, catalog_leaf(feed.url, change), change.package.instant)
    return MISSING


def _vulnerability_url(feed: FakeFeed, name: str) -> str:
    digest = hashlib.sha256(json.dumps(feed.vulnerabilities[name]).encode()).hexdigest()[:12]
    return f"{feed.url}{documents.VULNERABILITY_PAGES}/{digest}/vulnerability.{name}.json"


def _newest(held: Iterable[Held]) -> datetime:
    return max(package.instant for package in held)


def _found(seen: Seen, answer: Callable[[Mapping[str, str]], documents.Json]) -> Script:
    try:
        value = answer(dict(parse_qsl(seen.query, keep_blank_values=True)))
    except BadQuery as error:
        return Script(status=400, headers=[("Content-Type", "text/plain")], body=str(error).encode())
    return Script(headers=[("Content-Type", f"{JSON}; charset=utf-8")], body=json.dumps(value).encode())


def _document(seen: Seen, value: Any, modified: datetime = START, *, zipped: bool = False) -> Script:
    body = json.dumps(value, ensure_ascii=False).encode()
    etag = _etag(body)
    headers = [("Content-Type", JSON)]
    if zipped:
        # nuget.org's gz hives are gzip in storage: they come so whether asked for or not.
        body = gzip.compress(body, mtime=0)
        headers.append(("Content-Encoding", "gzip"))
    return _conditional(seen, body, etag, modified, headers)


def _plain(seen: Seen, body: bytes, kind: str, modified: datetime) -> Script:
    return _conditional(seen, body, _etag(body), modified, [("Content-Type", kind)])


def _etag(body: bytes) -> str:
    return f'"0x{hashlib.sha256(body).hexdigest()[:16].upper()}"'


def _conditional(
    seen: Seen, body: bytes, etag: str, modified: datetime, headers: list[tuple[str, str]], *, ranges: bool = False
) -> Script:
    validators = [("ETag", etag), ("Last-Modified", format_datetime(modified, usegmt=True))]
    if _unchanged(seen, etag, modified):
        return Script(status=304, headers=validators)
    return Script(headers=[*headers, *validators], body=body, ranges=ranges)


def _unchanged(seen: Seen, etag: str, modified: datetime) -> bool:
    known = seen.headers.get("If-None-Match")
    if known is not None:
        tags = {tag.strip().removeprefix("W/") for tag in known.split(",")}
        return etag in tags or "*" in tags
    since = seen.headers.get("If-Modified-Since")
    return since is not None and modified <= parsedate_to_datetime(since)
