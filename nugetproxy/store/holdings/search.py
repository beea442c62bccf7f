"""Searches in the holdings: a SearchQuery becomes constant SQL with parameters; all of it blocks."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Any, Final

import orjson

from nugetproxy.nuget.synthesis.search import Hit
from nugetproxy.nuget.synthesis.search_query import Field, SearchQuery, Term, Word
from nugetproxy.store.holdings.rows import facts_numbered, hidden_from, seen_with
from nugetproxy.store.sqlite_form import transaction

_WEIGHTS: Final = "12, 8, 6, 5, 2, 1, 2, 1"
"""Of the columns of ``words`` in their order, for bm25."""
_BEGINNINGS: Final = "{id parts title tags}"
"""Columns in which the beginning of a word is enough; in the others it would find too much."""
_WHOLE: Final = "{authors owners summary description}"
_ID: Final = "{id parts}"
_COLUMNS: Final = {
    Field.ID: _ID,
    Field.TITLE: "{title}",
    Field.TAGS: "{tags}",
    Field.AUTHORS: "{authors}",
    Field.OWNERS: "{owners}",
    Field.SUMMARY: "{summary}",
    Field.DESCRIPTION: "{description}",
}
_BY_BEGINNING: Final = frozenset({Field.ID, Field.TITLE})
_NOTHING: Final = ""
"""The expression that finds nothing."""

_VERSIONS: Final = """
    SELECT full, downloads, number FROM packages
    WHERE id = :id AND NOT needs & :hidden
        AND (:versions IS NULL OR version IN (SELECT value FROM json_each(:versions)))
    ORDER BY ordering
"""
_NAMED: Final = """
    WHEN packages.id = :name THEN 0
    WHEN :name <> '' AND substr(packages.id, 1, length(:name)) = :name THEN 1
