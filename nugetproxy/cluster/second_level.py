"""SecondLevel is what all replicas share behind the embedded cache of each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Final

import structlog
from cachetools import TTLCache
from msgspec import Struct
from msgspec.structs import replace

from nugetproxy.caching.entry import Entry
from nugetproxy.clock import Clock
from nugetproxy.cluster import keys, records
from nugetproxy.cluster.allowance import unlimited
from nugetproxy.cluster.bucket_leases import BucketLeases
from nugetproxy.cluster.engines import Blob, Coordinator, EngineUnavailable, Leases, ObjectStore, Stated, Thing
from nugetproxy.cluster.marks import Marks, Told, time_of
from nugetproxy.cluster.origins import BELIEVED, Origins
from nugetproxy.cluster.probe import Honesty, probe
from nugetproxy.metrics import Metrics
from nugetproxy.nuget.identity import PackageIdentity

log = structlog.get_logger(__name__)

RETRY: Final = 2.0
"""Seconds until an engine that did not answer is asked again in the background."""
REMEMBERED: Final = 20_000


class SharedDocument(Struct, frozen=True):
    """A document with its record; one that a write has outdated has the time of that write at the latest."""

    entry: Entry
    body: bytes


class Place(Struct, frozen=True):
    """Where a document belongs on the second level."""

    source: str
    id: str
    """Lower case; empty for a document about no package."""
    kind: str
    key: str
    """The cache key."""
    is_version_list: bool

    @property
    def tag(self) -> str:
        """What a write to its package marks."""
        return keys.tag(self.source, self.id)

    @property
    def path(self) -> str:
        """The document's key in the bucket."""
        if self.is_version_list:
            return keys.versions(self.source, self.id)
        return keys.document(self.source, self.kind, self.id, self.key)


