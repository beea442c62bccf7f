"""Fetcher asks upstream for documents, believing only what can be true."""

from __future__ import annotations

from functools import partial

from cachetools import TTLCache

from nugetproxy import log as logs
from nugetproxy.caching.entry import NO_VALIDATORS, Answer, Failure
from nugetproxy.caching.policy import HOUR, MINUTE
from nugetproxy.clock import Clock
from nugetproxy.engine.target import Group, Target
from nugetproxy.errors import FINAL, BadRequest, Reason, UpstreamFailure
from nugetproxy.metrics import Metrics
from nugetproxy.nuget.documents.exact_json import loads
from nugetproxy.nuget.documents.registration import is_empty
from nugetproxy.nuget.documents.render import Bounds, InvalidDocument, check
from nugetproxy.nuget.documents.version_list import names_nothing
from nugetproxy.nuget.kinds import Kind
from nugetproxy.off_loop import LARGE, off_loop
from nugetproxy.store.documents.documents import Stored
from nugetproxy.upstream.client import NO_HEADERS, UpstreamClient
from nugetproxy.upstream.faults import OF_A_TARGET
from nugetproxy.upstream.patience import Patience, has_spare, impatience

CONFIRM_SECONDS = MINUTE
"""A list that vanished or became empty is believed when upstream still says so after this long."""


class Fetcher:
    """Questions to one upstream; a failure is a value here, for the decision that follows."""

    def __init__(self, upstream: UpstreamClient, clock: Clock, metrics: Metrics, bounds: Bounds) -> None:
        self._upstream = upstream
        self._bounds = bounds
        self._clock = clock
        self._metrics = metrics
        self._doubts: TTLCache[str, float] = TTLCache(10_000, HOUR, timer=clock.monotonic)

    async def ask(self, target: Target, stored: Stored | None, *, usable: bool = True) -> Answer | Failure:
        """The first useful answer of the target's URLs; a 404 counts only when no other URL failed.

        Asked once where something is ``stored`` that is ``usable`` instead, else again and again for a while.
        """
        said: Answer | None = None
        failed: Failure | None = None
        patience = Patience() if stored is None or not usable else impatience()
        if target.kind is Kind.INDEX and self._upstream.is_lost and await has_spare():
            patience = impatience()  # a restore cannot begin without it; one made of what is held is here
        for url in target.urls:
            try:
                answer = await self._upstream.get(
                    url,
                    validators=stored.entry.validators if stored is not None else NO_VALIDATORS,
                    limit=target.limit,
                    headers=dict(target.headers) if target.headers else NO_HEADERS,
                    patience=patience,
                    verify=partial(self._check, target),
                )
            except UpstreamFailure as failure:
                self._note(target, failure)
                failed = Failure.of(failure)
                continue
            if answer.status in FINAL and not (answer.status == 400 and target.kind.row.query):
                return Failure.of(self._upstream.denied(answer.status, answer.phrase))
            if answer.status not in {404, 410}:
                return answer
            said = answer
        if failed is not None:
            return failed
        return said or Failure(Reason.ID_DENIED, f"the upstream's service index has no usable {target.path}")

    async def examine(
        self, target: Target, stored: Stored | None, answer: Answer, group: Group | None
    ) -> Answer | Failure:
        """Refuse what must not replace a good copy."""
        if answer.status == 400 and target.kind.row.query:
            raise BadRequest(f"The upstream {self._upstream.name!r} refused this query as malformed (status 400).")
        try:
            if answer.status == 200 and group is not None and target.kind.row.with_pages:
                await group.complete(target, answer)
        except InvalidDocument as problem:
            failure = self._upstream.refused(Reason.INVALID_CONTENT, str(problem))
            self._note(target, failure)
            return Failure.of(failure)
        except UpstreamFailure as failure:
            return Failure.of(failure)
        return answer if stored is None or stored.entry.absent else await self._doubt(target, stored, answer)

    def _note(self, target: Target, failure: UpstreamFailure) -> None:
        """Say it where the document is what is wrong; of an upstream that is lost, its breaker says enough."""
        if failure.remembered:
            return
        if failure.reason is Reason.INVALID_CONTENT:
            self._metrics.integrity_failures.labels(Reason.INVALID_CONTENT).inc()
        if failure.reason in OF_A_TARGET and not failure.of_host:
            logs.rate_limited(
                "document.refused",
                self._upstream.name,
                upstream=self._upstream.name,
                path=target.path,
                reason=failure.reason,
                detail=failure.detail,
            )

    async def is_sound(self, target: Target, body: bytes) -> bool:
        """Whether a document that another replica was given is one that upstream could have said."""
        try:
            await self._check(target, Answer(status=200, body=body))
        except InvalidDocument:
            self._metrics.integrity_failures.labels(Reason.INVALID_CONTENT).inc()
            return False
        return True

    async def _check(self, target: Target, answer: Answer) -> None:
        kind, body, bounds = target.kind, answer.body, self._bounds
        if len(body) <= LARGE:
            check(kind, body, id=target.id, path=target.path, bounds=bounds)
        else:
            await off_loop(len(body), check, kind, body, id=target.id, path=target.path, bounds=bounds)

    async def _doubt(self, target: Target, stored: Stored, answer: Answer) -> Answer | Failure:
        """Believe only on confirmation that something stored is gone or has become empty."""
        gone = answer.status in {404, 410}
        empty = answer.status == 200 and await _is_empty(target.kind, answer.body)
        if not (gone or (empty and not await _is_empty(target.kind, stored.body))):
            self._doubts.pop(target.key, None)
            return answer
        reason = Reason.GONE if gone else Reason.SHRUNK_INDEX
        since = self._doubts.setdefault(target.key, self._clock.monotonic())
        if target.kind.row.vital or self._clock.monotonic() - since < CONFIRM_SECONDS:
            self._metrics.upstream_failures.labels(self._upstream.name, reason).inc()
            return Failure(reason, "upstream no longer has what is stored here")
        return answer


async def _is_empty(kind: Kind, body: bytes) -> bool:
    """Whether a list of versions, or a registration, has none."""
    if kind is Kind.REGISTRATION:
        return len(body) <= LARGE and is_empty(loads(body))  # a larger one has some
    return kind is Kind.VERSIONS and await off_loop(len(body), names_nothing, body)
