"""Feed commands tell where packages come from, have that asked anew, end claims."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import structlog
from msgspec import Struct, to_builtins

from nugetproxy.admin.desk import Desk
from nugetproxy.admin.explain import explain as explained
from nugetproxy.engine.shared_truth import SharedTruth
from nugetproxy.errors import BadRequest, NotFound, ProxyError
from nugetproxy.feeds.feed import Feed
from nugetproxy.nuget.identity import PackageId, invariant_lower
from nugetproxy.sources.remote import RemoteSource
from nugetproxy.sources.source import Source
from nugetproxy.store.ledger.ledger import Ledger

log = structlog.get_logger(__name__)


async def explain(desk: Desk, *, id: str, version: str = "", feed: str = "") -> Mapping[str, Any]:
    """Which source serves an id or a version in a feed (the first, where none is named), and why; nobody is asked."""
    found = await explained(desk.feed(feed), desk.clock.now(), id_=id, version=version)
    return {**to_builtins(found), "lines": list(found.lines())}


async def asked_anew(desk: Desk, *, id: str, feed: str = "") -> Mapping[str, Any]:
    """Have the upstreams asked about an id now that it may come from in a feed (the first, where none is named);
    ``failure`` says why one could not be, empty where all were; ``ruled`` whether the feed has rules.
    """
    found, package = desk.feed(feed), PackageId.parse(id)
    if package is None:
        raise NotFound(f"{id[:100]!r} is no package id.")
    sources = found.sources
    if found.merged is not None:
        await found.merged.guard.claims.ready()
        sources = found.merged.guard.candidates(package.lower).asked
    failures = [await _failure(source, package.lower) for source in sources]
    desk.switch.forget()
    said = "; ".join(failure for failure in failures if failure)
    return {"failure": said, "ruled": found.judge is not None}


async def _failure(source: Source, id_: str) -> str:
    """Why a source could not be asked about an id; one that never is needs not be."""
    if not isinstance(source, RemoteSource) or source.offline:
        return ""
    try:
        done = await source.refresh(id_)
    except NotFound:
        return ""
    except ProxyError as error:
        return str(error)
    stale = next((status.detail for status in done.values() if status.detail), "")
    return f"upstream {source.name!r} could not be asked ({stale})" if stale else ""


async def listed(desk: Desk, *, id: str = "") -> Mapping[str, Any]:
    """The claims of private sources, to all ids or to one."""
    return {"claims": [to_builtins(one) for one in await claims_of(desk.ledger, id)]}


async def release(desk: Desk, *, id: str = "", upstream: str = "") -> Mapping[str, Any]:
    """End the claims to an id, those of an upstream, or the one of both."""
    if not id and not upstream:
        raise BadRequest("Name an id, or the upstream whose claims are to end.")
    ended = await end_claims(desk.ledger, desk.feeds, id_=id, source=upstream, truth=desk.truth)
    return {"released": [to_builtins(one) for one in ended]}


class Claim(Struct, frozen=True, order=True):
    """The right of a private source to an id."""

    id: str
    """Lower case."""
    source: str


async def claims_of(ledger: Ledger, id_: str = "") -> tuple[Claim, ...]:
    """All of them, or those of one id in any spelling; raises LedgerUnavailable."""
    wanted = invariant_lower(id_)
    found = (Claim(known, source) for source, known in await ledger.claims())
    return tuple(sorted(one for one in found if not wanted or one.id == wanted))


async def end_claims(
    ledger: Ledger, feeds: Mapping[str, Feed], *, id_: str = "", source: str = "", truth: SharedTruth | None = None
) -> tuple[Claim, ...]:
    """End the claims to an id, those of a source, or both, with the versions that they own; which ones they were.

    A source that still has the id claims it again when it says so next. Raises LedgerUnavailable, and
    EngineUnavailable where other replicas could not learn of it.
    """
    ended = tuple(one for one in await claims_of(ledger, id_) if not source or one.source == source)
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
