"""A copy of a part of many bytes is that part."""

from __future__ import annotations

import pytest

from nugetproxy.off_loop.copies import PIECE, part_of

VALUE = bytes(range(256)) * (PIECE // 256 * 3) + b"end"


@pytest.mark.parametrize("start", [0, 1, PIECE, 2 * PIECE + 1, len(VALUE)])
@pytest.mark.parametrize("stop", [None, 0, 1, PIECE, PIECE + 1, 3 * PIECE, len(VALUE)])
def test_part_of(start: int, stop: int | None) -> None:
    assert part_of(VALUE, start, stop) == VALUE[start:stop]
