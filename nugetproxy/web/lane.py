"""The lane answers hits before the HTTP parser: a look-aside in front of the ordinary path.

A request takes the lane only when its bytes are one whole, ordinary GET or HEAD with at most one condition (a range, an
entity tag), and the ordinary path has answered the same request line a moment ago for a client that sees us the same
way. Everything else (two conditions, a date, a body, a second request behind it, a field in an odd spelling) takes the
ordinary path, which fills the lane's table.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from typing import Protocol, TypeAlias

import structlog
from aiohttp.web_protocol import RequestHandler
from msgspec.structs import replace

from nugetproxy import log as logs
from nugetproxy.clock import Clock
from nugetproxy.metrics import Metrics
from nugetproxy.store.history.history import History
from nugetproxy.store.history.sighting import Who
from nugetproxy.upstream.asking import Asking
from nugetproxy.web.access import Access, AccessEvent, who_fields
from nugetproxy.web.admission import Admission
from nugetproxy.web.asker import MAX_SESSION, SESSION_ID
from nugetproxy.web.head_check import LINE, Condition, parse_fields, split_condition
from nugetproxy.web.negotiation import accepts_gzip
from nugetproxy.web.prepared import Form, Prepared
from nugetproxy.web.promises import Promise, Promises
from nugetproxy.web.seen import ODD, Asked, Peer, Seen

log = structlog.get_logger(__name__)

MAX_HEADS = 4096
"""Header sections whose meaning is remembered."""
MAX_VIEWS = 256
"""Ways in which clients may see us at the same time; strangers can make up host names without end."""

PRIVATE = frozenset(
    {
        "_buffer_paused",
        "_close",
        "_current_request",
        "_force_close",
        "_keepalive",
        "_keepalive_handle",
        "_keepalive_timeout",
        "_loop",
        "_manager",
        "_messages",
        "_next_keepalive_close_time",
        "_parser",
        "_paused",
        "_request_count",
        "_request_factory",
        "_request_handler",
        "_task_handler",
        "_upgraded",
        "_waiter",
    }
)
"""Attributes of aiohttp's handler that are read or written here, and that aiohttp promises nobody."""


def is_usable() -> bool:
    """Whether aiohttp's handler is the one that the lane knows; else there is a warning, and all goes as without it."""
    slots = {name for cls in RequestHandler.__mro__ for name in getattr(cls, "__slots__", ())}
    missing = sorted(PRIVATE - slots)
    if missing:
        log.warning("lane.closed", detail=f"aiohttp's connection handler has no {', '.join(missing)} any more")
    return not missing


_Answered: TypeAlias = tuple[Prepared, Form, Seen, float, float, float]
"""Wall time of the end, seconds in all, of which so many until the client took what was sent."""


class Stopping(Protocol):
    """What knows of a stop."""

    draining: bool
    """True when the process is about to stop."""


