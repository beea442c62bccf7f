"""Answers makes HTTP out of errors, in one place."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

import orjson
from aiohttp import hdrs

from nugetproxy.cluster.engines import EngineUnavailable
from nugetproxy.engine.outcome import CACHE_NAME
from nugetproxy.errors import (
    BadRequest,
    MethodNotAllowed,
    NotFound,
    Overloaded,
    ProxyError,
    SignatureRefused,
    Stopping,
    TooLarge,
    UnknownHost,
    UnknownVersion,
    UpstreamDenied,
    UpstreamFailure,
    UpstreamRefused,
    UpstreamUnavailable,
)
from nugetproxy.feeds.ruled import Denied
from nugetproxy.nuget.kinds import JSON_TYPE
from nugetproxy.store.fs import DiskFailure
from nugetproxy.store.sqlite_form import SqliteUnavailable
from nugetproxy.store.token_file import TokenFileUnusable
from nugetproxy.web.cors import NO_FIELDS
from nugetproxy.web.refusals import Forbidden, LoopDetected, TooManyAttempts, Unauthorized
from nugetproxy.web.whole import Whole, common_headers

STATUS: Mapping[type[ProxyError], int] = MappingProxyType(
    {
        BadRequest: 400,
        Unauthorized: 401,
        Forbidden: 403,
        Denied: 403,
        SignatureRefused: 403,
        NotFound: 404,
        MethodNotAllowed: 405,
        TooLarge: 413,
        UnknownHost: 421,
        TooManyAttempts: 429,
        UnknownVersion: 505,
        LoopDetected: 508,
        UpstreamRefused: 502,
        UpstreamUnavailable: 503,
        Overloaded: 503,
        Stopping: 503,
        DiskFailure: 503,
        SqliteUnavailable: 503,
        TokenFileUnusable: 503,
        EngineUnavailable: 503,
        ProxyError: 500,
    }
)
"""The nearest ancestor counts, so a new kind of error already has a status."""

RETRY_AFTER = 1
"""Seconds, whatever upstream says or the breaker does: NuGet 7 sleeps for as long as it is told, three times."""


CHALLENGE = f'Basic realm="{CACHE_NAME}"'
"""The one scheme that every NuGet client answers with what stands in its nuget.config."""
WARNING = "X-NuGet-Warning"
MAX_REASON = 512
_UNSAFE = re.compile(r"[^\x20-\x7e]+")


def header_text(text: str) -> str:
    """``text`` as a header value: without line breaks or anything beyond printable ASCII."""
    return _UNSAFE.sub(" ", text).strip()


def reason_phrase(text: str) -> str:
    """``text`` as the reason phrase of a status line; empty for the usual one."""
    return header_text(text)[:MAX_REASON]


def status_of(error: ProxyError) -> int:
    """The status code for ``error``."""
    if isinstance(error, UpstreamDenied):
        return error.status
    return next(STATUS[cls] for cls in type(error).__mro__ if cls in STATUS)


def cache_status_of(error: ProxyError) -> str:
    """The ``Cache-Status`` for ``error``: whether upstream was asked, and the reason."""
    if isinstance(error, UpstreamFailure):
        forwarded = f"fwd={error.forwarded}; " if error.forwarded else ""
        return f"{CACHE_NAME}; {forwarded}detail={orjson.dumps(str(error.reason)).decode()}"
    return f"{CACHE_NAME}; fwd=bypass; detail={type(error).__name__}"


def answer(error: ProxyError, *, head: bool = False, more: Mapping[str, str] = NO_FIELDS) -> Whole:
    """A response that says what was wrong and what to do about it; nothing of the request is reflected. It has ``more``
    header fields.

    The sentence is the reason phrase too: of an error NuGet shows nothing else.
    """
    status = status_of(error)
    headers = {
        **common_headers("no-store", cache_status_of(error)),
        hdrs.CONTENT_TYPE: JSON_TYPE,
        "Content-Security-Policy": "default-src 'none'",
        **more,
    }
    if status in {429, 503}:
        headers[hdrs.RETRY_AFTER] = str(RETRY_AFTER)
    if isinstance(error, Unauthorized):
        headers[hdrs.WWW_AUTHENTICATE] = CHALLENGE
    if isinstance(error, Denied | SignatureRefused):
        headers[WARNING] = header_text(str(error))[:MAX_REASON]
    if isinstance(error, MethodNotAllowed):
        headers[hdrs.ALLOW] = ", ".join(error.allowed)
    body = orjson.dumps({"error": str(error)})
    reason = reason_phrase(error.phrase if isinstance(error, UpstreamDenied) else str(error))
    return Whole(status, headers, b"" if head else body, length=len(body), reason=reason)
