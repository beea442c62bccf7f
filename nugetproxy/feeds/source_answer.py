"""SourceAnswer is what one source says to a question that several are asked."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine, Iterable, Sequence
from typing import Any, Final, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from nugetproxy.engine.outcome import CacheStatus, Outcome
from nugetproxy.errors import ProxyError, Reason, UpstreamFailure, UpstreamUnavailable
from nugetproxy.sources.source import Source

T = TypeVar("T")

ABSENT: Final = CacheStatus(outcome=Outcome.ABSENT, hit=True)
"""Of what a source certainly lacks."""
MADE: Final = CacheStatus(outcome=Outcome.SYNTHESIZED, detail="synthesized")
"""Of what was made from held packages."""

_TELLING: Final = (
    Outcome.SYNTHESIZED,
    Outcome.STALE,
    Outcome.MISS,
    Outcome.COLLAPSED,
    Outcome.REVALIDATED,
    Outcome.BYPASS,
    Outcome.HIT,
    Outcome.ABSENT,
)
"""What an answer of several parts is called: as the first of these that one of them is."""


class SourceAnswer(Struct, frozen=True, kw_only=True):
    """One source's document, its links leading to the feed; or its word that there is none."""

    source: Source
    body: bytes = b""
    etag: str = ""
    """Equal for equal bytes; empty where there is no such document."""
    status: CacheStatus
    stored_at: float | None = None
    warnings: tuple[str, ...] = ()
    made: bool = False
    """It was made of what is held of an upstream that says more."""
    failure: UpstreamFailure | None = None
    """Why it had to be made."""

    @property
    def absent(self) -> bool:
        """Whether there is no such document."""
        return not self.etag

    @property
    def certain(self) -> bool:
        """Whether it is so now, as far as it need be known; not where upstream did not answer."""
        status = self.status
        fresh = status.ttl is None or status.ttl > 0 or status.detail == Reason.OFFLINE
        return status.forward_status is not None or (status.hit and fresh)


class SourceFailed(UpstreamUnavailable):
    """A source of a feed gave no usable answer, and without it there is no safe one; a final no is none either."""

    def __init__(self, feed: str, cause: UpstreamFailure, why: str) -> None:
        super().__init__(cause.upstream, cause.reason, cause.detail, retry_after=cause.retry_after)
        self.feed = feed
        self.cause = cause
        self.why = why
        """What makes this source necessary, as a sentence."""
        self.forwarded = cause.forwarded

    def __str__(self) -> str:
        return f"{self.cause} {self.why} (Feed {self.feed!r}; 'nugetproxy explain' says more.)"


class SourceUncertain(UpstreamUnavailable):
    """A private source last said, some time ago, that it has no such package; that may not be so any more."""

    def __init__(self, upstream: str) -> None:
        super().__init__(upstream, Reason.STATUS, "its last word, that it has no such package, is too old")


def absent_answer(source: Source, status: CacheStatus, stored_at: float | None = None) -> SourceAnswer:
    """The source has no such document."""
    return SourceAnswer(source=source, status=status, stored_at=stored_at)


async def ask_all(asked: Iterable[Coroutine[Any, Any, T]]) -> list[T | ProxyError]:
    """What each of them brings, or why it brings nothing; all at once."""
    tasks = [asyncio.ensure_future(one) for one in asked]
    try:
        return [await outcome_of(task) for task in tasks]
    finally:
        await cancel_all(tasks)


async def outcome_of(task: Awaitable[T]) -> T | ProxyError:
    """What it brings, or why it brings nothing."""
    try:
        return await task
    except ProxyError as failure:
        return failure


async def cancel_all(tasks: Sequence[asyncio.Future[Any]]) -> None:
    """Wait no longer for what is still under way."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def merged_status(parts: Sequence[CacheStatus], detail: str = "") -> CacheStatus:
    """Of an answer that has these parts (at least one); ``detail`` says what they do not."""
    telling = min(parts, key=lambda one: _TELLING.index(one.outcome))
    ttls = [one.ttl for one in parts if one.ttl is not None]
    asked = telling if telling.forwarded else next((one for one in parts if one.forwarded), telling)
    return replace(
        telling,
        forwarded=asked.forwarded,
        forward_status=asked.forward_status,
        hit=all(one.hit for one in parts),
        ttl=min(ttls, default=None) if telling.hit else telling.ttl,
        stored=telling.stored and all(one.stored or one.hit for one in parts),
        detail=detail or telling.detail,
    )


def first_failure(found: Iterable[Any]) -> ProxyError | None:
    """Why one of them brings nothing; an upstream's failure before one of our own."""
    failures = [one for one in found if isinstance(one, ProxyError)]
    return next((one for one in failures if isinstance(one, UpstreamFailure)), next(iter(failures), None))