class Lane:
    """The table of prepared answers, bounded in bytes."""

    def __init__(
        self,
        max_bytes: int,
        *,
        admission: Admission,
        metrics: Metrics,
        history: History,
        clock: Clock,
        stopping: Stopping,
    ) -> None:
        self.now = clock.now
        self.stopping = stopping
        self.generation = 0
        """Rises when answers may have changed that no standing knows of."""
        self.answered = 0
        """Requests that were answered here."""
        self._counts = metrics.requests
        self._history = history
        self._unsettled: list[_Answered] = []
        """Answers that are yet to be counted and told of."""
        self._access = Access(metrics, history)
        self._max_bytes = max_bytes
        self.admission = admission
        self._bytes = 0
        self._views: dict[Hashable, dict[bytes, Prepared]] = {}
        self._order: dict[tuple[Hashable, bytes], Prepared] = {}
        self._promises = Promises(max_bytes // 4)
        self._heads: dict[tuple[Peer, bytes], Seen] = {}

    def see(self, peer: Peer, block: bytes) -> tuple[Seen | None, Condition | None]:
        """What the header section ``block`` (from the line break of the request line on) says, with its condition.

        None: nothing for us now. What is none of ours for ever may read nothing.
        """
        seen = self._heads.get((peer, block))
        if seen is not None:
            return seen, None
        block, condition = split_condition(block)
        return self._known(peer, block), condition

    def _known(self, peer: Peer, block: bytes) -> Seen | None:
        try:
            return self._heads[peer, block]
        except KeyError:
            if len(self._views) >= MAX_VIEWS:
                self.clear()
            if len(self._heads) >= MAX_HEADS:
                self._heads.clear()
            seen = self._see(peer, block)
            if seen is not None and seen.key is not None:
                self._heads[peer, block] = seen
            return seen

    def _see(self, peer: Peer, block: bytes) -> Seen | None:
        fields = parse_fields(block)
        if fields is None:
            return replace(ODD, generation=self.generation)
        may = self.admission.readable(peer.address, fields)
        if may is None:
            return None
        addresses = self.admission.addresses
        seen_as = addresses.looked_at(peer.address, fields)
        key = (peer.tls, peer.local, seen_as, accepts_gzip(fields.get("accept-encoding", "")), may.feeds)
        client = addresses.client_behind(peer.address, fields.get("x-forwarded-for", ""))
        session = fields.get(SESSION_ID.lower(), "")
        return Seen(
            key=key,
            answers=self._views.setdefault(key, {}),
            may=may,
            generation=self.generation,
            over_tls=peer.tls,
            who=logs.part(who_fields(client, session)),
            asker=Who(client, session[:MAX_SESSION], self.admission.shown_by(fields.get("authorization", ""))),
        )

    def keep(self, asked: Asked, promise: Promise) -> None:
        """The ordinary path has answered ``asked`` without its condition; the lane will, as ``promise`` says it."""
        seen, line, _ = asked
        if promise.event.feed not in seen.may.feeds or seen.generation != self.generation or self.stopping.draining:
            return
        if LINE.fullmatch(line) is None:
            return
        self._drop(seen.key, line)
        self._promises.put((seen.key, line), promise)

    def prepare(self, seen: Seen, line: bytes) -> Prepared | None:
        """What was promised for that, ready from now on; None where nothing was, or it does not hold any more."""
        promise = self._promises.take((seen.key, line))
        if promise is None or seen.generation != self.generation:
            return None
        prepared = promise.prepare(self.now(), over_tls=seen.over_tls)
        if prepared is None or prepared.weight > self._max_bytes // 4:
            return None
        seen.answers[line] = self._order[seen.key, line] = prepared
        self._bytes += prepared.weight
        while self._bytes > self._max_bytes:
            self._drop(*next(iter(self._order)))
        return prepared

    def _drop(self, key: Hashable, line: bytes) -> None:
        known = self._order.pop((key, line), None)
        if known is not None:
            self._bytes -= known.weight
            del self._views[key][line]

    def count(
        self, prepared: Prepared, form: Form, seen: Seen, now: float, seconds: float, *, waited: float = 0.0
    ) -> None:
        """An answer was given at ``now`` (wall time), in so many seconds; for ``waited`` of them its client took it.

        What follows from it is done in the next turn of the loop, for all answers of this one together: clients do not
        wait for it, and it takes a fraction of the time when it is done several times in a row.
        """
        self.answered += 1
        if not self._unsettled:
            asyncio.get_running_loop().call_soon(self._settle)
        self._unsettled.append((prepared, form, seen, now, seconds, waited))

    def _settle(self) -> None:
        """Metrics, history and log get what was answered."""
        answered, self._unsettled = self._unsettled, []
        history, takes_hit, emit = self._history, logs.takes_hit, logs.emit_request
        for prepared, form, seen, now, seconds, waited in answered:
            if form.counts is None:
                form.counts = self._counts.alike(prepared.feed, prepared.kind, prepared.outcome, form.status)
            form.counts.count(seconds, form.size)
            asker, tally = seen.asker, form.tally
            if asker.session:
                history.enter((now, form.what, asker, seconds, 0.0, waited))
            elif tally is None or not tally.takes(now, asker):
                form.tally = history.count(now, form.what, asker)
            if stands_for := takes_hit():
                emit(form.said, seen.who, seconds * 1000, stands_for)

    def cut(self, prepared: Prepared, form: Form, seen: Seen, why: str, seconds: float) -> None:
        """An answer was cut off, so many seconds after its request."""
        told, asker, what = form.said.fields, seen.asker, form.what
        event = AccessEvent(
            method=str(told["method"]),
            path=str(told["path"]),
            client=asker.client,
            session=asker.session,
            token=asker.token,
            feed=what.feed,
            kind=what.kind,
            id=what.id,
            version=what.version,
        )
        event.cut(why)
        self._access.end(event, None, seconds, Asking(asker.client))

    def kept(self) -> list[tuple[Prepared, bytes]]:
        """All answers with their request lines."""
        return [(prepared, line) for (_, line), prepared in self._order.items()]

    def use(self, admission: Admission) -> None:
        """From now on other rules are right; nothing that was answered by those of before is answered again."""
        self.admission = admission
        self.clear()

    def clear(self) -> None:
        """Forget all answers, with what header sections mean: a reload, a revoked token, another rule."""
        self.generation += 1
        self._order.clear()
        self._promises.clear()
        self._views.clear()
        self._heads.clear()
        self._bytes = 0
