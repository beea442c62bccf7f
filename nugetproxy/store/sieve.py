"""Sieve says of a text for certain that it was never put in; of few others that it may have been."""

from __future__ import annotations

from collections.abc import Iterable
from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap

_SIZE = 2**20
"""Bytes; they cost memory only where something was put in. With 100,000 texts one in 2,000 others passes."""
_BITS = 8 * _SIZE - 1


class Sieve:
    """Two bits for each text. For one thread; others may ask once it is full."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._bytes = mmap(-1, _SIZE, MAP_PRIVATE | MAP_ANONYMOUS)  # a bytearray would write its zeros: all of it
        for text in texts:
            self.add(text)

    def add(self, text: str) -> None:
        """From now on it passes."""
        one = hash(text)  # other bits in each process, so that nobody can choose texts that share them
        other = one >> 32
        self._bytes[(one & _BITS) >> 3] |= 1 << (one & 7)
        self._bytes[(other & _BITS) >> 3] |= 1 << (other & 7)

    def __contains__(self, text: str) -> bool:
        one = hash(text)
        other = one >> 32
        return bool(
            self._bytes[(one & _BITS) >> 3] >> (one & 7) & 1 and self._bytes[(other & _BITS) >> 3] >> (other & 7) & 1
        )