"""
_IN_ID: Final = "WHEN packages.number IN (SELECT rowid FROM words WHERE words MATCH :in_id) THEN 2"
_TIER: Final = f"CASE {_NAMED} {_IN_ID} ELSE 3 END"
_QUICK_TIER: Final = f"CASE {_NAMED} ELSE 2 END"
"""Right for what is 0 or 1 by it."""
_PAGE: Final = "SELECT packages.id, packages.name, {tier} AS tier {body} ORDER BY {order} LIMIT :take OFFSET :skip"
_BROWSE_ORDER: Final = "packages.downloads DESC, packages.id"
_FOUND_ORDER: Final = f"tier, bm25(words, {_WEIGHTS}), packages.id"
_CROWD_ORDER: Final = f"tier, {_BROWSE_ORDER}"
_CROWD: Final = 10_000
"""Ids found from which on bm25, at more than 1 us each, is not worth its time: such a search names nothing."""


def search(connection: sqlite3.Connection, query: SearchQuery) -> tuple[int, tuple[Hit, ...]]:
    """The exact number of ids found, with those that ``skip`` and ``take`` leave. Raises UnsoundFile."""
    with transaction(connection, "DEFERRED"):
        total, found = _find(connection, query, _expression(query))
        return total, tuple(_hit(connection, query, id_) for id_, _ in found)


def autocomplete(connection: sqlite3.Connection, query: SearchQuery) -> tuple[int, tuple[str, ...]]:
    """Ids in which words begin with those asked for; or, with ``query.id``, all versions of that id, ascending."""
    with transaction(connection, "DEFERRED"):
        if query.id is not None:
            versions = tuple(full for full, _, _ in _versions(connection, query, query.id))
            return len(versions), versions
        total, found = _find(connection, query, _expression(query, only_ids=True))
        return total, tuple(name for _, name in found)


def _find(
    connection: sqlite3.Connection, query: SearchQuery, expression: str | None
) -> tuple[int, list[tuple[str, str]]]:
    """(id, id as spelled) of the page that is asked for; ``expression`` None looks at no words."""
    if expression == _NOTHING:
        return 0, []
    parameters: dict[str, Any] = {
        "match": expression,
        "in_id": _all(_anywhere(term, _ID, _ID) for term in query.terms) or '""',
        "name": query.name,
        "ids": orjson.dumps(query.ids).decode(),
        "versions": orjson.dumps(query.versions).decode(),
        "hidden": hidden_from(_seen(query)),
        "type": query.package_type,
        "take": query.take,
        "skip": query.skip,
    }
    source = "packages"
    # A constant, because that is how SQLite recognises the partial indexes.
    where = [f"packages.newest & {1 << _seen(query)}"]
    if expression is not None:
        source = "words CROSS JOIN packages ON packages.number = words.rowid"
        where.append("words MATCH :match")
    if query.ids:
        where.append("packages.id IN (SELECT value FROM json_each(:ids))")
    if query.versions:
        where.append(
            "EXISTS (SELECT 1 FROM packages AS other WHERE other.id = packages.id AND NOT other.needs & :hidden"
            " AND other.version IN (SELECT value FROM json_each(:versions)))"
        )
    if query.package_type:
        where.append("packages.number IN (SELECT number FROM types WHERE type = :type)")
    body = f"FROM {source} WHERE {' AND '.join(where)}"
    total = int(connection.execute(f"SELECT count(*) {body}", parameters).fetchone()[0])
    if total <= query.skip or not query.take:
        return total, []
    found: list[tuple[str, str, int]] = []
    for tier, order in _orders(words=expression is not None, crowd=total >= _CROWD):
        found = connection.execute(_PAGE.format(tier=tier, body=body, order=order), parameters).fetchall()
        if found[-1][2] < 2:
            break
    return total, [(id_, name) for id_, name, _ in found]


def _orders(*, words: bool, crowd: bool) -> tuple[tuple[str, str], ...]:
    """The ways to find and order a page, one after the other until it is full of ids that begin as asked for."""
    if not words:
        return (("0", _BROWSE_ORDER),)
    # In a crowd there are mostly enough of those; then nobody needs to know where else the words are.
    return ((_QUICK_TIER, _CROWD_ORDER), (_TIER, _CROWD_ORDER)) if crowd else ((_TIER, _FOUND_ORDER),)


def _hit(connection: sqlite3.Connection, query: SearchQuery, id_: str) -> Hit:
    rows = _versions(connection, query, id_)
    return Hit(facts_numbered(connection, rows[-1][2]), tuple((full, downloads) for full, downloads, _ in rows))


def _versions(connection: sqlite3.Connection, query: SearchQuery, id_: str) -> list[tuple[str, int, int]]:
    """(full version, downloads, number) of what the searcher may see of an id and asks for, ascending."""
    versions = orjson.dumps(query.versions).decode() if query.versions else None
    parameters = {"id": id_, "hidden": hidden_from(_seen(query)), "versions": versions}
    return connection.execute(_VERSIONS, parameters).fetchall()


def _seen(query: SearchQuery) -> int:
    return seen_with(prerelease=query.prerelease, semver2=query.semver2)


# --- FTS5's query language: every word is quoted, so none of it can be an operator ---


def _expression(query: SearchQuery, *, only_ids: bool = False) -> str | None:
    """What ``words`` must match: None for no demand, ``_NOTHING`` for one that cannot be met."""
    if not query.terms and not query.scoped:
        return None
    plain = (_anywhere(term, _ID, _ID) if only_ids else _anywhere(term, _BEGINNINGS, _WHOLE) for term in query.terms)
    scoped = (_any(_in_field(term, field) for term in terms) for field, terms in query.scoped)
    return _all((*plain, *scoped))


def _anywhere(term: Term, beginnings: str, whole: str) -> str:
    """``term`` in any column of the two groups."""
    if term.phrase:
        columns = beginnings if beginnings == whole else ""
        return _phrase(term, columns)
    return _all(
        _any(
            (_word(word, beginnings, beginning=True), "" if whole == beginnings else f"{whole} : {_quoted(word.text)}")
        )
        for word in term.words
    )


def _in_field(term: Term, field: Field) -> str:
    columns = _COLUMNS[field]
    if term.phrase:
        return _phrase(term, columns)
    return _all(_word(word, columns, beginning=field in _BY_BEGINNING) for word in term.words)


def _phrase(term: Term, columns: str) -> str:
    if not term.words:
        return _NOTHING
    text = _quoted(" ".join(word.text for word in term.words))
    return f"{columns} : {text}" if columns else text


def _word(word: Word, columns: str, *, beginning: bool) -> str:
    star = " *" if beginning else ""
    whole = f"{columns} : {_quoted(word.text)}{star}"
    return _any((whole, _all(f"{columns} : {_quoted(part)}{star}" for part in word.parts)))


def _all(expressions: Iterable[str]) -> str:
    """AND; nothing if one of them finds nothing, or if there are none."""
    found = tuple(expressions)
    return f"({' AND '.join(found)})" if found and all(found) else _NOTHING


def _any(expressions: Iterable[str]) -> str:
    """OR of those that can find something."""
    found = tuple(expression for expression in expressions if expression)
    return f"({' OR '.join(found)})" if found else _NOTHING


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'
