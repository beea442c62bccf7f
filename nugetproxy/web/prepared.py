"""Prepared is one answer of the lane, ready but for what the time of day says in it."""

from __future__ import annotations

import re
from time import time

from msgspec import Struct
from msgspec.structs import replace

from nugetproxy import log as logs
from nugetproxy.caching.conditions import Selection, select
from nugetproxy.engine.outcome import CacheStatus
from nugetproxy.engine.standing import Standing
from nugetproxy.metrics import Alike
from nugetproxy.store.history.sighting import What
from nugetproxy.store.history.tally import Tally
from nugetproxy.store.packages.held import HeldPackage
from nugetproxy.web.head_check import Condition
from nugetproxy.web.whole import http_date, status_line

OVERHEAD = 4864
"""Bytes that an answer costs besides its body: its two forms with their heads, what the log, the history say of it."""
_OF_CONTENT = re.compile(rb"\r\nContent-(?:Type|Length): [^\r]*")
_TYPE = b"\r\nContent-Type: "


class Form(Struct, kw_only=True):
    """One form of an answer: the whole, a part of it, or that it is as the client has it."""

    status: int
    template: bytes
    """Status line and header section with places for Date, Cache-Status, Age (where the answer has one)."""
    body: bytes | memoryview
    """Of a part the bytes of the whole, not others; empty where it comes out of a file."""
    size: int
    """Bytes of the body that are sent."""
    said: logs.Part
    """What the access event says of it."""
    what: What
    """What the history keeps of it."""
    start: int = 0
    """The first byte of the file that is sent, where there is one."""
    head: bytes = b""
    """As it was sent last."""
    second: int = -1
    """Wall time of that."""
    counts: Alike | None = None
    """What counts it, once there was one."""
    tally: Tally | None = None
    """What counted the last one for the history."""


class Prepared(Struct, kw_only=True):
    """One answer: what the ordinary path said to the same request line a moment ago."""

    whole: Form
    method: str
    etag: str | None
    size: int
    """Bytes of the representation, of which a HEAD has none here."""
    cache: CacheStatus
    stored_at: float | None
    """Wall time that Age counts from; None where it has none."""
    standing: Standing
    feed: str
    kind: str
    outcome: str
    carries_body: bool
    """True for a package, which a stop waits for."""
    held: HeldPackage | None
    """What the body is sent from; None for one in memory."""
    _condition: Condition | None = None
    _chosen: Form | None = None
    """The form for the condition of last time; None where the ordinary path must answer."""

    @property
    def weight(self) -> int:
        """Bytes that keeping it costs."""
        return len(self.whole.body) + OVERHEAD

    def answer(self, condition: Condition | None, now: float) -> Form | None:
        """What is sent at ``now`` (wall time): the head, then the body; None when the ordinary path must answer."""
        form = self.whole
        if condition is not None:
            if condition != self._condition:
                self._condition, self._chosen = condition, self._choose(condition)
            if self._chosen is None:
                return None
            form = self._chosen
        ttl = self.standing.ttl(now)
        if ttl is None:
            return None
        second = int(now)
        if second != form.second:
            values = [http_date(int(time())).encode(), replace(self.cache, ttl=ttl).header().encode()]
            if self.stored_at is not None:
                values.append(b"%d" % max(0, int(now - self.stored_at)))
            form.head, form.second = form.template % tuple(values), second
        return form

    def _choose(self, condition: Condition) -> Form | None:
        """The form that ``condition`` selects, by the same rules as on the ordinary path."""
        selection = select(self.method, {condition.name: condition.value}, self.etag, None, self.size)
        match selection.status:
            case 200:
                return self.whole
            case 206:
                return self._other(_part(self.whole.template, selection, self.size), selection)
            case 304:
                return self._other(_OF_CONTENT.sub(b"", self.whole.template), selection)
            case _:
                return None

    def _other(self, template: bytes, selection: Selection) -> Form:
        whole, fields = self.whole, template.partition(b"\r\n")[2]
        status, size = selection.status, selection.stop - selection.start
        got = status == 206 and selection.stop == self.size  # as AccessEvent.to_end says it
        return Form(
            status=status,
            template=b"%b\r\n%b" % (status_line(status).encode(), fields),
            body=memoryview(whole.body)[selection.start : selection.stop],
            size=size,
            start=selection.start,
            said=logs.part({**whole.said.fields, "status": status, "bytes": size}),
            what=replace(whole.what, status=status, size=size, pulled=whole.what.pulled and got),
        )


def _part(template: bytes, selection: Selection, size: int) -> bytes:
    """The head of a part, made of that of the whole."""
    first, last = selection.start, selection.stop - 1
    template = template.replace(_TYPE, b"\r\nContent-Range: bytes %d-%d/%d%b" % (first, last, size, _TYPE), 1)
    start = template.rindex(b"\r\nContent-Length: ")
    return b"%b\r\nContent-Length: %d\r\n\r\n" % (template[:start], last + 1 - first)
