"""The archive of a signed package: where its signature lies, what else there is to be signed.

As NuGet's SignedPackageArchiveUtility reads it, but that nothing may lie between the central directory and its end
record, nor behind that: what two readers would read in two ways is refused.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from nugetproxy.nuget.signatures.flaw import Flaw, Flawed
from nugetproxy.nuget.zip_archive import (
    MAX_DIRECTORY,
    MAX_ENTRIES,
    BrokenArchive,
    Content,
    Source,
    find_end,
    source_of,
)

NAME: Final = b".signature.p7s"
MOST: Final = 2**20
"""Bytes of signature that are read; nuget.org's have 9 to 25 KB."""
_HEADER, _HEADER_SIZE = b"PK\x01\x02", 46
_LOCAL, _LOCAL_SIZE = b"PK\x03\x04", 30
_END_SIZE = 22
_OFFSET_AT = 42
"""Of a header of the central directory: where it says where the local header begins."""
_UTF8 = 1 << 11
_FULL16, _FULL32 = 0xFFFF, 0xFFFFFFFF
_PIECE = 2**20


class _Header(Struct, kw_only=True):
    """One header of the central directory."""

    raw: bytes
    at: int
    """Where its local header begins."""
    size: int = 0
    """Bytes from there to the next local header, or to the central directory."""

    @property
    def is_signature(self) -> bool:
        (flags,) = struct.unpack_from("<H", self.raw, 8)
        (length,) = struct.unpack_from("<H", self.raw, 28)
        return not flags & _UTF8 and self.raw[_HEADER_SIZE : _HEADER_SIZE + length] == NAME


class SignedArchive(Struct, frozen=True, kw_only=True):
    """A package with its signature."""

    signature: bytes
    """A CMS message in DER."""
    _source: Source
    _headers: tuple[_Header, ...]
    """As they stand in the central directory."""
    _own: _Header
    _end: bytes
    """The end record with its comment."""

    def content(self) -> Iterator[bytes]:
        """The bytes of the package as it was before it was signed; OSError if the disk fails."""
        others = sorted((one for one in self._headers if one is not self._own), key=lambda one: one.at)
        first = min(one.at for one in self._headers)
        yield from self._pieces(0, first)
        moved, place = {}, 0
        for one in others:
            moved[id(one)] = place
            place += one.size
            yield from self._pieces(one.at, one.at + one.size)
        for one in self._headers:
            if one is not self._own:
                yield one.raw[:_OFFSET_AT] + struct.pack("<L", moved[id(one)]) + one.raw[_OFFSET_AT + 4 :]
        here, total, size, start = struct.unpack_from("<2H2L", self._end, 8)
        yield self._end[:8]
        yield struct.pack("<2H2L", here - 1, total - 1, size - len(self._own.raw), start - self._own.size)
        yield self._end[20:]

    def _pieces(self, start: int, stop: int) -> Iterator[bytes]:
        for at in range(start, stop, _PIECE):
            yield self._source.read(at, min(_PIECE, stop - at))


def open_signed(content: Content) -> SignedArchive | None:
    """The signed package in ``content`` (the caller's to close); None where it has no signature.

    Raises Flawed where it could not be told what was signed; OSError if the disk fails.
    """
    try:
        source = source_of(content)
        at = find_end(source)
        end = source.read(at, source.length - at)
        headers = _headers(source, end, at)
        own = [one for one in headers if one.is_signature]
        if not own:
            return None
        _check(headers, end, at)
        if len(own) > 1:
            raise Flawed(Flaw.DAMAGED, "the package has several signature files")
        return SignedArchive(
            signature=_signature(source, own[0]), _source=source, _headers=headers, _own=own[0], _end=end
        )
    except BrokenArchive as error:
        raise Flawed(Flaw.DAMAGED, f"the package cannot be read ({error})") from error


def _headers(source: Source, end: bytes, end_at: int) -> tuple[_Header, ...]:
    (start,) = struct.unpack_from("<L", end, 16)
    if start == _FULL32:
        raise Flawed(Flaw.DAMAGED, "the package is in the 64-bit form, which cannot be signed")
    if not start <= end_at <= start + MAX_DIRECTORY:
        raise Flawed(Flaw.DAMAGED, "its central directory is not where it should be")
    directory = source.read(start, end_at - start)
    found: list[_Header] = []
    at = 0
    while directory.startswith(_HEADER, at) and at + _HEADER_SIZE <= len(directory) and len(found) <= MAX_ENTRIES:
        size = _HEADER_SIZE + sum(struct.unpack_from("<3H", directory, at + 28))
        raw = directory[at : at + size]
        (local,) = struct.unpack_from("<L", raw, _OFFSET_AT)
        found.append(_Header(raw=raw, at=local))
        at += size
    if at != len(directory):
        raise Flawed(Flaw.DAMAGED, "something lies between its central directory and the end record")
    return tuple(found)


def _check(headers: tuple[_Header, ...], end: bytes, end_at: int) -> None:
    """Have every header know its size; raises Flawed where parts overlap, or something is not counted."""
    disk, first_disk, here, total, _, start, comment = struct.unpack_from("<4H2LH", end, 4)
    if disk or first_disk or here != total or total != len(headers) or total == _FULL16:
        raise Flawed(Flaw.DAMAGED, "its end record does not fit its central directory")
    if len(end) != _END_SIZE + comment or end_at < start:
        raise Flawed(Flaw.DAMAGED, "something lies behind its end record")
    ordered = sorted(headers, key=lambda one: one.at)
    for one, following in zip(ordered, [*(one.at for one in ordered[1:]), start], strict=True):
        one.size = following - one.at
        if one.size < _LOCAL_SIZE:
            raise Flawed(Flaw.DAMAGED, "its files overlap")


def _signature(source: Source, own: _Header) -> bytes:
    """The content of the signature file, which is neither compressed nor encrypted (NuGet: NU3005)."""
    flags, method, packed, size = struct.unpack_from("<2H8x2L", own.raw, 8)
    (attributes,) = struct.unpack_from("<L", own.raw, 38)
    local = source.read(own.at, _LOCAL_SIZE)
    local_flags, local_method, local_packed, local_size, name, extra = struct.unpack_from("<2H8x2L2H", local, 6)
    usual = not (flags or method or attributes or local_flags or local_method)
    same = packed == size == local_packed == local_size and local.startswith(_LOCAL)
    if not usual or not same or source.read(own.at + _LOCAL_SIZE, name) != NAME:
        raise Flawed(Flaw.DAMAGED, "its signature file is not stored as NuGet's specification wants it")
    if size > MOST or _LOCAL_SIZE + name + extra + size > own.size:
        raise Flawed(Flaw.DAMAGED, f"its signature file has {size} bytes")
    return source.read(own.at + _LOCAL_SIZE + name + extra, size)
