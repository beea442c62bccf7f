"""Room keeps what all package folders hold within what the configuration and the disk allow."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Container, Iterable
from functools import partial
from pathlib import Path
from typing import Final, Protocol

import structlog
from msgspec import Struct

from nugetproxy.clock import Clock
from nugetproxy.engine.kept import Kept
from nugetproxy.errors import Reason
from nugetproxy.metrics import Metrics
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.store.fs import DiskFailure
from nugetproxy.store.packages.folder import PackageFolder
from nugetproxy.store.packages.retention import Counted, Retention, Why, overdue
from nugetproxy.store.packages.usage import FAILED_DELETIONS, LOW_WATER

log = structlog.get_logger(__name__)

SLACK: Final = 0.05
"""Beyond the limit and so much more of it, a package waits for room before it is kept."""
WAIT_SECONDS: Final = 5.0
"""The longest that a package waits for room."""
DISK_SECONDS: Final = 60.0
"""For so long it is known what the disk can give."""
OVERDUE_SECONDS: Final = 3600.0
"""Between two looks for what is held for too long."""
ENDLESS: Final = Retention()


class Tenant(Protocol):
    """The packages of one upstream, as far as room is made among them."""

    name: str
    """Of the upstream."""
    folder: PackageFolder

    @property
    def downloads(self) -> Container[PackageIdentity]:
        """What is under way."""

    async def drop(self, identity: PackageIdentity) -> int:
        """Let go of one; its size in bytes. Raises DiskFailure."""


class Going(Struct, frozen=True):
    """A package that goes."""

    packages: Tenant
    used: float
    """Wall time of its last use."""
    identity: PackageIdentity
    size: int
    why: Why


class Plan(Struct, frozen=True, kw_only=True):
    """What goes, in which order."""

    going: tuple[Going, ...]
    held: int
    """Bytes that are held before."""
    limit: int
    """Bytes that may be held."""


class Room:
    """Evicts while packages land, and when the disk is full; one eviction at a time."""

    def __init__(
        self,
        path: Path,
        *,
        max_size: int,
        min_free: Callable[[int], int],
        metrics: Metrics,
        kept: Kept,
        clock: Clock,
        retention: Retention = ENDLESS,
    ) -> None:
        """``path`` is the cache directory. ``max_size`` in bytes; ``min_free`` tells what is to be left free on a disk
        of so many bytes. What is ``kept`` stays.
        """
        self.kept = kept
        self._clock = clock
        self._retention = retention
        self._looked = -OVERDUE_SECONDS
        self._seen = -math.inf
        """When the disk was looked at."""
        self.problem = ""
        """What an operator must know of; empty while all is well."""
        self._path = path
        self._max_size = max_size
        self._min_free = min_free
        self._metrics = metrics
        self._tenants: list[Tenant] = []
        self._limit = max_size
        self._turn = asyncio.Lock()
        """Protects the folders from being evicted twice for the same bytes."""
        self._wanted = asyncio.Event()

    def add(self, packages: Tenant) -> None:
        """These count, and may have to give something up."""
        self._tenants.append(packages)

    def use(
        self,
        tenants: Iterable[Tenant],
        *,
        max_size: int,
        min_free: Callable[[int], int],
        retention: Retention,
    ) -> None:
        """From now on it is about these, within these limits."""
        self._retention = retention
        self._looked = -OVERDUE_SECONDS
        self._seen = -math.inf
        self._tenants = list(tenants)
        self._max_size = self._limit = max_size
        self._min_free = min_free
        self._wanted.set()

    @property
    def limit(self) -> int:
        """Bytes that may be held, as far as the disk is known."""
        return self._limit

    @property
    def tenants(self) -> tuple[Tenant, ...]:
        """Those whose packages count towards the limit now."""
        return tuple(self._tenants)

    async def run(self) -> None:
        """Evict whenever something has landed, until cancelled."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            await self.keep()

    async def admit(self, size: int) -> None:
        """``size`` bytes are about to be kept: wait for room where they would be far too much."""
        if self._clock.monotonic() - self._seen >= DISK_SECONDS:  # nobody keeps house: a job of a stopped proxy
            await self._look()
        if self._held() + size > (1 + SLACK) * self._limit:
            try:
                async with asyncio.timeout(WAIT_SECONDS):
                    await self._evict_to(self._limit - size)
            except TimeoutError:
                log.warning("room.slow", detail=f"nothing was evicted within {WAIT_SECONDS:g} s")

    def landed(self) -> None:
        """Something is kept that may have been too much."""
        if self._held() > self._limit:
            self._wanted.set()

    async def make(self, size: int) -> bool:
        """The disk is full: free ``size`` bytes and some more; False where nothing could be freed."""
        for packages in self._tenants:
            if not packages.folder.usage.is_counted:  # the start has not come so far
                await attempt(packages.name, "scan", packages.folder.usage.count)
        held = self._held()
        return held > 0 and await self._evict_to(min(int(LOW_WATER * held), held - size)) > 0

    async def keep(self) -> None:
        """Look at the disk, evict what is beyond the limit; never raises."""
        if (reserve := await self._look()) is not None:
            self._tell(reserve)
        await self.kept.ready()
        if not self._retention.is_endless and self._clock.monotonic() - self._looked >= OVERDUE_SECONDS:
            self._looked = self._clock.monotonic()
            await self._end_overdue()
        await self._evict_to(self._limit)

    async def _end_overdue(self) -> None:
        """Let go of what nobody has used for long, or what newer versions have taken the place of."""
        for packages in tuple(self._tenants):
            async with self._turn:
                await attempt(packages.name, "retention", partial(self._end_overdue_of, packages))

    async def _end_overdue_of(self, packages: Tenant) -> None:
        found = await packages.folder.usage.count()
        late = overdue(found, self._retention, self._clock.now())
        removed, failure = await self._let_go((packages, identity) for (_, identity, _), _ in late)
        if removed:
            log.info("packages.retired", upstream=packages.name, bytes=removed)
        if failure is not None:
            raise failure

    async def _let_go(self, going: Iterable[tuple[Tenant, PackageIdentity]]) -> tuple[int, DiskFailure | None]:
        """Bytes that went, with the first failure: what the disk does not let go of does not keep the others here."""
        removed, failures = 0, list[DiskFailure]()
        for packages, identity in going:
            if len(failures) > FAILED_DELETIONS:
                break
            if not self._is_spared(packages, identity):
                try:
                    removed += await packages.drop(identity)
                except DiskFailure as failure:
                    failures.append(failure)
        self._metrics.evicted_bytes.inc(removed)
        return removed, next(iter(failures), None)

    def _is_spared(self, packages: Tenant, identity: PackageIdentity) -> bool:
        return identity in packages.downloads or identity in packages.folder.pending or self.kept.has(identity)

    async def plan(self, max_size: int | None = None, retention: Retention | None = None) -> Plan:
        """What would go now, or under other rules; raises DiskFailure."""
        await self.kept.ready()
        rules = self._retention if retention is None else retention
        found = [(packages, await packages.folder.usage.count()) for packages in tuple(self._tenants)]
        await self._look()  # a stopped proxy's has not been looked at yet
        limit = self._limit if max_size is None else min(max_size, self._limit)
        going: list[Going] = []
        left: dict[Tenant, list[Counted]] = {}
        for packages, held in found:
            spared = partial(self._is_spared, packages)
            late = {one: why for one, why in overdue(held, rules, self._clock.now()) if not spared(one[1])}
            going += [Going(packages, *one, why) for one, why in late.items()]
            left[packages] = [one for one in held if one not in late]
        total = sum(map(_bytes, left.values()))
        for packages, held in tuple(left.items()) if total > limit else ():
            going += self._would_go(packages, left, limit * _bytes(held) // total)
        for packages, held in sorted(left.items(), key=lambda one: -_bytes(one[1])):
            excess = sum(map(_bytes, left.values())) - limit
            if excess > 0:
                going += self._would_go(packages, left, max(0, _bytes(held) - excess))
        whole = sum(size for _, held in found for _, _, size in held)
        return Plan(going=tuple(going), held=whole, limit=limit)

    def _would_go(self, packages: Tenant, left: dict[Tenant, list[Counted]], size: int) -> list[Going]:
        """What makes way in one folder for ``size`` bytes of it to be ``left``, which loses it."""
        more = packages.folder.usage.would_go(left[packages], size, partial(self._is_spared, packages))
        gone = frozenset(more)
        left[packages] = [one for one in left[packages] if one not in gone]
        return [Going(packages, *one, Why.ROOM) for one in more]

    async def carry_out(self, plan: Plan) -> int:
        """Let go of what a plan names, but for what has been kept or asked for since; bytes. Raises DiskFailure."""
        async with self._turn:
            removed, failure = await self._let_go((one.packages, one.identity) for one in plan.going)
        if failure is not None:
            raise failure
        return removed

    async def _look(self) -> int | None:
        """Learn what the disk can give, once all is counted; the bytes of it that are to be left free. Never raises."""
        self._seen = self._clock.monotonic()
        if self._tenants and all(packages.folder.usage.is_counted for packages in self._tenants):
            try:
                return self._learn(*await self._tenants[0].folder.usage.disk())  # all lie on one disk
            except DiskFailure as failure:
                log.warning("room.unknown", reason=Reason.DISK, detail=str(failure))
        return None

    def _learn(self, capacity: int, free: int) -> int:
        reserve = self._min_free(capacity)
        self._limit = min(self._max_size, max(0, self._held() + free - reserve))  # ours included
        return reserve

    def _tell(self, reserve: int) -> None:
        """Have an operator know whether the disk can give what is configured."""
        beyond = self._max_size - self._limit
        self._metrics.max_size_beyond_disk.set(beyond)
        before = self.problem
        self.problem = (
            f"The disk of {self._path} can give packages {self._limit // 2**20} MiB (cache.min_free leaves "
            f"{reserve // 2**20} MiB of it free), less than cache.max_size, {self._max_size // 2**20} MiB: old "
            "packages make way earlier than configured. Free some room, or lower cache.max_size."
            if beyond
            else ""
        )
        if self.problem and not before:
            log.warning("room.small", detail=self.problem)

    def _held(self) -> int:
        return sum(packages.folder.usage.bytes for packages in self._tenants)

    async def _evict_to(self, limit: int) -> int:
        """Make room where the folders together are over ``limit``; bytes that went.

        Each gives up its share; where that is not enough, the largest ones more, what has just landed last.
        """
        before = self._held()
        async with self._turn:
            total, goal = self._held(), max(0, limit)
            for packages in self._tenants if total > goal else ():
                await self._evict(packages, goal * packages.folder.usage.bytes // total)
            for young in (False, True):
                for packages in sorted(self._tenants, key=lambda one: -one.folder.usage.bytes):
                    excess = self._held() - goal
                    if excess > 0:
                        await self._evict(packages, max(0, packages.folder.usage.bytes - excess), young=young)
        return max(0, before - self._held())

    async def _evict(self, packages: Tenant, size: int, *, young: bool = False) -> None:
        spared = partial(self._is_spared, packages)
        act = partial(packages.folder.evict, size, spared, young=young, delete=packages.drop)
        await attempt(packages.name, "eviction", act)


def _bytes(held: Iterable[Counted]) -> int:
    return sum(size for _, _, size in held)


async def attempt(upstream: str, step: str, act: Callable[[], Awaitable[object]]) -> None:
    """Do one step of keeping house; a disk that refuses it does not keep the others from being done."""
    try:
        await act()
    except DiskFailure as failure:
        detail = str(failure)
        # What the disk says is all there is; a traceback adds nothing.
        log.error("housekeeping.failed", upstream=upstream, step=step, reason=Reason.DISK, detail=detail)  # noqa: TRY400
