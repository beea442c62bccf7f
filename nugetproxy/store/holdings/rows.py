"""The rows of the holdings: written and read one package at a time; all of it blocks."""

from __future__ import annotations

import sqlite3
import struct
import zlib
from collections.abc import Collection, Iterable
from typing import Final

import orjson

from nugetproxy.nuget.facts import PackageFacts
from nugetproxy.nuget.identity import PackageIdentity, Version
from nugetproxy.nuget.synthesis.search_query import camel_parts, id_parts, split_words
from nugetproxy.store.holdings.database import FILTERS
from nugetproxy.store.sqlite_form import UnsoundFile, transaction

_PRERELEASE, _SEMVER2, _UNLISTED = 1, 2, 4
_EVERYTHING = _PRERELEASE | _SEMVER2 | _UNLISTED
_INT32 = 2**31
_NUMBERS: Final = struct.Struct(">4I")

_DELETE_WORDS = "DELETE FROM words WHERE rowid = ?"
_INSERT_WORDS = """
    INSERT INTO words (rowid, id, parts, title, tags, authors, owners, summary, description)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
"""


def seen_with(*, prerelease: bool, semver2: bool) -> int:
    """Which of ``FILTERS`` a searcher has."""
    return (_PRERELEASE if prerelease else 0) | (_SEMVER2 if semver2 else 0)


def hidden_from(seen: int) -> int:
    """The bits of ``needs`` that hide a version from a searcher with this filter."""
    return _EVERYTHING & ~seen


def sort_key(version: Version) -> bytes:
    """Bytes that are ordered as versions are, and equal for equal versions."""
    head = _NUMBERS.pack(version.major, version.minor, version.patch, version.revision)
    if not version.release:
        return head + b"\xff"
    return head + b"".join(map(_label_key, version.release)) + b"\x00"


def pack(facts: PackageFacts) -> bytes:
    """The stored form, with a checksum: SQLite has none, so a flipped bit would be served."""
    body = facts.to_json()
    return zlib.crc32(body).to_bytes(4, "big") + body


def unpack(packed: object) -> PackageFacts:
    """What ``pack`` made; raises UnsoundFile."""
    if not isinstance(packed, bytes) or zlib.crc32(packed[4:]).to_bytes(4, "big") != packed[:4]:
        raise UnsoundFile("the facts of a package are damaged")
    return PackageFacts.from_json(packed[4:])


def change(
    connection: sqlite3.Connection, *, add: Collection[PackageFacts] = (), remove: Collection[PackageIdentity] = ()
) -> None:
    """Add (or replace) packages and remove others, in one transaction."""
    with transaction(connection):
        changed: dict[str, None] = {}
        for identity in remove:
            _remove(connection, identity)
            changed[identity.id] = None
        fresh: dict[int, PackageFacts] = {}
        for facts in add:
            fresh[_add(connection, facts)] = facts
            changed[facts.identity.id] = None
        for id_ in changed:
            _choose_newest(connection, id_, fresh)


def facts_of(connection: sqlite3.Connection, id: str) -> tuple[PackageFacts, ...]:
    """All that is held of an id (lower case), ascending."""
    rows = connection.execute(
        "SELECT packed FROM packages JOIN facts USING (number) WHERE id = ? ORDER BY ordering", (id,)
    )
    return tuple(unpack(packed) for (packed,) in rows)


def held_ids(connection: sqlite3.Connection, ids: Collection[str]) -> frozenset[str]:
    """Those ids (lower case) of which something is held."""
    among = "SELECT DISTINCT id FROM packages WHERE id IN (SELECT value FROM json_each(?))"
    return frozenset(id for (id,) in connection.execute(among, (orjson.dumps(list(ids)).decode(),)))


def facts_numbered(connection: sqlite3.Connection, number: int) -> PackageFacts:
    """The facts of one row; raises UnsoundFile."""
    row = connection.execute("SELECT packed FROM facts WHERE number = ?", (number,)).fetchone()
    return unpack(row[0] if row else None)


def held_sizes(connection: sqlite3.Connection, identities: Iterable[PackageIdentity]) -> dict[PackageIdentity, int]:
    """The sizes of those packages that the holdings has."""
    found: dict[PackageIdentity, int] = {}
    for identity in identities:
        row = connection.execute(
            "SELECT size FROM packages WHERE id = ? AND ordering = ?", (identity.id, _ordering(identity))
        ).fetchone()
        if row is not None:
            found[identity] = row[0]
    return found


def identities_after(connection: sqlite3.Connection, number: int, limit: int) -> list[tuple[int, PackageIdentity]]:
    """The next packages in the order of their numbers."""
    rows = connection.execute(
        "SELECT number, id, version FROM packages WHERE number > ? ORDER BY number LIMIT ?", (number, limit)
    )
    return [(found, PackageIdentity(id_, version)) for found, id_, version in rows]


