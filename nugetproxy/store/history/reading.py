"""Reading takes out of the history what somebody wants to see; all of it blocks."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable
from typing import Any, Final

import orjson
from msgspec import Struct

from nugetproxy.store.history.restore import Restore

_OF_FEEDS: Final = "feed IN (SELECT value FROM json_each(:feeds))"
_COUNTS: Final = f"""
    SELECT start, sum(requests) AS requests, sum(hits) AS hits, sum(fetches) AS fetches, sum(failed) AS failed,
        sum(bytes) AS bytes, sum(saved) AS saved, sum(packages) AS packages FROM counts
    WHERE span = :span AND start >= :since AND {_OF_FEEDS}
    GROUP BY start ORDER BY start
"""  # noqa: S608 - constants


class Count(Struct, frozen=True, kw_only=True):
    """What was answered in one span of time."""

    start: int
    requests: int
    hits: int
    fetches: int
    failed: int
    bytes: int
    saved: int
    """Bytes that were not downloaded for whoever got them."""
    packages: int


class Pull(Struct, frozen=True, kw_only=True):
    """A package that clients have got; times in seconds since the epoch."""

    feed: str
    id: str
    version: str
    last: float
    arrived: float
    """When it was downloaded; 0 if it was held before anybody looked."""
    times: int
    size: int


class Use(Struct, frozen=True, kw_only=True):
    """Who has got a package."""

    id: str
    version: str
    feed: str
    token: str
    client: str
    first: float
    last: float
    times: int


class Trouble(Struct, frozen=True, kw_only=True):
    """Requests that failed alike."""

    feed: str
    kind: str
    reason: str
    first: float
    last: float
    times: int
    id: str
    version: str
    detail: str
    status: int


class Seen(Struct, frozen=True, kw_only=True):
    """A restore with whose it was."""

    number: int
    session: str
    client: str
    token: str
    restore: Restore


def counts(connection: sqlite3.Connection, span: int, since: float, feeds: Collection[str]) -> tuple[Count, ...]:
    """The sums over ``feeds``, oldest first."""
    rows = _rows(connection, _COUNTS, span=span, since=since, feeds=_json(feeds))
    return tuple(Count(**row) for row in rows)


def newest(connection: sqlite3.Connection, feeds: Collection[str], most: int, now: float) -> tuple[Pull, ...]:
    """The packages that were downloaded last; none that a clock which was wrong says to come yet."""
    order = f"WHERE {_OF_FEEDS} AND arrived > 0 AND arrived <= :now ORDER BY arrived DESC LIMIT :most"
    return _pulls(connection, order, feeds=_json(feeds), most=most, now=now)


def most_used(connection: sqlite3.Connection, feeds: Collection[str], most: int) -> tuple[Pull, ...]:
    """The packages that were asked for most often."""
    order = f"WHERE {_OF_FEEDS} ORDER BY times DESC, last DESC LIMIT :most"
    return _pulls(connection, order, feeds=_json(feeds), most=most)


def pulled(connection: sqlite3.Connection, since: float, feeds: Collection[str]) -> tuple[Pull, ...]:
    """All that clients have got since a wall time."""
    return _pulls(connection, f"WHERE last >= :since AND {_OF_FEEDS}", since=since, feeds=_json(feeds))


def pulls_of(connection: sqlite3.Connection, id_: str, feeds: Collection[str]) -> tuple[Pull, ...]:
    """All versions of an id that clients have got."""
    return _pulls(connection, f"WHERE id = :id AND {_OF_FEEDS}", id=id_, feeds=_json(feeds))


def _pulls(connection: sqlite3.Connection, what: str, **values: Any) -> tuple[Pull, ...]:
    return tuple(Pull(**row) for row in _rows(connection, f"SELECT * FROM pulls {what}", **values))  # noqa: S608 - constants


def uses(connection: sqlite3.Connection, id_: str, version: str, since: float) -> tuple[Use, ...]:
    """Who has got an id (any version where that is empty), the last one first."""
    rows = _rows(
        connection,
        "SELECT * FROM usage WHERE id = :id AND (:version = '' OR version = :version) AND last >= :since"
        " ORDER BY last DESC",
        id=id_,
        version=version,
        since=since,
    )
    return tuple(Use(**row) for row in rows)


def used_by(connection: sqlite3.Connection, token: str, client: str, since: float) -> tuple[Use, ...]:
    """What came in by a token, or to an address without one, ordered by package."""
    rows = _rows(
        connection,
        "SELECT * FROM usage WHERE token = :token AND (:client = '' OR client = :client) AND last >= :since"
        " ORDER BY id, version, last DESC",
        token=token,
        client=client,
        since=since,
    )
    return tuple(Use(**row) for row in rows)


def restores(connection: sqlite3.Connection, most: int) -> tuple[Seen, ...]:
    """The last ones, the newest first."""
    return _restores(connection, "ORDER BY ended DESC LIMIT :most", most=most)


def restore(connection: sqlite3.Connection, number: int) -> Seen | None:
    """The restore of this number; None where it is not kept."""
    return next(iter(_restores(connection, "WHERE number = :number", number=number)), None)


def _restores(connection: sqlite3.Connection, what: str, **values: Any) -> tuple[Seen, ...]:
    rows = _rows(connection, f"SELECT number, session, client, token, body FROM restores {what}", **values)  # noqa: S608 - constants
    return tuple(Seen(restore=Restore.from_json(row.pop("body")), **row) for row in rows)


def troubles(connection: sqlite3.Connection, since: float, feeds: Collection[str]) -> tuple[Trouble, ...]:
    """What failed lately, the last one first."""
    rows = _rows(
        connection,
        f"SELECT * FROM troubles WHERE last >= :since AND {_OF_FEEDS} ORDER BY last DESC",  # noqa: S608 - constants
        since=since,
        feeds=_json(feeds),
    )
    return tuple(Trouble(**row) for row in rows)


def _rows(connection: sqlite3.Connection, statement: str, **values: Any) -> Iterable[dict[str, Any]]:
    cursor = connection.execute(statement, values)
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor]


def _json(feeds: Collection[str]) -> str:
    return orjson.dumps(sorted(feeds)).decode()
