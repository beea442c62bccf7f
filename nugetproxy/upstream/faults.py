"""Faults remembers what was wrong with single targets, for a short and growing while."""

from __future__ import annotations

from types import TracebackType

from cachetools import LRUCache
from msgspec import Struct

from nugetproxy.clock import Clock
from nugetproxy.errors import Reason, UpstreamFailure, upstream_failure
from nugetproxy.upstream.questions import Question
from nugetproxy.upstream.sessions import Lane

FIRST = 1.0
LONGEST = 60.0
"""How long a target is left alone after its first failure, and after many in a row, in seconds."""
MOST = 4096

OF_A_TARGET = frozenset(
    {
        Reason.SERVER_ERROR,
        Reason.PROTOCOL,
        Reason.TRUNCATED,
        Reason.STALL,
        Reason.SLOW,
        Reason.TOO_LARGE,
        Reason.INVALID_CONTENT,
        Reason.IDENTITY,
        Reason.ZIP,
        Reason.HASH,
        Reason.PIN,
    }
)
"""What is wrong with a target rather than with its host."""


class _Fault(Struct, frozen=True, kw_only=True):
    reason: Reason
    detail: str
    until: float
    span: float


class Faults:
    """The targets of one upstream that failed last time."""

    def __init__(self, upstream: str, clock: Clock) -> None:
        self._upstream = upstream
        self._clock = clock
        self._known: LRUCache[str, _Fault] = LRUCache(MOST)

    def __repr__(self) -> str:
        return f"<Faults of {self._upstream!r}: {len(self._known)} targets>"

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._known)

    def remembered(self, question: Question) -> Remembered:
        """Fail at once while what is wrong with this target is remembered; remember what is wrong with it inside."""
        return Remembered(self, question)

    def check(self, target: str) -> None:
        """Raises again what is wrong with ``target``, as long as it is left alone for that."""
        known = self._known.get(target)
        left = known.until - self._clock.monotonic() if known is not None else 0.0
        if known is not None and left > 0:
            failure = upstream_failure(self._upstream, known.reason, known.detail)
            failure.remembered = True
            raise failure

    def note(self, target: str, failure: UpstreamFailure) -> None:
        """``target`` failed, all tries together."""
        if failure.reason not in OF_A_TARGET or failure.of_host or failure.remembered:
            return
        known = self._known.get(target)
        span = FIRST if known is None else min(2 * known.span, LONGEST)
        until = self._clock.monotonic() + span
        self._known[target] = _Fault(reason=failure.reason, detail=failure.detail, until=until, span=span)

    def forget(self, target: str) -> None:
        """``target`` is as it should be."""
        self._known.pop(target, None)


class Remembered:
    """As ``Faults.remembered``: no generator, as every miss enters one."""

    __slots__ = ("_faults", "_question")

    def __init__(self, faults: Faults, question: Question) -> None:
        self._faults = faults
        self._question = question

    def __enter__(self) -> None:
        if self._faults:
            self._faults.check(self._question.name)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, UpstreamFailure):
            self._faults.note(self._question.name, error)
        elif error is None and self._faults and self._question.request.lane is not Lane.PACKAGES:
            self._faults.forget(self._question.name)  # of a package, only its headers are here
