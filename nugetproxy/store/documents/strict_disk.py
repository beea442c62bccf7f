"""StrictDisk makes diskcache hold bytes only, whatever someone wrote into its database."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from diskcache import Disk
from diskcache.core import MODE_BINARY, MODE_RAW

from nugetproxy.store.sqlite_form import UnsoundFile

VALUE_FILE = re.compile(r"[0-9a-f]{2}/[0-9a-f]{2}/[0-9a-f]{28}\.val")
"""The only file names that diskcache makes."""


class PoisonedRow(UnsoundFile):
    """A row says something that we never write; nothing of it was used."""


class StrictDisk(Disk):  # type: ignore[misc]  # diskcache has no types
    """Text keys, bytes values; nothing is ever unpickled.

    diskcache's own ``Disk``, and ``JSONDisk`` too, unpickle rows of mode 4 and keys that are not raw
    (CVE-2025-69872), and read and delete any file that a row names.
    """

    _replaced: list[str] | None = None
    _written: list[str] | None = None

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """One transaction: value files that it replaces stay until it is over, those that it wrote go where it fails.

        For the one thread that writes.
        """
        self._replaced, self._written = [], []
        gone = self._written
        try:
            yield
            gone = self._replaced
        finally:
            self._replaced = self._written = None
            for name in gone:
                super().remove(name)

    def put(self, key: object) -> tuple[str, bool]:
        """The key as it is stored; raises TypeError unless it is text."""
        if type(key) is not str:
            raise TypeError("keys are text")
        return key, True

    def get(self, key: object, raw: object) -> str:
        """The stored key; raises PoisonedRow unless it is text."""
        if raw != 1 or type(key) is not str:
            raise PoisonedRow("key")
        return key

    def store(self, value: object, read: bool, key: object = None) -> Any:
        """The columns for a value; raises TypeError unless it is bytes, OSError if its file cannot be written."""
        if read or type(value) is not bytes:
            raise TypeError("values are bytes")
        columns = super().store(value, False, key=key)
        if self._written is not None and columns[2] is not None:
            self._written.append(columns[2])
        return columns

    def fetch(self, mode: object, filename: object, value: object, read: bool) -> bytes:
        """The value of a row; raises PoisonedRow unless it is bytes in the row or in a value file, OSError."""
        if not read and mode == MODE_RAW and filename is None and type(value) is bytes:
            return value
        if not read and mode == MODE_BINARY and value is None and _is_value_file(filename):
            return bytes(super().fetch(MODE_BINARY, filename, None, False))
        raise PoisonedRow("value")

    def remove(self, file_path: object) -> None:
        """Remove a value file; any other name is let alone."""
        if not _is_value_file(file_path):
            return
        if self._replaced is not None:
            self._replaced.append(str(file_path))
        else:
            super().remove(file_path)

    def _write(self, full_path: str, iterator: Any, mode: str, encoding: str | None = None) -> Any:
        try:
            return super()._write(full_path, iterator, mode, encoding)
        except OSError:
            # diskcache leaves what a full disk let it write, and never finds it again.
            with contextlib.suppress(OSError):
                Path(full_path).unlink()
            raise


def _is_value_file(name: object) -> bool:
    return isinstance(name, str) and VALUE_FILE.fullmatch(name) is not None
