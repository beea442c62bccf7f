"""Access is the one wide event per request, with its metrics."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web

from nugetproxy import log as logs
from nugetproxy.engine.outcome import Outcome
from nugetproxy.errors import ProxyError, Reason, UpstreamFailure
from nugetproxy.feeds.reply import Reply
from nugetproxy.metrics import Metrics
from nugetproxy.web.answers import status_of
from nugetproxy.web.hosts import PublicAddresses
from nugetproxy.web.whole import Whole

SESSION_ID = "X-NuGet-Session-Id"
MAX_TEXT = 300
OPERATORS = frozenset({"health_live", "health_ready", "metrics"})
"""Kinds that machines ask for every few seconds; the log is about clients."""
_REASONS = frozenset(reason.value for reason in Reason)


@dataclass(slots=True, kw_only=True)
class AccessEvent:
    """What is known of one request so far."""

    method: str
    path: str
    client: str
    session: str | None = None
    feed: str = ""
    kind: str = "other"
    outcome: str = Outcome.BYPASS.value
    status: int = 0
    reason: str = ""
    """A word of ``Reason``; empty where there is none."""
    detail: str = ""

    def answered(self, reply: Reply) -> None:
        """A feed has a reply."""
        self.kind = reply.kind.value
        self.outcome = reply.cache.outcome.value
        said = reply.cache.detail
        self.reason, self.detail = (said, "") if said in _REASONS else ("", said)

    def failed(self, error: ProxyError) -> None:
        """The request ends with an error response."""
        self.status = status_of(error)
        self.outcome = (Outcome.FAILED if self.status >= 500 else Outcome.REJECTED).value
        self.detail = str(error)[:MAX_TEXT]
        self.reason = error.reason.value if isinstance(error, UpstreamFailure) else ""

    def cut(self, why: str) -> None:
        """The response was cut off, or its client left."""
        self.detail = f"cut off: {why}"[:MAX_TEXT]
        self.reason = ""
        self.outcome = Outcome.FAILED.value


class Access:
    """Begins and ends access events."""

    def __init__(self, metrics: Metrics, addresses: PublicAddresses) -> None:
        self._counts = metrics.requests
        self._addresses = addresses

    def begin(self, request: web.BaseRequest) -> AccessEvent:
        """A request has come in."""
        path = request.raw_path.partition("?")[0]
        return AccessEvent(
            method=request.method,
            path=path[:MAX_TEXT],
            client=self._addresses.client(request),
            session=request.headers.get(SESSION_ID, "")[:64] or None,
        )

    def end(self, event: AccessEvent, response: web.StreamResponse | None, seconds: float) -> None:
        """The response is ready or sent; ``None``: it was cut off. ``seconds`` since the request came in."""
        event.status = response.status if response is not None else event.status
        size = _size(response)
        self._counts.count(event.kind, event.outcome, event.status, seconds=seconds, size=size)
        fields: dict[str, object] = {
            "method": event.method,
            "path": event.path,
            "status": event.status,
            "kind": event.kind,
            "outcome": event.outcome,
            "bytes": size,
            "ms": round(seconds * 1000, 2),
            "client": event.client,
        }
        if event.feed:
            fields["feed"] = event.feed
        if event.reason:
            fields["reason"] = event.reason
        if event.detail:
            fields["detail"] = event.detail
        if event.session:
            fields["session"] = event.session
        logs.emit("request", fields, "debug" if event.kind in OPERATORS else "info")


def _size(response: web.StreamResponse | None) -> int:
    if response is None:
        return 0
    if isinstance(response, Whole):
        return response.body_length
    return response.content_length or response.body_length
