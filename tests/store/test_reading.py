"""Reads end short where the page cache or the file does; the two are told apart."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nugetproxy.store.fs import DiskFailure, FsOps, ShortFile
from nugetproxy.store.packages.reading import read_at
from tests.conftest import StartProxy
from tests.fakes.asking import PACKAGE, SMALL, UP_PACKAGE, ask
from tests.fakes.feed import FakeFeed
from tests.fakes.origin import Script

CONTENT = bytes(range(256)) * 64


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    fd = os.open(path, os.O_RDONLY)
    yield fd
    os.close(fd)


@pytest.fixture(params=[1, 4096, 10_000])
def cached(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many bytes of whatever is asked for are in the page cache."""
    known: int = request.param

    def preadv(fd: int, buffers: list[bytearray], at: int, flags: int) -> int:
        assert flags == os.RWF_NOWAIT
        piece = os.pread(fd, min(known, len(buffers[0])), at)
        buffers[0][: len(piece)] = piece
        return len(piece)

    monkeypatch.setattr(os, "preadv", preadv)
    return known


async def test_what_is_only_partly_cached_is_read_whole(fd: int, cached: int) -> None:
    assert await read_at(fd, len(CONTENT), 0) == CONTENT
    assert await read_at(fd, 9_000, 300) == CONTENT[300:9_300]


async def test_a_held_package_is_served_when_a_part_of_it_has_left_the_cache(
    start_proxy: StartProxy, feed: FakeFeed, cached: int
) -> None:
    feed.origin.routes[UP_PACKAGE] = Script(body=SMALL)
    proxy = await start_proxy(feed.index_url)
    assert (await ask(proxy, PACKAGE)).body == SMALL
    await proxy.restart()
    got = await ask(proxy, PACKAGE)
    assert (got.status, got.cache, got.body) == (200, "hit", SMALL)
    assert proxy.metric("disk_errors_total", op="read", errno="EIO") == 0


async def test_a_file_that_was_cut_is_no_input_output_error(fd: int) -> None:
    with pytest.raises(ShortFile) as caught:
        await read_at(fd, len(CONTENT) + 1, 0)
    assert caught.value.errno_name != "EIO"
    assert "shorter than it was" in str(caught.value)


async def test_what_the_kernel_says_is_passed_on(fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "preadv", refuse)
    monkeypatch.setattr(os, "pread", refuse)
    with pytest.raises(DiskFailure) as caught:
        await read_at(fd, 10, 0)
    assert (caught.value.op, caught.value.errno_name) == ("read", "EIO")


def test_a_read_that_the_kernel_cuts_is_continued(fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, size, at: real(fd, min(size, 1000), at))
    assert FsOps().read(fd, len(CONTENT) + 500, 0) == CONTENT
    assert FsOps().read(fd, 10, len(CONTENT)) == b""
