"""Dossiers are what is known of the versions of an id, as far as the rules of a feed look at it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping, Set
from types import MappingProxyType
from typing import Final
from weakref import WeakValueDictionary

import structlog
from cachetools import LRUCache
from msgspec import Struct, field
from msgspec.structs import replace

from nugetproxy.clock import Clock
from nugetproxy.engine.standing import Validity
from nugetproxy.errors import ProxyError
from nugetproxy.feeds.advisory_book import AdvisoryBook
from nugetproxy.feeds.source_answer import SourceAnswer, ask_all, first_failure
from nugetproxy.feeds.version_traits import SourceTraits, TraitsReader
from nugetproxy.metrics import Metrics
from nugetproxy.nuget.documents.advisories import Advisory
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.nuget.rules import Traits, severity_place
from nugetproxy.nuget.version import Version
from nugetproxy.sources.source import Source
from nugetproxy.store.ledger.ledger import Ledger, LedgerUnavailable, Sighting

log = structlog.get_logger(__name__)

BASE: Final = "http://dossier.invalid/v3/"
"""Where documents are rendered for that are read here and sent to nobody."""
REMEMBERED: Final = 200_000
"""Versions of which is in memory what is known; some 60 MiB."""
REMEMBERED_SECONDS: Final = 300.0
"""As long as a version list is fresh (``Kind.VERSIONS``)."""
MANY: Final = 300
"""Versions that are looked at in some milliseconds."""
AGAIN_SECONDS: Final = 5.0
"""After what could not be learnt."""
APART_SECONDS: Final = 3600.0
"""Between the two times that a version is seen to be gone, before it counts as withdrawn."""


class Listing(Struct, frozen=True, kw_only=True):
    """Which versions of an id a feed has, by whom."""

    owners: Mapping[str, str]
    """Version in URL form -> the name of its source."""
    sources: tuple[Source, ...]
    """Those that know the id, in the feed's order; of an id that nobody knows, those that may be asked for it."""
    asked: tuple[SourceAnswer, ...] = ()
    """What they said of the versions that they have."""


class Dossier(Struct, kw_only=True):
    """What is known of the versions of one id."""

    traits: Mapping[Version, Traits] = field(default_factory=dict)
    until: float = 0.0
    """Monotonic time from which it is made anew, where it cannot be renewed."""
    last: float = 0.0
    """Monotonic time up to which it can be: while there are no other advisories."""
    advisories: int = 0
    """Which ones it knows, as ``AdvisoryBook.changes`` counts them."""
    stamp: Hashable = ()
    made: float = 0.0
    """Monotonic time."""
    sighted: frozenset[Version] = frozenset()
    """Those of which nobody says since when they exist."""
    failure: ProxyError | None = None
    """Why not all of it could be learnt."""
    validity: Validity = field(default_factory=Validity)


Told = Mapping[str, SourceTraits]
Lists = Callable[[str, str], Awaitable[Listing]]
"""(id in lower case, base) -> who has which version; raises UpstreamFailure, never NotFound."""


