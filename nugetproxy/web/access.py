"""Access is the one wide event per request, with its metrics."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Protocol

from msgspec import Struct, field

from nugetproxy import log as logs
from nugetproxy.engine.outcome import CacheStatus, Outcome
from nugetproxy.errors import ProxyError, Reason, UpstreamFailure
from nugetproxy.feeds.reply import Reply
from nugetproxy.metrics import Metrics
from nugetproxy.nuget.kinds import Kind
from nugetproxy.nuget.operations import operation
from nugetproxy.nuget.routes import Route
from nugetproxy.store.history.history import History
from nugetproxy.store.history.sighting import What, Who
from nugetproxy.upstream.asking import Asking
from nugetproxy.web import http as web
from nugetproxy.web.answers import status_of
from nugetproxy.web.asker import MAX_SESSION, Asker
from nugetproxy.web.cors import NO_FIELDS
from nugetproxy.web.streamed import Streamed
from nugetproxy.web.whole import Whole

MAX_TEXT = 300
HITS_REMEMBERED = 512
"""Sorts of hits of which it is remembered what history and log say of them."""
LEFT = ("cut off: client", "cut off: the client")
"""How it is said that an answer ended whose client left, or took nothing for long."""
GIVEN = frozenset({200, 206, 302})
"""Statuses of a package that a client has got, here or in the bucket; of parts, it is the last one that counts."""
OPERATORS = frozenset({"health_live", "health_ready", "metrics"})
"""Kinds that machines ask for every few seconds; the log is about clients."""
_REASONS = frozenset(reason.value for reason in Reason)
HIT = Outcome.HIT.value
PARTIAL = 206
BYPASS = Outcome.BYPASS.value


class AccessEvent(Struct, kw_only=True):
    """What is known of one request so far."""

    method: str
    path: str
    client: str
    session: str = ""
    traceparent: str = ""
    """The trace that it is a part of, as the client says (W3C Trace Context)."""
    token: str = ""
    """Name of the token that was shown; empty without one."""
    feed: str = ""
    kind: str = "other"
    id: str = ""
    version: str = ""
    more: Mapping[str, str] = field(default_factory=lambda: NO_FIELDS)
    """Header fields of the answer, whatever it is."""
    outcome: str = BYPASS
    status: int = 0
    to_end: bool = True
    """False where the answer is a part behind which there is more."""
    reason: str = ""
    """A word of ``Reason``; empty where there is none."""
    detail: str = ""

    def routed(self, route: Route) -> None:
        """It is known what is asked for, whatever becomes of that."""
        self.kind = route.kind.value if route.kind is not None else self._operation(route)
        self.id, self.version = route.id, route.version

    def _operation(self, route: Route) -> str:
        if not route.write:
            return route.resource
        wanted = operation(self.method, route)
        return wanted.name if wanted is not None else "write"

    def named(self, id: str, version: str) -> None:
        """It is known which package this is about."""
        self.id, self.version = id, version

    def answered(self, reply: Reply) -> None:
        """A feed has a reply."""
        self.kind = reply.kind._value_  # ``value`` takes ten times as long
        self.told(reply.cache)

    def told(self, cache: CacheStatus) -> None:
        """It is known how the reply came about."""
        self.outcome = cache.outcome._value_
        said = cache.detail
        self.reason, self.detail = (said, "") if said in _REASONS else ("", said)

    def failed(self, error: ProxyError) -> None:
        """The request ends with an error response."""
        self.status = status_of(error)
        theirs = isinstance(error, UpstreamFailure)  # a final no of theirs is a 403 that nobody here has decided
        self.outcome = (Outcome.FAILED if theirs or self.status >= 500 else Outcome.REJECTED).value
        self.detail = str(error)[:MAX_TEXT]
        self.reason = error.reason.value if isinstance(error, UpstreamFailure) else ""

    def cut(self, why: str) -> None:
        """The response was cut off, or its client left."""
        self.detail = f"cut off: {why}"[:MAX_TEXT]
        self.reason = ""
        self.outcome = Outcome.FAILED.value


def begin(request: web.BaseRequest, asker: Asker) -> AccessEvent:
    """A request has come in."""
    return AccessEvent(
        method=request.method,
        path=request.raw_path.partition("?")[0][:MAX_TEXT],
        client=asker.client,
        session=asker.session,
        traceparent=asker.traceparent,
        more=NO_FIELDS,
    )


class Tracer(Protocol):
    """What a trace is made by."""

    def note(self, event: AccessEvent, size: int, asked: Asking) -> None:
        """A request was answered just now."""

    def close(self) -> None:
        """Send what is still to be sent; blocks."""


class Access:
    """Ends access events."""

    def __init__(self, metrics: Metrics, history: History, tracer: Tracer | None = None) -> None:
        self._tracer = tracer
        self._counts = metrics.requests
        self._history = history

    def end(self, event: AccessEvent, response: web.StreamResponse | None, seconds: float, asked: Asking) -> None:
        """The response is ready or sent; ``None``: it was cut off. ``seconds`` since the request came in; ``asked``
        says how many of them were spent waiting for upstreams.
        """
        event.status = response.status if response is not None else event.status
        event.to_end = event.status != PARTIAL or _reaches_end(response)
        size, upstream = response.body_length if response is not None else 0, asked.seconds
        self._counts.count(event.feed, event.kind, event.outcome, event.status, seconds=seconds, size=size)
        is_hit = event.outcome == HIT and event.status < 400
        told = _told_again(event, size) if is_hit and event.feed else None
        if event.feed:
            taking = response.waited if isinstance(response, Streamed) else 0.0
            self._remember(event, told, size, seconds=seconds, upstream=upstream, client=taking)
        if self._tracer is not None and event.kind not in OPERATORS:
            self._tracer.note(event, size, asked)
        stands_for = logs.takes_hit() if is_hit else 1
        if not stands_for:
            return
        if told is not None and not upstream:
            client = _client_part(event.client, event.session, logs.secrets_known())
            logs.emit_request(told.said, client, seconds * 1000, stands_for)
            return
        fields = event_fields(event, event.status, size)
        fields["ms"] = round(seconds * 1000, 2)
        if upstream:
            fields["upstream_ms"] = round(upstream * 1000, 2)
        fields.update(who_fields(event.client, event.session))
        fields.update(logs.sampled(stands_for))
        logs.emit("request", fields, "debug" if event.kind in OPERATORS else "info")

    def _remember(
        self, event: AccessEvent, told: _Told | None, size: int, *, seconds: float, upstream: float, client: float
    ) -> None:
        """The history, too, is told of it."""
        history = self._history
        who = _who(event.client, event.session, event.token)
        if told is not None and not who.session:
            history.count(history.now(), told.what, who)
            return
        what = told.what if told is not None else what_of(event, size)
        history.note(what, who, seconds=seconds, upstream=upstream, client=client)


_who = lru_cache(maxsize=HITS_REMEMBERED)(Who)
"""The same object for the same client, so that its hits are counted together."""


class _Told(Struct, frozen=True):
    """What history and log say of an answer, whoever got it."""

    what: What
    said: logs.Part


def _told_again(event: AccessEvent, size: int) -> _Told:
    """The same for every hit of this sort: made once, as making it costs a tenth of the hit."""
    asked = (event.method, event.path, event.feed, event.kind, event.id, event.version)
    said = (event.outcome, event.reason, event.detail)
    return _told(asked, said, event.status, size, event.to_end, logs.secrets_known())


@lru_cache(maxsize=HITS_REMEMBERED)
def _told(asked: tuple[str, ...], said: tuple[str, ...], status: int, size: int, to_end: bool, _secrets: int) -> _Told:
    method, path, feed, kind, id, version = asked
    outcome, reason, detail = said
    event = AccessEvent(
        method=method,
        path=path,
        client="",
        feed=feed,
        kind=kind,
        id=id,
        version=version,
        outcome=outcome,
        status=status,
        to_end=to_end,
        reason=reason,
        detail=detail,
    )
    return _Told(what_of(event, size), logs.part(event_fields(event, status, size)))


def _reaches_end(response: web.StreamResponse | None) -> bool:
    """Whether a part is one behind which there is no more."""
    said = response.fields.get("Content-Range", "") if isinstance(response, Whole | Streamed) else ""
    last, _, size = said.partition("-")[2].partition("/")
    return last.isdecimal() and size == str(int(last) + 1)


@lru_cache(maxsize=HITS_REMEMBERED)
def _client_part(client: str, session: str, _secrets: int) -> logs.Part:
    return logs.part(who_fields(client, session))


def what_of(event: AccessEvent, size: int) -> What:
    """What the history keeps of an answer, whoever got it."""
    # Whoever leaves, or takes nothing, has its reasons; nothing has failed here.
    left = event.detail.startswith(LEFT)
    got = event.method == "GET" and event.status in GIVEN and event.to_end and bool(event.id and event.version)
    return What(
        feed=event.feed,
        kind=event.kind,
        id=event.id,
        version=event.version,
        outcome="left" if left else event.outcome,
        status=event.status,
        size=size,
        reason=event.reason,
        detail=event.detail,
        pulled=got and event.kind == Kind.PACKAGE,
    )


def event_fields(event: AccessEvent, status: int, size: int) -> dict[str, object]:
    """What the log says of an answer, whoever got it."""
    fields: dict[str, object] = {
        "method": event.method,
        "path": event.path,
        "status": status,
        "kind": event.kind,
        "outcome": event.outcome,
        "bytes": size,
    }
    if event.feed:
        fields["feed"] = event.feed
    if event.id:
        fields["id"] = event.id
    if event.version:
        fields["version"] = event.version
    if event.reason:
        fields["reason"] = event.reason
    if event.detail:
        fields["detail"] = event.detail
    return fields


def who_fields(client: str, session: str) -> dict[str, object]:
    """What the log says of the client; ``session`` as it sent it."""
    return {"client": client, "session": session[:MAX_SESSION]} if session else {"client": client}
