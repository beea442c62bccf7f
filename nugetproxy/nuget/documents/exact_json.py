"""JSON read so that it can be written again with every number spelled as before."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import orjson

from nugetproxy.errors import ProxyError

_BOM = b"\xef\xbb\xbf"

_TOO_DEEP = "nested too deeply"

_PLAIN_NUMBERS = re.compile(
    rb'(?:[^"\d-]++|"[^"\\]*+(?:\\.[^"\\]*+)*+"|(?:0|-?[1-9]\d{0,17})(?![\d.eE]))*+',
    re.DOTALL,
)
"""Matches JSON to its end when all its numbers are integers that survive 64-bit arithmetic unchanged."""

_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|(?P<lone>u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)


class InvalidDocument(ProxyError):
    """A body that is not the NuGet document it should be; it must not replace a good copy."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail

    def __str__(self) -> str:
        return f"Not a usable NuGet document: {self.detail}."


def without_bom(body: bytes) -> bytes:
    """``body`` without a leading UTF-8 byte order mark."""
    return body.removeprefix(_BOM)


def loads(body: bytes) -> Any:
    """The JSON value in ``body``; a byte order mark is tolerated.

    Raises InvalidDocument for anything else, also for NaN.
    """
    body = without_bom(body)
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if "surrogate" not in error.msg:
            raise InvalidDocument(_what_is_wrong(body, error)) from error
    try:
        return orjson.loads(_ESCAPE.sub(_replace_lone_surrogate, body))
    except orjson.JSONDecodeError as error:
        raise InvalidDocument(_what_is_wrong(body, error)) from error


def loads_exact(body: bytes) -> Any:
    """As ``loads``, but numbers that would change their spelling come as ``orjson.Fragment``."""
    value = loads(body)
    body = without_bom(body)
    plain = _PLAIN_NUMBERS.match(body)
    if plain is not None and plain.end() == len(body):
        return value
    text = _ESCAPE.sub(_replace_lone_surrogate, body).decode()
    try:
        return json.loads(text, parse_float=orjson.Fragment, parse_int=_exact_int)
    except RecursionError as error:
        raise InvalidDocument(_TOO_DEEP) from error


def dumps(value: Any) -> bytes:
    """``value`` as compact UTF-8 JSON without a byte order mark.

    Raises InvalidDocument when it is nested deeper than 254 levels.
    """
    try:
        # A copy: what orjson returns keeps the room that it was written in, 8 to 32 KiB for a list of 1 kB.
        return memoryview(orjson.dumps(value)).tobytes()
    except orjson.JSONEncodeError as error:
        raise InvalidDocument(_TOO_DEEP) from error


def as_object(value: Any, what: str) -> dict[str, Any]:
    """``value`` where it is an object; raises InvalidDocument, which says that ``what`` is none."""
    if not isinstance(value, dict):
        raise InvalidDocument(f"{what} is not a JSON object")
    return value


def objects(value: object) -> Iterator[dict[str, Any]]:
    """The objects in ``value``, where it is an array."""
    return (item for item in value if isinstance(item, dict)) if isinstance(value, list) else iter(())


def _exact_int(text: str) -> Any:
    return int(text) if len(text) < 19 and text != "-0" else orjson.Fragment(text)


def _replace_lone_surrogate(escape: re.Match[bytes]) -> bytes:
    # Half a surrogate pair has no UTF-8 form (RFC 3629 section 3), so such text cannot be kept as it was.
    return rb"\ufffd" if escape["lone"] else escape[0]


def _what_is_wrong(body: bytes, error: orjson.JSONDecodeError) -> str:
    if body.lstrip()[:1] == b"<":
        return "markup (an HTML page?) where JSON was expected"
    return f"not JSON ({error.msg} at byte {error.pos})" if body.strip() else "an empty body"