class Dossiers:
    """Those of one feed, made once per id, behind the freshness of its version list."""

    def __init__(
        self,
        *,
        lists: Lists,
        asked: Callable[[str], tuple[Source, ...]],
        traits: TraitsReader,
        book: AdvisoryBook | None,
        ledger: Ledger,
        clock: Clock,
        stamp: Callable[[], Hashable],
        metrics: Metrics,
        watches: bool,
    ) -> None:
        """``asked`` are the sources that may be asked for an id. ``book`` where advisories matter; ``watches`` for what
        is withdrawn; ``stamp`` changes with every write.
        """
        self._lists = lists
        self._asked = asked
        self._traits = traits
        self._book = book
        self._ledger = ledger
        self._clock = clock
        self._writes = stamp
        self.forgotten = 0
        """How often whatever was known had to be learnt anew."""
        self._watches = watches
        self._metrics = metrics
        self._known: LRUCache[tuple[str, bool], Dossier] = LRUCache(REMEMBERED, lambda one: 1 + len(one.traits))
        self._turns: WeakValueDictionary[Hashable, asyncio.Lock] = WeakValueDictionary()
        self._making: dict[tuple[str, bool], Validity] = {}
        """Of what is being learnt."""

    def fresh(self, id_: str, *, exact: bool) -> Dossier | None:
        """What is known of an id (lower case), if it need not be made anew."""
        known: Dossier | None = self._known.get((id_, exact))
        return known if known is not None and self.is_fresh(known) else None

    def forget(self) -> None:
        """Whatever is known counts no longer."""
        self.forgotten += 1
        if self._book is not None:
            self._book.forget()

    def outdate(self, id_: str) -> None:
        """What is known of an id (lower case), or is being learnt of it, counts no longer."""
        for key in ((id_, False), (id_, True)):
            known: Dossier | None = self._known.get(key)
            for validity in (known.validity if known is not None else None, self._making.get(key)):
                if validity is not None:
                    validity.ended = True

    def _stamp(self) -> Hashable:
        return (self.forgotten, self._writes())

    def is_fresh(self, dossier: Dossier) -> bool:
        """Whether it need not be made anew."""
        late = dossier.validity.ended or self._clock.monotonic() >= dossier.until
        return not late and dossier.stamp == self._stamp()

    async def renewed(self, dossier: Dossier) -> bool:
        """Whether it need not be made anew, although it was time to look for other advisories."""
        book, late = self._book, dossier.validity.ended or self._clock.monotonic() >= dossier.last
        if book is None or late or dossier.stamp != self._stamp():
            return False
        await book.pages(BASE)
        if dossier.advisories != book.changes:
            return False
        dossier.until = min(dossier.last, book.until)
        return self.is_fresh(dossier)

    async def of(self, id_: str, *, exact: bool, older: Dossier | None = None) -> Dossier:
        """What is known of an id (lower case); anew where it is still what ``older`` is.

        ``exact``: a date that is long enough ago for every rule is not enough.
        """
        known = self.fresh(id_, exact=exact)
        if known is not None and known is not older:
            return known
        async with self._turns.setdefault((id_, exact), asyncio.Lock()):
            known = self.fresh(id_, exact=exact)
            if known is None or known is older:
                validity = self._making[id_, exact] = Validity()
                try:
                    made = await self._make(id_, exact, self._known.get((id_, exact)))
                finally:
                    del self._making[id_, exact]
                known = self._known[id_, exact] = replace(made, validity=validity)
            return known

    async def _make(self, id_: str, exact: bool, before: Dossier | None) -> Dossier:
        stamp, listing = self._stamp(), None
        failure: ProxyError | None = None
        try:
            listing = await self._lists(id_, BASE)
        except ProxyError as error:
            failure = error
        sources = listing.sources if listing is not None else self._asked(id_)
        found = await ask_all(self._traits.traits(source, id_, BASE, exact=exact) for source in sources)
        told = {one.source: one for one in found if isinstance(one, SourceTraits)}
        failure = failure or first_failure((*found, *(one.failure for one in told.values())))
        known = self._book.changes if self._book is not None else 0
        advisories = await self._book.of(id_, BASE) if self._book is not None else ()
        owners = listing.owners if listing is not None else {}
        if len(owners) > MANY:
            traits = await asyncio.to_thread(_traits, owners, told, advisories)
        else:
            traits = _traits(owners, told, advisories)
        sighted = frozenset(version for version, one in traits.items() if one.date is None)
        traits = await self._noticed(id_, listing, told, traits, exact=exact)
        if before is not None and failure is not None:
            sighted = sighted.difference(before.traits) | before.sighted.difference(traits.keys() - sighted)
            traits = _with_dates_of(before, traits)
        now = self._clock.monotonic()
        last = now + (REMEMBERED_SECONDS if failure is None else AGAIN_SECONDS)
        return Dossier(
            traits=MappingProxyType(traits),
            until=last if self._book is None else min(last, self._book.until),
            last=last,
            advisories=known,
            stamp=stamp,
            made=now,
            sighted=sighted,
            failure=failure,
        )

    # --- what this proxy itself has noticed ---

    async def _noticed(
        self, id_: str, listing: Listing | None, told: Told, traits: dict[Version, Traits], *, exact: bool
    ) -> dict[Version, Traits]:
        """With the first sight of what nobody dates, with what is gone."""
        undated = {one.source for one in traits.values() if one.date is None}
        for source in undated | (set(told) if self._watches else set()):
            try:
                pinned = await self._ledger.pinned_versions(source, id_)
                sightings = await self._ledger.sightings(source, id_)
            except LedgerUnavailable:  # logged; what is not known stays too young
                continue
            held = frozenset(_parsed(one.version) for one in pinned)
            for version in [version for version, one in traits.items() if one.source == source and one.date is None]:
                first = self._first(source, PackageIdentity(id_, version.url), sightings)
                spared = version in held
                date = None if spared and not exact else first
                traits[version] = replace(traits[version], date=date, spared=spared, sighted=date is not None)
            if self._watches and listing is not None and source in told:
                traits |= self._gone(id_, listing, told[source], held - set(traits), sightings)
        return traits

    def _first(self, source: str, identity: PackageIdentity, sightings: Mapping[str, Sighting]) -> float:
        known = sightings.get(identity.version)
        if known is None:
            known = Sighting(self._clock.now())
            self._ledger.note_sighting(source, identity, known)
        return known.first

    def _gone(
        self, id_: str, listing: Listing, told: SourceTraits, missing: Set[Version], sightings: Mapping[str, Sighting]
    ) -> dict[Version, Traits]:
        """What was served, and is neither listed nor registered now."""
        found: dict[Version, Traits] = {}
        lists = [one for one in listing.asked if one.source.name == told.source]
        seen = [told.seen_at, *(one.stored_at if one.certain and not one.made else None for one in lists)]
        times = [at for at in seen if at is not None]
        certain = bool(lists) and len(times) == len(seen)
        for version in missing:
            identity = PackageIdentity(id_, version.url)
            noted = self._ledger.noted_sighting(told.source, identity)  # perhaps by another feed, a moment ago
            known = noted or sightings.get(version.url, Sighting(self._clock.now()))
            if certain and known.missing is None:
                known = replace(known, missing=min(times))
                self._ledger.note_sighting(told.source, identity, known)
            apart = certain and known.missing is not None and min(times) - known.missing >= APART_SECONDS
            if apart and known.withdrawn is None:
                known = replace(known, withdrawn=min(times))
                self._ledger.note_sighting(told.source, identity, known)
                self._tell(told.source, identity)
            found[version] = Traits(source=told.source, spared=True, withdrawn=known.withdrawn is not None)
        for url, known in sightings.items():
            if known.missing is not None and _parsed(url) not in missing and certain:
                back = replace(known, missing=None, withdrawn=None)
                self._ledger.note_sighting(told.source, PackageIdentity(id_, url), back)
        return found

    def _tell(self, source: str, identity: PackageIdentity) -> None:
        """Something was withdrawn; once, as the ledger remembers it."""
        self._metrics.rules.withdrawn.labels(source).inc()
        log.warning("version.withdrawn", upstream=source, id=identity.id, version=identity.version)


