"""Cut searches are those of a feed without the ids, the versions that its rules hide."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from msgspec.structs import replace

from nugetproxy.engine.tasks import first_failure
from nugetproxy.errors import NotFound
from nugetproxy.feeds.asked import Asked, Cut, Inner, body_of
from nugetproxy.feeds.judge import Judge, Ruling
from nugetproxy.feeds.rendering import Rendering
from nugetproxy.feeds.reply import View
from nugetproxy.feeds.versions import list_route
from nugetproxy.nuget.documents import filtered
from nugetproxy.nuget.documents.exact_json import dumps, loads
from nugetproxy.nuget.documents.render import Rendered
from nugetproxy.nuget.kinds import Kind
from nugetproxy.nuget.merging.search import MAX_TAKE, window_of
from nugetproxy.nuget.rules import Traits
from nugetproxy.nuget.synthesis.search_query import SearchQuery
from nugetproxy.nuget.version import Version
from nugetproxy.off_loop import off_loop

LEAST_WIDTH: Final = 20
"""Hits that are asked for at least, where some of those before them are hidden."""
IDS_AT_ONCE: Final = 8
"""Of which is learnt at the same time what is known of them."""


async def rulings_of(judge: Judge, named: Mapping[str, Sequence[Version]], because: str) -> dict[str, Ruling]:
    """Those of several ids, with the versions that something names of them."""
    turns = asyncio.Semaphore(IDS_AT_ONCE)

    async def ask(id_: str, versions: Sequence[Version]) -> Ruling:
        async with turns:
            return await judge.ruling(id_, named=versions, because=because)

    with first_failure():
        async with asyncio.TaskGroup() as group:
            asked = {id_: group.create_task(ask(id_, named[id_]), name=f"ruling {id_}") for id_ in named}
    return {id_: one.result() for id_, one in asked.items()}


class CutSearches:
    """Searches and autocompletions of ids, of one feed."""

    def __init__(self, judge: Judge, inner: Inner, rendering: Rendering) -> None:
        self._judge = judge
        self._inner = inner
        self._rendering = rendering

    async def read(self, asked: Asked, query: SearchQuery) -> Cut:
        """The page that was asked for, out of all that is left; ``asked.reply`` has all hits up to its end."""
        window = window_of(asked.query)
        width = window.skip + window.take
        while True:
            found = await off_loop(len(asked.body), filtered.hits_of, asked.body)
            rulings = await rulings_of(self._judge, found, asked.etag)
            kept = {id_ for id_ in found if await self._is_left(asked, query, rulings[id_], found[id_])}
            if len(kept) >= window.skip + window.take or len(found) < width or width >= MAX_TAKE:
                break
            width = min(max(2 * width, LEAST_WIDTH), MAX_TAKE)
            reply = await self._inner(asked.route, window.wide(width), asked.view)
            if reply.status != 200:
                break
            asked = replace(asked, reply=reply, body=body_of(reply))

        def exists(id_: str, version: Version) -> bool:
            return rulings[id_].of(version).visible

        told = _Told(rulings)

        async def make() -> Rendered:
            if asked.reply.kind is Kind.SEARCH:
                return Rendered(filtered.search_without_versions(asked.body, window, exists, told))
            return Rendered(filtered.ids_without_versions(asked.body, window, kept.__contains__))

        digests = (ruling.digest for ruling in rulings.values())
        made_of = (asked.etag, *sorted(kept), *digests, told.of_newest(found, exists))
        page = await self._rendering.merged(asked.place, made_of, [asked.body], make)
        return Cut(reply=asked.reply, page=page, rulings=tuple(rulings.values()))

    async def _is_left(self, asked: Asked, query: SearchQuery, ruling: Ruling, named: Sequence[Version]) -> bool:
        """Whether an id that was found has a version left."""
        if asked.reply.kind is Kind.SEARCH:
            return any(ruling.of(version).visible for version in named)
        return await self._completes(ruling, query, asked.view)

    async def _completes(self, ruling: Ruling, query: SearchQuery, view: View) -> bool:
        """Whether a version is left that whoever types may be led to."""
        if not ruling.rules and ruling.dossier is None:
            return True
        traits = dict(ruling.dossier.traits) if ruling.dossier is not None else await self._known(ruling.id, view)
        return any(
            ruling.of(version).visible
            and one.listed is not False
            and (query.prerelease or not version.is_prerelease)
            and (query.semver2 or not version.is_semver2)
            for version, one in traits.items()
        )

    async def _known(self, id_: str, view: View) -> dict[Version, Traits]:
        """The versions of an id whose rules look at nothing else."""
        try:
            reply = await self._inner(list_route(id_), "", view)
        except NotFound:
            return {}
        named = filtered.listed(body_of(reply)).named if reply.status == 200 else ()
        return {one.version: Traits() for one in named}


class _Told:
    """What is known of the version that stands for an id in a search result, in place of a newer one."""

    def __init__(self, rulings: Mapping[str, Ruling]) -> None:
        self._rulings = rulings

    def __call__(self, id_: str, version: Version) -> filtered.Json:
        dossier = self._rulings[id_].dossier
        traits = dossier.traits.get(version, Traits()) if dossier is not None else Traits()
        severity = str(traits.severity or 0)
        known = [{"advisoryUrl": url, "severity": severity} for url in sorted(traits.advisories)]
        said = {"deprecation": loads((traits.deprecation or "").encode())} if traits.is_deprecated else {}
        return {"vulnerabilities": known, **said}

    def of_newest(self, found: Mapping[str, Sequence[Version]], exists: filtered.Exists) -> bytes:
        """What may have to be said of the newest version of each id that is left."""
        left = {id_: [version for version in named if exists(id_, version)] for id_, named in found.items()}
        return dumps([self(id_, max(versions)) for id_, versions in left.items() if versions])
