"""Package source mapping as NuGet reads it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nugetproxy.nuget.mapping import Rule, SourceMapping

FEED = ("company", "partner", "nuget.org")
MAPPING = SourceMapping.of(
    [
        Rule("*", ("nuget.org",)),
        Rule("Contoso.*", ("company",)),
        Rule("Contoso.Public.*", ("nuget.org",)),
        Rule("Contoso.Public.Secret", ("company",)),
        Rule("Con*", ("partner",)),
        Rule("Fabrikam", ("partner", "company"), union=True),
    ]
)


@pytest.mark.parametrize(
    ("id_", "pattern", "sources"),
    [
        ("Newtonsoft.Json", "*", ("nuget.org",)),
        ("Contoso.Billing", "Contoso.*", ("company",)),
        ("CONTOSO.billing", "Contoso.*", ("company",)),
        ("Contoso.Public.Api", "Contoso.Public.*", ("nuget.org",)),
        ("contoso.public.secret", "Contoso.Public.Secret", ("company",)),
        ("Contoso.Public.Secrets", "Contoso.Public.*", ("nuget.org",)),
        ("Contoso", "Con*", ("partner",)),
        ("Con", "Con*", ("partner",)),
        ("Co", "*", ("nuget.org",)),
        ("Fabrikam", "Fabrikam", ("company", "partner")),
        ("Fabrikam.Core", "*", ("nuget.org",)),
    ],
)
def test_the_exact_id_then_the_longest_prefix_wins(id_: str, pattern: str, sources: tuple[str, ...]) -> None:
    rule = MAPPING.rule(id_)
    assert rule is not None
    assert rule.pattern == pattern
    assert MAPPING.sources(id_, FEED) == sources


def test_without_rules_every_source_may_have_everything() -> None:
    mapping = SourceMapping.of([])
    assert mapping.is_empty
    assert mapping.has_default
    assert mapping.sources("Anything", FEED) == FEED


def test_what_no_pattern_matches_has_no_source() -> None:
    mapping = SourceMapping.of([Rule("Contoso.*", ("company",))])
    assert not mapping.has_default
    assert mapping.rule("Newtonsoft.Json") is None
    assert mapping.sources("Newtonsoft.Json", FEED) == ()
    assert mapping.sources("Contoso", FEED) == ()


def test_equal_patterns_are_one_rule() -> None:
    mapping = SourceMapping.of([Rule("A.*", ("x",)), Rule(" a.* ", ("y", "x"), union=True)])
    assert mapping.rule("a.b") == Rule("A.*", ("x", "y"), union=True)


@pytest.mark.parametrize("pattern", ["", "  ", "a*b", "*.a", "**", "x" * 101])
def test_patterns_that_nuget_refuses(pattern: str) -> None:
    with pytest.raises(ValueError, match="The pattern") as caught:
        SourceMapping.of([Rule(pattern, ("x",))])
    assert "write an id" in str(caught.value)


def test_the_longest_pattern_fits() -> None:
    assert SourceMapping.of([Rule("x" * 99 + "*", ("s",))]).sources("x" * 100, ("s",)) == ("s",)


@pytest.mark.parametrize(
    ("text", "meets"),
    [
        ("contoso", True),
        ("Contoso.Billing", True),
        ("json contoso.b", True),
        ("fabrikam", True),
        ("newtonsoft", False),
        ("", False),
    ],
)
def test_what_is_typed_into_a_search_may_name_a_mapped_id(text: str, meets: bool) -> None:
    assert MAPPING.may_meet(text, {"company", "partner"}) is meets


patterns = st.sampled_from(["*", "a*", "a.*", "a.b*", "a.b", "a.b.c", "b*", "ab*"])
ids = st.text("ab.", min_size=1, max_size=6)


@given(st.lists(patterns), ids)
def test_the_rule_is_the_one_that_a_look_at_all_patterns_finds(found: list[str], id_: str) -> None:
    mapping = SourceMapping.of([Rule(pattern, (pattern,)) for pattern in found])
    exact = [pattern for pattern in found if pattern == id_]
    prefixes = [pattern for pattern in found if pattern.endswith("*") and id_.startswith(pattern[:-1])]
    best = exact[0] if exact else max(prefixes, key=len, default=None)
    rule = mapping.rule(id_.upper())
    assert (rule.pattern if rule is not None else None) == best
