"""Versions finds out which versions of an id a feed of several sources has, and who owns each."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol
from urllib.parse import quote

from cachetools import LRUCache
from msgspec import Struct

from nugetproxy.errors import NotFound, ProxyError, UpstreamFailure
from nugetproxy.feeds.guard import Candidates, Guard
from nugetproxy.feeds.owners import Owners
from nugetproxy.feeds.source_answer import (
    ABSENT,
    SourceAnswer,
    SourceFailed,
    SourceUncertain,
    absent_answer,
    cancel_all,
    outcome_of,
)
from nugetproxy.nuget.documents.version_list import listed_versions
from nugetproxy.nuget.merging.versions import MergedVersions, SourceDocument, merge_versions
from nugetproxy.nuget.routes import Route, parse_route
from nugetproxy.sources.source import Source

EMPTY = b'"versions":[]'
"""In a rendered list without a version."""
MERGED = 4096
"""Lists that are kept, by what they were made of."""


class Listed(Struct, frozen=True, kw_only=True):
    """The versions of one id."""

    body: bytes
    owners: Mapping[str, str]
    """Version in URL form -> the name of its source."""
    recorded: Mapping[str, str]
    """The same, also of what its owner does not list any more."""
    said: tuple[SourceAnswer, ...]
    """By the sources that know the id and serve it, in the feed's order; at least one."""
    asked: tuple[SourceAnswer, ...]
    """By all that had to be asked."""


class Tells(Protocol):
    """How the sources are asked."""

    async def said(self, source: Source, route: Route, query: str, base: str) -> SourceAnswer:
        """What a source says to ``route``; raises ProxyError where it cannot."""


class Versions:
    """The version lists of one feed."""

    def __init__(self, feed: str, reading: Tells, guard: Guard, owners: Owners) -> None:
        self._feed = feed
        self._reading = reading
        self._guard = guard
        self._owners = owners
        self._merged: LRUCache[tuple[object, ...], MergedVersions] = LRUCache(MERGED)

    async def of(self, id_: str, base: str) -> Listed:
        """Of an id (lower case), the links of what is said leading to ``base``.

        Raises NotFound, with the sentence why, where no source has it; SourceFailed where it cannot be told.
        """
        candidates = self._guard.candidates(id_)
        if not candidates.asked:
            raise NotFound(nobody(self._feed, id_, candidates))
        said = await self._ask(id_, candidates, base)
        known = tuple(one for one in said if not one.absent)
        if not known:
            raise NotFound(nobody(self._feed, id_, self._guard.candidates(id_)))
        # What was learnt may have narrowed down who counts.
        valid = self._guard.candidates(id_).names()
        recorded = {version: one.source for version, one in (await self._owners.of(id_)).items() if one.source in valid}
        key = (id_, tuple((one.source.name, one.etag) for one in known), tuple(sorted(recorded.items())))
        merged = self._merged.get(key)
        if merged is None:
            merged = merge_versions([SourceDocument(one.source.name, one.body) for one in known], recorded)
            assert merged is not None, "somebody knows the id"
            self._merged[key] = merged
        if self._owners.lacks(id_, recorded, merged.owners):
            await self._owners.record(id_, merged.owners, valid=valid)
        whole = {**recorded, **merged.owners}
        return Listed(body=merged.body, owners=merged.owners, recorded=whole, said=known, asked=said)

    async def _ask(self, id_: str, candidates: Candidates, base: str) -> tuple[SourceAnswer, ...]:
        """What those say who count; raises SourceFailed where one of them fails."""
        route = list_route(id_)
        tasks = [
            asyncio.ensure_future(self._said(source, route, base))
            for source in (*candidates.private, *(one for one in candidates.asked if one not in candidates.private))
        ]
        try:
            return await self._heard(id_, candidates, tasks)
        finally:
            await cancel_all(tasks)

    async def _said(self, source: Source, route: Route, base: str) -> SourceAnswer:
        """What a source lists; an empty list, which some have of every id, says that it does not know it."""
        said = await self._reading.said(source, route, "", base)
        if EMPTY in said.body:
            return absent_answer(source, said.status, said.stored_at)
        return said

    async def _heard(
        self, id_: str, candidates: Candidates, tasks: Sequence[asyncio.Future[SourceAnswer]]
    ) -> tuple[SourceAnswer, ...]:
        decisive = len(candidates.private)
        private = [_doubted(await outcome_of(task)) for task in tasks[:decisive]]
        answers = [one for one in private if isinstance(one, SourceAnswer)]
        knowing = [one for one in answers if not one.absent or await _is_stored(one, id_)]
        for one in knowing:
            self._guard.learn(one.source, id_)
        if knowing:  # from now on it is theirs, so nobody else is waited for
            return self._all(private, candidates.private, "Other private sources may have other versions of it.")
        if any(isinstance(one, ProxyError) for one in private) and not await self._is_public(id_, candidates):
            self._all(private, candidates.private, f"{id_} may be its own, so no public source may serve it.")
        public = [await outcome_of(task) for task in tasks[decisive:]]
        others = tuple(one for one in candidates.asked if one not in candidates.private)
        why = "A list without its versions would change which version is restored."
        return (*(one for one in private if isinstance(one, SourceAnswer)), *self._all(public, others, why))

    def _all(
        self, found: Sequence[SourceAnswer | ProxyError], sources: Sequence[Source], why: str
    ) -> tuple[SourceAnswer, ...]:
        for one in found:
            if isinstance(one, UpstreamFailure):
                raise SourceFailed(self._feed, one, why) from one
            if isinstance(one, ProxyError):
                raise one
        return tuple(one for one in found if isinstance(one, SourceAnswer))

    async def _is_public(self, id_: str, candidates: Candidates) -> bool:
        """Whether a public source is known to own the id."""
        names = {source.name for source in candidates.public}
        return any(owner.source in names for owner in (await self._owners.of(id_)).values())


