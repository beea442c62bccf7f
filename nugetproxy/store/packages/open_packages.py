"""OpenPackages holds the packages that were used last, each with its open file."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

from cachetools import LRUCache
from structlog.typing import FilteringBoundLogger

from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.nuget.kinds import Kind
from nugetproxy.nuget.nuspec import InvalidPackage, Nuspec, inspect_package, read_member
from nugetproxy.nuget.package import open_archive
from nugetproxy.nuget.signatures.verdict import Trust, Verdict
from nugetproxy.store.fs import DiskFailure
from nugetproxy.store.packages.held import Descriptor, HeldPackage
from nugetproxy.store.packages.reading import reader
from nugetproxy.store.packages.verify import Known
from nugetproxy.store.threads import DiskCalls

KEPT = 512
"""Descriptors kept open, so that a hit needs no open."""
AT_ONCE = 16
"""Of the packages that are kept open, the part that makes way where one more comes."""
KNOWN_SOUND = 50_000
"""Packages of which it is remembered that their hash was checked since the start."""

MAX_MEMBER = 4 * 1024 * 1024
"""Largest icon, licence or readme that is read out of a package, in bytes; nuget.org allows 1 MB."""

_PATH: dict[Kind, Callable[[Nuspec], str]] = {
    Kind.README: lambda nuspec: nuspec.readme,
    Kind.ICON: lambda nuspec: nuspec.icon,
    Kind.LICENSE: lambda nuspec: nuspec.license_file,
}

_P = ParamSpec("_P")
_T = TypeVar("_T")


class OpenPackages:
    """At most ``limit`` packages, each held once; for the event loop only."""

    def __init__(
        self,
        calls: DiskCalls,
        log: FilteringBoundLogger,
        *,
        limit: int = KEPT,
        note_use: Callable[[PackageIdentity], None] | None = None,
    ) -> None:
        """``note_use`` is told of uses without a look into the folder."""
        self._calls = calls
        self._log = log
        self._limit = limit
        self._note_use = note_use
        self._packages: OrderedDict[PackageIdentity, HeldPackage] = OrderedDict()
        self._known: LRUCache[PackageIdentity, Known] = LRUCache(KNOWN_SOUND)
        self._used_now: list[HeldPackage] = []
        """Those that are used again in this turn of the loop."""

    def get(self, identity: PackageIdentity) -> HeldPackage | None:
        """The package if it is kept and its file is still the one that was verified; never blocks."""
        held = self._packages.get(identity)
        return held if held is not None and self._is_intact(held) else None

    def _is_intact(self, held: HeldPackage) -> bool:
        """Whether the file of what is kept is as it was; it is kept no longer where not."""
        try:
            intact = held.intact(self._calls.fs)
        except DiskFailure:
            intact = False
        if intact:
            self._packages.move_to_end(held.identity)
        else:
            self._drop(held.identity)
        return intact

    def use_again(self, held: HeldPackage) -> bool:
        """Note a use of what is still kept open, unchanged; False where it is not."""
        if self._note_use is None or held.keeper is not self:
            return False
        if held.used_now:
            return True
        if not self._is_intact(held):
            return False
        if not self._used_now:
            asyncio.get_running_loop().call_soon(self._note_uses)
        held.used_now = True
        self._used_now.append(held)
        return True

    def _note_uses(self) -> None:
        """Once for all uses in one turn of the loop; whoever uses one of them from now on looks at its file again."""
        used, self._used_now = self._used_now, []
        for held in used:
            held.used_now = False
            if self._note_use is not None and held.keeper is self:
                self._note_use(held.identity)

    async def check(
        self,
        identity: PackageIdentity,
        check: Callable[Concatenate[Known | None, _P], _T],
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> _T:
        """Run ``check`` in a thread, with what is known of the package; without that it reads the whole package."""
        known = self._known.get(identity)
        pool = self._calls.threads.hash if known is None else self._calls.threads.read
        return await self._calls.run(pool, check, known, *args, **kwargs)

    def note(self, identity: PackageIdentity, known: Known) -> None:
        """This was found out about a package."""
        self._known[identity] = known

    def keep(self, held: HeldPackage) -> HeldPackage:
        """Keep a verified package that the caller holds once, taking that hold over."""
        self.note(held.identity, Known(held.stamp, held.sha512))
        self._drop(held.identity)
        self._packages[held.identity] = held
        held.keeper = self
        if len(self._packages) > self._limit:
            self._make_way()
        return held

    def _make_way(self) -> None:
        """Let go of those used least recently, some at once: one job for a thread closes all of them."""
        while len(self._packages) > self._limit - self._limit // AT_ONCE:
            _let_go(self._packages.popitem(last=False)[1])

    def keep_on(self, held: HeldPackage) -> None:
        """Keep a package that the caller has acquired, if it was let go of meanwhile."""
        if self._packages.get(held.identity) is not held:
            self.keep(held.acquire())

    def forget(self, identity: PackageIdentity) -> None:
        """Keep it no longer, know nothing of it."""
        self._drop(identity)
        self._known.pop(identity, None)

    def clear(self) -> None:
        """Keep none; what is known of them stays."""
        while self._packages:
            _let_go(self._packages.popitem()[1])

    def own(self, fd: int) -> Descriptor:
        """The owner of a new descriptor, which closes it off the loop."""
        return Descriptor(fd, self._calls.threads.close_later)

    async def nuspec(self, held: HeldPackage | None) -> bytes | None:
        """The nuspec, taken out of the verified package; None if that is not held. Raises DiskFailure.

        The unpacked copy beside it is for NuGet only: the package's hash does not cover it.
        """
        return await self._read(held, lambda held: self._nuspec(held).xml)

    async def member(self, held: HeldPackage | None, kind: Kind) -> tuple[bytes, str] | None:
        """A file that the nuspec names, with its path in the package; None if there is none. Raises DiskFailure."""
        return await self._read(held, lambda held: self._member(held, kind))

    async def files(self, held: HeldPackage | None) -> tuple[tuple[str, int], ...]:
        """Path and size in bytes of every file in the package, as its directory says it. Raises DiskFailure."""
        return await self._read(held, self._files) or ()

    async def judge(self, held: HeldPackage, trust: Trust, now: float) -> Verdict:
        """The verdict over its signature at ``now``, a wall time. Raises DiskFailure."""
        with held:
            look = lambda: trust.judge(reader(self._calls.fs, held.fd, held.size), now)  # noqa: E731 - two words
            return await self._calls.run(self._calls.threads.hash, look)

    async def _read(self, held: HeldPackage | None, read: Callable[[HeldPackage], _T]) -> _T | None:
        if held is None:
            return None
        with held:
            try:
                return await self._calls.run(self._calls.threads.read, read, held)
            except InvalidPackage as error:
                self._log.warning("package.unreadable", package=str(held.identity), detail=error.detail)
                return None

    def _nuspec(self, held: HeldPackage) -> Nuspec:
        return inspect_package(reader(self._calls.fs, held.fd, held.size), held.identity)

    def _member(self, held: HeldPackage, kind: Kind) -> tuple[bytes, str] | None:
        path = _PATH[kind](self._nuspec(held))
        content = read_member(reader(self._calls.fs, held.fd, held.size), path, MAX_MEMBER) if path else None
        return None if content is None else (content, path)

    def _files(self, held: HeldPackage) -> tuple[tuple[str, int], ...]:
        archive = open_archive(reader(self._calls.fs, held.fd, held.size))
        return tuple((entry.name, entry.size) for entry in archive.entries if not entry.is_folder)

    def _drop(self, identity: PackageIdentity) -> None:
        held = self._packages.pop(identity, None)
        if held is not None:
            _let_go(held)

    def __len__(self) -> int:
        return len(self._packages)


def _let_go(held: HeldPackage) -> None:
    held.keeper = None
    held.release()