def recorded_after(
    connection: sqlite3.Connection, number: int, limit: int
) -> list[tuple[int, PackageIdentity, int, float]]:
    """The next packages in the order of their numbers, with size and time of publication."""
    rows = connection.execute(
        "SELECT number, id, version, size, packed FROM packages JOIN facts USING (number)"
        " WHERE number > ? ORDER BY number LIMIT ?",
        (number, limit),
    )
    return [
        (found, PackageIdentity(id_, version), size, unpack(packed).published)
        for found, id_, version, size, packed in rows
    ]


def count(connection: sqlite3.Connection) -> int:
    """How many packages there are."""
    return int(connection.execute("SELECT count(*) FROM packages").fetchone()[0])


def _ordering(identity: PackageIdentity) -> bytes:
    version = Version.parse(identity.version)
    if version is None:
        raise UnsoundFile(f"{identity.version!r} is no version")
    return sort_key(version)


def _label_key(label: str) -> bytes:
    """As ``version._label_key``: numbers that fit .NET's int come before words, which are compared without case."""
    digits = label.removeprefix("-")
    if digits.isdigit() and -_INT32 <= (number := int(label)) < _INT32:
        return b"\x01" + (number + _INT32).to_bytes(4, "big")
    return b"\x02" + label.upper().encode() + b"\x00"


def _needs(facts: PackageFacts, version: Version) -> int:
    return (
        (_PRERELEASE if version.is_prerelease else 0)
        | (_SEMVER2 if facts.is_semver2 else 0)
        | (0 if facts.listed else _UNLISTED)
    )


def _add(connection: sqlite3.Connection, facts: PackageFacts) -> int:
    identity, version = facts.identity, facts.parsed
    _remove(connection, identity)
    number = connection.execute(
        "INSERT INTO packages (id, ordering, version, name, full, needs, newest, size, downloads)"
        " VALUES (?, ?, ?, ?, ?, ?, 0, ?, ?)",
        (
            identity.id,
            sort_key(version),
            identity.version,
            facts.id,
            facts.version,
            _needs(facts, version),
            facts.size,
            facts.downloads,
        ),
    ).lastrowid
    if number is None:  # pragma: no cover - an INSERT has one
        raise UnsoundFile("no number")
    connection.execute("INSERT INTO facts VALUES (?, ?)", (number, pack(facts)))
    names = {name.lower() for name in facts.type_names}
    connection.executemany("INSERT INTO types VALUES (?, ?)", [(name, number) for name in names])
    return number


def _remove(connection: sqlite3.Connection, identity: PackageIdentity) -> None:
    row = connection.execute(
        "SELECT number, newest FROM packages WHERE id = ? AND ordering = ?", (identity.id, _ordering(identity))
    ).fetchone()
    if row is None:
        return
    number, newest = row
    if newest:
        connection.execute(_DELETE_WORDS, (number,))
    connection.execute("DELETE FROM types WHERE number = ?", (number,))
    connection.execute("DELETE FROM facts WHERE number = ?", (number,))
    connection.execute("DELETE FROM packages WHERE number = ?", (number,))


def _choose_newest(connection: sqlite3.Connection, id_: str, fresh: dict[int, PackageFacts]) -> None:
    """Mark, for each filter, the version that stands for the id; only those can be found by their words."""
    rows = connection.execute(
        "SELECT number, needs, newest FROM packages WHERE id = ? ORDER BY ordering DESC", (id_,)
    ).fetchall()
    marks = dict.fromkeys((number for number, _, _ in rows), 0)
    for seen in FILTERS:
        hidden = hidden_from(seen)
        first = next((number for number, needs, _ in rows if not needs & hidden), None)
        if first is not None:
            marks[first] |= 1 << seen
    for number, _, newest in rows:
        mark = marks[number]
        if mark == newest:
            continue
        connection.execute("UPDATE packages SET newest = ? WHERE number = ?", (mark, number))
        if not mark:
            connection.execute(_DELETE_WORDS, (number,))
        elif not newest:
            connection.execute(
                _INSERT_WORDS, (number, *_words(fresh.get(number) or facts_numbered(connection, number)))
            )


def _words(facts: PackageFacts) -> tuple[str, ...]:
    """What is searched, by the columns of ``words``."""
    title = [facts.title, *(part for word in split_words(facts.title) for part in camel_parts(word))]
    return (
        " ".join(split_words(facts.id)),
        " ".join(id_parts(facts.id)),
        " ".join(title),
        facts.tags,
        facts.authors,
        facts.owners,
        facts.summary,
        facts.description,
    )
