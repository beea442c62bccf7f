"""The statements that read and write the rows of the ledger; all of it blocks."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, groupby, islice
from operator import itemgetter
from typing import Any, Final

from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.store.ledger.records import Epoch, Judged, Owner, Sighting, Token, VersionFacts, Wanted
from nugetproxy.store.sqlite_form import transaction

PIN: Final = "INSERT INTO pins VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"
EPOCH: Final = """INSERT INTO epochs VALUES (?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET number = max(number, excluded.number), at = excluded.at"""
SCRUB: Final = "INSERT OR REPLACE INTO scrubs VALUES (?, ?)"
FACTS: Final = """INSERT INTO facts VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
    published = coalesce(excluded.published, published), listed = coalesce(excluded.listed, listed),
    deprecation = coalesce(excluded.deprecation, deprecation), origin = excluded.origin, noted = excluded.noted"""
REOWN: Final = "INSERT OR REPLACE INTO owners VALUES (?, ?, ?, ?, ?)"
VERDICT: Final = "INSERT OR REPLACE INTO verdicts VALUES (?, ?, ?, ?, ?, ?)"
CLAIM: Final = "INSERT INTO claims VALUES (?, ?) ON CONFLICT DO NOTHING"
PUT_TOKEN: Final = "INSERT OR REPLACE INTO tokens VALUES (?, ?, ?, ?, ?, ?)"  # noqa: S105 - a statement
LINK: Final = """INSERT INTO links VALUES (?, ?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET handed_out = max(handed_out, excluded.handed_out)"""
SIGHTING: Final = """INSERT INTO sightings VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
    first = min(first, excluded.first), missing = excluded.missing, withdrawn = excluded.withdrawn"""
_OF_A_FEED: Final = ("pins", "facts", "links", "scrubs", "sightings", "verdicts")
"""The tables whose rows say something of the feed that a source was when they were written."""


_ROW: Final = re.compile(r"(?<=\bVALUES )\([?, ]+\)")
"""What a statement says of the one row that it writes."""
AT_ONCE: Final = 50
"""Rows that one statement writes."""


def run(connection: sqlite3.Connection, statement: str, values: tuple[Any, ...]) -> int:
    """Write; how many rows it changed."""
    return connection.execute(statement, values).rowcount


def run_all(connection: sqlite3.Connection, what: Iterable[tuple[str, tuple[Any, ...]]]) -> None:
    """Write all of it or nothing, in its order.

    One statement for neighbours that are alike: Python's lock is given away and taken again for each.
    """
    with transaction(connection):
        for statement, alike in groupby(what, itemgetter(0)):
            rows = map(itemgetter(1), alike)
            while some := tuple(islice(rows, AT_ONCE if _ROW.search(statement) else 1)):
                connection.execute(_ROW.sub(lambda row: ", ".join([row[0]] * len(some)), statement), [*chain(*some)])


def pin_of(connection: sqlite3.Connection, source: str, identity: PackageIdentity) -> str | None:
    """The pinned SHA-512."""
    where = "SELECT sha512 FROM pins WHERE source = ? AND id = ? AND version = ?"
    row = connection.execute(where, (source, identity.id, identity.version)).fetchone()
    return None if row is None else str(row[0])


def pinned(connection: sqlite3.Connection) -> Iterator[tuple[str, str]]:
    """Id and version of every pin, whosever it is."""
    return connection.execute("SELECT id, version FROM pins")


def forget(connection: sqlite3.Connection, source: str, identity: PackageIdentity) -> None:
    """Remove pin and facts of a version, with the hash that it had as what this source owns."""
    with transaction(connection):
        unseal = "UPDATE owners SET sha512 = '' WHERE source = ? AND id = ? AND version = ?"
        connection.execute(unseal, (source, identity.id, identity.version))
        for table in ("pins", "facts", "verdicts"):
            statement = f"DELETE FROM {table} WHERE source = ? AND id = ? AND version = ?"  # noqa: S608 - three names
            connection.execute(statement, (source, identity.id, identity.version))


def pinned_versions(connection: sqlite3.Connection, source: str, ids: Sequence[str]) -> frozenset[PackageIdentity]:
    """The versions of some ids that are pinned."""
    which = "SELECT version FROM pins WHERE source = ? AND id = ?"
    return frozenset(
        PackageIdentity(id, version) for id in ids for (version,) in connection.execute(which, (source, id))
    )


def origin_of(connection: sqlite3.Connection, source: str) -> str | None:
    """The feed that a source was when it was last settled."""
    row = connection.execute("SELECT feed FROM origins WHERE source = ?", (source,)).fetchone()
    return None if row is None else str(row[0])


def settle_origin(connection: sqlite3.Connection, source: str, feed: str) -> None:
    """Put the rows of another feed aside, bring those of this one back; what has no origin yet is of this one."""
    with transaction(connection):
        before = origin_of(connection, source)
        for table in _OF_A_FEED:
            move = f"UPDATE OR REPLACE {table} SET source = ? WHERE source = ?"  # noqa: S608 - one of six names
            if before is not None:
                connection.execute(move, (_aside(source, before), source))
            connection.execute(move, (source, _aside(source, feed)))
        connection.execute("INSERT OR REPLACE INTO origins VALUES (?, ?)", (source, feed))


def _aside(source: str, feed: str) -> str:
    return f"{source} {feed}"  # no source has a blank in its name


def link_of(connection: sqlite3.Connection, source: str, token: str) -> tuple[str, str, float] | None:
    """Kind, URL, and when it was last handed out."""
    where = "SELECT kind, url, handed_out FROM links WHERE source = ? AND token = ?"
    row = connection.execute(where, (source, token)).fetchone()
    return None if row is None else (str(row[0]), str(row[1]), float(row[2]))


def trim_links(connection: sqlite3.Connection, source: str, before: float, most: int) -> int:
    """Remove links of a source that were last handed out ``before``, then the oldest beyond ``most``; how many."""
    with transaction(connection):
        old = run(connection, "DELETE FROM links WHERE source = ? AND handed_out < ?", (source, before))
        beyond = """DELETE FROM links WHERE source = :source AND token IN (
            SELECT token FROM links WHERE source = :source ORDER BY handed_out DESC LIMIT -1 OFFSET :most)"""
        return old + connection.execute(beyond, {"source": source, "most": most}).rowcount


def epochs(connection: sqlite3.Connection) -> dict[tuple[str, str], Epoch]:
    """By source and id: every write that is known of."""
    found = connection.execute("SELECT source, id, number, at FROM epochs")
    return {(source, id): Epoch(number, at) for source, id, number, at in found}


def scrub_of(connection: sqlite3.Connection, source: str) -> bytes | None:
    """The position of a scrub."""
    row = connection.execute("SELECT position FROM scrubs WHERE source = ?", (source,)).fetchone()
    return None if row is None else bytes(row[0])


def facts_values(source: str, facts: VersionFacts) -> tuple[Any, ...]:
    """The values of ``FACTS``."""
    identity = facts.identity
    said = (facts.published, facts.listed, facts.deprecation, facts.origin, facts.noted)
    return (source, identity.id, identity.version, *said)


def facts_of(connection: sqlite3.Connection, source: str, id: str) -> tuple[VersionFacts, ...]:
    """What is known of the versions of an id."""
    columns = "version, published, listed, deprecation, origin, noted"
    found = connection.execute(f"SELECT {columns} FROM facts WHERE source = ? AND id = ?", (source, id))  # noqa: S608
    return tuple(
        VersionFacts(
            identity=PackageIdentity(id, version),
            published=published,
            listed=None if listed is None else bool(listed),
            deprecation=deprecation,
            origin=origin,
            noted=noted,
        )
        for version, published, listed, deprecation, origin, noted in found
    )


def remarkable(connection: sqlite3.Connection, source: str) -> dict[PackageIdentity, tuple[bool, str | None]]:
    """What is unlisted, or may be deprecated: whether it is listed, the deprecation as upstream says it."""
    remarks = "listed = 0 OR deprecation != 'null'"
    columns = "id, version, listed, deprecation"
    found = connection.execute(f"SELECT {columns} FROM facts WHERE source = ? AND ({remarks})", (source,))  # noqa: S608
    return {PackageIdentity(id, version): (listed != 0, said) for id, version, listed, said in found}


def unlisted(connection: sqlite3.Connection, source: str) -> tuple[PackageIdentity, ...]:
    """What is known not to be listed."""
    found = connection.execute("SELECT id, version FROM facts WHERE source = ? AND listed = 0", (source,))
    return tuple(PackageIdentity(id, version) for id, version in found)


def judged(connection: sqlite3.Connection, source: str, identity: PackageIdentity) -> Judged | None:
    """The verdict over the signature of a version."""
    where = "SELECT sha512, trust, verdict FROM verdicts WHERE source = ? AND id = ? AND version = ?"
    row = connection.execute(where, (source, identity.id, identity.version)).fetchone()
    return None if row is None else Judged(sha512=row[0], trust=row[1], verdict=row[2])


def owners_of(connection: sqlite3.Connection, feed: str, id: str) -> dict[str, Owner]:
    """By version."""
    found = connection.execute("SELECT version, source, sha512 FROM owners WHERE feed = ? AND id = ?", (feed, id))
    return {version: Owner(source, sha512) for version, source, sha512 in found}


def sightings_of(connection: sqlite3.Connection, source: str, id: str) -> dict[str, Sighting]:
    """By version."""
    of_id = "SELECT version, first, missing, withdrawn FROM sightings WHERE source = ? AND id = ?"
    return {version: Sighting(*seen) for version, *seen in connection.execute(of_id, (source, id))}


def missing(connection: sqlite3.Connection, source: str) -> dict[PackageIdentity, Sighting]:
    """What upstream is known not to have any more."""
    gone = "SELECT id, version, first, missing, withdrawn FROM sightings WHERE source = ? AND missing IS NOT NULL"
    found = connection.execute(gone, (source,))
    return {PackageIdentity(id, version): Sighting(*seen) for id, version, *seen in found}


def claims(connection: sqlite3.Connection) -> frozenset[tuple[str, str]]:
    """(source, id) of each."""
    return frozenset((source, id) for source, id in connection.execute("SELECT source, id FROM claims"))


def disown(connection: sqlite3.Connection, source: str, id: str) -> int:
    """Remove what an id's versions (an empty ``id``: everybody's) that belong to a source say of it; how many."""
    where = "DELETE FROM owners WHERE source = :source AND (:id = '' OR id = :id)"
    return connection.execute(where, {"source": source, "id": id}).rowcount


def kept(connection: sqlite3.Connection) -> tuple[Wanted, ...]:
    """All that is never evicted."""
    found = connection.execute("SELECT id, version, wanted_by, at FROM kept ORDER BY wanted_by, id, version")
    return tuple(Wanted(id=id, version=version, by=by, at=at) for id, version, by, at in found)


def keep(connection: sqlite3.Connection, wanted: Iterable[Wanted], replace: str) -> None:
    """Add these; what the file ``replace`` wanted before goes."""
    with transaction(connection):
        if replace:
            connection.execute("DELETE FROM kept WHERE wanted_by = ?", (replace,))
        rows = [(one.id, one.version, one.by, one.at) for one in wanted]
        connection.executemany("INSERT OR REPLACE INTO kept VALUES (?, ?, ?, ?)", rows)


def unkeep(connection: sqlite3.Connection, packages: Iterable[tuple[str, str]], by: str) -> int:
    """Remove these, or all that ``by`` wants where none are named; how many there were."""
    named = list(packages)
    with transaction(connection):
        if not named:
            return run(connection, "DELETE FROM kept WHERE wanted_by = ?", (by,))
        statement = "DELETE FROM kept WHERE id = ? AND version = ? AND wanted_by = ?"
        return sum(run(connection, statement, (id, version, by)) for id, version in named)


def token_values(token: Token) -> tuple[Any, ...]:
    """The values of ``PUT_TOKEN``."""
    lists = (" ".join(token.scopes), " ".join(token.feeds))
    return (token.name, token.hash, *lists, token.expires, token.created)


def tokens(connection: sqlite3.Connection) -> tuple[Token, ...]:
    """All of them, by name."""
    found = connection.execute("SELECT name, hash, scopes, feeds, expires, created FROM tokens ORDER BY name")
    return tuple(
        Token(
            name=name,
            hash=hash,
            scopes=tuple(scopes.split()),
            feeds=tuple(feeds.split()),
            expires=expires,
            created=created,
        )
        for name, hash, scopes, feeds, expires, created in found
    )
