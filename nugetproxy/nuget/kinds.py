"""The kinds of things that routes return, one row each."""

from __future__ import annotations

from enum import StrEnum
from functools import cache
from typing import Self

from msgspec import Struct

from nugetproxy.caching.policy import DAY, FOREVER, HOUR, MINUTE, SECOND, Policy

JSON_TYPE = "application/json; charset=utf-8"
BINARY_TYPE = "application/octet-stream"

_METADATA = Policy(fresh=5 * MINUTE, refresh=HOUR, on_error=FOREVER, absent=30 * SECOND, absent_on_error=7 * DAY)
_IMMUTABLE = Policy(fresh=FOREVER, on_error=FOREVER, absent=30 * SECOND, absent_on_error=7 * DAY)
_QUERY = Policy(fresh=2 * MINUTE, on_error=7 * DAY)


class Row(Struct, frozen=True, kw_only=True):
    """What is true of one kind."""

    policy: Policy
    """As shipped; ``[policy.*]`` of the configuration changes it."""
    lists: bool = False
    """Names versions: a list that is short would silently change which version is restored."""
    query: bool = False
    """Depends on the client's query, so a write to any package may change it."""
    page_of: str = ""
    """The kind (its word) of the index that names documents of this kind."""
    with_pages: bool = False
    """An index that is stored together with the pages that it names."""
    vital: bool = False
    """A 404 never takes a stored one away: nothing is served without the index, without advisories all looks well; a
    stored index may name the page.
    """
    spared: bool = False
    """Never trimmed: without the index nothing can be served, without advisories an outage looks like an all-clear."""
    inside: bool = False
    """A file in the package: read out of it where the package is held."""
    family: str = ""
    """Kinds of one family lie below one base, which alone does not tell an index from a page."""
    shown: bool = False
    """Documents of other kinds show its URLs to readers, too."""
    spelled_by_upstream: bool = False
    """Clients take its URLs out of documents, where some feeds keep the author's casing."""
    tells: bool = False
    """Says of versions what is not in their packages: whether they are listed, deprecated, when they were published."""
    unruled: bool = False
    """Names no version that could be had by it: the rules of a feed leave it as it is."""
    advises: bool = False
    """Says where advisories are, or what they say: a feed may have them of other sources than its packages."""
    apart: bool = False
    """Never merged: a feed of several sources has it under the name of each of them."""
    unmerged: bool = False
    """A feed of several sources has none of its own."""
    media_type: str = JSON_TYPE
    """Empty where only the content tells it."""

    @property
    def json(self) -> bool:
        """Whether it is a JSON document."""
        return self.media_type == JSON_TYPE

    @property
    def immutable(self) -> bool:
        """Whether upstream never says anything else under the same URL."""
        return self.policy.fresh == FOREVER

    @property
    def from_holdings(self) -> bool:
        """Whether it can only be made from all packages that are held."""
        return self.lists or self.query


def _content(media_type: str, *, inside: bool = True) -> Row:
    return Row(policy=_IMMUTABLE, inside=inside, family="content", shown=True, media_type=media_type)


