"""Malformed says why a request could not be read, in our own words."""

from __future__ import annotations

import re

from aiohttp.http_exceptions import BadStatusLine, HttpProcessingError, LineTooLong

from nugetproxy.errors import BadRequest, ProxyError, UnknownVersion

_VERSION = re.compile(r"HTTP/(\d+)\.\d+'$", re.MULTILINE)
PREFACE = "Pause on PRI"
"""What the parser says to the first line of a client that knows HTTP/2 to be spoken (RFC 9113 section 3.4)."""
MALFORMED = "The request is not well-formed HTTP/1.1."
TOO_LONG = "The request line, or a header line, is too long: {line} bytes for the one, {field} for the other."


def refusal(exc: BaseException | None, line: int, field: int) -> ProxyError:
    """What a request ends with that the parser stopped at by ``exc``; ``line``, ``field``: bytes that it takes."""
    if exc is not None and not isinstance(exc, HttpProcessingError):
        return ProxyError("The proxy failed unexpectedly; its log says more.")
    said = exc.message if isinstance(exc, HttpProcessingError) else ""
    version = _VERSION.search(said) if isinstance(exc, BadStatusLine) else None
    if said.startswith(PREFACE) or (version is not None and int(version[1]) != 1):
        return UnknownVersion()
    if isinstance(exc, LineTooLong):
        return BadRequest(TOO_LONG.format(line=line, field=field))
    return BadRequest(MALFORMED)
