"""A ZIP archive as .NET reads it, which every NuGet client uses."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from typing import Any, BinaryIO, Final, NamedTuple, Protocol

from msgspec import Struct
from zlib_ng import zlib_ng  # .NET, too, reads archives with it, from version 9 on

MAX_DIRECTORY: Final = 64 * 2**20
"""Bytes of central directory that are read."""
MAX_ENTRIES: Final = 200_000

# What is checked, and what is not, was tried with NuGet.Packaging 6.14 on .NET 9 (System.IO.Compression.ZipArchive):
# only the last end record counts, of it only its disks, its count of entries, the start of the directory. Neither the
# size of the directory nor anything around it is looked at, nor what local headers repeat.
ZIP_MAGIC: Final = b"PK\x03\x04"
"""How a local header begins, so almost every archive."""
_LOCAL_SIZE = 30
_HEADER = b"PK\x01\x02"
_HEADER_SIZE = 46
_FIELDS = struct.Struct("<4s4x2H4x3L4H6xL")
"""Of a header of the directory: signature, flags, method, checksum, packed size, size, disk, place; before the last two
the lengths of what follows it: name, extra field, comment."""
_LENGTHS = struct.Struct("<26x2H")
"""Of a local header: those of name and extra field."""
_END = b"PK\x05\x06"
_END_SIZE = 22
_END_WITHIN = 65_586
"""How far from the end .NET looks for the end record, in its steps of 32 bytes."""
_LOCATOR = b"PK\x06\x07"
_LOCATOR_SIZE = 20
_END64 = b"PK\x06\x06"
_END64_SIZE = 56
_ZIP64_EXTRA = 0x0001
_FULL16, _FULL32 = 0xFFFF, 0xFFFFFFFF
_ENCRYPTED = 0x1
_STORED, _DEFLATED, _DEFLATED64 = 0, 8, 9
_WINDOW = 256 * 1024
_PIECE = 64 * 1024


Content = BinaryIO | bytes | memoryview
"""A file that is seekable and stays open, or all of it in memory."""


class BrokenArchive(Exception):
    """The file is no ZIP archive that .NET can open, or the entry none that it can read."""


class Entry(NamedTuple):  # made in half the time of a dataclass, and some have thousands
    """One header of the central directory; nothing of it is vouched for."""

    name: str
    """With replacement characters where it is no UTF-8."""
    encrypted: bool
    """It says so; .NET does not ask."""
    method: int
    crc: int
    packed: int
    """Bytes as they lie in the archive."""
    size: int
    """Bytes of content, if stated rightly."""
    at: int
    """Where its local header begins."""
    disk: int

    @property
    def is_folder(self) -> bool:
        """True for what only names a folder."""
        return self.name.endswith(("/", "\\"))

    @property
    def is_usual(self) -> bool:
        """True when it is compressed as zlib can undo in every case, and not encrypted."""
        return self.method in {_STORED, _DEFLATED} and not self.encrypted


class Source(Protocol):
    """The bytes of an archive."""

    @property
    def length(self) -> int:
        """How many they are."""

    def read(self, at: int, count: int) -> bytes:
        """``count`` bytes from ``at`` on; raises BrokenArchive where there are less, OSError if the disk fails."""


class _InMemory(Struct, frozen=True):
    content: bytes | memoryview
    length: int

    def read(self, at: int, count: int) -> bytes:
        if at + count > self.length:
            raise _ends_early()
        return bytes(self.content[at : at + count])


class _InFile(Struct, frozen=True):
    file: BinaryIO
    origin: int
    length: int

    def read(self, at: int, count: int) -> bytes:
        piece = b""
        if at <= self.length:  # a file cannot be asked for what lies 2^63 bytes away
            self.file.seek(self.origin + at)
            piece = self.file.read(count)
        if len(piece) != count:
            raise _ends_early()
        return piece


def _ends_early() -> BrokenArchive:
    return BrokenArchive("it ends too early")


class Archive(Struct, frozen=True):
    """What lies in one archive."""

    source: Source
    entries: tuple[Entry, ...]

    def pieces(self, entry: Entry) -> Iterator[bytes]:
        """The content of ``entry`` as .NET reads it: cut at its stated size if it is compressed.

        Raises BrokenArchive; OSError if the disk fails.
        """
        start = self._start(entry)
        packed = self._packed(start, entry.packed)
        if entry.method == _STORED:
            yield from packed
            return
        inflater = zlib_ng.decompressobj(-zlib_ng.MAX_WBITS)
        left = entry.size
        try:
            if 0 < left <= _PIECE and entry.packed <= _PIECE:
                yield inflater.decompress(self.source.read(start, entry.packed), left)
                return
            for piece in packed:
                fed = piece
                while left > 0 and fed:
                    content = inflater.decompress(fed, min(left, _PIECE))
                    fed = inflater.unconsumed_tail
                    left -= len(content)
                    yield content
                if left <= 0 or inflater.eof:
                    return
        except zlib_ng.error as error:  # type: ignore[misc]  # its stub calls the class an instance
            raise BrokenArchive(str(error)) from error

    def _start(self, entry: Entry) -> int:
        """Where its content begins: behind a local header whose lengths count, whatever name it has."""
        if entry.method not in {_STORED, _DEFLATED, _DEFLATED64}:
            raise BrokenArchive(f"it is compressed in an unusual way ({entry.method})")
        header = self.source.read(entry.at, _LOCAL_SIZE) if entry.at + _LOCAL_SIZE <= self.source.length else b""
        if entry.disk or not header.startswith(ZIP_MAGIC):
            raise BrokenArchive("no entry begins where it should")
        start = entry.at + _LOCAL_SIZE + sum(_LENGTHS.unpack(header))
        if start + entry.packed > self.source.length:
            raise BrokenArchive("it is longer than the archive")
        return int(start)

    def _packed(self, start: int, count: int) -> Iterator[bytes]:
        for at in range(start, start + count, _PIECE):
            yield self.source.read(at, min(_PIECE, start + count - at))


def open_zip(content: Content, origin: int = 0) -> Archive:
    """The archive in ``content``, which begins at ``origin``; memory is bounded, whatever it says.

    Raises BrokenArchive; OSError if the disk fails.
    """
    source = source_of(content, origin)
    end = find_end(source)
    disk, first_disk, here, count, start = struct.unpack("<4H4xL", source.read(end + 4, 16))
    if disk != first_disk or here != count:
        raise BrokenArchive("it is one part of several")
    if _FULL16 in {disk, count} or start == _FULL32:
        count, start = _zip64(source, end, (count, start))
    elif disk:
        raise BrokenArchive("it is one part of several")
    if count > MAX_ENTRIES:
        raise BrokenArchive(f"it has too many entries ({count})")
    entries = tuple(_headers(source, start, count))
    if len(entries) != count:
        raise BrokenArchive("its end record does not fit its central directory")
    return Archive(source, entries)


def source_of(content: Content, origin: int = 0) -> Source:
    """All of ``content`` from ``origin`` on; raises OSError if the disk fails."""
    if isinstance(content, bytes | memoryview):
        rest = content[origin:] if origin else content
        return _InMemory(rest, len(rest))
    return _InFile(content, origin, max(0, content.seek(0, io.SEEK_END) - origin))


def find_end(source: Source) -> int:
    """Position of the last end record that is whole; what lies behind it is nobody's. Raises BrokenArchive."""
    tail_at = max(0, source.length - _END_WITHIN)
    tail = source.read(tail_at, source.length - tail_at)
    at = tail.rfind(_END, 0, max(0, len(tail) - _END_SIZE + len(_END)))
    if at < 0:
        raise BrokenArchive("no end-of-central-directory record")
    return tail_at + at


