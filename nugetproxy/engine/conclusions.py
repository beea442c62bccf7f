"""Conclusions stores and serves what was decided about the answers of one upstream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import assert_never

import structlog

from nugetproxy.caching.decide import Fail, Freshen, ServeStale, Stale, Store, decide_answer
from nugetproxy.caching.entry import Answer, Entry, Failure
from nugetproxy.caching.policy import HOUR, Policy
from nugetproxy.clock import Clock
from nugetproxy.engine.hot_documents import HotDocuments
from nugetproxy.engine.invalidation import Invalidation
from nugetproxy.engine.outcome import CacheStatus, Outcome
from nugetproxy.engine.shared_documents import SharedDocuments, is_shared
from nugetproxy.engine.target import Found, Target, Witness
from nugetproxy.engine.tasks import Tasks
from nugetproxy.nuget.kinds import Kind
from nugetproxy.store.documents.documents import Stored
from nugetproxy.upstream.client import UpstreamClient

log = structlog.get_logger(__name__)


class Conclusions:
    """The end of every fetch: what upstream said is stored, unless it is outdated, and told to who wants to know."""

    def __init__(
        self,
        upstream: UpstreamClient,
        hot: HotDocuments,
        invalidation: Invalidation,
        *,
        policies: Mapping[Kind, Policy],
        clock: Clock,
        tasks: Tasks,
        shared: SharedDocuments | None,
    ) -> None:
        self.witness: Witness | None = None
        """Is told of what upstream says."""
        self._upstream = upstream
        self._hot = hot
        self._invalidation = invalidation
        self._policies = policies
        self._clock = clock
        self._tasks = tasks
        self._shared = shared

    async def carry_out(
        self, target: Target, epoch: int, stored: Stored | None, stale: Stale | None, answer: Answer | Failure
    ) -> Found:
        """Store and serve what the answer, or its absence, leads to."""
        forwarded = "stale" if stale is not None else "uri-miss"
        entry, usable = (stale.entry, stale.usable) if stale is not None else (None, False)
        match decide_answer(entry, usable, answer, self._clock.now()):
            case Store(said, _):
                entry = await self._hot.entry(said)
                kept = await self._put_unless_outdated(target, epoch, entry, said.body)
                changed = stored is None or stored.entry.digest != entry.digest
                self.tell(target, epoch, entry, said.body, changed=changed)
                outcome = Outcome.ABSENT if entry.absent else Outcome.MISS
                status = CacheStatus(outcome=outcome, forwarded=forwarded, forward_status=said.status, stored=kept)
                return Found(entry=entry, body=said.body, status=status)
            case Freshen(entry):
                await self._put_unless_outdated(target, epoch, entry, body_of(stored))
                self.tell(target, epoch, entry, body_of(stored), changed=False)
                status = CacheStatus(outcome=Outcome.REVALIDATED, forwarded=forwarded, forward_status=304)
                return Found(entry=entry, body=body_of(stored), status=status)
            case ServeStale(entry, reason):
                self._upstream.note_stale()
                log.debug("document.stale", upstream=self._upstream.name, path=target.path, reason=reason)
                status = CacheStatus(outcome=Outcome.STALE, forwarded=forwarded, detail=reason)
                return Found(entry=entry, body=body_of(stored), status=status, notice=self._notice(answer))
            case Fail(reason, retry_after):
                failed = (
                    answer if isinstance(answer, Failure) else Failure(reason, f"status {answer.status}", retry_after)
                )
                failure = failed.exception(self._upstream.name)
                failure.forwarded = forwarded
                raise failure
            case unknown:
                assert_never(unknown)

    def _notice(self, answer: Answer | Failure) -> str:
        """What readers of a stale document must know: an outage passes by itself, a final no does not."""
        if isinstance(answer, Answer) or answer.denial is None:
            return ""
        return f"{answer.exception(self._upstream.name)} What was stored before is served."

    def tell(self, target: Target, epoch: int, entry: Entry, body: bytes, *, changed: bool = True) -> None:
        """Let the witness know what ``target`` is now, also where the disk did not take it: the ledger may."""
        said = not entry.absent or target.kind is Kind.VERSIONS  # that there is none says what was withdrawn
        if self.witness is None or not said or epoch != self._invalidation.epoch(target):
            return
        if not self.witness.glance(target, body, changed=changed):
            self._tasks.start(self.witness.note(target, body, changed=changed), name=f"witness {target.path}")

    async def _put_unless_outdated(self, target: Target, epoch: int, entry: Entry, body: bytes) -> bool:
        """Store, unless a write came between the question and now: then the answer may be of before it.

        False also where it is not known to be stored.
        """
        if epoch != self._invalidation.epoch(target):
            return False
        if self._shared is not None and is_shared(target):
            self._shared.put(target, entry, body, seconds=self._keep_hot(target, entry))
        return await self._hot.put(target, entry, body)

    def _keep_hot(self, target: Target, entry: Entry) -> float:
        """Seconds that a document is of use to other replicas, even if they have one of their own in the end."""
        policy = self._policies[target.kind]
        return policy.absent if entry.absent else policy.fresh + policy.refresh + HOUR


def body_of(stored: Stored | None) -> bytes:
    """The stored body; empty where there is none."""
    return stored.body if stored is not None else b""
