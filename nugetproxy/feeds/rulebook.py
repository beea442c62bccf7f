"""Rulebook is what is configured of which versions exist for one feed."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from operator import attrgetter
from typing import Final

from msgspec import Struct, field

from nugetproxy.clock import Clock
from nugetproxy.errors import NotFound
from nugetproxy.feeds.advisory_book import AdvisoryBook
from nugetproxy.feeds.asked import Inner
from nugetproxy.feeds.dossiers import Dossiers, Listing
from nugetproxy.feeds.judge import Judge
from nugetproxy.feeds.merged import Merged
from nugetproxy.feeds.reading import Reading
from nugetproxy.feeds.rendering import HotPages
from nugetproxy.feeds.ruled import Ruled
from nugetproxy.feeds.source_answer import SourceAnswer, ask_all, first_failure
from nugetproxy.feeds.version_traits import TraitsReader
from nugetproxy.feeds.versions import list_route
from nugetproxy.metrics import Metrics
from nugetproxy.nuget.documents.version_list import listed_versions
from nugetproxy.nuget.identity import PackageId
from nugetproxy.nuget.rules import Rule
from nugetproxy.sources.source import Source
from nugetproxy.store.ledger.ledger import Ledger

_NUMBER: Final = attrgetter("number")
_CHANGES: Final = attrgetter("changes")


class Rulebook(Struct, frozen=True, kw_only=True):
    """The rules of one feed, with what they need."""

    rules: tuple[Rule, ...] = ()
    horizon: float | None = None
    """The wall time that the feed is pinned to."""
    dated_by: Mapping[str, Source] = field(default_factory=dict)
    """Source -> another one that says when its versions came into the world."""
    ledger: Ledger
    metrics: Metrics

    @property
    def applies(self) -> bool:
        """Whether anything is said."""
        return bool(self.rules) or self.horizon is not None


class Parties:
    """Who has a say in which versions a feed has."""

    def __init__(
        self,
        feed: str,
        sources: tuple[Source, ...],
        advisories: tuple[Source, ...],
        *,
        merged: Merged | None,
        reading: Reading,
        clock: Clock,
    ) -> None:
        self.feed = feed
        self.sources = sources
        self.advisories = tuple(dict.fromkeys((*sources, *advisories)))
        self.reading = reading
        self.clock = clock
        self._merged = merged

    def may_date(self, id_: str) -> bool:
        """Whether another source may be asked for an id (lower case): not where it is mapped to private ones."""
        if self._merged is None:
            return True
        guard = self._merged.guard
        rule = None if guard.mapping.is_empty else guard.mapping.rule(id_)
        own = [source for source in self.sources if rule is not None and rule.prefix and source.name in rule.sources]
        return not own or not all(guard.is_private(source) for source in own)

    def asked(self, id_: str) -> tuple[Source, ...]:
        """The sources that may be asked for an id (lower case)."""
        return self.sources if self._merged is None else self._merged.guard.candidates(id_).asked

    async def lists(self, id_: str, base: str) -> Listing:
        """Who has which version of an id (lower case); raises UpstreamFailure where that cannot be told.

        Nobody has one of what no package can be called, which a search may say or be asked for all the same.
        """
        if PackageId.parse(id_) is None:
            return Listing(owners={}, sources=(), asked=())
        if self._merged is not None:
            await self._merged.guard.claims.ready()
        asked = self.asked(id_)
        if self._merged is not None and len(self.sources) > 1:
            try:
                listed = await self._merged.versions.of(id_, base)
            except NotFound:
                return await self._each(asked, id_, base)
            sources = tuple(one.source for one in listed.said)
            return Listing(owners=listed.owners, sources=sources, asked=listed.asked)
        return await self._each(asked, id_, base)

    async def _each(self, sources: tuple[Source, ...], id_: str, base: str) -> Listing:
        found = await ask_all(self.reading.said(source, list_route(id_), "", base) for source in sources)
        if (failure := first_failure(found)) is not None:
            raise failure
        said = tuple(one for one in found if isinstance(one, SourceAnswer))
        owners: dict[str, str] = {}
        for one in (one for one in said if not one.absent):
            for _, version in listed_versions(one.body):
                owners.setdefault(version.url, one.source.name)
        return Listing(owners=owners, sources=sources, asked=said)

    def stamp(self, ledger: Ledger) -> Callable[[], Hashable]:
        """Says what changes with every write to one of the sources, with every claim, with what lies in folders, is
        held of what is offline.
        """
        changing = tuple(one.changing for one in self.sources if one.changing is not None)
        writes = tuple(ledger.writes(source.name) for source in self.sources)
        guard = self._merged.guard if self._merged is not None else None

        def now() -> Hashable:
            return (0 if guard is None else guard.claims.number, *map(_NUMBER, writes), *map(_CHANGES, changing))

        return now


def watching(source: Source, pages: HotPages, ledger: Ledger, clock: Clock, metrics: Metrics) -> Dossiers:
    """What is known of the ids of one source by itself, with what it has withdrawn."""
    reading = Reading(source.name, pages=pages, clock=clock, several=False)
    parties = Parties(source.name, (source,), (), merged=None, reading=reading, clock=clock)
    traits = TraitsReader(reading, dated_by={}, may_ask=parties.may_date, ledger=ledger, clock=clock, oldest=0.0)
    return Dossiers(
        lists=parties.lists,
        asked=parties.asked,
        traits=traits,
        book=None,
        ledger=ledger,
        clock=clock,
        stamp=parties.stamp(ledger),
        metrics=metrics,
        watches=True,
    )


def ruled(book: Rulebook, parties: Parties, inner: Inner) -> Ruled:
    """The feed ``inner`` with its rules."""
    ledger, clock = book.ledger, parties.clock

    stamp = parties.stamp(ledger)
    advisories = AdvisoryBook(parties.feed, parties.advisories, parties.reading, clock)
    traits = TraitsReader(
        parties.reading,
        dated_by=book.dated_by,
        may_ask=parties.may_date,
        ledger=ledger,
        clock=clock,
        oldest=max((rule.min_age for rule in book.rules if rule.min_age is not None), default=0.0),
    )
    dossiers = Dossiers(
        lists=parties.lists,
        asked=parties.asked,
        traits=traits,
        book=advisories if any(rule.needs_advisories for rule in book.rules) else None,
        ledger=ledger,
        clock=clock,
        stamp=stamp,
        metrics=book.metrics,
        watches=any(rule.withdrawn for rule in book.rules),
    )
    judge = Judge(parties.feed, book.rules, dossiers, clock, book.horizon)
    return Ruled(judge, inner, rendering=parties.reading.rendering, clock=clock, metrics=book.metrics)
