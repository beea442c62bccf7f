"""Feeds in the configuration: sources, roles, mapping, pushes."""

from __future__ import annotations

from pathlib import Path

import pytest

from nugetproxy.config import warnings
from nugetproxy.nuget.licenses import Licenses
from nugetproxy.nuget.moments import instant
from nugetproxy.nuget.rules import Action, Rule
from tests.test_config import FEED, from_text, problems_of

TWO = """
[upstreams.company]
url = "https://pkgs.example.com/v3/index.json"
private = true
[upstreams."nuget.org"]
url = "https://api.nuget.org/v3/index.json"
"""


def test_a_feed_is_made_of_upstreams_that_stay_published_by_themselves(tmp_path: Path) -> None:
    config = from_text(f'{TWO}[feeds.all]\nsources = ["company", "nuget.org"]', tmp_path)
    assert list(config.published) == ["all", "company", "nuget.org"]
    assert config.published["all"].sources == ("company", "nuget.org")
    assert config.published["company"].sources == ("company",)


def test_the_default_feed_comes_first(tmp_path: Path) -> None:
    text = f'{TWO}[feeds.a]\nsources = ["company"]\n[feeds.b]\nsources = ["nuget.org"]\ndefault = true'
    assert list(from_text(text, tmp_path).published) == ["b", "a", "company", "nuget.org"]


def test_a_feed_takes_the_place_of_its_source_of_the_same_name(tmp_path: Path) -> None:
    config = from_text(f'{TWO}[feeds.company]\nsources = ["company", "nuget.org"]', tmp_path)
    assert config.published["company"].sources == ("company", "nuget.org")
    assert list(config.published) == ["company", "nuget.org"]


def test_a_mapping_is_written_short_or_long(tmp_path: Path) -> None:
    text = f"""{TWO}[feeds.all]
sources = ["company", "nuget.org"]
push = {{ "Contoso.*" = "company" }}
[feeds.all.mapping]
"Contoso.*" = ["company"]
"Shared.*" = {{ sources = ["nuget.org", "company"], union = true }}
"*" = "nuget.org"
"""
    feed = from_text(text, tmp_path).feeds["all"]
    mapping = feed.source_mapping
    assert mapping.sources("contoso.x", feed.sources) == ("company",)
    rule = mapping.rule("shared.x")
    assert rule is not None
    assert (rule.sources, rule.union) == (("company", "nuget.org"), True)
    assert mapping.sources("other", feed.sources) == ("nuget.org",)
    assert feed.push_mapping.sources("contoso.x", feed.sources) == ("company",)
    assert feed.push_mapping.sources("other", feed.sources) == ()


@pytest.mark.parametrize(
    ("keys", "private"),
    [
        ('url = "https://api.nuget.org/v3/index.json"', False),
        ('url = "https://data.nuget.org/v3/index.json"', False),
        ('url = "https://nuget.org.evil.example/v3/index.json"', None),
        ('url = "https://feed.example.com/v3/index.json"', None),
        ('url = "https://feed.example.com/v3/index.json"\nprivate = "auto"', None),
        ('url = "https://feed.example.com/v3/index.json"\nprivate = false', False),
        ('url = "https://feed.example.com/v3/index.json"\ninternal = true', True),
        ('url = "https://feed.example.com/v3/index.json"\nusername = "u"\npassword = "env:SECRET"', True),
        ('url = "https://feed.example.com/v3/index.json"\nheaders = { "X-Token" = "env:SECRET" }', True),
        ('url = "http://10.1.2.3/v3/index.json"', True),
        ('url = "http://[fd00::1]/v3/index.json"', True),
        ('url = "http://localhost:9/v3/index.json"', True),
        ('url = "/usr"', True),
        ('url = "/usr"\nprivate = false', False),
    ],
)
def test_the_role_of_an_upstream(keys: str, private: bool | None, tmp_path: Path) -> None:
    assert from_text(f"[upstreams.a]\n{keys}", tmp_path, {"SECRET": "x"}).upstreams["a"].role is private


