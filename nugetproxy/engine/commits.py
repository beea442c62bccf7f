"""Commits verifies what was downloaded, then has it held."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from functools import partial
from typing import Final, TypeVar

from nugetproxy.engine.content_check import AT_ONCE, ContentCheck
from nugetproxy.engine.flight import Flight
from nugetproxy.engine.landing import Arrival, Landing, Metadata
from nugetproxy.engine.pass_through import refused
from nugetproxy.engine.pins import Pins
from nugetproxy.engine.room import Room
from nugetproxy.engine.signatures import Signatures
from nugetproxy.engine.tasks import Tasks
from nugetproxy.errors import Reason, UpstreamFailure, upstream_failure
from nugetproxy.metrics import Metrics
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.nuget.nuspec import InvalidPackage, Nuspec
from nugetproxy.nuget.package import DamagedEntry
from nugetproxy.store.holdings.holdings import Holdings
from nugetproxy.store.packages.folder import PackageFolder
from nugetproxy.store.packages.held import HeldPackage
from nugetproxy.store.packages.staging import PinnedPackage, Staged

_T = TypeVar("_T")

OTHER_HASH: Final = "its SHA-512 is not the one that upstream's metadata states"


class Commits:
    """The way of one source's downloads into its folder; what is in it is noted in holdings, ledger, metadata."""

    def __init__(
        self,
        source: str,
        folder: PackageFolder,
        *,
        pins: Pins,
        holdings: Holdings,
        metadata: Metadata,
        contents: ContentCheck,
        signatures: Signatures,
        room: Room,
        tasks: Tasks,
        metrics: Metrics,
    ) -> None:
        self.metadata = metadata
        self.contents = contents
        self._source = source
        self._folder = folder
        self._pins = pins
        self._holdings = holdings
        self._signatures = signatures
        self._room = room
        self._tasks = tasks
        self._metrics = metrics
        self._arrivals: dict[PackageIdentity, Arrival] = {}
        folder.pending.committed = self._committed
        folder.pending.lost = lambda identity: self._arrivals.pop(identity, None)

    async def take(self, flight: Flight, staged: Staged) -> HeldPackage:
        """Verify what was downloaded, then make it part of the folder.

        All that must be known is asked for before; what is not verified at once is by the thread that writes it.
        Raises UpstreamFailure, SignatureRefused, DiskFailure.
        """
        identity = flight.identity
        said = await self.metadata.landing(identity)
        pinned = await self._pins.get(identity)
        if said.published is not None:
            staged.published = said.published
        wanted = {said.sha512, pinned} - {None}
        if wanted or self.contents.has_refused(identity):
            await staged.know_hash()
        known = self._is_known(staged, said.sha512)
        at_once = not known and staged.size <= AT_ONCE
        look = staged.look(identity, contents=at_once, checksum=not known)
        looking = staged.look_now(identity, contents=at_once, checksum=not known)
        nuspec = await self._sound(flight, staged, looking)
        if self._signatures.on or (wanted and wanted != {staged.sha512}):
            nuspec = nuspec or await self._sound(flight, staged, staged.run(look))
            self._compare(staged.sha512, said.sha512, pinned)
            await self._signatures.take(staged)
        if nuspec is not None:
            look = partial(_found, nuspec)
        await self._room.admit(staged.size)
        checked = known or at_once
        looked = partial(self._arrive, identity, said, checked and pinned is None)
        try:
            held = await self._sound(flight, staged, staged.land(look, looked))
        except PinnedPackage as conflict:
            raise upstream_failure(self._source, Reason.PIN, str(conflict)) from conflict
        finally:
            if identity not in self._folder.pending:
                self._arrivals.pop(identity, None)
        if not checked:
            held.checked = False
            self._tasks.start(self.look_into(identity, held.sha512), name=f"contents {identity.nupkg_name}")
        return held

    def _is_known(self, staged: Staged, stated: str | None) -> bool:
        """Whether its contents need not be looked into. Where nothing is known, its hash is left to a thread."""
        if stated is None and not self.contents.has_refused(staged.identity):
            return not self.contents.on
        sha512 = staged.sha512
        return not self.contents.on or stated == sha512 or self.contents.is_feeds_own(staged.identity, sha512)

    def _compare(self, sha512: str, stated: str | None, pinned: str | None) -> None:
        """Raise UpstreamFailure where it is not what it must be."""
        if stated not in {None, sha512}:
            raise self._refused(Reason.HASH, OTHER_HASH)
        if pinned not in {None, sha512}:
            raise self._refused(Reason.PIN, "this version had other bytes before; 'nugetproxy purge' forgets them")

    async def _sound(self, flight: Flight, staged: Staged, work: Awaitable[_T]) -> _T:
        """What comes of ``work``, which looks into the package; raises UpstreamFailure for one that is not sound."""
        try:
            return await work
        except DamagedEntry as problem:
            await staged.know_hash()
            self.contents.refuse(flight.identity, staged.sha512, problem.detail)
            await self._folder.set_staged_aside(staged)
            raise self._refused(problem.reason, problem.detail) from problem
        except InvalidPackage as problem:
            reason, detail = problem.reason, problem.detail
            if flight.doubted and reason is Reason.ZIP:
                reason, detail = Reason.INVALID_CONTENT, "the answer is not a package (no zip signature)"
            raise self._refused(reason, detail) from problem

    def _arrive(self, identity: PackageIdentity, said: Landing, pin: bool, nuspec: Nuspec) -> None:
        self._arrivals[identity] = Arrival(nuspec=nuspec, said=said, pin=pin)

    async def _committed(self, batch: Sequence[HeldPackage]) -> None:
        """These are in the folder, durably: note it in the holdings, pin what has been looked into."""
        arrived = [(held, self._arrivals.pop(held.identity)) for held in batch if held.identity in self._arrivals]
        if arrived:  # else those that a start has found, before the holdings look at all that there is
            await self._holdings.change([arrival.facts(held) for held, arrival in arrived], ())
        for held, arrival in arrived:
            self._signatures.taken(held)
            if arrival.pin:
                self._pins.put(held.identity, held.sha512)
            self.metadata.landed(held.identity, arrival.said)
        self._room.landed()

    async def look_into(self, identity: PackageIdentity, sha512: str) -> None:
        """Look into a held package behind its answer: only then it is pinned."""
        sound = await self.contents.look_into(identity, sha512)
        if sound is None:  # an operator has purged it meanwhile, or the disk did not take it
            return
        if sound:
            held = self._folder.peek(identity)
            if held is not None:
                held.checked = True
            if await self._pins.get(identity) is None:
                self._pins.put(identity, sha512)
            return
        self._metrics.integrity_failures.labels(Reason.ZIP).inc()
        await self._holdings.remove(identity)

    def _refused(self, reason: Reason, detail: str) -> UpstreamFailure:
        return refused(self._source, reason, detail, self._metrics)


def _found(nuspec: Nuspec) -> Nuspec:
    return nuspec
