"""JSON whose numbers keep their spelling."""

from __future__ import annotations

import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nugetproxy.nuget.documents.exact_json import InvalidDocument, dumps, loads, loads_exact


@pytest.mark.parametrize(
    "text",
    [
        "1.0",
        "1.50",
        "-0",
        "-0.0",
        "0",
        "1e5",
        "1E+300",
        "0.1e-7",
        "9223372036854775807",
        "-9223372036854775808",
        "18446744073709551615",
        "18446744073709551616",
        "123456789012345678",
        "1234567890123456789012345678901234567890",
        "[1,2.50,-3]",
        '{"a":1.10,"b":{"c":[1e2]}}',
        '["1.0",1.0]',
        r'["\"1.0,",1.0]',
        r'["\\",1.0,"\\"]',
        '{"range":"[1.0.0, )"}',
        "true",
        "null",
        '""',
    ],
)
def test_what_is_written_is_what_was_read(text: str) -> None:
    assert dumps(loads_exact(text.encode())) == text.encode()


_NUMBERS = st.one_of(
    st.integers().map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.sampled_from(["-0", "1.00", "1E5", "0e0", "1e-10"]),
)
_VALUES = st.recursive(
    _NUMBERS | st.text().filter(lambda text: text.isprintable()).map(lambda text: json.dumps(text, ensure_ascii=False)),
    lambda inner: st.lists(inner, max_size=4).map(lambda items: f"[{','.join(items)}]"),
    max_leaves=12,
)


@given(_VALUES)
def test_numbers_keep_their_spelling_wherever_they_are(text: str) -> None:
    assert dumps(loads_exact(text.encode())) == text.encode()


def test_spaces_and_a_byte_order_mark_go() -> None:
    assert dumps(loads_exact(b'\xef\xbb\xbf { "a" : [ 1 , 2.0 ] } \r\n')) == b'{"a":[1,2.0]}'


def test_half_a_surrogate_pair_does_not_spoil_the_document() -> None:
    body = rb'{"a":"\ud83d\ude00 \ud83d \\ud83d \ude00\ud83d\ude00","n":1.50}'
    assert dumps(loads_exact(body)) == '{"a":"😀 � \\\\ud83d �😀","n":1.50}'.encode()
    assert loads(rb'["\udead"]') == ["�"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html></html>",
        b"{",
        b'{"a":1,}',
        b"[NaN]",
        b"[Infinity]",
        b"[01]",
        b"[1.]",
        b"[+1]",
        b"[1e400]",
        b"{'a':1}",
        b'"\xff"',
        b'["\\ud800",]',
        b"{} {}",
        b"[" * 100_000,
        b"[" * 10_000 + b"]" * 10_000,
    ],
)
def test_what_is_not_json_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidDocument):
        loads_exact(body)


@pytest.mark.parametrize("depth", [400, 1020])
@pytest.mark.parametrize("number", [b"1", b"1.5"])
def test_what_cannot_be_written_again_is_refused(number: bytes, depth: int) -> None:
    with pytest.raises(InvalidDocument, match="nested too deeply"):
        dumps(loads_exact(b"[" * depth + number + b"]" * depth))  # Python 3.11 reads no number that deep


def test_the_message_says_what_came_instead() -> None:
    with pytest.raises(InvalidDocument) as markup:
        loads(b"\n<!DOCTYPE html>")
    assert "HTML" in str(markup.value)
    with pytest.raises(InvalidDocument) as empty:
        loads(b"  ")
    assert empty.value.detail == "an empty body"


def test_a_document_that_is_kept_takes_no_more_memory_than_its_bytes() -> None:
    lists = [{"versions": [f"1.{number}.{patch}" for patch in range(100)]} for number in range(200)]
    tracemalloc.start()
    try:
        kept = [dumps(one) for one in lists]
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken < 1.5 * sum(map(len, kept))
