"""Cache turns the decisions of ``caching/`` into reads and writes of one upstream's documents."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final, assert_never

from msgspec.structs import replace

from nugetproxy.caching.decide import MISS, Fresh, Lookup, Miss, Stale, decide_lookup
from nugetproxy.caching.entry import Answer, Entry, Failure
from nugetproxy.caching.policy import FOREVER, Policy
from nugetproxy.clock import Clock
from nugetproxy.cluster.second_level import SharedDocument
from nugetproxy.engine.conclusions import Conclusions, body_of
from nugetproxy.engine.fetch import Fetcher
from nugetproxy.engine.hot_documents import HOT_SECONDS, SHARED_SECONDS, HotDocuments
from nugetproxy.engine.invalidation import Invalidation
from nugetproxy.engine.outcome import LASTING, LEASE, SECOND_LEVEL, CacheStatus, Outcome
from nugetproxy.engine.rotation import same_since
from nugetproxy.engine.shared_documents import SharedDocuments, is_shared
from nugetproxy.engine.standing import Later, Standing
from nugetproxy.engine.target import Found, Group, Target
from nugetproxy.engine.tasks import Shared, Tasks
from nugetproxy.errors import Reason, UpstreamFailure, upstream_failure
from nugetproxy.metrics import Metrics
from nugetproxy.nuget.documents.bounds import USUAL, Bounds
from nugetproxy.nuget.kinds import Kind
from nugetproxy.store.documents.documents import Documents, Stored
from nugetproxy.store.ledger.ledger import Ledger
from nugetproxy.upstream.asking import asking
from nugetproxy.upstream.client import UpstreamClient
from nugetproxy.upstream.patience import is_spared

_Slot = tuple[str, int, bool, str]
"""What those have in common who wait for the same fetch."""
SOFT_DEADLINE: Final = 0.5
"""Seconds that a client with a usable stale answer waits for a better one."""


class Cache:
    """Lookup, fetch, revalidate and invalidate for the documents of one upstream."""

    def __init__(
        self,
        upstream: UpstreamClient,
        documents: Documents,
        *,
        policies: Mapping[Kind, Policy],
        clock: Clock,
        metrics: Metrics,
        tasks: Tasks,
        ledger: Ledger,
        offline: bool = False,
        jitter: float = 0.0,
        hot_bytes: int = 16 * 2**20,
        bounds: Bounds = USUAL,
        shared: SharedDocuments | None = None,
    ) -> None:
        """``jitter``: the largest part by which freshness is shortened, so that what was stored together is not
        refreshed together. ``bounds`` are those of each document. ``shared``: what other replicas have of them.
        """
        self._shared = shared
        self._upstream = upstream
        self._policies = policies
        self._clock = clock
        self._metrics = metrics
        self._tasks = tasks
        self._offline = offline
        self._jitter = jitter
        self._absent_since = 0.0
        self._documents = documents
        seconds = HOT_SECONDS if shared is None else SHARED_SECONDS
        self._hot = HotDocuments(documents, tasks, policies=policies, clock=clock, hot_bytes=hot_bytes, seconds=seconds)
        if shared is not None:
            shared.stored = self._hot.get
        self._invalidation = Invalidation(ledger, upstream.name, clock)
        self._fetcher = Fetcher(upstream, clock, metrics, bounds)
        self._fetches: dict[_Slot, Shared[Found]] = {}
        self.conclusions = Conclusions(
            upstream, self._hot, self._invalidation, policies=policies, clock=clock, tasks=tasks, shared=shared
        )
        self._overdue: set[asyncio.Task[Found]] = set()
        """Fetches that have outlived the soft deadline while upstream answered nothing else."""

    async def begin(self, scope: str, secrets: tuple[str, ...]) -> None:
        """Find out which stored 404s of ``scope`` are believed: other ``secrets`` may see what one is about."""
        self._absent_since = await same_since(self._documents, scope, secrets, self._clock.now())

    async def get(self, target: Target, *, group: Group | None = None, settled: bool = False) -> Found:
        """The stored document, asked for upstream where the policy wants it.

        ``group`` completes what must not be stored alone. ``settled`` says that what is stored is known to be final,
        so it is fresh however old it is.
        Raises UpstreamFailure when nothing usable is stored and upstream gives no usable answer, and BadRequest
        when upstream refuses a query as malformed.
        """
        stored = None if self._hot.lacks(target) else await self._hot.read(target)
        if self._shared is not None and stored is not None and is_shared(target):
            await self._shared.follow(target)
        match self._look(target, stored, offline=self._offline, settled=settled):
            case Fresh(entry, ttl):
                detail = "offline" if self._offline else ""
                outcome = Outcome.ABSENT if entry.absent else Outcome.HIT
                status = CacheStatus(outcome=outcome, hit=True, ttl=ttl, detail=detail)
                standing = None if entry.absent else Later(self._standing, target, entry, settled)
                return Found(entry=entry, body=body_of(stored), status=status, standing=standing)
            case Stale(entry=entry, refreshable=refreshable, usable=usable, ttl=ttl):
                fetch, collapsed = self._fetch(target, group)
                status = CacheStatus(outcome=Outcome.STALE, hit=True, ttl=ttl)
                if refreshable:
                    return Found(entry=entry, body=body_of(stored), status=status)
                self._metrics.collapsed.inc(collapsed)
                # That the feed is slow is no reason to say that it has no such thing, or not yet.
                waits = entry.absent or self._invalidation.is_outdated(target, entry.stored_at)
                if usable and not waits and not await self._within_soft_deadline(fetch.task):
                    return Found(entry=entry, body=body_of(stored), status=replace(status, detail="slow_upstream"))
            case Miss():
                if self._offline and self._shared is None:
                    raise upstream_failure(self._upstream.name, Reason.OFFLINE, "it is not in this cache")
                fetch, collapsed = self._fetch(target, group)
                if collapsed:
                    self._metrics.collapsed.inc()
            case unknown:
                assert_never(unknown)
        found = await fetch.result()
        entry, status = found.entry, found.status
        if collapsed:
            outcome = Outcome.COLLAPSED if status.outcome is not Outcome.STALE else Outcome.STALE  # it failed for all
            status = replace(status, collapsed=True, outcome=outcome, stored=False)
        lasts = status.outcome in LASTING and not (entry.absent or self._offline)
        standing = Later(self._standing, target, entry, settled) if lasts else None
        return Found(entry=entry, body=found.body, status=status, notice=found.notice, standing=standing)

    def _standing(self, target: Target, entry: Entry, settled: bool) -> Standing | None:
        """Of what was served a moment ago, as far as it is stored and fresh now."""
        looked = self._look(target, Stored(entry, b""), offline=self._offline, settled=settled)
        if not isinstance(looked, Fresh):
            return None
        least = -math.inf if self._offline else 0.0
        return self._hot.standing(target.key, entry, left=looked.ttl, least=least, writes=self._invalidation.writes)

    def prefetch(self, target: Target) -> None:
        """Begin to get ``target`` unasked; a failure is as if it had not been tried."""
        self._tasks.start(self.get(target), name=f"prefetch {target.path}")

    async def stored(self, target: Target) -> Stored | None:
        """What is stored for ``target``, however old, without asking upstream."""
        return await self._hot.get(target)

    async def stored_all(self, targets: Sequence[Target]) -> list[Stored | None]:
        """As ``stored``, of several at once."""
        return await self._hot.get_all(targets)

    @property
    def is_busy(self) -> bool:
        """Whether a document is being fetched."""
        return bool(self._fetches)

    async def refresh(self, target: Target, group: Group | None = None) -> None:
        """Ask upstream now, on behalf of a document that names this one; raises UpstreamFailure where that fails.

        A 404 is a failure here: what a document names must be there.
        """
        if self._shared is not None:
            await self._shared.follow(target)
        epoch = self._invalidation.epoch(target)
        stored = await self._hot.get(target)
        held = stored if stored is not None and not stored.entry.absent else None
        answer = await self._fetcher.ask(target, held)
        if isinstance(answer, Answer):
            answer = await self._fetcher.examine(target, None, answer, group)
        if isinstance(answer, Answer) and answer.status in {404, 410}:
            answer = Failure(Reason.GONE, f"{target.path} is named but not there")
        stale = Stale(entry=held.entry, refreshable=False, usable=False, ttl=0.0) if held is not None else None
        await self.conclusions.carry_out(target, epoch, held, stale, answer)

    async def keep_named(self, index: Target, pages: Sequence[Target]) -> None:
        """``index`` names these pages now: where they are kept however old, those that it named before go later."""
        await self._hot.keep_named(index, pages)

    async def known_absent(self, target: Target, failure: UpstreamFailure | None = None) -> Found | None:
        """The stored 404 of ``target`` while it is believed; with a ``failure`` to ask again, for longer."""
        looked = self._look(target, await self._hot.get(target))
        if isinstance(looked, Miss) or not looked.entry.absent:
            return None
        if isinstance(looked, Fresh):
            status = CacheStatus(outcome=Outcome.ABSENT, hit=True, ttl=looked.ttl)
        elif failure is None:
            return None
        else:
            self._upstream.note_stale()
            status = CacheStatus(outcome=Outcome.STALE, forwarded="stale", detail=failure.reason)
        return Found(entry=looked.entry, body=b"", status=status)

    async def put_absent(self, target: Target) -> Found:
        """Remember that upstream said 404, as it has just done."""
        entry = await self._hot.entry(Answer(status=404))
        kept = await self._hot.put(target, entry, b"")
        status = CacheStatus(outcome=Outcome.ABSENT, forwarded="uri-miss", forward_status=404, stored=kept)
        return Found(entry=entry, body=b"", status=status)

    def invalidate(self, id: str) -> None:
        """A write to ``id`` succeeded: nothing about it counts as fresh, and no older fetch may be stored.

        Stored copies stay for outages. An empty ``id`` means that it is not known which package was written.
        """
        self._invalidation.note_write(id)
        if self._shared is not None:
            self._shared.wrote(id)

    async def purge(self, id: str) -> None:
        """Nothing that was said of ``id`` before is to be had from what replicas share; raises EngineUnavailable."""
        if self._shared is not None:
            await self._shared.forget(id)

    def note_other_write(self, id: str, at: float | None) -> None:
        """The same, where the write was made through another replica ``at`` a wall time; None: now."""
        self._invalidation.note_other_write(id, at)

    def forget(self) -> None:
        """What is stored may have been changed by somebody else: look anew."""
        self._hot.clear()

    async def settle_writes(self) -> None:
        """Wait until the next start will know of the writes so far; a ledger that cannot be written says so itself."""
        await self._invalidation.settle()
        if self._shared is not None:
            await self._shared.settle()

    def _look(self, target: Target, stored: Stored | None, *, offline: bool = False, settled: bool = False) -> Lookup:
        entry = stored.entry if stored is not None else None
        if entry is None or (entry.absent and entry.stored_at < self._absent_since):
            return MISS
        policy = self._invalidation.policy(target, self._policies[target.kind], entry.stored_at)
        if settled:
            policy = replace(policy, fresh=FOREVER)
        spread = 1.0 - self._jitter * target.fraction
        return decide_lookup(entry, policy, self._clock.now(), offline=offline, spread=spread)

    async def _within_soft_deadline(self, task: asyncio.Task[Found]) -> bool:
        if self._overdue:  # one has waited in vain already: a restore must not wait once for every document
            return task.done()
        done, _ = await asyncio.wait({task}, timeout=SOFT_DEADLINE)
        if not done:
            self._overdue.add(task)
            task.add_done_callback(self._overdue.discard)
        return bool(done)

    def _fetch(self, target: Target, group: Group | None) -> tuple[Shared[Found], bool]:
        """The one fetch of this target that is under way, or a new one; True when it was joined."""
        epoch = self._invalidation.epoch(target)
        # Who has something else to serve does not wait for a lost upstream: those who have nothing join no such fetch.
        # Of proxies that are each other's upstream one would wait for the other, did it join what that waits for.
        passed = asking().passed if target.kind is Kind.INDEX else ""
        slot = (target.key, epoch, is_spared() and self._upstream.is_lost, passed)
        if (known := self._fetches.get(slot)) is not None:
            return known, True
        fetch: Shared[Found] = Shared()
        self._fetches[slot] = fetch
        fetch.task = self._tasks.start(
            self._fly(target, epoch, group), name=f"fetch {target.kind} {target.path}", ended=partial(self._ended, slot)
        )
        return fetch, False

    def _ended(self, slot: _Slot) -> None:
        self._fetches.pop(slot).end()

    async def _fly(self, target: Target, epoch: int, group: Group | None) -> Found:
        stored = None if self._hot.lacks(target) else await self._hot.read(target)
        looked = self._look(target, stored)
        if isinstance(looked, Fresh):  # somebody landed between our lookup and our turn
            status = CacheStatus(outcome=Outcome.HIT, hit=True, ttl=looked.ttl)
            return Found(entry=looked.entry, body=body_of(stored), status=status)
        if self._shared is not None and is_shared(target):
            return await self._fly_in_turn(self._shared, target, group)
        return await self._ask_upstream(target, epoch, stored, looked, group)

    async def _fly_in_turn(self, shared: SharedDocuments, target: Target, group: Group | None) -> Found:
        """What another replica has been told, else what upstream says, to one of all replicas."""
        turn = await shared.take(target, partial(self._adopt, target))
        try:
            epoch = self._invalidation.epoch(target)  # who has looked knows of others' writes
            stored = await self._hot.get(target)
            looked = self._look(target, stored)
            if isinstance(looked, Fresh):
                outcome = Outcome.ABSENT if looked.entry.absent else Outcome.HIT
                detail = LEASE if turn.waited else SECOND_LEVEL
                status = CacheStatus(outcome=outcome, hit=True, ttl=looked.ttl, detail=detail)
                return Found(entry=looked.entry, body=body_of(stored), status=status)
            return await self._ask_upstream(target, epoch, stored, looked, group)
        finally:
            shared.end(target, turn.held)

    async def _adopt(self, target: Target, shared: SharedDocument) -> bool:
        """Keep what another replica was told, where it is newer than what is stored here; whether it is fresh."""
        stored = await self._hot.get(target)
        entry, body = shared.entry, shared.body
        if stored is None or entry.stored_at > stored.entry.stored_at:
            if not entry.absent and not await self._fetcher.is_sound(target, body):
                return False
            await self._hot.put(target, entry, body)
            self.conclusions.tell(target, self._invalidation.epoch(target), entry, body)
            stored = Stored(entry, body)
        return isinstance(self._look(target, stored), Fresh)

    async def _ask_upstream(
        self, target: Target, epoch: int, stored: Stored | None, looked: Lookup, group: Group | None
    ) -> Found:
        stale = looked if isinstance(looked, Stale) else None
        # A 404 is believed again only after as many tries as what is not known at all.
        better = stale is not None and stale.usable and not stale.entry.absent
        answer = await self._fetcher.ask(target, stored if stale is not None else None, usable=better)
        if isinstance(answer, Answer):
            self._overdue.clear()
            answer = await self._fetcher.examine(target, stored, answer, group)
        return await self.conclusions.carry_out(target, epoch, stored, stale, answer)
