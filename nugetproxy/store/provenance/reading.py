"""Reading goes through a first-seen log line by line; all of it blocks."""

from __future__ import annotations

from collections.abc import Container, Iterator
from pathlib import Path
from typing import Final

from msgspec import Struct, field

from nugetproxy.nuget.first_seen import BEGINNING, BadLine, Chain, FirstSeen, read_line
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.store.fs import FsOps, MissingFile
from nugetproxy.store.provenance.entered import Entered

PIECE: Final = 2**20
MOST_BROKEN: Final = 100
"""Lines of which it is told what is wrong with them."""


class Found(Struct, frozen=True):
    """One whole line, without its end."""

    offset: int
    text: bytes

    @property
    def end(self) -> int:
        """Where the next line begins."""
        return self.offset + len(self.text) + 1


class Broken(Struct, frozen=True):
    """A line with which something is wrong."""

    number: int
    """From 1."""
    why: str


class Examined(Struct, kw_only=True):
    """What was found in a whole log."""

    chain: Chain = field(default_factory=Chain)
    broken: list[Broken] = field(default_factory=list)
    """The first ones."""
    breaks: int = 0
    entered: Entered = field(default_factory=Entered)
    sources: set[str] = field(default_factory=set)
    """Whose packages it tells of."""
    cut: int = 0
    """Bytes behind the last whole line."""
    has_head: bool = False
    """Whether the hash that was asked for is that of one of the lines."""


def lines(fs: FsOps, path: Path, offset: int = 0) -> Iterator[Found]:
    """Every whole line from ``offset``, which is where one begins; none where there is no log. Raises DiskFailure."""
    try:
        fd = fs.open(path)
    except MissingFile:
        return
    try:
        yield from lines_of(fs, fd, offset)
    finally:
        fs.close(fd)


def lines_of(fs: FsOps, fd: int, offset: int = 0) -> Iterator[Found]:
    """The same of an open file."""
    rest = b""
    while piece := fs.read(fd, PIECE, offset + len(rest)):
        *whole, rest = (rest + piece).split(b"\n")
        for text in whole:
            yield Found(offset, text)
            offset += len(text) + 1


def examine(fs: FsOps, path: Path, head: str = "") -> Examined:
    """The chain from its beginning; ``head`` is the hash of a line that should be in it. Raises DiskFailure."""
    found, end = Examined(), 0
    found.has_head = head == BEGINNING
    for line in lines(fs, path):
        seen, wrong = found.chain.follow(line.text)
        end = line.end
        found.has_head |= found.chain.head == head
        if seen is not None:
            found.entered.add(seen)
            found.sources.add(seen.source)
        if wrong:
            found.breaks += 1
            if len(found.broken) < MOST_BROKEN:
                found.broken.append(Broken(found.chain.lines, wrong))
    found.entered.settle()
    found.cut = max(0, fs.stat(path).st_size - end) if fs.exists(path) else 0
    return found


def seen_in(line: bytes) -> FirstSeen | None:
    """What a line says; None where that cannot be told."""
    try:
        return read_line(line).seen
    except BadLine:
        return None


def renewed(fs: FsOps, path: Path, wanted: Container[PackageIdentity]) -> dict[tuple[str, PackageIdentity], FirstSeen]:
    """By source and version: the last line of each wanted one that has come with other bytes than before. Raises
    DiskFailure.
    """
    first: dict[tuple[str, PackageIdentity], str] = {}
    found: dict[tuple[str, PackageIdentity], FirstSeen] = {}
    for line in lines(fs, path):
        seen = seen_in(line.text)
        if seen is None or (identity := PackageIdentity(seen.id, seen.version)) not in wanted:
            continue
        if first.setdefault((seen.source, identity), seen.sha512) != seen.sha512:
            found[seen.source, identity] = seen
    return found
