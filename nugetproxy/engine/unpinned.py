"""Unpinned finds the packages that the last run had committed, but was killed before it had looked into them."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from nugetproxy.clock import Clock
from nugetproxy.engine.packages import Packages
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.store.fs import DiskFailure
from nugetproxy.store.ledger.ledger import LedgerUnavailable

BATCH: Final = 250
"""Packages after which it takes a breath."""
PAUSE: Final = 0.1
"""Its length in seconds."""


async def look_into_unpinned(packages: Packages, clock: Clock) -> None:
    """Look into all that is held without a pin, once, then pin it or set it aside."""
    await packages.stock.taken()
    last: PackageIdentity | None = None
    with suppress(DiskFailure, LedgerUnavailable):  # counted and told; the next start begins again
        while packages.checks_contents and (batch := await packages.folder.inventory.after(last, BATCH, _told)):
            pinned = await packages.pinned_versions(*{identity.id for identity in batch})
            for identity in batch:
                if identity not in pinned and identity not in packages.downloads:
                    await _look_into(packages, identity)
            last = batch[-1]
            await clock.sleep(PAUSE)


def _told(_: DiskFailure) -> None:
    """Whoever counts what is held tells of it."""


async def _look_into(packages: Packages, identity: PackageIdentity) -> None:
    with suppress(DiskFailure):
        held = await packages.held(identity)
        if held is not None:
            await packages.look_into(identity, held.sha512)
