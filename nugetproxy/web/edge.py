"""Edge is where requests come in: it finds the feed, answers, then writes one event per request."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from time import perf_counter
from types import MappingProxyType
from urllib.parse import unquote

import structlog
from aiohttp import hdrs
from cachetools import LRUCache

from nugetproxy.engine.standing import Later
from nugetproxy.errors import BadRequest, MethodNotAllowed, NotFound, ProxyError, Stopping, UnknownVersion
from nugetproxy.feeds.downloads import downloaded, is_download
from nugetproxy.feeds.feed import Feed
from nugetproxy.feeds.files import Site
from nugetproxy.feeds.reply import Reply, View
from nugetproxy.metrics import Metrics
from nugetproxy.nuget.kinds import Kind
from nugetproxy.nuget.moments import instant
from nugetproxy.nuget.routes import parse_route
from nugetproxy.nuget.urls import sendable_query
from nugetproxy.store.history.history import History
from nugetproxy.upstream import asking
from nugetproxy.web import cors
from nugetproxy.web import http as web
from nugetproxy.web.access import Access, AccessEvent, Tracer, begin
from nugetproxy.web.admin import ROOT, Admin
from nugetproxy.web.admission import Admission
from nugetproxy.web.answers import answer
from nugetproxy.web.asker import Asker
from nugetproxy.web.connection import Connection
from nugetproxy.web.hosts import PublicAddresses
from nugetproxy.web.lane import Lane
from nugetproxy.web.negotiation import view_of
from nugetproxy.web.ops import Ops
from nugetproxy.web.page.page import Page
from nugetproxy.web.promises import Promise
from nugetproxy.web.seen import Asked
from nugetproxy.web.sending import ResponseCut, Sender
from nugetproxy.web.whole import Whole
from nugetproxy.web.writes import Writes

log = structlog.get_logger(__name__)

READS = frozenset({hdrs.METH_GET, hdrs.METH_HEAD})
MAX_QUERY = 4096
FLAT_CONTAINER = "/v3-flatcontainer/"
"""Where nuget.org has the content of packages; some tools know the path by heart."""
AS_OF = "/asof/"
"""In front of the date of a feed as it was."""
PAST = 64
"""Feeds as they were that are kept, each with what is known of the versions that it had."""
NO_DATE = "A feed as it was is at asof/2026-03-01/v3/index.json, or at asof/2026-03-01T12:00:00Z/v3/index.json (UTC)."


class Edge:
    """The request handler of the server."""

    def __init__(
        self,
        feeds: Mapping[str, Feed],
        *,
        addresses: PublicAddresses,
        sender: Sender,
        writes: Writes,
        ops: Ops,
        admission: Admission,
        admin: Admin,
        page: Page,
        metrics: Metrics,
        lane: Lane,
        sites: Mapping[str, Site] = MappingProxyType({}),
        for_pages: frozenset[str] = frozenset(),
        history: History,
        tracer: Tracer | None = None,
    ) -> None:
        """``feeds`` by the path in front of ``v3/``: ``/`` for the first one, ``/name/`` for each. ``sites`` by the
        first word of the path. ``for_pages``: names of the feeds that web pages of any origin may read.
        """
        self._for_pages = for_pages
        self._under_way = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._feeds = feeds
        self._sites = sites
        self._addresses = addresses
        self._sender = sender
        self._lane = lane
        self._writes = writes
        self._ops = ops
        self._admission = admission
        self._admin = admin
        self._page = page
        self._traced = tracer is not None
        self._access = Access(metrics, history, tracer)
        self._past: LRUCache[tuple[str, float], Feed] = LRUCache(PAST)

    def __call__(self, request: web.BaseRequest) -> Awaitable[web.StreamResponse]:
        """Answer one request; every error becomes a response that says what to do."""
        return self._answered(request, self._respond)

    async def operate(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request that came in by a socket that only operators can reach."""
        return await self._answered(request, self._operate)

    async def command(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request that came in by the socket in the cache directory: a job of its user reads feeds, too."""
        return await self._answered(request, self._command)

    async def idle(self) -> None:
        """Return when nothing is being answered."""
        await self._idle.wait()

    def end_streams(self) -> None:
        """Answers that would go on for ever end now; all others are finished."""
        self._page.streams.end()

    async def _answered(
        self,
        request: web.BaseRequest,
        respond: Callable[[web.BaseRequest, Asker, AccessEvent], Awaitable[web.StreamResponse]],
    ) -> web.StreamResponse:
        began = perf_counter()
        connection = _connection(request)
        asker = connection.begin(request, self._addresses)
        event = begin(request, asker)
        asked = asking.begin(asker.client, asker.passed)
        self._under_way += 1
        self._idle.clear()
        try:
            asker.check_loop(event.path)
            response = await respond(request, asker, event)
        except ProxyError as error:
            response = _failed(request, event, error)
        except (ResponseCut, ConnectionError) as cut:
            event.cut(str(cut))
            self._access.end(event, None, perf_counter() - began, asked)
            raise
        except asyncio.CancelledError:
            if not connection.was_given_up():
                event.cut("cancelled")
                self._access.end(event, None, perf_counter() - began, asked)
                raise
            response = _failed(request, event, Stopping())
        except Exception:
            log.exception("request.crashed", path=event.path)
            event.failed(ProxyError("unexpected"))
            response = answer(ProxyError("The proxy failed unexpectedly; its log says more."))
            response.force_close()
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._idle.set()
        if self._ops.draining:
            response.force_close()
        self._access.end(event, response, perf_counter() - began, asked)
        return response

    async def _respond(self, request: web.BaseRequest, asker: Asker, event: AccessEvent) -> web.StreamResponse:
        path, query = _target(request)
        connection = _connection(request)
        site = self._sites.get(path[1:].partition("/")[0]) if self._sites else None
        if site is not None:
            connection.carries_body = True
            reply = await site.read(path[1:], request.headers, _view(request, asker, "/"))
            event.answered(reply)
            return await self._sender.send(request, reply, asker)
        found = self._find(path)
        if found is None and path.startswith(ROOT):
            return await self._admin.respond(request, path, query, event)
        if found is None and self._page.takes(request, path):
            return await self._page.respond(request, path, query, event)
        if found is None:
            return await self._ops.respond(request, path, event)
        feed, prefix, below = found
        event.feed = feed.name
        route = parse_route(below)
        download = route is not None and route.write and is_download(request.method, route)
        if route is None or download or not route.write:
            event.token = self._admission.admit_read(request, feed.name, event.client)  # before anything is looked up
            if feed.name in self._for_pages and self._admission.is_open(feed.name):
                event.more = cors.FIELDS
        if route is None:
            raise NotFound("There is no such resource; start at v3/index.json.")
        event.routed(route)
        connection.carries_body = route.write or route.kind is Kind.PACKAGE
        if route.write and not download:
            _ = asker.base  # raises UnknownHost
            return await self._writes.respond(request, feed, route, event)
        if event.more and cors.is_preflight(request):
            _ = asker.base
            return cors.allowed()
        view = _view(request, asker, f"{prefix}/v3/")
        if download:
            route = await downloaded(feed, route, view)
        reply = self._admission.marked(feed.name, await feed.read(route, query, view))
        event.answered(reply)
        response = await self._sender.send(request, reply, asker, event.more)
        if connection.asked is not None and not download and not self._traced:
            self._promise(connection.asked, event, reply)
        return response

    def _promise(self, asked: Asked, event: AccessEvent, reply: Reply) -> None:
        """Have the lane answer the next one who asks for the same."""
        made = reply.standing
        standing = made if isinstance(made, Later | None) else made()
        if standing is None and reply.again is None:
            return
        size = len(reply.body) if isinstance(reply.body, bytes) else 0
        make = partial(self._again, reply.by_itself(), event)
        self._lane.keep(asked, Promise(event=event, standing=standing, make=make, at=self._lane.now(), size=size))

    def _again(self, reply: Reply, event: AccessEvent) -> tuple[Reply, Whole] | None:
        """What whoever asks now gets, where the last one got ``reply``."""
        if reply.again is not None:
            again = reply.again()
            if again is None:
                return None
            reply = self._admission.marked(event.feed, again)
        whole = self._sender.whole(event.method, reply, event.more)
        return None if whole is None else (reply, whole)

    async def _operate(self, request: web.BaseRequest, _asker: Asker, event: AccessEvent) -> web.StreamResponse:
        path, query = _target(request)
        if path.startswith(ROOT):
            return await self._admin.respond(request, path, query, event, trusted=True)
        if self._page.takes(request, path):
            return await self._page.respond(request, path, query, event, trusted=True)
        return await self._ops.respond(request, path, event, trusted=True)

    async def _command(self, request: web.BaseRequest, asker: Asker, event: AccessEvent) -> web.StreamResponse:
        path, query = _target(request)
        found = None if path.startswith(ROOT) else self._find(path)
        if found is None:
            return await self._operate(request, asker, event)
        return await self._read_for_job(request, asker, found, query, event)

    async def _read_for_job(
        self, request: web.BaseRequest, asker: Asker, found: tuple[Feed, str, str], query: str, event: AccessEvent
    ) -> web.StreamResponse:
        """What a job of the command line reads: as a client would, but nobody asks it for a token."""
        feed, prefix, below = found
        event.feed = feed.name
        route = parse_route(below)
        if route is None or route.write or request.method not in READS:
            raise NotFound("There is nothing to read here.")
        event.routed(route)
        view = view_of(f"{self._addresses.direct_base(request)}{prefix}/v3/", "", request.method == hdrs.METH_HEAD)
        _connection(request).carries_body = route.kind is Kind.PACKAGE
        reply = await feed.read(route, query, view)
        event.answered(reply)
        return await self._sender.send(request, reply, asker)

    def _find(self, path: str) -> tuple[Feed, str, str] | None:
        """The feed that ``path`` belongs to, the path in front of it, the path below ``v3/``."""
        if path.startswith(FLAT_CONTAINER):
            path = f"/v3/content/{path.removeprefix(FLAT_CONTAINER)}"
        head, slash, below = path.partition("/v3/")
        if not slash:
            return None
        name, asof, text = head.partition(AS_OF)
        known = self._feeds.get(name + "/")
        if known is None:
            return None
        return (self._earlier(known, text) if asof else known), head, below

    def _earlier(self, feed: Feed, text: str) -> Feed:
        """A feed as it was; raises BadRequest for what is no past date."""
        try:
            horizon = instant(unquote(text))
        except ValueError:
            raise BadRequest(NO_DATE) from None
        if horizon > self._lane.now():
            raise BadRequest("What a feed will be like, nobody knows yet; ask for a date in the past.")
        key = (feed.name, horizon)
        known: Feed | None = self._past.get(key)
        if known is None:
            known = self._past[key] = feed.at(horizon)
        return known


def _view(request: web.BaseRequest, asker: Asker, below: str) -> View:
    """How the client of a GET or HEAD sees what is published ``below`` our root; raises for other methods."""
    method = request.method
    if method not in READS:
        raise MethodNotAllowed(method, ("GET", "HEAD"))
    if request.body_exists:  # even where all of it is here already
        raise BadRequest("A GET or HEAD must not have a body.")
    return view_of(f"{asker.base}{below}", asker.accept_encoding, method == hdrs.METH_HEAD)


def _target(request: web.BaseRequest) -> tuple[str, str]:
    """Path and query as they were sent; raises for a target that is neither, or in a version that we do not speak."""
    if request.version.major != 1:
        raise UnknownVersion
    path, _, query = request.raw_path.partition("?")
    query = sendable_query(query) if query else ""
    if (path[:1] != "/" and (request.method, path) != (hdrs.METH_OPTIONS, "*")) or len(query) > MAX_QUERY:
        raise BadRequest("The request target must be a path or a URL of ours, with a query of at most 4096 characters.")
    return path, query


def _connection(request: web.BaseRequest) -> Connection:
    connection = request.protocol
    assert isinstance(connection, Connection), "the server is a LimitedServer"
    return connection


def _failed(request: web.BaseRequest, event: AccessEvent, error: ProxyError) -> web.StreamResponse:
    """What a client is told instead of an answer."""
    event.failed(error)
    response = answer(error, head=request.method == hdrs.METH_HEAD, more=event.more)
    if not request.content.is_eof() or isinstance(error, BadRequest | UnknownVersion):
        response.force_close()
    return response
