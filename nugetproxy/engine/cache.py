"""Cache turns the decisions of ``caching/`` into reads and writes of one upstream's documents."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace

import orjson
import structlog
from cachetools import TTLCache

from nugetproxy.caching.decide import (
    Fail,
    Fresh,
    Freshen,
    Miss,
    ServeStale,
    Stale,
    Store,
    decide_answer,
    decide_lookup,
)
from nugetproxy.caching.entry import NO_VALIDATORS, Answer, Entry, Failure, Validators
from nugetproxy.caching.policy import MINUTE, Policy
from nugetproxy.clock import Clock
from nugetproxy.engine.outcome import CacheStatus, Outcome
from nugetproxy.engine.tasks import Tasks
from nugetproxy.errors import BadRequest, Reason, UpstreamFailure, upstream_failure
from nugetproxy.metrics import Metrics
from nugetproxy.nuget.documents import InvalidDocument, check
from nugetproxy.nuget.policies import Kind
from nugetproxy.store.entries import DiskEntries, Stored
from nugetproxy.upstream.client import UpstreamClient

log = structlog.get_logger(__name__)

HOT_SECONDS = 2.0
"""How long what is stored is remembered in memory; also bounds what one worker can miss of another's write."""

LEASH_SECONDS = 15 * MINUTE
"""How long after a write every read of its package is revalidated (nuget.org indexes a push with a delay)."""

CONFIRM_SECONDS = MINUTE
"""A list that vanished or became empty is believed when upstream still says so after this long."""

OFF_LOOP_BYTES = 64 * 1024
"""Documents from this size on are parsed and hashed in a thread."""

KEPT_WHEN_GONE = frozenset({Kind.INDEX, Kind.REGISTRATION_PAGE, Kind.VULNERABILITY_PAGE})
"""A 404 never takes them away: without the service index nothing that is stored could be served, and pages may still
be named by a stored index."""

