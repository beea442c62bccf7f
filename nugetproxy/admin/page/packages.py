"""Packages are what the sources hold, as a person looks for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlencode

from nugetproxy.admin.desk import Desk
from nugetproxy.admin.page.viewer import Viewer
from nugetproxy.errors import NotFound, ProxyError
from nugetproxy.feeds.reading import ICON_SIGNATURES
from nugetproxy.nuget.client_config import lines_to_copy
from nugetproxy.nuget.facts import PackageFacts
from nugetproxy.nuget.identity import PackageIdentity, invariant_lower
from nugetproxy.nuget.kinds import Kind
from nugetproxy.nuget.synthesis.search_query import SearchQuery
from nugetproxy.sources.inspection import facts_of, files_of, holdings_of, text_of
from nugetproxy.sources.source import Source
from nugetproxy.store.history.reading import Pull, Use
from nugetproxy.store.holdings.holdings import Holdings

TAKE: Final = 30
SHOWN: Final = 8
LOOKED_AT: Final = 64
"""Pulls of which the shown ones are chosen: a package may be in several feeds."""
MAX_README: Final = 256 * 1024
"""Bytes that are shown."""
MAX_ICON: Final = 2**20
"""Bytes; NuGet allows as many."""
MAX_FILES: Final = 2000
MAX_USES: Final = 500


async def search(desk: Desk, viewer: Viewer, *, q: str) -> Mapping[str, Any]:
    """Held packages that are found by ``q``, each id once; raises HoldingsUnavailable."""
    query = SearchQuery.parse(urlencode({"q": q, "prerelease": "true", "semVerLevel": "2.0.0", "take": TAKE}))
    found: dict[str, dict[str, Any]] = {}
    total = 0
    for source, holdings in _held(desk, viewer):
        count, hits = await holdings.search(query)
        total += count
        for hit in hits:
            row = found.setdefault(hit.newest.identity.id, {**_short(hit.newest), "versions": 0, "sources": []})
            row["versions"] += len(hit.versions)
            row["sources"].append(source.name)
    return {"total": total, "packages": list(found.values())[:TAKE]}


def _held(desk: Desk, viewer: Viewer) -> list[tuple[Source, Holdings]]:
    pairs = ((source, holdings_of(source)) for source in viewer.sources(desk).values())
    return [(source, holdings) for source, holdings in pairs if holdings is not None]


def _short(facts: PackageFacts) -> dict[str, Any]:
    return {
        "id": facts.id,
        "version": facts.version,
        "description": (facts.summary or facts.description)[:300],
        "authors": facts.authors,
        "size": facts.size,
    }


async def newest_and_most_used(desk: Desk, viewer: Viewer) -> Mapping[str, Any]:
    """The packages that came last, and those that were asked for most often."""
    newest = _distinct(await desk.history.newest(viewer.feeds, LOOKED_AT))
    used = _distinct(await desk.history.most_used(viewer.feeds, LOOKED_AT))
    names = await _names(desk, viewer, {one.id for one in (*newest, *used)})
    return {"newest": [_pulled(one, names) for one in newest], "used": [_pulled(one, names) for one in used]}


def _distinct(pulls: Sequence[Pull]) -> Sequence[Pull]:
    return list({(one.id, one.version): one for one in reversed(pulls)}.values())[::-1][:SHOWN]


def _pulled(one: Pull, names: Mapping[str, str]) -> Mapping[str, Any]:
    return {
        "id": names.get(one.id, one.id),
        "version": one.version,
        "arrived": one.arrived,
        "times": one.times,
        "size": one.size,
    }


async def _names(desk: Desk, viewer: Viewer, ids: Iterable[str]) -> Mapping[str, str]:
    """Ids as their authors spell them, by those in lower case."""
    found: dict[str, str] = {}
    for id_ in ids:
        for source in viewer.sources(desk).values():
            if id_ not in found and (facts := await facts_of(source, id_)):
                found[id_] = facts[-1].id
    return found


async def package(desk: Desk, viewer: Viewer, *, id: str, version: str = "") -> Mapping[str, Any]:
    """All that is known of a held id, with one version of it (the newest, where none is named); raises NotFound."""
    held = await _versions(desk, viewer, id)
    facts, source = _chosen(held, id, version)
    return {
        **_short(facts),
        **_metadata(facts),
        "versions": [
            {
                "version": one.version,
                "size": one.size,
                "published": one.published,
                "listed": one.listed,
                "source": where.name,
            }
            for one, where in held
        ],
        "signature": await source.signatures.told(facts.identity),
        **await _inside(source, facts),
        **await _used(desk, viewer, facts),
        "lines": [list(line) for line in lines_to_copy(facts.id, facts.version, facts.type_names)],
    }


async def icon(desk: Desk, viewer: Viewer, *, id: str, version: str) -> tuple[str, bytes]:
    """The media type of a held package's icon with its bytes; raises NotFound, DiskFailure. Nobody is asked."""
    facts, source = _chosen(await _versions(desk, viewer, id), id, version)
    body = await text_of(source, facts.identity, Kind.ICON) if facts.has_icon else None
    for signature, type_ in ICON_SIGNATURES.items():
        if body is not None and body.startswith(signature) and len(body) <= MAX_ICON:
            return type_, body
    raise NotFound("This package has no icon that can be shown.")


