"""Ledger keeps what must not be lost: pins, links, epochs, scrub positions, facts, owners, claims, tokens."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import structlog

from nugetproxy.clock import Clock
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.store.fs import FsOps
from nugetproxy.store.ledger import rows
from nugetproxy.store.ledger.copies import copy, copy_is_due, snapshot
from nugetproxy.store.ledger.form import LEDGER, LedgerUnavailable
from nugetproxy.store.ledger.known_pins import KnownPins
from nugetproxy.store.ledger.links import Links
from nugetproxy.store.ledger.opening import BEGIN_AFRESH, NAME, RESTORED, make_ready
from nugetproxy.store.ledger.records import Epoch, Judged, Owner, Sighting, Token, VersionFacts, Wanted, Writes
from nugetproxy.store.ledger.write_behind import WriteBehind
from nugetproxy.store.sqlite_file import SqliteFile
from nugetproxy.store.sqlite_form import ERRORS, file_key
from nugetproxy.store.threads import hop

__all__ = ["Epoch", "Judged", "Ledger", "LedgerUnavailable", "Owner", "Sighting", "Token", "VersionFacts", "Writes"]

log = structlog.get_logger(__name__)

SNAPSHOT: Final = "ledger.db.snapshot"
"""A copy that somebody is about to carry away."""


class Ledger:
    """One SQLite file that is never evicted and never begun afresh by itself; for one event loop.

    What is noted is known at once and written behind, many rows in one transaction. Reads raise LedgerUnavailable;
    what cannot be written waits in memory for the next ``tidy``.
    """

    def __init__(self, *, fs: FsOps | None = None, clock: Clock | None = None) -> None:
        self.problem = ""
        """What an operator must know of; empty while all is well."""
        self._fs = fs or FsOps()
        self._clock = clock or Clock()
        self._file = SqliteFile(LEDGER, fs=self._fs, clock=self._clock, lost=self._lose)
        self._path = Path()
        self._copier = ThreadPoolExecutor(1, thread_name_prefix="ledger-copy")
        self._behind = WriteBehind(self._file)
        self._known_pins = KnownPins(self._file, self._clock)
        self._writes: dict[str, Writes] = {}
        self._numbers = itertools.count()
        self._loaded = False
        self._links: dict[str, Links] = {}

    async def open(self, directory: Path, *, fresh: bool = False) -> None:
        """Begin with the ledger in ``directory``; ``fresh`` says that there need be none yet.

        A damaged one is replaced by the newest good of its copies. Raises StoreUnusable where there is none, or
        where a newer nugetproxy made it. A disk that fails is none of the ledger's: it is tried again later.
        """
        self._path = directory / NAME
        self.problem = await hop(self._copier, make_ready, self._fs, self._path, fresh)
        self._file.begin(self._path)
        with contextlib.suppress(LedgerUnavailable):  # logged; ``tidy`` tries again
            await self._load()

    async def _load(self) -> None:
        """Learn of the writes of earlier runs; what happened meanwhile is newer."""
        if not self._loaded:
            for (source, id), epoch in (await self._file.read(rows.epochs)).items():
                if id not in self.writes(source).by_id:
                    self.writes(source).put(id, epoch)
            self._loaded = True
            self.problem = self.problem if self.problem == RESTORED else ""

    async def close(self) -> None:
        """Write what waits, close the file, end the threads."""
        await self.settle()
        await self._known_pins.end()
        await self._file.end()
        self._copier.shutdown(wait=False)

    async def tidy(self) -> None:
        """Write what waits, let go of old links, make the day's copy. Never raises: the next round comes soon."""
        await self.settle()
        try:
            await self._load()
            for links in tuple(self._links.values()):  # a reload may bring another source meanwhile
                await links.trim()
            if await hop(self._copier, copy_is_due, self._fs, self._path, self._clock.now()):
                made = await hop(self._copier, copy, self._fs, self._path)
                log.info("ledger.copied", file=made.name)
        except (LedgerUnavailable, *ERRORS) as error:
            log.error("ledger.untidy", detail=str(error))  # noqa: TRY400 - the traceback says nothing more

    async def snapshot(self) -> Path:
        """A copy of what is known now, beside the ledger, in place of the one of before; raises LedgerUnavailable."""
        await self.settle()
        try:
            return await hop(self._copier, snapshot, self._fs, self._path, self._path.with_name(SNAPSHOT))
        except ERRORS as error:
            raise LedgerUnavailable(f"it cannot be copied: {error}") from error

    async def settle(self) -> bool:
        """Wait until what was noted is written; False if that could not be done (yet)."""
        return await self._behind.settle()

    # --- pins ---

    async def pinned(self, source: str, identity: PackageIdentity) -> str | None:
        """The SHA-512 (base64) that a package of this source had when it was first verified."""
        known: str | None = self._behind.noted(("pins", source, identity.id, identity.version))
        if known is None and not self._known_pins.lacks(identity):
            return await self._file.read(rows.pin_of, source, identity)
        return known

    def pin(self, source: str, identity: PackageIdentity, sha512: str) -> None:
        """Note the SHA-512 (base64) of a package; the first one stays until it is forgotten."""
        key = ("pins", source, identity.id, identity.version)
        if self._behind.noted(key) is None:
            self._known_pins.note(identity)
            self._behind.note(key, rows.PIN, (*key[1:], sha512), sha512)

    def lacks_pins(self, id: str) -> bool:
        """Whether it is certain, without a look, that no version of an id (lower case) is pinned."""
        return self._known_pins.lacks_id(id)

    async def pinned_versions(self, source: str, *ids: str) -> frozenset[PackageIdentity]:
        """The versions of some ids (lower case) that are pinned, held or not."""
        asked = [id for id in ids if not self.lacks_pins(id)]
        if not asked:
            return frozenset()
        await self.settle()
        return await self._file.read(rows.pinned_versions, source, asked)

    async def settle_origin(self, source: str, feed: str) -> None:
        """Have what is known of a source be of ``feed``: pins of the feed that it was before wait until it is again."""
        if await self._file.read(rows.origin_of, source) != feed:
            await self._file.write(rows.settle_origin, source, feed)

    async def forget(self, source: str, identity: PackageIdentity) -> None:
        """Let the next bytes of this package be its first; what is known of the version goes too."""
        await self.settle()
        await self._file.write(rows.forget, source, identity)

    # --- links, epochs, scrub positions ---

    def links(self, source: str) -> Links:
        """The opaque links that were handed out for one source."""
        if source not in self._links:
            self._links[source] = Links(source, self._file, self._clock, self._behind)
        return self._links[source]

    def writes(self, source: str) -> Writes:
        """The writes through this source; the same object always, which goes on to be right."""
        return self._writes.setdefault(source, Writes())

    def raise_epoch(self, source: str, id: str, *, at: float | None = None) -> Epoch:
        """A write to ``id`` happened ``at`` this wall time at the latest, else now; ``settle`` waits until the next
        start will know it."""
        before = self.writes(source).by_id.get(id, Epoch(0, 0.0))
        now = self._clock.now()
        epoch = Epoch(before.number + 1, now if at is None else min(at, now))
        self.writes(source).put(id, epoch)
        self._behind.note(("epochs", source, id), rows.EPOCH, (source, id, epoch.number, epoch.at), epoch)
        return epoch

    async def scrub(self, source: str) -> bytes | None:
        """How far the scrub of one source's packages is, as it was noted."""
        known = self._behind.noted(("scrubs", source))
        return known if known is not None else await self._file.read(rows.scrub_of, source)

    def note_scrub(self, source: str, position: bytes) -> None:
        """Note how far the scrub is."""
        self._behind.note(("scrubs", source), rows.SCRUB, (source, position), position)

    # --- facts of held versions ---

    def note_facts(self, source: str, facts: Iterable[VersionFacts]) -> None:
        """Note what a document of upstream's said of versions; what it did not say (None) stays as it was."""
        for one in facts:
            identity = one.identity
            # A key for each: what waits must not take the place of what an earlier document said.
            key = ("facts", source, identity.id, identity.version, str(next(self._numbers)))
            self._behind.note(key, rows.FACTS, rows.facts_values(source, one), one)

    async def facts(self, source: str, id: str) -> tuple[VersionFacts, ...]:
        """What is known of the versions of an id (lower case)."""
        await self.settle()
        return await self._file.read(rows.facts_of, source, id)

    async def unlisted(self, source: str) -> tuple[PackageIdentity, ...]:
        """The versions that upstream has said not to be listed."""
        await self.settle()
        return await self._file.read(rows.unlisted, source)

    async def remarkable(self, source: str) -> Mapping[PackageIdentity, tuple[bool, str | None]]:
        """The versions that are unlisted or may be deprecated: whether listed, the deprecation as upstream says it."""
        await self.settle()
        return await self._file.read(rows.remarkable, source)

    # --- sightings ---

    async def sightings(self, source: str, id: str) -> Mapping[str, Sighting]:
        """By version of an id (lower case): what was noticed of those that nobody dates, or that are gone."""
        await self.settle()
        return await self._file.read(rows.sightings_of, source, id)

    async def missing(self, source: str) -> Mapping[PackageIdentity, Sighting]:
        """The versions that upstream is known not to have any more."""
        await self.settle()
        return await self._file.read(rows.missing, source)

    def note_sighting(self, source: str, identity: PackageIdentity, sighting: Sighting) -> None:
        """Note what was noticed of a version; the earliest sight of it stays its first."""
        key = ("sightings", source, identity.id, identity.version)
        values = (*key[1:], sighting.first, sighting.missing, sighting.withdrawn)
        self._behind.note(key, rows.SIGHTING, values, sighting)

    def noted_sighting(self, source: str, identity: PackageIdentity) -> Sighting | None:
        """What was noted last, while it is on its way."""
        known: Sighting | None = self._behind.noted(("sightings", source, identity.id, identity.version))
        return known

    # --- verdicts over signatures ---

    async def judged(self, source: str, identity: PackageIdentity) -> Judged | None:
        """The verdict that was noted over the signature of a version."""
        known: Judged | None = self._behind.noted(("verdicts", source, identity.id, identity.version))
        return known if known is not None else await self._file.read(rows.judged, source, identity)

    def note_judged(self, source: str, identity: PackageIdentity, judged: Judged) -> None:
        """Note the verdict over the signature of a version, in place of the one of before."""
        key = ("verdicts", source, identity.id, identity.version)
        self._behind.note(key, rows.VERDICT, (*key[1:], judged.sha512, judged.trust, judged.verdict), judged)

    # --- owners, claims, tokens ---

    async def owners(self, feed: str, id: str) -> Mapping[str, Owner]:
        """By version: which source of an aggregated feed it belongs to."""
        await self.settle()
        return await self._file.read(rows.owners_of, feed, id)

    def reown(self, feed: str, identity: PackageIdentity, owner: Owner) -> None:
        """Note who a version belongs to, in place of what was noted before."""
        key = ("owners", feed, identity.id, identity.version)
        self._behind.note(key, rows.REOWN, (*key[1:], owner.source, owner.sha512), owner)

    async def claims(self) -> frozenset[tuple[str, str]]:
        """(source, id) of every id that a private source has a right to."""
        await self.settle()
        return await self._file.read(rows.claims)

    def claim(self, source: str, id: str) -> None:
        """Note the right of a private source to an id."""
        self._behind.note(("claims", source, id), rows.CLAIM, (source, id), True)

    async def disclaim(self, source: str, id: str) -> None:
        """Take that right away."""
        await self.settle()
        await self._file.write(rows.run, "DELETE FROM claims WHERE source = ? AND id = ?", (source, id))

    async def disown(self, source: str, id: str) -> int:
        """Forget which versions of an id belong to a source, in all feeds; an empty ``id`` stands for all. How many."""
        await self.settle()
        return await self._file.write(rows.disown, source, id)

    async def tokens(self) -> tuple[Token, ...]:
        """Every client token, by name."""
        return await self._file.read(rows.tokens)

    async def put_token(self, token: Token) -> None:
        """Add a token, or replace the one of that name; it is written when this returns."""
        await self._file.write(rows.run, rows.PUT_TOKEN, rows.token_values(token))

    async def remove_token(self, name: str) -> bool:
        """Remove a token; False if there was none of that name."""
        return await self._file.write(rows.run, "DELETE FROM tokens WHERE name = ?", (name,)) > 0

    async def kept(self) -> tuple[Wanted, ...]:
        """The packages that are never evicted."""
        return await self._file.read(rows.kept)

    async def keep(self, wanted: Sequence[Wanted], *, replace: str) -> None:
        """Add some; what the file ``replace`` wanted before goes. It is written when this returns."""
        await self._file.write(rows.keep, wanted, replace)

    async def unkeep(self, packages: Collection[tuple[str, str]], by: str) -> int:
        """Remove some (id, version), or all that ``by`` wants; how many there were."""
        return await self._file.write(rows.unkeep, packages, by)

    async def take(self, found: Sequence[tuple[str, tuple[Any, ...]]]) -> None:
        """Write statements of ``rows`` with their values, all of them or none; raises LedgerUnavailable."""
        await self._file.write(rows.run_all, found)
        self._known_pins.forget()

    def _lose(self) -> None:
        """The keeper has met damage while we run."""
        if file_key(self._path) == (0, 0):
            self.problem = f"The ledger was damaged, and there is no good copy of it. {BEGIN_AFRESH}"
        else:
            self.problem = RESTORED
        log.error("ledger.damaged", detail=self.problem)