QUERIES = frozenset({Kind.SEARCH, Kind.AUTOCOMPLETE})


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One cacheable GET of an upstream document."""

    kind: Kind
    path: str
    """The resource with the normalised path below it, as in ``registration/gz-semver2/acme/index.json``."""
    urls: tuple[str, ...] = ()
    """Where to ask, in order: the next one after a failure or a 404."""
    query: str = ""
    """The client's query in canonical form."""
    id: str = ""
    """Lower-case package id where the document is about one package."""
    scope: str
    """The upstream's service index URL."""
    key: str = field(init=False)
    """The cache key: different for every distinct (scope, kind, path, query)."""

    def __post_init__(self) -> None:
        parts = orjson.dumps([self.scope, self.kind, self.path, self.query])
        object.__setattr__(self, "key", f"{self.kind}:{hashlib.blake2b(parts, digest_size=20).hexdigest()}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A stored response, fit to be served, with how it was found."""

    entry: Entry
    body: bytes
    status: CacheStatus


Completion = Callable[[Target, Answer], Awaitable[None]]
"""Fetches what a document names before the document may replace a good copy; raises UpstreamFailure."""


class Cache:
    """Lookup, fetch, revalidate and invalidate for the documents of one upstream."""

    def __init__(
        self,
        upstream: UpstreamClient,
        entries: DiskEntries,
        *,
        policies: Mapping[Kind, Policy],
        clock: Clock,
        metrics: Metrics,
        tasks: Tasks,
        offline: bool = False,
        soft_deadline: float = 0.5,
        hot_bytes: int = 16 * 2**20,
    ) -> None:
        self._upstream = upstream
        self._entries = entries
        self._policies = policies
        self._clock = clock
        self._metrics = metrics
        self._tasks = tasks
        self._offline = offline
        self._soft_deadline = soft_deadline
        self._hot: TTLCache[str, Stored] = TTLCache(hot_bytes, HOT_SECONDS, clock.monotonic, _weight)
        self._fetches: dict[tuple[str, int], asyncio.Task[Found]] = {}
        self._epochs: dict[str, int] = {}
        self._leashed: TTLCache[str, bool] = TTLCache(10_000, LEASH_SECONDS, timer=clock.monotonic)
        self._queries_stale_before = 0.0
        self._doubts: TTLCache[str, float] = TTLCache(10_000, 60 * MINUTE, timer=clock.monotonic)

    async def get(self, target: Target, *, complete: Completion | None = None) -> Found:
        """The stored document, asked for upstream where the policy wants it.

        Raises UpstreamFailure when nothing usable is stored and upstream gives no usable answer, and BadRequest
        when upstream refuses a query as malformed.
        """
        key = target.key
        stored = await self.peek(key)
        now = self._clock.now()
        match decide_lookup(stored.entry if stored else None, self._policy(target, stored), now, offline=self._offline):
            case Fresh(entry, ttl):
                detail = "offline" if self._offline else ""
                outcome = Outcome.ABSENT if entry.absent else Outcome.HIT
                status = CacheStatus(outcome=outcome, hit=True, ttl=ttl, detail=detail)
                return Found(entry=entry, body=_body(stored), status=status)
            case Stale(entry=entry, refreshable=refreshable, usable=usable, ttl=ttl):
                task, collapsed = self._fetch(key, target, complete)
                status = CacheStatus(outcome=Outcome.STALE, hit=True, ttl=ttl)
                if refreshable:
                    return Found(entry=entry, body=_body(stored), status=status)
                if usable and not await self._within_soft_deadline(task):
                    return Found(entry=entry, body=_body(stored), status=replace(status, detail="slow_upstream"))
            case Miss():
                if self._offline:
                    raise upstream_failure(self._upstream.name, Reason.OFFLINE, "it is not in this cache")
                task, collapsed = self._fetch(key, target, complete)
        found = await asyncio.shield(task)
        if collapsed:
            self._metrics.collapsed.inc()
            status = replace(found.status, collapsed=True, outcome=Outcome.COLLAPSED, stored=False)
            return replace(found, status=status)
        return found

    async def peek(self, key: str) -> Stored | None:
        """What is stored under ``key``, however old."""
        stored = self._hot.get(key)
        if stored is None:
            read = await self._entries.get(key)
            # Something newer may have been stored while we read.
            stored = self._hot.get(key) or read
            if stored is read and read is not None:
                self._remember(key, read)
        return stored

    def _remember(self, key: str, stored: Stored) -> None:
        if len(stored.body) < self._hot.maxsize // 4:
            self._hot[key] = stored

    async def stored(self, target: Target) -> Stored | None:
        """What is stored for ``target``, however old, without asking upstream."""
        return await self.peek(target.key)

    async def refresh(self, target: Target) -> None:
        """Ask upstream now, on behalf of a document that names this one; raises UpstreamFailure where that fails.

        A 404 is a failure here: what a document names must be there.
        """
        key = target.key
        stored = await self.peek(key)
        held = stored if stored is not None and not stored.entry.absent else None
        answer = await self._ask(target, held)
        if isinstance(answer, Answer) and answer.status == 200:
            answer = await self._examine(key, target, None, answer, None)
        match decide_answer(held.entry if held else None, False, answer, self._clock.now()):
            case Store(said, _) if said.status == 200:
                await self._store(key, target, await self._entry(said), said.body)
            case Freshen(entry):
                await self._store(key, target, entry, _body(held))
            case Fail(reason, retry_after):
                raise upstream_failure(self._upstream.name, reason, target.path, retry_after=retry_after)
            case _:
                raise upstream_failure(self._upstream.name, Reason.GONE, f"{target.path} is named but not there")

    async def known_absent(self, target: Target) -> Found | None:
        """The stored 404 of ``target`` while it is believed."""
        stored = await self.peek(target.key)
        if stored is None or not stored.entry.absent:
            return None
        looked = decide_lookup(stored.entry, self._policy(target, stored), self._clock.now())
        if not isinstance(looked, Fresh):
            return None
        status = CacheStatus(outcome=Outcome.ABSENT, hit=True, ttl=looked.ttl)
        return Found(entry=stored.entry, body=b"", status=status)

    async def put_absent(self, target: Target) -> None:
        """Remember that upstream said 404."""
        await self._store(target.key, target, await self._entry(Answer(status=404)), b"")

    def is_leashed(self, id: str) -> bool:
        """True for a while after a write to this package: everything about it is revalidated."""
        return id in self._leashed

    def invalidate(self, id: str) -> None:
        """A write to ``id`` succeeded: nothing about it counts as fresh, and no older fetch may be stored.

        Stored copies stay for outages. An empty ``id`` means that it is not known which package was written.
        """
        self._epochs[id] = self._epochs.get(id, 0) + 1
        self._leashed[id] = True
        self._queries_stale_before = self._clock.now()
        self._hot.clear()

    def _epoch(self, id: str) -> int:
        return self._epochs.get(id, 0) + self._epochs.get("", 0)

    def _policy(self, target: Target, stored: Stored | None) -> Policy:
        policy = self._policies[target.kind]
        leashed = target.id and (target.id in self._leashed or "" in self._leashed)
        outdated = (
            target.kind in QUERIES and stored is not None and stored.entry.stored_at <= self._queries_stale_before
        )
        return replace(policy, fresh=0.0, refresh=0.0, absent=0.0) if leashed or outdated else policy

    async def _within_soft_deadline(self, task: asyncio.Task[Found]) -> bool:
        done, _ = await asyncio.wait({task}, timeout=self._soft_deadline)
        return bool(done)

    def _fetch(self, key: str, target: Target, complete: Completion | None) -> tuple[asyncio.Task[Found], bool]:
        """The one fetch of this key that is under way, or a new one; True when it was joined."""
        slot = (key, self._epoch(target.id))
        task = self._fetches.get(slot)
        if task is not None:
            return task, True
        task = self._tasks.start(self._fly(slot, target, complete), name=f"fetch {target.kind} {target.path}")
        self._fetches[slot] = task
        task.add_done_callback(lambda _: self._fetches.pop(slot, None))
        return task, False

    async def _fly(self, slot: tuple[str, int], target: Target, complete: Completion | None) -> Found:
        key, epoch = slot
        stored = await self.peek(key)
        policy = self._policy(target, stored)
        looked = decide_lookup(stored.entry if stored else None, policy, self._clock.now())
        if isinstance(looked, Fresh):  # somebody landed between our lookup and our turn
            status = CacheStatus(outcome=Outcome.HIT, hit=True, ttl=looked.ttl)
            return Found(entry=looked.entry, body=_body(stored), status=status)
        stale = looked.entry if isinstance(looked, Stale) else None
        usable = isinstance(looked, Stale) and looked.usable
        answer = await self._ask(target, stored if stale is not None else None)
        if isinstance(answer, Answer):
            answer = await self._examine(key, target, stored, answer, complete)
        forwarded = "stale" if stale is not None else "uri-miss"
        match decide_answer(stale, usable, answer, self._clock.now()):
            case Store(said, _):
                entry = await self._entry(said)
                kept = await self._store_unless_outdated(key, epoch, target, entry, said.body)
                outcome = Outcome.ABSENT if entry.absent else Outcome.MISS
                status = CacheStatus(outcome=outcome, forwarded=forwarded, forward_status=said.status, stored=kept)
                return Found(entry=entry, body=said.body, status=status)
            case Freshen(entry):
                body = _body(stored)
                await self._store_unless_outdated(key, epoch, target, entry, body)
                status = CacheStatus(outcome=Outcome.REVALIDATED, forwarded=forwarded, forward_status=304)
                return Found(entry=entry, body=body, status=status)
            case ServeStale(entry, reason):
                log.warning("document.stale", upstream=self._upstream.name, path=target.path, reason=reason)
                status = CacheStatus(outcome=Outcome.STALE, forwarded=forwarded, detail=reason)
                return Found(entry=entry, body=_body(stored), status=status)
            case Fail(reason, retry_after):
                detail = answer.detail if isinstance(answer, Failure) else f"status {answer.status}"
                failure = upstream_failure(self._upstream.name, reason, detail, retry_after=retry_after)
                failure.forwarded = forwarded
                raise failure

    async def _ask(self, target: Target, stored: Stored | None) -> Answer | Failure:
        """The first useful answer of the target's URLs; a 404 counts only when no other URL failed."""
        said: Answer | None = None
        failed: Failure | None = None
        for url in target.urls:
            try:
                answer = await self._upstream.get(url, validators=_validators(stored))
            except UpstreamFailure as failure:
                failed = Failure(failure.reason, failure.detail, failure.retry_after)
                continue
            if answer.status not in {404, 410}:
                return answer
            said = answer
        if failed is not None:
            return failed
        return said or Failure(Reason.ID_DENIED, f"the upstream's service index has no usable {target.path}")

    async def _examine(
        self, key: str, target: Target, stored: Stored | None, answer: Answer, complete: Completion | None
    ) -> Answer | Failure:
        """Refuse what must not replace a good copy."""
        if answer.status == 400 and target.kind in QUERIES:
            raise BadRequest(f"The upstream {self._upstream.name!r} refused this query as malformed (status 400).")
        try:
            if answer.status == 200:
                await self._check(target, answer)
                if complete is not None:
                    await complete(target, answer)
        except InvalidDocument as problem:
            self._metrics.integrity_failures.labels(Reason.INVALID_CONTENT).inc()
            self._upstream.report_invalid(answer.url)
            log.warning(
                "document.refused",
                upstream=self._upstream.name,
                path=target.path,
                reason=Reason.INVALID_CONTENT,
                problem=str(problem),
            )
            return Failure(Reason.INVALID_CONTENT, str(problem))
        except UpstreamFailure as failure:
            return Failure(failure.reason, failure.detail, failure.retry_after)
        return self._doubt(key, target, stored, answer)

    async def _check(self, target: Target, answer: Answer) -> None:
        if len(answer.body) > OFF_LOOP_BYTES:
            await asyncio.to_thread(check, target.kind, answer.body, id=target.id)
        else:
            check(target.kind, answer.body, id=target.id)

    def _doubt(self, key: str, target: Target, stored: Stored | None, answer: Answer) -> Answer | Failure:
        """Believe only on confirmation that something stored is gone or has become empty."""
        if stored is None or stored.entry.absent:
            return answer
        gone = answer.status in {404, 410}
        empty = target.kind is Kind.VERSIONS and answer.status == 200 and _is_empty(answer.body)
        if not (gone or (empty and not _is_empty(stored.body))):
            self._doubts.pop(key, None)
            return answer
        reason = Reason.GONE if gone else Reason.SHRUNK_INDEX
        since = self._doubts.setdefault(key, self._clock.monotonic())
        if target.kind in KEPT_WHEN_GONE or self._clock.monotonic() - since < CONFIRM_SECONDS:
            self._metrics.upstream_failures.labels(self._upstream.name, reason).inc()
            return Failure(reason, "upstream no longer has what is stored here")
        return answer

    async def _entry(self, answer: Answer) -> Entry:
        absent = answer.status != 200
        body = b"" if absent else answer.body
        digest = hashlib.sha256(body) if len(body) < OFF_LOOP_BYTES else await asyncio.to_thread(hashlib.sha256, body)
        return Entry(
            status=404 if absent else 200,
            stored_at=self._clock.now(),
            digest=digest.hexdigest(),
            validators=answer.validators,
            content_type=answer.content_type,
            url=answer.url,
        )

    async def _store_unless_outdated(self, key: str, epoch: int, target: Target, entry: Entry, body: bytes) -> bool:
        """Store, unless a write came between the question and now: then the answer may be of before it."""
        if epoch != self._epoch(target.id):
            return False
        await self._store(key, target, entry, body)
        return True

    async def _store(self, key: str, target: Target, entry: Entry, body: bytes) -> None:
        policy = self._policies[target.kind]
        body = b"" if entry.absent else body
        self._remember(key, Stored(entry, body))
        keep = policy.absent if entry.absent else policy.fresh + max(policy.refresh, policy.on_error)
        expire = None if keep == float("inf") else max(keep, 1.0)
        await self._entries.put(key, entry, body, tag=target.id or str(target.kind), expire=expire)


def _weight(stored: Stored) -> int:
    return len(stored.body) + 512


def _body(stored: Stored | None) -> bytes:
    return stored.body if stored is not None else b""


def _validators(stored: Stored | None) -> Validators:
    return stored.entry.validators if stored is not None else NO_VALIDATORS


def _is_empty(versions: bytes) -> bool:
    return not orjson.loads(versions).get("versions")
