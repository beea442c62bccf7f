"""Absolute URLs as text, compared without ever being re-quoted."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import NamedTuple
from urllib.parse import quote, unquote_plus, urljoin

_SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.\-]*:")
_USERINFO = re.compile(r"^([^/?#]*//)[^/?#]*@")
_SENDABLE = re.compile(r"(?:[A-Za-z0-9!$&'()*+,;=:@/?._~-]|%[0-9A-Fa-f]{2})*")
_AUTHORITY = re.compile(r"(?:[^/?#]*//[^/?#]*)?")
_UNSENDABLE = re.compile(r"[^\x00-\x1f\x21-\x7f]+")
"""Blanks, and what is beyond ASCII; what nobody means to be in a URL stays, and has it refused."""
_BARE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_HTTP = re.compile(r"(https?)://([^/?#\s\\@]+)(/[^?#\s]*)?(?:\?([^#\s]*))?(?:#(.*))?", re.IGNORECASE | re.DOTALL)


class SplitUrl(NamedTuple):
    """An http or https URL in pieces; ``path``, ``query`` and ``fragment`` are spelled as they were."""

    scheme: str
    """Lower case."""
    host: str
    """Lower case, with the port unless it is the scheme's own."""
    path: str
    query: str
    fragment: str


def split_url(url: str) -> SplitUrl | None:
    """The pieces of ``url``, or None if it is no http(s) URL or carries credentials."""
    match = _HTTP.fullmatch(url)
    if match is None:
        return None
    scheme, host, path, query, fragment = match.groups(default="")
    scheme = scheme.lower()
    host = host.lower().removesuffix(":443" if scheme == "https" else ":80")
    return SplitUrl(scheme, host, path, query, fragment)


def absolute(reference: str, base: str) -> str | None:
    """``reference`` as an absolute http(s) URL, relative ones resolved against ``base`` (RFC 3986 section 5).

    None for an empty reference and for other schemes (``urn:``, ``file:`` ...). Credentials in it are dropped:
    ours are configured, and theirs must not be told to clients (RFC 3986 section 3.2.1).
    """
    reference = encoded(reference.strip(" "))
    if not reference:
        return None
    if not _SCHEME.match(reference):
        try:
            reference = urljoin(base, reference)
        except ValueError:
            return None
    if "@" in reference:
        reference = _USERINFO.sub(r"\1", reference)
    return reference if split_url(reference) is not None else None


def encoded(url: str) -> str:
    """``url`` as .NET sends it where it was written for people (RFC 3987 section 3.1): blanks and what is beyond ASCII
    are percent-encoded behind the host, all else is as it was.
    """
    if url.isascii() and " " not in url:
        return url
    authority = _AUTHORITY.match(url)
    begin = authority.end() if authority is not None else 0
    rest = _UNSENDABLE.sub(lambda found: quote(found[0], errors="surrogateescape"), url[begin:])
    return url[:begin] + rest


def without_fragment(url: str) -> str:
    """``url`` as it is sent in a request."""
    return url.partition("#")[0]


def join_url(base: str, rest: str) -> str:
    """``base`` and ``rest`` with exactly one slash between them."""
    return f"{base.rstrip('/')}/{rest}"


def with_query(url: str, own: str, query: str) -> str:
    """``url`` (which has no query) with ``query`` as it is, then those parameters of ``own`` that it lacks."""
    if own and query:
        given = {_name(part) for part in query.split("&")}
        own = "&".join(part for part in own.split("&") if _name(part) not in given)
    merged = "&".join(part for part in (query, own) if part)
    return f"{url}?{merged}" if merged else url


def sendable_query(query: str) -> str:
    """``query`` as it may be sent on: what RFC 3986 does not allow in one is percent-encoded.

    What a client typed (a backslash, a letter beyond ASCII, a bare percent sign) is thereby asked for, not refused by
    whoever is asked.
    """
    if _SENDABLE.fullmatch(query) is not None:
        return query
    whole = _BARE_PERCENT.sub("%25", query).encode("utf-8", "surrogateescape")
    return quote(whole, safe="%!$&'()*+,;=:@/?-._~")


def each_once(query: str, names: Collection[str]) -> str:
    """``query`` with the first of each of these parameters: somebody else may take another one than we do."""
    given: set[str] = set()
    kept = []
    for part in query.split("&"):
        name = _name(part)
        if name not in given or name not in names:
            given.add(name)
            kept.append(part)
    return "&".join(kept)


def _name(parameter: str) -> str:
    return unquote_plus(parameter.partition("=")[0]).lower()
