"""Edge is where requests come in: it finds the feed, answers, then writes one event per request."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from time import perf_counter
from types import MappingProxyType

import structlog
from aiohttp import hdrs, web

from nugetproxy.errors import BadRequest, MethodNotAllowed, NotFound, ProxyError
from nugetproxy.feeds.downloads import downloaded, is_download
from nugetproxy.feeds.files import Site
from nugetproxy.feeds.published import ReadSide, WriteSide
from nugetproxy.feeds.reply import View
from nugetproxy.metrics import Metrics
from nugetproxy.nuget.routes import parse_route
from nugetproxy.web.access import Access, AccessEvent
from nugetproxy.web.answers import answer
from nugetproxy.web.hosts import PublicAddresses
from nugetproxy.web.ops import Ops
from nugetproxy.web.sending import ResponseCut, Sender
from nugetproxy.web.writes import Writes

log = structlog.get_logger(__name__)

READS = frozenset({hdrs.METH_GET, hdrs.METH_HEAD})
MAX_QUERY = 4096
_NOT_AT_ALL = re.compile(r"\s*q\s*=\s*0(?:\.0*)?\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Published:
    """One feed with both of its sides."""

    feed: ReadSide
    push: WriteSide


class Edge:
    """The request handler of the server."""

    def __init__(
        self,
        feeds: Mapping[str, Published],
        *,
        addresses: PublicAddresses,
        sender: Sender,
        writes: Writes,
        ops: Ops,
        metrics: Metrics,
        sites: Mapping[str, Site] = MappingProxyType({}),
    ) -> None:
        """``feeds`` by the path in front of ``v3/``: ``/`` for the first one, ``/name/`` for each. ``sites`` by the
        first word of the path.
        """
        self._feeds = feeds
        self._sites = sites
        self._addresses = addresses
        self._sender = sender
        self._writes = writes
        self._ops = ops
        self._access = Access(metrics, addresses)

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request; every error becomes a response that says what to do."""
        began = perf_counter()
        event = self._access.begin(request)
        try:
            response = await self._respond(request, event)
        except ProxyError as error:
            event.failed(error)
            response = answer(error, head=request.method == hdrs.METH_HEAD)
            if not request.content.is_eof() or isinstance(error, BadRequest):
                response.force_close()
        except (ResponseCut, ConnectionError) as cut:
            event.cut(str(cut))
            self._access.end(event, None, perf_counter() - began)
            raise
        except asyncio.CancelledError:
            event.cut("cancelled")
            self._access.end(event, None, perf_counter() - began)
            raise
        except Exception:
            log.exception("request.crashed", path=event.path)
            event.failed(ProxyError("unexpected"))
            response = answer(ProxyError("The proxy failed unexpectedly; its log says more."))
            response.force_close()
        self._access.end(event, response, perf_counter() - began)
        return response

    async def _respond(self, request: web.BaseRequest, event: AccessEvent) -> web.StreamResponse:
        path, _, query = request.raw_path.partition("?")
        if not path.startswith("/") or len(query) > MAX_QUERY:
            raise BadRequest("The request target must be a path, with a query of at most 4096 characters.")
        site = self._sites.get(path[1:].partition("/")[0])
        if site is not None:
            reply = await site.read(path[1:], request.headers, self._view(request, "/"))
            event.answered(reply)
            return await self._sender.send(request, reply)
        found = self._find(path)
        if found is None:
            return await self._ops.respond(request, path, event)
        published, prefix, below = found
        feed = published.feed
        route = parse_route(below)
        if route is None:
            raise NotFound("There is no such resource; start at v3/index.json.")
        event.feed = feed.name
        download = is_download(request.method, route)
        if route.write and not download:
            event.kind = route.resource
            self._addresses.base(request)  # raises UnknownHost
            return await self._writes.respond(request, feed, published.push, route)
        view = self._view(request, f"{prefix}/v3/")
        if download:
            route = await downloaded(feed, route, view)
        reply = await feed.read(route, query, view)
        event.answered(reply)
        return await self._sender.send(request, reply)

    def _view(self, request: web.BaseRequest, below: str) -> View:
        """How the client of a GET or HEAD sees what is published ``below`` our root; raises for other methods."""
        if request.method not in READS:
            raise MethodNotAllowed(request.method, ("GET", "HEAD"))
        if request.body_exists:  # even where all of it is here already
            raise BadRequest("A GET or HEAD must not have a body.")
        coding = request.headers.get(hdrs.ACCEPT_ENCODING, "")
        return view_of(f"{self._addresses.base(request)}{below}", coding, request.method == hdrs.METH_HEAD)

    def _find(self, path: str) -> tuple[Published, str, str] | None:
        """The feed that ``path`` belongs to, the path in front of it, the path below ``v3/``."""
        head, slash, below = path.partition("/v3/")
        if not slash:
            return None
        known = self._feeds.get(head + "/")
        return (known, head, below) if known is not None else None


@lru_cache(maxsize=1024)
def view_of(base: str, accept_encoding: str, head: bool) -> View:
    """The view of a client; most clients have one of very few."""
    return View(base=base, gzip=accepts_gzip(accept_encoding), head=head)


def accepts_gzip(accept_encoding: str) -> bool:
    """Whether a client that sent this ``Accept-Encoding`` takes gzip (RFC 9110 section 12.5.3)."""
    if accept_encoding in {"gzip, deflate", "gzip"}:  # what nearly everybody sends
        return True
    weights = {}
    for part in accept_encoding.split(","):
        coding, _, weight = part.partition(";")
        weights[coding.strip().lower()] = weight
    # What is named counts before the asterisk, wherever it stands.
    said = next((weights[name] for name in ("gzip", "x-gzip", "*") if name in weights), "q=0")
    return _NOT_AT_ALL.fullmatch(said) is None
