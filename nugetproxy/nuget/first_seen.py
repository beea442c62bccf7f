"""First-seen lines say which bytes a version had when it first came, each with the hash of the line before."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import orjson
from msgspec import Struct

BEGINNING: Final = ""
"""What the first line has as the hash of the line before."""


class BadLine(ValueError):
    """Not a line of such a log; the text says why."""


class FirstSeen(Struct, frozen=True, kw_only=True):
    """The first time that these bytes of a version came from a source."""

    at: float
    """Wall time, in seconds since the epoch."""
    source: str
    id: str
    """Lower case."""
    version: str
    """In URL form."""
    sha512: str
    """In base64."""
    signer: str | None = None
    """Who has signed it, as far as that was looked at."""
    held: bool = False
    """It was held already when the log first looked: nobody knows when it came."""

    def line(self, before: str) -> bytes:
        """As it is written, behind a line with the hash ``before``; without the end of the line."""
        said = {
            "at": datetime.fromtimestamp(int(self.at), UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "source": self.source,
            "id": self.id,
            "version": self.version,
            "sha512": self.sha512,
            "signer": self.signer,
            **({"held": True} if self.held else {}),
            "before": before,
        }
        return orjson.dumps(said)


class Line(Struct, frozen=True):
    """One line as it was read."""

    seen: FirstSeen
    before: str


def line_hash(line: bytes) -> str:
    """Of a line, without its end."""
    return hashlib.sha256(line).hexdigest()


def read_line(line: bytes) -> Line:
    """A line, without its end; raises BadLine."""
    try:
        said = orjson.loads(line)
    except ValueError as error:
        raise BadLine("it is no JSON") from error
    if not isinstance(said, dict):
        raise BadLine("it is no JSON object")
    try:
        at = datetime.fromisoformat(_text(said, "at")).timestamp()
    except ValueError as error:
        raise BadLine("its time cannot be read") from error
    signer = said.get("signer")
    seen = FirstSeen(
        at=at,
        source=_text(said, "source"),
        id=_text(said, "id"),
        version=_text(said, "version"),
        sha512=_text(said, "sha512"),
        signer=signer if isinstance(signer, str) else None,
        held=said.get("held") is True,
    )
    return Line(seen, _text(said, "before"))


def _text(said: Mapping[str, Any], name: str) -> str:
    value = said.get(name)
    if not isinstance(value, str):
        raise BadLine(f"it has no {name!r}")
    return value


class Chain(Struct):
    """What was read of a log, line by line."""

    lines: int = 0
    head: str | None = BEGINNING
    """The hash of the last line; None before the first one of a part of a log."""

    def follow(self, line: bytes) -> tuple[FirstSeen | None, str]:
        """The next line, without its end: what it says, if it is one; what is wrong, empty where nothing is."""
        before, self.head = self.head, line_hash(line)
        self.lines += 1
        try:
            found = read_line(line)
        except BadLine as bad:
            return None, str(bad)
        if before is not None and found.before != before:
            return found.seen, "it does not follow the line before: a line was changed, removed or put in"
        return found.seen, ""


Key = tuple[str, ...]
Bytes = Mapping[Key, frozenset[str]]
"""(source, id, version), or (id, version) -> the SHA-512 values that were seen."""


class Difference(Struct, frozen=True, kw_only=True):
    """What two sites were served."""

    same: int = 0
    """Versions that both have seen, with the same bytes."""
    other: tuple[tuple[Key, frozenset[str], frozenset[str]], ...] = ()
    """Versions with different bytes: what was seen here, what there."""
    only_here: int = 0
    only_there: int = 0


def bytes_of(seen: Iterable[FirstSeen], *, any_source: bool) -> Bytes:
    """By version; of each source by itself, or whichever it came from."""
    found: dict[Key, frozenset[str]] = {}
    for one in seen:
        key = (one.id, one.version) if any_source else (one.source, one.id, one.version)
        found[key] = found.get(key, frozenset()) | {one.sha512}
    return found


def difference(here: Bytes, there: Bytes) -> Difference:
    """Where two sites have seen different bytes of a version; also where one has seen more of them."""
    both = sorted(here.keys() & there.keys())
    other = tuple((key, here[key], there[key]) for key in both if here[key] != there[key])
    return Difference(
        same=len(both) - len(other),
        other=other,
        only_here=len(here) - len(both),
        only_there=len(there) - len(both),
    )


def whole_lines(text: bytes) -> Iterator[bytes]:
    """The lines of a file that a person gives; empty ones are none."""
    return (line for line in text.splitlines() if line.strip())
