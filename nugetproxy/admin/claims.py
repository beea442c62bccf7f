"""Claims of private sources are listed, and ended, on an operator's word."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import structlog

from nugetproxy.engine.shared_truth import SharedTruth
from nugetproxy.feeds.feed import Feed
from nugetproxy.nuget.identity import invariant_lower
from nugetproxy.store.ledger.ledger import Ledger

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, order=True)
class Claim:
    """The right of a private source to an id."""

    id: str
    """Lower case."""
    source: str


async def claims(ledger: Ledger, id_: str = "") -> tuple[Claim, ...]:
    """All of them, or those of one id in any spelling; raises LedgerUnavailable."""
    wanted = invariant_lower(id_)
    found = (Claim(known, source) for source, known in await ledger.claims())
    return tuple(sorted(one for one in found if not wanted or one.id == wanted))


async def release(
    ledger: Ledger, feeds: Mapping[str, Feed], *, id_: str = "", source: str = "", truth: SharedTruth | None = None
) -> tuple[Claim, ...]:
    """End the claims to an id, those of a source, or both, with the versions that they own; which ones they were.

    A source that still has the id claims it again when it says so next. Raises LedgerUnavailable, and
    EngineUnavailable where other replicas could not learn of it.
    """
    ended = tuple(one for one in await claims(ledger, id_) if not source or one.source == source)
    for one in ended:
        if truth is not None:
            await truth.release(one.source, one.id)
        await ledger.disclaim(one.source, one.id)
        versions = await ledger.disown(one.source, one.id)
        log.warning("claim.released", upstream=one.source, id=one.id, versions=versions)
    if source and not id_:  # also what it owned as a public source
        await ledger.disown(source, "")
    for feed in feeds.values():
        if feed.merged is not None:
            feed.merged.owners.forget()
            await feed.merged.guard.claims.reload()
    return ended
