"""Package ids, and what one version of one package is called."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nugetproxy.nuget.identity import MAX_ID, PackageId, PackageIdentity, invariant_lower


@pytest.mark.parametrize(
    ("text", "lower"),
    [
        ("Newtonsoft.Json", "newtonsoft.json"),
        ("newtonsoft.json", "newtonsoft.json"),
        ("A", "a"),
        ("_", "_"),
        ("7Zip", "7zip"),
        ("a-b.c_d-e", "a-b.c_d-e"),
        ("a" * MAX_ID, "a" * MAX_ID),
        ("contoso", "contoso"),
        ("con.sole", "con.sole"),
        ("com0", "com0"),
        ("Ünïcode.Pakét", "ünïcode.pakét"),
        ("日本語", "日本語"),
        ("re\u0301sume\u0301", "re\u0301sume\u0301"),  # combining marks
        ("a\u203fb", "a\u203fb"),  # connector punctuation
        ("\u0661\u0662", "\u0661\u0662"),  # decimal digits
    ],
)
def test_accepted_ids(text: str, lower: str) -> None:
    assert PackageId.parse(text) == PackageId(text, lower)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "..",
        "...",
        "-",
        ".a",
        "a.",
        "-a",
        "a-",
        "a..b",
        "a--b",
        "a.-b",
        "a b",
        " a",
        "a ",
        "a\n",
        "a/b",
        "a\\b",
        "../etc",
        "a%2fb",
        "a%",
        "a\x00",
        "\x00",
        "a\x1fb",
        "a:b",
        "a;b",
        "a?b",
        "a#b",
        "a+b",
        "a@b",
        "a*b",
        "a~1",
        "a" * (MAX_ID + 1),
        "a" * 300,
        "con",
        "CON",
        "nul",
        "aux",
        "prn",
        "Com1",
        "lpt9",
        "é b",
        "é/b",
        "é..b",
        ".é",
        "é-",
        "a\u2024b",  # one dot leader, which compatibility forms fold to a dot
        "a\uff0fb",  # fullwidth solidus
        "a\u202eb",  # right-to-left override
        "a\u200bb",  # zero width space
        "a\u00a0b",  # no-break space
        "a\u2160",  # a letter-like number is no word character to .NET
        "\U0001f4a9",
        "\U00010400",  # a letter, but a surrogate pair to .NET's regular expressions
        "\udc80",
    ],
)
def test_refused_ids(text: str) -> None:
    assert PackageId.parse(text) is None


@pytest.mark.parametrize(
    ("text", "lower"),
    [
        ("TITLE", "title"),
        ("İstanbul", "İstanbul"),  # U+0130 has no single lower-case character outside Turkish
        ("I\u0131", "i\u0131"),
        ("ΟΔΟΣ", "οδοσ"),  # no final sigma: .NET does not look at the context
        ("\u212aelvin", "kelvin"),  # the Kelvin sign lowers to k, as in Unicode's simple mapping
        ("\u2126", "\u03c9"),
        ("ẞ", "ß"),
        ("ǅ", "ǆ"),
    ],
)
def test_lowering_is_dotnets_invariant(text: str, lower: str) -> None:
    assert invariant_lower(text) == lower
    found = PackageId.parse(text)
    assert found is not None
    assert found.lower == lower


@pytest.mark.parametrize(
    ("id_text", "version_text"),
    [
        ("Newtonsoft.Json", "13.0.1"),
        ("newtonsoft.json", "13.0.1.0"),
        ("NEWTONSOFT.JSON", "13.0.01"),
        ("Newtonsoft.Json", "13.0.1+abc"),
        ("Newtonsoft.Json", " 13.0.1 "),
    ],
)
def test_all_spellings_are_one_identity(id_text: str, version_text: str) -> None:
    found = PackageIdentity.parse(id_text, version_text)
    assert found == PackageIdentity("newtonsoft.json", "13.0.1")
    assert found.nupkg_name == "newtonsoft.json.13.0.1.nupkg"
    assert found.nuspec_name == "newtonsoft.json.nuspec"
    assert str(found) == "newtonsoft.json 13.0.1"


@pytest.mark.parametrize(
    ("id_text", "version_text"), [("a", ""), ("", "1.0"), ("a", "v1"), ("..", "1.0"), ("a", ".."), ("a/b", "1.0")]
)
def test_bad_parts_make_no_identity(id_text: str, version_text: str) -> None:
    assert PackageIdentity.parse(id_text, version_text) is None


@pytest.mark.parametrize(
    ("id_text", "label", "fits"),
    [
        ("a" * 100, 123, True),  # 100 + 1 + (6 + 123) + 6 + 7 bytes: .nupkg, then .sha512
        ("a" * 100, 136, False),
        ("日" * 76, 1, True),
        ("日" * 80, 1, False),
    ],
)
def test_an_identity_fits_into_a_file_name(id_text: str, label: int, fits: bool) -> None:
    found = PackageIdentity.parse(id_text, "1.0.0-" + "b" * label)
    assert (found is not None) == fits
    if found is not None:
        assert len(f"{found.nupkg_name}.sha512".encode()) <= 255


def test_the_limit_of_file_names_is_exact() -> None:
    room = 255 - len("a.1.0.0-.nupkg.sha512")
    assert PackageIdentity.parse("a", "1.0.0-" + "b" * room) is not None
    assert PackageIdentity.parse("a", "1.0.0-" + "b" * (room + 1)) is None


def test_identities_sort() -> None:
    identities = [PackageIdentity("b", "1.0.0"), PackageIdentity("a", "2.0.0"), PackageIdentity("a", "1.0.0")]
    assert sorted(identities) == [identities[2], identities[1], identities[0]]


WORDS = st.characters(categories=["Lu", "Ll", "Lo", "Nd", "Mn"], max_codepoint=0xFFFF)


@given(st.lists(st.text(WORDS, min_size=1, max_size=5), min_size=1, max_size=4), st.sampled_from(".-"))
def test_lowering_is_idempotent_and_stays_an_id(segments: list[str], joint: str) -> None:
    text = joint.join(segments)
    found = PackageId.parse(text)
    if found is None:
        assert len(segments) == 1  # a device name
        return
    assert len(found.lower) == len(text)
    assert PackageId.parse(found.lower) == PackageId(found.lower, found.lower)


@given(st.from_regex(r"\A[0-9A-Za-z_]{1,8}([.-][0-9A-Za-z_]{1,8}){1,3}\Z"))
def test_ascii_case_never_matters(text: str) -> None:
    lowers = {parsed.lower for parsed in map(PackageId.parse, (text, text.upper(), text.lower())) if parsed}
    assert lowers == {text.lower()}


@given(st.text(max_size=40) | st.text(alphabet="a.-/\\%\x00é", max_size=8))
def test_no_id_can_leave_its_folder(text: str) -> None:
    found = PackageId.parse(text)
    if found is not None:
        assert not set(found.lower) & set("/\\%:\x00\n ")
        assert ".." not in found.lower
        assert found.lower[0] not in ".-"
        assert found.lower[-1] not in ".-"
