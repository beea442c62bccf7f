"""When a body is too slow."""

from __future__ import annotations

from nugetproxy.upstream.pace import Pace


def test_a_byte_every_five_seconds_is_too_slow_after_a_minute() -> None:
    pace = Pace()
    assert [pace.too_slow(5.0, 1) for _ in range(12)] == [False] * 11 + [True]


def test_the_least_rate_is_just_fast_enough() -> None:
    pace = Pace()
    assert not any(pace.too_slow(1.0, 1024) for _ in range(300))


def test_every_span_is_judged_anew() -> None:
    pace = Pace()
    assert not pace.too_slow(60.0, 10_000_000)
    assert pace.too_slow(60.0, 10)


def test_no_wait_is_never_slow() -> None:
    pace = Pace()
    assert not any(pace.too_slow(0.0, 1) for _ in range(1000))
