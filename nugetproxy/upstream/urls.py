"""URLs of upstreams, kept byte for byte as they were written."""

from __future__ import annotations

import re
from urllib.parse import urljoin

from yarl import URL

from nugetproxy.nuget.urls import encoded

MAX_URL = 8000
MAX_HOPS = 5
DEFAULT_PORTS = {"http": 80, "https": 443}

_PLAIN = re.compile(r"[\x21-\x7e]+")


class UrlDenied(ValueError):
    """A URL that must not be asked for; ``why`` never quotes its path or query."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


def parse_url(text: str) -> URL:
    """``text`` as a URL whose path and query are sent exactly so (a signed URL breaks when re-quoted).

    Raises UrlDenied unless it is an absolute http(s) URL of printable ASCII without userinfo.
    """
    if len(text) > MAX_URL:
        raise UrlDenied(f"a URL of {len(text)} characters")
    if not _PLAIN.fullmatch(text) or "\\" in text:
        raise UrlDenied("a URL with characters that are not allowed in one")
    try:
        url = URL(text, encoded=True)
        scheme, host, port = url.scheme.lower(), url.raw_host, url.port
    except (ValueError, IndexError) as error:  # an index, where a user name's host is empty
        raise UrlDenied("a malformed URL") from error
    if scheme not in DEFAULT_PORTS:
        raise UrlDenied(f"a URL of scheme {scheme[:16]!r}")
    if not host or port is None or not 0 < port < 65536:
        raise UrlDenied("a URL without a proper host and port")
    if url.raw_user is not None or url.raw_password is not None:
        raise UrlDenied("a URL with a user name or password in it")
    return url


def host_of(url: URL) -> str:
    """Lower case, without the final dot or the brackets of an IPv6 address."""
    return name_of(url.raw_host)


def name_of(host: str | None) -> str:
    """``host_of`` a URL with this host."""
    return (host or "").lower().rstrip(".")


def origin_of(url: URL) -> str:
    """Scheme, host, port (RFC 6454 section 6.1): what credentials and circuit breakers belong to."""
    return origin_of_parts(url.scheme, url.raw_host, url.port)


def origin_of_parts(scheme: str, host: str | None, port: int | None) -> str:
    """``origin_of`` a URL with these."""
    scheme, name = scheme.lower(), name_of(host)
    shown = f"[{name}]" if ":" in name else name
    return f"{scheme}://{shown}" if port == DEFAULT_PORTS.get(scheme) else f"{scheme}://{shown}:{port}"


def without_query(url: URL) -> str:
    """The URL up to its query: fit for logs, and the base of relative URLs."""
    return str(url).partition("#")[0].partition("?")[0]


def next_hop(url: URL, location: str | None, visited: frozenset[str]) -> URL:
    """Where a redirect of ``url`` leads (RFC 9110 section 10.2.2).

    ``visited`` are the URLs asked so far, ``url`` among them. Raises UrlDenied on a loop, on the sixth hop, on the
    way from https to http, on a missing or malformed Location.
    """
    if location is None:
        raise UrlDenied("a redirect without Location")
    if len(visited) > MAX_HOPS:
        raise UrlDenied(f"more than {MAX_HOPS} redirects")
    location = encoded(location)
    if not _PLAIN.fullmatch(location) or "\\" in location:
        raise UrlDenied("a Location with characters that are not allowed in a URL")
    try:
        joined = urljoin(str(url), location).partition("#")[0]
    except ValueError as error:
        raise UrlDenied("a malformed Location") from error
    target = parse_url(joined)
    if url.scheme.lower() == "https" and target.scheme.lower() == "http":
        raise UrlDenied(f"a redirect from https to {origin_of(target)}")
    if str(target) in visited:
        raise UrlDenied("a redirect loop")
    return target
