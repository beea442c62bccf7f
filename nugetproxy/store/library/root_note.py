"""RootNote remembers across restarts in which directory packages were seen."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

from nugetproxy.store.fs import DiskFailure, FsOps

NAME: Final = "root"
_MOST: Final = 8192


class RootNote:
    """One line in the cache directory; blocks, for one thread. Where it cannot be read or written nothing is known."""

    def __init__(self, cache: Path, root: Path, fs: FsOps) -> None:
        self._file = cache / NAME
        self._root = root
        self._fs = fs
        self._line: bytes | None = None

    def is_other(self, inode: int) -> bool:
        """Whether packages were seen at the same path, but in another directory than this."""
        number, _, path = self._said().partition(b" ")
        return path == os.fsencode(self._root) and number.isdigit() and int(number) != inode

    def write(self, inode: int | None) -> None:
        """Packages are seen in this directory now; None: in none."""
        line = b"" if inode is None else b"%d %b" % (inode, os.fsencode(self._root))
        if line != self._said():
            with contextlib.suppress(DiskFailure):
                self._fs.call("write", str(self._file), self._file.write_bytes, line)
                self._line = line

    def _said(self) -> bytes:
        if self._line is None:
            try:
                self._line = self._fs.content(self._file, _MOST)
            except DiskFailure:
                self._line = b""
        return self._line
