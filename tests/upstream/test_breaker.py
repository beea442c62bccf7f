"""The circuit breaker as a table of what happens and what it says."""

from __future__ import annotations

import pytest

from nugetproxy.errors import Reason
from nugetproxy.upstream.breaker import PROBE_WAIT, Blocked, Cause, CircuitBreaker, Pass, Phase, Role

GO = Pass(Role.NORMAL)
LOST = Cause(reason=Reason.REFUSED, detail="the connection was refused", at=1_800_000_000.0)
HTML = Cause(reason=Reason.INVALID_CONTENT, detail="not JSON", at=1_800_000_000.0)
BROKEN = Cause(reason=Reason.SERVER_ERROR, detail="status 500", at=1_800_000_000.0)


def breaker(**settings: float) -> CircuitBreaker:
    return CircuitBreaker(**{"failures": 5, "open_for": 1.0, "max_open": 60.0, **settings})  # type: ignore[arg-type]


def opened(at: float = 0.0, **settings: float) -> CircuitBreaker:
    it = breaker(**settings)
    it.fail(GO, at, 5, LOST)
    return it


def probe(it: CircuitBreaker, now: float) -> Pass:
    verdict = it.admit(now)
    assert isinstance(verdict, Pass)
    assert verdict.role is Role.PROBE
    return verdict


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
def test_opens_when_the_weights_of_the_hosts_failures_reach_the_limit(weights: list[int], opens: bool) -> None:
    it = breaker()
    for weight in weights:
        it.fail(GO, 0.0, weight, LOST)
    assert (it.state(0.0).phase is Phase.OPEN) == opens
    assert it.admit(0.0) == (Blocked(1.0) if opens else GO)


def test_a_success_in_between_starts_the_count_again() -> None:
    it = breaker()
    it.fail(GO, 0.0, 4, LOST)
    it.succeed(GO)
    it.fail(GO, 0.0, 4, LOST)
    assert it.state(0.0).phase is Phase.CLOSED


def test_one_target_never_speaks_against_its_host() -> None:
    for failures in (1, 5):
        it = breaker(failures=failures)
        for _ in range(100):
            it.fault(GO, 0.0, "/bad", HTML)
        assert it.state(0.0).phase is Phase.CLOSED
        assert it.state(0.0).failures == 0


@pytest.mark.parametrize(("failures", "targets"), [(1, 2), (2, 2), (5, 5)])
def test_several_targets_that_fail_alike_do(failures: int, targets: int) -> None:
    it = breaker(failures=failures)
    for number in range(targets):
        assert it.state(0.0).phase is Phase.CLOSED, number
        it.fault(GO, 0.0, f"/{number}", HTML)
        it.fault(GO, 0.0, f"/{number}", HTML)
    assert it.state(0.0).phase is Phase.OPEN
    assert it.state(0.0).cause == HTML


def test_targets_that_fail_each_in_their_own_way_do_not() -> None:
    it = breaker()
    for number in range(4):
        it.fault(GO, 0.0, f"/{number}", HTML)
        it.fault(GO, 0.0, f"/x{number}", BROKEN)
    assert it.state(0.0).phase is Phase.CLOSED


def test_nor_with_a_success_in_between() -> None:
    it = breaker()
    for number in range(50):
        it.fault(GO, 0.0, f"/{number}", HTML)
        if number % 4 == 3:
            it.succeed(GO)
    assert it.state(0.0).phase is Phase.CLOSED


def test_blocked_until_a_probe_is_due_then_one_at_a_time() -> None:
    it = opened()
    assert it.admit(0.25) == Blocked(0.75)
    assert not it.is_due(0.25)
    assert it.is_due(1.0)
    probe(it, 1.0)
    assert it.state(1.0).phase is Phase.OPEN
    assert it.admit(2.0) == Blocked(PROBE_WAIT)
    assert not it.is_due(2.0)


def test_a_probe_that_hangs_does_not_keep_the_next_one_from_being_made() -> None:
    it = opened()
    first = probe(it, 1.0)
    second = probe(it, 4.0)
    it.fail(first, 4.5, 1, LOST)
    assert it.admit(4.9) == Blocked(pytest.approx(0.1)), "what became of the first one no longer matters"
    it.succeed(second)
    assert it.admit(4.9) == GO


def test_a_late_success_of_a_probe_is_one() -> None:
    it = opened()
    first = probe(it, 1.0)
    probe(it, 4.0)
    it.succeed(first)
    assert it.admit(4.0) == GO


def test_a_probe_that_succeeds_closes() -> None:
    it = opened()
    it.succeed(probe(it, 1.0))
    assert it.admit(1.0) == GO
    assert (it.state(1.0).failures, it.state(1.0).cause) == (0, None)


