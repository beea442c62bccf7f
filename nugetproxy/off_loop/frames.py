"""Frames are how packed values go through a pipe: lengths first, then the bytes."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Sequence
from struct import Struct

from nugetproxy.off_loop.values import Packed

_COUNT = Struct(">I")
_LENGTH = Struct(">Q")
MOST_PARTS = 2**20
MOST_BYTES = 2**31
PIECE = 2**20


class BrokenFrame(Exception):
    """The other end has left, or took too long; the text says which."""


def write_frame(pipe: int, parts: Sequence[bytes], deadline: float | None = None) -> None:
    """Send ``parts``; raises BrokenFrame. ``deadline`` is of the monotonic clock, None for no limit."""
    head = _COUNT.pack(len(parts)) + b"".join(_LENGTH.pack(len(part)) for part in parts)
    for part in (head, *parts):
        view = memoryview(part)
        while view:
            _wait(pipe, select.POLLOUT, deadline)
            try:
                view = view[os.write(pipe, view[:PIECE]) :]
            except OSError as error:
                raise BrokenFrame("it has ended") from error


def read_frame(pipe: int, deadline: float | None = None) -> Packed:
    """What was sent; raises BrokenFrame."""
    (count,) = _COUNT.unpack(_read(pipe, _COUNT.size, deadline))
    if count > MOST_PARTS:
        raise BrokenFrame("it sent what is no answer")
    lengths = [length for (length,) in _LENGTH.iter_unpack(_read(pipe, count * _LENGTH.size, deadline))]
    if sum(lengths) > MOST_BYTES:
        raise BrokenFrame("it sent what is no answer")
    return tuple(_read(pipe, length, deadline) for length in lengths)


def _read(pipe: int, length: int, deadline: float | None) -> bytes:
    pieces: list[bytes] = []
    while length:
        _wait(pipe, select.POLLIN, deadline)
        piece = os.read(pipe, min(length, PIECE))
        if not piece:
            raise BrokenFrame("it has ended")
        pieces.append(piece)
        length -= len(piece)
    return b"".join(pieces)


def _wait(pipe: int, event: int, deadline: float | None) -> None:
    if deadline is None:
        return
    poll = select.poll()
    poll.register(pipe, event)
    if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
        raise BrokenFrame("it took too long")
