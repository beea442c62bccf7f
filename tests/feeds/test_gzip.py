"""The gzip coding of pages, small and large."""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib

import pytest

from nugetproxy.feeds.rendering import GZIP_LEVEL, SMALL_BYTES, gzip_coding


@pytest.mark.parametrize("size", [0, 1, 400, 4096, SMALL_BYTES, SMALL_BYTES + 1, 100_000])
def test_every_page_comes_out_as_it_went_in_and_as_small_as_usual(size: int) -> None:
    body = b",".join(b'"1.%d.%d"' % (number // 20, number) for number in range(size // 8 + 1))[:size]
    packed = gzip_coding(body)
    assert gzip.decompress(packed) == body
    usual = len(zlib.compress(body, GZIP_LEVEL, 31))
    # A smaller window costs hardly a byte; a quicker library more, of what is all as short as version numbers.
    assert len(packed) <= (1.02 if size <= SMALL_BYTES else 1.16) * usual
    assert packed[4:8] == bytes(4), "the same page has the same bytes at any time"


def test_a_large_registration_is_smaller_than_usual() -> None:
    url = "https://feed.example/v3/registration/acme/%d.0.0.json"
    needs = [{"id": f"Acme.Part{number}", "range": "[1.0.0, )"} for number in range(5)]
    commits = [hashlib.md5(b"%d" % number, usedforsecurity=False).hexdigest() for number in range(500)]
    leaves = [{"@id": url % at, "commitId": commit, "dependencies": needs} for at, commit in enumerate(commits)]
    body = json.dumps(leaves).encode()
    packed = gzip_coding(body)
    assert gzip.decompress(packed) == body
    assert len(packed) < len(zlib.compress(body, GZIP_LEVEL, 31))
