"""The answers of several sources to one search."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest
from typing import Any, Final
from urllib.parse import quote, unquote_plus

from msgspec import Struct

from nugetproxy.nuget.documents.exact_json import InvalidDocument, as_object, dumps, loads, loads_exact, objects
from nugetproxy.nuget.documents.total_hits import total_hits
from nugetproxy.nuget.identity import invariant_lower
from nugetproxy.nuget.merging.versions import Owners, SourceDocument
from nugetproxy.nuget.version import Version

Json = dict[str, Any]
Suppressed = Callable[[str, str], bool]
"""(source, lower-case id) -> True where this source may not speak of it: another one has claimed the id."""

TAKE: Final = 20
"""What a client gets that does not say how many (nuget.org's default)."""
MAX_TAKE: Final = 1000
"""What nuget.org gives at once: asked for more, it gives 20, others a 400. So far one can look into a merged answer, as
every source is asked for all that comes before.
"""


class Window(Struct, frozen=True):
    """The part of a search result that a client asks for."""

    query: str
    """For each source: the client's query, from the first hit on to the last that may be needed, and is to be had."""
    skip: int
    take: int

    def wide(self, hits: int) -> str:
        """``query`` for so many hits from the first one on."""
        return f"{self.query.rpartition('=')[0]}={hits}"


def window_of(query: str) -> Window:
    """What the raw ``query`` of a search or autocompletion asks for; out-of-range numbers become the nearest."""
    kept: list[str] = []
    numbers = {"skip": 0, "take": TAKE}
    for part in query.split("&"):
        name, _, value = part.partition("=")
        name = unquote_plus(name).lower()
        if name not in numbers:
            kept.append(part)
        elif value.strip().isascii() and value.strip().isdigit():
            numbers[name] = int(value[:9])
    skip, take = numbers["skip"], min(numbers["take"], MAX_TAKE)
    rest = "&".join(part for part in kept if part)
    wide = f"skip=0&take={min(skip + take, MAX_TAKE)}"
    return Window(f"{rest}&{wide}" if rest else wide, skip, take)


def merge_search(
    answers: Sequence[SourceDocument], window: Window, *, base: str, hive: str, suppressed: Suppressed
) -> bytes:
    """One search result, its hits by rank, then in the feed's order; each id once, with the versions of all sources, as
    the one says it that has the newest.

    ``answers`` are rendered for the merged feed (base ``.../v3/``), to ``window.query``; those that failed are left
    out, as a search is advisory. ``totalHits`` is what nobody can know exactly: the sum without the duplicates seen.
    Raises InvalidDocument.
    """
    hits: dict[str, Json] = {}
    total = 0
    ranked: list[list[tuple[str, Json]]] = []
    for answer in answers:
        stated, data = _result(answer.body)
        total += stated
        ranked.append([(answer.source, hit) for hit in data if isinstance(hit, dict)])
    for source, hit in _by_rank(ranked):
        id_ = hit.get("id")
        key = invariant_lower(id_) if isinstance(id_, str) else ""
        if not key or suppressed(source, key):
            total -= 1
        elif key in hits:
            total -= 1
            hits[key] = _both(hits[key], hit)
        else:
            hits[key] = hit
    shown = list(hits.items())[window.skip : window.skip + window.take]
    data = [_placed(hit, f"{base}{hive}/{quote(key)}") for key, hit in shown]
    context = {"@vocab": "http://schema.nuget.org/schema#"}
    return dumps({"@context": context, "totalHits": _at_least(total, window, len(data)), "data": data})


def found_ids(body: bytes) -> tuple[str, ...]:
    """The ids (lower case) that a search result or an autocompletion of ids names. Raises InvalidDocument."""
    found = (hit.get("id") if isinstance(hit, dict) else hit for hit in _result(body)[1])
    return tuple(invariant_lower(id_) for id_ in found if isinstance(id_, str) and id_)


def merge_ids(answers: Sequence[SourceDocument], window: Window, *, suppressed: Suppressed) -> bytes:
    """One autocompletion of ids, as ``merge_search`` does it. Raises InvalidDocument."""
    total = 0
    ranked: list[list[tuple[str, str]]] = []
    for answer in answers:
        stated, data = _result(answer.body)
        total += stated
        ranked.append([(answer.source, id_) for id_ in data if isinstance(id_, str)])
    found: dict[str, str] = {}
    for source, id_ in _by_rank(ranked):
        key = invariant_lower(id_)
        if key in found or suppressed(source, key):
            total -= 1
        else:
            found[key] = id_
    shown = list(found.values())[window.skip : window.skip + window.take]
    return dumps({"totalHits": _at_least(total, window, len(shown)), "data": shown})


def merge_id_versions(answers: Sequence[SourceDocument], owners: Owners) -> bytes:
    """One autocompletion of the versions of an id: as their owners say it, ascending. Raises InvalidDocument."""
    found: dict[Version, str] = {}
    for answer in answers:
        for text in _result(answer.body)[1]:
            version = _version(text)
            if version is not None and owners.get(version.url) == answer.source:
                found.setdefault(version, text)
    return dumps({"totalHits": len(found), "data": [found[version] for version in sorted(found)]})


def _result(body: bytes) -> tuple[int, list[Any]]:
    """What ``totalHits`` says, with the data; not everybody says it."""
    document = as_object(loads(body), "a search result")
    return max(total_hits(document) or 0, 0), data_of(loads_exact(body))


def data_of(document: Json) -> list[Any]:
    """What a search or an autocompletion has found; raises InvalidDocument."""
    data = document.get("data")
    if not isinstance(data, list):
        raise InvalidDocument("a search result has no list called data")
    return data


def _by_rank(ranked: Sequence[Sequence[tuple[str, Any]]]) -> Iterator[tuple[str, Any]]:
    for row in zip_longest(*ranked):
        yield from (found for found in row if found is not None)


def _at_least(total: int, window: Window, shown: int) -> int:
    return max(total, window.skip + shown if shown else 0)


def _both(mine: Json, theirs: Json) -> Json:
    """One hit of two: that of the newest version, of equal ones mine, with the versions of both."""
    newest = max(mine, theirs, key=_newest)
    return {**newest, "versions": _united(mine.get("versions"), theirs.get("versions"))}


def _newest(hit: Json) -> tuple[Version, ...]:
    """What a hit stands for; empty where it does not say it."""
    version = _version(hit.get("version"))
    return () if version is None else (version,)


def _version(stated: object) -> Version | None:
    return Version.parse(stated) if isinstance(stated, str) else None


def _united(mine: Any, theirs: Any) -> list[Any]:
    """The versions of two hits of one id, ascending; of equal ones mine."""
    found: dict[Version, Any] = {}
    for listed in (mine, theirs):
        for item in objects(listed):
            version = _version(item.get("version"))
            if version is not None:
                found.setdefault(version, item)
    return [found[version] for version in sorted(found)]


def _placed(hit: Json, folder: str) -> Json:
    """``hit`` with links to the merged registration, whatever hive its source names."""
    index = f"{folder}/index.json"
    placed = {**hit, "@id": index, "registration": index}
    placed.pop("verified", None)  # a promise of one registry about its own prefixes
    versions = hit.get("versions")
    if isinstance(versions, list):
        placed["versions"] = [_version_placed(item, folder) for item in versions]
    return placed


def _version_placed(item: Any, folder: str) -> Any:
    version = _version(item.get("version") if isinstance(item, dict) else None)
    return item if version is None else {**item, "@id": f"{folder}/{version.url}.json"}
