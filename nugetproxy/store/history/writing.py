"""Writing puts a batch of sightings into the history, then takes out what is too old; all of it blocks."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

from nugetproxy.store.history.restore import Restore
from nugetproxy.store.history.sighting import FAILED, FETCHES, HITS, SPARED, Sighting, Who
from nugetproxy.store.history.tally import Tally
from nugetproxy.store.sqlite_form import transaction

DAY: Final = 86400
SPANS: Final = {60: 2 * DAY, 3600: 62 * DAY, DAY: 1830 * DAY}
"""Seconds that are counted together -> for how long such counts are kept."""
MOST_PULLS: Final = 200_000
MOST_USES: Final = 500_000
MOST_TROUBLES: Final = 200
UNAUTHORIZED: Final = 401
"""NuGet asks without its token first, each time: that is a part of the restore by that token, not another one."""
FUTURE: Final = 60.0
"""Seconds by which the clock may be set back before what it said is taken for a mistake."""

_COUNT: Final = """
    INSERT INTO counts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
        requests = requests + excluded.requests, hits = hits + excluded.hits, fetches = fetches + excluded.fetches,
        failed = failed + excluded.failed, bytes = bytes + excluded.bytes, saved = saved + excluded.saved,
        packages = packages + excluded.packages
"""
_PULL: Final = """
    INSERT INTO pulls VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
        last = max(last, excluded.last), arrived = max(arrived, excluded.arrived), times = times + excluded.times,
        size = excluded.size
"""
_USE: Final = """
    INSERT INTO usage VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
        first = min(first, excluded.first), last = max(last, excluded.last), times = times + excluded.times
"""
_TROUBLE: Final = """
    INSERT INTO troubles VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
        first = min(first, excluded.first), last = max(last, excluded.last), times = times + excluded.times,
        id = excluded.id, version = excluded.version, detail = excluded.detail, status = excluded.status
"""
_RESTORE: Final = """
    INSERT INTO restores (session, client, token, began, ended, body) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (session, client, token) DO UPDATE SET
        began = excluded.began, ended = excluded.ended, body = excluded.body
"""
_MOST: Final = {"pulls": MOST_PULLS, "usage": MOST_USES, "troubles": MOST_TROUBLES}
"""Table -> how many rows are kept, the last ones."""


def write(connection: sqlite3.Connection, batch: Sequence[Sighting | Tally], *, restores: int, usage: float) -> None:
    """Enter a batch in one transaction; ``restores`` that are kept (0: none), ``usage`` in seconds (0: none)."""
    alike = _alike(batch)
    pulled = [one for one in alike if one.what.pulled]
    with transaction(connection):
        connection.executemany(_COUNT, _counts(alike))
        connection.executemany(_PULL, _pulls(pulled))
        if usage:
            connection.executemany(_USE, _uses(pulled))
        connection.executemany(_TROUBLE, _troubles(alike))
        if restores:
            _write_restores(connection, batch)


def _alike(batch: Iterable[Sighting | Tally]) -> Sequence[Tally]:
    """By the objects, not by what they say: the lane has one for all hits alike, of which there may be thousands."""
    found: list[Tally] = []
    latest: dict[tuple[int, int], Tally] = {}
    for one in batch:
        if isinstance(one, Tally):
            found.append(one)
            continue
        at, what, who, *_ = one
        key = (id(what), id(who))
        if key not in latest or not latest[key].takes(at, who):
            latest[key] = Tally(at, what, who)
            found.append(latest[key])
    return found


def _counts(batch: Iterable[Tally]) -> Iterable[tuple[object, ...]]:
    sums: dict[tuple[int, int, str], list[int]] = defaultdict(lambda: [0] * 7)
    for one in batch:
        outcome, size = one.what.outcome, one.what.size
        adds = (
            1,
            outcome in HITS,
            outcome in FETCHES,
            outcome == FAILED,
            size,
            size * (outcome in SPARED),
            one.what.pulled,
        )
        for span in SPANS:
            row = sums[span, one.minute // span * span, one.what.feed]
            for index, add in enumerate(adds):
                row[index] += add * one.times
    return ((*key, *row) for key, row in sums.items())


def _pulls(batch: Iterable[Tally]) -> Iterable[tuple[object, ...]]:
    found: dict[tuple[str, str, str], list[float]] = {}
    for one in batch:
        what = one.what
        row = found.setdefault((what.feed, what.id, what.version), [one.last, 0.0, 0, what.size])
        arrived = one.last if what.outcome in FETCHES else 0.0
        row[:3] = max(row[0], one.last), max(row[1], arrived), row[2] + one.times
    return ((*key, *row) for key, row in found.items())


def _uses(batch: Iterable[Tally]) -> Iterable[tuple[object, ...]]:
    found: dict[tuple[str, str, str, str, str], list[float]] = {}
    for one in batch:
        what, who = one.what, one.who
        key = (what.id, what.version, what.feed, who.token, who.client)
        row = found.setdefault(key, [one.first, one.last, 0])
        row[:] = min(row[0], one.first), max(row[1], one.last), row[2] + one.times
    return ((*key, *row) for key, row in found.items())


def _troubles(batch: Iterable[Tally]) -> Iterable[tuple[object, ...]]:
    for one in batch:
        what = one.what
        if what.outcome == FAILED:
            seen = (one.first, one.last, one.times)
            yield what.feed, what.kind, what.reason, *seen, what.id, what.version, what.detail, what.status


def _write_restores(connection: sqlite3.Connection, batch: Iterable[Sighting | Tally]) -> None:
    together: dict[Who, list[Sighting]] = defaultdict(list)
    for one in batch:
        if not isinstance(one, Tally) and one[2].session and one[1].status != UNAUTHORIZED:
            together[one[2]].append(one)
    for who, sightings in together.items():
        key = (who.session, who.client, who.token)
        row = connection.execute(
            "SELECT body FROM restores WHERE session = ? AND client = ? AND token = ?", key
        ).fetchone()
        began = min(one[0] - one[3] for one in sightings)
        restore = Restore(began=began, ended=began) if row is None else Restore.from_json(row[0])
        restore.add(sightings)
        connection.execute(_RESTORE, (*key, restore.began, restore.ended, restore.to_json()))


def prune(connection: sqlite3.Connection, now: float, *, restores: int, usage: float) -> None:
    """Take out what is too old or too much; what a clock that was wrong said of the future, too."""
    with transaction(connection):
        for span, kept in SPANS.items():
            connection.execute(
                "DELETE FROM counts WHERE span = ? AND (start < ? OR start > ?)", (span, now - kept, now + FUTURE)
            )
        connection.execute("DELETE FROM usage WHERE last < ? OR last > ?", (now - usage, now + FUTURE))
        connection.execute("DELETE FROM troubles WHERE last < ? OR last > ?", (now - SPANS[3600], now + FUTURE))
        connection.execute("DELETE FROM restores WHERE ended > ?", (now + FUTURE,))  # else the newest ones, for years
        for table, most in _MOST.items():
            _keep_newest(connection, table, "last", most)
        _keep_newest(connection, "restores", "ended", restores)


def _keep_newest(connection: sqlite3.Connection, table: str, column: str, most: int) -> None:
    (count,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608 - constants
    if count > most:
        newest = f"SELECT {column} FROM {table} ORDER BY {column} DESC LIMIT 1 OFFSET ?"  # noqa: S608 - constants
        connection.execute(f"DELETE FROM {table} WHERE {column} <= ({newest})", (most,))  # noqa: S608 - constants
