"""WriteBody is the body of a write on its way through, with a copy of what has passed."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import Self

from nugetproxy.errors import TooLarge
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.nuget.nuspec import MAX_NUSPEC, parse_nuspec
from nugetproxy.nuget.package import InvalidPackage, nuspec_entry, open_archive, read_entry

PIECE = 256 * 1024
_PART_HEADERS = 64 * 1024
"""Bytes within which the headers of a part end and its package begins."""
_ZIP = b"PK\x03\x04"


class WriteBody:
    """Counts a body, copies it to a file without a name as far as the disk takes it.

    The copy is for a feed that says afterwards where the body should have gone, and says which package it was.
    ``body`` must stand being cancelled while it is waited for: what it would have given comes next.
    """

    def __init__(self, body: AsyncIterator[bytes], copy: FileIO | None, limit: int) -> None:
        self._body = body
        self._copy = copy
        self._limit = limit
        self._size = 0
        self._again: int | None = None
        """How much of the copy was given once more; None while the body itself is read."""
        self._turn = asyncio.Lock()
        """Protects the copy from being read while a cancelled reader's last piece is still written to it."""
        self.whole = False
        """Whether the body's end has come."""

    @classmethod
    async def of(cls, body: AsyncIterator[bytes], *, limit: int, spool: Path) -> Self:
        """``limit`` in bytes; the copy lies in ``spool``."""
        return cls(body, await asyncio.to_thread(_open_copy, spool), limit)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        async with self._turn:
            if self._again is not None and self._copy is not None:
                piece = await asyncio.to_thread(os.pread, self._copy.fileno(), PIECE, self._again)
                self._again += len(piece)
                if piece:
                    return piece
                self._again = None
            return await self._next()

    async def rewind(self) -> bool:
        """Give everything again, from the first byte on; False where the disk did not take all of it."""
        async with self._turn:
            if self._copy is None:
                return False
            self._again = 0
            return True

    @property
    def copied(self) -> bool:
        """Whether all that has passed is in the copy."""
        return self._copy is not None

    async def identity(self) -> PackageIdentity | None:
        """The package in a body that has passed as a multipart form; None when it cannot be told."""
        async with self._turn:
            return await asyncio.to_thread(_identity, self._copy) if self._copy is not None and self.whole else None

    def close(self) -> None:
        """Remove the copy from the disk."""
        if self._copy is not None:
            self._copy.close()
            self._copy = None

    async def _next(self) -> bytes:
        if self.whole:
            raise StopAsyncIteration
        try:
            chunk = await anext(self._body)
        except StopAsyncIteration:
            self.whole = True
            raise
        self._size += len(chunk)
        if self._size > self._limit:
            raise TooLarge("The package", self._limit)
        if self._copy is not None:
            await self._keep(self._copy, chunk)
        return chunk

    async def _keep(self, copy: FileIO, chunk: bytes) -> None:
        """Write to the copy, to its end even when this is cancelled; a copy that is not whole is none."""
        writing = asyncio.ensure_future(asyncio.to_thread(_write, copy, chunk))
        try:
            await asyncio.shield(writing)
        finally:
            await asyncio.wait({writing})
            if not writing.result():
                self.close()


def _open_copy(spool: Path) -> FileIO | None:
    with suppress(OSError):
        return tempfile.TemporaryFile(dir=spool, buffering=0)
    return None


def _write(copy: FileIO, chunk: bytes) -> bool:
    with suppress(OSError):
        return copy.write(chunk) == len(chunk)
    return False


def _identity(copy: FileIO) -> PackageIdentity | None:
    """The package begins behind the multipart headers; the boundary after it does no harm."""
    try:
        copy.seek(0)
        archive = open_archive(copy, max(0, copy.read(_PART_HEADERS).find(_ZIP)))
        nuspec = read_entry(archive, nuspec_entry(archive), MAX_NUSPEC)
        return parse_nuspec(nuspec).identity
    except (InvalidPackage, OSError):
        return None
