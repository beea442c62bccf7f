"""Head check says whether the bytes of a request are one whole, ordinary GET or HEAD.

Stricter than RFC 9112 allows a server to be: what is odd in any spelling is none, so that the parser must judge it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

END = b"\r\n\r\n"
MAX_HEAD = 4096
"""Bytes of the longest request that is looked at."""
LINE = re.compile(rb"(?:GET|HEAD) /[!-~]* HTTP/1\.1")
_VALUE = "[!-~](?:[ -~]*[!-~])?"
_FIELD = re.compile(f"([A-Za-z][A-Za-z0-9-]*): ({_VALUE})")
_CONDITION = re.compile(rf"\r\n(If-None-Match|Range): ({_VALUE})(?=\r\n)".encode(), re.IGNORECASE)
HARMLESS = frozenset(
    {
        "host",
        "user-agent",
        "accept",
        "accept-encoding",
        "accept-language",
        "authorization",
        "connection",
        "cdn-loop",  # a hit goes no further
        "x-nuget-session-id",
        "x-nuget-client-version",
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-forwarded-host",
        "x-forwarded-prefix",
    }
)
"""Fields that a request in the lane may have besides its condition, each once. Of those that an answer depends on, the
key of ``Seen`` says all that it depends on.
"""


class Condition(NamedTuple):
    """The one field of a request that chooses between a whole answer, none of it, a part of it."""

    name: str
    """Lower case."""
    value: str


def split_condition(block: bytes) -> tuple[bytes, Condition | None]:
    """A header section without its condition, so that it is the same for many requests of a client.

    A second one stays where it is.
    """
    found = _CONDITION.search(block)
    if found is None:
        return block, None
    return block[: found.start()] + block[found.end() :], Condition(found[1].lower().decode(), found[2].decode())


def parse_fields(block: bytes) -> Mapping[str, str] | None:
    """The fields of a header section (between two line breaks and an empty line) by lower-case name.

    None unless all are harmless. Stricter than RFC 9112: one space behind the colon, visible ASCII, no name twice.
    """
    if not block.endswith(END) or not block.startswith(b"\r\n") or not block.isascii():
        return None
    fields: dict[str, str] = {}
    for line in block[2:-4].decode("ascii").split("\r\n"):
        match = _FIELD.fullmatch(line)
        if match is None:
            return None
        name = match[1].lower()
        if name not in HARMLESS or name in fields:
            return None
        fields[name] = match[2]
    if "host" not in fields or fields.get("connection", "keep-alive").lower() != "keep-alive":
        return None
    return fields
