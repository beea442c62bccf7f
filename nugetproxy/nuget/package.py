"""A .nupkg as an archive that nobody vouches for yet."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from urllib.parse import unquote

from zlib_ng import zlib_ng

from nugetproxy.errors import ProxyError, Reason
from nugetproxy.nuget.zip_archive import MAX_DIRECTORY, MAX_ENTRIES, Archive, BrokenArchive, Content, Entry, open_zip

__all__ = [
    "FREE_SIZE",
    "MAX_DIRECTORY",
    "MAX_ENTRIES",
    "MAX_RATIO",
    "Archive",
    "Content",
    "DamagedEntry",
    "InvalidPackage",
    "check_contents",
    "checking",
    "nuspec_entry",
    "open_archive",
    "read_entry",
    "read_member",
]

MAX_RATIO: Final = 100
"""How many times larger than its compressed form an entry beyond ``FREE_SIZE`` may be."""
FREE_SIZE: Final = 2**20
"""Entries up to this many bytes are read whatever their ratio."""


class InvalidPackage(ProxyError):
    """The file is no package, or not the one that was asked for; ``reason`` is ZIP or IDENTITY."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"Not a valid package ({self.reason}): {self.detail}."


class DamagedEntry(InvalidPackage):
    """The content of an entry is not what its checksum says; NuGet itself does not compare it."""

    def __init__(self, name: str, what: str) -> None:
        super().__init__(Reason.ZIP, f"{name[:100]!r} is damaged ({what})")


def open_archive(content: Content, origin: int = 0) -> Archive:
    """The archive from ``origin`` of ``content`` (the caller's to close), if NuGet's own reader can open it, too.

    Sizes are judged before anything is read, so a hostile file costs bounded memory. Raises InvalidPackage; OSError
    if the disk fails.
    """
    try:
        return open_zip(content, origin)
    except BrokenArchive as error:
        raise _broken(str(error)) from error


def nuspec_entry(archive: Archive) -> Entry:
    """The only .nuspec file outside any folder; raises InvalidPackage."""
    names = ((entry, unquote(entry.name) if "%" in entry.name else entry.name) for entry in archive.entries)
    found = [
        entry for entry, name in names if name.lower().endswith(".nuspec") and "/" not in name and "\\" not in name
    ]
    if len(found) != 1:
        raise _broken(f"{len(found)} .nuspec files at the root instead of 1")
    return found[0]


def read_entry(archive: Archive, entry: Entry, limit: int, *, checksum: bool = True) -> bytes:
    """The content of one entry of at most ``limit`` bytes.

    Raises InvalidPackage; that is DamagedEntry where only its checksum is wrong, which ``checksum`` False ignores.
    """
    name = entry.name[:100]
    if max(entry.size, entry.packed) > limit:
        raise _broken(f"{name!r} is larger than {limit} bytes")
    if _is_bomb(entry):
        raise _broken(f"{name!r} is compressed more than {MAX_RATIO} times")
    try:
        content = b"".join(archive.pieces(entry))
    except BrokenArchive as error:
        raise DamagedEntry(name, str(error)) from error
    if checksum and zlib_ng.crc32(content) != entry.crc:
        raise DamagedEntry(name, "its checksum is another")
    return content


def read_member(content: Content, path: str, limit: int) -> bytes | None:
    """The file that a nuspec names by ``path`` (icon, licence, readme); None if missing or over ``limit`` bytes.

    Compared as NuGet does: either kind of slash, percent-escapes of the packaging convention undone, case ignored.
    Raises InvalidPackage if the archive is broken.
    """
    wanted = _comparable(path)
    archive = open_archive(content)
    found = next((entry for entry in archive.entries if _comparable(entry.name) == wanted), None)
    if found is None or found.is_folder or max(found.size, found.packed) > limit:
        return None
    return read_entry(archive, found, limit)


def check_contents(archive: Archive, known: Entry | None = None) -> None:
    """Compare the checksum of every entry but one that is ``known`` to be right; raises as ``checking``."""
    for _ in _checking(archive, known):
        pass


def checking(content: Content) -> Iterator[int]:
    """Compare the checksum of every entry step by step; the bytes that each step has looked at.

    Raises InvalidPackage, as ``open_archive`` does, with DamagedEntry for the first one that is wrong.

    Entries that are encrypted, compressed in an unusual way or more than ``MAX_RATIO`` times are not looked into, nor
    are those that would have the same bytes of the file read again and again.
    """
    yield from _checking(open_archive(content))


def _checking(archive: Archive, known: Entry | None = None) -> Iterator[int]:
    for entry in _worth_reading(archive):
        if entry is known:
            continue
        crc = 0
        try:
            for piece in archive.pieces(entry):
                crc = zlib_ng.crc32(piece, crc)
                yield len(piece)
        except BrokenArchive as error:
            raise DamagedEntry(entry.name, str(error)) from error
        if crc != entry.crc:
            raise DamagedEntry(entry.name, "its checksum is another")


def _worth_reading(archive: Archive) -> Iterator[Entry]:
    left = archive.source.length
    for entry in archive.entries:
        if entry.is_usual and not _is_bomb(entry):
            left -= entry.packed
            if left < 0 and entry.packed <= archive.source.length:
                return
            yield entry


def _is_bomb(entry: Entry) -> bool:
    return entry.size > max(FREE_SIZE, MAX_RATIO * entry.packed)


def _comparable(path: str) -> str:
    return unquote(path).replace("\\", "/").removeprefix("./").lstrip("/").lower()


def _broken(detail: str) -> InvalidPackage:
    return InvalidPackage(Reason.ZIP, detail)
