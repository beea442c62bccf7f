"""Verdicts over signatures: one row per rule, with packages that are signed here and with real ones."""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nugetproxy.nuget.signatures.certificates import load_pem
from nugetproxy.nuget.signatures.flaw import Flaw
from nugetproxy.nuget.signatures.judge import judge
from nugetproxy.nuget.signatures.roots import Roots
from nugetproxy.nuget.signatures.verdict import By, Trust, Verdict
from tests.fakes import signing
from tests.fakes.packages import make_nupkg
from tests.fakes.signing import Seal, Stamp, authority, signature, signed, with_signature

NOW = datetime(2030, 1, 1, tzinfo=UTC)
EARLY = datetime(2021, 1, 1, tzinfo=UTC)
LATE = datetime(2029, 1, 1, tzinfo=UTC)
UNTIL_2022 = datetime(2022, 1, 1, tzinfo=UTC)

ROOT, OTHER = authority("Root"), authority("Other Root")
AUTHOR, STRANGER = ROOT.issue("Author"), OTHER.issue("Stranger")
REPOSITORY = OTHER.issue("Repository")
CLOCK, ODD_CLOCK = ROOT.issue("Clock", usage=signing.TIME_STAMPING), OTHER.issue("Odd", usage=signing.TIME_STAMPING)
EXPIRED = ROOT.issue("Expired", end=UNTIL_2022)
EXPIRED_REPOSITORY = OTHER.issue("Expired Repository", end=UNTIL_2022)
PACKAGE = make_nupkg("Acme.A", "1.0.0", files={"content/a.txt": b"a" * 1000})

BY_ROOT = Trust(roots=Roots(load_pem(ROOT.pem)))
BY_LIST = Trust(listed=frozenset({REPOSITORY.fingerprint, EXPIRED_REPOSITORY.fingerprint}))
BY_BOTH = Trust(roots=BY_ROOT.roots, listed=BY_LIST.listed)
OWNED = Trust(listed=BY_LIST.listed, owners=frozenset({"contoso"}))

COUNTER = Seal(by=REPOSITORY, kind="repository", owners=("contoso", "fabrikam"))
DATA = "1.2.840.113549.1.7.1"


def stamp(at: datetime, by: signing.Identity = CLOCK) -> Stamp:
    return Stamp(by=by, at=at)


def verdict(package: bytes, trust: Trust = BY_ROOT, now: datetime = NOW) -> Verdict:
    return judge(io.BytesIO(package), trust, now.timestamp())


