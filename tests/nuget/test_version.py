"""Versions: spelling, normal forms, order."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nugetproxy.nuget.version import MAX_TEXT, Version, in_order


def version(text: str) -> Version:
    found = Version.parse(text)
    assert found is not None, text
    return found


@pytest.mark.parametrize(
    ("text", "normalized", "url"),
    [
        ("1", "1.0.0", "1.0.0"),
        ("1.0", "1.0.0", "1.0.0"),
        ("1.0.0.0", "1.0.0", "1.0.0"),
        ("01.00.0", "1.0.0", "1.0.0"),
        ("13.0.01", "13.0.1", "13.0.1"),
        ("1.2.3.4", "1.2.3.4", "1.2.3.4"),
        ("1.2.3.0-Beta", "1.2.3-Beta", "1.2.3-beta"),
        ("1.2.3.4-Beta", "1.2.3.4-Beta", "1.2.3.4-beta"),
        ("1.0.0-Alpha.1+Build.5", "1.0.0-Alpha.1", "1.0.0-alpha.1"),
        ("1.0.0+sha", "1.0.0", "1.0.0"),
        ("1.0.0+0012", "1.0.0", "1.0.0"),
        ("1.0.0+a-b", "1.0.0", "1.0.0"),
        ("1.0.0-beta01", "1.0.0-beta01", "1.0.0-beta01"),
        ("1.0.0-0", "1.0.0-0", "1.0.0-0"),
        ("1.0.0-a-b.-.--1", "1.0.0-a-b.-.--1", "1.0.0-a-b.-.--1"),
        ("1-rc", "1.0.0-rc", "1.0.0-rc"),
        (" 1.0.0-RC \t", "1.0.0-RC", "1.0.0-rc"),
        ("2147483647.0.0", "2147483647.0.0", "2147483647.0.0"),
        ("000000000000000000001.0", "1.0.0", "1.0.0"),
    ],
)
def test_accepted_spellings(text: str, normalized: str, url: str) -> None:
    assert version(text).normalized == normalized
    assert version(text).url == url


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "1.0.0-01",
        "1.0.0-beta.01",
        "1.0.0-00",
        "1.0.0-",
        "1.0.0+",
        "1.0.0-+a",
        "1.0.0-a+",
        "1.0.0-a..b",
        "1.0.0-.a",
        "1.0.0-a.",
        "1.0.0+a..b",
        "1.0.0+a+b",
        "v1.0.0",
        "1.2.3.4.5",
        "1.",
        ".1",
        "1..0",
        "2147483648.0",
        "1.0.0.2147483648",
        "9" * 200,
        "-1.0",
        "+1.0",
        "1.-1",
        "1 .0",
        "1.0 .0",
        "1,0",
        "1.0_0",
        "1.0.0-a_b",
        "1.0.0-ä",
        "1.0.0-a/b",
        "1.0.0-a\\b",
        "1.0.0-%2e",
        "1.0.0\n-a",
        "1.0.0-a\x00",
        "1.*",
        "[1.0]",
        "garbage",
        "..",
        "\u0661.0",
        "\u00b2.0",
        "1.0.0-" + "a" * MAX_TEXT,
    ],
)
def test_refused_spellings(text: str) -> None:
    assert Version.parse(text) is None


def test_the_longest_text() -> None:
    assert version("1.0.0-" + "a" * (MAX_TEXT - 6)).is_prerelease


def test_the_parts() -> None:
    found = version("1.2.3.4-Alpha.7+Build.05")
    assert (found.major, found.minor, found.patch, found.revision) == (1, 2, 3, 4)
    assert (found.release, found.metadata) == (("Alpha", "7"), "Build.05")
    assert found.full == str(found) == "1.2.3.4-Alpha.7+Build.05"


@pytest.mark.parametrize(
    ("text", "prerelease", "semver2"),
    [
        ("1.0", False, False),
        ("1.2.3.4", False, False),
        ("1.0.0-a", True, False),
        ("1.0.0-a-b", True, False),
        ("1.0.0-a.b", True, True),
        ("1.0.0+a", False, True),
        ("1.0.0-a+b", True, True),
    ],
)
def test_traits(text: str, prerelease: bool, semver2: bool) -> None:
    assert version(text).is_prerelease is prerelease
    assert version(text).is_semver2 is semver2


ASCENDING = [
    "0.0.0-a",
    "0.0.0",
    "0.0.0.1-a",
    "0.0.0.1",
    "1.0.0--5",  # int.TryParse takes a sign, so this label is the number -5
    "1.0.0-0",
    "1.0.0-1",
    "1.0.0-2",
    "1.0.0-10",
    "1.0.0-2147483647",
    "1.0.0--",
    "1.0.0-10000000000",  # beyond int32: a word
    "1.0.0-2147483648",
    "1.0.0-a",
    "1.0.0-a.0",
    "1.0.0-a.a",
    "1.0.0-alpha",
    "1.0.0-alpha.1",
    "1.0.0-alpha.2",
    "1.0.0-alpha.10",
    "1.0.0-alpha.10.0",
    "1.0.0-alpha.beta",
    "1.0.0-alpha-1",
    "1.0.0-alpha1",
    "1.0.0-alpha10",
    "1.0.0-alpha2",
    "1.0.0-BETA",
    "1.0.0-beta.1",
    "1.0.0-rc",
    "1.0.0",
    "1.0.0.1",
    "1.0.1-a",
    "1.0.1",
    "1.9.0",
    "1.10.0",
    "2.0.0",
    "10.0.0",
]


def test_the_order_is_nugets() -> None:
    versions = [version(text) for text in ASCENDING]
    for (i, one), (j, other) in itertools.product(enumerate(versions), repeat=2):
        assert (one < other, one <= other, one > other, one >= other) == (i < j, i <= j, i > j, i >= j), (one, other)
        assert (one == other) == (i == j)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1.0", "1.0.0.0"),
        ("1.0.0+a", "1.0.0+b"),
        ("1.0.0+a", "1.0.0"),
        ("1.0.0-Beta", "1.0.0-bETA"),
        ("1.0.0-a.B+c", "1-A.b"),
        ("01.0", "1.00"),
    ],
)
def test_equal_versions(one: str, other: str) -> None:
    assert version(one) == version(other)
    assert hash(version(one)) == hash(version(other))
    assert version(one).url == version(other).url


def test_a_version_is_not_its_text() -> None:
    assert version("1.0.0") != "1.0.0"


LABEL = st.from_regex(r"\A[0-9A-Za-z-]{1,6}\Z").filter(lambda s: not (s.isdigit() and len(s) > 1 and s[0] == "0"))
NUMBER = st.integers(0, 2**31 - 1) | st.integers(0, 3)


@st.composite
def parts(draw: st.DrawFn) -> tuple[list[int], list[str], list[str]]:
    numbers = draw(st.lists(NUMBER, min_size=1, max_size=4))
    return numbers, draw(st.lists(LABEL, max_size=3)), draw(st.lists(LABEL, max_size=2))


def spell(numbers: list[int], release: list[str], metadata: list[str]) -> str:
    text = ".".join(map(str, numbers))
    return text + ("-" + ".".join(release) if release else "") + ("+" + ".".join(metadata) if metadata else "")


VERSIONS = parts().map(lambda p: version(spell(*p)))


@given(parts(), st.data())
def test_all_spellings_of_a_version_have_one_url_form(
    p: tuple[list[int], list[str], list[str]], data: st.DataObject
) -> None:
    numbers, release, metadata = p
    plain = version(spell(numbers, release, metadata))
    trimmed = list(numbers)
    while len(trimmed) > 1 and trimmed[-1] == 0 and data.draw(st.booleans()):
        trimmed.pop()
    padded = trimmed + [0] * data.draw(st.integers(0, 4 - len(trimmed)))
    zeros = ".".join("0" * data.draw(st.integers(0, 3)) + str(number) for number in padded)
    labels = [data.draw(st.sampled_from([label, label.upper(), label.lower()])) for label in release]
    tail = spell([0], labels, data.draw(st.lists(LABEL, max_size=2)))[1:]
    other = version(data.draw(st.sampled_from(["", " ", "\t"])) + zeros + tail)
    assert other.url == plain.url
    assert other == plain
    assert hash(other) == hash(plain)


@given(VERSIONS)
def test_normal_forms_are_fixed_points(one: Version) -> None:
    assert version(one.normalized).normalized == one.normalized
    assert version(one.url).url == one.url
    assert version(one.url) == version(one.normalized) == version(one.full) == one
    assert version(one.full).full == one.full
    assert one.url == one.url.lower()


@given(VERSIONS, VERSIONS, VERSIONS)
def test_the_order_is_total(a: Version, b: Version, c: Version) -> None:
    assert (a < b) + (a == b) + (a > b) == 1
    assert (a <= b) == (not a > b)
    assert (a == b) <= (hash(a) == hash(b))
    if a <= b <= c:
        assert a <= c
    if a.url == b.url:
        assert a == b


@given(st.text(max_size=30) | st.text(alphabet="01.-+aZ \n", max_size=12))
def test_any_text_parses_or_does_not(text: str) -> None:
    found = Version.parse(text)
    assert found is None or Version.parse(found.full) == found


SPELLINGS = VERSIONS.flatmap(lambda one: st.sampled_from([one.full, one.normalized, one.url, f" {one.url}"]))


ODD = ["1.0.0--0", "1.0.0-0", "1.0.0-01", "1.0.0-a.01", "1.2.3.0", "1.2.3", f"1.0.0-{MAX_TEXT * 'a'}", "1.0.0\n"]
TRIPLES = st.tuples(NUMBER, NUMBER, NUMBER).map(lambda numbers: ".".join(map(str, numbers)))


@given(
    st.lists(SPELLINGS | st.text(alphabet="01.-+aZ \n", max_size=12), max_size=8)
    | st.lists(TRIPLES, max_size=8)
    | st.just(ODD)
)
def test_a_list_is_put_in_order(texts: list[str]) -> None:
    known: dict[Version, str] = {}
    for text in texts:
        if (one := Version.parse(text)) is not None:
            known.setdefault(one, one.url)
    ordered, garbage = in_order(texts)
    assert ordered == [known[one] for one in sorted(known)]
    assert garbage == [text for text in texts if Version.parse(text) is None]


@pytest.mark.parametrize(
    ("texts", "ordered"),
    [
        (["1.2.0", "1.10.0", "2.0.0"], ["1.2.0", "1.10.0", "2.0.0"]),
        (["2.0.0", "1.10.0", "1.2.0"], ["1.2.0", "1.10.0", "2.0.0"]),
        (["1.0.0", "1.0.0", "2.0.0"], ["1.0.0", "2.0.0"]),
        (["1.0.0", "2.0.0", "2.0.0"], ["1.0.0", "2.0.0"]),
        (["1.0.0"], ["1.0.0"]),
    ],
)
def test_each_version_of_a_plain_list_is_in_it_once(texts: list[str], ordered: list[str]) -> None:
    assert in_order(texts) == (ordered, [])


def test_a_list_whose_elements_have_line_ends_is_no_other_list() -> None:
    assert in_order(["1.0.0\n2.0.0", "3.0.0"]) == (["3.0.0"], ["1.0.0\n2.0.0"])
