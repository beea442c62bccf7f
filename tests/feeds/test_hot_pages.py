"""What is kept hot takes the memory that the configuration gives it, with all that belongs to it."""

from __future__ import annotations

import gc
import hashlib
import tracemalloc
from collections.abc import Hashable
from typing import Any

import pytest

from nugetproxy.feeds.rendering import HotPages, compress, page_of
from nugetproxy.nuget.kinds import Kind

MOST = 4 * 2**20
BODY = b'{"versions":[' + b",".join(b'"1.%d.0"' % minor for minor in range(60)) + b"]}"


def key_of(number: int) -> Hashable:
    """As a feed makes it: what is constant is one object, what depends on the document is its own."""
    digest = hashlib.sha256(b"%d" % number).hexdigest()
    url = f"https://feed.example/v3-flatcontainer/contoso.part{number}/index.json"
    return ("feed", "source", digest, Kind.VERSIONS, url, "services", "https://proxy.example", "content")


@pytest.mark.slow
def test_pages_with_what_belongs_to_them_take_what_was_given() -> None:
    nothing_large: Any = None
    pages = HotPages(MOST, nothing_large, most_links=1)
    gc.collect()
    tracemalloc.start()
    try:
        for number in range(8000):
            page = pages.put(key_of(number), page_of(BODY + b" " * (number % 7)))
            pages.put((page.etag, "gzip"), compress(page))
        gc.collect()
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 0.7 * MOST < taken < 1.1 * MOST
