"""The rows of the holdings: written and read one package at a time; all of it blocks."""

from __future__ import annotations

import sqlite3
import struct
import zlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from operator import attrgetter
from typing import Any, Final

import orjson
from msgspec import Struct

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
_INSERT_WORDS = "INSERT INTO words (rowid, id, parts, title, tags, authors, owners, summary, description)"
_INSERT_PACKAGES = "INSERT INTO packages (number, id, ordering, version, name, full, needs, newest, size, downloads)"
AT_ONCE: Final = 50
"""Rows that one statement is about."""


class _Row(Struct, frozen=True):
    """One version of an id."""

    number: int
    id: str
    ordering: bytes
    needs: int
    newest: int
    """The filters under which it stood for its id before."""
    facts: PackageFacts | None = None
    """Of one that is being added."""


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
    """Add (or replace) packages and remove others, in one transaction.

    One statement for all wherever that can be: Python's lock is given away and taken again for each row of each.
    """
    adding = {facts.identity: facts for facts in add}
    changed = [*remove, *adding]
    with transaction(connection):
        lost = _remove(connection, changed)
        fresh = _fresh(connection, adding.values())
        of_id: defaultdict[str, list[_Row]] = defaultdict(list)
        for row in (*_standing(connection, {one.id for one in changed} - lost, lost), *fresh):
            of_id[row.id].append(row)
        marked = [(row, mark) for rows in of_id.values() for row, mark in _marks(rows)]
        _insert(connection, [(row, mark) for row, mark in marked if row.facts is not None])
        _mark(connection, [(row, mark) for row, mark in marked if mark != row.newest])


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


def held_sizes(
    connection: sqlite3.Connection, identities: Iterable[PackageIdentity]
) -> dict[PackageIdentity, tuple[int, int]]:
    """The numbers and sizes of those packages that the holdings has."""
    found: dict[PackageIdentity, tuple[int, int]] = {}
    for identity in identities:
        row = connection.execute(
            "SELECT number, size FROM packages WHERE id = ? AND ordering = ?", (identity.id, _ordering(identity))
        ).fetchone()
        if row is not None:
            found[identity] = row
    return found


def extent(connection: sqlite3.Connection) -> tuple[int, int]:
    """How many packages there are, the highest number of one (0: there is none)."""
    rows, last = connection.execute("SELECT count(*), coalesce(max(number), 0) FROM packages").fetchone()
    return rows, last


def ids_after(connection: sqlite3.Connection, id: str, limit: int) -> list[str]:
    """The next ids in their order."""
    ids = "SELECT DISTINCT id FROM packages WHERE id > ? ORDER BY id LIMIT ?"
    return [found for (found,) in connection.execute(ids, (id, limit))]


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


def _remove(connection: sqlite3.Connection, identities: Collection[PackageIdentity]) -> frozenset[str]:
    """Remove those that are there; ids that lost a version which stood for them."""
    found: list[tuple[int, int, str]] = []
    for some in _batches([(one.id, _ordering(one)) for one in identities]):
        among = f"WITH wanted (id, ordering) AS (VALUES {_places(some)})"
        query = f"{among} SELECT number, newest, id FROM wanted CROSS JOIN packages USING (id, ordering)"  # noqa: S608 - places
        found += connection.execute(query, _flat(some))
    numbers = [(number,) for number, _, _ in found]
    connection.executemany(_DELETE_WORDS, [(number,) for number, newest, _ in found if newest])
    for table in ("types", "facts", "packages"):
        connection.executemany(f"DELETE FROM {table} WHERE number = ?", numbers)  # noqa: S608 - names of ours
    return frozenset(id_ for _, newest, id_ in found if newest)


def _fresh(connection: sqlite3.Connection, adding: Iterable[PackageFacts]) -> list[_Row]:
    (last,) = connection.execute("SELECT coalesce(max(number), 0) FROM packages").fetchone()
    rows = []
    for number, facts in enumerate(adding, last + 1):
        version = facts.parsed
        needs = _needs(facts, version)
        rows.append(_Row(number, facts.identity.id, sort_key(version), needs, newest=0, facts=facts))
    return rows


def _standing(connection: sqlite3.Connection, kept: Collection[str], lost: Collection[str]) -> Iterator[_Row]:
    """The versions that may stand for their ids; of ids that ``lost`` one that did, all that are left."""
    for ids, condition in ((kept, "WHERE newest"), (lost, "")):
        for some in _batches([(id_,) for id_ in ids]):
            among = f"WITH wanted (id) AS (VALUES {_places(some)}) SELECT number, id, ordering, needs, newest"
            query = f"{among} FROM wanted CROSS JOIN packages USING (id) {condition}"
            for number, id_, ordering, needs, newest in connection.execute(query, _flat(some)):
                yield _Row(number, id_, ordering, needs, newest)


def _marks(rows: Sequence[_Row]) -> Iterator[tuple[_Row, int]]:
    """The versions of one id, each with the filters under which it stands for it: it is the newest to be seen."""
    ordered = sorted(rows, key=attrgetter("ordering"), reverse=True)
    marks = dict.fromkeys((row.number for row in ordered), 0)
    for seen in FILTERS:
        hidden = hidden_from(seen)
        first = next((row.number for row in ordered if not row.needs & hidden), None)
        if first is not None:
            marks[first] |= 1 << seen
    return ((row, marks[row.number]) for row in ordered)


def _insert(connection: sqlite3.Connection, fresh: Iterable[tuple[_Row, int]]) -> None:
    packages, packed, types = [], [], []
    for row, mark in fresh:
        facts = row.facts
        if facts is None:  # pragma: no cover - then it is not fresh
            continue
        number, identity = row.number, facts.identity
        about = (identity.version, facts.id, facts.version, row.needs, mark, facts.size, facts.downloads)
        packages.append((number, identity.id, row.ordering, *about))
        packed.append((number, pack(facts)))
        types += [(name, number) for name in {name.lower() for name in facts.type_names}]
    _insert_all(connection, _INSERT_PACKAGES, packages)
    _insert_all(connection, "INSERT INTO facts", packed)
    _insert_all(connection, "INSERT INTO types", types)


def _mark(connection: sqlite3.Connection, marked: Sequence[tuple[_Row, int]]) -> None:
    """Note what stands for its id now, what does no longer; only what does can be found by its words."""
    old = [(mark, row.number) for row, mark in marked if row.facts is None]
    connection.executemany("UPDATE packages SET newest = ? WHERE number = ?", old)
    connection.executemany(_DELETE_WORDS, [(row.number,) for row, mark in marked if not mark])
    come = [row for row, _ in marked if not row.newest]
    words = [(row.number, *_words(row.facts or facts_numbered(connection, row.number))) for row in come]
    _insert_all(connection, _INSERT_WORDS, words)


def _insert_all(connection: sqlite3.Connection, into: str, rows: Sequence[tuple[Any, ...]]) -> None:
    for some in _batches(rows):
        connection.execute(f"{into} VALUES {_places(some)}", _flat(some))


def _batches(rows: Sequence[tuple[Any, ...]]) -> Iterator[Sequence[tuple[Any, ...]]]:
    return (rows[at : at + AT_ONCE] for at in range(0, len(rows), AT_ONCE))


def _places(rows: Sequence[tuple[Any, ...]]) -> str:
    """Where a statement gets its values, row by row."""
    return ", ".join([f"({', '.join('?' * len(rows[0]))})"] * len(rows))


def _flat(rows: Iterable[tuple[Any, ...]]) -> list[Any]:
    return [value for row in rows for value in row]


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