def _traits(owned: Mapping[str, str], told: Told, advisories: tuple[Advisory, ...]) -> dict[Version, Traits]:
    owners = {_parsed(url): source for url, source in owned.items()}
    for one in (one for one in told.values() if one.failure is None):
        for version in one.traits:
            owners.setdefault(version, one.source)
    return {
        version: _advised(told[source].traits.get(version, Traits()) if source in told else Traits(), source, mine)
        for version, source in owners.items()
        for mine in (tuple(one for one in advisories if one.concerns(version)),)
    }


def _advised(traits: Traits, source: str, advisories: tuple[Advisory, ...]) -> Traits:
    """With the source that a version is of, with what VulnerabilityInfo says of it."""
    known = [*(severity_place(one.severity) for one in advisories), traits.severity]
    return replace(
        traits,
        source=source,
        severity=max((one for one in known if one is not None), default=None),
        advisories=frozenset(one.url for one in advisories),
    )


def _with_dates_of(before: Dossier, now: Mapping[Version, Traits]) -> dict[Version, Traits]:
    """What could not be learnt anew is as it was; whether what nobody dates is spared is known now."""
    kept = {version: traits for version, traits in before.traits.items() if version not in now}
    for version, traits in now.items():
        known = before.traits.get(version, Traits())
        told = None if version in before.sighted else known.date
        date = min((one for one in (told, traits.date) if one is not None), default=None)
        kept[version] = replace(
            traits,
            date=date,
            sighted=traits.sighted and date == traits.date,
            listed=known.listed if traits.listed is None else traits.listed,
            deprecation=traits.deprecation or known.deprecation,
            license=known.license if traits.license is None else traits.license,
        )
    return kept


def _parsed(url: str) -> Version:
    version = Version.parse(url)
    assert version is not None, "a version in URL form"
    return version
