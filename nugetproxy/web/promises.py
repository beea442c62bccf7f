"""Promises are answers that the lane prepares when somebody asks for them once more."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TypeAlias

from aiohttp import hdrs
from msgspec import Struct
from msgspec.structs import replace

from nugetproxy import log as logs
from nugetproxy.engine.outcome import LASTING, of_next
from nugetproxy.engine.standing import Later, Standing
from nugetproxy.feeds.reply import HeldBody, Reply
from nugetproxy.web.access import AccessEvent, event_fields, what_of
from nugetproxy.web.prepared import Form, Prepared
from nugetproxy.web.whole import Whole, template_of

MAX_BODY = 128 * 1024
"""Bytes of the largest body that is kept here; larger ones are sent from their files."""

OVERHEAD = 2048
"""Bytes that a promise costs besides its body."""

Place: TypeAlias = tuple[Hashable, bytes]
"""How a client sees us, what it asks for."""


class Promise(Struct, frozen=True, kw_only=True):
    """An answer of a moment ago, with what makes that of the next time; most are never asked for again."""

    event: AccessEvent
    standing: Standing | Later | None
    """Of that answer, or what makes it; None of one that is followed by another one."""
    make: Callable[[], tuple[Reply, Whole] | None]
    """What is said to whoever asks now; None where only the ordinary path knows."""
    at: float
    """Wall time of that answer."""
    size: int
    """Bytes of the body that it keeps in memory."""

    @property
    def weight(self) -> int:
        """Bytes that keeping it costs."""
        return self.size + OVERHEAD

    def prepare(self, now: float, *, over_tls: bool) -> Prepared | None:
        """The answer as a hit, whatever the one of before was; ``now`` is a wall time."""
        made = self.make()
        if made is None:
            return None
        reply, response = made
        standing, at = self.standing, self.at
        if standing is None:
            standing, at = reply.standing() if reply.standing is not None else None, now
        elif isinstance(standing, Later):
            standing = standing()
        if standing is None or response.status != 200 or reply.cache.outcome not in LASTING:
            return None
        event = replace(self.event, status=200, to_end=True)
        cache = of_next(reply.cache)
        event.told(cache)
        body, held = response.whole_body, None
        if isinstance(reply.body, HeldBody) and not body and event.method == hdrs.METH_GET:
            if over_tls:  # which the kernel does not speak
                return None
            held = reply.body.held
        if len(body) > MAX_BODY:
            return None
        size = len(body) if held is None else held.size
        whole = Form(
            status=200,
            template=template_of(response, reply.age is not None),
            body=body,
            size=size,
            said=logs.part(event_fields(event, 200, size)),
            what=what_of(event, size),
        )
        return Prepared(
            whole=whole,
            method=event.method,
            etag=reply.etag,
            size=size,
            cache=cache,
            stored_at=None if reply.age is None else at - reply.age,
            standing=standing,
            feed=event.feed,
            kind=event.kind,
            outcome=event.outcome,
            carries_body=not isinstance(reply.body, bytes),
            held=held,
        )


class Promises:
    """Those that nobody has asked for yet, bounded in bytes; the oldest go first."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._table: dict[Place, Promise] = {}

    def put(self, place: Place, promise: Promise) -> None:
        """Keep ``promise`` instead of an earlier one."""
        self.take(place)
        self._table[place] = promise
        self._bytes += promise.weight
        while self._bytes > self._max_bytes:
            self.take(next(iter(self._table)))

    def take(self, place: Place) -> Promise | None:
        """The promise of that; it is kept no longer."""
        promise = self._table.pop(place, None)
        if promise is not None:
            self._bytes -= promise.weight
        return promise

    def clear(self) -> None:
        """Keep none."""
        self._table.clear()
        self._bytes = 0
