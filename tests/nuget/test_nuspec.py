"""Package files, good and hostile: what is read from them, what is refused."""

from __future__ import annotations

import io
import struct
import tempfile
import tracemalloc
import zipfile
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nugetproxy.errors import Reason
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.nuget.nuspec import (
    MAX_NUSPEC,
    Dependency,
    DependencyGroup,
    InvalidPackage,
    Nuspec,
    inspect_package,
    parse_nuspec,
    read_member,
)
from nugetproxy.nuget.package import FREE_SIZE, MAX_ENTRIES
from tests.fakes.packages import ICON, LICENSE, README, make_nupkg, make_nuspec, make_zip

ACME = PackageIdentity("acme.a", "1.0.0")


def inspect(nupkg: bytes, expected: PackageIdentity | None = ACME) -> Nuspec:
    return inspect_package(io.BytesIO(nupkg), expected)


def refusal(nupkg: bytes, expected: PackageIdentity | None = ACME) -> Reason:
    with pytest.raises(InvalidPackage) as caught:
        inspect(nupkg, expected)
    assert caught.value.detail in str(caught.value)
    return caught.value.reason


def zipped(*entries: tuple[str, bytes | str], compression: int = zipfile.ZIP_DEFLATED, comment: bytes = b"") -> bytes:
    """An archive of exactly these entries, several of one name allowed."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        archive.comment = comment
        for name, content in entries:
            archive.writestr(zipfile.ZipInfo(name), content, compression)
    return buffer.getvalue()


NUSPEC = make_nuspec("Acme.A", "1.0.0")

# --- what a good package says ---


@pytest.mark.parametrize(("id_text", "version"), [("Acme.A", "1.0.0"), ("acme.a", "1.0"), ("ACME.A", "1.0.0.0+sha")])
def test_a_package_is_accepted_in_any_spelling_of_its_identity(id_text: str, version: str) -> None:
    found = inspect(make_nupkg(id_text, version))
    assert found.identity == ACME
    assert found.id == id_text


def test_without_an_expected_identity_any_will_do() -> None:
    assert inspect(make_nupkg("Other", "2.0-RC"), None).identity == PackageIdentity("other", "2.0.0-rc")


def test_a_nuspec_is_read_whole() -> None:
    xml = """<?xml version="1.0"?>
    <package xmlns="http://schemas.microsoft.com/packaging/2012/06/nuspec.xsd">
      <metadata minClientVersion="2.12">
        <!-- a comment -->
        <id> Acme.A </id><version>1.0.0.0-Beta.2+Build</version><title>Acme &amp; A</title>
        <authors>Ann, Bob</authors><owners>Carl</owners><description><![CDATA[<b>bold</b>
two lines]]></description><summary>short</summary><tags>one two</tags>
        <projectUrl>https://example.org/p</projectUrl><iconUrl>https://example.org/i</iconUrl><icon>a\\i.png</icon>
        <license type="expression">MIT</license><licenseUrl>https://licenses.nuget.org/MIT</licenseUrl>
        <readme>docs/r.md</readme><language>en-GB</language>
        <requireLicenseAcceptance>True</requireLicenseAcceptance>
        <packageTypes><packageType name="DotnetTool" version="1.0"/><packageType name="Template"/></packageTypes>
        <dependencies>
          <group targetFramework=".NETStandard2.0"><dependency id="B" version="[1.0, 2.0)" exclude="Build"/></group>
          <group targetFramework="net8.0"/>
          <group><dependency id="C"/></group>
        </dependencies>
        <unknown>ignored</unknown>
      </metadata>
      <files><file src="x" /></files>
    </package>"""
    assert parse_nuspec(xml.encode()) == Nuspec(
        identity=PackageIdentity("acme.a", "1.0.0-beta.2"),
        id="Acme.A",
        version="1.0.0-Beta.2+Build",
        stated_version="1.0.0.0-Beta.2+Build",
        xml=xml.encode(),
        title="Acme & A",
        description="<b>bold</b>\ntwo lines",
        summary="short",
        authors="Ann, Bob",
        owners="Carl",
        tags="one two",
        project_url="https://example.org/p",
        icon_url="https://example.org/i",
        icon="a\\i.png",
        license_file="",
        license_expression="MIT",
        license_url="https://licenses.nuget.org/MIT",
        readme="docs/r.md",
        language="en-GB",
        min_client_version="2.12",
        require_license_acceptance=True,
        package_types=(("DotnetTool", "1.0"), ("Template", "")),
        dependency_groups=(
            DependencyGroup(".NETStandard2.0", (Dependency("B", "[1.0, 2.0)"),)),
            DependencyGroup("net8.0", ()),
            DependencyGroup(None, (Dependency("C", ""),)),
        ),
    )


def test_a_nuspec_that_says_little() -> None:
    found = parse_nuspec(b"<package><metadata><id>a</id><version>1</version></metadata></package>")
    assert (found.id, found.version) == ("a", "1.0.0")
    assert found.title == found.description == found.readme == found.license_file == found.min_client_version == ""
    assert found.require_license_acceptance is False
    assert found.package_types == found.dependency_groups == ()


def test_dependencies_outside_groups_are_for_all_frameworks() -> None:
    found = inspect(make_nupkg("Acme.A", "1.0.0", dependencies=[("B", "1.0"), ("C", "[2.0]")]))
    assert found.dependency_groups == (DependencyGroup(None, (Dependency("B", "1.0"), Dependency("C", "[2.0]"))),)


@pytest.mark.parametrize(
    ("kind", "expected"), [("file", ("x", "")), ("File", ("x", "")), ("expression", ("", "x")), ("odd", ("", ""))]
)
def test_licences_are_told_apart(kind: str, expected: tuple[str, str]) -> None:
    xml = f'<package><metadata><id>a</id><version>1</version><license type="{kind}">x</license></metadata></package>'
    found = parse_nuspec(xml.encode())
    assert (found.license_file, found.license_expression) == expected


def test_of_a_repeated_element_the_first_counts() -> None:
    metadata = "<id>a</id><version>1</version><id>b</id><title>t</title><title>u</title>"
    found = parse_nuspec(f"<package><metadata>{metadata}</metadata></package>".encode())
    assert (found.id, found.title) == ("a", "t")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "iso-8859-1"])
def test_a_nuspec_in_any_encoding(encoding: str) -> None:
    name = "utf-8" if encoding == "utf-8-sig" else encoding
    xml = (
        f'<?xml version="1.0" encoding="{name}"?><package><metadata><id>é</id><version>1</version></metadata></package>'
    )
    assert parse_nuspec(xml.encode(encoding)).identity.id == "é"


@pytest.mark.parametrize("namespace", ["http://schemas.microsoft.com/packaging/2010/07/nuspec.xsd", "urn:any"])
def test_a_nuspec_in_any_namespace(namespace: str) -> None:
    assert parse_nuspec(make_nuspec("a", "1", namespace=namespace).encode()).id == "a"


def test_an_idle_doctype_is_refused_as_nuget_refuses_it() -> None:
    assert (
        refusal(make_nupkg("Acme.A", "1.0.0", nuspec="<!DOCTYPE package>" + NUSPEC.partition("?>\n")[2])) is Reason.ZIP
    )


@pytest.mark.parametrize(
    ("version", "range_text", "expected"),
    [
        ("1.0.0", "1.0", False),
        ("1.0.0-beta", "[1.0-alpha, 2.0)", False),
        ("1.2.3.4", "", False),
        ("1.0.0-beta.1", "1.0", True),
        ("1.0.0+sha", "1.0", True),
        ("1.0.0", "1.0-a.b", True),
        ("1.0.0", "[1.0+meta]", True),
        ("1.0.0", "(, 2.0-a.b)", True),
        ("1.0.0", "[1.0-a.b,)", True),
        ("1.0.0", "nonsense.a.b", False),
    ],
)
def test_semver2_by_version_or_by_a_bound(version: str, range_text: str, expected: bool) -> None:
    nupkg = make_nupkg("Acme.A", version, dependencies={"net8.0": [("X", "1.0")], "": [("B", range_text)]})
    assert inspect(nupkg, None).is_semver2 is expected


# --- the archive ---


@pytest.mark.parametrize("comment", [b"", b"a comment", b"PK\x05\x06 in a comment"[4:], b"x" * 65535])
def test_an_archive_comment_is_fine(comment: bytes) -> None:
    assert inspect(zipped(("Acme.A.nuspec", NUSPEC), comment=comment)).id == "Acme.A"


def test_the_nuspec_may_have_any_name_and_case() -> None:
    assert inspect(zipped(("odd.NuSpec", NUSPEC), ("content/other.nuspec", "x"), ("a\\b.nuspec", "x"))).id == "Acme.A"


def test_a_stored_nuspec_is_fine() -> None:
    assert inspect(zipped(("a.nuspec", NUSPEC), compression=zipfile.ZIP_STORED)).id == "Acme.A"


def test_an_archive_with_a_data_descriptor_is_fine() -> None:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w") as archive:
        archive.writestr("a.nuspec", NUSPEC)
    assert inspect(pipe.getvalue()).id == "Acme.A"


def with_zip64_end(nupkg: bytes, *, saturate: bool = True, lie: Callable[[list[int]], None] | None = None) -> bytes:
    """The same archive with a 64-bit end record in front of the other one; ``lie`` may change its numbers."""
    end = len(nupkg) - 22
    count, size, start = struct.unpack("<HLL", nupkg[end + 10 : end + 20])
    numbers = [count, count, size, start]
    if lie is not None:
        lie(numbers)
    record = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, *numbers)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, end, 1)
    small = (0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF) if saturate else (count, count, size, start)
    return nupkg[:end] + record + locator + struct.pack("<4s2H2H2LH", b"PK\x05\x06", 0, 0, *small, 0)


GOOD = make_nupkg("Acme.A", "1.0.0", readme="hello", icon=b"\x89PNG", license_file="MIT", size=2000, signature=True)


@pytest.mark.parametrize("saturate", [True, False])
def test_a_64_bit_end_record_is_read(saturate: bool) -> None:
    assert inspect(with_zip64_end(GOOD, saturate=saturate)).id == "Acme.A"


def _entries(numbers: list[int]) -> None:
    numbers[0] = numbers[1] = numbers[1] + 1


def _start(numbers: list[int]) -> None:
    numbers[3] += 1


def _huge(numbers: list[int]) -> None:
    numbers[0] = numbers[1] = 2**64 - 1


@pytest.mark.parametrize("lie", [_entries, _start, _huge])
def test_a_64_bit_end_record_that_lies_is_refused_where_it_counts(lie: Callable[[list[int]], None]) -> None:
    assert refusal(with_zip64_end(GOOD, lie=lie)) is Reason.ZIP
    assert inspect(with_zip64_end(GOOD, saturate=False, lie=lie)).id == "Acme.A"


def test_a_64_bit_end_record_elsewhere_is_refused() -> None:
    nupkg = with_zip64_end(GOOD)
    locator = len(nupkg) - 42
    moved = nupkg[: locator + 8] + struct.pack("<Q", 2**63) + nupkg[locator + 16 :]
    assert refusal(moved) is Reason.ZIP


@pytest.mark.parametrize("sixteenth", range(16))
def test_a_cut_package_is_refused(sixteenth: int) -> None:
    assert refusal(GOOD[: len(GOOD) * sixteenth // 16]) is Reason.ZIP


@given(st.integers(0, len(GOOD) - 1))
def test_no_cut_goes_unnoticed(length: int) -> None:
    assert refusal(GOOD[:length]) is Reason.ZIP


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"PK\x03\x04",
        b"<html>please log in</html>",
        b"PK\x05\x06" + bytes(18),
        b"x" + GOOD,
        b"PK\x03\x04" + GOOD,
        GOOD[:200] + b"xx" + GOOD[200:],
        GOOD.replace(b"PK\x01\x02", b"PK\x01\x09"),
        GOOD[:-22] + GOOD[-22:].replace(b"PK\x05\x06\x00\x00", b"PK\x05\x06\x01\x00"),
    ],
    ids=["empty", "4 bytes", "html", "empty zip", "1 before", "4 before", "2 within", "dir", "disk"],
)
def test_what_is_no_whole_archive_is_refused(body: bytes) -> None:
    assert refusal(body) is Reason.ZIP


@pytest.mark.parametrize("count", [0, 1, 3, 0xFFFF])
def test_a_wrong_number_of_entries_is_refused(count: int) -> None:
    lying = GOOD[:-14] + struct.pack("<2H", count, count) + GOOD[-10:]
    assert refusal(lying) is Reason.ZIP


def test_every_flipped_bit_of_the_nuspec_is_noticed() -> None:
    nupkg = zipped(("a.nuspec", NUSPEC))
    start, size = 30 + len("a.nuspec"), zipfile.ZipFile(io.BytesIO(nupkg)).getinfo("a.nuspec").compress_size
    for at in range(start, start + size, 7):
        flipped = nupkg[:at] + bytes([nupkg[at] ^ 0x10]) + nupkg[at + 1 :]
        assert refusal(flipped) is Reason.ZIP


@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_a_changed_byte_is_refused_or_harmless(at: int, mask: int) -> None:
    changed = GOOD[:at] + bytes([GOOD[at] ^ mask]) + GOOD[at + 1 :]
    try:
        found = inspect(changed)
    except InvalidPackage:
        return
    assert found == inspect(GOOD)


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused(body: bytes) -> None:
    assert refusal(body) is Reason.ZIP
    assert refusal(b"PK\x03\x04" + body + GOOD[-22:]) is Reason.ZIP


# --- hostile archives ---


@pytest.mark.parametrize(
    "entries",
    [
        [("lib/a.dll", "x")],
        [("sub/a.nuspec", NUSPEC)],
        [("a.nuspec", NUSPEC), ("b.nuspec", NUSPEC)],
        [("a.nuspec", NUSPEC), ("B.NUSPEC", NUSPEC)],
        [("a.nuspec.txt", NUSPEC)],
    ],
)
def test_exactly_one_nuspec_at_the_root(entries: list[tuple[str, str]]) -> None:
    assert refusal(zipped(*entries)) is Reason.ZIP


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_nuspecs_of_one_name_are_refused() -> None:
    assert refusal(zipped(("a.nuspec", NUSPEC), ("a.nuspec", NUSPEC))) is Reason.ZIP


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_unusual_compression_is_refused(compression: int) -> None:
    assert refusal(zipped(("a.nuspec", NUSPEC), compression=compression)) is Reason.ZIP


def patched(nupkg: bytes, offset: int, form: str, *values: int) -> bytes:
    """``nupkg`` with other numbers at ``offset`` of its first central directory header."""
    header = bytearray(nupkg)
    struct.pack_into(form, header, nupkg.index(b"PK\x01\x02") + offset, *values)
    return bytes(header)


@pytest.mark.parametrize(
    ("offset", "form", "value"),
    [
        (42, "<L", 2**31),  # begins beyond the end
        (42, "<L", 1),  # begins where no entry does
        (42, "<L", 0xFFFFFFFF),  # promises a 64-bit field that is not there
        (20, "<L", 2**31),  # longer than the file
        (24, "<L", 1),  # content longer than stated
        (16, "<L", 0),  # other CRC
        (28, "<H", 0xFFFF),  # name runs out of the directory
    ],
)
def test_a_lying_header_is_refused(offset: int, form: str, value: int) -> None:
    assert refusal(patched(zipped(("a.nuspec", NUSPEC)), offset, form, value)) is Reason.ZIP


@pytest.mark.parametrize("value", [2**63, 2**64 - 1])
def test_an_entry_at_an_impossible_offset_is_refused(value: int) -> None:
    nupkg = patched(zipped(("a.nuspec", NUSPEC)), 42, "<L", 0xFFFFFFFF)
    extra = struct.pack("<2HQ", 1, 8, value)
    header, end = nupkg.index(b"PK\x01\x02"), len(nupkg) - 22
    size, start = struct.unpack("<LL", nupkg[end + 12 : end + 20])
    nupkg = patched(nupkg, 30, "<H", len(extra))
    bent = nupkg[: header + 46 + 8] + extra + nupkg[header + 46 + 8 : end]
    bent += nupkg[end : end + 12] + struct.pack("<LL", size + len(extra), start) + nupkg[end + 20 :]
    assert refusal(bent) is Reason.ZIP
    with tempfile.TemporaryFile() as file, pytest.raises(InvalidPackage):
        file.write(bent)
        inspect_package(file, ACME)


def padded_nuspec(length: int, filler: bytes) -> bytes:
    comment = b"<!--" + filler * (length // len(filler)) + b"-->"
    return NUSPEC.encode() + comment


def test_a_large_but_honest_nuspec_is_read() -> None:
    assert inspect(zipped(("a.nuspec", padded_nuspec(FREE_SIZE - 2000, b" ")))).id == "Acme.A"


@pytest.mark.parametrize("length", [FREE_SIZE, MAX_NUSPEC + 1, 50 * 2**20])
def test_a_nuspec_bomb_is_refused_without_being_inflated(length: int) -> None:
    nupkg = zipped(("a.nuspec", padded_nuspec(length, b" ")))
    tracemalloc.start()
    try:
        assert refusal(nupkg) is Reason.ZIP
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_a_nuspec_bomb_that_lies_about_its_size_is_refused_without_being_inflated() -> None:
    nupkg = patched(zipped(("a.nuspec", padded_nuspec(50 * 2**20, b" "))), 24, "<L", 1000)
    tracemalloc.start()
    try:
        assert refusal(nupkg) is Reason.ZIP
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def crowded(headers: int, stated: int) -> bytes:
    """An archive whose central directory holds the first header many times over."""
    nupkg = zipped(("a", ""))
    at, end = nupkg.index(b"PK\x01\x02"), len(nupkg) - 22
    directory = nupkg[at:end] * headers
    return nupkg[:at] + directory + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, stated, stated, len(directory), at, 0)


def test_a_million_entries_are_refused_without_being_listed() -> None:
    nupkg = crowded(1_000_000, 1_000_000 % 65536)
    tracemalloc.start()
    try:
        assert refusal(nupkg) is Reason.ZIP
        assert tracemalloc.get_traced_memory()[1] < 64 * 2**20
    finally:
        tracemalloc.stop()


def test_too_many_stated_entries_are_refused() -> None:
    directory_64 = with_zip64_end(crowded(1, 1), lie=lambda numbers: _set_entries(numbers, MAX_ENTRIES + 1))
    assert refusal(directory_64) is Reason.ZIP


def _set_entries(numbers: list[int], count: int) -> None:
    numbers[0] = numbers[1] = count


# --- hostile nuspecs ---

BILLION_LAUGHS = (
    '<!DOCTYPE p [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    "<package><metadata><id>&b;</id><version>1</version></metadata></package>"
)
EXTERNAL = (
    '<!DOCTYPE p [<!ENTITY a SYSTEM "file:///etc/hostname">]>'
    "<package><metadata><id>&a;</id><version>1</version></metadata></package>"
)


@pytest.mark.parametrize(
    "xml",
    [
        "",
        "not xml",
        "<package>",
        "<package/>",
        "<html><metadata><id>a</id><version>1</version></metadata></html>",
        "<package><id>a</id><version>1</version></package>",
        '<?xml version="1.0" encoding="no-such"?><package/>',
        "<package><metadata><id>\x01</id></metadata></package>",
        "<package><metadata>" + "<a>" * 1000,
        BILLION_LAUGHS,
        EXTERNAL,
    ],
)
def test_a_nuspec_that_is_none_is_refused(xml: str) -> None:
    with pytest.raises(InvalidPackage) as caught:
        parse_nuspec(xml.encode())
    assert caught.value.reason is Reason.ZIP


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "not declared"])
@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1", "cp037", "utf-7"]
)
@pytest.mark.parametrize("xml", [BILLION_LAUGHS, EXTERNAL, "<!-- none --><!DOCTYPE package>" + make_nuspec("a", "1")])
def test_no_encoding_hides_a_doctype(xml: str, encoding: str, declared: bool) -> None:
    body = (
        xml.partition("?>")[2] if xml.startswith("<?xml") else xml.replace('<?xml version="1.0" encoding="utf-8"?>', "")
    )
    declaration = f'<?xml version="1.0" encoding="{encoding}"?>' if declared else ""
    with pytest.raises(InvalidPackage):
        parse_nuspec((declaration + body).encode(encoding))


def test_a_doctype_behind_a_declaration_of_another_encoding_is_refused() -> None:
    """What looks like UTF-8 to who reads its first bytes only is what its declaration says."""
    declaration = b'<?xml version="1.0" encoding="cp037"?>'
    with pytest.raises(InvalidPackage):
        parse_nuspec(declaration + BILLION_LAUGHS.encode("cp037"))


@pytest.mark.parametrize("start", ["", "\ufeff", '<?xml version="1.0"?>', '<?xml version="1.0" encoding="UTF-8"?>\r\n'])
def test_a_usual_nuspec_needs_no_parser_in_python(start: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("nugetproxy.nuget.nuspec.fromstring")
    body = make_nuspec("Größe", "1.0.0").partition("?>")[2].lstrip()
    assert parse_nuspec((start + body).encode()).id == "Größe"


def test_a_deeply_nested_nuspec_does_no_harm() -> None:
    depth = 100_000
    xml = NUSPEC.replace("</metadata>", "<a>" * depth + "</a>" * depth + "</metadata>")
    assert parse_nuspec(xml.encode()).id == "Acme.A"


@pytest.mark.parametrize(
    ("id_text", "version"),
    [("", "1.0"), ("a", ""), ("a", "garbage"), ("../a", "1.0"), ("a b", "1.0"), ("con", "1.0"), ("x" * 101, "1.0")],
)
def test_an_impossible_identity_is_refused(id_text: str, version: str) -> None:
    assert refusal(zipped(("a.nuspec", make_nuspec(id_text, version))), None) is Reason.IDENTITY


@pytest.mark.parametrize(
    ("id_text", "version"), [("Acme.B", "1.0.0"), ("Acme.A", "1.0.1"), ("Acme.A", "1.0.0-beta"), ("Acme_A", "1.0.0")]
)
def test_another_package_is_refused(id_text: str, version: str) -> None:
    assert refusal(make_nupkg(id_text, version)) is Reason.IDENTITY


def test_a_refusal_does_not_repeat_megabytes() -> None:
    with pytest.raises(InvalidPackage) as caught:
        parse_nuspec(make_nuspec("x" * 10**6, "1.0").encode())
    assert len(str(caught.value)) < 500


# --- members ---


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (README, b"hello"),
        ("docs\\README.md", b"hello"),
        ("DOCS/readme.MD", b"hello"),
        ("./docs/README.md", b"hello"),
        ("/docs/README.md", b"hello"),
        (ICON, b"\x89PNG"),
        (LICENSE, b"MIT"),
        ("", None),
        ("docs", None),
        ("docs/", None),
        ("README.md", None),
        ("../docs/README.md", None),
        ("docs//README.md", None),
    ],
)
def test_a_member_is_found_as_nuget_finds_it(path: str, expected: bytes | None) -> None:
    assert read_member(io.BytesIO(GOOD), path, 100) == expected


@pytest.mark.parametrize(
    ("entry", "path"), [("my%20icon.png", "my icon.png"), ("a\\b.txt", "a/b.txt"), ("é.md", "É.md")]
)
def test_a_member_is_found_under_its_packed_name(entry: str, path: str) -> None:
    assert read_member(io.BytesIO(zipped((entry, "content"))), path, 100) == b"content"


def test_a_member_is_bounded() -> None:
    nupkg = make_nupkg("a", "1", readme="x" * 101)
    assert read_member(io.BytesIO(nupkg), README, 101) == b"x" * 101
    assert read_member(io.BytesIO(nupkg), README, 100) is None


def test_a_folder_is_no_member() -> None:
    assert read_member(io.BytesIO(zipped(("docs/", ""))), "docs/", 100) is None


def test_a_member_of_a_broken_package_is_an_error() -> None:
    with pytest.raises(InvalidPackage):
        read_member(io.BytesIO(GOOD[:-1]), README, 100)


# --- the packages of our tests ---


def test_made_packages_are_the_same_every_time() -> None:
    arguments = {"dependencies": [("B", "1.0")], "readme": "r", "size": 1000, "tags": "a b"}
    assert make_nupkg("A", "1.0", **arguments) == make_nupkg("A", "1.0", **arguments)  # type: ignore[arg-type]
    assert make_nupkg("A", "1.0") != make_nupkg("A", "1.1")


def test_made_packages_carry_what_they_are_told_to() -> None:
    nupkg = make_nupkg(
        "A",
        "1.0",
        dependencies={"netstandard2.0": [("B", "[1.0,2.0)")]},
        files={"content/x.txt": "x"},
        description="<d> & d",
        readme="r",
        icon=b"i",
        license_file="l",
        tags="one two",
        authors="Ann",
        title="T",
        package_types=["DotnetTool", ("Custom", "2.0")],
        size=5000,
        signature=True,
    )
    found = inspect(nupkg, None)
    assert (found.description, found.tags, found.authors, found.title) == ("<d> & d", "one two", "Ann", "T")
    assert (found.readme, found.icon, found.license_file) == (README, ICON, LICENSE)
    assert found.package_types == (("DotnetTool", ""), ("Custom", "2.0"))
    assert found.dependency_groups == (DependencyGroup("netstandard2.0", (Dependency("B", "[1.0,2.0)"),)),)
    assert len(nupkg) > 5000
    names = zipfile.ZipFile(io.BytesIO(nupkg)).namelist()
    assert names[-1] == ".signature.p7s"
    assert {"[Content_Types].xml", "_rels/.rels", "A.nuspec", "lib/netstandard2.0/_._", "content/x.txt"} <= set(names)


def test_made_packages_may_bring_their_own_nuspec() -> None:
    assert inspect(make_nupkg("Other", "9.9", nuspec=NUSPEC)).id == "Acme.A"
    assert make_zip({"a": "b"}) == make_zip({"a": b"b"})