ROWS: list[tuple[str, Seal, Trust, Flaw | None]] = [
    ("author", Seal(by=AUTHOR), BY_ROOT, None),
    ("author nobody knows", Seal(by=STRANGER), BY_ROOT, Flaw.SIGNER),
    ("author by list", Seal(by=REPOSITORY), BY_LIST, Flaw.SIGNER),
    ("repository by list", Seal(by=REPOSITORY, kind="repository"), BY_LIST, None),
    ("repository not listed", Seal(by=STRANGER, kind="repository"), BY_LIST, Flaw.SIGNER),
    ("repository by root", Seal(by=AUTHOR, kind="repository"), BY_ROOT, None),
    ("nobody is trusted", Seal(by=AUTHOR), Trust(), Flaw.SIGNER),
    ("countersigned by list", Seal(by=STRANGER, counter=COUNTER), BY_LIST, None),
    ("countersigned by nobody", Seal(by=STRANGER, counter=Seal(by=STRANGER, kind="repository")), BY_BOTH, Flaw.SIGNER),
    ("author counts without its countersignature", Seal(by=AUTHOR, counter=COUNTER), BY_ROOT, None),
    ("expired without timestamp", Seal(by=EXPIRED), BY_ROOT, Flaw.TIME),
    ("expired with timestamp", Seal(by=EXPIRED, stamp=stamp(EARLY)), BY_ROOT, None),
    ("timestamp behind the end", Seal(by=EXPIRED, stamp=stamp(LATE)), BY_ROOT, Flaw.TIME),
    ("timestamp of an unknown authority", Seal(by=EXPIRED, stamp=stamp(EARLY, ODD_CLOCK)), BY_ROOT, Flaw.TIME),
    ("that one is not needed", Seal(by=AUTHOR, stamp=stamp(EARLY, ODD_CLOCK)), BY_ROOT, None),
    ("timestamp by no clock", Seal(by=AUTHOR, stamp=stamp(EARLY, AUTHOR)), BY_ROOT, Flaw.TIME),
    ("timestamp of something else", Seal(by=AUTHOR, stamp=Stamp(by=CLOCK, at=EARLY, of=b"x")), BY_ROOT, Flaw.TIME),
    (
        "timestamp from before its own certificate",
        Seal(by=AUTHOR, stamp=stamp(datetime(2019, 1, 1, tzinfo=UTC))),
        BY_ROOT,
        Flaw.TIME,
    ),
    ("listed, expired", Seal(by=EXPIRED_REPOSITORY, kind="repository"), BY_LIST, Flaw.TIME),
    (
        "listed, expired, timestamp of anybody where there are no roots",
        Seal(by=EXPIRED_REPOSITORY, kind="repository", stamp=stamp(EARLY, ODD_CLOCK)),
        BY_LIST,
        None,
    ),
    (
        "listed, expired, timestamp of a stranger where there are roots",
        Seal(by=EXPIRED_REPOSITORY, kind="repository", stamp=stamp(EARLY, ODD_CLOCK)),
        BY_BOTH,
        Flaw.TIME,
    ),
    (
        "a repository has seen it in time",
        Seal(by=EXPIRED, counter=Seal(by=REPOSITORY, kind="repository", stamp=stamp(EARLY))),
        BY_BOTH,
        None,
    ),
    (
        "a stranger has seen it in time",
        Seal(by=EXPIRED, counter=Seal(by=STRANGER, kind="repository", stamp=stamp(EARLY))),
        BY_BOTH,
        Flaw.TIME,
    ),
    (
        "countersigned with an expired certificate",
        Seal(by=STRANGER, counter=Seal(by=EXPIRED_REPOSITORY, kind="repository")),
        BY_LIST,
        Flaw.TIME,
    ),
    ("one of its owners", Seal(by=STRANGER, counter=COUNTER), OWNED, None),
    ("other owners", Seal(by=REPOSITORY, kind="repository", owners=("Contoso",)), OWNED, Flaw.OWNERS),
    ("no owners", Seal(by=REPOSITORY, kind="repository"), OWNED, Flaw.OWNERS),
    (
        "owners by an author's own word",
        Seal(by=AUTHOR, owners=("contoso",)),
        Trust(roots=BY_ROOT.roots, owners=OWNED.owners),
        Flaw.OWNERS,
    ),
    ("not for code signing", Seal(by=ROOT.issue("Web", usage=signing.TLS_SERVER)), BY_ROOT, Flaw.CERTIFICATE),
    ("for nothing in particular", Seal(by=ROOT.issue("Any", usage=None)), BY_ROOT, Flaw.CERTIFICATE),
    ("a small key", Seal(by=ROOT.issue("Small", bits=1024)), BY_ROOT, Flaw.CERTIFICATE),
    (
        "of another package",
        Seal(by=AUTHOR, statement=b"Version:1\n\n2.16.840.1.101.3.4.2.1-Hash:AAAA\n\n"),
        BY_ROOT,
        Flaw.CONTENT,
    ),
    ("of no package", Seal(by=AUTHOR, statement=b"Version:1\n\nHash:AAAA\n\n"), BY_ROOT, Flaw.DAMAGED),
    (
        "of another version",
        Seal(by=AUTHOR, statement=b"Version:2\n\n2.16.840.1.101.3.4.2.1-Hash:AAAA\n\n"),
        BY_ROOT,
        Flaw.DAMAGED,
    ),
    ("of nothing that can be read", Seal(by=AUTHOR, statement=b"\xff"), BY_ROOT, Flaw.DAMAGED),
    ("names another certificate", Seal(by=AUTHOR, binds=STRANGER), BY_ROOT, Flaw.DAMAGED),
    ("names none", Seal(by=AUTHOR, without=frozenset({signing.SIGNING_CERTIFICATE_V2})), BY_ROOT, Flaw.DAMAGED),
    ("says no time", Seal(by=AUTHOR, without=frozenset({signing.SIGNING_TIME})), BY_ROOT, Flaw.DAMAGED),
    ("says no digest", Seal(by=AUTHOR, without=frozenset({signing.MESSAGE_DIGEST})), BY_ROOT, Flaw.FORGED),
    ("says not what it signs", Seal(by=AUTHOR, without=frozenset({signing.CONTENT_TYPE})), BY_ROOT, Flaw.DAMAGED),
    ("neither author nor repository", Seal(by=AUTHOR, kinds=("1.2.3",)), BY_ROOT, Flaw.DAMAGED),
    ("both", Seal(by=AUTHOR, kinds=("author", "repository")), BY_ROOT, Flaw.DAMAGED),
    (
        "a repository of nowhere",
        Seal(by=REPOSITORY, kind="repository", without=frozenset({signing.SERVICE_INDEX})),
        BY_LIST,
        Flaw.DAMAGED,
    ),
    ("two repositories", Seal(by=REPOSITORY, kind="repository", counter=COUNTER), BY_LIST, Flaw.DAMAGED),
    (
        "a countersignature for web servers",
        Seal(by=AUTHOR, counter=Seal(by=ROOT.issue("Web", usage=signing.TLS_SERVER), kind="repository")),
        BY_ROOT,
        Flaw.CERTIFICATE,
    ),
]


