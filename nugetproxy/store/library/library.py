"""Library is a folder of packages that belongs to somebody else: read, watched, never written to."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, TypeAlias

import structlog

from nugetproxy.clock import Clock
from nugetproxy.metrics import Metrics
from nugetproxy.nuget.facts import PackageFacts
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.nuget.kinds import Kind
from nugetproxy.nuget.nuspec import InvalidPackage
from nugetproxy.store.fs import DiskFailure, FsOps, MissingFile
from nugetproxy.store.holdings.holdings import Holdings, HoldingsUnavailable
from nugetproxy.store.library.index import LibraryIndex
from nugetproxy.store.library.listing import Listing
from nugetproxy.store.library.package_files import (
    ChangedFile,
    OtherHash,
    likely,
    may_pass,
    modified,
    open_loose,
    read_loose,
    stated_anew,
)
from nugetproxy.store.library.root_note import RootNote
from nugetproxy.store.packages.held import HeldPackage, Stamp
from nugetproxy.store.packages.open_packages import OpenPackages
from nugetproxy.store.packages.verify import Known
from nugetproxy.store.threads import DiskCalls, StoreThreads

log = structlog.get_logger(__name__)

BATCH: Final = 250
"""Files that are read, then put into the holdings, at a time."""
YOUNG_SECONDS: Final = 300.0
"""How long a file that is no package is looked at again and again: it may be a copy that takes its time."""
FULL_SECONDS: Final = 60.0
"""Between two looks at every file, at least; the ones between see what directories tell."""
FULL_SHARE: Final = 40
"""How many times longer than such a look the time to the next one is."""
MISS_SECONDS: Final = 0.5
"""Between two looks that misses cause."""

Recorded: TypeAlias = dict[PackageIdentity, tuple[int, float]]
"""What a holdings has: sizes in bytes, and when each package was published (here: its file's last change)."""
Found: TypeAlias = PackageFacts | PackageIdentity | str | DiskFailure | None
"""What a file is: the facts, the identity of what the holdings have, why it is none, why it could not be read."""


class Library:
    """The packages below ``root`` with the holdings of them; for one event loop.

    Nothing is served that was not read as a whole package; what is being copied appears when it is complete. A
    ``HeldPackage`` is borrowed, as from ``PackageFolder``.
    """

    def __init__(self, name: str, root: Path, holdings: Holdings, *, fs: FsOps, metrics: Metrics, clock: Clock) -> None:
        self.name = name
        self.root = root
        self.problem = ""
        """Why the folder cannot be read now; what was known of it stays."""
        self._holdings = holdings
        self._fs = fs
        self._clock = clock
        self._metrics = metrics
        self._threads = StoreThreads()
        self._calls = DiskCalls(fs, self._threads, metrics)
        self._listing = Listing(root, fs)
        self._index = LibraryIndex(name)
        self.changes = 0
        """Rises before and after each change of what is known of the folder."""
        self.kept = OpenPackages(self._calls, log.bind(upstream=name))
        """Those that are open."""
        # One look at a time; two would read the same files twice.
        self._looking = asyncio.Lock()
        self._unread: dict[str, Stamp] = {}
        self._lost_a_file: set[PackageIdentity] = set()
        self._suspects: set[str] = set()
        self._looked: float | None = None
        self._next_full = 0.0
        self._ready = False

    @property
    def indexed(self) -> bool:
        """True when the whole folder was read once, so that what is not known is not there."""
        return self._ready

    @property
    def complete(self) -> bool:
        """True when the whole folder was read, and the holdings says all of it."""
        return self._ready and self._holdings.synced

    def __len__(self) -> int:
        return len(self._index)

    async def open(self, cache: Path) -> None:
        """Begin with the holdings in ``cache`` (made if it is missing); reads nothing yet."""
        await self._calls.run(self._threads.write, self._fs.mkdir, cache)
        await self._holdings.open(cache / "holdings.db")
        self._listing.note = RootNote(cache, self.root, self._fs)

    async def close(self) -> None:
        """Close what is open, end the threads; whoever looks must have been stopped."""
        self.kept.clear()
        await self._holdings.close()
        await self._threads.close()

    # --- looking ---

    async def refresh(self) -> None:
        """Look whether something has changed, unless somebody has just done so; for those who miss something."""
        began = self._clock.monotonic()
        async with self._looking:
            recent = self._looked is not None and self._looked > began - MISS_SECONDS
            if not recent or not self.complete or self._suspects or self._unread or self._lost_a_file:
                await self._look()

    async def look(self, *, full: bool = False) -> None:
        """Bring index and holdings up to what lies in the folder: what directories tell or, with ``full``, every file
        (which is done now and then without that, too). Never raises for what the disk or holdings does.
        """
        async with self._looking:
            await self._look(full=full)

    async def _look(self, *, full: bool = False) -> None:
        began = self._clock.monotonic()
        full = full or self._looked is None or began >= self._next_full
        unsettled = self._index.unsettled(time.time(), YOUNG_SECONDS)
        again = (*unsettled, *self._suspects)
        try:
            seen = await self._calls.run(self._threads.read, lambda: self._listing.look(full=full, again=again))
        except DiskFailure as failure:
            self._note_problem(str(failure))
            return
        self._listing.take(seen)
        self._note_problem("")
        self._suspects.clear()
        self._forget(seen.gone | seen.changed.keys())
        unread = self._index.failed() | self._unread
        self._unread = {path: at for path, at in unread.items() if path not in seen.gone} | seen.changed
        if contradicted := self._index.contradicted():
            self._unread |= await self._calls.run(self._threads.read, stated_anew, self._fs, self.root, contradicted)
        self._index.tell(set(unsettled) - seen.changed.keys())
        try:
            await self._read_all()
            self._ready = True
            if not self._holdings.synced:
                await self._holdings.sync(self._walk, self._facts)
        except (HoldingsUnavailable, DiskFailure) as error:
            log.warning("library.unfinished", upstream=self.name, detail=str(error))
            return
        finally:
            self._looked = self._clock.monotonic()
        if full:
            took = self._clock.monotonic() - began
            self._next_full = began + max(FULL_SECONDS, FULL_SHARE * took)
        self._metrics.folder_packages.labels(self.name).set(len(self._index))
        self._metrics.folder_skipped.labels(self.name).set(self._index.refused)
        if seen.changed or seen.gone:
            log.info("library.read", upstream=self.name, packages=len(self._index), skipped=self._index.refused)

    def _note_problem(self, problem: str) -> None:
        if problem and not self.problem:
            log.error("library.unreadable", upstream=self.name, detail=problem)
        elif self.problem and not problem:
            log.info("library.readable", upstream=self.name)
        self.problem = problem
        self._metrics.unusable.labels(self.name).set(bool(problem))

    def _forget(self, paths: Iterable[str]) -> None:
        """These files are not what they were; the packages that have lost one wait for what becomes of them."""
        for path in paths:
            self.changes += 1
            identity = self._index.drop(path)
            if identity is not None:
                self.kept.forget(identity)
                self._lost_a_file.add(identity)

    async def _read_all(self) -> None:
        """Read what is unread, tell the holdings."""
        recorded: Recorded = {}
        if not self._ready:
            with contextlib.suppress(HoldingsUnavailable):
                recorded = await self._holdings.recorded()
        while self._unread:
            batch = list(itertools.islice(self._unread.items(), BATCH))
            read = await self._calls.run(self._threads.read, self._read, batch, recorded)
            facts: dict[PackageIdentity, PackageFacts] = {}
            for path, at, found in read:
                self._unread.pop(path, None)
                if isinstance(found, PackageFacts):
                    self._index.put(path, at, found.identity)
                    if self._index.find(found.identity) == (path, at):
                        facts[found.identity] = found
                elif isinstance(found, PackageIdentity):
                    self._index.put(path, at, found)
                elif isinstance(found, DiskFailure):
                    self._index.refuse(path, at, str(found), again=may_pass(found))
                elif found is not None:
                    self._index.refuse(path, at, found)
            self._lost_a_file |= facts.keys()  # until the holdings know: a look can be cancelled
            await self._change(facts.values(), ())
            self._lost_a_file -= facts.keys()
        for identity in tuple(self._lost_a_file):
            await self._settle(identity)
            self._lost_a_file.discard(identity)

    async def _settle(self, identity: PackageIdentity) -> None:
        """Have the holdings say what is left of a package that has lost a file."""
        while (found := self._index.find(identity)) is not None:
            path, at = found
            try:
                facts = await self._calls.run(self._threads.read, read_loose, self._fs, self.root, path, at)
            except (InvalidPackage, DiskFailure) as error:
                self._index.drop(path)
                self._index.refuse(path, at, str(error), again=isinstance(error, DiskFailure) and may_pass(error))
                continue
            await self._change([facts], ())
            return
        await self._change((), [identity])

    async def _change(self, add: Iterable[PackageFacts], remove: Iterable[PackageIdentity]) -> None:
        """A holdings that fails is filled again by the next look (``Holdings.synced``)."""
        add, remove = list(add), list(remove)
        if add or remove:
            await self._holdings.change(add, remove)
            self.changes += 1

    def _read(self, batch: list[tuple[str, Stamp]], recorded: Recorded) -> list[tuple[str, Stamp, Found]]:
        """What each file is: the facts, the identity alone if the holdings has it, or why it is no package."""
        return [(path, at, self._read_one(path, at, recorded)) for path, at in batch]

    def _read_one(self, path: str, at: Stamp, recorded: Recorded) -> Found:
        for identity in likely(path) if recorded else ():
            if recorded.get(identity) == (at.size, modified(at)):
                return identity
        try:
            return read_loose(self._fs, self.root, path, at)
        except InvalidPackage as error:
            return str(error)
        except MissingFile:
            return None  # the next look misses it too
        except DiskFailure as failure:
            return failure

    def _walk(self) -> Iterator[tuple[PackageIdentity, int, float]]:
        return ((identity, at.size, modified(at)) for identity, _, at in self._index.packages())

    def _facts(self, identity: PackageIdentity, _size: int) -> PackageFacts | None:
        found = self._index.find(identity)
        return None if found is None else read_loose(self._fs, self.root, *found)

    # --- use ---

    async def package(self, identity: PackageIdentity) -> HeldPackage | None:
        """The package, checked as a whole when it is first opened; None if it is not there (``refresh`` may help).

        Raises DiskFailure where the disk fails.
        """
        found = self._index.find(identity)
        if found is None:
            return None
        path, at = found
        held = self.kept.get(identity)
        if held is not None and held.stamp == at:
            return held
        try:
            held = await self.kept.check(identity, self._open, identity, path, at)
        except (ChangedFile, MissingFile):
            self._suspects.add(path)
            return None
        except InvalidPackage as error:
            await self._expel(path, at, identity, error)
            return None
        if self._index.find(identity) == found:
            return self.kept.keep(held)
        held.release()
        return None

    def _open(self, known: Known | None, identity: PackageIdentity, path: str, at: Stamp) -> HeldPackage:
        # The descriptor gets its owner here, in the thread: a caller that was cancelled could not close it.
        opened = open_loose(self._fs, self.root, path, at, identity=identity, known=known)
        return HeldPackage(identity, self.kept.own(opened.fd), opened.state, opened.sha512)

    async def _expel(self, path: str, at: Stamp, identity: PackageIdentity, error: InvalidPackage) -> None:
        """A file whose structure is sound turned out damaged inside."""
        async with self._looking:
            if self._index.find(identity) == (path, at):
                log.warning("library.damaged", upstream=self.name, file=path, detail=str(error))
                self._forget([path])
                stated = error.stated if isinstance(error, OtherHash) else ""
                self._index.refuse(path, at, str(error), told=True, stated=stated)
                await self._settle(identity)
                self._lost_a_file.discard(identity)

    async def nuspec(self, identity: PackageIdentity) -> bytes | None:
        """The nuspec of a package; None if it is not there."""
        return await self.kept.nuspec(await self.package(identity))

    async def member(self, identity: PackageIdentity, kind: Kind) -> bytes | None:
        """A file that the nuspec names; None if there is none."""
        found = await self.kept.member(await self.package(identity), kind)
        return None if found is None else found[0]

    async def files(self, identity: PackageIdentity) -> tuple[tuple[str, int], ...]:
        """Path and size of every file in a package; none if it is not there."""
        return await self.kept.files(await self.package(identity))