def test_a_probe_that_succeeds_lets_four_of_many_go_first() -> None:
    it = opened()
    it.succeed(probe(it, 1.0), waiting=60)
    assert it.state(1.0).phase is Phase.HALF_OPEN
    trials = [it.admit(1.0) for _ in range(6)]
    assert [isinstance(trial, Pass) and trial.role is Role.TRIAL for trial in trials] == [True] * 4 + [False] * 2
    assert isinstance(trials[0], Pass)
    it.succeed(trials[0], waiting=56)
    assert [it.admit(1.0) for _ in range(60)] == [GO] * 60


def test_one_of_the_four_that_fails_ends_the_release() -> None:
    it = opened()
    it.succeed(probe(it, 1.0), waiting=60)
    first, second = it.admit(1.0), it.admit(1.0)
    assert isinstance(first, Pass)
    assert isinstance(second, Pass)
    it.fail(first, 1.5, 2, LOST)
    assert it.admit(1.5) == Blocked(1.0)
    it.fail(second, 1.6, 2, LOST)
    assert it.admit(1.6) == Blocked(pytest.approx(0.9)), "of the same release: said once is enough"


def test_one_of_the_four_whose_client_left_makes_room_for_another() -> None:
    it = opened()
    it.succeed(probe(it, 1.0), waiting=60)
    trials = [it.admit(1.0) for _ in range(4)]
    assert it.admit(1.0) == Blocked(PROBE_WAIT)
    assert isinstance(trials[0], Pass)
    it.abandon(trials[0])
    assert isinstance(it.admit(1.0), Pass)


def test_a_target_of_its_own_trouble_does_not_end_the_release() -> None:
    it = opened()
    it.succeed(probe(it, 1.0), waiting=60)
    trials = [it.admit(1.0) for _ in range(4)]
    assert isinstance(trials[0], Pass)
    it.fault(trials[0], 1.0, "/bad", BROKEN)
    assert it.state(1.0).phase is Phase.HALF_OPEN
    assert isinstance(it.admit(1.0), Pass)


def test_a_probe_without_outcome_lets_the_next_one_probe() -> None:
    it = opened()
    first = probe(it, 1.0)
    assert isinstance(it.admit(1.0), Blocked)
    it.abandon(first)
    assert probe(it, 1.0).role is Role.PROBE


@pytest.mark.parametrize("outcome", ["fail", "fault"])
def test_one_probe_a_second_for_fifteen_seconds_then_ever_fewer(outcome: str) -> None:
    it, now, probes = opened(max_open=5.0), 0.0, []
    while now < 60:
        now += it.state(now).retry_after
        ticket = probe(it, now)
        probes.append(now)
        if outcome == "fail":
            it.fail(ticket, now, 1, LOST)
        else:
            it.fault(ticket, now, "/bad", HTML)
    assert probes == [*map(float, range(1, 16)), 20.0, 25.0, 30.0, 35.0, 40.0, 45.0, 50.0, 55.0, 60.0]


def test_the_time_doubles_up_to_the_longest() -> None:
    it, now = opened(open_for=20.0), 0.0
    for _ in range(15):
        now += it.state(now).retry_after
        it.fail(probe(it, now), now, 1, LOST)
    assert it.state(now).retry_after == 60.0


def test_a_new_outage_begins_anew() -> None:
    it = opened()
    for second in range(1, 16):
        it.fail(probe(it, float(second)), float(second), 1, LOST)
    it.succeed(probe(it, 100.0))
    it.fail(GO, 200.0, 5, LOST)
    assert it.admit(200.0) == Blocked(1.0)
    assert it.state(214.9).young
    assert not it.state(215.0).young


@pytest.mark.parametrize(("hold", "seconds"), [(30.0, 30.0), (60.0, 60.0), (0.0, 0.0)])
def test_upstream_that_asks_to_be_left_alone_is(hold: float, seconds: float) -> None:
    it = breaker(max_open=5.0)
    it.fail(GO, 0.0, 1, LOST, hold)
    assert it.state(0.0).retry_after == seconds


def test_requests_from_before_it_opened_no_longer_matter() -> None:
    it = opened()
    it.fail(GO, 0.5, 5, HTML)
    it.fault(GO, 0.5, "/bad", HTML)
    it.succeed(GO)
    assert it.admit(0.5) == Blocked(0.5)
    assert it.state(0.5).cause == LOST


def test_what_it_names_is_the_last_real_failure() -> None:
    it = opened()
    later = Cause(reason=Reason.DNS, detail="the name cannot be looked up", at=1_800_000_001.0)
    it.fail(probe(it, 1.0), 1.0, 1, later)
    assert it.state(1.0).cause == later
    assert later.when == "2027-01-15T08:00:01Z"


def test_it_can_be_looked_at() -> None:
    assert repr(breaker()) == "<CircuitBreaker closed, 0 of 5 failures, alike {}>"
    it = breaker()
    it.fault(GO, 0.0, "/a", HTML)
    assert "alike {'invalid_content': 1}" in repr(it)
    assert "open, 5 of 5 failures, alike {}, refused: the connection was refused" in repr(opened())