class SecondLevel:
    """A bucket, a coordinator, both or none; whoever asks goes on without it when EngineUnavailable is raised."""

    def __init__(
        self,
        store: ObjectStore | None,
        coordinator: Coordinator | None,
        *,
        origins: Mapping[str, str],
        clock: Clock,
        metrics: Metrics,
        told: Told,
    ) -> None:
        """``origins``: what feed each source is. ``told`` learns of others' writes."""
        self.store = store
        self.coordinator = coordinator
        self.honesty: Honesty | None = None
        """None until the bucket has been probed."""
        self._origins = Origins(store, origins, clock)
        self._clock = clock
        self._metrics = metrics
        self.marks = Marks(store, coordinator, clock, told)
        self._digests: TTLCache[str, str] = TTLCache(REMEMBERED, BELIEVED, clock.monotonic)
        """What the bucket has of documents, by their paths."""
        self._bucket_leases = BucketLeases(store, clock) if store is not None else None
        looks = (("coordination", coordinator, self._in_coordinator), ("bucket", store, self._in_bucket))
        self._looks = tuple((name, look) for name, engine, look in looks if engine is not None)

    @property
    def problem(self) -> str:
        """What an operator must know of the engines; clients are served all the same."""
        found = [one.problem for one in (self.store, self.coordinator) if one is not None and one.problem]
        if self.honesty is not None and self.honesty.problem:
            found.append(f"the shared bucket cannot do all that it should: {self.honesty.problem}")
        return "; ".join(found)

    # --- in the background ---

    async def examine(self) -> None:
        """Find out what the bucket can be trusted with; returns when that is known."""
        while self.store is not None and self.honesty is None:
            try:
                self.honesty = await probe(self.store)
            except EngineUnavailable:
                await self._clock.sleep(RETRY)
                continue
            self._metrics.leases_kept.set(self.leases is not None)
            if self.honesty.problem:
                log.warning("bucket.dishonest", detail=self.honesty.problem)
            with suppress(EngineUnavailable):  # then the first who wants something of a source finds out
                await self._origins.settle()

    async def announcements(self) -> AsyncIterator[str]:
        """What other replicas announce, but for marks; ends when the connection is lost."""
        if self.coordinator is None:
            return
        try:
            async for said in self.coordinator.announcements():
                if said is None:
                    self._live(yes=True)
                    continue
                word, _, rest = said.partition(" ")
                tag, _, mark = rest.rpartition(" ")
                if word == "mark":
                    self.marks.learn(tag, mark, announced=True)
                else:
                    yield said
        except EngineUnavailable:
            return
        finally:
            self._live(yes=False)

    def _live(self, *, yes: bool) -> None:
        self.marks.live(yes=yes)
        self._metrics.announcements_live.set(yes)

    # --- packages ---

    async def package(self, source: str, identity: PackageIdentity) -> Blob | None:
        """The bytes of a package; ``sha512`` (base64) is in its ``meta``."""
        if self.store is None or not await self._origins.is_ours(source):
            return None
        found = await self.store.stream(keys.package(source, identity))
        self._note("bucket", "package", found is not None)
        return found

    async def package_head(self, source: str, identity: PackageIdentity) -> Stated | None:
        """What is said of a package, as ``package`` would; None where it is not there."""
        if self.store is None or not await self._origins.is_ours(source):
            return None
        return await self.store.head(keys.package(source, identity))

    async def put_package(
        self,
        source: str,
        identity: PackageIdentity,
        chunks: AsyncIterator[bytes],
        *,
        size: int,
        sha512: str,
        nuspec: bytes | None,
    ) -> None:
        """Keep a package that was verified; its nuspec goes first, so that a listing shows whole packages only."""
        with unlimited():
            if self.store is None or not await self._origins.is_ours(source):
                return
            if nuspec is not None:
                await self.store.write(keys.nuspec(source, identity), nuspec, {})
            await self.store.upload(keys.package(source, identity), chunks, size, {"sha512": sha512})
        self._metrics.engines.of("bucket").note("package", "stored")

    async def remove_package(self, source: str, identity: PackageIdentity) -> None:
        """Forget a package: an operator wants it, or its bytes are not what they must be."""
        with unlimited():
            if self.store is not None and await self._origins.is_ours(source):
                await self.store.remove(keys.package(source, identity))
                await self.store.remove(keys.nuspec(source, identity))

    async def package_url(self, source: str, identity: PackageIdentity, seconds: float, *, sha512: str) -> str | None:
        """Where anybody can read the package for so long; None where the bucket has none with this hash (base64)."""
        if self.store is None or not await self._origins.is_ours(source):
            return None
        key = keys.package(source, identity)
        said = await self.store.head(key)
        return await self.store.sign(key, seconds) if said is not None and said.meta.get("sha512") == sha512 else None

    # --- documents ---

    async def follow(self, source: str, id_: str) -> None:
        """Know of others' writes to an id; never raises."""
        due = [tag for tag in {keys.tag(source, id_), keys.tag(source, "")} if not self.marks.is_current(tag)]
        if due:
            await asyncio.gather(*map(self.marks.follow, due))

    async def wrote(self, source: str, id_: str) -> tuple[bool, bool]:
        """An id was written to through this replica: as ``Marks.write``."""
        with unlimited():
            return await self.marks.write(keys.tag(source, id_))

    async def document(self, place: Place) -> SharedDocument | None:
        """What is kept of a document, however old; raises EngineUnavailable where nothing answers.

        Where one of two engines answers, that is enough: its leases are worth having.
        """
        failures: list[EngineUnavailable] = []
        for engine, look in self._looks:
            try:
                thing = await look(place)
            except EngineUnavailable as failure:
                failures.append(failure)
                continue
            unpacked = records.unpack(thing, place.key) if thing is not None else None
            self._note(engine, "document", unpacked is not None)
            if thing is not None and unpacked is not None:
                if engine == "bucket":
                    self._digests[place.path] = unpacked[0].digest
                return self._as_known(place, *unpacked, thing.body)
        if failures and len(failures) == len(self._looks):
            raise failures[0]
        return None

    async def _in_coordinator(self, place: Place) -> Thing | None:
        if self.coordinator is None:
            return None
        thing, mark = await self.coordinator.document(place.tag, place.key)
        if mark:
            self.marks.learn(place.tag, mark, announced=False)
        return thing

    async def _in_bucket(self, place: Place) -> Thing | None:
        if self.store is None or not await self._origins.is_ours(place.source):
            return None
        thing, _ = await asyncio.gather(self.store.read(place.path), self.follow(place.source, place.id))
        return thing

    def _as_known(self, place: Place, entry: Entry, mark: str, body: bytes) -> SharedDocument:
        if mark > self.marks.known(place.tag):
            self.marks.learn(place.tag, mark, announced=False)  # who kept it knows of a write that we do not
        known = self.marks.known(place.tag)
        if mark != known:
            entry = replace(entry, stored_at=min(entry.stored_at, time_of(known)))
        return SharedDocument(entry, body)

    def _note(self, engine: str, what: str, found: bool) -> None:
        self._metrics.engines.of(engine).note(what, "hit" if found else "miss")

    async def put_document(self, place: Place, entry: Entry, body: bytes, *, mark: str, seconds: float) -> bool:
        """Keep a document that was asked for under ``mark``; False where there was a write since.

        ``seconds``: how long it is of use where room is dear. Raises EngineUnavailable where the bucket takes nothing.
        """
        thing = records.pack(entry, body, key=place.key, mark=mark)
        if thing is None:
            return False
        changed = self._digests.get(place.path) != entry.digest
        with unlimited():
            if self.coordinator is not None:
                try:
                    kept = await self.coordinator.put_document(place.tag, place.key, thing, mark=mark, seconds=seconds)
                except EngineUnavailable:
                    kept = changed = True
                if not kept:
                    await self.marks.follow(place.tag)
                if not kept or not changed:
                    return kept
            if self.store is None or entry.absent or not await self._origins.is_ours(place.source):
                return True
            await self.marks.current(place.tag)
            if self.marks.known(place.tag) > mark:  # also where a write of ours has not come to the bucket yet
                return False
            await self.store.write(place.path, body, thing.meta)
            self._digests[place.path] = entry.digest
            return True

    async def remove_documents(self, source: str, id_: str) -> None:
        """Forget those of an id (lower case): an operator wants it. Raises EngineUnavailable."""
        with unlimited():
            if self.store is not None and await self._origins.is_ours(source):
                listed = [one.key for one in await self.store.listing(keys.documents(source, id_))]
                for path in (keys.versions(source, id_), *listed):
                    self._digests.pop(path, None)
                    await self.store.remove(path)
            if self.coordinator is not None:
                await self.coordinator.remove_documents(keys.tag(source, id_))

    # --- leases ---

    @property
    def leases(self) -> Leases | None:
        """Who keeps the leases of documents: the bucket while the coordinator is lost; None where nobody can."""
        kept = self._bucket_leases if self.honesty is not None and self.honesty.replaces else None
        lost = self.coordinator is None or (self.coordinator.problem and kept is not None)
        return kept if lost else self.coordinator

    async def package_leases(self, source: str) -> Leases | None:
        """Who keeps those of packages; None where others' packages are not to be had, so that none is waited for:
        without a bucket, or where what it has is of another feed of this name.
        """
        with suppress(EngineUnavailable):
            if self.store is not None and await self._origins.is_ours(source):
                return self.leases
        return None
