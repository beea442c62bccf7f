"""The decision table: what is stored, what upstream says, what the client gets, what the store keeps."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from nugetproxy.caching.decide import (
    Conclusion,
    Fail,
    Fresh,
    Freshen,
    Lookup,
    Miss,
    ServeStale,
    Stale,
    Store,
    decide_answer,
    decide_lookup,
)
from nugetproxy.caching.entry import NO_VALIDATORS, Answer, Entry, Failure, Validators
from nugetproxy.caching.policy import FOREVER, Policy
from nugetproxy.errors import Reason

NOW = 1_700_000_000.0
POLICY = Policy(fresh=100, refresh=50, on_error=500, absent=10, absent_on_error=60)
VALIDATORS = Validators(etag='"v1"', last_modified="Sun, 06 Nov 1994 08:49:37 GMT")
PLAIN = Entry(status=200, stored_at=NOW, digest="aa", validators=VALIDATORS, content_type="application/json", url="u")
ABSENT = Entry(status=404, stored_at=NOW, digest="")
NEW = Answer(status=200, body=b"new", validators=Validators(etag='"v2"'))


def aged(entry: Entry, age: float) -> Entry:
    return replace(entry, stored_at=NOW - age)


@dataclass(frozen=True)
class Row:
    """One row of the table; ``lookup`` before upstream is asked, ``conclusion`` after, None if it never is."""

    name: str
    stored: Entry | None
    lookup: Lookup
    answer: Answer | Failure | None = None
    conclusion: Conclusion | None = None
    offline: bool = False


def stale(age: float, *, refreshable: bool = False, usable: bool = True) -> Stale:
    return Stale(entry=aged(PLAIN, age), refreshable=refreshable, usable=usable, ttl=100 - age)


def gone(age: float) -> Stale:
    return Stale(entry=aged(ABSENT, age), refreshable=False, usable=True, ttl=10 - age)


SERVER_ERROR = Failure(Reason.SERVER_ERROR, "status 500")
BREAKER = Failure(Reason.BREAKER_OPEN, retry_after=4.0)
GONE = Answer(status=410, body=b"gone", validators=VALIDATORS)
MISSING = Answer(status=404, body=b"<html>", validators=VALIDATORS)
SEEN_MISSING = Answer(status=404)

TABLE = [
    Row("nothing stored, 200", None, Miss(), NEW, Store(NEW, NOW)),
    Row("nothing stored, 404", None, Miss(), MISSING, Store(SEEN_MISSING, NOW)),
    Row("nothing stored, 410", None, Miss(), GONE, Store(SEEN_MISSING, NOW)),
    Row("nothing stored, 5xx", None, Miss(), SERVER_ERROR, Fail(Reason.SERVER_ERROR)),
    Row("nothing stored, timeout", None, Miss(), Failure(Reason.READ_TIMEOUT), Fail(Reason.READ_TIMEOUT)),
    Row("nothing stored, refused", None, Miss(), Failure(Reason.REFUSED), Fail(Reason.REFUSED)),
    Row("nothing stored, breaker open", None, Miss(), BREAKER, Fail(Reason.BREAKER_OPEN, 4.0)),
    Row("nothing stored, 304", None, Miss(), Answer(status=304), Fail(Reason.PROTOCOL)),
    Row("fresh", aged(PLAIN, 30), Fresh(aged(PLAIN, 30), 70)),
    Row("just stored", PLAIN, Fresh(PLAIN, 100)),
    Row("stale in the refresh span", aged(PLAIN, 120), stale(120, refreshable=True)),
    Row("the same, refreshed", aged(PLAIN, 120), stale(120, refreshable=True), Answer(status=304), Freshen(PLAIN)),
    Row("stale, 304", aged(PLAIN, 200), stale(200), Answer(status=304), Freshen(PLAIN)),
    Row("stale, 200", aged(PLAIN, 200), stale(200), NEW, Store(NEW, NOW)),
    Row("stale, 404", aged(PLAIN, 200), stale(200), MISSING, Store(SEEN_MISSING, NOW)),
    Row("stale, 5xx", aged(PLAIN, 200), stale(200), SERVER_ERROR, ServeStale(aged(PLAIN, 200), Reason.SERVER_ERROR)),
    Row("stale, breaker open", aged(PLAIN, 200), stale(200), BREAKER, ServeStale(aged(PLAIN, 200), BREAKER.reason)),
    Row(
        "stale, timeout",
        aged(PLAIN, 200),
        stale(200),
        Failure(Reason.READ_TIMEOUT),
        ServeStale(aged(PLAIN, 200), Reason.READ_TIMEOUT),
    ),
    Row("past on_error, failure", aged(PLAIN, 700), stale(700, usable=False), BREAKER, Fail(Reason.BREAKER_OPEN, 4.0)),
    Row("past on_error, 304", aged(PLAIN, 700), stale(700, usable=False), Answer(status=304), Freshen(PLAIN)),
    Row("past on_error, 200", aged(PLAIN, 700), stale(700, usable=False), NEW, Store(NEW, NOW)),
    Row("absent, fresh", aged(ABSENT, 5), Fresh(aged(ABSENT, 5), 5)),
    Row("absent, stale, failure", aged(ABSENT, 10), gone(10), BREAKER, ServeStale(aged(ABSENT, 10), BREAKER.reason)),
    Row("absent, stale, 200", aged(ABSENT, 10), gone(10), NEW, Store(NEW, NOW)),
    Row("absent, stale, 404", aged(ABSENT, 10), gone(10), MISSING, Store(SEEN_MISSING, NOW)),
    Row(
        "absent, stale, 304",
        aged(ABSENT, 10),
        gone(10),
        Answer(status=304),
        ServeStale(aged(ABSENT, 10), Reason.PROTOCOL),
    ),
    Row("absent, nearly past absent_on_error", aged(ABSENT, 69), gone(69)),
    Row("absent, past absent_on_error, failure", aged(ABSENT, 70), Miss(), BREAKER, Fail(Reason.BREAKER_OPEN, 4.0)),
    Row("absent, past absent_on_error, 200", aged(ABSENT, 70), Miss(), NEW, Store(NEW, NOW)),
    Row("offline, fresh", aged(PLAIN, 30), Fresh(aged(PLAIN, 30), 70), offline=True),
    Row("offline, long stale", aged(PLAIN, 7000), Fresh(aged(PLAIN, 7000), -6900), offline=True),
    Row("offline, absent", aged(ABSENT, 7000), Fresh(aged(ABSENT, 7000), -6990), offline=True),
    Row("offline, nothing", None, Miss(), offline=True),
]


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_the_table(row: Row) -> None:
    lookup = decide_lookup(row.stored, POLICY, NOW, offline=row.offline)
    assert lookup == row.lookup
    if row.answer is not None:
        held, usable = (lookup.entry, lookup.usable) if isinstance(lookup, Stale) else (None, False)
        assert decide_answer(held, usable, row.answer, NOW) == row.conclusion


@pytest.mark.parametrize(
    ("age", "fresh", "refreshable", "usable"),
    [
        (99.9, True, False, False),
        (100, False, True, True),
        (149.9, False, True, True),
        (150, False, False, True),
        (599.9, False, False, True),
        (600, False, False, False),
    ],
)
def test_each_span_ends_where_the_next_begins(age: float, fresh: bool, refreshable: bool, usable: bool) -> None:
    found = decide_lookup(aged(PLAIN, age), POLICY, NOW)
    assert isinstance(found, Fresh) == fresh
    if isinstance(found, Stale):
        assert (found.refreshable, found.usable) == (refreshable, usable)
        assert found.ttl == pytest.approx(100 - age)


def test_refreshing_does_not_make_usable_on_error() -> None:
    policy = Policy(fresh=100, refresh=50)
    found = decide_lookup(aged(PLAIN, 120), policy, NOW)
    assert found == Stale(entry=aged(PLAIN, 120), refreshable=True, usable=False, ttl=-20)


def test_an_entry_from_the_future_is_stale_but_usable() -> None:
    ahead = aged(PLAIN, -3600)
    assert decide_lookup(ahead, POLICY, NOW) == Stale(entry=ahead, refreshable=False, usable=True, ttl=-3600)


def test_an_entry_from_the_future_is_usable_without_any_on_error_span() -> None:
    found = decide_lookup(aged(PLAIN, -3600), Policy(fresh=100), NOW)
    assert isinstance(found, Stale)
    assert found.usable


def test_a_404_from_the_future_is_asked_again() -> None:
    assert decide_lookup(aged(ABSENT, -3600), POLICY, NOW) == Miss()


def test_what_is_fresh_for_ever_does_not_care_for_clocks() -> None:
    policy = Policy(fresh=FOREVER, absent=10)
    for age in (-3600.0, 0.0, 1e12):
        assert decide_lookup(aged(PLAIN, age), policy, NOW) == Fresh(aged(PLAIN, age), inf)


def test_offline_serves_an_entry_from_the_future() -> None:
    assert decide_lookup(aged(PLAIN, -3600), POLICY, NOW, offline=True) == Fresh(aged(PLAIN, -3600), -3600)


def test_usable_for_ever_on_error() -> None:
    found = decide_lookup(aged(PLAIN, 1e12), Policy(fresh=100, on_error=FOREVER), NOW)
    assert isinstance(found, Stale)
    assert found.usable
    assert not found.refreshable


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (401, Reason.AUTH),
        (403, Reason.AUTH),
        (429, Reason.RATE_LIMITED),
        (500, Reason.SERVER_ERROR),
        (503, Reason.SERVER_ERROR),
        (599, Reason.SERVER_ERROR),
        (204, Reason.STATUS),
        (206, Reason.STATUS),
        (302, Reason.STATUS),
        (400, Reason.STATUS),
        (412, Reason.STATUS),
        (600, Reason.STATUS),
    ],
)
def test_other_statuses_are_failures_that_keep_what_is_held(status: int, reason: Reason) -> None:
    answer = Answer(status=status, body=b"body")
    assert decide_answer(None, False, answer, NOW) == Fail(reason)
    assert decide_answer(PLAIN, False, answer, NOW) == Fail(reason)
    assert decide_answer(PLAIN, True, answer, NOW) == ServeStale(PLAIN, reason)


@pytest.mark.parametrize(
    "held", [replace(PLAIN, validators=NO_VALIDATORS), replace(ABSENT, validators=VALIDATORS)], ids=["none", "of a 404"]
)
def test_a_304_to_what_we_cannot_have_asked_is_no_answer(held: Entry) -> None:
    assert decide_answer(held, False, Answer(status=304), NOW) == Fail(Reason.PROTOCOL)
    assert decide_answer(held, True, Answer(status=304), NOW) == ServeStale(held, Reason.PROTOCOL)


@pytest.mark.parametrize("validators", [Validators(etag='"v1"'), Validators(last_modified="x")])
def test_either_validator_makes_a_304_count(validators: Validators) -> None:
    held = replace(PLAIN, validators=validators, stored_at=NOW - 1000)
    assert decide_answer(held, False, Answer(status=304), NOW) == Freshen(replace(held, stored_at=NOW))


def test_freshening_keeps_the_body_and_its_validators() -> None:
    conclusion = decide_answer(aged(PLAIN, 200), True, Answer(status=304, validators=Validators(etag='"other"')), NOW)
    assert conclusion == Freshen(PLAIN)


def test_a_stored_404_carries_nothing_that_a_later_request_could_be_conditional_on() -> None:
    for status in (404, 410):
        conclusion = decide_answer(None, False, replace(MISSING, status=status, url="u", content_type="text/html"), NOW)
        assert conclusion == Store(Answer(status=404, url="u", content_type="text/html"), NOW)


@given(
    age=st.floats(-1e6, 1e6),
    fresh=st.floats(0, 1e5) | st.just(FOREVER),
    refresh=st.floats(0, 1e5) | st.just(FOREVER),
    on_error=st.floats(0, 1e5) | st.just(FOREVER),
)
def test_growing_older_never_makes_an_entry_better(age: float, fresh: float, refresh: float, on_error: float) -> None:
    policy = Policy(fresh=fresh, refresh=refresh, on_error=on_error)
    younger, older = (decide_lookup(PLAIN, policy, NOW + abs(age) + later) for later in (0, 1000))
    if isinstance(older, Fresh):
        assert isinstance(younger, Fresh)
    elif isinstance(younger, Stale):
        assert isinstance(older, Stale)
        assert older.refreshable <= younger.refreshable
        assert older.usable <= younger.usable
        assert older.ttl <= younger.ttl <= 0


@given(status=st.integers(100, 999), usable=st.booleans(), held=st.sampled_from([None, PLAIN, ABSENT]))
def test_only_an_authoritative_answer_changes_the_store(status: int, usable: bool, held: Entry | None) -> None:
    conclusion = decide_answer(held, usable, Answer(status=status, body=b"x"), NOW)
    assert isinstance(conclusion, Store) == (status in {200, 404, 410})
    assert isinstance(conclusion, Freshen) == (status == 304 and held is PLAIN)
    if isinstance(conclusion, ServeStale):
        assert usable
        assert conclusion.entry is held
