"""Page answers browsers: the document, its files, its data, its stream of changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qs

import orjson
from aiohttp import hdrs

from nugetproxy.admin.desk import Desk
from nugetproxy.caching.conditions import select
from nugetproxy.engine.outcome import CACHE_NAME
from nugetproxy.errors import BadRequest, MethodNotAllowed, NotFound
from nugetproxy.web import http as web
from nugetproxy.web.access import AccessEvent
from nugetproxy.web.admission import Admission
from nugetproxy.web.hosts import PublicAddresses
from nugetproxy.web.negotiation import accepts_gzip
from nugetproxy.web.page.assets import POLICY, Asset, read_assets
from nugetproxy.web.page.streams import Streams
from nugetproxy.web.whole import Whole, common_headers

ROOT: Final = "/page/"
HTML: Final = "text/html"
LONGEST: Final = 300
"""Characters of an argument."""


class Page:
    """``/`` for browsers, and ``/page/...``."""

    def __init__(self, desk: Desk, admission: Admission, addresses: PublicAddresses) -> None:
        self._desk = desk
        self._admission = admission
        self._addresses = addresses
        self.streams = Streams(desk)
        self._assets = read_assets()

    @staticmethod
    def takes(request: web.BaseRequest, path: str) -> bool:
        """Whether a request is the page's: the root only where somebody wants to look at it."""
        return path.startswith(ROOT) or (path == "/" and HTML in request.headers.get(hdrs.ACCEPT, "").lower())

    async def respond(
        self, request: web.BaseRequest, path: str, query: str, event: AccessEvent, *, trusted: bool = False
    ) -> web.StreamResponse:
        """The answer to a browser; ``trusted`` as for ``Admin``. Raises Unauthorized, Forbidden, what ends a look."""
        event.kind = "page"
        base = self._addresses.direct_base(request) if trusted else self._addresses.base(request)
        if request.method not in {hdrs.METH_GET, hdrs.METH_HEAD}:
            raise MethodNotAllowed(request.method, ("GET", "HEAD"))
        name = path.removeprefix(ROOT) if path != "/" else "page.html"
        if name == "sign-in":
            self._admission.admit_admin(request, event.client)
            return _redirect()
        viewer = self._admission.everything if trusted else self._admission.viewer(request, event.client)
        if (asset := self._assets.get(name)) is not None:
            return _file(request, asset)
        if name == "events" and request.method == hdrs.METH_GET:
            return await self.streams.stream(request, viewer)
        from nugetproxy.web.page import shown  # large; most proxies are never looked at

        if name == "about":
            return _json(shown.about(self._desk, viewer, base=base, closed=self._admission.closed()))
        if name == "icon":
            return _picture(*await shown.icon(self._desk, viewer, _arguments(query)))
        show = shown.SHOWN.get(name)
        if show is None:
            raise NotFound("The page has no such part; it is at /.")
        return _json(await show(self._desk, viewer, _arguments(query)))


def _picture(type_: str, body: bytes) -> Whole:
    """Somebody else's bytes: never anything but a picture, whoever opens it."""
    headers = {
        **common_headers("private, max-age=300", f"{CACHE_NAME}; hit"),
        hdrs.CONTENT_TYPE: type_,
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "X-Content-Type-Options": "nosniff",
    }
    return Whole(200, headers, body, length=len(body))


def _arguments(query: str) -> Mapping[str, str]:
    try:
        given = parse_qs(query, keep_blank_values=True, max_num_fields=20)
    except ValueError as error:
        raise BadRequest("The query cannot be read.") from error
    return {name: values[0][:LONGEST] for name, values in given.items()}


def _redirect() -> Whole:
    """Back to the page, with the credentials that the browser has asked for."""
    headers = {**common_headers("no-store", f"{CACHE_NAME}; fwd=bypass"), hdrs.LOCATION: "../"}
    return Whole(303, headers, b"", length=0)


def _file(request: web.BaseRequest, asset: Asset) -> Whole:
    headers = {
        **common_headers("no-cache", f"{CACHE_NAME}; fwd=bypass"),
        hdrs.CONTENT_TYPE: asset.type,
        "Content-Security-Policy": POLICY,
        "Referrer-Policy": "no-referrer",
        hdrs.VARY: "Accept, Accept-Encoding, Authorization",
        hdrs.ETAG: asset.etag,
    }
    held = {hdrs.IF_NONE_MATCH.lower(): ",".join(request.headers.getall(hdrs.IF_NONE_MATCH, ("",)))}
    if select(request.method, held, asset.etag, None, len(asset.body)).status == 304:
        return Whole(304, headers, b"", length=None)
    if accepts_gzip(request.headers.get(hdrs.ACCEPT_ENCODING, "")):
        headers[hdrs.CONTENT_ENCODING] = "gzip"
        return Whole(200, headers, asset.packed, length=len(asset.packed))
    return Whole(200, headers, asset.body, length=len(asset.body))


def _json(shown: Mapping[str, Any]) -> Whole:
    body = orjson.dumps(shown)
    headers = {
        **common_headers("no-store", f"{CACHE_NAME}; fwd=bypass"),
        hdrs.CONTENT_TYPE: "application/json; charset=utf-8",
        "Content-Security-Policy": "default-src 'none'",
    }
    return Whole(200, headers, body, length=len(body))
