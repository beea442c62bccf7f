"""Audit looks for what is held, or was got lately, that should not be used any more."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from typing import Any, Final, TypeVar

from msgspec import Struct, field

from nugetproxy.admin.desk import Desk
from nugetproxy.admin.findings import Finding, Ruled
from nugetproxy.feeds.dossiers import BASE
from nugetproxy.feeds.feed import Feed
from nugetproxy.feeds.held_licenses import with_held_licenses
from nugetproxy.feeds.judge import Judge
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.nuget.judging import AS_OF
from nugetproxy.nuget.rules import Action, Traits, Verdict
from nugetproxy.nuget.version import Version
from nugetproxy.sources.inspection import holdings_of, unseen_of
from nugetproxy.store.history.history import HistoryUnavailable
from nugetproxy.store.history.reading import Pull

AT_ONCE: Final = 8
"""Ids of which upstreams are asked at once."""

SLICE: Final = 10
"""Ids that are looked at before others have their turn."""

T = TypeVar("T")
Known = dict[PackageIdentity, Traits]
Remarks = Mapping[PackageIdentity, tuple[bool, str | None]]


class _Scope(Struct, kw_only=True):
    """What is looked at."""

    held: dict[str, Known] = field(default_factory=dict)
    """By source: what is held, with what is known of it here."""
    pulled: dict[str, dict[PackageIdentity, float]] = field(default_factory=dict)
    """By feed: what clients have got, with the last time."""
    unknown: list[dict[str, str]] = field(default_factory=list)
    """What could not be found out."""


async def audit(
    desk: Desk, *, feeds: Collection[str], since: float = 0.0, ask: bool = False, most: int | None = None
) -> Mapping[str, Any]:
    """What is to be said of the versions that ``feeds`` hold or have handed out; of those since a wall time only, where
    one is given. The gravest come first, so many of them as are wanted at ``most``.

    ``ask``: upstreams are asked for what rules look at, as a restore does; else what is known here must do.
    """
    scope = await _scope(desk, feeds, since, look=ask)
    found: dict[PackageIdentity, Finding] = {}
    looked: set[PackageIdentity] = set()
    for name in feeds:
        wanted = await asyncio.to_thread(_wanted, scope, desk.feeds[name], since)
        await asyncio.to_thread(looked.update, wanted)
        await _judge(desk.feeds[name], wanted, found, ask=ask)
    await _advise(desk, looked, found)
    findings = await asyncio.to_thread(_gravest_first, scope, looked, found)
    for one in findings[:most]:
        await _complete(desk, scope, one, feeds, since)
    told = [(name, says) for name, says in desk.advisories.problems.items() if name in scope.held]
    problems = [{"upstream": name, "says": says} for name, says in told]
    return {
        "looked_at": len(looked),
        "total": len(findings),
        "findings": [one.json() for one in findings[:most]],
        "without_advisories": sorted(desk.advisories.silent & scope.held.keys()),
        "unknown": scope.unknown + problems,
    }


async def _in_slices(things: Iterable[T]) -> AsyncIterator[T]:
    """Each of them; the clients of the proxy have their turn now and then."""
    for number, one in enumerate(things, 1):
        yield one
        if number % SLICE == 0:
            await asyncio.sleep(0)


def _gravest_first(
    scope: _Scope, looked: Collection[PackageIdentity], found: dict[PackageIdentity, Finding]
) -> list[Finding]:
    _tell_facts(scope, looked, found)
    findings = [one for one in found.values() if one.is_any]
    return sorted(findings, key=lambda one: (-one.severity, one.id, Version.parse(one.version) or Version.parse("0")))


async def _scope(desk: Desk, feeds: Collection[str], since: float, *, look: bool) -> _Scope:
    scope = _Scope()
    for source in {one.name: one for name in feeds for one in desk.feeds[name].sources}.values():
        if unseen := await unseen_of(source, wait=look):
            scope.unknown.append({"upstream": source.name, "says": unseen})
        holdings = holdings_of(source)
        recorded = await holdings.recorded() if holdings is not None else {}
        remarks = await desk.ledger.remarkable(source.name)
        gone = {one for one, seen in (await desk.ledger.missing(source.name)).items() if seen.withdrawn is not None}
        scope.held[source.name] = await asyncio.to_thread(_known, source.name, recorded, remarks, gone)
    try:
        await desk.history.flush()
        scope.pulled = await asyncio.to_thread(_pulled, await desk.history.pulled(since, feeds))
    except HistoryUnavailable as error:
        scope.unknown.append({"upstream": "", "says": f"what clients have got: {error}"})
    return scope


def _known(
    source: str,
    recorded: Mapping[PackageIdentity, tuple[int, float]],
    remarks: Remarks,
    gone: Collection[PackageIdentity],
) -> Known:
    """What is known of all that one source has here, or has said something about."""
    known: Known = {}
    for identity in {*recorded, *remarks, *gone}:
        listed, deprecation = remarks.get(identity, (True, None))
        known[identity] = Traits(
            source=source if identity in recorded else "",
            date=recorded[identity][1] if identity in recorded else None,
            spared=True,
            listed=listed,
            deprecation=deprecation,
            withdrawn=identity in gone,
        )
    return known


def _pulled(pulls: Iterable[Pull]) -> dict[str, dict[PackageIdentity, float]]:
    """By feed: what clients have got, with the last time."""
    pulled: dict[str, dict[PackageIdentity, float]] = {}
    for pull in pulls:
        pulled.setdefault(pull.feed, {})[PackageIdentity(pull.id, pull.version)] = pull.last
    return pulled


def _by_id(identities: Iterable[PackageIdentity]) -> dict[str, list[PackageIdentity]]:
    of_id: defaultdict[str, list[PackageIdentity]] = defaultdict(list)
    for identity in identities:
        of_id[identity.id].append(identity)
    return of_id


def _wanted(scope: _Scope, feed: Feed, since: float) -> Known:
    """The versions of a feed that are looked at, with what is known of them here."""
    known: Known = {}
    for source in feed.sources:
        for identity, traits in scope.held[source.name].items():
            known.setdefault(identity, traits)
    pulled = scope.pulled.get(feed.name, {})
    wanted = {identity: known.get(identity, Traits(spared=True)) for identity in pulled}
    if not since:
        wanted |= {identity: traits for identity, traits in known.items() if traits.source}
    return wanted


# --- what rules say ---


async def _judge(feed: Feed, wanted: Known, found: dict[PackageIdentity, Finding], *, ask: bool) -> None:
    judge = feed.judge
    if judge is None:
        return
    left = iter((await asyncio.to_thread(_by_id, wanted)).items())

    async def look() -> None:
        async for id_, identities in _in_slices(left):
            known = {one: wanted[one] for one in identities}
            for identity, verdict in (await _verdicts(feed, judge, id_, known, ask=ask)).items():
                if rules := list(_ruled(feed.name, verdict)):
                    _of(found, identity).rules += rules

    await asyncio.gather(*(look() for _ in range(AT_ONCE)))


async def _verdicts(
    feed: Feed, judge: Judge, id_: str, known: Known, *, ask: bool
) -> Mapping[PackageIdentity, Verdict]:
    parsed = {one: version for one in known if (version := Version.parse(one.version)) is not None}
    ruling = judge.known(id_)
    if ruling is None and ask:
        ruling = await judge.ruling(id_)
    if ruling is None:
        assumed = judge.assume(id_, {version: known[one] for one, version in parsed.items()})
        return {one: assumed[version] for one, version in parsed.items() if version in assumed}
    ruling = await with_held_licenses(judge, feed.sources, ruling)
    return {one: ruling.of(version) for one, version in parsed.items()}


def _ruled(feed: str, verdict: Verdict) -> Iterable[Ruled]:
    """What rules have to say of a version; that a feed is shown as it was before is nothing against one."""
    if verdict.rule is not None and verdict.rule is not AS_OF and verdict.action is not Action.ALLOW:
        yield Ruled(feed, verdict.rule.name, str(verdict.action), verdict.why)
    for rule, why in verdict.tried:
        yield Ruled(feed, rule.name, "dry_run", why)


# --- what upstreams say ---


async def _advise(desk: Desk, looked: Iterable[PackageIdentity], found: dict[PackageIdentity, Finding]) -> None:
    of_id = await asyncio.to_thread(_by_id, looked)
    async for id_, identities in _in_slices(of_id.items()):
        for identity in identities if (known := await desk.advisories.of(id_, BASE)) else ():
            version = Version.parse(identity.version)
            mine = {one.url: one for one in known if version is not None and one.concerns(version)}
            if mine:
                _of(found, identity).advisories = tuple(mine.values())


def _tell_facts(scope: _Scope, looked: Collection[PackageIdentity], found: dict[PackageIdentity, Finding]) -> None:
    for known in scope.held.values():
        for identity, traits in known.items():
            if identity in looked and (traits.withdrawn or traits.is_deprecated or traits.listed is False):
                one = _of(found, identity)
                one.withdrawn |= traits.withdrawn
                one.deprecated |= traits.is_deprecated
                one.unlisted |= traits.listed is False


async def _complete(desk: Desk, scope: _Scope, one: Finding, feeds: Collection[str], since: float) -> None:
    """Where it is held, who has got it when."""
    identity = PackageIdentity(one.id, one.version)
    one.upstreams = {name for name, held in scope.held.items() if identity in held and held[identity].source}
    one.last = max((at for of in scope.pulled.values() if (at := of.get(identity)) is not None), default=None)
    if desk.history.usage:
        try:
            uses = await desk.history.uses(one.id, one.version, since)
        except HistoryUnavailable:  # told with what clients have got
            return
        one.uses = tuple(use for use in uses if use.feed in feeds)


def _of(found: dict[PackageIdentity, Finding], identity: PackageIdentity) -> Finding:
    if identity not in found:
        found[identity] = Finding(id=identity.id, version=identity.version)
    return found[identity]
