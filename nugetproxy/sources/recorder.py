"""Recorder writes down what passing documents say of held versions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from typing import Final

from nugetproxy.clock import Clock
from nugetproxy.engine.packages import Packages
from nugetproxy.engine.target import Found, Target
from nugetproxy.nuget.documents.exact_json import InvalidDocument
from nugetproxy.nuget.documents.statements import Statement, seconds, statements, statements_about
from nugetproxy.nuget.documents.version_list import listed_versions
from nugetproxy.nuget.facts import PackageFacts
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.nuget.kinds import Kind
from nugetproxy.off_loop import off_loop
from nugetproxy.store.holdings.holdings import HoldingsUnavailable
from nugetproxy.store.ledger.ledger import Ledger, LedgerUnavailable, VersionFacts

WAIT_SECONDS: Final = 1.0
"""Between two looks whether the holdings are complete."""


class Recorder:
    """The ledger's facts, the dates of packages, what searches over held packages hide: for one source."""

    def __init__(self, packages: Packages, ledger: Ledger, clock: Clock, wanted: dict[str, bool]) -> None:
        self._packages = packages
        self._ledger = ledger
        self._clock = clock
        self.wanted = wanted
        """Ids whose registration should be looked at, oldest wish first; True where the version list has changed."""
        self.suspects: dict[str, bool] = {}
        """Ids of which versions that were served are not listed any more, or are again."""
        self._gone: dict[str, frozenset[str]] = {}
        self._compared: set[str] = set()
        """Ids of which versions were served, whose lists were compared with that since the start."""
        self._made: dict[str, str] = {}
        """Ids -> the digest of the list that was compared, where upstream has none of its own."""

    def glance(self, target: Target, body: bytes, *, changed: bool) -> bool:
        """As ``Witness.glance``: of most version lists no version was ever served."""
        if not changed:
            known = target.kind is not Kind.VERSIONS or target.id in self._compared
            return known or self._ledger.lacks_pins(target.id)
        if target.kind is not Kind.VERSIONS or not target.id:
            return not target.kind.row.tells
        if target.id in self._gone or not self._ledger.lacks_pins(target.id):
            return False
        if body:
            self.wanted[target.id] = True
        return not target.kind.row.tells

    async def note(self, target: Target, body: bytes, *, changed: bool) -> None:
        """A document has passed: as ``Witness.note``."""
        if target.kind is Kind.VERSIONS and target.id:
            await self._compare(target.id, body)
            if body and changed:
                self.wanted[target.id] = True
        if not changed or not target.kind.row.tells:
            return
        with suppress(InvalidDocument, HoldingsUnavailable):
            if target.id:
                await self._record_about(target.id, target.kind, body)
            else:
                await self._record(target.kind, await off_loop(len(body), statements, target.kind, body))

    async def note_list(self, id: str, made: Found) -> None:
        """A version list that was made of a registration: as one that has passed."""
        if self._made.get(id) != made.entry.digest and not self._ledger.lacks_pins(id):
            self._made[id] = made.entry.digest
            await self._compare(id, made.body)

    def lacks(self, id: str) -> frozenset[str]:
        """The versions of an id (lower case) that were served, and that its last list did not name."""
        return self._gone.get(id, frozenset())

    async def _compare(self, id: str, body: bytes) -> None:
        """Suspect an id whose list lacks what was served, or other versions than the list before did."""
        with suppress(InvalidDocument, LedgerUnavailable):
            pinned = await self._ledger.pinned_versions(self._packages.name, id)
            self._compared.add(id)
            if not pinned and id not in self._gone:
                return
            listed = frozenset(version.url for _, version in listed_versions(body)) if body else frozenset()
            gone = frozenset(one.version for one in pinned) - listed
            if gone != self._gone.get(id, frozenset()):
                self.suspects[id] = True
                self._gone[id] = gone
            if not gone:
                self._gone.pop(id, None)

    async def _record_about(self, id: str, kind: Kind, body: bytes) -> None:
        """Write down what a document of an id says of the versions that are held."""
        held = {facts.identity: facts for facts in await self._packages.holdings.facts(id)}
        if held:
            said = await off_loop(len(body), statements_about, kind, body, id, frozenset(held))
            await self._record_held(held, kind, said)

    async def keep_unlisted(self) -> None:
        """Hide from searches what the ledger knows to be unlisted, where the holdings were made anew."""
        while not self._packages.holdings.synced:
            await self._clock.sleep(WAIT_SECONDS)
        with suppress(LedgerUnavailable, HoldingsUnavailable):
            for identity in await self._ledger.unlisted(self._packages.name):
                for facts in await self._packages.holdings.facts(identity.id):
                    if facts.identity == identity:
                        await self._packages.amend(facts, None, False)

    async def _record(self, kind: Kind, said: Iterable[Statement]) -> None:
        of_id: defaultdict[str, list[Statement]] = defaultdict(list)
        for one in said:
            of_id[one.identity.id].append(one)
        for id, found in of_id.items():
            held = {facts.identity: facts for facts in await self._packages.holdings.facts(id)}
            await self._record_held(held, kind, [one for one in found if one.identity in held])

    async def _record_held(
        self, held: Mapping[PackageIdentity, PackageFacts], kind: Kind, said: Collection[Statement]
    ) -> None:
        now = self._clock.now()
        self._ledger.note_facts(self._packages.name, [facts_of(one, kind, now) for one in said])
        for one in said:
            await self._packages.amend(held[one.identity], seconds(one.published), one.listed)


def facts_of(said: Statement, kind: Kind, now: float) -> VersionFacts:
    """A statement of a document of ``kind`` as the ledger keeps it; ``now`` in seconds since the epoch."""
    return VersionFacts(
        identity=said.identity,
        published=said.published,
        listed=said.listed,
        deprecation=said.deprecation,
        origin=kind,
        noted=now,
    )
