"""The gzip coding of pages, small and large."""

from __future__ import annotations

import gzip
import zlib

import pytest

from nugetproxy.feeds.rendering import GZIP_LEVEL, SMALL_BYTES, gzip_coding


@pytest.mark.parametrize("size", [0, 1, 400, 4096, SMALL_BYTES, SMALL_BYTES + 1, 100_000])
def test_every_page_comes_out_as_it_went_in_and_as_small_as_usual(size: int) -> None:
    body = b",".join(b'"1.%d.%d"' % (number // 20, number) for number in range(size // 8 + 1))[:size]
    packed = gzip_coding(body)
    assert gzip.decompress(packed) == body
    assert len(packed) <= 1.02 * len(zlib.compress(body, GZIP_LEVEL, 31)), "a smaller window costs hardly a byte"
    assert packed[4:8] == bytes(4), "the same page has the same bytes at any time"