def _zip64(source: Source, end: int, small: tuple[int, int]) -> tuple[int, int]:
    """Number of entries and start of the directory by the 64-bit end record, if there is one, else ``small``."""
    locator = source.read(end - _LOCATOR_SIZE, _LOCATOR_SIZE) if end >= _LOCATOR_SIZE else b""
    if not locator.startswith(_LOCATOR):
        return small
    (at,) = struct.unpack_from("<Q", locator, 8)
    record = source.read(at, _END64_SIZE) if at + _END64_SIZE <= source.length else b""
    if not record.startswith(_END64):
        raise BrokenArchive("its 64-bit end record is not where it should be")
    here, count, start = struct.unpack_from("<2Q8xQ", record, 24)
    if here != count:
        raise BrokenArchive("it is one part of several")
    return count, start


def _headers(source: Source, start: int, count: int) -> Iterator[Entry]:
    """The headers from ``start`` on, one more than ``count`` at most."""
    window, window_at, at, found = b"", start, start, 0

    def fill(size: int) -> bool:
        """Let the window begin at ``at``, with ``size`` bytes at least; False if there are not so many."""
        nonlocal window, window_at
        if at + size > source.length:
            return False
        window_at, window = at, source.read(at, min(max(size, _WINDOW), source.length - at))
        return True

    while found <= count and at - start <= MAX_DIRECTORY:
        begin = at - window_at
        if begin + _HEADER_SIZE > len(window):
            begin = 0
            if not fill(_HEADER_SIZE):
                return
        fields = _FIELDS.unpack_from(window, begin)
        if fields[0] != _HEADER:
            return
        size = _HEADER_SIZE + fields[6] + fields[7] + fields[8]
        if begin + size > len(window):
            begin = 0
            if not fill(size):
                return
        yield _entry(window, begin + _HEADER_SIZE, fields)
        at += size
        found += 1


def _entry(window: bytes, name_at: int, fields: tuple[Any, ...]) -> Entry:
    _, flags, method, crc, packed, size, name_size, extra_size, _, disk, at = fields
    extra_at = name_at + name_size
    name = window[name_at:extra_at].decode("utf-8", "replace")
    if _FULL32 in {packed, size, at} or disk == _FULL16:
        size, packed, at, disk = _large(window[extra_at : extra_at + extra_size], size, packed, at, disk)
    return Entry(name, bool(flags & _ENCRYPTED), method, crc, packed, size, at, disk)


def _large(extra: bytes, *small: int) -> tuple[int, ...]:
    """Size, packed size, position, disk, each from the 64-bit extra field where it is saturated (APPNOTE 4.5.3)."""
    at = 0
    while at + 4 <= len(extra):
        tag, count = struct.unpack_from("<2H", extra, at)
        if tag == _ZIP64_EXTRA:
            return _unsaturated(extra[at + 4 : at + 4 + count], small)
        at += 4 + count
    return small


def _unsaturated(field: bytes, small: tuple[int, ...]) -> tuple[int, ...]:
    found, at = [], 0
    for value, (form, full) in zip(small, (("<Q", _FULL32),) * 3 + (("<L", _FULL16),), strict=True):
        large = value == full and at + struct.calcsize(form) <= len(field)
        found.append(struct.unpack_from(form, field, at)[0] if large else value)
        at += struct.calcsize(form) if large else 0
    return tuple(found)
