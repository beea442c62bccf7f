"""The circuit breaker as a table of what happens and what it says."""

from __future__ import annotations

import pytest

from nugetproxy.upstream.breaker import PROBE_WAIT, Blocked, CircuitBreaker, Pass, Phase

GO = Pass(probe=False)
PROBE = Pass(probe=True)


def breaker() -> CircuitBreaker:
    return CircuitBreaker(failures=5, open_for=5.0, max_open=60.0)


def opened(at: float = 0.0) -> CircuitBreaker:
    it = breaker()
    it.fail(GO, at, 5)
    return it


@pytest.mark.parametrize(
    ("weights", "opens"),
    [
        ([1, 1, 1, 1], False),
        ([1, 1, 1, 1, 1], True),
        ([2, 2], False),
        ([2, 2, 2], True),
        ([2, 2, 1], True),
        ([], False),
    ],
)
def test_opens_when_the_weights_reach_the_limit(weights: list[int], opens: bool) -> None:
    it = breaker()
    for weight in weights:
        it.fail(GO, 0.0, weight)
    assert (it.state(0.0).phase is Phase.OPEN) == opens
    assert it.admit(0.0) == (Blocked(5.0) if opens else GO)


def test_a_success_in_between_starts_the_count_again() -> None:
    it = breaker()
    it.fail(GO, 0.0, 4)
    it.succeed(GO)
    it.fail(GO, 0.0, 4)
    assert it.state(0.0).phase is Phase.CLOSED


def test_blocked_until_the_time_is_over_then_one_probe_at_a_time() -> None:
    it = opened()
    assert it.admit(4.0) == Blocked(1.0)
    assert it.admit(5.0) == PROBE
    assert it.state(5.0).phase is Phase.HALF_OPEN
    assert it.admit(5.0) == Blocked(PROBE_WAIT)


def test_a_probe_that_succeeds_closes() -> None:
    it = opened()
    it.admit(5.0)
    it.succeed(PROBE)
    assert it.admit(5.0) == GO
    assert it.state(5.0).failures == 0


def test_a_probe_without_outcome_lets_the_next_one_probe() -> None:
    it = opened()
    assert it.admit(5.0) == PROBE
    it.abandon(PROBE)
    assert it.admit(5.0) == PROBE


def test_each_failed_probe_doubles_the_time_up_to_the_maximum() -> None:
    it, now, spans = opened(), 0.0, []
    for _ in range(6):
        now += it.state(now).retry_after
        assert it.admit(now) == PROBE
        it.fail(PROBE, now, 1)
        spans.append(it.state(now).retry_after)
    assert spans == [10.0, 20.0, 40.0, 60.0, 60.0, 60.0]


def test_the_time_starts_over_after_two_successes() -> None:
    it = opened()
    it.admit(5.0)
    it.fail(PROBE, 5.0, 1)
    it.admit(15.0)
    it.succeed(PROBE)
    it.succeed(GO)
    it.fail(GO, 20.0, 5)
    assert it.admit(20.0) == Blocked(5.0)


@pytest.mark.parametrize(("hold", "seconds"), [(30.0, 30.0), (3600.0, 60.0), (0.0, 0.0)])
def test_upstream_that_asks_to_be_left_alone_is(hold: float, seconds: float) -> None:
    it = breaker()
    it.fail(GO, 0.0, 1, hold)
    assert it.state(0.0).retry_after == seconds


def test_requests_from_before_it_opened_no_longer_matter() -> None:
    it = opened()
    it.fail(GO, 1.0, 5)
    it.succeed(GO)
    assert it.admit(1.0) == Blocked(4.0)


def test_a_success_can_be_taken_back() -> None:
    it = breaker()
    for _ in range(4):
        it.succeed(GO)
        it.retract(0.0)
    assert it.state(0.0).failures == 4
    it.succeed(GO)
    it.retract(0.0)
    assert it.admit(0.0) == Blocked(5.0)


def test_a_good_answer_in_between_forgives_what_was_taken_back() -> None:
    it = breaker()
    for _ in range(4):
        it.succeed(GO)
        it.retract(0.0)
    it.succeed(GO)
    it.succeed(GO)
    it.retract(0.0)
    assert it.state(0.0).failures == 1


def test_a_probe_taken_back_opens_again_for_twice_the_time() -> None:
    it = opened()
    it.admit(5.0)
    it.succeed(PROBE)
    it.retract(5.0)
    assert it.admit(5.0) == Blocked(10.0)


def test_taking_back_while_open_changes_nothing() -> None:
    it = opened()
    it.retract(1.0)
    assert it.admit(1.0) == Blocked(4.0)
