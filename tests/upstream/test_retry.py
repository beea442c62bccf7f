"""What is tried again, when, how often."""

from __future__ import annotations

import pytest

from nugetproxy.errors import Reason, UpstreamFailure, upstream_failure
from nugetproxy.upstream.retry import RetryBudget, delay, is_retried, parse_retry_after, with_retries
from nugetproxy.upstream.settings import UpstreamSettings
from tests.fakes.clock import FakeClock

NOW = 1_800_000_000.0  # Fri, 15 Jan 2027 08:00:00 GMT


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("0", 0.0),
        ("5", 5.0),
        (" 12 ", 12.0),
        ("120", 60.0),
        ("99999999999999999999", 60.0),
        ("Fri, 15 Jan 2027 08:00:07 GMT", 7.0),
        ("Fri, 15 Jan 2027 09:00:00 GMT", 60.0),
        ("Fri, 15 Jan 2027 07:00:00 GMT", 0.0),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        ("٣", None),
        ("Fri, 99 Jan 2027 08:00:00 GMT", None),
    ],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    assert parse_retry_after(value, NOW) == seconds


def failure(reason: Reason, retry_after: float | None = None) -> UpstreamFailure:
    return upstream_failure("feed", reason, retry_after=retry_after)


@pytest.mark.parametrize(
    ("reason", "retry_after", "again"),
    [
        (Reason.RESET, None, True),
        (Reason.RATE_LIMITED, 5.0, True),
        (Reason.RATE_LIMITED, 5.1, False),
        (Reason.TLS, None, False),
        (Reason.PROTOCOL, None, False),
        (Reason.REDIRECT_DENIED, None, False),
        (Reason.TOO_LARGE, None, False),
        (Reason.BREAKER_OPEN, 1.0, False),
        (Reason.STATUS, None, False),
    ],
)
def test_only_what_may_pass_soon_is_tried_again(reason: Reason, retry_after: float | None, again: bool) -> None:
    assert is_retried(failure(reason, retry_after)) == again
    assert not is_retried(ValueError())


@pytest.mark.parametrize(("attempt", "least", "most"), [(1, 0.15, 0.3), (2, 0.3, 0.6), (3, 0.6, 1.2)])
def test_delays_grow_within_their_jitter(attempt: int, least: float, most: float) -> None:
    delays = {delay(attempt, 0.3, None) for _ in range(100)}
    assert len(delays) > 1
    assert least <= min(delays) <= max(delays) <= most


def test_a_delay_is_never_shorter_than_upstream_asked_for() -> None:
    assert delay(1, 0.3, 4.0) >= 4.0


SETTINGS = UpstreamSettings(name="feed", index_url="https://feed.example/", tries=3, document_deadline=10.0)


async def tried(clock: FakeClock, *failures: UpstreamFailure) -> tuple[int, UpstreamFailure | None]:
    """How many tries were made, how it ended."""
    made, left = 0, list(failures)

    async def attempt() -> None:
        nonlocal made
        made += 1
        if left:
            raise left.pop(0)

    try:
        await with_retries(attempt, SETTINGS, clock, RetryBudget(), lambda: None)
    except UpstreamFailure as error:
        return made, error
    return made, None


async def test_three_tries_at_most() -> None:
    clock, reset = FakeClock(), failure(Reason.RESET)
    assert await tried(clock, reset, reset) == (3, None)
    assert await tried(clock, reset, reset, reset, reset) == (3, reset)
    assert len(clock.slept) == 4


async def test_no_wait_beyond_the_deadline() -> None:
    clock, limited = FakeClock(), failure(Reason.RATE_LIMITED, 5.0)
    assert await tried(clock, limited, limited) == (2, limited)
    assert sum(clock.slept) < 10.0


def test_a_budget_bounds_further_tries_to_a_tenth() -> None:
    budget = RetryBudget()
    reserve = 0
    while budget.spend():
        reserve += 1
    assert reserve == 20
    paid = 0
    for _ in range(1000):
        budget.earn()
        paid += budget.spend()
    assert 98 <= paid <= 100


def test_unused_budget_does_not_pile_up() -> None:
    budget = RetryBudget()
    for _ in range(10_000):
        budget.earn()
    assert sum(budget.spend() for _ in range(100)) == 20
