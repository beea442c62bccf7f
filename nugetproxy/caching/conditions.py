"""Conditional and range requests, answered from what we hold of a representation."""

from __future__ import annotations

import calendar
import re
from collections.abc import Mapping
from typing import Final, Literal

from msgspec import Struct

TO_END: Final = -1
"""``Selection.stop`` of a whole body whose length is not known yet."""


class Selection(Struct, frozen=True):
    """Which status to answer with, and which bytes ``[start, stop)`` of the representation to send.

    200: 0 to the size, or to ``TO_END`` while the size is unknown. 206: the part, never empty.
    304, 412 and 416: 0 to 0.
    """

    status: Literal[200, 206, 304, 412, 416]
    start: int
    stop: int


NOT_MODIFIED: Final = Selection(304, 0, 0)
PRECONDITION_FAILED: Final = Selection(412, 0, 0)
UNSATISFIABLE: Final = Selection(416, 0, 0)


def select(
    method: str, headers: Mapping[str, str], etag: str | None, last_modified: float | None, size: int | None
) -> Selection:
    """Evaluate the request's preconditions in the order of RFC 9110 section 13.2.2, then its range.

    ``headers`` has lower-case names, one value each (repeated fields joined by a comma). ``etag`` is ours with its
    quotes, ``W/`` in front if weak. ``last_modified`` is in seconds since the epoch. ``size`` is in bytes, None while
    it is unknown: a range is then ignored, which RFC 9110 section 14.2 always allows.
    """
    failed = _precondition(method, headers, etag, last_modified)
    if failed is not None:
        return failed
    whole = Selection(200, 0, TO_END if size is None else size)
    asked = headers.get("range")
    # RFC 9110 section 14.2: Range is defined for GET alone.
    if asked is None or size is None or method != "GET":
        return whole
    if_range = headers.get("if-range")
    if if_range is not None and not _same_representation(if_range, etag, last_modified):
        return whole
    return _slice(asked, size) or whole


def _precondition(
    method: str, headers: Mapping[str, str], etag: str | None, last_modified: float | None
) -> Selection | None:
    """The answer that a false precondition demands, None if all are true or absent."""
    if "if-match" in headers:
        if not _any_match(headers["if-match"], etag, weak=False):
            return PRECONDITION_FAILED
    elif _changed_since(headers.get("if-unmodified-since"), last_modified):
        return PRECONDITION_FAILED

    reading = method in {"GET", "HEAD"}
    if "if-none-match" in headers:
        if _any_match(headers["if-none-match"], etag, weak=True):
            return NOT_MODIFIED if reading else PRECONDITION_FAILED
    elif reading and _unchanged_since(headers.get("if-modified-since"), last_modified):
        return NOT_MODIFIED
    return None


# --- entity tags (RFC 9110 section 8.8.3) ---

_ETAG = r'(?:W/)?"[^\x00-\x20"\x7f]*"'
_ONE_ETAG = re.compile(_ETAG)
_ETAG_LIST = re.compile(rf"[ \t,]*{_ETAG}(?:[ \t]*,[ \t,]*{_ETAG})*[ \t,]*")


def _any_match(field: str, etag: str | None, *, weak: bool) -> bool:
    """True if the field is ``*`` or a list naming ``etag``; a malformed list names nothing."""
    if field.strip(" \t") == "*":
        return True  # we only come here with a representation in hand
    if etag is None or not _ETAG_LIST.fullmatch(field):
        return False
    if weak:
        return etag.removeprefix("W/") in {tag.removeprefix("W/") for tag in _ONE_ETAG.findall(field)}
    return not etag.startswith("W/") and etag in _ONE_ETAG.findall(field)


def _same_representation(if_range: str, etag: str | None, last_modified: float | None) -> bool:
    """Strong comparison of If-Range (RFC 9110 section 13.1.5): a weak tag never matches, a date only exactly."""
    value = if_range.strip(" \t")
    if value.startswith(('"', "W/")):
        return etag == value and not value.startswith("W/") and _ONE_ETAG.fullmatch(value) is not None
    date = parse_date(value)
    return date is not None and last_modified is not None and int(last_modified) == date


# --- dates (RFC 9110 section 5.6.7) ---

_NAMES = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTHS = {name: number for number, name in enumerate(_NAMES, start=1)}
_MONTH = rf"(?P<month>{'|'.join(_MONTHS)})"
_TIME = r"(?P<hour>[01][0-9]|2[0-3]):(?P<minute>[0-5][0-9]):(?P<second>[0-5][0-9]|60)"
_DATE_FORMS = (
    re.compile(rf"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), (?P<day>[0-9]{{2}}) {_MONTH} (?P<year>[0-9]{{4}}) {_TIME} GMT"),
    re.compile(
        r"(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day, "
        rf"(?P<day>[0-9]{{2}})-{_MONTH}-(?P<year>[0-9]{{2}}) {_TIME} GMT"
    ),
    re.compile(rf"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) {_MONTH} (?P<day>[ 0-9][0-9]) {_TIME} (?P<year>[0-9]{{4}})"),
)


def parse_date(text: str) -> int | None:
    """Seconds since the epoch of an HTTP-date in any of its three forms, None for anything else.

    By hand, because ``strptime`` reads month names by the process's locale.
    """
    found = next(filter(None, (form.fullmatch(text) for form in _DATE_FORMS)), None)
    if found is None:
        return None
    year, day = int(found["year"]), int(found["day"])
    if len(found["year"]) == 2:
        year += 1900 if year >= 70 else 2000
    month = _MONTHS[found["month"]]
    if year < 1970 or not 1 <= day <= calendar.monthrange(year, month)[1]:
        return None
    return calendar.timegm((year, month, day, int(found["hour"]), int(found["minute"]), int(found["second"])))


def _unchanged_since(field: str | None, last_modified: float | None) -> bool:
    date = None if field is None else parse_date(field.strip(" \t"))
    # HTTP-dates have whole seconds, so ours is cut down to them before comparing.
    return date is not None and last_modified is not None and int(last_modified) <= date


def _changed_since(field: str | None, last_modified: float | None) -> bool:
    date = None if field is None else parse_date(field.strip(" \t"))
    return date is not None and last_modified is not None and int(last_modified) > date


# --- ranges (RFC 9110 section 14.1.2) ---

# One range only; the digits are bounded because Python refuses to convert thousands of them.
_RANGE = re.compile(r"[ \t]*bytes=[ \t]*([0-9]{0,64})-([0-9]{0,64})[ \t]*", re.IGNORECASE)


def _slice(field: str, size: int) -> Selection | None:
    """206 or 416 for a single valid range; None where the field is to be ignored."""
    found = _RANGE.fullmatch(field)
    if found is None or found[1] == found[2] == "":
        return None
    if found[1] == "":
        return _suffix(int(found[2]), size)
    first = int(found[1])
    last = int(found[2]) if found[2] else max(first, size - 1)
    if last < first:
        return None  # invalid, thus ignored
    if first >= size:
        return UNSATISFIABLE
    return Selection(206, first, min(last + 1, size))


def _suffix(length: int, size: int) -> Selection | None:
    if length == 0:
        return UNSATISFIABLE
    if size == 0:
        return None  # satisfiable, but Content-Range cannot say "nothing of nothing"
    return Selection(206, max(0, size - length), size)
