"""The stored form of documents: whole and unchanged, or refused."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from nugetproxy.caching.entry import Entry, Validators
from nugetproxy.store.documents.record import (
    DamagedRecord,
    Stored,
    pack,
    pack_entry,
    unpack,
    unpack_entry,
)

ENTRY = Entry(
    status=200,
    stored_at=1_800_000_000.125,
    digest="ab" * 32,
    validators=Validators('W/"x"', "Tue, 01 Jan 2030 00:00:00 GMT"),
    content_type="application/json; charset=utf-8",
    url="https://example.org/v3/ä/index.json",
)
BODY = b'{"versions":["1.0.0"]}'


@pytest.mark.parametrize(
    "entry", [ENTRY, Entry(status=404, stored_at=0.0, digest=""), replace(ENTRY, warnings=("x", "é"))]
)
@pytest.mark.parametrize("body", [BODY, b"", b"\0" * 100_000])
def test_what_is_packed_is_unpacked(entry: Entry, body: bytes) -> None:
    assert unpack_entry("key", pack_entry("key", entry, body)) == Stored(entry, body)


def test_every_flipped_bit_is_noticed() -> None:
    value = pack_entry("key", ENTRY, BODY)
    for position in range(len(value)):
        for bit in range(8):
            damaged = bytearray(value)
            damaged[position] ^= 1 << bit
            with pytest.raises(DamagedRecord):
                unpack_entry("key", bytes(damaged))


def test_every_truncation_is_noticed() -> None:
    value = pack_entry("key", ENTRY, BODY)
    for length in range(len(value)):
        with pytest.raises(DamagedRecord):
            unpack_entry("key", value[:length])
    with pytest.raises(DamagedRecord):
        unpack_entry("key", value + b"\0")


def test_a_value_under_another_key_is_refused() -> None:
    with pytest.raises(DamagedRecord):
        unpack_entry("other", pack_entry("key", ENTRY, BODY))


@pytest.mark.parametrize("version", [0, 2, 255])
def test_another_version_is_refused(version: int) -> None:
    with pytest.raises(DamagedRecord, match="version"):
        unpack_entry("key", bytes([version]) + pack_entry("key", ENTRY, BODY)[1:])


@pytest.mark.parametrize("header", [{}, {"status": "x"}, {"kind": "no such kind", "url": "u"}])
def test_a_header_of_something_else_is_refused(header: dict[str, str]) -> None:
    value = pack("key", header, b"")
    assert unpack("key", value) == (header, b"")
    with pytest.raises(DamagedRecord, match="header"):
        unpack_entry("key", value)
