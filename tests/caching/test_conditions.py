"""Conditional and range requests, row by row."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nugetproxy.caching.conditions import TO_END, Selection, parse_date, select

ETAG = '"sha512-abc"'
WEAK = 'W/"sha512-abc"'
MODIFIED = 784111777.25  # Sun, 06 Nov 1994 08:49:37 GMT, and a quarter of a second
DATE = "Sun, 06 Nov 1994 08:49:37 GMT"
BEFORE = "Sun, 06 Nov 1994 08:49:36 GMT"
AFTER = "Sun, 06 Nov 1994 08:49:38 GMT"
SIZE = 1000

WHOLE = (200, 0, SIZE)
NOT_MODIFIED = (304, 0, 0)
FAILED = (412, 0, 0)
UNSATISFIABLE = (416, 0, 0)


def row(expected: tuple[int, int, int], method: str = "GET", **headers: str) -> object:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return pytest.param(expected, method, named, id=f"{method} {named} {expected[0]}")


RANGES = [
    row((206, 0, 1), range="bytes=0-0"),
    row((206, 0, 500), range="bytes=0-499"),
    row((206, 500, 1000), range="bytes=500-999"),
    row((206, 999, 1000), range="bytes=999-"),
    row((206, 0, 1000), range="bytes=0-"),
    row((206, 0, 1000), range="bytes=0-99999999999999999999999"),
    row((206, 990, 1000), range="bytes=990-1000"),
    row((206, 995, 1000), range="bytes=-5"),
    row((206, 0, 1000), range="bytes=-1000"),
    row((206, 0, 1000), range="bytes=-5000"),
    row((206, 1, 3), range="BYTES=1-2"),
    row((206, 1, 3), range=" bytes= 1-2 "),
    row((206, 1, 3), range="bytes=0001-0002"),
    row(UNSATISFIABLE, range="bytes=1000-"),
    row(UNSATISFIABLE, range="bytes=1000-1001"),
    row(UNSATISFIABLE, range="bytes=99999999999999999999-"),
    row(UNSATISFIABLE, range="bytes=-0"),
    # not ours to answer in parts, or not a range at all: the whole
    row(WHOLE, range="bytes=0-0,5-9"),
    row(WHOLE, range="bytes=0-0, -1"),
    row(WHOLE, range="bytes=5-4"),
    row(WHOLE, range="bytes=1001-1000"),
    row(WHOLE, range="bytes=-"),
    row(WHOLE, range="bytes="),
    row(WHOLE, range="bytes"),
    row(WHOLE, range=""),
    row(WHOLE, range="bytes=a-b"),
    row(WHOLE, range="bytes=1-2x"),
    row(WHOLE, range="bytes=1 - 2"),
    row(WHOLE, range="bytes=+1-2"),
    row(WHOLE, range="bytes=1.5-2"),
    row(WHOLE, range="bytes=0x1-2"),
    row(WHOLE, range="bytes=--5"),
    row(WHOLE, range="bytes=\u0661-\u0662"),
    row(WHOLE, range="bytes=1-2\n"),
    row(WHOLE, range="items=0-5"),
    row(WHOLE, range=f"bytes=0-{'9' * 8000}"),
    # RFC 9110 section 14.2: only GET has ranges
    row(WHOLE, "HEAD", range="bytes=0-0"),
    row(WHOLE, "HEAD", range="bytes=5000-"),
]

IF_RANGES = [
    row((206, 0, 1), range="bytes=0-0", if_range=ETAG),
    row((206, 0, 1), range="bytes=0-0", if_range=f" {ETAG} "),
    row((206, 0, 1), range="bytes=0-0", if_range=DATE),
    row(UNSATISFIABLE, range="bytes=1000-", if_range=ETAG),
    row(WHOLE, if_range=ETAG),
    row(WHOLE, range="bytes=0-0", if_range='"other"'),
    row(WHOLE, range="bytes=5000-", if_range='"other"'),
    row(WHOLE, range="bytes=0-0", if_range=WEAK),
    row(WHOLE, range="bytes=0-0", if_range='"SHA512-ABC"'),
    row(WHOLE, range="bytes=0-0", if_range=f'{ETAG}, "other"'),
    row(WHOLE, range="bytes=0-0", if_range="sha512-abc"),
    row(WHOLE, range="bytes=0-0", if_range="*"),
    row(WHOLE, range="bytes=0-0", if_range=""),
    row(WHOLE, range="bytes=0-0", if_range=BEFORE),
    row(WHOLE, range="bytes=0-0", if_range=AFTER),
    row(WHOLE, range="bytes=0-0", if_range="yesterday"),
]

NONE_MATCHES = [
    row(NOT_MODIFIED, if_none_match=ETAG),
    row(NOT_MODIFIED, "HEAD", if_none_match=ETAG),
    row(NOT_MODIFIED, if_none_match=WEAK),
    row(NOT_MODIFIED, if_none_match="*"),
    row(NOT_MODIFIED, if_none_match=f'"a", {ETAG}, "b"'),
    row(NOT_MODIFIED, if_none_match=f'"a,b",,{ETAG}'),
    row(NOT_MODIFIED, if_none_match=f" {ETAG} "),
    row(NOT_MODIFIED, if_none_match=ETAG, range="bytes=0-0"),
    row(NOT_MODIFIED, if_none_match=ETAG, range="bytes=5000-"),
    row(FAILED, "PUT", if_none_match=ETAG),
    row(FAILED, "PUT", if_none_match="*"),
    row(WHOLE, if_none_match='"other"'),
    row(WHOLE, if_none_match='"SHA512-ABC"'),
    row(WHOLE, if_none_match="sha512-abc"),
    row(WHOLE, if_none_match=""),
    row(WHOLE, if_none_match=f"{ETAG} garbage"),
    row(WHOLE, if_none_match='"sha512-abc'),
    row(WHOLE, if_none_match='w/"sha512-abc"'),
    row(WHOLE, if_none_match='"x, "sha512-abc", "y"'),
    row((206, 0, 1), if_none_match='"other"', range="bytes=0-0"),
]

DATES = [
    row(NOT_MODIFIED, if_modified_since=DATE),
    row(NOT_MODIFIED, "HEAD", if_modified_since=DATE),
    row(NOT_MODIFIED, if_modified_since=AFTER),
    row(NOT_MODIFIED, if_modified_since="Sunday, 06-Nov-94 08:49:37 GMT"),
    row(NOT_MODIFIED, if_modified_since="Sun Nov  6 08:49:37 1994"),
    row(WHOLE, if_modified_since=BEFORE),
    row(WHOLE, if_modified_since="never"),
    row(WHOLE, if_modified_since="784111777"),
    row(WHOLE, "PUT", if_modified_since=DATE),
    # RFC 9110 section 13.1.3: ignored beside If-None-Match
    row(WHOLE, if_modified_since=DATE, if_none_match='"other"'),
    row(NOT_MODIFIED, if_modified_since=BEFORE, if_none_match=ETAG),
    row(WHOLE, if_unmodified_since=DATE),
    row(WHOLE, if_unmodified_since=AFTER),
    row(WHOLE, if_unmodified_since="never"),
    row(FAILED, if_unmodified_since=BEFORE),
    row(FAILED, if_unmodified_since=BEFORE, if_none_match=ETAG),
]

MATCHES = [
    row(WHOLE, if_match=ETAG),
    row(WHOLE, if_match="*"),
    row(WHOLE, if_match=f'"a", {ETAG}'),
    row((206, 0, 1), if_match=ETAG, range="bytes=0-0"),
    row(NOT_MODIFIED, if_match=ETAG, if_none_match=ETAG),
    row(FAILED, if_match='"other"'),
    row(FAILED, if_match=WEAK),
    row(FAILED, if_match=""),
    row(FAILED, if_match='"other"', range="bytes=0-0"),
    # RFC 9110 section 13.1.4: ignored beside If-Match
    row(WHOLE, if_match=ETAG, if_unmodified_since=BEFORE),
    row(FAILED, if_match='"other"', if_unmodified_since=AFTER),
]


@pytest.mark.parametrize(("expected", "method", "headers"), RANGES + IF_RANGES + NONE_MATCHES + DATES + MATCHES)
def test_a_request_selects(expected: tuple[int, int, int], method: str, headers: dict[str, str]) -> None:
    assert select(method, headers, ETAG, MODIFIED, SIZE) == Selection(*expected)  # type: ignore[arg-type]


def test_no_header_selects_the_whole() -> None:
    assert select("GET", {}, ETAG, MODIFIED, SIZE) == Selection(200, 0, SIZE)


@pytest.mark.parametrize("asked", ["bytes=0-0", "bytes=-5", "bytes=5000-"])
def test_a_range_of_unknown_size_is_ignored(asked: str) -> None:
    assert select("GET", {"range": asked}, ETAG, MODIFIED, None) == Selection(200, 0, TO_END)


def test_an_unknown_size_does_not_hinder_a_304() -> None:
    assert select("GET", {"if-none-match": ETAG}, ETAG, MODIFIED, None) == Selection(304, 0, 0)


@pytest.mark.parametrize(
    ("asked", "status"), [("bytes=0-", 416), ("bytes=0-0", 416), ("bytes=-0", 416), ("bytes=-5", 200)]
)
def test_ranges_of_an_empty_body(asked: str, status: int) -> None:
    assert select("GET", {"range": asked}, ETAG, MODIFIED, 0) == Selection(status, 0, 0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"if-none-match": ETAG}, 304),
        ({"if-none-match": WEAK}, 304),
        ({"if-match": WEAK}, 412),
        ({"if-match": ETAG}, 412),
        ({"range": "bytes=0-0", "if-range": WEAK}, 200),
        ({"range": "bytes=0-0", "if-range": ETAG}, 200),
        ({"range": "bytes=0-0"}, 206),
    ],
)
def test_a_weak_tag_of_ours_serves_caches_but_never_splices(headers: dict[str, str], status: int) -> None:
    assert select("GET", headers, WEAK, None, SIZE).status == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"if-none-match": '"x"'}, 200),
        ({"if-none-match": "*"}, 304),
        ({"if-match": '"x"'}, 412),
        ({"if-match": "*"}, 200),
        ({"if-modified-since": DATE}, 200),
        ({"if-unmodified-since": BEFORE}, 200),
        ({"range": "bytes=0-0", "if-range": '"x"'}, 200),
        ({"range": "bytes=0-0", "if-range": DATE}, 200),
        ({"range": "bytes=0-0"}, 206),
    ],
)
def test_without_validators_of_ours_nothing_can_match(headers: dict[str, str], status: int) -> None:
    assert select("GET", headers, None, None, SIZE).status == status


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (DATE, 784111777),
        ("Sunday, 06-Nov-94 08:49:37 GMT", 784111777),
        ("Sun Nov  6 08:49:37 1994", 784111777),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("Thu, 29 Feb 2024 23:59:59 GMT", 1709251199),
        ("Saturday, 31-Dec-16 23:59:60 GMT", 1483228800),
        ("Thu, 30 Feb 2024 00:00:00 GMT", None),
        ("Thu, 00 Jan 2024 00:00:00 GMT", None),
        ("Thu, 29 Feb 2023 00:00:00 GMT", None),
        ("Thu, 01 Jan 2024 24:00:00 GMT", None),
        ("Wed, 31 Dec 1969 23:59:59 GMT", None),
        ("Thu, 01 Jan 0000 00:00:00 GMT", None),
        ("Thu, 1 Jan 2024 00:00:00 GMT", None),
        ("Thu, 01 Jan 2024 00:00:00 +0000", None),
        ("Thu, 01 Jan 2024 00:00:00", None),
        ("thu, 01 jan 2024 00:00:00 gmt", None),
        ("Do, 01 Jan 2024 00:00:00 GMT", None),
        ("", None),
    ],
)
def test_dates(text: str, expected: int | None) -> None:
    assert parse_date(text) == expected


@given(size=st.integers(0, 50), first=st.integers(0, 60) | st.none(), last=st.integers(0, 60) | st.none())
def test_a_single_range_selects_what_slicing_would(size: int, first: int | None, last: int | None) -> None:
    text = f"bytes={'' if first is None else first}-{'' if last is None else last}"
    body = bytes(range(size))
    selection = select("GET", {"range": text}, None, None, size)
    sent = body[selection.start : selection.stop]
    if (first is None and last is None) or (first is not None and last is not None and last < first):
        assert (selection.status, sent) == (200, body)
        return
    wanted = body[-last:] if first is None and last else body[first : None if last is None else last + 1]
    wanted = b"" if first is None and not last else wanted
    if wanted:
        assert (selection.status, sent) == (206, wanted)
    else:
        assert selection.status == (200 if first is None and last else 416)


@given(
    headers=st.dictionaries(
        st.sampled_from(["range", "if-range", "if-match", "if-none-match", "if-modified-since", "if-unmodified-since"]),
        st.text(max_size=40),
    ),
    method=st.sampled_from(["GET", "HEAD"]),
    size=st.integers(0, 100) | st.none(),
)
def test_no_header_value_breaks_it(headers: dict[str, str], method: str, size: int | None) -> None:
    selection = select(method, headers, ETAG, MODIFIED, size)
    if selection.status == 206:
        assert size is not None
        assert 0 <= selection.start < selection.stop <= size
    elif selection.status == 200:
        assert (selection.start, selection.stop) == (0, TO_END if size is None else size)
    else:
        assert (selection.start, selection.stop) == (0, 0)
