"""Ops answers what operators and their machines ask: health, readiness, metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence

import orjson
from aiohttp import hdrs

from nugetproxy.admin.desk import Watched
from nugetproxy.engine.outcome import CACHE_NAME
from nugetproxy.errors import MethodNotAllowed, NotFound, ProxyError
from nugetproxy.feeds.feed import Feed
from nugetproxy.metrics import Metrics
from nugetproxy.upstream.breaker import BreakerState
from nugetproxy.upstream.patience import spared
from nugetproxy.web import http as web
from nugetproxy.web.access import AccessEvent
from nugetproxy.web.admission import Admission
from nugetproxy.web.hosts import FORWARDED, Network, is_in
from nugetproxy.web.whole import Whole, common_headers

READY_SECONDS = 2.0
TEXT = "text/plain; charset=utf-8"
METHODS = "GET, HEAD, POST, PUT, DELETE"
"""That one of our resources or another takes."""
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Ops:
    """``/health/live``, ``/health/ready`` and ``/metrics``."""

    def __init__(
        self,
        feeds: Mapping[str, Feed],
        metrics: Metrics,
        watched: Sequence[Watched],
        admission: Admission,
        *,
        metrics_from: Iterable[Network],
    ) -> None:
        """``feeds`` by name; what is ``watched`` tells of its problems; ``metrics_from`` are the networks that may
        read ``/metrics`` directly.
        """
        self._metrics = metrics
        self._watched = tuple(watched)
        self.use(feeds, admission, metrics_from=metrics_from)
        self.draining = False

    def use(self, feeds: Mapping[str, Feed], admission: Admission, *, metrics_from: Iterable[Network]) -> None:
        """From now on answer for these."""
        self._feeds = feeds
        self._admission = admission
        self._metrics_from = tuple(metrics_from)

    async def respond(self, request: web.BaseRequest, path: str, event: AccessEvent, *, trusted: bool = False) -> Whole:
        """The answer to a path that belongs to no feed; ``trusted`` readers need not be in ``metrics_from``."""
        if path == "*":  # OPTIONS, of the server as a whole (RFC 9110 section 9.3.7)
            return Whole(
                204, {**common_headers("no-store", f"{CACHE_NAME}; fwd=bypass"), hdrs.ALLOW: METHODS}, length=None
            )
        handler = {"/health/live": self._live, "/health/ready": self._ready, "/metrics": self._exposition}.get(path)
        if path == "/metrics" and not trusted and not self._may_read_metrics(request):
            handler = handler if hdrs.AUTHORIZATION in request.headers else None
            if handler is not None:
                self._admission.admit_admin(request, event.client)
        if handler is None:
            raise NotFound(
                "There is no such resource; the default feed's service index is /v3/index.json, that of a feed NAME is "
                "/NAME/v3/index.json."
            )
        if request.method not in {hdrs.METH_GET, hdrs.METH_HEAD}:
            raise MethodNotAllowed(request.method, ("GET", "HEAD"))
        event.kind = path.strip("/").replace("/", "_")
        return await handler(request)

    async def _live(self, _request: web.BaseRequest) -> Whole:
        return _response(200, b"alive\n", TEXT)

    async def _ready(self, _request: web.BaseRequest) -> Whole:
        """Ready means: every feed has a service index to serve, and we are not about to stop."""
        reasons = [f"{name}: {why}" for name, feed in self._feeds.items() if (why := await _unready(feed))]
        if self.draining:
            reasons.insert(0, "stopping")
        states = {name: feed.breakers() for name, feed in self._feeds.items()}
        body = {
            "ready": not reasons,
            "reasons": reasons,
            "problems": [one.problem for one in self._watched if one.problem],
            "breakers": {name: {origin: state.phase for origin, state in one.items()} for name, one in states.items()},
            "last_failures": {name: _causes(one) for name, one in states.items() if _causes(one)},
        }
        return _response(503 if reasons else 200, orjson.dumps(body) + b"\n", "application/json; charset=utf-8")

    async def _exposition(self, _request: web.BaseRequest) -> Whole:
        return _response(200, await asyncio.to_thread(self._metrics.exposition), METRICS_TYPE)

    def _may_read_metrics(self, request: web.BaseRequest) -> bool:
        """Only from the configured networks, never through a front proxy (whose own address is not the reader's)."""
        if any(name in request.headers for name in FORWARDED):
            return False
        return is_in(request.remote or "", self._metrics_from)


async def _unready(feed: Feed) -> str:
    try:
        with spared(_at_once):
            async with asyncio.timeout(READY_SECONDS):
                await feed.ready()
    except TimeoutError:
        return "its service index is not here yet; upstream is slow"
    except ProxyError as error:
        return str(error)
    return ""


async def _at_once() -> bool:
    """Whoever asks for health waits for no lost upstream."""
    return True


def _causes(states: Mapping[str, BreakerState]) -> dict[str, dict[str, str]]:
    """The last failure of each origin that is in trouble."""
    causes = ((origin, state.cause) for origin, state in states.items())
    return {
        origin: {"reason": cause.reason, "detail": cause.detail, "when": cause.when}
        for origin, cause in causes
        if cause is not None
    }


def _response(status: int, body: bytes, content_type: str) -> Whole:
    headers = {
        **common_headers("no-store", f"{CACHE_NAME}; fwd=bypass"),
        hdrs.CONTENT_TYPE: content_type,
    }
    return Whole(status, headers, body, length=len(body))
