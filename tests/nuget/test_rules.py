"""Rules are pure: id, version, what is known, an instant -> what becomes of the version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from nugetproxy.nuget.judging import changes_at, judge, judge_all, rules_about
from nugetproxy.nuget.licenses import Licenses, is_license
from nugetproxy.nuget.moments import instant, moment, span_text
from nugetproxy.nuget.rules import Action, Instant, Rule, Traits
from nugetproxy.nuget.synthesis.ranges import is_range
from nugetproxy.nuget.version import Version

DAY = 86400.0
NOW = 1_800_000_000.0
WEEK = Rule(name="week", min_age=7 * DAY)


def v(text: str) -> Version:
    version = Version.parse(text)
    assert version is not None
    return version


def aged(days: float, **more: Any) -> Traits:
    return Traits(source="up", date=NOW - days * DAY, **more)


def action(rule: Rule, version: str = "1.0.0", traits: Traits | None = None, **more: Any) -> Action:
    return judge([rule], v(version), traits or aged(30), Instant(NOW), **more).action


@pytest.mark.parametrize(
    ("pattern", "id", "matches"),
    [
        ("", "acme.a", True),
        ("Acme.A", "acme.a", True),
        ("Acme", "acme.a", False),
        ("Acme.*", "acme.a", True),
        ("*", "acme.a", True),
        ("Acme.*", "acmeother", False),
    ],
)
def test_patterns_match_ids_as_in_source_mapping(pattern: str, id: str, matches: bool) -> None:
    assert Rule(name="r", ids=(pattern,) if pattern else ()).is_about(id) is matches


@pytest.mark.parametrize(
    ("keys", "traits", "version", "denied"),
    [
        ({}, {}, "1.0.0", True),
        ({"versions": "[1.0, 2.0)"}, {}, "1.9.9", True),
        ({"versions": "[1.0, 2.0)"}, {}, "2.0.0", False),
        ({"versions": "1.5"}, {}, "1.4.0", False),
        ({"sources": ("up",)}, {}, "1.0.0", True),
        ({"sources": ("other",)}, {}, "1.0.0", False),
        ({"sources": ("other",)}, {"source": ""}, "1.0.0", True),
        ({"until": NOW}, {}, "1.0.0", False),
        ({"until": NOW + 1}, {}, "1.0.0", True),
        ({"min_age": 31 * DAY}, {}, "1.0.0", True),
        ({"min_age": 30 * DAY}, {}, "1.0.0", False),
        ({"min_age": DAY}, {"date": None}, "1.0.0", True),
        ({"min_age": DAY}, {"date": None, "spared": True}, "1.0.0", False),
        ({"max_severity": 1}, {"severity": 1}, "1.0.0", False),
        ({"max_severity": 1}, {"severity": 2}, "1.0.0", True),
        ({"max_severity": 0}, {}, "1.0.0", False),
        ({"withdrawn": True}, {}, "1.0.0", False),
        ({"withdrawn": True}, {"withdrawn": True}, "1.0.0", True),
        ({"deprecated": True}, {"deprecation": "null"}, "1.0.0", False),
        ({"deprecated": True}, {"deprecation": '{"reasons":["Legacy"]}'}, "1.0.0", True),
        ({"unlisted": True}, {"listed": None}, "1.0.0", False),
        ({"unlisted": True}, {"listed": False}, "1.0.0", True),
        ({"prerelease": True}, {}, "1.0.0", False),
        ({"prerelease": True}, {}, "1.0.0-rc.1", True),
        ({"prerelease": True, "deprecated": True}, {}, "1.0.0-rc.1", False),
        ({"licenses": Licenses.of(("MIT",))}, {}, "1.0.0", False),
        ({"licenses": Licenses.of(("MIT",))}, {"license": "MIT"}, "1.0.0", True),
        ({"licenses": Licenses.of(("MIT",), others=True)}, {"license": ""}, "1.0.0", True),
    ],
)
def test_all_conditions_of_a_rule_must_hold(
    keys: dict[str, Any], traits: dict[str, Any], version: str, denied: bool
) -> None:
    known = Traits(**{"source": "up", "date": NOW - 30 * DAY, **traits})
    assert (action(Rule(name="r", **keys), version, known) is Action.DENY) is denied


def test_the_first_rule_that_matches_decides() -> None:
    own = Rule(name="own", action=Action.ALLOW, versions="[1.0.0]")
    for rules, expected in (((own, WEEK), "own"), ((WEEK, own), "week")):
        verdict = judge(rules, v("1.0.0"), aged(1), Instant(NOW))
        assert verdict.rule is not None
        assert verdict.rule.name == expected


def test_behind_a_rule_for_all_versions_of_an_id_none_is_looked_at() -> None:
    own = Rule(name="own", action=Action.ALLOW, ids=("contoso.*",))
    assert rules_about([own, WEEK], "contoso.a") == (own,)
    for passing in (replace(own, until=NOW), replace(own, dry_run=True), replace(own, versions="[1.0]")):
        assert rules_about([passing, WEEK], "contoso.a") == (passing, WEEK)


def test_a_rule_on_trial_decides_nothing_and_is_told() -> None:
    trial = Rule(name="trial", dry_run=True)
    verdict = judge([trial, WEEK], v("1.0.0"), aged(1), Instant(NOW))
    assert (verdict.rule, [rule for rule, _ in verdict.tried]) == (WEEK, [trial])
    assert judge([trial], v("1.0.0"), aged(1), Instant(NOW)).visible


def test_whose_version_it_is_must_be_known_for_an_exception() -> None:
    own = Rule(name="own", action=Action.ALLOW, sources=("up",))
    assert not judge([own, WEEK], v("1.0.0"), Traits(), Instant(NOW)).visible


@pytest.mark.parametrize(
    ("rule", "traits", "passes"),
    [
        (WEEK, aged(1), NOW + 6 * DAY),
        (WEEK, Traits(), None),
        (Rule(name="r"), aged(1), None),
        (Rule(name="r", until=NOW + 5), aged(1), NOW + 5),
        (Rule(name="r", min_age=7 * DAY, until=NOW + DAY), aged(1), NOW + DAY),
    ],
)
def test_it_is_said_when_time_alone_makes_it_pass(rule: Rule, traits: Traits, passes: float | None) -> None:
    verdict = judge([rule], v("1.0.0"), traits, Instant(NOW))
    assert verdict.passes_at == passes
    if passes is not None:
        assert judge([rule], v("1.0.0"), traits, Instant(passes)).visible
        assert not judge([rule], v("1.0.0"), traits, Instant(passes - 0.001)).visible
        assert changes_at([rule], [verdict], Instant(NOW)) == passes


def test_a_fix_is_not_too_young_and_only_the_first_of_them() -> None:
    hole = frozenset({"https://example.test/1"})
    known = {
        v("1.0.0"): aged(90, advisories=hole),
        v("1.0.1-beta"): aged(90),
        v("1.0.1"): aged(1),
        v("1.0.2"): aged(1),
        v("2.0.0-rc"): aged(1),
    }
    shown = {str(version) for version, one in judge_all([WEEK], "acme.a", known, Instant(NOW)).items() if one.visible}
    assert shown == {"1.0.0", "1.0.1-beta", "1.0.1"}
    strict = Rule(name="week", min_age=7 * DAY, advisory_bypass=False)
    assert not judge_all([strict], "acme.a", known, Instant(NOW))[v("1.0.1")].visible


def test_what_is_long_fixed_opens_no_door_for_ever() -> None:
    hole = frozenset({"https://example.test/1"})
    known = {v("1.0.0"): aged(900, advisories=hole), v("1.0.1"): aged(800), v("5.0.0"): aged(1)}
    assert not judge_all([WEEK], "acme.a", known, Instant(NOW))[v("5.0.0")].visible


def test_a_feed_as_it_was_has_nothing_that_came_later_or_is_undated() -> None:
    at = Instant(NOW, NOW - 10 * DAY)
    assert judge([], v("1.0.0"), aged(10), at).visible
    for traits in (aged(9), Traits(spared=True)):
        verdict = judge([], v("1.0.0"), traits, at)
        assert (verdict.visible, verdict.passes_at) == (False, None)
    assert not judge([WEEK], v("1.0.0"), aged(12), at).visible, "it was too young then"
    assert judge([WEEK], v("1.0.0"), aged(17), at).visible


def test_the_sentence_says_what_why_and_when() -> None:
    rule = Rule(name="week", min_age=7 * DAY, reason="Ask the team")
    verdict = judge([rule], v("1.0.0"), aged(1), Instant(NOW))
    assert verdict.sentence("all", "acme.a 1.0.0") == (
        "acme.a 1.0.0 is denied by the rule 'week' of the feed 'all': younger than 7 days (published at 2027-01-14 "
        "08:00:00 UTC). Ask the team. It passes at 2027-01-21 08:00:00 UTC."
    )
    warn = Rule(name="old", action=Action.WARN, deprecated=True)
    told = judge([warn], v("1.0.0"), aged(1, deprecation="{}"), Instant(NOW)).sentence("all", "acme.a 1.0.0")
    assert told == "acme.a 1.0.0 is marked by the rule 'old' of the feed 'all': it is deprecated."
    assert judge([], v("1.0.0"), aged(1), Instant(NOW)).sentence("all", "acme.a 1.0.0") == ""


# --- against a model ---

VERSIONS = [v(text) for text in ("1.0.0", "1.0.1", "1.1.0-rc", "1.1.0", "2.0.0")]
RULES = st.builds(
    Rule,
    name=st.just("r"),
    action=st.sampled_from(Action),
    ids=st.sampled_from([(), ("acme.*",), ("other",)]),
    versions=st.sampled_from(["", "[1.0.1, 2.0.0)"]),
    until=st.sampled_from([None, NOW - 1, NOW + 1]),
    dry_run=st.booleans(),
    min_age=st.sampled_from([None, 5.0, 50.0]),
    advisory_bypass=st.booleans(),
    max_severity=st.sampled_from([None, 1]),
    prerelease=st.booleans(),
)
TRAITS = st.builds(
    Traits,
    source=st.just("up"),
    date=st.sampled_from([None, NOW - 100, NOW - 10, NOW - 1]),
    spared=st.booleans(),
    severity=st.sampled_from([None, 0, 3]),
    advisories=st.sampled_from([frozenset(), frozenset({"a"}), frozenset({"a", "b"})]),
)


def model(rules: Sequence[Rule], known: Mapping[Version, Traits], version: Version) -> bool:
    """Whether a version of acme.a exists."""
    t, pre = known[version], version.is_prerelease
    below = [one for one in known if one < version and (pre or not one.is_prerelease) and model(rules, known, one)]
    fixes = bool(below) and bool(known[max(below)].advisories - t.advisories)
    age = (float("inf") if t.spared else 0.0) if t.date is None else NOW - t.date
    for r in rules:
        off = r.dry_run or r.ids == ("other",) or (r.until is not None and r.until <= NOW) or (r.prerelease and not pre)
        young = r.min_age is None or (age < r.min_age and not (fixes and r.advisory_bypass))
        bad = r.max_severity is None or (t.severity is not None and t.severity > r.max_severity)
        if not off and young and bad and (not r.versions or v("1.0.1") <= version < v("2.0.0")):
            return r.action is not Action.DENY
    return True


@given(st.lists(RULES, max_size=4), st.lists(TRAITS, min_size=len(VERSIONS), max_size=len(VERSIONS)))
def test_what_exists_is_what_ten_lines_say(rules: list[Rule], traits: list[Traits]) -> None:
    known = dict(zip(VERSIONS, traits, strict=True))
    verdicts = judge_all(rules, "acme.a", known, Instant(NOW))
    assert {one: verdicts[one].visible for one in VERSIONS} == {one: model(rules, known, one) for one in VERSIONS}


# --- licences, moments ---


@pytest.mark.parametrize(
    ("expression", "denied", "not_allowed"),
    [
        ("MIT", True, False),
        ("mit", True, False),
        ("Apache-2.0", False, False),
        ("GPL-3.0-only", False, True),
        ("MIT OR GPL-3.0-only", False, False),
        ("MIT AND GPL-3.0-only", True, True),
        ("(MIT AND Apache-2.0) OR BSD-3-Clause", False, False),
        ("MIT WITH Some-exception", True, False),
        ("", False, True),
        ("no licence at all (", True, True),
        ("MIT OR", True, True),
        ("(" * 30 + "MIT" + ")" * 30, True, True),
    ],
)
def test_licences_as_expressions_combine_them(expression: str, denied: bool, not_allowed: bool) -> None:
    assert Licenses.of(("MIT",)).minds(expression) is denied
    assert Licenses.of(("MIT", "Apache-2.0"), others=True).minds(expression) is not_allowed


@pytest.mark.parametrize(
    ("text", "one"),
    [
        ("MIT", True),
        ("GPL-2.0-only WITH Classpath-exception-2.0", True),
        ("MIT OR ISC", False),
        ("", False),
        ("(", False),
    ],
)
def test_a_rule_names_one_licence_after_the_other(text: str, one: bool) -> None:
    assert is_license(text) is one


@pytest.mark.parametrize(
    ("text", "is_one"), [("1.0", True), ("[1.0, 2.0)", True), ("(1.0)", False), ("1.*", False), ("", False)]
)
def test_ranges_that_nuget_reads(text: str, is_one: bool) -> None:
    assert is_range(text) is is_one


def test_moments_are_told_in_utc() -> None:
    assert instant("2026-03-01") == instant("2026-03-01T00:00:00Z") == instant("2026-03-01T02:00:00+02:00")
    assert moment(instant("2026-03-01") - 0.4) == "2026-03-01 00:00:00 UTC"
    with pytest.raises(ValueError, match="isoformat"):
        instant("yesterday")
    assert [span_text(one) for one in (604800, 86400, 129600, 90, 0.5)] == [
        "7 days",
        "1 day",
        "36 hours",
        "90 seconds",
        "0.5 seconds",
    ]