WRONG_FEEDS = {
    "an unknown source": ('sources = ["compny"]', "feeds.all.sources: there is no upstream 'compny'; did you mean"),
    "no source": ("sources = []", "feeds.all.sources: must have at least one entry"),
    "a source twice": ('sources = ["company", "company"]', "feeds.all.sources: 'company' is there twice"),
    "unknown advisories": (
        'sources = ["company"]\nadvisories = ["x"]',
        "feeds.all.advisories: there is no upstream 'x'",
    ),
    "an unknown key": ('source = ["company"]', "feeds.all.source: is unknown; did you mean feeds.all.sources?"),
    "a push to nowhere": (
        'sources = ["company"]\npush = "nuget.org"',
        "feeds.all.push: there is no source of this feed 'nuget.org'",
    ),
    "a bad pattern": (
        'sources = ["company"]\nmapping = { "a*b" = ["company"] }',
        "feeds.all.mapping.\"a*b\": The pattern 'a*b' has a * that is not its last character",
    ),
    "a mapping to nowhere": (
        'sources = ["company"]\nmapping = { "*" = ["nuget.org"] }',
        "feeds.all.mapping.\"*\": there is no source in feeds.all.sources 'nuget.org'",
    ),
    "a union of one": (
        'sources = ["company"]\nmapping = { "*" = { sources = ["company"], union = true } }',
        'feeds.all.mapping."*".union: has no effect on one source',
    ),
    "an unknown key of a mapping": (
        'sources = ["company"]\nmapping = { "*" = { sources = ["company"], unoin = true } }',
        'feeds.all.mapping."*".unoin: is unknown; did you mean feeds.all.mapping."*".union?',
    ),
    "a name that is taken": (
        'sources = ["company"]\n[feeds."nuget.org"]\nsources = ["company"]',
        'feeds."nuget.org": upstreams."nuget.org" is published under this name',
    ),
    "two defaults": (
        'sources = ["company"]\ndefault = true\n[feeds.two]\nsources = ["company"]\ndefault = true',
        "feeds.two.default: only one feed can be at /v3/index.json",
    ),
    "an unknown role": (
        'sources = ["company", "other"]\n[upstreams.other]\nurl = "https://x.example/v3/index.json"',
        "upstreams.other.private: is missing; write true if only your own people publish there",
    ),
    "a push to what takes none": (
        'sources = ["folder"]\npush = "folder"\n[upstreams.folder]\nurl = "/usr"',
        "feeds.all.push: upstream folder takes no writes",
    ),
}


@pytest.mark.parametrize(("text", "expected"), WRONG_FEEDS.values(), ids=WRONG_FEEDS)
def test_a_mistake_in_a_feed_is_told_by_its_full_key(text: str, expected: str, tmp_path: Path) -> None:
    lines = problems_of(f"{TWO}[feeds.all]\n{text}", tmp_path)
    assert any(expected in line for line in lines), lines


def test_a_role_need_not_be_known_where_nothing_is_aggregated(tmp_path: Path) -> None:
    text = '[upstreams.other]\nurl = "https://x.example/v3/index.json"\n[feeds.all]\nsources = ["other"]'
    assert from_text(text, tmp_path).feeds["all"].sources == ("other",)


def test_ids_without_a_source_are_warned_of(tmp_path: Path) -> None:
    config = from_text(f'{TWO}[feeds.all]\nsources = ["company"]\nmapping = {{ "A.*" = ["company"] }}', tmp_path)
    assert any('feeds.all.mapping: has no "*"' in line for line in warnings(config))


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ("", True),
        ("anonymous = false", False),
        ('[feeds."nuget.org"]\nsources = ["nuget.org"]', False),
    ],
)
def test_where_rules_do_not_hold_is_said(tmp_path: Path, more: str, told: bool) -> None:
    text = '[upstreams."nuget.org"]\nurl = "https://api.nuget.org/v3/index.json"\n'
    ruled = '[feeds.farm]\nsources = ["nuget.org"]\nrules = [{ name = "new", min_age = "7d" }]\n'
    found = warnings(from_text(f"{text}{more}\n{ruled}", tmp_path))
    assert ["do not hold at /nuget.org/v3/index.json" in line for line in found] == [True] * told


