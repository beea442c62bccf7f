"""A .nupkg as a ZIP archive that nobody vouches for yet."""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import BinaryIO, Final
from urllib.parse import unquote

from nugetproxy.errors import ProxyError, Reason

MAX_DIRECTORY: Final = 64 * 2**20
"""Bytes of central directory that are read."""
MAX_ENTRIES: Final = 200_000
MAX_RATIO: Final = 100
"""How many times larger than its compressed form an entry beyond ``FREE_SIZE`` may be."""
FREE_SIZE: Final = 2**20
"""Entries up to this many bytes are read whatever their ratio."""

_LOCAL = b"PK\x03\x04"
_HEADER = b"PK\x01\x02"
_HEADER_SIZE = 46
_END = b"PK\x05\x06"
_END_SIZE = 22
_LOCATOR = b"PK\x06\x07"
_LOCATOR_SIZE = 20
_END64 = b"PK\x06\x06"
_END64_SIZE = 56
_MAX_COMMENT = 0xFFFF
_ENCRYPTED = 0x1

_ZIP_ERRORS = (
    zipfile.BadZipFile,
    NotImplementedError,  # zipfile: a later version of the format
    EOFError,
    zlib.error,
    struct.error,
    UnicodeDecodeError,
)


class InvalidPackage(ProxyError):
    """The file is no package, or not the one that was asked for; ``reason`` is ZIP or IDENTITY."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"Not a valid package ({self.reason}): {self.detail}."


def open_archive(file: BinaryIO) -> zipfile.ZipFile:
    """Check that ``file`` is one whole ZIP archive, then open it; the caller keeps and closes ``file``.

    Whole means: it begins with an entry, and its end record accounts for every byte from the central directory to
    the end. Sizes are judged before anything is read, so a hostile file costs bounded memory.
    Raises InvalidPackage; OSError if the disk fails.
    """
    _check_structure(file)
    try:
        return zipfile.ZipFile(file)
    except _ZIP_ERRORS as error:
        raise _broken(f"unreadable central directory ({error})") from error


def root_entry(archive: zipfile.ZipFile, suffix: str) -> zipfile.ZipInfo:
    """The only entry outside any folder whose name ends in ``suffix``, ignoring case; raises InvalidPackage."""
    found = [
        info
        for info in archive.infolist()
        if info.filename.lower().endswith(suffix) and "/" not in info.filename and "\\" not in info.filename
    ]
    if len(found) != 1:
        raise _broken(f"{len(found)} {suffix} files at the root instead of 1")
    return found[0]


def read_entry(archive: zipfile.ZipFile, info: zipfile.ZipInfo, limit: int) -> bytes:
    """The content of one entry of at most ``limit`` bytes, CRC checked; raises InvalidPackage."""
    name = info.filename[:100]
    if info.flag_bits & _ENCRYPTED or info.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        raise _broken(f"{name!r} is encrypted or compressed in an unusual way")
    if info.file_size > limit:
        raise _broken(f"{name!r} is larger than {limit} bytes")
    if info.file_size > max(FREE_SIZE, MAX_RATIO * info.compress_size):
        raise _broken(f"{name!r} is compressed more than {MAX_RATIO} times")
    if info.header_offset + info.compress_size > archive.start_dir:
        raise _broken(f"{name!r} does not lie before the central directory")
    try:
        with archive.open(info) as stream:
            # Asking for no more than is stated keeps zipfile from inflating more; at the end it compares the CRC.
            content = stream.read(info.file_size + 1)
    except _ZIP_ERRORS as error:
        raise _broken(f"{name!r} is damaged ({error})") from error
    if len(content) != info.file_size:
        raise _broken(f"{name!r} is shorter than stated")
    return content


def read_member(file: BinaryIO, path: str, limit: int) -> bytes | None:
    """The file that a nuspec names by ``path`` (icon, licence, readme); None if missing or over ``limit`` bytes.

    Compared as NuGet does: either kind of slash, percent-escapes of the packaging convention undone, case ignored.
    Raises InvalidPackage if the archive is broken.
    """
    wanted = _comparable(path)
    with open_archive(file) as archive:
        found = next((info for info in archive.infolist() if _comparable(info.filename) == wanted), None)
        if found is None or found.is_dir() or found.file_size > limit:
            return None
        return read_entry(archive, found, limit)


def check_entries(file: BinaryIO) -> None:
    """Compare the checksum of every entry, reading all of them; raises InvalidPackage, as ``open_archive`` does.

    Entries that are compressed in an unusual way, or more than ``MAX_RATIO`` times, are not looked into.
    """
    with open_archive(file) as archive:
        for info in archive.infolist():
            usual = info.compress_type in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
            small = info.file_size <= max(FREE_SIZE, MAX_RATIO * info.compress_size)
            if not usual or not small or info.flag_bits & _ENCRYPTED:
                continue
            try:
                with archive.open(info) as stream:
                    while stream.read(2**18):
                        pass
            except _ZIP_ERRORS as error:
                raise _broken(f"{info.filename[:100]!r} is damaged ({error})") from error


def _comparable(path: str) -> str:
    return unquote(path).replace("\\", "/").removeprefix("./").lstrip("/").lower()


# --- structure (PKWARE APPNOTE sections 4.3.12, 4.3.14 to 4.3.16) ---


def _check_structure(file: BinaryIO) -> None:
    length = file.seek(0, os.SEEK_END)
    read = _reader(file)
    if read(0, 4) != _LOCAL:
        raise _broken("it does not begin like a ZIP archive")
    end = _find_end(read, length)
    disk, first_disk, here, entries, size, start = struct.unpack("<4H2L", read(end + 4, 16))
    if disk or first_disk or here != entries:
        raise _broken("it is one part of several")
    directory_end = end
    if end >= _LOCATOR_SIZE and read(end - _LOCATOR_SIZE, 4) == _LOCATOR:
        directory_end, entries, size, start = _zip64(read, end - _LOCATOR_SIZE, (entries, size, start))
    if start + size != directory_end:
        raise _broken("its end record does not fit its length")
    if size > MAX_DIRECTORY or entries > MAX_ENTRIES:
        raise _broken(f"its central directory is too large ({size} bytes, {entries} entries)")
    if _count_entries(read(start, size), entries) != entries:
        raise _broken("its end record does not fit its central directory")


def _reader(file: BinaryIO) -> Callable[[int, int], bytes]:
    def read(at: int, count: int) -> bytes:
        file.seek(at)
        piece = file.read(count)
        if len(piece) != count:
            raise _broken("it ends too early")
        return piece

    return read


def _find_end(read: Callable[[int, int], bytes], length: int) -> int:
    """Position of the end-of-central-directory record, which must reach exactly to the end of the file."""
    tail_at = max(0, length - _END_SIZE - _MAX_COMMENT)
    tail = read(tail_at, length - tail_at)
    # The same choice as zipfile makes, so that both speak of the same record: no comment first, else the last one.
    at = len(tail) - _END_SIZE
    if at < 0 or not (tail.startswith(_END, at) and tail.endswith(b"\0\0")):
        at = tail.rfind(_END)
    if at < 0 or at + _END_SIZE > len(tail):
        raise _broken("no end-of-central-directory record")
    (comment,) = struct.unpack_from("<H", tail, at + 20)
    if at + _END_SIZE + comment != len(tail):
        raise _broken("its end record does not reach to its end")
    return tail_at + at


def _zip64(read: Callable[[int, int], bytes], locator: int, small: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """Position of the 64-bit end record, with the entries, size and start that it states.

    ``small`` is what the 32-bit record says of the three; unless saturated it must agree, so that readers that
    prefer one record see the same archive as readers that prefer the other.
    """
    at, disks = struct.unpack("<QL", read(locator + 8, 12))
    if at + _END64_SIZE != locator or disks > 1 or read(at, 4) != _END64:
        raise _broken("its 64-bit end record is not where it should be")
    here, *large = struct.unpack("<4Q", read(at + 24, 32))
    saturated = (0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF)
    if here != large[0] or any(s not in {full, big} for s, full, big in zip(small, saturated, large, strict=True)):
        raise _broken("its two end records disagree")
    entries, size, start = large
    return at, entries, size, start


def _count_entries(directory: bytes, stated: int) -> int:
    """How many headers the directory holds, counted no further than one beyond ``stated``."""
    at = count = 0
    while at < len(directory) and count <= stated:
        if not directory.startswith(_HEADER, at) or at + _HEADER_SIZE > len(directory):
            raise _broken("its central directory is damaged")
        at += _HEADER_SIZE + sum(struct.unpack_from("<3H", directory, at + 28))
        count += 1
    if at > len(directory):
        raise _broken("its central directory is cut off")
    return count


def _broken(detail: str) -> InvalidPackage:
    return InvalidPackage(Reason.ZIP, detail)
