"""Scrub reads every held package again, slowly, so that damage on disk is found before somebody needs the package."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import orjson
import structlog
from msgspec import Struct
from msgspec.structs import replace

from nugetproxy.caching.policy import DAY, MINUTE
from nugetproxy.clock import Clock
from nugetproxy.engine.packages import Packages
from nugetproxy.errors import Reason
from nugetproxy.metrics import Metrics
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.store.fs import DiskFailure
from nugetproxy.store.ledger.ledger import Ledger, LedgerUnavailable

log = structlog.get_logger(__name__)

PERIOD = DAY
"""A pass begins at most so often: the disks of small caches are left alone in between."""

AFTER_START = MINUTE
"""The start has enough to read; so many seconds later the scrub begins."""

PACKAGE_BYTES = 512 * 1024
"""A package counts as so many bytes more: of a small one, opening and looking up take what reading takes of those."""

SAVE_SECONDS = 30.0
BATCH = 100


class Position(Struct, frozen=True, kw_only=True):
    """How far the pass over one folder is; stored, so that a restart goes on from there."""

    began: float
    """Wall time, in seconds since the epoch."""
    last: PackageIdentity | None = None
    """The last package that was read; None at the beginning."""
    done: bool = False
    packages: int = 0
    damaged: int = 0

    def to_json(self) -> bytes:
        """The stored form, for ``Position.of``."""
        last = [self.last.id, self.last.version] if self.last is not None else None
        return orjson.dumps([self.began, last, self.done, self.packages, self.damaged])

    @classmethod
    def of(cls, body: bytes) -> Position:
        """What ``to_json`` made; raises ValueError."""
        began, last, done, packages, damaged = _row(orjson.loads(body))
        identity = PackageIdentity.parse(*last) if last is not None else None
        return cls(began=float(began), last=identity, done=bool(done), packages=int(packages), damaged=int(damaged))


class Scrub:
    """One pass after another over all folders, at no more than ``rate`` bytes per second; 0 turns it off.

    Of small packages it reads fewer: see ``PACKAGE_BYTES``.

    What is found damaged is set aside by the folder: the next request fetches it again, or is refused with 503.
    """

    def __init__(
        self, packages: Sequence[Packages], ledger: Ledger, *, rate: int, clock: Clock, metrics: Metrics
    ) -> None:
        self._packages = packages
        self._ledger = ledger
        self._rate = rate
        self._clock = clock
        self._metrics = metrics
        self._unsaved: dict[str, Position] = {}
        self._saved_at = 0.0

    def use(self, packages: Sequence[Packages]) -> None:
        """From the next round on it is about these."""
        self._packages = packages

    async def run(self) -> None:
        """Pass after pass until cancelled; returns at once where it is turned off."""
        if self._rate == 0:
            return
        await self._clock.sleep(AFTER_START)
        while True:
            await self.round()
            await self._clock.sleep(MINUTE)

    async def round(self) -> None:
        """Go through every folder whose pass is due or was interrupted."""
        for packages in self._packages:
            position = await self._position(packages.name)
            if not position.done:
                await self._scrub(packages, position)

    def finish(self) -> None:
        """Write down how far it is."""
        for name, position in self._unsaved.items():
            self._ledger.note_scrub(name, position.to_json())
        self._unsaved.clear()
        self._saved_at = self._clock.monotonic()

    async def _position(self, name: str) -> Position:
        """Where to go on: a new pass where the last one is over and old, or where nothing is known of it."""
        now = self._clock.now()
        try:
            stored = await self._ledger.scrub(name)
            position = Position.of(stored) if stored is not None else None
        except (LedgerUnavailable, ValueError, TypeError):  # the last two: of another version of this program
            position = None
        if position is None or (position.done and not 0 <= now - position.began < PERIOD):
            return Position(began=now)
        return position

    async def _scrub(self, packages: Packages, position: Position) -> None:
        name = packages.name
        while True:
            try:
                batch = await packages.folder.inventory.after(position.last, BATCH, partial(_passed_over, name))
            except DiskFailure as failure:
                log.warning("scrub.interrupted", upstream=name, reason=Reason.DISK, detail=str(failure))
                break
            for identity in batch:
                sound = await self._check(packages, identity)
                count, bad = position.packages + 1, position.damaged + (not sound)
                position = replace(position, last=identity, packages=count, damaged=bad)
                self._note(name, position)
            if not batch:
                position = replace(position, done=True)
                log.info("scrub.finished", upstream=name, packages=position.packages, damaged=position.damaged)
                break
        self._unsaved[name] = position
        self.finish()

    async def _check(self, packages: Packages, identity: PackageIdentity) -> bool:
        await self._clock.sleep(PACKAGE_BYTES / self._rate)
        try:
            sound = await packages.folder.scrub(identity, self._pace)
        except DiskFailure as failure:  # no damage: trouble of our own, such as too many open files
            log.warning(
                "scrub.skipped",
                upstream=packages.name,
                package=identity.nupkg_name,
                reason=Reason.DISK,
                detail=str(failure),
            )
            return True
        if not sound:
            self._metrics.scrub_damaged.inc()
            log.error("scrub.damaged", upstream=packages.name, package=identity.nupkg_name)
            await packages.holdings.remove(identity)
        return sound

    async def _pace(self, size: int) -> None:
        self._metrics.scrub_bytes.inc(size)
        await self._clock.sleep(size / self._rate)

    def _note(self, name: str, position: Position) -> None:
        self._unsaved[name] = position
        if self._clock.monotonic() - self._saved_at >= SAVE_SECONDS:
            self.finish()


def _passed_over(upstream: str, failure: DiskFailure) -> None:
    log.warning("scrub.skipped", upstream=upstream, reason=Reason.DISK, detail=str(failure))


def _row(value: Any) -> tuple[Any, Any, Any, Any, Any]:
    if not isinstance(value, list) or len(value) != 5:
        raise ValueError("not a position")
    return tuple(value)
