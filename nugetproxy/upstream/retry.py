"""When a request is made once more."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from email.utils import parsedate_to_datetime
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception

from nugetproxy.clock import Clock
from nugetproxy.errors import Reason, UpstreamFailure
from nugetproxy.upstream.settings import UpstreamSettings

T = TypeVar("T")

RETRIED = frozenset(
    {
        Reason.REFUSED,
        Reason.CONNECT_TIMEOUT,
        Reason.READ_TIMEOUT,
        Reason.DNS,
        Reason.DNS_TIMEOUT,
        Reason.RESET,
        Reason.TRUNCATED,
        Reason.STALL,
        Reason.SERVER_ERROR,
        Reason.RATE_LIMITED,
        Reason.EXHAUSTED,
    }
)
PATIENCE = 5.0
"""Longest Retry-After that is waited for, in seconds; a longer one is handed to the client."""
LONGEST_HOLD = 60.0
"""Longest Retry-After that is believed, in seconds."""


def parse_retry_after(value: str | None, now: float) -> float | None:
    """Retry-After (RFC 9110 section 10.2.3), seconds or a date, as seconds from ``now``; None if there is none."""
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        return min(float(value[:9]), LONGEST_HOLD)
    try:
        when = parsedate_to_datetime(value).timestamp()
    except (ValueError, OverflowError):
        return None
    return min(max(0.0, when - now), LONGEST_HOLD)


def is_retried(error: BaseException) -> bool:
    """May this pass within seconds?"""
    return (
        isinstance(error, UpstreamFailure)
        and error.reason in RETRIED
        and (error.retry_after is None or error.retry_after <= PATIENCE)
    )


def delay(attempt: int, base: float, retry_after: float | None) -> float:
    """Seconds after failed try number ``attempt`` (from 1): exponential, jittered downwards, not before upstream
    said."""
    jittered = base * 2.0 ** (attempt - 1) * random.uniform(0.5, 1.0)  # noqa: S311 - to spread, not to hide
    return jittered if retry_after is None else retry_after + jittered


class RetryBudget:
    """Further tries as a share of first ones, so that retries cannot multiply the load on an upstream in trouble.

    A reserve lets single requests be tried again at once; then one request in ten earns one further try.
    """

    RESERVE = 20.0
    SHARE = 0.1

    def __init__(self) -> None:
        self._left = self.RESERVE

    def earn(self) -> None:
        """A request is made for the first time."""
        self._left = min(self.RESERVE, self._left + self.SHARE)

    def spend(self) -> bool:
        """Whether one more try may be made; if so it is paid for."""
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True


async def with_retries(
    attempt: Callable[[], Awaitable[T]],
    settings: UpstreamSettings,
    clock: Clock,
    budget: RetryBudget,
    retried: Callable[[], None],
    *,
    is_free: Callable[[], bool] = lambda: False,
) -> T:
    """What ``attempt`` returns, tried up to ``settings.tries`` times within ``settings.document_deadline``.

    ``retried`` is called before each further try, which ``budget`` must allow, unless it ``is_free``. Raises the last
    try's exception.
    """
    began = clock.monotonic()
    budget.earn()
    try:
        return await attempt()  # tenacity's own work is a tenth of what a cold document costs: only where it is needed
    except UpstreamFailure as failure:
        if not is_retried(failure):
            raise
        failed: list[UpstreamFailure] = [failure]

    async def again() -> T:
        if failed:
            raise failed.pop()
        return await attempt()

    def wait(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        return delay(state.attempt_number, settings.retry_delay, getattr(error, "retry_after", None))

    def stop(state: RetryCallState) -> bool:
        spent = clock.monotonic() - began + state.upcoming_sleep
        ended = state.attempt_number >= settings.tries or spent >= settings.document_deadline
        return ended or not (is_free() or budget.spend())

    return await AsyncRetrying(
        sleep=clock.sleep,
        stop=stop,
        wait=wait,
        retry=retry_if_exception(is_retried),
        before_sleep=lambda _: retried(),
        reraise=True,
    )(again)