async def _versions(desk: Desk, viewer: Viewer, id: str) -> list[tuple[PackageFacts, Source]]:
    """All that is held of an id, the highest version first."""
    sources = viewer.sources(desk).values()
    held = [(facts, source) for source in sources for facts in await facts_of(source, invariant_lower(id))]
    return sorted(held, key=lambda one: one[0].parsed, reverse=True)


def _chosen(held: Sequence[tuple[PackageFacts, Source]], id: str, version: str) -> tuple[PackageFacts, Source]:
    """One version of those, the first where none is named; raises NotFound."""
    wanted = PackageIdentity.parse(id, version) if version else None
    chosen = next((one for one in held if wanted is None or one[0].identity == wanted), None)
    if chosen is None:
        raise NotFound(
            f"No such package is held here{' in this version' if held else ''}; clients get it all the same."
        )
    return chosen


def _metadata(facts: PackageFacts) -> Mapping[str, Any]:
    return {
        "title": facts.title,
        "icon": facts.has_icon,
        "description": facts.description,
        "tags": facts.tags,
        "project": facts.project_url,
        "license": facts.license_expression,
        "license_url": facts.license_url,
        "types": list(facts.type_names),
        "listed": facts.listed,
        "published": facts.published,
        "dependencies": [
            {"framework": group.target_framework or "", "needs": [[one.id, one.range] for one in group.dependencies]}
            for group in facts.dependency_groups
        ],
    }


async def _inside(source: Source, facts: PackageFacts) -> Mapping[str, Any]:
    """Readme, licence, files; empty where the disk does not give them."""
    identity = facts.identity
    try:
        readme = await text_of(source, identity, Kind.README) if facts.has_readme else None
        terms = await text_of(source, identity, Kind.LICENSE) if facts.has_license else None
        files = await files_of(source, identity)
    except ProxyError as error:
        return {"readme": "", "license_text": "", "files": [], "more_files": 0, "unreadable": str(error)}
    return {
        "readme": _text(readme),
        "license_text": _text(terms),
        "files": [list(one) for one in sorted(files)[:MAX_FILES]],
        "more_files": max(0, len(files) - MAX_FILES),
        "unreadable": "",
    }


def _text(body: bytes | None) -> str:
    return (body or b"")[:MAX_README].decode("utf-8", "replace").lstrip("\ufeff")


async def _used(desk: Desk, viewer: Viewer, facts: PackageFacts) -> Mapping[str, Any]:
    """Who uses the id: names and addresses for administrators, numbers for everybody."""
    pulls = await desk.history.pulls_of(facts.identity.id, viewer.feeds)
    uses = [one for one in await desk.history.uses(facts.identity.id, "") if one.feed in viewer.feeds]
    return {
        "pulls": {one.version: one.times for one in pulls},
        "users": len({(one.token, one.client) for one in uses}),
        "uses": [_use(one) for one in uses[:MAX_USES]] if viewer.admin else None,
        "keeps_usage": desk.history.usage > 0,
    }


def _use(one: Use) -> Mapping[str, Any]:
    return {
        "version": one.version,
        "feed": one.feed,
        "token": one.token,
        "client": one.client,
        "first": one.first,
        "last": one.last,
        "times": one.times,
    }
