"""SourceTraits is what one source says of the versions of an id: since when they exist, what became of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from cachetools import LRUCache
from msgspec import Struct, field
from msgspec.structs import replace

from nugetproxy.clock import Clock
from nugetproxy.errors import ProxyError
from nugetproxy.feeds.advisories import own_route
from nugetproxy.feeds.reading import Reading
from nugetproxy.feeds.registration_parts import Part, Parts
from nugetproxy.feeds.source_answer import SourceAnswer, first_failure
from nugetproxy.nuget.documents.exact_json import InvalidDocument
from nugetproxy.nuget.documents.statements import Statement, seconds, statements
from nugetproxy.nuget.kinds import Kind
from nugetproxy.nuget.resources import GZ_SEMVER2
from nugetproxy.nuget.rules import Traits, severity_place
from nugetproxy.nuget.version import Version
from nugetproxy.off_loop import off_loop
from nugetproxy.sources.source import Source
from nugetproxy.store.ledger.ledger import Ledger, LedgerUnavailable

STATEMENTS: Final = 50_000
"""Of registration documents, that are kept."""
LEAVES_AT_ONCE: Final = 8


class SourceTraits(Struct, frozen=True, kw_only=True):
    """What a source says of an id."""

    source: str
    traits: Mapping[Version, Traits] = field(default_factory=dict)
    failure: ProxyError | None = None
    """Why not all of that could be had, of its registration or the catalog."""
    seen_at: float | None = None
    """Wall time at which its registration was as it is, where it is sure to have been; None where it is not."""


class TraitsReader:
    """Reads the registrations of the sources of one feed for what rules look at."""

    def __init__(
        self,
        reading: Reading,
        *,
        dated_by: Mapping[str, Source],
        may_ask: Callable[[str], bool],
        ledger: Ledger,
        clock: Clock,
        oldest: float,
    ) -> None:
        """``dated_by``: source -> another one that says when its versions came into the world, for ids that it
        ``may_ask`` for. What is ``oldest`` seconds old is old enough for every rule.
        """
        self._reading = reading
        self._parts = Parts(reading)
        self._dated_by = dated_by
        self._may_ask = may_ask
        self._ledger = ledger
        self._clock = clock
        self._oldest = oldest
        self._read: LRUCache[tuple[str, str], tuple[Statement, ...]] = LRUCache(
            STATEMENTS, lambda found: 1 + len(found)
        )

    async def traits(self, source: Source, id_: str, base: str, *, exact: bool) -> SourceTraits:
        """Of an id (lower case); ``exact`` as in ``Dossiers.of``."""
        try:
            part = await self._parts.read(source, GZ_SEMVER2, id_, base)
        except ProxyError as failure:
            told = SourceTraits(source=source.name, failure=failure)
            return await self._with_other_dates(source, id_, base, told, exact)
        found = await self._statements(part, id_)
        failures: list[ProxyError | None] = [one.failure for one in part.said]
        told = SourceTraits(
            source=source.name,
            traits=await self._traits(source, id_, part, found, base, exact=exact, failures=failures),
            failure=first_failure(failures),
            seen_at=_seen_at(part),
        )
        return await self._with_other_dates(source, id_, base, told, exact)

    async def _statements(self, part: Part, id_: str) -> dict[Version, Statement]:
        found: dict[Version, Statement] = {}
        for said in part.said:
            for one in await self._of_document(said, id_):
                version = Version.parse(one.identity.version)
                if version is not None and one.identity.id == id_:
                    found[version] = one
        return found

    async def _of_document(self, said: SourceAnswer, id_: str) -> tuple[Statement, ...]:
        known: tuple[Statement, ...] | None = self._read.get((said.etag, id_))
        if known is None:
            try:
                known = await off_loop(len(said.body), statements, Kind.REGISTRATION, said.body, id_)
            except InvalidDocument:
                known = ()
            if len(known) < STATEMENTS // 4:
                self._read[said.etag, id_] = known
        return known

    async def _traits(
        self,
        source: Source,
        id_: str,
        part: Part,
        found: Mapping[Version, Statement],
        base: str,
        *,
        exact: bool,
        failures: list[ProxyError | None],
    ) -> dict[Version, Traits]:
        """Of the versions that a registration names; what keeps one from being dated goes into ``failures``."""
        made = any(one.made for one in part.said)
        traits = {version: _traits_of(one, made=made) for version, one in found.items()}
        if made:
            known = await self._facts(source, id_)
            return {version: replace(one, date=known.get(version.url)) for version, one in traits.items()}
        settled = self._clock.now() - self._oldest
        wanted: dict[Version, Statement] = {}
        for version, one in found.items():
            committed = seconds(one.committed)
            if traits[version].date is None and committed is not None and committed <= settled and not exact:
                traits[version] = replace(traits[version], date=committed)
            elif traits[version].date is None and one.details:
                wanted[version] = one
        created = await self._created(source, tuple(wanted.values()), base, failures)
        for version, date in zip(wanted, created, strict=True):
            traits[version] = replace(traits[version], date=date)
        return traits

    async def _facts(self, source: Source, id_: str) -> dict[str, float | None]:
        """When held versions (in URL form) were published, as far as upstream has ever said it."""
        try:
            return {one.identity.version: seconds(one.published) for one in await self._ledger.facts(source.name, id_)}
        except LedgerUnavailable:  # logged
            return {}

    async def _created(
        self, source: Source, wanted: tuple[Statement, ...], base: str, failures: list[ProxyError | None]
    ) -> list[float | None]:
        """When versions came into the world of which the registration hides it, as it does of what is unlisted."""
        turns = asyncio.Semaphore(LEAVES_AT_ONCE)

        async def ask(one: Statement) -> float | None:
            route = own_route(one.details.removeprefix(base))
            if route is None:
                return None
            async with turns:
                try:
                    said = await self._reading.said(source, route, "", base)
                    told = () if said.absent else statements(Kind.CATALOG_LEAF, said.body)
                except ProxyError as failure:
                    failures.append(failure)
                    return None
            return next((seconds(leaf.created) for leaf in told if leaf.identity == one.identity), None)

        return list(await asyncio.gather(*(ask(one) for one in wanted)))

    async def _with_other_dates(
        self, source: Source, id_: str, base: str, told: SourceTraits, exact: bool
    ) -> SourceTraits:
        """With the dates of whom the source has its packages from, where that one knows the version."""
        other = self._dated_by.get(source.name)
        if other is None or not self._may_ask(id_):
            return told
        theirs = await self.traits(other, id_, base, exact=exact)
        dated = {
            version: replace(told.traits.get(version, Traits()), date=one.date)
            for version, one in theirs.traits.items()
            if one.date is not None and (version in told.traits or told.failure is not None)
        }
        return replace(told, traits={**told.traits, **dated}, failure=told.failure or theirs.failure)


def _traits_of(one: Statement, *, made: bool) -> Traits:
    severities = [severity_place(known.get("severity")) for known in one.vulnerabilities]
    return Traits(
        date=seconds(one.published),
        listed=one.listed,
        deprecation=one.deprecation,
        severity=max((one for one in severities if one is not None), default=None),
        license=one.license if one.license or made else None,
    )


def _seen_at(part: Part) -> float | None:
    documents = (part.absent,) if part.absent is not None else part.said
    times = [one.stored_at for one in documents if one.certain and not one.made and one.stored_at is not None]
    return min(times) if documents and len(times) == len(documents) else None
