"""PassingPackage keeps of a package that goes by what it takes to tell which one it was."""

from __future__ import annotations

import io
import re
import struct
from typing import BinaryIO, Final, cast

from msgspec import Struct, field

from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.nuget.nuspec import inspect_package

_HEADERS: Final = re.compile(rb"PK(?:\x03\x04|\x01\x02)")
"""Those of an entry, of one in the central directory."""
_LOCAL: Final = struct.Struct("<18xL4x2H")
"""Of a local header: packed size, lengths of name and extra field."""
_LONGEST_NAME: Final = 512
"""Bytes of the name of a nuspec, whose id has a hundred characters."""
_SUFFIX: Final = b".nuspec"
_TAIL: Final = 65_586
"""Bytes in which the end record lies."""
_MOST_NUSPEC: Final = 2**20
_MOST_NUSPECS: Final = 4
_MOST_DIRECTORY: Final = 4 * 2**20
"""What is kept, at most, in bytes; nuspecs at the root, of which there must be one."""


class _Part(Struct):
    """Bytes from ``at`` on, so many of them at most."""

    at: int
    most: int
    content: bytearray = field(default_factory=bytearray)

    def take(self, data: bytes, at: int) -> None:
        """Those that are wanted next, out of ``data``, which begins ``at``."""
        begin = self.at + len(self.content) - at
        self.content += data[begin : begin + self.most - len(self.content)]


class PassingPackage:
    """The nuspec, the central directory and the end of a package, in memory that is bounded."""

    def __init__(self) -> None:
        self._nuspecs: list[_Part] = []
        self._directory: _Part | None = None
        self._tail = b""
        self._left = b""
        """The last bytes, in which a header may begin."""
        self._size = 0

    def take(self, chunk: bytes) -> None:
        """The next bytes of it."""
        data, at = self._left + chunk, self._size - len(self._left)
        self._size += len(chunk)
        self._tail = (self._tail + chunk)[-_TAIL:]
        seen = max(0, len(data) - 3)
        for found in _HEADERS.finditer(data):
            if data[found.end() - 1] == 2:
                self._directory = self._directory or _Part(at + found.start(), _MOST_DIRECTORY)
            elif self._enter(data, at, found.start()):
                self._directory = None  # this was one of a package inside, or none at all
            else:
                seen = found.start()
                break
        for part in self._parts():
            part.take(data, at)
        self._left = data[seen:]

    def _enter(self, data: bytes, at: int, begin: int) -> bool:
        """Look at an entry; False if its header has not all come yet."""
        if begin + _LOCAL.size > len(data):
            return False
        packed, name_size, extra_size = _LOCAL.unpack_from(data, begin)
        if name_size > _LONGEST_NAME:
            return True
        stop = begin + _LOCAL.size + name_size
        if stop > len(data):
            return False
        name = data[begin + _LOCAL.size : stop].lower()
        if name.endswith(_SUFFIX) and b"/" not in name and b"\\" not in name and len(self._nuspecs) < _MOST_NUSPECS:
            # Where the size stands behind the content, as much is kept as may be.
            most = min(stop - begin + extra_size + packed, _MOST_NUSPEC) if packed else _MOST_NUSPEC
            self._nuspecs.append(_Part(at + begin, most))
        return True

    @property
    def weight(self) -> int:
        """Bytes that ``check`` looks at."""
        return sum(len(part.content) for part in self._parts())

    def check(self, expected: PackageIdentity) -> None:
        """Raise InvalidPackage unless all of it was the package ``expected``, as ``inspect_package`` sees it."""
        tail = _Part(self._size - len(self._tail), _TAIL, bytearray(self._tail))
        inspect_package(cast("BinaryIO", _Kept([*self._parts(), tail], self._size)), expected)

    def _parts(self) -> list[_Part]:
        return [*self._nuspecs, *((self._directory,) if self._directory else ())]


class _Kept:
    """A file of ``size`` bytes of which these parts can be read."""

    def __init__(self, parts: list[_Part], size: int) -> None:
        self._parts = parts
        self._size = size
        self._at = 0

    def seek(self, at: int, whence: int = io.SEEK_SET) -> int:
        """As of any file."""
        self._at = at if whence == io.SEEK_SET else self._size + at
        return self._at

    def read(self, count: int) -> bytes:
        """As many as ``count`` bytes, less where a part ends."""
        best = b""
        for part in self._parts:
            if part.at <= self._at:
                begin = self._at - part.at
                best = max(best, bytes(part.content[begin : begin + count]), key=len)
        return best
