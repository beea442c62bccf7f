"""History commands tell who got what, as rows or as a bill of materials, why restores were slow."""

from __future__ import annotations

import asyncio
import base64
import binascii
import uuid
from collections import defaultdict
from collections.abc import Container, Iterable, Mapping
from typing import Any, Final, TypeAlias

from msgspec import to_builtins

from nugetproxy import __version__
from nugetproxy.admin.audit import audit
from nugetproxy.admin.desk import Desk
from nugetproxy.admin.page import restores
from nugetproxy.admin.page.viewer import Viewer
from nugetproxy.errors import BadRequest
from nugetproxy.nuget.facts import PackageFacts
from nugetproxy.nuget.first_seen import FirstSeen
from nugetproxy.nuget.identity import PackageId, PackageIdentity
from nugetproxy.nuget.inventory import Component, bill
from nugetproxy.sources.inspection import holdings_of
from nugetproxy.sources.source import Source
from nugetproxy.store.fs import DiskFailure
from nugetproxy.store.history.history import History
from nugetproxy.store.history.reading import Use
from nugetproxy.store.provenance.reading import renewed as renewed_in

_Renewed: TypeAlias = Mapping[tuple[str, PackageIdentity], FirstSeen]

OFF: Final = "This proxy does not keep who uses what; set history.usage to a span, such as 30d."


async def who(desk: Desk, *, id: str, version: str = "", since: float = 0.0) -> Mapping[str, Any]:
    """Who has got a package (one version, or any) since a wall time, the last one first."""
    if PackageId.parse(id) is None:
        raise BadRequest(f"{id!r:.80} is no package id.")
    wanted = PackageIdentity.parse(id, version or "0")
    if wanted is None:
        raise BadRequest(f"{version!r:.80} is no version.")
    uses = await (await _recorded(desk)).uses(wanted.id, wanted.version if version else "", since)
    return {"id": wanted.id, "version": wanted.version if version else "", "uses": [to_builtins(one) for one in uses]}


async def audited(desk: Desk, *, since: float = 0.0, ask: bool = True) -> Mapping[str, Any]:
    """What is held or was got (since a wall time) that has an advisory, is withdrawn, deprecated, unlisted, or that a
    rule is about; ``ask`` upstreams for what rules look at."""
    return await audit(desk, feeds=tuple(desk.feeds), since=since, ask=ask)


async def sbom(desk: Desk, *, token: str = "", client: str = "", since: float = 0.0) -> Mapping[str, Any]:
    """What a token, or a client without one, has got since a wall time, as a CycloneDX document."""
    if not token and not client:
        raise BadRequest("Name a token, or the address of a client.")
    got = _got(await (await _recorded(desk)).used_by(token, client, since))
    renewed = await _renewed(desk, got)
    components = [await _component(desk, identity, feeds, renewed) for identity, feeds in got.items()]
    serial, now = str(uuid.uuid4()), desk.clock.now()
    return bill(components, subject=token or client, serial=serial, now=now, version=__version__)


async def listed(desk: Desk) -> Mapping[str, Any]:
    """The last restores, the newest first, each with who was slow."""
    await desk.history.flush()
    return await restores.listed(desk, _everything(desk))


async def restore(desk: Desk, *, number: float) -> Mapping[str, Any]:
    """One restore: why it took as long as it did, its slowest requests."""
    await desk.history.flush()
    return await restores.one(desk, _everything(desk), number=int(number))


def _everything(desk: Desk) -> Viewer:
    return Viewer(frozenset(desk.feeds), admin=True)


async def _recorded(desk: Desk) -> History:
    """The history, with all that was seen until now."""
    if not desk.history.usage:
        raise BadRequest(OFF)
    await desk.history.flush()
    return desk.history


def _got(uses: Iterable[Use]) -> dict[PackageIdentity, dict[str, float]]:
    """What was got, each with the feeds that it came from, since when."""
    got: defaultdict[PackageIdentity, dict[str, float]] = defaultdict(dict)
    for one in uses:
        feeds = got[PackageIdentity(one.id, one.version)]
        feeds[one.feed] = min(one.first, feeds.get(one.feed, one.first))
    return dict(sorted(got.items()))


async def _renewed(desk: Desk, wanted: Container[PackageIdentity]) -> _Renewed:
    try:
        return await asyncio.to_thread(renewed_in, desk.provenance.fs, desk.provenance.path, wanted)
    except DiskFailure as failure:
        raise BadRequest(f"The first-seen log cannot be read: {failure}") from failure


async def _component(desk: Desk, identity: PackageIdentity, feeds: Mapping[str, float], renewed: _Renewed) -> Component:
    """What is known of a package here, as these feeds have had it; it may be held no more, or be another in each."""
    unknown = Component(id=identity.id, version=identity.version)
    known: set[Component] = set()
    for source, since in {
        (source, since) for feed, since in feeds.items() for source in await _sources(desk, feed, identity)
    }:
        holdings = holdings_of(source)
        held = await holdings.facts(identity.id) if holdings is not None else ()
        if (facts := next((one for one in held if one.identity == identity), None)) is not None:
            sha512, last = await desk.ledger.pinned(source.name, identity), renewed.get((source.name, identity))
            other = last is not None and (last.sha512 != sha512 or since < last.at)
            known.add(unknown if other else _of_facts(facts, sha512))
    return known.pop() if len(known) == 1 else unknown


async def _sources(desk: Desk, name: str, identity: PackageIdentity) -> tuple[Source, ...]:
    """Those that a feed may have a package from: none where the feed is gone, one where it is known."""
    feed = desk.feeds.get(name)
    if feed is None:
        return ()
    owner = (await feed.merged.owners.of(identity.id)).get(identity.version) if feed.merged is not None else None
    return tuple(source for source in feed.sources if owner is None or source.name == owner.source)


def _of_facts(facts: PackageFacts, sha512: str | None) -> Component:
    return Component(
        id=facts.id,
        version=facts.version.partition("+")[0],
        sha512=_hex(sha512),
        license=facts.license_expression,
        authors=facts.authors,
        description=facts.description,
    )


def _hex(sha512: str | None) -> str:
    try:
        return base64.b64decode(sha512 or "", validate=True).hex()
    except (binascii.Error, ValueError):
        return ""