def test_upstreams_given_as_flags_replace_the_feeds_too(tmp_path: Path) -> None:
    config = from_text(f'{TWO}[feeds.all]\nsources = ["company"]', tmp_path, upstreams=[FEED])
    assert list(config.published) == ["feed.example.com"]


# --- rules ---

RULES = """[feeds.all]
sources = ["company", "nuget.org"]
asof = "2026-03-01"
[[feeds.all.rules]]
name = "own"
action = "allow"
sources = ["company"]
[[feeds.all.rules]]
name = "cooldown"
ids = ["Acme.*"]
versions = "[1.0, 2.0)"
reason = "Wait"
until = "2030-01-01"
min_age = "7d"
max_severity = "moderate"
advisory_bypass = false
licenses = { allowed = ["MIT"] }
[[feeds.all.rules]]
name = "gone"
withdrawn = true
"""


def test_rules_are_read_in_their_order(tmp_path: Path) -> None:
    feed = from_text(TWO + RULES, tmp_path).feeds["all"]
    assert feed.asof == instant("2026-03-01")
    assert [one.rule for one in feed.rules] == [
        Rule(name="own", action=Action.ALLOW, sources=("company",)),
        Rule(
            name="cooldown",
            ids=("Acme.*",),
            versions="[1.0, 2.0)",
            reason="Wait",
            until=instant("2030-01-01"),
            min_age=7 * 86400.0,
            max_severity=1,
            advisory_bypass=False,
            licenses=Licenses.of(("MIT",), others=True),
        ),
        Rule(name="gone", action=Action.WARN, withdrawn=True),
    ]


WRONG_RULES = {
    "no name": ('min_age = "7d"', "feeds.all.rules.0.name: is missing"),
    "a name with blanks": ('name = "a b"', "feeds.all.rules.0.name: must be text, 1 to 64 of"),
    "an action": ('name = "a"\naction = "block"', "feeds.all.rules.0.action:"),
    "a floating range": ('name = "a"\nversions = "1.*"', "feeds.all.rules.0.versions: must be a range"),
    "an age without a unit": ('name = "a"\nmin_age = 7', "feeds.all.rules.0.min_age:"),
    "a severity": ('name = "a"\nmax_severity = "bad"', "feeds.all.rules.0.max_severity:"),
    "a pattern": ('name = "a"\nids = ["a*b"]', "feeds.all.rules.0.ids"),
    "a source of another feed": (
        'name = "a"\nsources = ["nuget.orgs"]',
        "feeds.all.rules.0.sources: there is no source in feeds.all.sources 'nuget.orgs'; did you mean 'nuget.org'?",
    ),
    "an expression": ('name = "a"\nlicenses = ["MIT OR ISC"]', "is not one SPDX identifier"),
    "both forms": ('name = "a"\nlicenses = { allowed = ["MIT"], denied = ["ISC"] }', "feeds.all.rules.0.licenses:"),
    "an unknown key": ('name = "a"\nmin_ages = "7d"', "feeds.all.rules.0.min_ages:"),
    "a name twice": ('name = "a"\n[[feeds.all.rules]]\nname = "a"', "feeds.all.rules.1.name: 'a' is the name of"),
}


@pytest.mark.parametrize(("text", "expected"), WRONG_RULES.values(), ids=WRONG_RULES)
def test_a_mistake_in_a_rule_is_told_by_its_full_key(text: str, expected: str, tmp_path: Path) -> None:
    table = f'[feeds.all]\nsources = ["company", "nuget.org"]\n[[feeds.all.rules]]\n{text}'
    lines = problems_of(TWO + table, tmp_path)
    assert any(expected in line for line in lines), lines


@pytest.mark.parametrize(("other", "expected"), [("nuget.or", "there is no upstream"), ("company", "must be another")])
def test_dates_come_from_another_upstream(other: str, expected: str, tmp_path: Path) -> None:
    text = TWO.replace("private = true", f'private = true\ndates_from = "{other}"')
    assert any(
        line.startswith("upstreams.company.dates_from: ") and expected in line for line in problems_of(text, tmp_path)
    )
