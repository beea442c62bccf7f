"""What packages are unpacked with takes and refuses the same as zlib, which the clients of before .NET 9 have."""

from __future__ import annotations

import random
import zlib
from typing import Any

import pytest
from zlib_ng import zlib_ng

STRATEGIES = (zlib.Z_DEFAULT_STRATEGY, zlib.Z_FIXED, zlib.Z_HUFFMAN_ONLY, zlib.Z_RLE)


def content_of(library: Any, packed: bytes, size: int) -> tuple[bytes, bytes, bool] | None:
    """As an entry of ``size`` bytes; None where it is refused."""
    inflater = library.decompressobj(-zlib.MAX_WBITS)
    try:
        return inflater.decompress(packed, size), inflater.unconsumed_tail, inflater.eof
    except library.error:
        return None


def damaged(packed: bytes, chance: random.Random) -> bytes:
    """Some bits turned, its end cut off, or something behind it."""
    found = bytearray(packed)
    for _ in range(chance.choice((1, 1, 2, 5))):
        how, at = chance.randrange(10), chance.randrange(len(found))
        if how < 7:
            found[at] ^= 1 << chance.randrange(8)
        elif how == 7 and at:
            del found[at:]
        elif how == 8:
            found += chance.randbytes(3)
        else:
            found[min(at, 8)] = chance.randrange(256)
    return bytes(found)


@pytest.mark.parametrize("seed", range(8))
def test_damaged_streams_are_taken_or_refused_as_by_zlib(seed: int) -> None:
    chance, refused = random.Random(seed), 0
    for _ in range(60):
        size = chance.choice((0, 5, 40, 300, 3000))
        content = bytes(chance.choices(b"abcdefgh {}<>\n", k=size)) if chance.random() < 0.8 else chance.randbytes(size)
        coder = zlib.compressobj(chance.choice((0, 1, 6, 9)), zlib.DEFLATED, -15, 8, chance.choice(STRATEGIES))
        packed = coder.compress(content) + coder.flush()
        for _ in range(30):
            broken = damaged(packed, chance)
            known = content_of(zlib, broken, max(1, size))
            assert content_of(zlib_ng, broken, max(1, size)) == known
            refused += known is None
    assert refused > 100