@pytest.mark.parametrize(("seal", "trust", "flaw"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_a_signature_counts_or_has_one_flaw(seal: Seal, trust: Trust, flaw: Flaw | None) -> None:
    found = verdict(signed(PACKAGE, seal), trust)
    assert found.flaw == flaw, found.detail
    assert found.counts is (flaw is None)
    assert bool(found.detail) is (flaw is not None)


def test_every_flaw_has_its_row() -> None:
    assert {row[3] for row in ROWS} >= set(Flaw) - {Flaw.UNSIGNED}


def test_a_chain_leads_over_authorities_between() -> None:
    between = ROOT.issue("Between", usage=None, authority=True)
    assert verdict(signed(PACKAGE, Seal(by=between.issue("Below")))).counts


@pytest.mark.parametrize(
    "between",
    [
        ROOT.issue("No Authority", usage=None),
        ROOT.issue("Web Authority", usage=signing.TLS_SERVER, authority=True),
        ROOT.issue("Old Authority", usage=None, authority=True, end=UNTIL_2022),
        ROOT.issue("Shallow", usage=None, authority=True, path_length=0).issue("Deep", usage=None, authority=True),
    ],
    ids=["none", "web", "expired", "path length"],
)
def test_a_chain_ends_at_who_may_not_issue(between: signing.Identity) -> None:
    assert verdict(signed(PACKAGE, Seal(by=between.issue("Below")))).flaw is Flaw.SIGNER


def test_a_verdict_names_who_signed_and_for_whom() -> None:
    found = verdict(signed(PACKAGE, Seal(by=AUTHOR, stamp=stamp(EARLY), counter=COUNTER)), BY_BOTH)
    assert [(one.by, one.fingerprint, one.subject) for one in found.signers] == [
        (By.AUTHOR, AUTHOR.fingerprint, "CN=Author"),
        (By.REPOSITORY, REPOSITORY.fingerprint, "CN=Repository"),
    ]
    assert found.owners == ("contoso", "fabrikam")
    assert (found.signed_at, found.until) == (EARLY.timestamp(), None)
    assert found.signer == found.signers[0]
    assert Verdict.parse(found.text()) == found


def test_without_a_timestamp_it_counts_until_its_certificate_ends() -> None:
    assert verdict(signed(PACKAGE, Seal(by=AUTHOR))).until == signing.END.timestamp()
    assert verdict(signed(PACKAGE, Seal(by=STRANGER, counter=COUNTER)), BY_LIST).until == signing.END.timestamp()


def test_a_package_without_signature_is_unsigned() -> None:
    assert verdict(PACKAGE).flaw is Flaw.UNSIGNED
    assert verdict(PACKAGE).signer is None


def test_trust_that_differs_has_another_key() -> None:
    assert len({one.key for one in (Trust(), BY_ROOT, BY_LIST, BY_BOTH, OWNED)}) == 5
    assert BY_ROOT.key == Trust(roots=Roots(load_pem(b"text before\n" + ROOT.pem))).key


def test_any_changed_byte_of_the_content_is_found() -> None:
    package = signed(PACKAGE, Seal(by=AUTHOR))
    at = package.index(b"Acme.A.nuspec") + 40
    assert verdict(package[:at] + bytes([package[at] ^ 1]) + package[at + 1 :]).flaw is Flaw.CONTENT


BROKEN: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("trailing bytes", lambda p: p + b"x"),
    ("trailing bytes in the comment", lambda p: p[:-2] + struct.pack("<H", 4) + b"evil"),
    ("bytes before the end record", lambda p: p[:-22] + b"evil" + p[-22:]),
    ("no archive", lambda _: b"PK\x03\x04" + b"x" * 100),
]


@pytest.mark.parametrize("change", [row[1] for row in BROKEN], ids=[row[0] for row in BROKEN])
def test_what_is_added_to_the_archive_is_found(change: Callable[[bytes], bytes]) -> None:
    assert verdict(change(signed(PACKAGE, Seal(by=AUTHOR)))).flaw in {Flaw.CONTENT, Flaw.DAMAGED}


def test_a_file_that_is_added_behind_the_signature_is_found() -> None:
    package = with_signature(signed(PACKAGE, Seal(by=AUTHOR)), b"evil", name=b"evil.dll")
    assert verdict(package).flaw is Flaw.CONTENT


def test_a_signature_file_is_stored_as_it_must_be() -> None:
    made = signature(PACKAGE, Seal(by=AUTHOR))
    assert verdict(with_signature(PACKAGE, made)).counts
    assert verdict(with_signature(PACKAGE, made, method=8)).flaw is Flaw.DAMAGED
    assert verdict(with_signature(with_signature(PACKAGE, made), made)).flaw is Flaw.DAMAGED
    assert verdict(with_signature(PACKAGE, made, name=b".Signature.p7s")).flaw is Flaw.UNSIGNED


def test_a_signature_of_another_package_does_not_count() -> None:
    other = signature(make_nupkg("Acme.B", "1.0.0"), Seal(by=AUTHOR))
    assert verdict(with_signature(PACKAGE, other)).flaw is Flaw.CONTENT


@settings(max_examples=2 * settings.default.max_examples, deadline=None)
@given(st.data())
def test_damage_to_a_signature_never_counts_nor_crashes(data: st.DataObject) -> None:
    seal = Seal(by=AUTHOR, stamp=stamp(EARLY), counter=COUNTER)
    made = bytearray(_MADE.setdefault("signature", signature(PACKAGE, seal)))
    for _ in range(data.draw(st.integers(1, 3))):
        made[data.draw(st.integers(0, len(made) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    found = verdict(with_signature(PACKAGE, bytes(made[: data.draw(st.integers(len(made) - 3, len(made)))])))
    assert found.signer is None or found.flaw is not None or found.signer.fingerprint == AUTHOR.fingerprint


_MADE: dict[str, bytes] = {}


@given(st.binary(max_size=300))
def test_any_bytes_are_no_signature(content: bytes) -> None:
    assert verdict(with_signature(PACKAGE, content)).flaw is Flaw.DAMAGED


# --- real packages ---


def real_packages() -> list[Path]:
    folder = os.environ.get("NUGETPROXY_TEST_PACKAGES", "")
    dotnet = os.environ.get("NUGETPROXY_TEST_DOTNET", "")
    found = sorted(Path(folder).glob("*.nupkg")) if folder else []
    carried = sorted(Path(dotnet).parent.glob("templates/*/*.nupkg")) if dotnet else []
    if not found and not carried:
        pytest.skip("neither NUGETPROXY_TEST_PACKAGES nor NUGETPROXY_TEST_DOTNET has real packages")
    return [*found, *carried]


def test_real_packages_are_what_was_signed() -> None:
    unknown = []
    for path in real_packages():
        with path.open("rb") as file:
            found = judge(file, Trust(), NOW.timestamp())
        assert found.flaw in {Flaw.SIGNER, Flaw.TIME}, f"{path.name}: {found.detail}"
        listed = frozenset(one.fingerprint for one in found.signers if one.by is By.REPOSITORY)
        with path.open("rb") as file:
            known = judge(file, Trust(listed=listed), NOW.timestamp())
        assert known.counts is bool(listed), f"{path.name}: {known.detail}"
        assert known.signed_at is not None or not listed
        if not listed:
            unknown.append(path.name)
    assert all(name.startswith(("microsoft.", "nunit3.")) for name in unknown), "nuget.org signs all that it has"


def test_real_packages_with_one_changed_byte_are_found() -> None:
    for path in real_packages()[::20]:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        assert not judge(io.BytesIO(content), Trust(), NOW.timestamp()).counts
        assert judge(io.BytesIO(content), Trust(), NOW.timestamp()).flaw in {Flaw.CONTENT, Flaw.DAMAGED, Flaw.FORGED}
