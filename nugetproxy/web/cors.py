"""Cors is what lets web pages of other origins read a public feed."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from aiohttp import hdrs

from nugetproxy.web import http as web
from nugetproxy.web.whole import Whole, common_headers

NO_FIELDS: Mapping[str, str] = MappingProxyType({})
FIELDS: Mapping[str, str] = MappingProxyType(
    {
        hdrs.ACCESS_CONTROL_ALLOW_ORIGIN: "*",
        hdrs.ACCESS_CONTROL_EXPOSE_HEADERS: "ETag, Content-Length, Content-Range, Cache-Status, X-NuGet-Warning",
    }
)
"""The same for everybody, so that a cache in front of us need not tell origins apart."""
PREFLIGHT: Mapping[str, str] = MappingProxyType(
    {
        hdrs.ACCESS_CONTROL_ALLOW_ORIGIN: "*",
        hdrs.ACCESS_CONTROL_ALLOW_METHODS: "GET, HEAD",
        hdrs.ACCESS_CONTROL_ALLOW_HEADERS: "*",
        hdrs.ACCESS_CONTROL_MAX_AGE: "86400",
    }
)


def is_preflight(request: web.BaseRequest) -> bool:
    """Whether a browser asks if a page may make a request (https://fetch.spec.whatwg.org, CORS-preflight)."""
    return (
        request.method == hdrs.METH_OPTIONS
        and hdrs.ORIGIN in request.headers
        and request.headers.get(hdrs.ACCESS_CONTROL_REQUEST_METHOD) in {hdrs.METH_GET, hdrs.METH_HEAD}
    )


def allowed() -> Whole:
    """The answer to a preflight of a feed that pages may read."""
    return Whole(204, {**common_headers("no-store", "nugetproxy; fwd=bypass"), **PREFLIGHT}, length=None)
