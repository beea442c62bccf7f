"""What a synchronisation of the holdings with a folder reads of that folder; all of it blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import structlog
from msgspec import Struct

from nugetproxy.nuget.facts import PackageFacts
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.nuget.nuspec import MAX_NUSPEC, InvalidPackage, Nuspec, inspect_package, parse_nuspec
from nugetproxy.store.fs import DiskFailure, FsOps, MissingFile
from nugetproxy.store.packages.layout import Layout
from nugetproxy.store.packages.reading import reader

log = structlog.get_logger(__name__)

Walk = Callable[[], Iterable[tuple[PackageIdentity, int, float]]]
"""(identity, bytes, last use) of every held package, as ``PackageFolder.walk``."""
ReadFacts = Callable[[PackageIdentity, int], PackageFacts | None]
"""The facts of a held package of so many bytes; None if it is gone. Raises InvalidPackage, DiskFailure."""


class Synced(Struct, frozen=True, kw_only=True):
    """What a synchronisation has done, in packages."""

    held: int
    added: int
    removed: int
    unreadable: int


class Old:
    """The rows that there were before a synchronisation, each a byte: a set of packages takes 250."""

    def __init__(self, rows: int, last: int) -> None:
        """So many ``rows``, up to the number ``last``."""
        self._rows = rows
        self._found = bytearray(last + 1)
        self.added: set[PackageIdentity] = set()
        """Packages that it has added, maybe under the number of one that was removed."""

    def find(self, numbers: Iterable[int]) -> None:
        """These packages are in the folder."""
        for number in numbers:
            if number < len(self._found):
                self._found[number] = 1

    @property
    def all_found(self) -> bool:
        """Whether every one is in the folder."""
        return self._found.count(1) == self._rows

    def has_lost(self, number: int, identity: PackageIdentity) -> bool:
        """Whether a package is not in the folder any more."""
        return number < len(self._found) and not self._found[number] and identity not in self.added


def facts_reader(fs: FsOps, layout: Layout) -> ReadFacts:
    """Reads the facts of packages in a folder: from the nuspec beside each, else from the package itself."""

    def read(identity: PackageIdentity, size: int) -> PackageFacts | None:
        try:
            places = layout.places(identity)
            state = fs.stat(places.nupkg)
            nuspec = _loose(fs, places.nuspec, identity) or _packed(fs, places.nupkg, identity, size)
        except MissingFile:
            return None
        return PackageFacts.of(nuspec, published=state.st_mtime, size=size)

    return read


def read_all(read: ReadFacts, wanted: Iterable[tuple[PackageIdentity, int]]) -> tuple[list[PackageFacts], int]:
    """The facts of the wanted packages, with the number of those that could not be read."""
    found: list[PackageFacts] = []
    unreadable = 0
    for identity, size in wanted:
        try:
            facts = read(identity, size)
        except (InvalidPackage, DiskFailure) as error:
            unreadable += 1
            log.warning("holdings.unreadable", package=str(identity), detail=str(error))
            continue
        if facts is not None:
            found.append(facts)
    return found, unreadable


def _loose(fs: FsOps, place: str, identity: PackageIdentity) -> Nuspec | None:
    """The unpacked nuspec: a tenth of the work of looking into the package, but anybody may have changed it."""
    try:
        fd = fs.open(place)
    except MissingFile:
        return None
    try:
        # Not just MAX_NUSPEC: to make room for 4 MiB takes longer than to parse what is read.
        nuspec = parse_nuspec(fs.read(fd, min(fs.fstat(fd).st_size, MAX_NUSPEC), 0))
    except InvalidPackage:
        return None
    finally:
        fs.close(fd)
    return nuspec if nuspec.identity == identity else None


def _packed(fs: FsOps, place: str, identity: PackageIdentity, size: int) -> Nuspec:
    fd = fs.open(place)
    try:
        return inspect_package(reader(fs, fd, size), identity)
    finally:
        fs.close(fd)