class Kind(StrEnum):
    """What sort of thing a route returns; the word of ``[policy.*]`` in the configuration, of logs and metrics."""

    row: Row

    def __new__(cls, word: str, row: Row | None = None) -> Self:
        """A member is its word; ``row`` says the rest (``Kind("index")`` looks a member up, and does not come here)."""
        assert row is not None, f"the kind {word} has no row"
        kind = str.__new__(cls, word)
        kind._value_ = word
        kind.row = row
        return kind

    INDEX = (
        "index",
        Row(
            policy=Policy(fresh=HOUR, refresh=DAY, on_error=FOREVER),
            vital=True,
            spared=True,
            unruled=True,
            advises=True,
        ),
    )
    VERSIONS = "versions", Row(policy=_METADATA, lists=True, family="content", shown=True)
    PACKAGE = "package", _content(BINARY_TYPE, inside=False)
    NUSPEC = "nuspec", _content("text/xml; charset=utf-8")
    README = "readme", _content("text/markdown; charset=utf-8")
    ICON = "icon", _content("")
    LICENSE = "license", _content("text/plain; charset=utf-8")
    REGISTRATION = (
        "registration",
        Row(
            policy=_METADATA,
            lists=True,
            with_pages=True,
            family="registration",
            shown=True,
            spelled_by_upstream=True,
            tells=True,
        ),
    )
    REGISTRATION_PAGE = (
        "registration_page",
        Row(
            policy=_METADATA,
            lists=True,
            page_of="registration",
            vital=True,
            family="registration",
            shown=True,
            spelled_by_upstream=True,
            tells=True,
        ),
    )
    REGISTRATION_LEAF = (
        "registration_leaf",
        Row(
            policy=Policy(fresh=HOUR, refresh=HOUR, on_error=FOREVER, absent=30 * SECOND, absent_on_error=7 * DAY),
            lists=True,
            family="registration",
            shown=True,
            spelled_by_upstream=True,
            tells=True,
        ),
    )
    SEARCH = "search", Row(policy=_QUERY, query=True, tells=True)
    AUTOCOMPLETE = "autocomplete", Row(policy=_QUERY, query=True)
    SIGNATURES = (
        "signatures",
        Row(policy=Policy(fresh=DAY, refresh=DAY, on_error=FOREVER), unruled=True, unmerged=True),
    )
    VULNERABILITIES = (
        "vulnerabilities",
        Row(
            policy=Policy(fresh=HOUR, refresh=HOUR, on_error=FOREVER),
            with_pages=True,
            vital=True,
            spared=True,
            family="vulnerabilities",
            unruled=True,
            advises=True,
        ),
    )
    VULNERABILITY_PAGE = (
        "vulnerability_page",
        Row(
            policy=Policy(fresh=HOUR, on_error=FOREVER, absent=30 * SECOND),
            page_of="vulnerabilities",
            vital=True,
            spared=True,
            family="vulnerabilities",
            unruled=True,
            advises=True,
            apart=True,
        ),
    )
    CATALOG = (
        "catalog",
        Row(
            policy=Policy(fresh=2 * MINUTE, on_error=FOREVER),
            family="catalog",
            shown=True,
            unruled=True,
            unmerged=True,
        ),
    )
    CATALOG_PAGE = (
        "catalog_page",
        Row(
            policy=Policy(fresh=2 * MINUTE, on_error=FOREVER, absent=30 * SECOND),
            page_of="catalog",
            family="catalog",
            shown=True,
            apart=True,
            unmerged=True,
        ),
    )
    CATALOG_LEAF = (
        "catalog_leaf",
        Row(policy=_IMMUTABLE, family="catalog", shown=True, tells=True, apart=True, unmerged=True),
    )
    # Debuggers ask for thousands of files that do not exist; what was pushed is indexed within minutes.
    SYMBOL = (
        "symbol",
        Row(
            policy=Policy(fresh=FOREVER, on_error=FOREVER, absent=15 * MINUTE, absent_on_error=7 * DAY),
            media_type=BINARY_TYPE,
        ),
    )
    TOOLS = "tools", Row(policy=Policy(fresh=HOUR, refresh=DAY, on_error=FOREVER))
    TOOL = "tool", Row(policy=_IMMUTABLE, media_type=BINARY_TYPE)
    TOOL_LATEST = (
        "tool_latest",
        Row(policy=Policy(fresh=HOUR, on_error=FOREVER, absent=30 * SECOND), media_type=BINARY_TYPE),
    )

    @property
    def page(self) -> Kind:
        """The kind of the documents that an index of this kind names."""
        return next(kind for kind in Kind if kind.row.page_of == self)


@cache
def family(kind: Kind) -> frozenset[Kind]:
    """What a field that names a document of ``kind`` may turn out to name."""
    word = kind.row.family
    return frozenset(one for one in Kind if one is kind or (word and one.row.family == word))
