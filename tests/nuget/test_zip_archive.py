"""A package is read as NuGet.Packaging 6.14 on .NET 9 reads it: every verdict here is what that library said."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable

import pytest

from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.nuget.nuspec import InvalidPackage, inspect_package
from nugetproxy.nuget.package import DamagedEntry, check_contents, open_archive
from nugetproxy.nuget.zip_archive import BrokenArchive, open_zip
from tests.fakes.packages import make_nuspec

NUSPEC = make_nuspec("Acme.A", "1.0.0")
NAME, OTHER = "Acme.A.nuspec", "Data/Secret.txt"
SECRET = "hello secret" * 20
ACME = PackageIdentity("acme.a", "1.0.0")

Change = Callable[[bytes], bytes]


def made(*entries: tuple[str, str], method: int = zipfile.ZIP_DEFLATED, comment: bytes = b"") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in entries or ((NAME, NUSPEC), (OTHER, SECRET)):
            archive.writestr(zipfile.ZipInfo(name), content, method)
        archive.comment = comment
    return buffer.getvalue()


def patched(body: bytes, at: int, form: str, *values: int) -> bytes:
    changed = bytearray(body)
    struct.pack_into(form, changed, at, *values)
    return bytes(changed)


def end_of(body: bytes) -> int:
    return body.rfind(b"PK\x05\x06")


def directory_of(body: bytes) -> tuple[int, int]:
    """Size and start, as the end record states them."""
    size, start = struct.unpack_from("<2L", body, end_of(body) + 12)
    return size, start


def header_of(body: bytes, name: str) -> int:
    at = directory_of(body)[1]
    while True:
        length, extra, comment = struct.unpack_from("<3H", body, at + 28)
        if body[at + 46 : at + 46 + length] == name.encode():
            return at
        at += 46 + length + extra + comment


def header(name: str, offset: int, form: str, *values: int) -> Change:
    """Other numbers in the central directory."""
    return lambda body: patched(body, header_of(body, name) + offset, form, *values)


def local(name: str, offset: int, form: str, *values: int) -> Change:
    """Other numbers in the local header."""

    def change(body: bytes) -> bytes:
        (at,) = struct.unpack_from("<L", body, header_of(body, name) + 42)
        return patched(body, at + offset, form, *values)

    return change


def local_name(name: str, other: str) -> Change:
    def change(body: bytes) -> bytes:
        (at,) = struct.unpack_from("<L", body, header_of(body, name) + 42)
        return body[: at + 30] + other.encode() + body[at + 30 + len(other) :]

    return change


def end(offset: int, form: str, *values: int) -> Change:
    return lambda body: patched(body, end_of(body) + offset, form, *values)


def directory(*, size: int = 0, start: int = 0) -> Change:
    """A directory that is said to be larger, or elsewhere, by this much."""

    def change(body: bytes) -> bytes:
        stated_size, stated_start = directory_of(body)
        return patched(body, end_of(body) + 12, "<2L", stated_size + size, stated_start + start)

    return change


def gap(length: int) -> Change:
    return lambda body: body[: end_of(body)] + b"?" * length + body[end_of(body) :]


def moved(prefix: bytes) -> Change:
    """Something before the archive, with all of its positions right."""

    def change(body: bytes) -> bytes:
        for name in (NAME, OTHER):
            at = header_of(body, name)
            body = patched(body, at + 42, "<L", struct.unpack_from("<L", body, at + 42)[0] + len(prefix))
        return prefix + directory(start=len(prefix))(body)

    return change


def directory_moved(body: bytes) -> bytes:
    start = directory_of(body)[1]
    return directory(start=4)(body[:start] + b"PAD!" + body[start:])


def zip64(*, saturated: bool = True, before: bytes = b"", within: bytes = b"", lie: tuple[int, ...] = ()) -> Change:
    """A 64-bit end record, with gaps before and behind it; ``lie``: what is added to its four numbers."""

    def change(body: bytes) -> bytes:
        at, (size, start) = end_of(body), directory_of(body)
        numbers = [stated + more for stated, more in zip((2, 2, size, start), lie or (0,) * 4, strict=True)]
        record = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, *numbers)
        locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, at + len(before), 1)
        small = (0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF) if saturated else (2, 2, size, start)
        last = struct.pack("<4s2H2H2LH", b"PK\x05\x06", 0, 0, *small, 0)
        return body[:at] + before + record + within + locator + last

    return change


def tail(length: int, fill: bytes = b"z") -> Change:
    return lambda body: body + fill * length


ACCEPTED: dict[str, Change] = {
    "newline behind": tail(1, b"\n"),
    "NULs behind": tail(10, b"\0"),
    "64 KiB behind": tail(65_562),
    "twice": lambda body: body + body,
    "gap before the end record": gap(4),
    "large gap": gap(1000),
    "gap before the directory": directory_moved,
    "directory said to be smaller": directory(size=-1),
    "directory said to be larger": directory(size=1),
    "directory said to be huge": directory(size=2**31),
    "a stub before it": moved(b"MZ stub"),
    "local name in another case": local_name(NAME, NAME.swapcase()),
    "local name with other slashes": local_name(OTHER, OTHER.replace("/", "\\")),
    "another local name": local_name(NAME, "X" * len(NAME)),
    "encrypted flag elsewhere": header(OTHER, 8, "<H", 1),
    "encrypted flag elsewhere, locally": local(OTHER, 6, "<H", 1),
    "encrypted flag of the nuspec": header(NAME, 8, "<H", 1),
    "strong encryption flag": header(NAME, 8, "<H", 0x41),
    "patched data flag": header(NAME, 8, "<H", 0x20),
    "later version needed": header(NAME, 6, "<H", 99),
    "odd method elsewhere": header(OTHER, 10, "<H", 14),
    "local signature elsewhere": local(OTHER, 0, "<L", 0x12345678),
    "entry elsewhere beyond the end": header(OTHER, 42, "<L", 2**31),
    "entry elsewhere on another disk": header(OTHER, 34, "<H", 1),
    "deflate64": header(NAME, 10, "<H", 9),
    "said to be longer": header(NAME, 24, "<L", 5000),
    "64 bits": zip64(),
    "64 bits with a gap": zip64(before=b"GAP"),
    "64 bits with a gap behind": zip64(within=b"GAP"),
    "64 bits and a tail": lambda body: zip64()(body) + b"\n",
    "64 bits that lie about the size": zip64(lie=(0, 0, -1, 0)),
    "64 bits that nobody needs": zip64(saturated=False),
    "64 bits that lie but nobody needs": zip64(saturated=False, lie=(2**40, 1, -1, 1)),
}
REFUSED: dict[str, Change] = {
    "more than 64 KiB behind": tail(65_570),
    "cut": lambda body: body[:-1],
    "cut within": lambda body: body[:100] + body[110:],
    "more within": lambda body: body[:100] + b"xx" + body[100:],
    "directory elsewhere": directory(start=1),
    "directory beyond the end": directory(start=2**20),
    "a stub that nobody counted": lambda body: b"MZ" + body,
    "a local signature before it": lambda body: b"PK\x03\x04" + body,
    "fewer entries": end(8, "<2H", 1, 1),
    "more entries": end(8, "<2H", 3, 3),
    "65535 entries": end(8, "<2H", 0xFFFF, 0xFFFF),
    "no entries": end(8, "<2H", 0, 0),
    "another number on this disk": end(8, "<2H", 1, 2),
    "disk 1": end(4, "<H", 1),
    "disk 1 of 1": end(4, "<2H", 1, 1),
    "directory on disk 1": end(6, "<H", 1),
    "local signature": local(NAME, 0, "<L", 0x12345678),
    "shrunk": header(NAME, 10, "<H", 1),
    "bzip2": header(NAME, 10, "<H", 12),
    "lzma": header(NAME, 10, "<H", 14),
    "said to be shorter": header(NAME, 24, "<L", 1),
    "said to be one shorter": header(NAME, 24, "<L", len(NUSPEC) - 1),
    "said to be longer than the file": header(NAME, 20, "<L", 2**31),
    "begins elsewhere": header(NAME, 42, "<L", 1),
    "begins beyond the end": header(NAME, 42, "<L", 2**31),
    "begins where a 64-bit field would say": header(NAME, 42, "<L", 0xFFFFFFFF),
    "on another disk": header(NAME, 34, "<H", 1),
    "a name that runs out": header(NAME, 28, "<H", 0xFFFF),
    "no header": header(NAME, 0, "<L", 0x12345678),
    "64 bits that lie about the count": zip64(lie=(1, 1, 0, 0)),
    "64 bits of several disks": zip64(lie=(1, 0, 0, 0)),
    "64 bits that lie about the start": zip64(lie=(0, 0, 0, 1)),
    "64 bits that start where no file reaches": zip64(lie=(0, 0, 0, 2**63)),
    "64 bits with 2^63 entries": zip64(lie=(2**63, 2**63, 0, 0)),
}


def inspect(body: bytes, *, checksum: bool = True) -> str:
    """The id that it has, in a file as in memory."""
    said: list[str | InvalidPackage] = []
    for content in (io.BytesIO(body), body, memoryview(body)):
        try:
            said.append(inspect_package(content, ACME, checksum=checksum).id)
        except InvalidPackage as error:
            said.append(error)
    assert len({str(one) for one in said}) == 1
    if isinstance(said[0], InvalidPackage):
        raise said[0]
    return said[0]


@pytest.mark.parametrize("change", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_what_nuget_opens_is_passed_on(change: Change) -> None:
    assert inspect(change(made())) == "Acme.A"


@pytest.mark.parametrize("change", REFUSED.values(), ids=REFUSED.keys())
def test_what_nuget_cannot_open_is_refused(change: Change) -> None:
    with pytest.raises(InvalidPackage):
        inspect(change(made()))


@pytest.mark.parametrize(
    ("comment", "opens"),
    [
        (b"hey", True),
        (b"PK\x05\x06", True),
        (b"abcPK\x05\x06" + bytes(10), True),
        (b"PK\x05\x06" + bytes(18), False),
    ],
)
def test_the_last_end_record_that_is_whole_counts(comment: bytes, opens: bool) -> None:
    body = made(comment=comment)
    if opens:
        assert inspect(body) == inspect(body[:-1]) == inspect(body + b"xx") == "Acme.A"
    else:
        with pytest.raises(InvalidPackage):
            inspect(body)


def test_a_stored_nuspec_has_the_length_that_lies_in_the_archive() -> None:
    body = made(method=zipfile.ZIP_STORED)
    for size in (5, 5000):
        assert inspect(header(NAME, 24, "<L", size)(body)) == "Acme.A"
    for packed in (len(NUSPEC) - 1, len(NUSPEC) + 5):
        with pytest.raises(InvalidPackage):
            inspect(header(NAME, 20, "<L", packed)(body))


def test_the_name_of_the_nuspec_is_unescaped() -> None:
    assert inspect(made(("Acme.A%2enuspec", NUSPEC))) == "Acme.A"
    assert inspect(made((NAME, NUSPEC), ("a%2fb.nuspec", "x"))) == "Acme.A"
    with pytest.raises(InvalidPackage):
        inspect(made((f"/{NAME}", NUSPEC)))


def test_names_that_are_no_utf8_do_no_harm() -> None:
    assert inspect(made(("é.nuspec", NUSPEC)).replace("é".encode(), b"\xff\xff")) == "Acme.A"


@pytest.mark.slow
def test_65535_entries_need_no_64_bit_record() -> None:
    body = made((NAME, NUSPEC), *((f"a/{number}", "") for number in range(65_534)))
    at, (size, start) = end_of(body), directory_of(body)
    assert inspect(body[:at] + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 65_535, 65_535, size, start, 0)) == "Acme.A"


def test_a_wrong_checksum_is_told_apart_from_a_broken_archive() -> None:
    body = header(NAME, 16, "<L", 0)(made())
    with pytest.raises(DamagedEntry):
        inspect(body)
    assert inspect(body, checksum=False) == "Acme.A"  # as NuGet takes it


# --- every checksum ---


def test_every_entry_is_compared() -> None:
    check_contents(open_archive(io.BytesIO(made())))
    for change in (header(OTHER, 16, "<L", 0), local(OTHER, 0, "<L", 0), header(OTHER, 42, "<L", 2**31)):
        with pytest.raises(DamagedEntry, match=r"Secret\.txt"):
            check_contents(open_archive(io.BytesIO(change(made()))))


def test_every_flipped_byte_of_an_entry_is_noticed() -> None:
    body = made(method=zipfile.ZIP_STORED)
    (at,) = struct.unpack_from("<L", body, header_of(body, OTHER) + 42)
    content = at + 30 + len(OTHER)
    (packed,) = struct.unpack_from("<L", body, header_of(body, OTHER) + 20)
    for place in range(content, content + packed):
        flipped = patched(body, place, "<B", body[place] ^ 0x20)
        with pytest.raises(DamagedEntry):
            check_contents(open_archive(io.BytesIO(flipped)))


@pytest.mark.parametrize("change", [header(OTHER, 8, "<H", 1), header(OTHER, 10, "<H", 14)], ids=["flag", "method"])
def test_what_cannot_be_read_has_no_checksum_to_compare(change: Change) -> None:
    wrong = header(OTHER, 16, "<L", 0)(made())
    with pytest.raises(DamagedEntry):
        check_contents(open_archive(io.BytesIO(wrong)))
    check_contents(open_archive(io.BytesIO(change(wrong))))


def test_entries_that_share_their_bytes_are_not_read_over_and_over() -> None:
    """A thousand headers over one large stream would be inflated for hours."""
    body = made((NAME, NUSPEC), (OTHER, "x" * 300_000))
    at, start = header_of(body, OTHER), directory_of(body)[1]
    stream = body[at : end_of(body)]
    crowd = body[:start] + body[start:at] + stream * 1000
    crowd += struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1001, 1001, len(crowd) - start, start, 0)
    seen: list[int] = []

    class Counted(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            seen.append(size or 0)
            return super().read(size)

    check_contents(open_archive(Counted(crowd)))
    assert sum(seen) < 3 * len(crowd) + 2**20


def test_content_is_read_in_pieces() -> None:
    body = made((NAME, NUSPEC), (OTHER, "x" * 500_000))
    archive = open_zip(io.BytesIO(body))
    pieces = list(archive.pieces(archive.entries[1]))
    assert b"".join(pieces) == b"x" * 500_000
    assert max(map(len, pieces)) <= 64 * 1024


def test_a_member_of_a_later_part_of_a_file_is_found() -> None:
    archive = open_zip(io.BytesIO(b"--boundary\r\n\r\n" + made() + b"\r\n--boundary--"), 14)
    assert b"".join(archive.pieces(archive.entries[1])) == SECRET.encode()


def test_a_truncated_stream_ends_where_it_ends() -> None:
    body = header(OTHER, 20, "<L", 5)(made())
    archive = open_zip(io.BytesIO(body))
    assert zlib.crc32(b"".join(archive.pieces(archive.entries[1]))) != archive.entries[1].crc


def test_an_unusual_method_is_said() -> None:
    archive = open_zip(io.BytesIO(header(OTHER, 10, "<H", 14)(made())))
    with pytest.raises(BrokenArchive, match="unusual"):
        list(archive.pieces(archive.entries[1]))