def _doubted(found: SourceAnswer | ProxyError) -> SourceAnswer | ProxyError:
    """A private source's word that it has no such package counts while it is fresh."""
    if isinstance(found, SourceAnswer) and found.absent and not found.certain:
        return SourceUncertain(found.source.name)
    return found


async def _is_stored(absent: SourceAnswer, id_: str) -> bool:
    """Whether a source that is offline has said that it has an id, of which it holds nothing."""
    stored = await absent.source.stored(list_route(id_)) if absent.status is ABSENT else None
    return stored is not None and not stored.entry.absent and bool(listed_versions(stored.body))


def list_route(id_: str) -> Route:
    """Where the version list of an id is; raises NotFound for what no package can be called."""
    route = parse_route(f"content/{quote(id_, safe='')}/index.json")
    if route is None:
        raise NotFound("No package can have this id.")
    return route


def nobody(feed: str, id_: str, candidates: Candidates) -> str:
    """Why no source has an id."""
    if not candidates.mapped:
        rule = candidates.rule
        why = "no pattern of its mapping matches it" if rule is None else f"{rule.pattern} is mapped to no source of it"
        return f"The feed {feed!r} has no source for {id_}: {why}."
    if candidates.claimed:
        claimed = ", ".join(sorted(candidates.claimed))
        who = f"It is claimed by {claimed}, so no public source is asked; 'nugetproxy claims release {id_}' ends that."
        if not candidates.asked:
            return f"The feed {feed!r} has no source for {id_}. {who}"
        return f"None of the sources of the feed {feed!r} that are asked for {id_} has it. {who}"
    return f"No source of the feed {feed!r} has {id_}; asked: {names_of(candidates.asked)}."


def names_of(sources: Iterable[Source]) -> str:
    """For whoever is told that these have no such thing: one that is offline may have it."""
    return ", ".join(f"{one.name} (offline)" if one.offline else one.name for one in sources)
