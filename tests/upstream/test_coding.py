"""gzip is decoded within limits."""

from __future__ import annotations

import gzip
import os
import tracemalloc

import pytest

from nugetproxy.upstream.coding import RATIO, UNSUSPICIOUS, Incomplete, TooLong, Undecodable, gunzip

MIB = 1024 * 1024


@pytest.mark.parametrize("body", [b"", b"x", b"text" * 1000, os.urandom(3 * MIB)], ids=["none", "one", "text", "noise"])
def test_what_was_packed_comes_out(body: bytes) -> None:
    assert gunzip(gzip.compress(body), 4 * MIB) == body


def test_several_members_and_padding_are_one_body() -> None:
    assert gunzip(gzip.compress(b"one ") + gzip.compress(b"two") + b"\0" * 100, 100) == b"one two"


@pytest.mark.parametrize(
    "data", [b"<html>", b"\x1f\x8b\x08garbage!!!!!!!!!!!!", gzip.compress(b"x", mtime=0) + b"trailer"]
)
def test_what_is_not_gzip_is_refused(data: bytes) -> None:
    with pytest.raises(Undecodable):
        gunzip(data, 100)


def test_a_wrong_checksum_is_refused() -> None:
    packed = bytearray(gzip.compress(b"text" * 100))
    packed[-8] ^= 1
    with pytest.raises(Undecodable):
        gunzip(bytes(packed), 1000)


@pytest.mark.parametrize("keep", [0, 1, 5, 10, 15, -9, -1])
def test_a_stream_that_ends_early_is_incomplete(keep: int) -> None:
    with pytest.raises(Incomplete):
        gunzip(gzip.compress(b"some text that is long enough to be packed")[:keep], 1000)


def test_exactly_the_limit_is_allowed_one_byte_more_is_not() -> None:
    body = os.urandom(1000)
    assert gunzip(gzip.compress(body), 1000) == body
    with pytest.raises(TooLong):
        gunzip(gzip.compress(body), 999)


def test_members_count_together_towards_the_limit() -> None:
    with pytest.raises(TooLong):
        gunzip(gzip.compress(os.urandom(600)) * 2, 1000)


def test_a_bomb_is_stopped_early() -> None:
    bomb = gzip.compress(b"\0" * (100 * MIB))
    tracemalloc.start()
    try:
        with pytest.raises(TooLong):
            gunzip(bomb, 64 * MIB)
        assert tracemalloc.get_traced_memory()[1] < 80 * MIB
    finally:
        tracemalloc.stop()


def test_the_ratio_is_limited_for_large_output_only() -> None:
    small = b"\0" * UNSUSPICIOUS
    assert gunzip(gzip.compress(small), 64 * MIB) == small
    large = b"\0" * (2 * MIB)
    assert len(large) > RATIO * len(gzip.compress(large))
    with pytest.raises(TooLong):
        gunzip(gzip.compress(large), 64 * MIB)


def test_a_flood_of_empty_members_is_refused() -> None:
    with pytest.raises(Undecodable):
        gunzip(gzip.compress(b"") * 1001, 100)
