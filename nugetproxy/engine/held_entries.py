"""Held entries are what the first-seen log gets of packages that were held before it knew of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Final

import structlog

from nugetproxy.clock import Clock
from nugetproxy.engine.packages import Packages
from nugetproxy.nuget.first_seen import FirstSeen
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.store.fs import DiskFailure
from nugetproxy.store.packages.layout import Layout
from nugetproxy.store.packages.verify import read_marker
from nugetproxy.store.provenance.provenance import Provenance

log = structlog.get_logger(__name__)

BATCH: Final = 500
"""Packages after which it takes a breath."""
PAUSE: Final = 0.1
"""Its length in seconds."""
RETRY_SECONDS: Final = 30.0


async def enter_held(packages: Packages, provenance: Provenance, clock: Clock) -> None:
    """Enter everything that is held without a line, once: of an earlier version, or put there by somebody else."""
    await packages.stock.taken()
    last: PackageIdentity | None = None
    entered = 0
    incomplete = partial(_incomplete, packages.name)
    try:
        while batch := await packages.folder.inventory.after(last, BATCH, incomplete):
            entered += await asyncio.to_thread(
                _enter, provenance, packages.folder.layout, packages.name, batch, clock.now()
            )
            last = batch[-1]
            if len(batch) < BATCH:
                break
            await clock.sleep(PAUSE)
    except DiskFailure as failure:  # the next start begins again
        incomplete(failure)
    if entered:
        log.info("provenance.entered", upstream=packages.name, packages=entered)


def _incomplete(upstream: str, failure: DiskFailure) -> None:
    log.warning("provenance.incomplete", upstream=upstream, detail=str(failure))


async def keep_entering(provenance: Provenance, clock: Clock) -> None:
    """Write what had to wait for the disk; runs until it is cancelled."""
    while True:
        await clock.sleep(RETRY_SECONDS)
        if provenance.problem:
            await asyncio.to_thread(provenance.append, ())


def _enter(provenance: Provenance, layout: Layout, source: str, batch: Sequence[PackageIdentity], now: float) -> int:
    lacking = provenance.lacks((source, one.id, one.version) for one in batch)
    found = list(_held(provenance, layout, lacking, now))
    if found:
        provenance.append(found)
    return len(found)


def _held(
    provenance: Provenance, layout: Layout, lacking: Sequence[tuple[str, str, str]], now: float
) -> Iterator[FirstSeen]:
    for source, id, version in lacking:
        try:
            sha512 = read_marker(provenance.fs, layout.marker(PackageIdentity(id, version)))
        except DiskFailure as failure:
            _incomplete(source, failure)
            continue
        if sha512:
            yield FirstSeen(at=now, source=source, id=id, version=version, sha512=sha512, held=True)
