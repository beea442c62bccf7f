"""Outgoing is the body of a write on its way through."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Self


class Outgoing:
    """Counts what is taken from it and remembers what went wrong at the source."""

    def __init__(self, source: AsyncIterator[bytes]) -> None:
        self._source = source
        self.size = 0
        """Bytes handed over so far."""
        self.error: Exception | None = None
        """What the source raised."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        try:
            piece = await anext(self._source)
        except StopAsyncIteration:
            raise
        except Exception as error:
            # Kept and raised again by the caller: aiohttp would wrap it in a failure of the connection.
            self.error = error
            raise
        self.size += len(piece)
        return piece
