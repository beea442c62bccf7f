"""Writing puts a batch of sightings into the history, then takes out what is too old; all of it blocks."""

from __future__ import annotations

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from nugetproxy.store.history.restore import Restore
from nugetproxy.store.history.sighting import FAILED, FETCHES, HITS, SPARED, Sighting, What, Who
from nugetproxy.store.sqlite_form import UnsoundFile, transaction

DAY: Final = 86400
SPANS: Final = {60: 2 * DAY, 3600: 62 * DAY, DAY: 1830 * DAY}
"""Seconds that are counted together -> for how long such counts are kept."""
MOST_PULLS: Final = 200_000
MOST_USES: Final = 500_000
MOST_TROUBLES: Final = 200
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
_PRUNED: Final = {
    "pulls": ("last", MOST_PULLS),
    "usage": ("last", MOST_USES),
    "troubles": ("last", MOST_TROUBLES),
}
"""Table -> by what the oldest rows are known, how many rows are kept."""


def write(connection: sqlite3.Connection, batch: Sequence[Sighting], *, restores: int, usage: float) -> None:
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


class _Alike(NamedTuple):
    """Sightings of one batch that differ only in their times."""

    what: What
    who: Who
    times: list[float]


def _alike(batch: Iterable[Sighting]) -> Sequence[_Alike]:
    """By the objects, not by what they say: the lane has one for all hits alike, of which there may be thousands."""
    found: dict[tuple[int, int], _Alike] = {}
    for one in batch:
        key = (id(one[1]), id(one[2]))
        if key in found:
            found[key].times.append(one[0])
        else:
            found[key] = _Alike(one[1], one[2], [one[0]])
    return [*found.values()]


def _counts(batch: Iterable[_Alike]) -> Iterable[tuple[object, ...]]:
    sums: dict[tuple[int, int, str], list[int]] = defaultdict(lambda: [0] * 7)
    for what, _, times in batch:
        outcome, size = what.outcome, what.size
        adds = (
            1,
            outcome in HITS,
            outcome in FETCHES,
            outcome == FAILED,
            size,
            size * (outcome in SPARED),
            what.pulled,
        )
        for minute, requests in Counter(int(at) // 60 * 60 for at in times).items():
            for span in SPANS:
                row = sums[span, minute // span * span, what.feed]
                for index, add in enumerate(adds):
                    row[index] += add * requests
    return ((*key, *row) for key, row in sums.items())


def _pulls(batch: Iterable[_Alike]) -> Iterable[tuple[object, ...]]:
    found: dict[tuple[str, str, str], list[float]] = {}
    for what, _, times in batch:
        last = max(times)
        row = found.setdefault((what.feed, what.id, what.version), [last, 0.0, 0, what.size])
        arrived = last if what.outcome in FETCHES else 0.0
        row[:3] = max(row[0], last), max(row[1], arrived), row[2] + len(times)
    return ((*key, *row) for key, row in found.items())


def _uses(batch: Iterable[_Alike]) -> Iterable[tuple[object, ...]]:
    found: dict[tuple[str, str, str, str, str], list[float]] = {}
    for what, who, times in batch:
        key = (what.id, what.version, what.feed, who.token, who.client)
        row = found.setdefault(key, [times[0], times[0], 0])
        row[:] = min(row[0], *times), max(row[1], *times), row[2] + len(times)
    return ((*key, *row) for key, row in found.items())


def _troubles(batch: Iterable[_Alike]) -> Iterable[tuple[object, ...]]:
    for what, _, times in batch:
        if what.outcome == FAILED:
            seen = (min(times), max(times), len(times))
            yield what.feed, what.kind, what.reason, *seen, what.id, what.version, what.detail, what.status


def _write_restores(connection: sqlite3.Connection, batch: Iterable[Sighting]) -> None:
    together: dict[Who, list[Sighting]] = defaultdict(list)
    for one in batch:
        if one[2].session:
            together[one[2]].append(one)
    for who, sightings in together.items():
        key = (who.session, who.client, who.token)
        row = connection.execute(
            "SELECT body FROM restores WHERE session = ? AND client = ? AND token = ?", key
        ).fetchone()
        began = min(one[0] - one[3] for one in sightings)
        restore = Restore(began=began, ended=began) if row is None else _read(row[0])
        restore.add(sightings)
        connection.execute(_RESTORE, (*key, restore.began, restore.ended, restore.to_json()))


def _read(body: bytes) -> Restore:
    try:
        return Restore.from_json(body)
    except (ValueError, TypeError, KeyError) as error:
        raise UnsoundFile("a restore is not readable") from error


def prune(connection: sqlite3.Connection, now: float, *, restores: int, usage: float) -> None:
    """Take out what is too old or too much; what a clock that was wrong said of the future, too."""
    with transaction(connection):
        for span, kept in SPANS.items():
            connection.execute(
                "DELETE FROM counts WHERE span = ? AND (start < ? OR start > ?)", (span, now - kept, now + FUTURE)
            )
        connection.execute("DELETE FROM usage WHERE last < ? OR last > ?", (now - usage, now + FUTURE))
        connection.execute("DELETE FROM troubles WHERE last < ?", (now - SPANS[3600],))
        for table, (column, most) in _PRUNED.items():
            _keep_newest(connection, table, column, most)
        _keep_newest(connection, "restores", "ended", restores)


def _keep_newest(connection: sqlite3.Connection, table: str, column: str, most: int) -> None:
    (count,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608 - constants
    if count > most:
        newest = f"SELECT {column} FROM {table} ORDER BY {column} DESC LIMIT 1 OFFSET ?"  # noqa: S608 - constants
        connection.execute(f"DELETE FROM {table} WHERE {column} <= ({newest})", (most,))  # noqa: S608 - constants
